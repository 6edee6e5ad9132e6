//! authenticatorConfig, and what its settings do elsewhere (CTAP 2.3 §6.11).

use std::vec;
use std::vec::Vec;

use ciborium::Value;

use super::client::*;
use super::client_pin::{PIN, PinToken, change_pin, pin, set_pin};
use super::u2f;
use crate::Authenticator;
use crate::testing::Platform;

const SITE: &str = "example.com";
const ENTERPRISE: u8 = 1;
const ALWAYS_UV: u8 = 2;
const MIN_PIN_LENGTH: u8 = 3;
const LONG_TOUCH: u8 = 4;
const CONFIGURE: u8 = 0x20;

fn message(subcommand: u8, params: Option<Value>, token: Option<&PinToken>) -> Vec<u8> {
    let mut all = vec![(1u8, Value::from(subcommand))];
    let mut signed = vec![0xff; 32];
    signed.extend_from_slice(&[0x0d, subcommand]);
    if let Some(params) = params {
        ciborium::into_writer(&params, &mut signed).unwrap();
        all.push((2, params));
    }
    if let Some(token) = token {
        all.push((3, token.agreed.protocol.into()));
        all.push((4, token.sign(&signed)));
    }
    let mut message = vec![0x0d];
    ciborium::into_writer(&map(all), &mut message).unwrap();
    message
}

pub(super) fn config(
    key: &mut Authenticator<'_, Platform>,
    subcommand: u8,
    params: Option<Value>,
    token: Option<&PinToken>,
) -> Result<(), u8> {
    send(key, &message(subcommand, params, token)).map(|answer| assert!(answer.is_empty()))
}

fn configurer(key: &mut Authenticator<'_, Platform>, pin: &str) -> PinToken {
    PinToken::get(key, 2, pin, Some((CONFIGURE, None))).unwrap()
}

#[test]
fn a_protected_key_wants_a_token() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(send(&mut key, &[0x0d, 0xa0]), Err(0x14));
    for unknown in [0, 1, 4, 5, 0xff] {
        assert_eq!(config(&mut key, unknown, None, None), Err(0x02), "subcommand {unknown}");
    }
    set_pin(&mut key, 2, PIN).unwrap();
    assert_eq!(config(&mut key, ALWAYS_UV, None, None), Err(0x36));
    let other = PinToken::get(&mut key, 2, PIN, Some((0x04, None))).unwrap();
    assert_eq!(config(&mut key, ALWAYS_UV, None, Some(&other)), Err(0x33));
    let token = configurer(&mut key, PIN);
    config(&mut key, ALWAYS_UV, None, Some(&token)).unwrap();
    assert_eq!(option(&mut key, "alwaysUv"), Some(true));
    config(&mut key, ALWAYS_UV, None, Some(&token)).unwrap();
    assert_eq!(option(&mut key, "alwaysUv"), Some(false));
}

#[test]
fn always_uv_lets_nothing_pass_without_the_pin() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    config(&mut key, ALWAYS_UV, None, None).unwrap();
    assert_eq!(option(&mut key, "makeCredUvNotRqd"), Some(false));
    assert!(!info(&mut key, 1).unwrap().into_array().unwrap().contains(&text("U2F_V2")));
    platform.finger.asked();

    assert_eq!(make(&mut key, &Make::new(SITE, b"2")).unwrap_err(), 0x36, "even with no PIN set");
    let request = Get::new(SITE).allow(&[made.id()]);
    assert_eq!(get(&mut key, &request).unwrap_err(), 0x36);
    let silent = request.clone().with(5, map([("up", Value::Bool(false))]));
    assert_eq!(get(&mut key, &silent).unwrap().auth_data.flags, 0);
    for apdu in [u2f::version(), u2f::register_request(&[1; 32], &[2; 32])] {
        let mut response = [0; 1024];
        let length = key.ctap1(&apdu, &mut response);
        assert_eq!(response[..length], [0x69, 0x86]);
    }
    assert_eq!(config(&mut key, MIN_PIN_LENGTH, None, None), Err(0x36));
    assert_eq!(platform.finger.asked(), []);

    set_pin(&mut key, 2, PIN).unwrap();
    let token = PinToken::get(&mut key, 2, PIN, Some((3, Some(SITE)))).unwrap();
    assert_eq!(get(&mut key, &token.assert(request)).unwrap().auth_data.flags, 0x05);
    drop(key);

    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(option(&mut key, "alwaysUv"), Some(true), "it is kept");
    let token = configurer(&mut key, PIN);
    config(&mut key, ALWAYS_UV, None, Some(&token)).unwrap();
    sign_in(&mut key, SITE, &made).unwrap();
}

