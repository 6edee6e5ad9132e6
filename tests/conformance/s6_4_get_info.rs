//! authenticatorGetInfo (CTAP 2.3 §6.4).

use brasskey_tests::ctap2::{MakeCredential, command, status::*};
use brasskey_tests::{Key, cbor};
use ciborium::Value;

use crate::{PIN, SITE, attached, option, power_cycle, refused};

fn texts(info: &Value, member: u8) -> Vec<String> {
    let list = cbor::get(info, member).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().map(|text| text.as_text().unwrap().to_owned()).collect()
}

fn numbers(info: &Value, member: u8) -> Vec<u64> {
    let list = cbor::get(info, member).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().map(|number| number.as_integer().unwrap().try_into().unwrap()).collect()
}

/// Covers: §6.4; command authenticatorGetInfo; member versions; member aaguid; member maxMsgSize;
/// member maxCredentialIdLength; member firmwareVersion; member transports
#[test]
fn what_every_key_says() {
    let (_simulator, key) = attached();
    let info = key.get_info().unwrap();
    let versions = texts(&info, 0x01);
    assert!(versions.contains(&"FIDO_2_0".into()) || versions.contains(&"FIDO_2_1".into()), "{versions:?}");
    let known = ["U2F_V2", "FIDO_2_0", "FIDO_2_1_PRE", "FIDO_2_1", "FIDO_2_3"];
    assert!(versions.iter().all(|version| known.contains(&&version[..])), "{versions:?}");
    assert_eq!(cbor::bytes(&info, 0x03).unwrap().len(), 16);
    assert!((1024..=7609).contains(&cbor::unsigned(&info, 0x05).unwrap()));
    assert!(texts(&info, 0x09).contains(&"usb".into()));
    assert!(cbor::unsigned(&info, 0x07).unwrap() >= 1);
    let made = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    assert!(cbor::unsigned(&info, 0x08).unwrap() as usize >= made.id().len());
    assert_eq!(made.credential().aaguid[..], cbor::bytes(&info, 0x03).unwrap());
    assert!(cbor::unsigned(&info, 0x0e).is_ok(), "firmwareVersion");
    assert!(
        info.as_map()
            .unwrap()
            .iter()
            .all(|(key, _)| { (1..=0x1f).contains(&i128::from(key.as_integer().unwrap())) })
    );
}

/// Covers: §6.4; member algorithms; member pinUvAuthProtocols; member extensions; member attestationFormats
#[test]
fn lists_have_no_doubles_and_say_what_works() {
    let (_simulator, key) = attached();
    let info = key.get_info().unwrap();
    for member in [0x01, 0x02, 0x09, 0x16, 0x1a] {
        let mut list = texts(&info, member);
        let length = list.len();
        list.sort();
        list.dedup();
        assert_eq!(list.len(), length, "{member:#04x}");
    }
    assert!(!texts(&info, 0x16).contains(&"none".into()));
    let algorithms = cbor::get(&info, 0x0a).unwrap().as_array().unwrap().clone();
    for entry in &algorithms {
        assert_eq!(cbor::text(entry, "type").unwrap(), "public-key");
        let alg = i64::try_from(cbor::get(entry, "alg").unwrap().as_integer().unwrap()).unwrap();
        // A key that this client cannot read is one that it was not told of.
        if [-7, -8].contains(&alg) {
            key.make_credential(&MakeCredential::new(SITE).algorithms(&[alg])).unwrap();
        }
    }
    assert!(numbers(&info, 0x06).contains(&2));
}

/// Covers: §6.4; §9; profile 2.3; option credMgmt; option authnrCfg; option pinUvAuthToken;
/// member versions; member options; member extensions; member maxRPIDsForSetMinPINLength;
/// member authenticatorConfigCommands
#[test]
fn a_key_that_says_2_3_has_what_2_3_asks_for() {
    let (_simulator, key) = attached();
    let info = key.get_info().unwrap();
    if !texts(&info, 0x01).contains(&"FIDO_2_3".into()) {
        return;
    }
    let extensions = texts(&info, 0x02);
    let has = |name: &str| extensions.iter().any(|extension| extension == name);
    assert!(has("hmac-secret"));
    if option(&key, "rk") == Some(true) {
        assert_eq!(option(&key, "credMgmt"), Some(true));
        assert!(option(&key, "clientPin").is_some() || option(&key, "uv").is_some());
    }
    if option(&key, "clientPin").is_some() {
        assert!(has("credProtect"));
        assert_eq!(option(&key, "pinUvAuthToken"), Some(true));
        assert!(numbers(&info, 0x06).contains(&2));
    }
    if has("minPinLength") {
        assert_eq!(option(&key, "setMinPINLength"), Some(true));
        assert!(numbers(&info, 0x1f).contains(&3));
        assert!(cbor::get(&info, 0x10).is_some());
    }
    if option(&key, "ep").is_some() {
        assert_eq!(option(&key, "authnrCfg"), Some(true));
        assert!(numbers(&info, 0x1f).contains(&1));
    }
    if option(&key, "largeBlobs") == Some(true) {
        assert!(cbor::unsigned(&info, 0x0b).unwrap() >= 1024);
    }
    if has("credBlob") {
        assert!(cbor::unsigned(&info, 0x0f).unwrap() >= 32);
    }
}

