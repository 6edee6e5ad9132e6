//! authenticatorMakeCredential (CTAP 2.3 §6.1).

use brasskey_tests::attestation::Kind;
use brasskey_tests::client_pin::{PROTOCOLS, permission};
use brasskey_tests::cose::{EDDSA, ES256};
use brasskey_tests::ctap2::{GetAssertion, MakeCredential, command, descriptors, status::*};
use brasskey_tests::{Key, cbor};
use ciborium::Value;

use crate::{OTHER_SITE, PIN, SITE, attached, make, make_refused, one, protected, refused, resident, token};

fn good() -> brasskey_tests::ctap2::Parameters {
    MakeCredential::new(SITE).parameters()
}

fn algorithm(alg: i64, kind: &str) -> Value {
    cbor::map([("alg", Value::from(alg)), ("type", kind.into())])
}

/// Covers: §6.1.2; command authenticatorMakeCredential; command authenticatorGetAssertion; status SUCCESS;
/// algorithm ES256; algorithm EdDSA; attestation packed
#[test]
fn a_credential_signs() {
    let (_simulator, key) = attached();
    for alg in [ES256, EDDSA] {
        let request = MakeCredential::new(SITE).algorithms(&[alg]);
        let made = key.make_credential(&request).unwrap();
        assert!(matches!(made.verify(&request.client_data_hash).unwrap(), Kind::Certified(_)));
        assert_eq!(made.auth_data.flags, 0x41, "UP and AT");
        assert_eq!(made.credential().public_key.algorithm(), alg);
        let request = GetAssertion::allow(SITE, &[made.id()]);
        let signed = key.get_assertion(&request).unwrap();
        signed.verify(&made.credential().public_key, &request.client_data_hash).unwrap();
    }
}

/// Covers: §6.1.2 step 3; status UNSUPPORTED_ALGORITHM; command authenticatorMakeCredential
#[test]
fn the_first_algorithm_that_the_key_knows_wins() {
    let (_simulator, key) = attached();
    for (list, expected) in
        [([ES256, EDDSA], ES256), ([EDDSA, ES256], EDDSA), ([-257, EDDSA], EDDSA), ([-65535, ES256], ES256)]
    {
        let made = key.make_credential(&MakeCredential::new(SITE).algorithms(&list)).unwrap();
        assert_eq!(made.credential().public_key.algorithm(), expected);
    }
    for list in [vec![], vec![algorithm(-257, "public-key")], vec![algorithm(ES256, "private-key")]] {
        assert_eq!(make_refused(&key, &good().with(4, Value::Array(list))), UNSUPPORTED_ALGORITHM);
    }
    // A list is checked whole, also behind an entry that would do.
    for bad in [cbor::map([("type", "public-key")]), cbor::map([("alg", ES256)])] {
        let list = Value::Array(vec![algorithm(ES256, "public-key"), bad]);
        assert_eq!(make_refused(&key, &good().with(4, list)), MISSING_PARAMETER);
    }
    let list = Value::Array(vec![algorithm(ES256, "public-key"), "no map".into()]);
    assert_eq!(make_refused(&key, &good().with(4, list)), CBOR_UNEXPECTED_TYPE);
}

/// Covers: §6.1.2 step 5; option up; option uv; option rk; status INVALID_OPTION;
/// command authenticatorMakeCredential
#[test]
fn options() {
    let (_simulator, key) = attached();
    assert_eq!(make_refused(&key, &good().with(7, one("up", false))), INVALID_OPTION);
    assert_eq!(make_refused(&key, &good().with(7, one("uv", true))), INVALID_OPTION, "no UV of its own");
    for fine in [one("up", true), one("uv", false), one("rk", false), one("unheardOf", true)] {
        make(&key, &good().with(7, fine));
    }
    assert_eq!(make_refused(&key, &good().with(7, one("rk", 1))), CBOR_UNEXPECTED_TYPE);
    // With a token uv is ignored.
    key.set_pin(2, PIN).unwrap();
    let request = good().with(7, one("uv", true));
    assert_eq!(make(&key, &token(&key, permission::MAKE_CREDENTIAL).make(request)).auth_data.flags, 0x45);
}

