//! authenticatorMakeCredential (CTAP 2.3 §6.1).

use std::vec;

use ciborium::Value;

use super::client::*;
use crate::testing::Platform;
use crate::{AttestationPolicy, Authenticator, Operation, Presence};

const SITE: &str = "example.com";

#[test]
fn attests_with_the_keys_own_certificate() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    assert_eq!(made.format, "packed");
    assert_eq!(made.auth_data.flags, 0x41, "UP and AT");
    assert_eq!(made.auth_data.count, 0);
    assert_eq!(made.auth_data.aaguid, Some(platform.identity.aaguid));
    assert_eq!(made.statement[0], (text("alg"), Value::from(ES256)));
    let leaf = made.statement[2].1.as_array().unwrap()[0].as_bytes().unwrap();
    let at = leaf.windows(3).position(|bytes| bytes == [0x03, 0x42, 0x00]).unwrap();
    let message = [&made.auth_data.raw[..], &HASH].concat();
    verify_es256(&leaf[at + 3..at + 68], &message, made.statement[1].1.as_bytes().unwrap());

    let asked = platform.finger.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].operation, Operation::Register);
    assert_eq!(asked[0].rp_id.as_deref(), Some(SITE));
    assert_eq!(asked[0].user.as_deref(), Some("user 49"));
    assert_eq!(asked[0].timeout_ms, 30_000);
}

#[test]
fn attests_with_the_credential_or_not_at_all() {
    for policy in [AttestationPolicy::SelfSigned, AttestationPolicy::None] {
        let (mut flash, mut platform) = blank();
        platform.identity.attestation = policy;
        let mut key = Authenticator::boot(&mut flash, platform).unwrap();
        for algorithm_id in [ES256, EDDSA] {
            let request = Make::new(SITE, b"1").with(4, Value::Array(vec![algorithm(algorithm_id)]));
            let made = make(&mut key, &request).unwrap();
            if policy == AttestationPolicy::None {
                assert_eq!((made.format.as_str(), made.statement.len()), ("none", 0));
                continue;
            }
            assert_eq!(made.format, "packed");
            assert_eq!(made.statement.len(), 2, "no x5c");
            assert_eq!(made.statement[0], (text("alg"), Value::from(algorithm_id)));
            made.verify(&made.auth_data.raw, made.statement[1].1.as_bytes().unwrap());
        }
    }
}

#[test]
fn the_site_may_ask_for_no_attestation() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    for (preference, format) in [
        (Value::Array(vec![text("none")]), "none"),
        (Value::Array(vec![text("tpm"), text("packed")]), "packed"),
        (Value::Array(vec![text("none"), text("packed")]), "packed"),
        (Value::Array(vec![]), "packed"),
        (text("none"), "packed"),
        (Value::Array(vec![Value::from(1)]), "packed"),
    ] {
        assert_eq!(make(&mut key, &Make::new(SITE, b"1").with(0x0b, preference)).unwrap().format, format);
    }
}

#[test]
fn the_first_algorithm_that_works_wins() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    for (offered, taken) in
        [(vec![-257, EDDSA, ES256], EDDSA), (vec![ES256, EDDSA], ES256), (vec![-1, ES256], ES256)]
    {
        let list = offered.into_iter().map(algorithm).collect();
        let made = make(&mut key, &Make::new(SITE, b"1").with(4, Value::Array(list))).unwrap();
        assert_eq!(member(&made.auth_data.cose_key, 3), Some(Value::from(taken)));
        assert!(sign_in(&mut key, SITE, &made).is_ok());
    }
    let other_type = map([("alg", Value::from(ES256)), ("type", text("private-key"))]);
    for none in [vec![], vec![algorithm(-257)], vec![other_type]] {
        let request = Make::new(SITE, b"1").with(4, Value::Array(none));
        assert_eq!(make(&mut key, &request).unwrap_err(), 0x26, "UNSUPPORTED_ALGORITHM");
    }
}

