//! authenticatorGetAssertion and authenticatorGetNextAssertion (CTAP 2.3 §6.2, §6.3).

use brasskey_tests::client_pin::{PROTOCOLS, permission};
use brasskey_tests::ctap2::{
    Assertion, GetAssertion, MakeCredential, Parameters, command, descriptors, status::*,
};
use brasskey_tests::ctaphid::{UPNEEDED, command::CBOR};
use brasskey_tests::{Key, cbor};
use ciborium::Value;

use crate::{
    OTHER_SITE, PIN, SITE, attached, get, get_refused, make, one, protected, refused, resident, token,
};

fn discover() -> Parameters {
    GetAssertion::discover(SITE).parameters()
}

/// Covers: §6.2.2 step 7; status NO_CREDENTIALS; command authenticatorGetAssertion
#[test]
fn no_match_is_told_without_a_touch() {
    let (_simulator, key) = attached();
    let made = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let elsewhere = GetAssertion::allow(OTHER_SITE, &[made.id()]).parameters();
    let unknown = GetAssertion::allow(SITE, &[&[0x17; 64]]).parameters();
    for request in [elsewhere, unknown, discover()] {
        key.send(command::GET_ASSERTION, &request.encode()).unwrap();
        let (answer, keep_alives) = key.channel().receive(CBOR).unwrap();
        assert_eq!(answer, [NO_CREDENTIALS]);
        assert!(!keep_alives.contains(&UPNEEDED), "a touch was asked for");
    }
}

/// Covers: §6.2.2 step 7; status NO_CREDENTIALS; command authenticatorGetAssertion
#[test]
fn a_credential_id_with_any_bit_changed_is_nobodys() {
    let (_simulator, key) = attached();
    let made = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let mut id = made.id().to_vec();
    for at in 0..id.len() {
        id[at] ^= 1 << (at % 8);
        let request = GetAssertion::allow(SITE, &[&id]).silent().parameters();
        assert_eq!(get_refused(&key, &request), NO_CREDENTIALS, "byte {at}");
        id[at] ^= 1 << (at % 8);
    }
    get(&key, &GetAssertion::allow(SITE, &[&id]).silent().parameters());
}

/// Covers: §6.2.2 step 4; option up; option uv; option rk; status UNSUPPORTED_OPTION; status INVALID_OPTION;
/// command authenticatorGetAssertion
#[test]
fn options() {
    let (_simulator, key) = attached();
    let made = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let allow = || GetAssertion::allow(SITE, &[made.id()]).parameters();
    for rk in [true, false] {
        assert_eq!(get_refused(&key, &allow().with(5, one("rk", rk))), UNSUPPORTED_OPTION);
    }
    assert_eq!(get_refused(&key, &allow().with(5, one("uv", true))), INVALID_OPTION);
    for (fine, flags) in
        [(one("up", true), 1), (one("up", false), 0), (one("uv", false), 1), (one("new", true), 1)]
    {
        let signed = get(&key, &allow().with(5, fine));
        assert_eq!(signed.auth_data.flags, flags);
        assert_eq!(signed.auth_data.bytes.len(), 37, "no extensions");
    }
}

