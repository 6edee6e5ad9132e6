//! authenticatorCredentialManagement (CTAP 2.3 §6.8).

use std::vec;
use std::vec::Vec;

use ciborium::Value;
use sha2::{Digest, Sha256};

use super::client::*;
use super::client_pin::{PIN, PinToken, set_pin};
use crate::Authenticator;
use crate::testing::Platform;

const ONE: &str = "one.example";
const TWO: &str = "two.example";
const MANAGE: u8 = 0x04;

fn hash(rp_id: &str) -> Value {
    bytes(&Sha256::digest(rp_id))
}

pub(super) fn command(
    number: u8,
    subcommand: u8,
    params: Option<Value>,
    token: Option<&PinToken>,
) -> Vec<u8> {
    let mut all = vec![(1u8, Value::from(subcommand))];
    let mut signed = vec![subcommand];
    if let Some(params) = params {
        ciborium::into_writer(&params, &mut signed).unwrap();
        all.push((2, params));
    }
    if let Some(token) = token {
        all.push((3, Value::from(token.agreed.protocol)));
        all.push((4, token.sign(&signed)));
    }
    let mut message = vec![number];
    ciborium::into_writer(&map(all), &mut message).unwrap();
    message
}

pub(super) fn manage(
    key: &mut Authenticator<'_, Platform>,
    subcommand: u8,
    params: Option<Value>,
    token: Option<&PinToken>,
) -> Answer {
    send(key, &command(0x0a, subcommand, params, token))
}

fn manager(key: &mut Authenticator<'_, Platform>, site: Option<&str>) -> PinToken {
    PinToken::get(key, 2, PIN, Some((MANAGE, site))).unwrap()
}

/// A key with a PIN, two credentials for one site and one for another, and one that is not discoverable.
fn with_credentials(test: impl FnOnce(&mut Authenticator<'_, Platform>, Platform, [Made; 3])) {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = [(ONE, b"1"), (TWO, b"2"), (ONE, b"3")]
        .map(|(site, user)| make(&mut key, &Make::new(site, user).discoverable()).unwrap());
    make(&mut key, &Make::new(ONE, b"4")).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    test(&mut key, platform, made);
}

fn number(answer: &[(i64, Value)], key: i64) -> Option<i128> {
    member(answer, key).map(|number| number.into_integer().unwrap().into())
}

#[test]
fn counts() {
    with_credentials(|key, platform, _| {
        let token = manager(key, None);
        let answer = manage(key, 1, None, Some(&token)).unwrap();
        assert_eq!(number(&answer, 1), Some(3));
        assert_eq!(number(&answer, 2), Some(i128::from(platform.identity.max_discoverable.min(78)) - 3));
        let preview = send(key, &command(0x41, 1, None, Some(&token))).unwrap();
        assert_eq!(preview, answer);
    });
}

#[test]
fn lists_sites_and_their_credentials() {
    with_credentials(|key, _, made| {
        let token = manager(key, None);
        let first = manage(key, 2, None, Some(&token)).unwrap();
        assert_eq!(number(&first, 5), Some(2));
        let second = manage(key, 3, None, None).unwrap();
        for (answer, site) in [(&first, ONE), (&second, TWO)] {
            assert_eq!(member(answer, 3), Some(map([("id", text(site))])));
            assert_eq!(member(answer, 4), Some(hash(site)));
        }
        assert_eq!(member(&second, 5), None);
        assert_eq!(manage(key, 3, None, None).unwrap_err(), 0x30);

        let newest = manage(key, 4, Some(map([(1, hash(ONE))])), Some(&token)).unwrap();
        assert_eq!(number(&newest, 9), Some(2));
        let oldest = manage(key, 5, None, None).unwrap();
        assert_eq!(manage(key, 5, None, None).unwrap_err(), 0x30);
        for (answer, made, user) in [(&newest, &made[2], b"3"), (&oldest, &made[0], b"1")] {
            let account = member(answer, 6).unwrap().into_map().unwrap();
            assert_eq!((account.len(), &account[0].1), (3, &bytes(user)));
            assert_eq!(member(answer, 7), Some(descriptor(made.id())));
            let public: Vec<_> = member(answer, 8).unwrap().into_map().unwrap();
            let expected =
                made.auth_data.cose_key.iter().map(|(key, value)| (Value::from(*key), value.clone()));
            assert!(public.into_iter().eq(expected));
            assert_eq!(number(answer, 10), Some(1));
        }
    });
}

#[test]
fn an_empty_store_has_a_count_and_no_list() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    let token = manager(&mut key, None);
    assert_eq!(number(&manage(&mut key, 1, None, Some(&token)).unwrap(), 1), Some(0));
    assert_eq!(manage(&mut key, 2, None, Some(&token)).unwrap_err(), 0x2e);
    let params = map([(1, hash(ONE))]);
    assert_eq!(manage(&mut key, 4, Some(params), Some(&token)).unwrap_err(), 0x2e);
}