#[test]
fn wrong_requests_get_the_right_status_and_no_touch() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let good = Make::new(SITE, b"1");
    for missing in 1..=4 {
        assert_eq!(make(&mut key, &good.clone().without(missing)).unwrap_err(), 0x14, "{missing}");
    }
    for wrong in 1..=0x0a {
        let request = good.clone().with(wrong, Value::Null);
        assert_eq!(make(&mut key, &request).unwrap_err(), 0x11, "{wrong}");
    }
    let bad_second = Value::Array(vec![algorithm(ES256), map([("type", text("public-key"))])]);
    let id_missing = Value::Array(vec![map([("type", text("public-key"))])]);
    let option = |name, value| map([(name, Value::Bool(value))]);
    for (key_number, value, status, what) in [
        (1, bytes(&[0; 31]), 0x03, "a hash of 31 bytes"),
        (2, map([("name", text("x"))]), 0x14, "rp without id"),
        (3, map([("id", bytes(&[1; 65]))]), 0x03, "user.id of 65 bytes"),
        (3, map([("id", text("1"))]), 0x11, "user.id as text"),
        (3, map([("id", bytes(b"1")), ("name", Value::from(1))]), 0x11, "user.name as a number"),
        (4, bad_second, 0x14, "a bad entry behind a good one"),
        (5, id_missing, 0x14, "a descriptor without id"),
        (7, map([("rk", Value::from(1))]), 0x11, "rk as a number"),
        (7, option("up", false), 0x2c, "up false"),
        (7, option("uv", true), 0x2c, "uv without a sensor"),
        (8, bytes(&[1; 16]), 0x14, "pinUvAuthParam without protocol"),
        (0x0a, Value::from(1), 0x02, "enterprise attestation"),
        (6, map([("credProtect", Value::from(4))]), 0x2c, "credProtect 4"),
        (6, map([("credProtect", text("1"))]), 0x11, "credProtect as text"),
    ] {
        let mut request = good.clone().with(key_number, value);
        request.0.sort_by_key(|(key, _)| *key);
        assert_eq!(make(&mut key, &request).unwrap_err(), status, "{what}");
    }
    let request = good.clone().with(8, bytes(&[1; 16])).with(9, Value::from(1));
    assert_eq!(make(&mut key, &request).unwrap_err(), 0x33, "a param without a token");
    let request = request.with(9, Value::from(3));
    assert_eq!(make(&mut key, &request).unwrap_err(), 0x02, "a protocol that the key does not have");
    assert_eq!(platform.finger.asked(), [], "no touch for any of them");
    make(&mut key, &good.with(7, option("up", true))).unwrap();
}

#[test]
fn unknown_members_are_passed_over() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let request = Make::new(SITE, b"1")
        .with(6, map([("uvm", Value::Bool(true)), ("appid", text("x"))]))
        .with(7, map([("plat", Value::from(7))]))
        .with(0x17, text("later"));
    let made = make(&mut key, &request).unwrap();
    assert_eq!(made.auth_data.extensions, None);
}

#[test]
fn a_touch_for_choosing_a_key() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let request = Make::new(SITE, b"1").with(8, bytes(&[])).with(9, Value::from(1));
    assert_eq!(make(&mut key, &request).unwrap_err(), 0x35, "PIN_NOT_SET");
    assert_eq!(platform.finger.asked().len(), 1);
    platform.finger.script([Presence::TimedOut]);
    assert_eq!(make(&mut key, &request).unwrap_err(), 0x2f);
}

#[test]
fn without_consent_nothing_is_made() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    for (answer, status) in
        [(Presence::Denied, 0x27), (Presence::TimedOut, 0x2f), (Presence::Cancelled, 0x2d)]
    {
        platform.finger.script([answer]);
        assert_eq!(make(&mut key, &Make::new(SITE, b"1").discoverable()).unwrap_err(), status);
    }
    assert_eq!(get(&mut key, &Get::new(SITE)).unwrap_err(), 0x2e);
}

#[test]
fn an_excluded_credential_takes_a_touch_to_tell() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    for first in [Make::new(SITE, b"1"), Make::new(SITE, b"2").discoverable()] {
        let made = make(&mut key, &first).unwrap();
        let list = Value::Array(vec![descriptor(&[7; 40]), descriptor(made.id())]);
        platform.finger.asked();
        assert_eq!(make(&mut key, &Make::new(SITE, b"3").with(5, list.clone())).unwrap_err(), 0x19);
        assert_eq!(platform.finger.asked().len(), 1);
        make(&mut key, &Make::new("other.example", b"3").with(5, list)).unwrap();
    }
}

