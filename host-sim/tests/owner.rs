//! What the owner of an image does to it from a shell: PIN, names, deletion, metadata.

use brasskey::{ImageSource, Key, KeyOptions, PresencePolicy};
use ciborium::{Value, cbor};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs the program with these lines on its standard input, which is no terminal.
fn brasskey(image: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brasskey"));
    command.args(arguments).arg("--image").arg(image).env_remove("RUST_LOG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may refuse before it reads.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    child.wait_with_output().unwrap()
}

fn done(image: &Path, arguments: &[&str], input: &str) -> String {
    let output = brasskey(image, arguments, input);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit status 1, nothing on standard output, and one line that contains `hint` and nothing of `secret`.
fn refused(image: &Path, arguments: &[&str], input: &str, hint: &str) {
    let output = brasskey(image, arguments, input);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty());
    assert!(text.starts_with("brasskey: ") && text.contains(hint), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(input.lines().all(|secret| secret.is_empty() || !text.contains(secret)), "{text}");
}

/// An image with discoverable credentials for these users, and their IDs in hexadecimal.
fn image(folder: &Path, users: &[&str]) -> (PathBuf, Vec<String>) {
    let path = folder.join("key.img");
    let options = KeyOptions::new(ImageSource::File(path.clone())).presence(PresencePolicy::Auto);
    let ids = Key::new(options).with_authenticator(|key| {
        let mut response = vec![0; 7609];
        for user in users {
            let request = cbor!({
                1 => Value::Bytes(vec![1; 32]),
                2 => { "id" => "example.com" },
                3 => { "id" => Value::Bytes(user.as_bytes().to_vec()), "name" => *user, "displayName" => "A Person" },
                4 => [{ "alg" => -7, "type" => "public-key" }],
                7 => { "rk" => true },
            });
            let mut message = vec![1];
            ciborium::into_writer(&request.unwrap(), &mut message).unwrap();
            key.ctap2(1, &message, &mut response);
            assert_eq!(response[0], 0);
        }
        let mut ids = Vec::new();
        key.credentials(|one| ids.push(one.credential_id.iter().map(|byte| format!("{byte:02x}")).collect()))
            .unwrap();
        ids
    });
    (path, ids.unwrap())
}

#[test]
fn a_pin_is_set_and_changed() {
    let folder = tempfile::tempdir().unwrap();
    let (image, _) = image(folder.path(), &[]);
    refused(&image, &["pin", "change"], "0000\n2718\n", "no PIN is set");
    refused(&image, &["pin", "set"], "12\n", "does not accept");
    refused(&image, &["pin", "set"], "", "no PIN on standard input");
    assert_eq!(done(&image, &["pin", "set"], "2718\n"), "");
    assert!(done(&image, &["info"], "").contains(", clientPin,"));
    refused(&image, &["pin", "set"], "3141\n", "set already");
    refused(&image, &["pin", "change"], "0000\n3141\n", "7 tries are left");
    done(&image, &["pin", "change"], "2718\r\n3141\r\n");
    // The first of the three lines is right now, and none was lost: the count is that of a fresh PIN.
    refused(&image, &["pin", "change"], "0000\n2718\n", "7 tries are left");
}

#[test]
fn a_credential_is_named_by_its_first_digits() {
    let folder = tempfile::tempdir().unwrap();
    let (image, ids) = image(folder.path(), &["alice", "bob"]);
    // Every ID begins with the version of its format.
    refused(&image, &["credentials", "delete", "01", "--yes"], "", "2 credentials have an ID");
    refused(&image, &["credentials", "delete", "ff", "--yes"], "", "no discoverable credential");
    refused(&image, &["credentials", "delete", "bob", "--yes"], "", "hexadecimal digits");
    refused(&image, &["credentials", "delete", &ids[0]], "", "add --yes");
    let few = ids[1][..12].to_uppercase();
    done(&image, &["credentials", "rename", &few, "--name", "Robert"], "");
    let list = done(&image, &["credentials", "list"], "");
    assert!(list.contains("Robert (A Person)") && list.contains("alice (A Person)"), "{list}");
    done(&image, &["credentials", "rename", &few, "--name", "", "--display-name", "B"], "");
    let list = done(&image, &["credentials", "list"], "");
    assert!(list.contains("example.com  B\n"), "{list}");
    assert_eq!(brasskey(&image, &["credentials", "rename", &few], "").status.code(), Some(2), "to what?");
    done(&image, &["credentials", "delete", &few, "--yes"], "");
    let list = done(&image, &["credentials", "list"], "");
    assert!(list.contains(&ids[0]) && !list.contains(&ids[1]), "{list}");
}

#[test]
fn the_metadata_statement_says_what_the_key_says() {
    let folder = tempfile::tempdir().unwrap();
    let (image, _) = image(folder.path(), &[]);
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&done(&image, arguments, "")).unwrap()
    };
    let statement = json(&["metadata"]);
    let mut info = json(&["info", "--json"]);
    assert_eq!(statement["aaguid"], info["aaguid"]);
    assert_eq!(statement["authenticatorVersion"], info["firmwareVersion"]);
    assert_eq!(statement["attestationRootCertificates"].as_array().unwrap().len(), 1);
    info["aaguid"] = info["aaguid"].as_str().unwrap().replace('-', "").into();
    for encrypted in ["encIdentifier", "encCredStoreState"] {
        assert_eq!(info[encrypted].as_str().unwrap().len(), 64);
        info[encrypted] = "".into();
    }
    assert_eq!(statement["authenticatorGetInfo"], info);
    let upv = serde_json::json!([{ "major": 1, "minor": 0 }, { "major": 1, "minor": 1 }, { "major": 1, "minor": 3 }]);
    assert_eq!(statement["upv"], upv);

    let own = json(&["metadata", "--attestation", "self", "--profile", "2.1"]);
    assert_eq!(own["attestationTypes"], serde_json::json!(["basic_surrogate"]));
    assert_eq!(own["attestationRootCertificates"], serde_json::json!([]));
    assert_eq!(own["upv"].as_array().unwrap().len(), 2);
    let sensor = json(&["metadata", "--fingerprint"]);
    let methods = |statement: &serde_json::Value| statement["userVerificationDetails"].to_string();
    assert!(
        methods(&sensor).contains("fingerprint_internal") && !methods(&own).contains("fingerprint_internal")
    );
    let quantum = json(&["info", "--json", "--algorithms", "post-quantum"]);
    assert_eq!(quantum["algorithms"][3]["alg"], -49);
}