/// Covers: §6.1.2 step 1; status PIN_NOT_SET; status PIN_INVALID; command authenticatorMakeCredential;
/// command authenticatorGetAssertion
#[test]
fn an_empty_param_asks_for_a_touch_and_says_whether_there_is_a_pin() {
    let (_simulator, key) = attached();
    let empty = || good().with(8, b"".as_slice()).with(9, 2);
    let get_empty = || GetAssertion::discover(SITE).parameters().with(6, b"".as_slice()).with(7, 2);
    let asked = |command, request: &brasskey_tests::ctap2::Parameters| {
        use brasskey_tests::ctaphid::{UPNEEDED, command::CBOR};
        key.send(command, &request.encode()).unwrap();
        let (answer, keep_alives) = key.channel().receive(CBOR).unwrap();
        assert!(keep_alives.contains(&UPNEEDED), "no touch was asked for");
        answer
    };
    assert_eq!(asked(command::MAKE_CREDENTIAL, &empty()), [PIN_NOT_SET]);
    assert_eq!(asked(command::GET_ASSERTION, &get_empty()), [PIN_NOT_SET]);
    key.set_pin(2, PIN).unwrap();
    assert_eq!(asked(command::MAKE_CREDENTIAL, &empty()), [PIN_INVALID]);
    assert_eq!(asked(command::GET_ASSERTION, &get_empty()), [PIN_INVALID]);
    // It is no try.
    assert_eq!(key.pin_retries().unwrap(), (8, false));
}

/// Covers: §6.1.2 step 2; status MISSING_PARAMETER; status INVALID_PARAMETER;
/// command authenticatorMakeCredential
#[test]
fn a_param_goes_with_a_protocol() {
    let (_simulator, key) = protected();
    let signed = token(&key, permission::MAKE_CREDENTIAL).make(good());
    assert_eq!(make_refused(&key, &signed.clone().without(9)), MISSING_PARAMETER);
    for unknown in [0, 3, 255] {
        assert_eq!(make_refused(&key, &signed.clone().with(9, unknown)), INVALID_PARAMETER);
    }
    make(&key, &signed);
}

/// Covers: §6.1.2 steps 8 and 11; status PUAT_REQUIRED; status PIN_AUTH_INVALID; permission mc;
/// command authenticatorMakeCredential
#[test]
fn a_protected_key_wants_a_token_for_a_discoverable_credential() {
    let (_simulator, key) = protected();
    let resident = MakeCredential::discoverable(SITE, b"1").parameters();
    assert_eq!(make_refused(&key, &resident), PUAT_REQUIRED);
    let optional = crate::option(&key, "makeCredUvNotRqd") == Some(true);
    if optional {
        assert_eq!(make(&key, &good()).auth_data.flags, 0x41);
    } else {
        assert_eq!(make_refused(&key, &good()), PUAT_REQUIRED);
    }
    for protocol in PROTOCOLS {
        let by = |permissions, site| key.token(protocol, PIN, permissions, Some(site)).unwrap();
        let without_permission = by(permission::GET_ASSERTION, SITE).make(resident.clone());
        assert_eq!(make_refused(&key, &without_permission), PIN_AUTH_INVALID);
        let other_site = by(permission::MAKE_CREDENTIAL, OTHER_SITE).make(resident.clone());
        assert_eq!(make_refused(&key, &other_site), PIN_AUTH_INVALID);
        let other_request =
            by(permission::MAKE_CREDENTIAL, SITE).make(resident.clone()).with(1, &[7; 32][..]);
        assert_eq!(make_refused(&key, &other_request), PIN_AUTH_INVALID);
        let right = by(permission::MAKE_CREDENTIAL, SITE).make(resident.clone());
        assert_eq!(make(&key, &right).auth_data.flags, 0x45, "UP, UV and AT");
        // The token is used up.
        assert_eq!(make_refused(&key, &right), PIN_AUTH_INVALID);
    }
}

/// Covers: §6.1.2 step 12; status CREDENTIAL_EXCLUDED; command authenticatorMakeCredential
#[test]
fn an_excluded_credential_costs_a_touch() {
    use brasskey_tests::ctaphid::{UPNEEDED, command::CBOR};
    let (_simulator, key) = attached();
    let made = make(&key, &good());
    let request = good().with(5, descriptors(&[&[3; 64][..], made.id()]));
    key.send(command::MAKE_CREDENTIAL, &request.encode()).unwrap();
    let (answer, keep_alives) = key.channel().receive(CBOR).unwrap();
    assert_eq!(answer, [CREDENTIAL_EXCLUDED]);
    assert!(keep_alives.contains(&UPNEEDED));
    // Elsewhere it excludes nothing, and nor does a descriptor of another type.
    make(&key, &MakeCredential::new(OTHER_SITE).parameters().with(5, descriptors(&[made.id()])));
    let other = Value::Array(vec![cbor::map([("id", Value::from(made.id())), ("type", "other".into())])]);
    make(&key, &good().with(5, other));
    let bad = Value::Array(vec![cbor::map([("id", Value::from(made.id()))])]);
    assert_eq!(make_refused(&key, &good().with(5, bad)), MISSING_PARAMETER);
}

