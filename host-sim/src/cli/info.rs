//! `brasskey info`: authenticatorGetInfo (CTAP 2.3 §6.4) in words.

use super::model::ModelArguments;
use super::{ImageArgument, hex, print};
use anyhow::{Context, bail};
use brasskey::{Key, printable};
use brasskey_usb::MAX_MESSAGE_SIZE;
use ciborium::Value;
use clap::Args;
use serde_json::json;
use std::fmt::Write;

const GET_INFO: u8 = 0x04;

/// The members' names, by number from 0x01.
const MEMBERS: [&str; 0x1F] = [
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
    "certifications",
    "remainingDiscoverableCredentials",
    "vendorPrototypeConfigCommands",
    "attestationFormats",
    "uvCountSinceLastPinEntry",
    "longTouchForReset",
    "encIdentifier",
    "transportsForReset",
    "pinComplexityPolicy",
    "pinComplexityPolicyURL",
    "maxPINLength",
    "encCredStoreState",
    "authenticatorConfigCommands",
];

pub(super) const AAGUID_MEMBER: &str = "aaguid";

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageArgument,

    #[command(flatten)]
    model: ModelArguments,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What the key answers to getInfo: names and values, in the order of their numbers.
pub(super) fn get_info(key: &Key) -> anyhow::Result<Vec<(String, Value)>> {
    let response = key.with_authenticator(|key| {
        let mut response = vec![0; usize::from(MAX_MESSAGE_SIZE)];
        let length = key.ctap2(1, &[GET_INFO], &mut response);
        response.truncate(length);
        response
    })?;
    members(&response)
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let members = get_info(&self.image.key_of(self.model.model())?)?;
        let text = if self.json { as_json(&members) } else { in_words(&members) };
        print(text.as_bytes())
    }
}

/// Status byte and map, as names and values.
fn members(response: &[u8]) -> anyhow::Result<Vec<(String, Value)>> {
    let [0, body @ ..] = response else { bail!("the key does not answer getInfo: {}", hex(response)) };
    let map: Value = ciborium::from_reader(body).context("getInfo is not CBOR")?;
    let map = map.into_map().ok().context("getInfo is no map")?;
    let named = map.into_iter().map(|(number, value)| {
        let number = number.as_integer().and_then(|number| usize::try_from(number).ok());
        let number = number.context("a member of getInfo has no number")?;
        let name = number.checked_sub(1).and_then(|index| MEMBERS.get(index));
        Ok((name.map_or_else(|| format!("{number:#04x}"), |name| (*name).into()), value))
    });
    named.collect()
}

/// 8-4-4-4-12 digits.
pub(super) fn uuid(bytes: &[u8]) -> String {
    let mut digits = hex(bytes);
    for at in [20, 16, 12, 8] {
        if digits.is_char_boundary(at) {
            digits.insert(at, '-');
        }
    }
    digits
}

fn as_json(members: &[(String, Value)]) -> String {
    let members = members.iter().map(|(name, value)| match value {
        Value::Bytes(bytes) if name == AAGUID_MEMBER => (name.clone(), json!(uuid(bytes))),
        value => (name.clone(), json_value(value)),
    });
    format!("{:#}\n", serde_json::Value::Object(members.collect()))
}

pub(super) fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Bytes(bytes) => json!(hex(bytes)),
        Value::Array(items) => items.iter().map(json_value).collect(),
        Value::Map(entries) => entries.iter().map(|(key, value)| (plain(key), json_value(value))).collect(),
        Value::Text(text) => json!(text),
        Value::Bool(value) => json!(value),
        Value::Integer(number) => match i64::try_from(*number) {
            Ok(number) => json!(number),
            Err(_) => json!(i128::from(*number).to_string()),
        },
        other => json!(format!("{other:?}")),
    }
}

