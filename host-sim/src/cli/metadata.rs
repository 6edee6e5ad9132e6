//! `brasskey metadata`: the FIDO metadata statement of a key (FIDO Metadata Statements 3.1), made from what the key itself
//! says.

use super::info::{AAGUID_MEMBER, get_info, json_value, uuid};
use super::model::ModelArguments;
use super::{ImageArgument, hex, print};
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use brasskey_authenticator::AttestationPolicy;
use ciborium::Value;
use clap::Args;
use serde_json::json;

/// A key, 32 pixels square.
const ICON: &[u8] = include_bytes!("icon.png");

/// What must stand in every statement (§3).
const LEGAL_HEADER: &str = "Submission of this statement and retrieval and use of this statement indicates acceptance of \
                            the appropriate agreement located at \
                            https://fidoalliance.org/metadata/metadata-legal-terms/.";

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageArgument,

    #[command(flatten)]
    model: ModelArguments,
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let model = self.model.model();
        let key = self.image.key_of(model.clone())?;
        let members = get_info(&key)?;
        let root = key.with_authenticator(|key| key.attestation_root().to_vec())?;
        let statement = statement(&members, model.attestation, &root)?;
        print(format!("{statement:#}\n").as_bytes())
    }
}

fn statement(
    members: &[(String, Value)],
    attestation: AttestationPolicy,
    root: &[u8],
) -> anyhow::Result<serde_json::Value> {
    let member = |name: &str| members.iter().find(|(member, _)| member == name).map(|(_, value)| value);
    let aaguid = member(AAGUID_MEMBER).and_then(Value::as_bytes).context("getInfo has no aaguid")?;
    let texts =
        |name| member(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_text);
    let number = |name| member(name).map(json_value);
    let upv: Vec<_> = texts("versions")
        .filter_map(|version| match version {
            "FIDO_2_0" => Some(json!({ "major": 1, "minor": 0 })),
            "FIDO_2_1" => Some(json!({ "major": 1, "minor": 1 })),
            "FIDO_2_3" => Some(json!({ "major": 1, "minor": 3 })),
            _ => None,
        })
        .collect();
    let identifiers =
        member("algorithms").and_then(Value::as_array).into_iter().flatten().filter_map(|parameters| {
            let entries = parameters.as_map()?;
            let (_, alg) = entries.iter().find(|(key, _)| key.as_text() == Some("alg"))?;
            alg.as_integer().map(i128::from)
        });
    // ML-DSA has no name in the FIDO Registry of Predefined Values yet.
    let algorithms: Vec<_> = identifiers
        .filter_map(|identifier| match identifier {
            -7 => Some("secp256r1_ecdsa_sha256_raw"),
            -8 => Some("ed25519_eddsa_sha512_raw"),
            _ => None,
        })
        .collect();
    let (attestation_types, roots) = match attestation {
        AttestationPolicy::Packed => (vec!["basic_full"], vec![STANDARD.encode(root)]),
        AttestationPolicy::SelfSigned => (vec!["basic_surrogate"], vec![]),
        AttestationPolicy::None => (vec!["none"], vec![]),
    };
    let presence = json!({ "userVerificationMethod": "presence_internal" });
    let passcode = json!({
        "userVerificationMethod": "passcode_external",
        "caDesc": { "base": 64, "minLength": number("minPINLength"), "maxRetries": 8, "blockSlowdown": 0 },
    });
    let mut verification = vec![json!([presence]), json!([passcode]), json!([passcode, presence])];
    let options = member("options").and_then(Value::as_map).into_iter().flatten();
    if options.into_iter().any(|(name, _)| name.as_text() == Some("bioEnroll")) {
        let fingerprint = json!({ "userVerificationMethod": "fingerprint_internal" });
        verification.extend([json!([fingerprint]), json!([fingerprint, presence])]);
    }
    Ok(json!({
        "legalHeader": LEGAL_HEADER,
        "description": "Brasskey, a security key as a virtual USB device",
        "aaguid": uuid(aaguid),
        "authenticatorVersion": number("firmwareVersion"),
        "protocolFamily": "fido2",
        "schema": 3,
        "upv": upv,
        "authenticationAlgorithms": algorithms,
        "publicKeyAlgAndEncodings": ["cose"],
        "attestationTypes": attestation_types,
        "userVerificationDetails": verification,
        // A file on a disk, which whoever can read has the key.
        "keyProtection": ["software"],
        "matcherProtection": ["software"],
        "cryptoStrength": 128,
        "attachmentHint": ["external", "wired"],
        "tcDisplay": [],
        "attestationRootCertificates": roots,
        "icon": format!("data:image/png;base64,{}", STANDARD.encode(ICON)),
        "authenticatorGetInfo": authenticator_get_info(members),
    }))
}

/// As the key answers it; what is encrypted anew each time is only declared.
fn authenticator_get_info(members: &[(String, Value)]) -> serde_json::Map<String, serde_json::Value> {
    let declared = |(name, value): &(String, Value)| {
        let value = match (name.as_str(), value) {
            ("encIdentifier" | "encCredStoreState", _) => json!(""),
            (AAGUID_MEMBER, Value::Bytes(bytes)) => json!(hex(bytes)),
            (_, value) => json_value(value),
        };
        (name.clone(), value)
    };
    members.iter().map(declared).collect()
}
