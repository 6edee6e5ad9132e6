//! `docs/conformance.md`: every command, subcommand, option, extension, permission and status, with the tests that show
//! it; made from the tests themselves.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::{Result, root};

/// What there is to cover, in the order in which the specification has it. A test may name nothing else.
const WORDS: &[(&str, &str, &[&str])] = &[
    (
        "command",
        "Commands (§6, §7, §11.2)",
        &[
            "authenticatorMakeCredential",
            "authenticatorGetAssertion",
            "authenticatorGetNextAssertion",
            "authenticatorGetInfo",
            "authenticatorClientPIN",
            "authenticatorReset",
            "authenticatorBioEnrollment",
            "authenticatorCredentialManagement",
            "authenticatorCredentialManagement (preview)",
            "authenticatorSelection",
            "authenticatorLargeBlobs (get)",
            "authenticatorLargeBlobs (set)",
            "authenticatorConfig",
            "U2F_REGISTER",
            "U2F_AUTHENTICATE",
            "U2F_VERSION",
            "CTAPHID_INIT",
            "CTAPHID_PING",
            "CTAPHID_MSG",
            "CTAPHID_CBOR",
            "CTAPHID_CANCEL",
            "CTAPHID_KEEPALIVE",
            "CTAPHID_WINK",
            "CTAPHID_ERROR",
        ],
    ),
    (
        "subcommand",
        "Subcommands (§6.5.5, §6.7, §6.8, §6.11)",
        &[
            "getPINRetries",
            "getKeyAgreement",
            "setPIN",
            "changePIN",
            "getPinToken",
            "getPinUvAuthTokenUsingUvWithPermissions",
            "getUVRetries",
            "getPinUvAuthTokenUsingPinWithPermissions",
            "enrollBegin",
            "enrollCaptureNextSample",
            "cancelCurrentEnrollment",
            "enumerateEnrollments",
            "setFriendlyName",
            "removeEnrollment",
            "getFingerprintSensorInfo",
            "getCredsMetadata",
            "enumerateRPsBegin",
            "enumerateRPsGetNextRP",
            "enumerateCredentialsBegin",
            "enumerateCredentialsGetNextCredential",
            "deleteCredential",
            "updateUserInformation",
            "enableEnterpriseAttestation",
            "toggleAlwaysUv",
            "setMinPINLength",
            "enableLongTouchForReset",
        ],
    ),
    (
        "option",
        "Options, of getInfo and of requests (§6.1, §6.2, §6.4)",
        &[
            "rk",
            "up",
            "uv",
            "ep",
            "alwaysUv",
            "credMgmt",
            "authnrCfg",
            "bioEnroll",
            "clientPin",
            "largeBlobs",
            "uvAcfg",
            "uvBioEnroll",
            "perCredMgmtRO",
            "pinUvAuthToken",
            "setMinPINLength",
            "makeCredUvNotRqd",
        ],
    ),
    (
        "member",
        "Members of getInfo (§6.4)",
        &[
            "versions",
            "extensions",
            "aaguid",
            "options",
            "maxMsgSize",
            "pinUvAuthProtocols",
            "maxCredentialCountInList",
            "maxCredentialIdLength",
            "transports",
            "algorithms",
            "maxSerializedLargeBlobArray",
            "forcePINChange",
            "minPINLength",
            "firmwareVersion",
            "maxCredBlobLength",
            "maxRPIDsForSetMinPINLength",
            "preferredPlatformUvAttempts",
            "uvModality",
            "remainingDiscoverableCredentials",
            "attestationFormats",
            "uvCountSinceLastPinEntry",
            "longTouchForReset",
            "encIdentifier",
            "transportsForReset",
            "pinComplexityPolicy",
            "maxPINLength",
            "encCredStoreState",
            "authenticatorConfigCommands",
        ],
    ),
    ("profile", "Profiles", &["2.3", "2.1"]),
    (
        "extension",
        "Extensions (§12)",
        &[
            "credProtect",
            "credBlob",
            "largeBlobKey",
            "minPinLength",
            "pinComplexityPolicy",
            "hmac-secret",
            "hmac-secret-mc",
            "thirdPartyPayment",
        ],
    ),
    ("permission", "Permissions (§6.5.5.7)", &["mc", "ga", "cm", "be", "lbw", "acfg", "pcmr"]),
    ("protocol", "PIN/UV auth protocols (§6.5.6, §6.5.7)", &["one", "two"]),
    ("algorithm", "Algorithms", &["ES256", "EdDSA", "ML-DSA-44", "ML-DSA-65"]),
    ("attestation", "Attestation", &["packed", "self", "none", "fido-u2f", "enterprise"]),
    (
        "status",
        "Statuses (§8.2)",
        &[
            "SUCCESS",
            "INVALID_COMMAND",
            "INVALID_PARAMETER",
            "INVALID_LENGTH",
            "INVALID_SEQ",
            "CBOR_UNEXPECTED_TYPE",
            "INVALID_CBOR",
            "MISSING_PARAMETER",
            "LIMIT_EXCEEDED",
            "FP_DATABASE_FULL",
            "LARGE_BLOB_STORAGE_FULL",
            "CREDENTIAL_EXCLUDED",
            "UNSUPPORTED_ALGORITHM",
            "OPERATION_DENIED",
            "KEY_STORE_FULL",
            "UNSUPPORTED_OPTION",
            "INVALID_OPTION",
            "KEEPALIVE_CANCEL",
            "NO_CREDENTIALS",
            "USER_ACTION_TIMEOUT",
            "NOT_ALLOWED",
            "PIN_INVALID",
            "PIN_BLOCKED",
            "PIN_AUTH_INVALID",
            "PIN_AUTH_BLOCKED",
            "PIN_NOT_SET",
            "PUAT_REQUIRED",
            "PIN_POLICY_VIOLATION",
            "UV_BLOCKED",
            "INTEGRITY_FAILURE",
            "INVALID_SUBCOMMAND",
            "UV_INVALID",
            "UNAUTHORIZED_PERMISSION",
        ],
    ),
    (
        "status word",
        "U2F status words (U2F Raw Message Formats §3.3)",
        &["0x6700", "0x6985", "0x6986", "0x6A80", "0x6D00", "0x6E00"],
    ),
    (
        "error",
        "CTAPHID errors (§11.2.9.1.6)",
        &[
            "ERR_INVALID_CMD",
            "ERR_INVALID_LEN",
            "ERR_INVALID_SEQ",
            "ERR_MSG_TIMEOUT",
            "ERR_CHANNEL_BUSY",
            "ERR_INVALID_CHANNEL",
        ],
    ),
];

