//! authenticatorGetAssertion and authenticatorGetNextAssertion (CTAP 2.3 §6.2, §6.3).

use std::vec;

use ciborium::Value;

use super::client::*;
use crate::{Authenticator, Operation, Presence};

const SITE: &str = "example.com";
const NEXT: &[u8] = &[0x08];

#[test]
fn signs_with_a_named_credential() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let one = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    let two = make(&mut key, &Make::new(SITE, b"2")).unwrap();
    platform.finger.asked();
    let got = get(&mut key, &Get::new(SITE).allow(&[&[1; 20], two.id(), one.id()])).unwrap();
    assert_eq!(got.credential_id, two.id(), "the first that fits");
    two.verify(&got.auth_data.raw, &got.signature);
    assert_eq!((got.auth_data.flags, got.auth_data.raw.len()), (0x01, 37));
    assert_eq!((got.user, got.number), (None, None));
    let asked = platform.finger.asked();
    assert_eq!((asked.len(), asked[0].operation), (1, Operation::Authenticate));
}

#[test]
fn the_count_rises_by_one_and_survives_power_cycles() {
    let (mut flash, platform) = blank();
    let mut last = 0;
    let mut made = None;
    for boot in 0..4 {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        let made = made.get_or_insert_with(|| make(&mut key, &Make::new(SITE, b"1")).unwrap());
        let first = sign_in(&mut key, SITE, made).unwrap();
        assert!(first > last, "boot {boot}");
        for more in 1..150 {
            last = sign_in(&mut key, SITE, made).unwrap();
            assert_eq!(last, first + more, "boot {boot}");
        }
        assert_eq!(get(&mut key, &Get::new("other")).unwrap_err(), 0x2e);
        platform.finger.script([Presence::Denied]);
        assert_eq!(sign_in(&mut key, SITE, made), Err(0x27));
        last += 1;
        assert_eq!(sign_in(&mut key, SITE, made), Ok(last), "what was refused costs no count");
    }
}

#[test]
fn nothing_to_sign_with_is_said_without_a_touch() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    platform.finger.asked();
    assert_eq!(get(&mut key, &Get::new(SITE)).unwrap_err(), 0x2e);
    assert_eq!(get(&mut key, &Get::new("other.example").allow(&[made.id()])).unwrap_err(), 0x2e);
    let other_type = map([("id", bytes(made.id())), ("type", text("secret"))]);
    let request = Get::new(SITE).with(3, Value::Array(vec![other_type]));
    assert_eq!(get(&mut key, &request).unwrap_err(), 0x2e);
    assert_eq!(platform.finger.asked(), []);
}

#[test]
fn up_false_asks_for_no_touch() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    platform.finger.asked();
    let silent = Get::new(SITE).allow(&[made.id()]).with(5, map([("up", Value::Bool(false))]));
    let got = get(&mut key, &silent).unwrap();
    assert_eq!(got.auth_data.flags, 0);
    made.verify(&got.auth_data.raw, &got.signature);
    assert_eq!(platform.finger.asked(), []);
}

#[test]
fn wrong_requests_get_the_right_status() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    platform.finger.asked();
    let good = Get::new(SITE).allow(&[made.id()]);
    for missing in [1, 2] {
        let mut request = good.clone();
        request.0.retain(|(key, _)| *key != missing);
        assert_eq!(get(&mut key, &request).unwrap_err(), 0x14);
    }
    for wrong in 1..=7 {
        assert_eq!(get(&mut key, &good.clone().with(wrong, Value::Null)).unwrap_err(), 0x11, "{wrong}");
    }
    let bad_second = Value::Array(vec![descriptor(made.id()), Value::from(1)]);
    let many = Value::Array(vec![descriptor(&[1; 32]); 33]);
    for (number, value, status, what) in [
        (2, bytes(&[0; 33]), 0x03, "a hash of 33 bytes"),
        (3, bad_second, 0x11, "a bad entry behind a good one"),
        (3, many, 0x15, "more than maxCredentialCountInList"),
        (5, map([("rk", Value::Bool(false))]), 0x2b, "rk"),
        (5, map([("uv", Value::Bool(true))]), 0x2c, "uv without a sensor"),
        (6, bytes(&[1; 16]), 0x14, "pinUvAuthParam without protocol"),
    ] {
        assert_eq!(get(&mut key, &good.clone().with(number, value)).unwrap_err(), status, "{what}");
    }
    assert_eq!(platform.finger.asked(), []);
}

