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

#[test]
fn reset_voids_every_credential_and_leaves_none_in_the_flash() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let stateless = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    let stored = make(&mut key, &Make::new(SITE, b"the-account-42").discoverable()).unwrap();
    let root = key.attestation_root().to_vec();
    sign_in(&mut key, SITE, &stateless).unwrap();
    drop(key);

    let storage = flash.into_storage();
    let find = |raw: &[u8], what: &[u8]| raw.windows(what.len()).any(|bytes| bytes == what);
    let old = [stored.id(), b"the-account-42", SITE.as_bytes()];
    assert!(old.iter().all(|what| find(storage.raw(), what)), "the search finds what is there");
    // The secret is the first file: what any dump of the flash would look for.
    let marker = storage.raw().windows(6).position(|bytes| bytes == b"secret").unwrap();
    let secret = storage.raw()[marker..marker + 64].to_vec();
    assert!(secret.windows(32).any(|bytes| bytes.iter().filter(|&&byte| byte != 0).count() > 24));

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
    for what in old {
        assert!(!find(storage.raw(), what));
    }
    let marker = storage.raw().windows(6).position(|bytes| bytes == b"secret").unwrap();
    assert_ne!(storage.raw()[marker..marker + 64], secret);
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
