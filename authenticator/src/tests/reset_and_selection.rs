//! authenticatorReset and authenticatorSelection (CTAP 2.3 §6.6, §6.9).

use super::client::*;
use crate::{Authenticator, Flash, Operation, Presence};

const SITE: &str = "example.com";

#[test]
fn reset_needs_a_touch_soon_after_power_up() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1").discoverable()).unwrap();
    platform.finger.asked();
    platform.clock.advance(10_001);
    assert_eq!(send(&mut key, &[0x07]).unwrap_err(), 0x30, "NOT_ALLOWED");
    assert_eq!(platform.finger.asked(), []);
    sign_in(&mut key, SITE, &made).unwrap();
    drop(key);

    let platform = crate::testing::Platform::new();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    platform.clock.advance(10_000);
    for (answer, status) in
        [(Presence::Denied, 0x27), (Presence::TimedOut, 0x2f), (Presence::Cancelled, 0x2d)]
    {
        platform.finger.script([answer]);
        assert_eq!(send(&mut key, &[0x07]).unwrap_err(), status);
    }
    sign_in(&mut key, SITE, &made).expect("nothing was lost");
    platform.finger.asked();
    assert!(send(&mut key, &[0x07]).unwrap().is_empty());
    assert_eq!(platform.finger.asked()[0].operation, Operation::Reset);
}

/// After a reset nothing of the life before is in the flash: neither what the key stored nor what it derived keys
/// from. Only the attestation stays.
#[test]
fn reset_voids_every_credential_and_leaves_nothing_in_the_flash() {
    use super::bio_enrollment::enroll;
    use super::large_blobs::{array, write_blobs};
    let (mut flash, mut platform) = blank();
    platform.sensor = Some(crate::testing::FingerprintSensor::default());
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let stateless = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    let blob = map([("credBlob", bytes(b"a blob of a credential"))]);
    let request = Make::new(SITE, b"the-account-42").discoverable().with(6, blob);
    let stored = make(&mut key, &request).unwrap();
    // Longer than what littlefs keeps inline, and over another one.
    write_blobs(&mut key, &array(&[0xa5; 1500])).unwrap();
    write_blobs(&mut key, &array(&[0x5a; 1500])).unwrap();
    let root = key.attestation_root().to_vec();
    sign_in(&mut key, SITE, &stateless).unwrap();
    key.set_pin("2718").unwrap();
    key.change_pin("2718", "3141").unwrap();
    enroll(&mut key, 0xc3, "3141").unwrap();
    let persistent_token = key.store.state().persistent_token;
    let secret = key.store.secret_for_tests();
    let wrapping_key = *key.store.wrapping_key();
    drop(key);

    let storage = flash.into_storage();
    let find = |raw: &[u8], what: &[u8]| raw.windows(what.len()).any(|bytes| bytes == what);
    let pin_hash = |pin: &str| crate::pin::hash(pin.as_bytes());
    let old: [(&str, &[u8]); 10] = [
        ("credential ID", stored.id()),
        ("account", b"the-account-42"),
        ("site", SITE.as_bytes()),
        ("credBlob", b"a blob of a credential"),
        ("large blobs", &[0x5a; 200]),
        ("large blobs of before", &[0xa5; 200]),
        ("PIN", &pin_hash("3141")),
        ("finger", &[0xc3; 32]),
        ("persistent token", &persistent_token),
        ("secret", &secret),
    ];
    for (what, old) in old {
        assert!(find(storage.raw(), old), "{what}: the search finds what is there");
    }
    assert!(!find(storage.raw(), &wrapping_key), "it is derived, not stored");

    let mut flash = Flash::new(storage);
    let mut key = Authenticator::boot(&mut flash, crate::testing::Platform::seeded(5)).unwrap();
    send(&mut key, &[0x07]).unwrap();
    for made in [&stateless, &stored] {
        assert_eq!(sign_in(&mut key, SITE, made), Err(0x2e));
    }
    assert_eq!(key.attestation_root(), root, "the attestation stays");
    let new = make(&mut key, &Make::new("new.example", b"1")).unwrap();
    assert_eq!(sign_in(&mut key, "new.example", &new), Ok(1), "the counter begins anew");
    drop(key);
    let storage = flash.into_storage();
    for (what, old) in old {
        assert!(!find(storage.raw(), old), "{what}");
    }
    assert!(!find(storage.raw(), &pin_hash("2718")) && !find(storage.raw(), &wrapping_key));
}

#[test]
fn selection_is_a_touch() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    assert!(send(&mut key, &[0x0b]).unwrap().is_empty());
    assert_eq!(platform.finger.asked()[0].operation, Operation::Select);
    for (answer, status) in
        [(Presence::Denied, 0x27), (Presence::TimedOut, 0x2f), (Presence::Cancelled, 0x2d)]
    {
        platform.finger.script([answer]);
        assert_eq!(send(&mut key, &[0x0b]).unwrap_err(), status);
    }
}

#[test]
fn wink_reaches_the_body() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    key.wink();
    assert_eq!(platform.finger.winks(), 1);
}