const HEAD: &str = "\
# Conformance: what there is, and the tests that show it

Made by `cargo xtask conformance` from the tests in [`tests/conformance`](../tests/conformance), which say what they cover;
CI fails if this page is not what the tool makes of them. The tests speak to the key over USB/IP, as a host does. More
tests, inside the crates, are not counted here.
";

/// Writes the page.
pub(crate) fn write() -> Result<()> {
    let page = page()?;
    std::fs::write(path(), page).map_err(|error| format!("{}: {error}", path().display()))
}

/// Is the page what the tests say?
pub(crate) fn check() -> Result<bool> {
    let there = std::fs::read_to_string(path()).unwrap_or_default();
    let good = there == page()?;
    if !good {
        println!("docs/conformance.md is not what the tests say: run `cargo xtask conformance`");
    }
    Ok(good)
}

fn path() -> std::path::PathBuf {
    root().join("docs/conformance.md")
}

fn page() -> Result<String> {
    let folder = root().join("tests/conformance");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .map_err(|error| format!("{}: {error}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.sort();
    let mut covered = Covered::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        read(&file, &text, &mut covered)?;
    }
    Ok(print(&covered))
}

/// From what is covered, `status INVALID_SEQ`, to the tests that do.
type Covered = BTreeMap<String, Vec<String>>;

/// Reads what the tests of a file say.
fn read(file: &Path, text: &str, covered: &mut Covered) -> Result<()> {
    let section = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let mut words = String::new();
    let mut reading = false;
    for line in text.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("///") {
            let comment = comment.trim();
            if let Some(first) = comment.strip_prefix("Covers:") {
                words = first.into();
                reading = true;
            } else if reading && !comment.is_empty() {
                words.push(' ');
                words.push_str(comment);
            } else {
                reading = false;
            }
        } else if let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
            for word in words.split(';').map(str::trim).filter(|word| !word.is_empty()) {
                if !is_known(word) {
                    return Err(format!("{}: {}: there is nothing called “{word}”", file.display(), name.0));
                }
                covered.entry(word.into()).or_default().push(format!("{section}::{}", name.0));
            }
            words.clear();
            reading = false;
        }
    }
    Ok(())
}