/// Covers: §6.2.2 step 6; command authenticatorGetAssertion; permission ga; status PIN_AUTH_INVALID;
/// status MISSING_PARAMETER; status INVALID_PARAMETER
#[test]
fn a_token_verifies_the_user_once() {
    let (_simulator, key) = protected();
    let made = resident(&key, SITE, b"1");
    for protocol in PROTOCOLS {
        let by = |permissions, site| key.token(protocol, PIN, permissions, Some(site)).unwrap();
        assert_eq!(get(&key, &discover()).auth_data.flags, 0x01);
        let wrong = by(permission::MAKE_CREDENTIAL, SITE).get(discover());
        assert_eq!(get_refused(&key, &wrong), PIN_AUTH_INVALID);
        let wrong = by(permission::GET_ASSERTION, OTHER_SITE).get(discover());
        assert_eq!(get_refused(&key, &wrong), PIN_AUTH_INVALID);
        let right = by(permission::GET_ASSERTION, SITE).get(discover());
        assert_eq!(get_refused(&key, &right.clone().without(7)), MISSING_PARAMETER);
        assert_eq!(get_refused(&key, &right.clone().with(7, 9)), INVALID_PARAMETER);
        assert_eq!(get_refused(&key, &right.clone().with(2, &[1; 32][..])), PIN_AUTH_INVALID);
        let right = by(permission::GET_ASSERTION, SITE).get(discover());
        let signed = get(&key, &right);
        assert_eq!(signed.auth_data.flags, 0x05, "UP and UV");
        signed.verify(&made.credential().public_key, &GetAssertion::discover(SITE).client_data_hash).unwrap();
        assert_eq!(get_refused(&key, &right), PIN_AUTH_INVALID, "it is used up");
        // Without a touch nothing is used up.
        let silent =
            by(permission::GET_ASSERTION, SITE).get(GetAssertion::discover(SITE).silent().parameters());
        for _ in 0..2 {
            assert_eq!(get(&key, &silent).auth_data.flags, 0x04, "UV alone");
        }
    }
}

/// Covers: §6.2.2 step 7; command authenticatorGetAssertion
#[test]
fn of_an_allow_list_one_signs() {
    let (_simulator, key) = attached();
    let made: Vec<_> = [1u8, 2]
        .map(|user| key.make_credential(&MakeCredential::discoverable(SITE, &[user])).unwrap())
        .into();
    let signed = get(&key, &GetAssertion::allow(SITE, &[made[0].id(), made[1].id()]).parameters());
    assert_eq!(signed.number_of_credentials, None);
    assert!(made.iter().any(|made| made.id() == signed.credential_id));
    assert_eq!(refused(key.get_next_assertion()), NOT_ALLOWED);
    // Others in the list are passed over, those of another type too.
    let entry = |id: &[u8], kind: &str| cbor::map([("id", Value::from(id)), ("type", kind.into())]);
    let list =
        vec![entry(made[0].id(), "other"), entry(&[8; 99], "public-key"), entry(made[1].id(), "public-key")];
    assert_eq!(get(&key, &discover().with(3, Value::Array(list))).credential_id, made[1].id());
    let bad = vec![entry(made[0].id(), "public-key"), cbor::map([("type", "public-key")])];
    assert_eq!(get_refused(&key, &discover().with(3, Value::Array(bad))), MISSING_PARAMETER);
}

fn users(first: &Assertion, rest: &[Assertion]) -> Vec<Vec<u8>> {
    std::iter::once(first).chain(rest).map(|one| one.user_id().unwrap()).collect()
}

/// Covers: §6.2.2; §6.3; command authenticatorGetNextAssertion; command authenticatorGetAssertion;
/// status NOT_ALLOWED
#[test]
fn discoverable_ones_come_newest_first() {
    let (_simulator, key) = attached();
    for user in [1u8, 2, 3] {
        key.make_credential(&MakeCredential::discoverable(SITE, &[user])).unwrap();
    }
    key.make_credential(&MakeCredential::discoverable(OTHER_SITE, &[4])).unwrap();
    let first = get(&key, &discover());
    assert_eq!(first.number_of_credentials, Some(3));
    let rest = [(); 2].map(|()| key.get_next_assertion().unwrap());
    assert_eq!(users(&first, &rest), [[3], [2], [1]]);
    let counts: Vec<u32> = std::iter::once(&first).chain(&rest).map(|one| one.auth_data.sign_count).collect();
    assert!(counts.windows(2).all(|two| two[1] == two[0] + 1), "{counts:?}");
    assert_eq!(refused(key.get_next_assertion()), NOT_ALLOWED);
    assert!(rest.iter().all(|one| one.number_of_credentials.is_none()));
    // Without verification an account is its ID alone.
    assert_eq!(first.user.unwrap().as_map().unwrap().len(), 1);
    // A single match has no number.
    let alone = get(&key, &GetAssertion::discover(OTHER_SITE).parameters());
    assert_eq!((alone.number_of_credentials, alone.user_id()), (None, Some(vec![4])));
}