fn in_words(members: &[(String, Value)]) -> String {
    let width = members.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in members {
        let value = match (name.as_str(), value) {
            (AAGUID_MEMBER, Value::Bytes(bytes)) => uuid(bytes),
            ("options", Value::Map(options)) => options
                .iter()
                .map(|(option, value)| match value {
                    Value::Bool(true) => plain(option),
                    Value::Bool(false) => format!("no {}", plain(option)),
                    other => format!("{} {}", plain(option), plain(other)),
                })
                .collect::<Vec<_>>()
                .join(", "),
            ("algorithms", Value::Array(algorithms)) => {
                algorithms.iter().map(algorithm).collect::<Vec<_>>().join(", ")
            }
            ("authenticatorConfigCommands", Value::Array(commands)) => {
                commands.iter().map(config_command).collect::<Vec<_>>().join(", ")
            }
            ("uvModality", Value::Integer(modality)) => match i128::from(*modality) {
                FINGERPRINT_INTERNAL => "fingerprint".into(),
                other => format!("{other:#x}"),
            },
            ("encIdentifier" | "encCredStoreState", Value::Bytes(bytes)) => {
                format!("{} (encrypted, fresh each time)", hex(bytes))
            }
            ("firmwareVersion", Value::Integer(version)) => {
                // As bcdDevice has it: two digits and two digits.
                let version = i128::from(*version);
                format!("{:x}.{}.{}", version >> 8, version >> 4 & 15, version & 15)
            }
            (name, Value::Integer(number)) => format!("{}{}", i128::from(*number), unit(name)),
            (_, value) => plain(value),
        };
        // Writing to a String cannot fail.
        writeln!(text, "{name:width$}  {value}").ok();
    }
    text
}

/// fingerprint_internal (FIDO Registry of Predefined Values §3.1).
const FINGERPRINT_INTERNAL: i128 = 2;

/// What a number counts, where the name does not say it.
fn unit(member: &str) -> &'static str {
    match member {
        "maxMsgSize" | "maxCredentialIdLength" | "maxSerializedLargeBlobArray" | "maxCredBlobLength" => {
            " bytes"
        }
        "minPINLength" | "maxPINLength" => " characters",
        _ => "",
    }
}

/// The name of an authenticatorConfig subcommand (CTAP 2.3 §6.11).
fn config_command(command: &Value) -> String {
    match command.as_integer().map(i128::from) {
        Some(1) => "enableEnterpriseAttestation".into(),
        Some(2) => "toggleAlwaysUv".into(),
        Some(3) => "setMinPINLength".into(),
        Some(4) => "enableLongTouchForReset".into(),
        _ => plain(command),
    }
}

fn algorithm(parameters: &Value) -> String {
    let entries = parameters.as_map().map(Vec::as_slice).unwrap_or_default();
    let alg =
        entries.iter().find(|(key, _)| key.as_text() == Some("alg")).and_then(|(_, alg)| alg.as_integer());
    match alg.map(i128::from) {
        Some(-7) => "ES256 (-7)".into(),
        Some(-8) => "EdDSA (-8)".into(),
        Some(-48) => "ML-DSA-44 (-48)".into(),
        Some(-49) => "ML-DSA-65 (-49)".into(),
        _ => plain(parameters),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => printable(text),
        Value::Bytes(bytes) => hex(bytes),
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| format!("{} {}", plain(key), plain(value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(map: Value) -> Vec<u8> {
        let mut bytes = vec![0];
        ciborium::into_writer(&map, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn members_have_names_and_words() {
        let options = vec![(Value::from("rk"), true.into()), ("clientPin".into(), false.into())];
        let es256 = vec![("alg".into(), (-7).into()), ("type".into(), "public-key".into())];
        let bytes = response(Value::Map(vec![
            (1.into(), Value::Array(vec!["FIDO_2_0".into(), "U2F_V2\x1b".into()])),
            (3.into(), Value::Bytes((0..16).collect())),
            (4.into(), Value::Map(options)),
            (10.into(), Value::Array(vec![Value::Map(es256)])),
            (0x1F.into(), Value::Array(vec![1.into(), 2.into()])),
            (0x60.into(), "later".into()),
        ]));
        let members = members(&bytes).unwrap();
        assert_eq!(
            in_words(&members),
            "versions                     FIDO_2_0, U2F_V2\\u{1b}\n\
             aaguid                       00010203-0405-0607-0809-0a0b0c0d0e0f\n\
             options                      rk, no clientPin\n\
             algorithms                   ES256 (-7)\n\
             authenticatorConfigCommands  enableEnterpriseAttestation, toggleAlwaysUv\n\
             0x60                         later\n"
        );
        let json: serde_json::Value = serde_json::from_str(&as_json(&members)).unwrap();
        assert_eq!(json["aaguid"], "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(json["options"]["clientPin"], false);
        assert_eq!(json["algorithms"][0]["alg"], -7);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(members(&[]).is_err());
        assert!(members(&[0x01]).is_err());
        assert!(members(&[0x00]).is_err());
        assert!(members(&response(5.into())).is_err());
        assert!(members(&response(Value::Map(vec![("a".into(), 1.into())]))).is_err());
    }
}