#[test]
fn deletes() {
    with_credentials(|key, _, made| {
        let token = manager(key, None);
        let params = |id: &[u8]| Some(map([(2, descriptor(id))]));
        assert_eq!(manage(key, 6, params(&[1; 20]), Some(&token)).unwrap_err(), 0x2e);
        assert!(manage(key, 6, params(made[0].id()), Some(&token)).unwrap().is_empty());
        assert_eq!(manage(key, 6, params(made[0].id()), Some(&token)).unwrap_err(), 0x2e);
        assert_eq!(sign_in(key, ONE, &made[0]), Err(0x2e));
        sign_in(key, ONE, &made[2]).unwrap();
        let token = manager(key, None);
        assert_eq!(number(&manage(key, 1, None, Some(&token)).unwrap(), 1), Some(2));
    });
}

#[test]
fn renames_an_account_and_keeps_it_its_age() {
    with_credentials(|key, _, made| {
        let token = manager(key, None);
        let user = |id: &[u8], name: Option<&str>| {
            let mut user = vec![("id", bytes(id))];
            user.extend(name.map(|name| ("name", text(name))));
            map(user)
        };
        let params = |user| Some(map([(2, descriptor(made[0].id())), (3, user)]));
        assert_eq!(manage(key, 7, params(user(b"other", Some("x"))), Some(&token)).unwrap_err(), 0x02);
        manage(key, 7, params(user(b"1", Some("new name"))), Some(&token)).unwrap();
        manage(key, 4, Some(map([(1, hash(ONE))])), Some(&token)).unwrap();
        let account = member(&manage(key, 5, None, None).unwrap(), 6).unwrap();
        assert_eq!(account, map([("id", bytes(b"1")), ("name", text("new name"))]));
        manage(key, 7, params(user(b"1", Some(""))), Some(&token)).unwrap();
        manage(key, 4, Some(map([(1, hash(ONE))])), Some(&token)).unwrap();
        let account = member(&manage(key, 5, None, None).unwrap(), 6).unwrap();
        assert_eq!(account, map([("id", bytes(b"1"))]));
        sign_in(key, ONE, &made[0]).unwrap();
    });
}

#[test]
fn a_token_must_be_for_this() {
    with_credentials(|key, _, made| {
        let params = map([(2, descriptor(made[0].id()))]);
        for subcommand in [1, 2, 4, 6, 7] {
            assert_eq!(manage(key, subcommand, None, None).unwrap_err(), 0x36, "PUAT_REQUIRED");
        }
        let token = manager(key, None);
        for subcommand in [4, 6, 7] {
            assert_eq!(manage(key, subcommand, None, Some(&token)).unwrap_err(), 0x14);
        }
        assert_eq!(manage(key, 9, None, Some(&token)).unwrap_err(), 0x3e);
        let mut forged = command(0x0a, 6, Some(params.clone()), Some(&token));
        let at = forged.windows(4).position(|bytes| bytes == b"type").unwrap() - 1;
        forged[at - 1] ^= 1;
        assert_eq!(send(key, &forged).unwrap_err(), 0x33, "the parameters are covered");

        let other = PinToken::get(key, 2, PIN, Some((0x03, Some(ONE)))).unwrap();
        assert_eq!(manage(key, 1, None, Some(&other)).unwrap_err(), 0x33, "another permission");
        let bound = manager(key, Some(TWO));
        for subcommand in [1, 2] {
            assert_eq!(manage(key, subcommand, None, Some(&bound)).unwrap_err(), 0x33, "bound to a site");
        }
        assert_eq!(manage(key, 4, Some(map([(1, hash(ONE))])), Some(&bound)).unwrap_err(), 0x33);
        assert_eq!(manage(key, 6, Some(params), Some(&bound)).unwrap_err(), 0x33);
        manage(key, 4, Some(map([(1, hash(TWO))])), Some(&bound)).unwrap();
        manage(key, 6, Some(map([(2, descriptor(made[1].id()))])), Some(&bound)).unwrap();
    });
}

#[test]
fn a_list_ends_early() {
    with_credentials(|key, platform, _| {
        let token = manager(key, None);
        let begin = |key: &mut Authenticator<'_, Platform>| manage(key, 2, None, Some(&token)).unwrap();
        begin(key);
        send(key, &[0x04]).unwrap();
        assert_eq!(manage(key, 3, None, None).unwrap_err(), 0x30, "another command came between");
        begin(key);
        assert_eq!(manage(key, 5, None, None).unwrap_err(), 0x30, "another list");
        begin(key);
        assert_eq!(send_on(key, CHANNEL + 1, &command(0x0a, 3, None, None)).unwrap_err(), 0x30);
        begin(key);
        platform.clock.advance(30_000);
        assert_eq!(manage(key, 3, None, None).unwrap_err(), 0x30, "30 s later");
    });
}