/// Covers: §6.1.2 step 12; extension credProtect; status CREDENTIAL_EXCLUDED;
/// command authenticatorMakeCredential
#[test]
fn a_credential_that_needs_verification_is_excluded_only_with_it() {
    let (_simulator, key) = protected();
    let hidden =
        make(&key, &token(&key, permission::MAKE_CREDENTIAL).make(good().with(6, one("credProtect", 3))));
    let request = good().with(5, descriptors(&[hidden.id()]));
    make(&key, &request);
    let verified = token(&key, permission::MAKE_CREDENTIAL).make(request);
    assert_eq!(make_refused(&key, &verified), CREDENTIAL_EXCLUDED);
}

/// Covers: §6.1.2 step 17; command authenticatorMakeCredential; command authenticatorGetAssertion;
/// status NO_CREDENTIALS
#[test]
fn the_same_account_has_one_discoverable_credential() {
    let (_simulator, key) = protected();
    let old = resident(&key, SITE, b"an account");
    // The beginning of a user ID is another account; another site's account is its own.
    resident(&key, SITE, b"an acc");
    resident(&key, OTHER_SITE, b"an account");
    let new = resident(&key, SITE, b"an account");
    assert_ne!(old.id(), new.id());
    assert_ne!(old.credential().public_key, new.credential().public_key);
    assert_eq!(refused(key.get_assertion(&GetAssertion::allow(SITE, &[old.id()]))), NO_CREDENTIALS);
    let newest = key.get_assertion(&GetAssertion::discover(SITE)).unwrap();
    assert_eq!((newest.credential_id, newest.number_of_credentials), (new.id().to_vec(), Some(2)));
    // An excluded one is not replaced.
    let request = MakeCredential {
        exclude_list: vec![new.id().to_vec()],
        ..MakeCredential::discoverable(SITE, b"an account")
    };
    let request = token(&key, permission::MAKE_CREDENTIAL).make(request.parameters());
    assert_eq!(make_refused(&key, &request), CREDENTIAL_EXCLUDED);
}

fn statement(key: &Key, formats: Value) -> String {
    make(key, &good().with(0x0b, formats)).fmt
}

/// Covers: §6.1.2 step 18; attestation none; attestation packed; command authenticatorMakeCredential
#[test]
fn attestation_as_the_site_prefers_it() {
    let (_simulator, key) = attached();
    let list = |formats: &[&str]| Value::Array(formats.iter().map(|&format| format.into()).collect());
    let usual = make(&key, &good()).fmt;
    assert_eq!(statement(&key, list(&["none"])), "none");
    assert_eq!(statement(&key, list(&[])), usual);
    assert_eq!(statement(&key, list(&["unheard-of"])), usual);
    assert_eq!(statement(&key, list(&["unheard-of", "packed"])), "packed");
    // A wrong type does not fail the request.
    assert_eq!(statement(&key, "packed".into()), usual);
}

/// Covers: §6.1.2 step 9; attestation enterprise; status INVALID_PARAMETER; command authenticatorMakeCredential
#[test]
fn enterprise_attestation_that_is_off() {
    let (_simulator, key) = attached();
    if crate::option(&key, "ep") == Some(true) {
        return;
    }
    for value in [0, 1, 2, 3] {
        assert_eq!(make_refused(&key, &good().with(0x0a, value)), INVALID_PARAMETER, "{value}");
    }
}