/// Covers: §6.4; member options; member minPINLength; member remainingDiscoverableCredentials;
/// option clientPin; option makeCredUvNotRqd
#[test]
fn it_follows_the_state() {
    let (_simulator, key) = attached();
    assert_eq!(option(&key, "clientPin"), Some(false));
    let before = key.get_info().unwrap();
    key.make_credential(&MakeCredential::discoverable(SITE, b"1")).unwrap();
    key.set_pin(2, PIN).unwrap();
    let after = key.get_info().unwrap();
    assert_eq!(option(&key, "clientPin"), Some(true));
    assert!(cbor::unsigned(&after, 0x0d).unwrap() >= 4);
    let remaining = |info| cbor::get(info, 0x14).map(|_| cbor::unsigned(info, 0x14).unwrap());
    if let (Some(before), Some(after)) = (remaining(&before), remaining(&after)) {
        assert_eq!(after, before - 1);
    }
}

/// Members that differ from one getInfo to the next: encrypted, with a fresh IV each time.
const ENCRYPTED: [u8; 2] = [0x19, 0x1e];

/// Covers: §6.4; command authenticatorGetInfo
#[test]
fn it_is_the_same_after_a_power_cycle() {
    let (simulator, key) = attached();
    key.set_pin(2, PIN).unwrap();
    let plain = |key: &Key| {
        let mut info = key.get_info().unwrap().into_map().unwrap();
        info.retain(|(member, _)| !ENCRYPTED.contains(&u8::try_from(member.as_integer().unwrap()).unwrap()));
        info
    };
    let before = plain(&key);
    let key = power_cycle(&simulator, key);
    assert_eq!(plain(&key), before);
}

/// Covers: §6.4; member encIdentifier; member encCredStoreState; permission pcmr
#[test]
fn what_is_encrypted_tells_the_owner_which_key_it_is() {
    use aes::Aes128;
    use brasskey_tests::client_pin::permission::PERSISTENT_READ_ONLY;
    use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
    use hmac::{Hmac, KeyInit, Mac};
    let (simulator, key) = crate::protected();
    let info = key.get_info().unwrap();
    if cbor::get(&info, 0x19).is_none() {
        return;
    }
    let mac = |key: &[u8], message: &[u8]| {
        let mut mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(key).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    };
    let open = |key: &Key, member: u8, info: &str| {
        // The persistent token is the same whenever it is asked for.
        let token = crate::token_for_all(key, PERSISTENT_READ_ONLY).secret;
        let secret = mac(&mac(&[0; 32], &token), &[info.as_bytes(), &[1]].concat());
        let sealed = cbor::bytes(&key.get_info().unwrap(), member).unwrap();
        assert_eq!(sealed.len(), 32);
        let mut block: [u8; 16] = sealed[16..].try_into().unwrap();
        let iv: [u8; 16] = sealed[..16].try_into().unwrap();
        let secret: [u8; 16] = secret[..16].try_into().unwrap();
        cbc::Decryptor::<Aes128>::new(&secret.into(), &iv.into()).decrypt_block((&mut block).into());
        (sealed, block)
    };
    let (sealed, identifier) = open(&key, 0x19, "encIdentifier");
    let (again, same) = open(&key, 0x19, "encIdentifier");
    assert_ne!(sealed, again, "a fresh IV");
    assert_eq!(identifier, same);
    let state = |key: &Key| open(key, 0x1e, "encCredStoreState").1;
    let empty = state(&key);
    key.make_credential(&MakeCredential::new(SITE)).unwrap();
    assert_eq!(state(&key), empty, "it is in no store");
    crate::resident(&key, SITE, b"1");
    let filled = state(&key);
    assert_ne!(filled, empty);
    let key = power_cycle(&simulator, key);
    assert_eq!(open(&key, 0x19, "encIdentifier").1, identifier);
    assert_eq!(state(&key), filled);
    // A reset makes another key of it.
    let key = crate::reset(&simulator, key);
    key.set_pin(2, PIN).unwrap();
    assert_ne!(open(&key, 0x19, "encIdentifier").1, identifier);
    assert_ne!(state(&key), filled);
}

/// Covers: §6.4; status INVALID_COMMAND; member options; command authenticatorBioEnrollment
#[test]
fn what_it_does_not_announce_it_does_not_do() {
    let (_simulator, key) = attached();
    for unknown in [0x00, 0x03, 0x05, 0x0e, 0x3f, 0x7f] {
        assert_eq!(refused(key.raw(unknown, &[])), INVALID_COMMAND, "{unknown:#04x}");
    }
    if option(&key, "bioEnroll").is_none() {
        for command in [command::BIO_ENROLLMENT, command::BIO_ENROLLMENT_PREVIEW] {
            assert_eq!(refused(key.raw(command, &[0xa1, 1, 1])), INVALID_COMMAND);
        }
    }
}

/// Covers: §6.4; profile 2.1; member versions; member extensions; member transportsForReset
#[test]
fn a_profile_for_platforms_that_know_no_more_than_2_1() {
    let options = ["--image", ":memory:", "--presence", "auto", "--profile", "2.1"];
    let simulator = brasskey_tests::Simulator::with(&options).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    let info = key.get_info().unwrap();
    assert_eq!(texts(&info, 0x01), ["U2F_V2", "FIDO_2_0", "FIDO_2_1"]);
    for newer in 0x16..=0x1f {
        assert!(cbor::get(&info, newer).is_none(), "{newer:#04x}");
    }
    for newer in ["hmac-secret-mc", "pinComplexityPolicy", "thirdPartyPayment"] {
        assert!(!texts(&info, 0x02).iter().any(|extension| extension == newer), "{newer}");
    }
    key.make_credential(&MakeCredential::new(SITE)).unwrap();
}