/// Without a PIN there is no token: who turned it on can turn it off.
#[test]
fn always_uv_shuts_nobody_out() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    for _ in 0..2 {
        config(&mut key, ALWAYS_UV, None, None).unwrap();
    }
    make(&mut key, &Make::new(SITE, b"1")).unwrap();
}

#[test]
fn the_minimum_pin_length_only_rises() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let length = |length: u64| Some(map([(1, Value::from(length))]));
    config(&mut key, MIN_PIN_LENGTH, length(6), None).unwrap();
    assert_eq!(info(&mut key, 0x0d), Some(6.into()));
    for bad in [5, 64, 300] {
        assert_eq!(config(&mut key, MIN_PIN_LENGTH, length(bad), None), Err(0x37), "{bad}");
    }
    assert_eq!(set_pin(&mut key, 2, "12345"), Err(0x37));
    set_pin(&mut key, 2, "271828").unwrap();
    assert_eq!(info(&mut key, 0x0c), Some(false.into()));

    let token = configurer(&mut key, "271828");
    config(&mut key, MIN_PIN_LENGTH, None, Some(&token)).expect("nothing to change");
    config(&mut key, MIN_PIN_LENGTH, length(6), Some(&token)).expect("the same");
    assert_eq!(info(&mut key, 0x0c), Some(false.into()));
    config(&mut key, MIN_PIN_LENGTH, length(8), Some(&token)).unwrap();
    assert_eq!(info(&mut key, 0x0c), Some(true.into()), "the PIN is too short now");
    assert_eq!(config(&mut key, MIN_PIN_LENGTH, length(9), Some(&token)), Err(0x33), "its tokens ended");
    drop(key);

    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(info(&mut key, 0x0c), Some(true.into()));
    assert_eq!(PinToken::get(&mut key, 2, "271828", None).err(), Some(0x31));
    assert_eq!(PinToken::get(&mut key, 2, "271828", Some((4, None))).err(), Some(0x37));
    change_pin(&mut key, 2, "271828", "27182818").unwrap();
    assert_eq!(info(&mut key, 0x0c), Some(false.into()));
    configurer(&mut key, "27182818");
}

#[test]
fn a_pin_that_must_change_must_change() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let force = Some(map([(3, Value::Bool(true))]));
    assert_eq!(config(&mut key, MIN_PIN_LENGTH, force.clone(), None), Err(0x35), "there is none");
    set_pin(&mut key, 2, PIN).unwrap();
    let token = configurer(&mut key, PIN);
    config(&mut key, MIN_PIN_LENGTH, force, Some(&token)).unwrap();
    assert_eq!(change_pin(&mut key, 2, PIN, PIN), Err(0x37));
    change_pin(&mut key, 2, PIN, "2718").unwrap();
    change_pin(&mut key, 2, "2718", "2718").expect("when it need not change");
}

#[test]
fn only_listed_sites_learn_the_policy() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let asks = map([("minPinLength", Value::Bool(true)), ("pinComplexityPolicy", Value::Bool(true))]);
    let learns = |key: &mut Authenticator<'_, Platform>, site| {
        make(key, &Make::new(site, b"1").with(6, asks.clone())).unwrap().auth_data.extensions
    };
    assert_eq!(learns(&mut key, SITE), None);
    let sites = |sites: &[&str]| Value::Array(sites.iter().map(|site| text(site)).collect());
    let params = map([(1, 5.into()), (2, sites(&[SITE, "two.example"])), (4, true.into())]);
    config(&mut key, MIN_PIN_LENGTH, Some(params), None).unwrap();
    let told = map([("minPinLength", 5.into()), ("pinComplexityPolicy", true.into())]);
    assert_eq!(learns(&mut key, SITE), Some(told.clone()));
    assert_eq!(learns(&mut key, "two.example"), Some(told));
    assert_eq!(learns(&mut key, "three.example"), None);
    let many = sites(&[SITE; 9]);
    assert_eq!(config(&mut key, MIN_PIN_LENGTH, Some(map([(1, 6.into()), (2, many)])), None), Err(0x28));
    assert_eq!(info(&mut key, 0x0d), Some(5.into()), "all or nothing");
    config(&mut key, MIN_PIN_LENGTH, Some(map([(2, sites(&["three.example"]))])), None).unwrap();
    assert_eq!(learns(&mut key, SITE), None, "a new list takes the old one's place");
}

