//! What the owner does without a host is what a host would do.

use super::client::*;
use super::client_pin::{PIN, PinToken};
use crate::testing::Platform;
use crate::{Authenticator, Refusal};

const SITE: &str = "example.com";

#[test]
fn a_pin_is_set_and_changed() {
    let (mut flash, platform) = blank();
    {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        assert_eq!(key.change_pin(PIN, "2718"), Err(Refusal::PinIsNotSet));
        assert_eq!(key.set_pin("123"), Err(Refusal::PinPolicy));
        assert_eq!(key.set_pin(&"1".repeat(64)), Err(Refusal::PinPolicy));
        key.set_pin(PIN).unwrap();
        assert_eq!(key.set_pin(PIN), Err(Refusal::PinIsSet));
        assert_eq!(key.change_pin("0000", "2718"), Err(Refusal::PinIsWrong(7)));
        assert_eq!(key.change_pin(PIN, "1"), Err(Refusal::PinPolicy));
        key.change_pin(PIN, "2718").unwrap();
    }
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    PinToken::get(&mut key, 2, "2718", None).unwrap();
}

/// Wrong PINs cost tries here as they do over USB.
#[test]
fn no_more_tries_than_over_usb() {
    let (mut flash, platform) = blank();
    Authenticator::boot(&mut flash, platform.clone()).unwrap().set_pin(PIN).unwrap();
    for left in (0..8).rev() {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        let refusal = if left == 0 { Refusal::PinIsBlocked } else { Refusal::PinIsWrong(left) };
        assert_eq!(key.change_pin("0000", "2718"), Err(refusal));
    }
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(key.change_pin(PIN, "2718"), Err(Refusal::PinIsBlocked));
}

#[test]
fn credentials_are_renamed_and_deleted() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let stateless = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"2").discoverable()).unwrap();
    for id in [stateless.id(), &[1; 113], &[]] {
        assert_eq!(key.delete_credential(id), Err(Refusal::NoSuchCredential));
        assert_eq!(key.rename_credential(id, None, None), Err(Refusal::NoSuchCredential));
    }
    let names = |key: &Authenticator<'_, Platform>| {
        let mut names = (None, None);
        key.credentials(|credential| {
            let owned = |name: Option<&str>| name.map(std::string::String::from);
            names = (owned(credential.user_name), owned(credential.user_display_name));
        })
        .unwrap();
        names
    };
    key.rename_credential(made.id(), Some(&"é".repeat(40)), Some("")).unwrap();
    assert_eq!(names(&key), (Some("é".repeat(32)), None), "cut on a character");
    sign_in(&mut key, SITE, &made).unwrap();
    key.delete_credential(made.id()).unwrap();
    assert_eq!(sign_in(&mut key, SITE, &made), Err(0x2e));
    assert_eq!(names(&key), (None, None));
}
