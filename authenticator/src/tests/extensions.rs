//! credBlob, thirdPartyPayment and hmac-secret-mc (CTAP 2.3 §12).

use std::vec::Vec;

use ciborium::Value;

use super::client::*;
use super::client_pin::{Agreed, PIN, PinToken, set_pin};
use super::credential_management::manage;
use crate::Authenticator;
use crate::testing::Platform;

const SITE: &str = "example.com";

fn wish(name: &str, value: impl Into<Value>) -> Value {
    map([(name, value.into())])
}

fn output(extensions: &Option<Value>, name: &str) -> Option<Value> {
    let outputs = extensions.as_ref()?.as_map().unwrap();
    outputs.iter().find(|(key, _)| *key == text(name)).map(|(_, value)| value.clone())
}

#[test]
fn a_cred_blob_is_kept_with_a_discoverable_credential() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let mut keeps = |user: &[u8], blob: &[u8], discoverable: bool| {
        let request = Make::new(SITE, user).with(6, wish("credBlob", bytes(blob)));
        let request = if discoverable { request.discoverable() } else { request };
        let made = make(&mut key, &request).unwrap();
        let kept = output(&made.auth_data.extensions, "credBlob").unwrap().as_bool().unwrap();
        (made, kept)
    };
    let (with, kept) = keeps(b"1", &[7; 32], true);
    assert!(kept);
    let (without, kept) = keeps(b"2", &[7; 33], true);
    assert!(!kept, "too long");
    let (stateless, kept) = keeps(b"3", &[7; 32], false);
    assert!(!kept, "there is no record for it");
    let refused = Make::new(SITE, b"4").with(6, wish("credBlob", true));
    assert_eq!(make(&mut key, &refused).unwrap_err(), 0x11);
    drop(key);

    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    for (made, blob) in [(&with, &[7; 32][..]), (&without, &[]), (&stateless, &[])] {
        let request = Get::new(SITE).allow(&[made.id()]);
        let got = get(&mut key, &request.clone().with(4, wish("credBlob", true))).unwrap();
        assert_eq!(output(&got.auth_data.extensions, "credBlob"), Some(bytes(blob)));
        assert_eq!(get(&mut key, &request).unwrap().auth_data.extensions, None);
        let declined = get(&mut key, &request.with(4, wish("credBlob", false))).unwrap();
        assert_eq!(declined.auth_data.extensions, None);
    }
}

#[test]
fn a_payment_credential_says_so() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let request = Make::new(SITE, b"1").discoverable();
    let pays = make(&mut key, &request.with(6, wish("thirdPartyPayment", true))).unwrap();
    assert_eq!(output(&pays.auth_data.extensions, "thirdPartyPayment"), Some(true.into()));
    let plain = make(&mut key, &Make::new(SITE, b"2").discoverable()).unwrap();
    for (made, expected) in [(&pays, true), (&plain, false)] {
        let request = Get::new(SITE).allow(&[made.id()]).with(4, wish("thirdPartyPayment", true));
        let got = get(&mut key, &request).unwrap();
        assert_eq!(output(&got.auth_data.extensions, "thirdPartyPayment"), Some(expected.into()));
    }
    set_pin(&mut key, 2, PIN).unwrap();
    let token = PinToken::get(&mut key, 2, PIN, Some((4, None))).unwrap();
    let rp = map([(1, bytes(&pays.auth_data.rp_id_hash))]);
    let newest = manage(&mut key, 4, Some(rp), Some(&token)).unwrap();
    assert_eq!(member(&newest, 12), Some(false.into()));
    let oldest = manage(&mut key, 5, None, None).unwrap();
    assert_eq!(member(&oldest, 12), Some(true.into()));
}

/// What is computed when a credential is made is what it computes later.
#[test]
fn hmac_secret_at_once_is_hmac_secret_later() {
    for protocol in [1, 2] {
        for salts in [1, 2] {
            let (mut flash, platform) = blank();
            let mut key = Authenticator::boot(&mut flash, platform).unwrap();
            let agreed = Agreed::with(&mut key, protocol);
            let salt_enc = agreed.encrypt(&[0x5a; 64][..32 * salts]);
            let input = |auth: Value| {
                map([
                    (1, agreed.public.clone()),
                    (2, bytes(&salt_enc)),
                    (3, auth),
                    (4, Value::from(protocol)),
                ])
            };
            let good = input(agreed.authenticate(&salt_enc));
            let wishes = |both: bool, input: &Value| {
                let mut wishes = std::vec![(text("hmac-secret-mc"), input.clone())];
                if both {
                    wishes.insert(0, (text("hmac-secret"), true.into()));
                }
                Value::Map(wishes)
            };
            let request = Make::new(SITE, b"1");
            let alone = request.clone().with(6, wishes(false, &good));
            assert_eq!(make(&mut key, &alone).unwrap_err(), 0x14);
            let bad = request.clone().with(6, wishes(true, &input(bytes(&[0; 32]))));
            assert_eq!(make(&mut key, &bad).unwrap_err(), 0x33);

            let made = make(&mut key, &request.with(6, wishes(true, &good))).unwrap();
            let opened = |key: &mut Authenticator<'_, Platform>, sealed: Option<Value>| -> Vec<u8> {
                let _ = key;
                agreed.decrypt(&sealed.unwrap().into_bytes().unwrap())
            };
            assert_eq!(output(&made.auth_data.extensions, "hmac-secret"), Some(true.into()));
            let at_once = opened(&mut key, output(&made.auth_data.extensions, "hmac-secret-mc"));
            assert_eq!(at_once.len(), 32 * salts);
            let request = Get::new(SITE).allow(&[made.id()]).with(4, wish("hmac-secret", good));
            let got = get(&mut key, &request).unwrap();
            let later = opened(&mut key, output(&got.auth_data.extensions, "hmac-secret"));
            assert_eq!(at_once, later);
        }
    }
}