/// Covers: §6.3; command authenticatorGetNextAssertion; status NOT_ALLOWED
#[test]
fn the_next_assertion_is_for_the_same_channel_and_the_next_command() {
    let (_simulator, key) = attached();
    for user in [1u8, 2] {
        key.make_credential(&MakeCredential::discoverable(SITE, &[user])).unwrap();
    }
    assert_eq!(refused(key.get_next_assertion()), NOT_ALLOWED);
    get(&key, &discover());
    key.get_info().unwrap();
    assert_eq!(refused(key.get_next_assertion()), NOT_ALLOWED, "another command was between");
    get(&key, &discover());
    let other = Key::over(key.device().clone()).unwrap();
    assert_eq!(refused(other.get_next_assertion()), NOT_ALLOWED, "another channel");
}

/// Covers: §6.2.2; command authenticatorGetAssertion; command authenticatorGetNextAssertion
#[test]
fn names_are_told_to_a_verified_user_who_has_to_choose() {
    let (_simulator, key) = protected();
    resident(&key, SITE, b"1");
    let verified = || token(&key, permission::GET_ASSERTION).get(discover());
    let alone = get(&key, &verified()).user.unwrap();
    assert_eq!(alone.as_map().unwrap().len(), 1, "with one match there is no choice: {alone:?}");
    resident(&key, SITE, b"2");
    let first = get(&key, &verified());
    let second = key.get_next_assertion().unwrap();
    for one in [first, second] {
        let user = one.user.unwrap();
        assert_eq!(cbor::text(&user, "name").unwrap(), "ada");
        assert_eq!(cbor::text(&user, "displayName").unwrap(), "Ada Lovelace");
        assert_eq!(one.auth_data.flags, 0x05);
    }
}

/// Covers: §6.2; status MISSING_PARAMETER; status CBOR_UNEXPECTED_TYPE; command authenticatorGetAssertion
#[test]
fn parameters_that_are_missing_or_of_a_wrong_type() {
    let (_simulator, key) = attached();
    let made = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let good = || discover().with(3, descriptors(&[made.id()]));
    for member in 1..=2 {
        assert_eq!(get_refused(&key, &good().without(member)), MISSING_PARAMETER, "{member:#04x}");
    }
    for member in 1..=6 {
        assert_eq!(get_refused(&key, &good().with(member, true)), CBOR_UNEXPECTED_TYPE, "{member:#04x}");
    }
    get(&key, &good().with(0x63, "from the future").with(4, one("unheardOf", true)));
}

/// Covers: §6.1; §6.2; command authenticatorGetAssertion
#[test]
fn the_counter_rises_by_one_and_never_falls() {
    let (simulator, key) = attached();
    let made: Vec<_> = [SITE, OTHER_SITE]
        .map(|site| key.make_credential(&MakeCredential::discoverable(site, b"1")).unwrap())
        .into();
    let count = |key: &Key, site| get(key, &GetAssertion::discover(site).parameters()).auth_data.sign_count;
    let first = count(&key, SITE);
    assert!(made.iter().all(|made| made.auth_data.sign_count <= first));
    assert_eq!([count(&key, OTHER_SITE), count(&key, SITE)], [first + 1, first + 2]);
    assert_eq!(get_refused(&key, &GetAssertion::discover("nobody.example").parameters()), NO_CREDENTIALS);
    assert_eq!(count(&key, SITE), first + 3, "a refused one costs none");
    let key = crate::power_cycle(&simulator, key);
    assert!(count(&key, SITE) > first + 3);
}

/// Covers: §6.2.2; command authenticatorGetAssertion; command authenticatorMakeCredential
#[test]
fn credentials_outlive_a_power_cycle() {
    let (simulator, key) = attached();
    let stateless = make(&key, &MakeCredential::new(SITE).parameters());
    let stored = make(&key, &MakeCredential::discoverable(SITE, b"1").parameters());
    let key = crate::power_cycle(&simulator, key);
    for made in [stateless, stored] {
        let request = GetAssertion::allow(SITE, &[made.id()]);
        let signed = key.get_assertion(&request).unwrap();
        signed.verify(&made.credential().public_key, &request.client_data_hash).unwrap();
    }
}