#[test]
fn one_that_needs_verification_stays_hidden() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let protect = |level: u8| map([("credProtect", Value::from(level))]);
    for (level, seen) in [(1, true), (2, true), (3, false)] {
        let made = make(&mut key, &Make::new(SITE, &[level]).with(6, protect(level))).unwrap();
        assert_eq!(made.auth_data.extensions, Some(protect(level)));
        assert_eq!(made.auth_data.flags, 0xc1, "UP, AT and ED");
        let again = Make::new(SITE, b"9").with(5, Value::Array(vec![descriptor(made.id())]));
        assert_eq!(make(&mut key, &again).err(), seen.then_some(0x19), "level {level}");
    }
}

#[test]
fn the_same_account_replaces_its_credential() {
    let (mut flash, mut platform) = blank();
    platform.identity.max_discoverable = 2;
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let old = make(&mut key, &Make::new(SITE, b"1").discoverable()).unwrap();
    let other = make(&mut key, &Make::new(SITE, b"1 and more").discoverable()).unwrap();
    platform.finger.asked();
    let full = Make::new(SITE, b"2").discoverable();
    assert_eq!(make(&mut key, &full).unwrap_err(), 0x28, "KEY_STORE_FULL");
    assert_eq!(platform.finger.asked().len(), 1, "after the touch");
    let new = make(&mut key, &Make::new(SITE, b"1").discoverable()).expect("also in a full store");
    assert_eq!(sign_in(&mut key, SITE, &old), Err(0x2e));
    sign_in(&mut key, SITE, &other).unwrap();
    sign_in(&mut key, SITE, &new).unwrap();
    let newest = get(&mut key, &Get::new(SITE)).unwrap();
    assert_eq!(newest.credential_id, new.id());
    make(&mut key, &Make::new(SITE, b"2")).expect("one that is not discoverable needs no room");
}

#[test]
fn every_credential_id_has_the_same_length() {
    let (mut flash, platform) = blank();
    let mut key: Authenticator<'_, Platform> = Authenticator::boot(&mut flash, platform).unwrap();
    let short = make(&mut key, &Make::new("a", b"1")).unwrap();
    let long = Make::new(&"a".repeat(300), &[2; 64]).discoverable();
    let long = make(&mut key, &long.with(4, Value::Array(vec![algorithm(EDDSA)]))).unwrap();
    assert_eq!(short.id().len(), long.id().len());
    sign_in(&mut key, &"a".repeat(300), &long).unwrap();
}

/// ML-DSA, where it was asked for: with every attestation, and after a power cycle.
#[test]
fn post_quantum_credentials() {
    use crate::AttestationPolicy::{None, Packed, SelfSigned};
    for (cose, public, signature) in [(-48, 1312, 2420), (-49, 1952, 3309)] {
        for attestation in [Packed, SelfSigned, None] {
            let (mut flash, mut platform) = blank();
            platform.identity.attestation = attestation;
            let request =
                Make::new(SITE, b"1").with(4, Value::Array([algorithm(cose)].into())).discoverable();
            let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
            assert_eq!(make(&mut key, &request).unwrap_err(), 0x26, "not asked for");
            drop(key);
            platform.identity.post_quantum = true;
            let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
            let listed = info(&mut key, 0x0a).unwrap().into_array().unwrap();
            assert_eq!(listed, [-7, -8, -48, -49].map(algorithm));
            let made = make(&mut key, &request).unwrap();
            let key_type = [(1, 7.into()), (3, cose.into())];
            assert_eq!(made.auth_data.cose_key[..2], key_type);
            assert_eq!(member(&made.auth_data.cose_key, -1).unwrap().as_bytes().unwrap().len(), public);
            drop(key);
            let mut key = Authenticator::boot(&mut flash, platform).unwrap();
            let got = get(&mut key, &Get::new(SITE)).unwrap();
            assert_eq!(got.signature.len(), signature);
            made.verify(&got.auth_data.raw, &got.signature);
        }
    }
}