fn is_known(word: &str) -> bool {
    is_section(word)
        || WORDS.iter().any(|(kind, _, names)| {
            word.strip_prefix(kind)
                .and_then(|rest| rest.strip_prefix(' '))
                .is_some_and(|name| names.contains(&name))
        })
}

/// `§6.5.5.7`, also with the steps of a list: `§6.1.2 step 3`.
fn is_section(word: &str) -> bool {
    word.strip_prefix('§').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// The numbers in a section's name, by which it is in order.
fn numbers(section: &str) -> Vec<u32> {
    section.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

fn print(covered: &Covered) -> String {
    let mut page = String::from(HEAD);
    let mut missing = Vec::new();
    for (kind, title, names) in WORDS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n| {kind} | tests |\n| --- | --- |\n");
        for name in *names {
            let word = format!("{kind} {name}");
            let tests = covered.get(&word).map(|tests| tests.join(", "));
            if tests.is_none() {
                missing.push(word);
            }
            let _ = writeln!(page, "| `{name}` | {} |", tests.as_deref().unwrap_or("—"));
        }
    }
    page.push_str("\n## Sections of CTAP 2.3\n\n| section | tests |\n| --- | --- |\n");
    let mut sections: Vec<_> = covered.iter().filter(|(word, _)| is_section(word)).collect();
    sections.sort_by_key(|(word, _)| numbers(word));
    for (section, tests) in sections {
        let _ = writeln!(page, "| {section} | {} |", tests.join(", "));
    }
    let _ = match missing.is_empty() {
        true => writeln!(page, "\nEvery line has a test."),
        false => writeln!(page, "\nWithout a test here: {}.", missing.join(", ")),
    };
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_says_is_read() {
        let text = "
            /// It does.
            ///
            /// Covers: §6.10; §6.2 step 3; option rk; status NOT_ALLOWED;
            /// extension credBlob
            #[test]
            fn one() {}

            fn helper() {}

            /// Covers: option rk
            #[test]
            fn two() {}
        ";
        let mut covered = Covered::new();
        read(Path::new("tests/conformance/s9_x.rs"), text, &mut covered).unwrap();
        assert_eq!(covered["option rk"], ["s9_x::one", "s9_x::two"]);
        assert_eq!(covered["extension credBlob"], ["s9_x::one"]);
        assert_eq!(covered.len(), 5);
        let page = print(&covered);
        assert!(page.contains("| `rk` | s9_x::one, s9_x::two |") && page.contains("| `up` | — |"));
        let place = |section: &str| page.find(section).unwrap();
        assert!(place("| §6.2 step 3 | s9_x::one |") < place("| §6.10 | s9_x::one |"));
        assert!(page.contains("Without a test here: command authenticatorMakeCredential,"));
    }

    #[test]
    fn a_word_that_is_none_is_an_error() {
        let text = "/// Covers: status NEVER_HEARD_OF\nfn one() {}";
        read(Path::new("x.rs"), text, &mut Covered::new()).unwrap_err();
    }
}