#[test]
fn finds_discoverable_ones_newest_first() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = [b"1", b"2", b"3"].map(|user| make(&mut key, &Make::new(SITE, user).discoverable()).unwrap());
    make(&mut key, &Make::new("other.example", b"1").discoverable()).unwrap();
    make(&mut key, &Make::new(SITE, b"4")).unwrap();
    platform.finger.asked();

    let first = get(&mut key, &Get::new(SITE)).unwrap();
    assert_eq!(first.number, Some(3));
    let mut answers = vec![first];
    for _ in 0..2 {
        answers.push(got(&send(&mut key, NEXT).unwrap()));
    }
    assert_eq!(send(&mut key, NEXT).unwrap_err(), 0x30, "NOT_ALLOWED");
    assert_eq!(platform.finger.asked().len(), 1, "one touch for all");
    for (index, (answer, made)) in answers.iter().zip(made.iter().rev()).enumerate() {
        assert_eq!(answer.credential_id, made.id());
        made.verify(&answer.auth_data.raw, &answer.signature);
        let user = [b"3", b"2", b"1"][index];
        assert_eq!(answer.user, Some(vec![(text("id"), bytes(user))]), "no names without verification");
        assert_eq!(answer.number.is_some(), index == 0);
        assert_eq!(answer.auth_data.count, answers[0].auth_data.count + index as u32);
    }
}

#[test]
fn an_enumeration_ends_early() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    for user in [b"1", b"2", b"3"] {
        make(&mut key, &Make::new(SITE, user).discoverable()).unwrap();
    }
    let start = Get::new(SITE).message();

    assert_eq!(send(&mut key, NEXT).unwrap_err(), 0x30, "none was begun");

    send(&mut key, &start).unwrap();
    platform.clock.advance(29_999);
    send(&mut key, NEXT).expect("within 30 s");
    platform.clock.advance(30_000);
    assert_eq!(send(&mut key, NEXT).unwrap_err(), 0x30, "30 s after the last one");

    send(&mut key, &start).unwrap();
    send(&mut key, &[0x04]).unwrap();
    assert_eq!(send(&mut key, NEXT).unwrap_err(), 0x30, "another command came between");

    send(&mut key, &start).unwrap();
    key.ctap1(&[0, 3, 0, 0], &mut [0; 64]);
    assert_eq!(send(&mut key, NEXT).unwrap_err(), 0x30, "U2F came between");

    send(&mut key, &start).unwrap();
    assert_eq!(send_on(&mut key, CHANNEL + 1, NEXT).unwrap_err(), 0x30, "another channel");
    assert_eq!(send(&mut key, NEXT).unwrap_err(), 0x30, "and it is gone for the first one too");
}

#[test]
fn cred_protect_hides() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let made = [1u8, 2, 3].map(|level| {
        let protect = map([("credProtect", Value::from(level))]);
        make(&mut key, &Make::new(SITE, &[level]).discoverable().with(6, protect)).unwrap()
    });
    let found = get(&mut key, &Get::new(SITE)).unwrap();
    assert_eq!((found.credential_id.as_slice(), found.number), (made[0].id(), None));
    for (made, status) in made.iter().zip([None, None, Some(0x2e)]) {
        assert_eq!(sign_in(&mut key, SITE, made).err(), status);
    }
}

#[test]
fn discoverable_ones_survive_a_power_cycle_in_order() {
    let (mut flash, platform) = blank();
    let made = {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        [b"1", b"2", b"3"].map(|user| make(&mut key, &Make::new(SITE, user).discoverable()).unwrap())
    };
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(get(&mut key, &Get::new(SITE)).unwrap().credential_id, made[2].id());
    let newest = make(&mut key, &Make::new(SITE, b"4").discoverable()).unwrap();
    let found = get(&mut key, &Get::new(SITE)).unwrap();
    assert_eq!((found.credential_id.as_slice(), found.number), (newest.id(), Some(4)));
}