#[test]
fn the_complexity_policy_refuses_simple_pins() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    set_pin(&mut key, 2, "1111").unwrap();
    let token = configurer(&mut key, "1111");
    config(&mut key, MIN_PIN_LENGTH, Some(map([(4, true.into())])), Some(&token)).unwrap();
    assert_eq!(info(&mut key, 0x1b), Some(true.into()));
    assert_eq!(info(&mut key, 0x0c), Some(true.into()), "the PIN breaks it");
    assert_eq!(change_pin(&mut key, 2, "1111", "1234"), Err(0x37));
    change_pin(&mut key, 2, "1111", "2718").unwrap();
}

#[test]
fn a_long_touch_is_asked_for_where_it_was_enabled() {
    let (mut flash, mut platform) = blank();
    platform.identity.long_touch = true;
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    assert_eq!(info(&mut key, 0x18), Some(false.into()));
    config(&mut key, LONG_TOUCH, None, None).unwrap();
    assert_eq!(info(&mut key, 0x18), Some(true.into()));
    send(&mut key, &[0x0b]).unwrap();
    assert!(!platform.finger.asked()[0].long_touch);
    send(&mut key, &[0x07]).unwrap();
    assert!(platform.finger.asked()[0].long_touch);
    assert_eq!(info(&mut key, 0x18), Some(false.into()), "a reset takes it back");
}

#[test]
fn enterprise_attestation_says_which_key_it_is() {
    let (mut flash, mut platform) = blank();
    platform.identity.enterprise_attestation = true;
    platform.enterprise_rp = SITE;
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let request = |site: &str, kind: u64| Make::new(site, b"1").with(10, kind.into());
    assert_eq!(option(&mut key, "ep"), Some(false));
    assert_eq!(make(&mut key, &request(SITE, 3)).unwrap_err(), 0x02, "disabled comes first");
    config(&mut key, ENTERPRISE, None, None).unwrap();
    config(&mut key, ENTERPRISE, None, None).expect("again is fine");
    assert_eq!(option(&mut key, "ep"), Some(true));
    assert_eq!(make(&mut key, &request(SITE, 3)).unwrap_err(), 0x2c);

    let mut certificate = |request: Make| {
        let answer = send(&mut key, &request.message()).unwrap();
        let statement = member(&answer, 3).unwrap().into_map().unwrap();
        let x5c = statement.into_iter().find(|(name, _)| *name == text("x5c")).unwrap().1;
        let x5c = x5c.into_array().unwrap();
        assert_eq!(x5c.len(), 1);
        (x5c[0].clone().into_bytes().unwrap(), member(&answer, 4))
    };
    let (plain, told) = certificate(Make::new(SITE, b"1"));
    assert_eq!(told, None);
    let own = |(own, told): (Vec<u8>, Option<Value>)| {
        assert_ne!(own, plain);
        assert_eq!(told, Some(Value::Bool(true)));
        // id-fido-gen-ce-sernum
        assert!(own.windows(11).any(|part| part == b"\x2b\x06\x01\x04\x01\x82\xe5\x1c\x01\x01\x02"));
    };
    own(certificate(request(SITE, 1)));
    own(certificate(request("other.example", 2)));
    own(certificate(request(SITE, 2).with(11, Value::Array([text("none")].into()))));
    assert_eq!(certificate(request("other.example", 1)), (plain.clone(), None), "not for this site");
    send(&mut key, &[0x07]).unwrap();
    assert_eq!(option(&mut key, "ep"), Some(false));
}

/// The persistent token reads, and does nothing else (§6.5.5.7, pcmr).
#[test]
fn a_persistent_token_reads_until_the_pin_changes() {
    use super::credential_management::manage;
    const READ: u8 = 0x40;
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    for user in [b"1", b"2"] {
        make(&mut key, &Make::new(SITE, user).discoverable()).unwrap();
    }
    set_pin(&mut key, 2, PIN).unwrap();
    assert_eq!(PinToken::get(&mut key, 2, PIN, Some((READ | 4, None))).err(), Some(0x40));
    let reader = PinToken::get(&mut key, 2, PIN, Some((READ, None))).unwrap();
    let again = PinToken::get(&mut key, 1, PIN, Some((READ, None))).unwrap();
    assert_eq!(reader.token, again.token);
    let rp = map([(1, bytes(&<sha2::Sha256 as sha2::Digest>::digest(SITE)))]);
    drop(key);

    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    platform.clock.advance(3_600_000);
    for token in [&reader, &again] {
        manage(&mut key, 1, None, Some(token)).unwrap();
        manage(&mut key, 2, None, Some(token)).unwrap();
        let first = manage(&mut key, 4, Some(rp.clone()), Some(token)).unwrap();
        manage(&mut key, 5, None, None).expect("the second credential");
        let id = member(&first, 7).unwrap();
        assert_eq!(manage(&mut key, 6, Some(map([(2, id)])), Some(token)), Err(0x33), "it deletes nothing");
    }
    assert_eq!(config(&mut key, ALWAYS_UV, None, Some(&reader)), Err(0x33));
    change_pin(&mut key, 2, PIN, "2718").unwrap();
    assert_eq!(manage(&mut key, 1, None, Some(&reader)), Err(0x33));
}