/// Covers: §6.1; status MISSING_PARAMETER; status CBOR_UNEXPECTED_TYPE; command authenticatorMakeCredential
#[test]
fn parameters_that_are_missing_or_of_a_wrong_type() {
    let (_simulator, key) = attached();
    for member in 1..=4 {
        assert_eq!(make_refused(&key, &good().without(member)), MISSING_PARAMETER, "{member:#04x}");
    }
    for member in (1..=8).chain([10]) {
        assert_eq!(make_refused(&key, &good().with(member, true)), CBOR_UNEXPECTED_TYPE, "{member:#04x}");
    }
    for (member, entry) in [(2, "id"), (3, "id")] {
        assert_eq!(make_refused(&key, &good().with(member, cbor::map([("name", "x")]))), MISSING_PARAMETER);
        assert_eq!(make_refused(&key, &good().with(member, one(entry, true))), CBOR_UNEXPECTED_TYPE);
    }
    // What a later version may add is ignored.
    make(&key, &good().with(0x63, "from the future").with(6, one("unheardOf", true)));
}

/// Covers: §6.1.2; command authenticatorMakeCredential; command authenticatorGetAssertion
#[test]
fn names_may_be_long_and_are_cut_between_characters() {
    let (_simulator, key) = protected();
    let long = format!("{}é and more", "x".repeat(63));
    for user_id in [&b"1"[..], b"2"] {
        let request = MakeCredential {
            user_name: long.clone(),
            user_display_name: long.clone(),
            ..MakeCredential::discoverable(SITE, user_id)
        };
        make(&key, &token(&key, permission::MAKE_CREDENTIAL).make(request.parameters()));
    }
    let verified = token(&key, permission::GET_ASSERTION).get(GetAssertion::discover(SITE).parameters());
    let user = crate::get(&key, &verified).user.unwrap();
    for name in ["name", "displayName"] {
        let name = cbor::text(&user, name).unwrap();
        assert!(long.starts_with(&name) && name.len() >= 63 && name.len() != 64, "{name}");
    }
}

/// Covers: §6.1.2 step 18; attestation self; attestation none; attestation packed; algorithm ES256; algorithm EdDSA
#[test]
fn attestation_as_the_key_is_set_up() {
    for (policy, format) in [("packed", "packed"), ("self", "packed"), ("none", "none")] {
        let options = ["--image", ":memory:", "--presence", "auto", "--attestation", policy];
        let simulator = brasskey_tests::Simulator::with(&options).unwrap();
        let key = Key::attach(simulator.address()).unwrap();
        for alg in [ES256, EDDSA] {
            let request = MakeCredential::new(SITE).algorithms(&[alg]);
            let made = key.make_credential(&request).unwrap();
            assert_eq!(made.fmt, format);
            let kind = made.verify(&request.client_data_hash).unwrap();
            assert!(
                matches!(
                    (policy, &kind),
                    ("packed", Kind::Certified(_)) | ("self", Kind::SelfSigned) | ("none", Kind::None)
                ),
                "{policy}: {kind:?}"
            );
        }
    }
}

/// Covers: §6.1.2 step 3; algorithm ML-DSA-44; algorithm ML-DSA-65; member algorithms;
/// command authenticatorMakeCredential; command authenticatorGetAssertion; status UNSUPPORTED_ALGORITHM
#[test]
fn post_quantum_algorithms_where_they_are_offered() {
    use brasskey_tests::cose::{ML_DSA_44, ML_DSA_65};
    let (_simulator, key) = attached();
    for alg in [ML_DSA_44, ML_DSA_65] {
        let request = MakeCredential::new(SITE).algorithms(&[alg]);
        assert_eq!(refused(key.make_credential(&request)), UNSUPPORTED_ALGORITHM, "not by default");
    }
    let options = ["--image", ":memory:", "--presence", "auto", "--algorithms", "post-quantum"];
    let simulator = brasskey_tests::Simulator::with(&options).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    let info = key.get_info().unwrap();
    let offered = cbor::get(&info, 0x0a).unwrap().as_array().unwrap();
    for alg in [ML_DSA_44, ML_DSA_65] {
        assert!(offered.contains(&algorithm(alg, "public-key")));
        let request = MakeCredential::new(SITE).algorithms(&[alg, ES256]);
        let made = key.make_credential(&request).unwrap();
        assert_eq!(made.credential().public_key.algorithm(), alg);
        made.verify(&request.client_data_hash).unwrap();
        let request = GetAssertion::allow(SITE, &[made.id()]);
        let signed = key.get_assertion(&request).unwrap();
        signed.verify(&made.credential().public_key, &request.client_data_hash).unwrap();
        // The check can fail.
        signed.verify(&made.credential().public_key, &[0; 32]).unwrap_err();
    }
}
