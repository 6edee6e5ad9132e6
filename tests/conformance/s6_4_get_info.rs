//! authenticatorGetInfo (CTAP 2.3 §6.4): true, whole, and following the state.

use crate::key::{PIN, Served, info, number, option};
use brasskey_tests::client_pin::permission;
use brasskey_tests::ctap2::{GetAssertion, MakeCredential};
use brasskey_tests::{cbor, cose};
use ciborium::Value;

const SITE: &str = "example.com";

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_text().unwrap()).collect()
}

/// Covers: command authenticatorGetInfo; member versions; member extensions; member options; member transports;
/// member pinUvAuthProtocols; member algorithms; member attestationFormats; member transportsForReset
#[test]
fn what_fido_2_3_asks_for_is_there() {
    let served = Served::blank();
    let all = served.key.get_info().unwrap();
    let list = |number: u64| texts(cbor::get(&all, number).unwrap());
    assert_eq!(list(0x01), ["U2F_V2", "FIDO_2_0", "FIDO_2_1", "FIDO_2_3"]);
    for extension in
        ["credProtect", "hmac-secret", "minPinLength", "largeBlobKey", "credBlob", "hmac-secret-mc"]
    {
        assert!(list(0x02).contains(&extension), "{extension}");
    }
    for (name, value) in [
        ("rk", true),
        ("up", true),
        ("credMgmt", true),
        ("clientPin", false),
        ("pinUvAuthToken", true),
        ("authnrCfg", true),
        ("setMinPINLength", true),
        ("largeBlobs", true),
        ("alwaysUv", false),
        ("makeCredUvNotRqd", true),
        ("perCredMgmtRO", true),
    ] {
        assert_eq!(option(&served.key, name), Some(value), "{name}");
    }
    for absent in ["uv", "bioEnroll", "ep", "plat", "uvToken", "noMcGaPermissionsWithClientPin"] {
        assert_eq!(option(&served.key, absent), None, "{absent}");
    }
    assert_eq!(list(0x09), ["usb"]);
    assert_eq!(list(0x16), ["packed"]);
    assert_eq!(list(0x1a), ["usb"]);
    assert_eq!(cbor::get(&all, 0x06), Some(&Value::Array(vec![2.into(), 1.into()])));
    let commands = cbor::get(&all, 0x1f).unwrap().as_array().unwrap();
    assert!(commands.contains(&3.into()), "setMinPINLength goes with minPinLength");
    let algorithms = cbor::get(&all, 0x0a).unwrap().as_array().unwrap();
    let identifiers: Vec<_> =
        algorithms.iter().map(|entry| cbor::get(entry, "alg").unwrap().clone()).collect();
    assert_eq!(identifiers, [Value::from(cose::ES256), cose::EDDSA.into()]);
}

/// Covers: member maxMsgSize; member maxCredentialCountInList; member maxCredentialIdLength; member firmwareVersion;
/// member maxSerializedLargeBlobArray; member maxCredBlobLength; member maxRPIDsForSetMinPINLength; member maxPINLength
#[test]
fn sizes_are_what_the_specification_allows() {
    let served = Served::blank();
    let member = |member| number(&served.key, member).unwrap();
    assert!((1024..=7609).contains(&member(0x05)));
    assert!(member(0x07) >= 1 && member(0x08) >= 1 && member(0x0e) >= 1);
    assert!(member(0x0b) >= 1024, "the least that is allowed; 4096 are promised");
    assert!(member(0x0b) >= 4096);
    assert!(member(0x0f) >= 32);
    assert!(member(0x10) >= 1);
    assert_eq!((member(0x0d), member(0x1d)), (4, 63));
    let made = served.key.make_credential(&MakeCredential::new(SITE)).unwrap();
    assert_eq!(made.id().len() as u64, member(0x08));
}

/// Covers: member remainingDiscoverableCredentials; member minPINLength; member forcePINChange; option clientPin
#[test]
fn it_follows_the_state() {
    let served = Served::blank();
    let before = number(&served.key, 0x14).unwrap();
    served.key.make_credential(&MakeCredential::new(SITE)).unwrap();
    assert_eq!(number(&served.key, 0x14), Some(before));
    served.key.make_credential(&MakeCredential::discoverable(SITE, b"1")).unwrap();
    assert_eq!(number(&served.key, 0x14), Some(before - 1));
    assert_eq!(info(&served.key, 0x0c), Some(false.into()));
    assert_eq!(option(&served.key, "clientPin"), Some(false));
    served.key.set_pin(2, PIN).unwrap();
    assert_eq!(option(&served.key, "clientPin"), Some(true));
    let served = served.power_cycle();
    assert_eq!(number(&served.key, 0x14), Some(before - 1));
    assert_eq!(option(&served.key, "clientPin"), Some(true));
}

/// Two answers are equal but for what is encrypted anew; also after a power cycle.
///
/// Covers: member encIdentifier; member encCredStoreState
#[test]
fn the_rest_is_the_same_each_time() {
    let served = Served::blank();
    let plain = |served: &Served| {
        let Value::Map(mut members) = served.key.get_info().unwrap() else { panic!("no map") };
        let sealed = |key: &Value| *key == 0x19.into() || *key == 0x1e.into();
        let encrypted: Vec<_> = members.iter().filter(|(key, _)| sealed(key)).cloned().collect();
        assert_eq!(encrypted.len(), 2);
        assert!(encrypted.iter().all(|(_, value)| value.as_bytes().unwrap().len() == 32));
        members.retain(|(key, _)| !sealed(key));
        (members, encrypted)
    };
    let (first, sealed) = plain(&served);
    let (second, fresh) = plain(&served);
    assert_eq!(first, second);
    assert!(sealed.iter().zip(&fresh).all(|(a, b)| a != b), "a fresh initialization vector each time");
    let served = served.power_cycle();
    assert_eq!(plain(&served).0, first);
}

/// Covers: profile 2.1
#[test]
fn an_older_profile_says_nothing_newer() {
    let served = Served::with(&["--profile", "2.1"]);
    let all = served.key.get_info().unwrap();
    assert_eq!(texts(cbor::get(&all, 0x01).unwrap()), ["U2F_V2", "FIDO_2_0", "FIDO_2_1"]);
    assert!(all.as_map().unwrap().iter().all(|(key, _)| key.as_integer().unwrap() <= 0x15.into()));
    assert_eq!(option(&served.key, "perCredMgmtRO"), None);
    served.key.set_pin(2, PIN).unwrap();
    let made = served.key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let token = served.key.token_using_pin(2, PIN, permission::GET_ASSERTION, Some(SITE)).unwrap();
    let request = token.get_assertion(&GetAssertion::allow(SITE, &[made.id()]));
    assert_eq!(served.status(2, &request), 0);
}