/// The encrypted members of getInfo: who holds the persistent token recognizes the key and sees changes.
#[test]
fn encrypted_members_change_when_they_should() {
    use super::credential_management::manage;
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    let open = |key: &mut Authenticator<'_, Platform>| {
        let token = PinToken::get(key, 2, PIN, Some((0x40, None))).unwrap().token;
        let answer = send(key, &[0x04]).unwrap();
        let plain = |number, label: &[u8]| {
            let sealed = member(&answer, number).unwrap().into_bytes().unwrap();
            assert_eq!(sealed.len(), 32);
            (open_member(&token, label, &sealed), sealed)
        };
        (plain(0x19, b"encIdentifier"), plain(0x1e, b"encCredStoreState"))
    };
    let token = |key: &mut Authenticator<'_, Platform>, permission, site| {
        PinToken::get(key, 2, PIN, Some((permission, site))).unwrap()
    };
    let ((identifier, sealed), (mut state, _)) = open(&mut key);
    let ((again, fresh), (same, _)) = open(&mut key);
    assert_eq!((again, same), (identifier.clone(), state.clone()));
    assert_ne!(sealed, fresh, "another initialization vector each time");

    make(&mut key, &Make::new(SITE, b"1")).unwrap();
    assert_eq!(open(&mut key).1.0, state, "nothing was stored");
    let mut seen = vec![state.clone()];
    let mut changed = |key: &mut Authenticator<'_, Platform>, what: &str| {
        let ((same, _), (now, _)) = open(key);
        assert_eq!(same, identifier);
        assert!(!seen.contains(&now), "{what}");
        seen.push(now.clone());
        now
    };
    let request = token(&mut key, 1, Some(SITE)).make(Make::new(SITE, b"1").discoverable());
    let made = make(&mut key, &request).unwrap();
    changed(&mut key, "created");
    let request = token(&mut key, 1, Some(SITE)).make(Make::new(SITE, b"1").discoverable());
    let made = make(&mut key, &request).map(|new| (made, new).1).unwrap();
    state = changed(&mut key, "replaced");
    sign_in(&mut key, SITE, &made).unwrap();
    drop(key);
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(open(&mut key).1.0, state);
    let id = descriptor(made.id());
    let user = map([("id", bytes(b"1")), ("name", text("new"))]);
    let manager = token(&mut key, 4, None);
    manage(&mut key, 7, Some(map([(2, id.clone()), (3, user)])), Some(&manager)).unwrap();
    changed(&mut key, "updated");
    let manager = token(&mut key, 4, None);
    manage(&mut key, 6, Some(map([(2, id)])), Some(&manager)).unwrap();
    changed(&mut key, "deleted");
    send(&mut key, &[0x07]).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    assert_ne!(open(&mut key).0.0, identifier, "a reset makes it another key");
}

fn open_member(token: &[u8], label: &[u8], sealed: &[u8]) -> Vec<u8> {
    use super::client_pin::mac;
    use aes::Aes128;
    use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
    let prk = mac(&[0; 32], token);
    let okm = mac(&prk, &[label, &[1]].concat());
    let key: [u8; 16] = okm[..16].try_into().unwrap();
    let iv: [u8; 16] = sealed[..16].try_into().unwrap();
    let mut block: [u8; 16] = sealed[16..].try_into().unwrap();
    cbc::Decryptor::<Aes128>::new(&key.into(), &iv.into()).decrypt_block((&mut block).into());
    block.to_vec()
}

#[test]
fn uv_subcommands_need_a_sensor() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(pin(&mut key, 2, 6, &[]), Err(0x3e));
    assert_eq!(pin(&mut key, 2, 7, &[]), Err(0x3e));
    for command in [0x09, 0x40] {
        assert_eq!(send(&mut key, &[command, 0xa1, 0x06, 0xf5]), Err(0x01));
    }
}
