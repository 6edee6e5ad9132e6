//! Requests that a key refuses, and with which status (CTAP 2.3 §6.1.2, §6.2.2, §8.2; U2F Raw Message Formats §3.3).

use brasskey_tests::ctap2::{GetAssertion, MakeCredential, Parameters, command, status::*};
use brasskey_tests::{Error, Key, Result, Simulator, cbor, ctap1, sha256};
use ciborium::Value;

const SITE: &str = "example.com";

fn attached() -> (Simulator, Key) {
    let simulator = Simulator::start().unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    (simulator, key)
}

/// The status of a refusal; `None` if it was none. Anything else, such as no answer at all, fails the test.
fn status(answer: Result<Vec<u8>>) -> Option<u8> {
    answer.err().map(|error| error.status().unwrap_or_else(|| panic!("{error}")))
}

fn option(name: &str, value: bool) -> Value {
    cbor::map([(name, value)])
}

#[test]
fn make_credential() {
    let (_simulator, key) = attached();
    let good = || MakeCredential::new(SITE).parameters();
    let refused = |parameters: Parameters| status(key.raw(command::MAKE_CREDENTIAL, &parameters.encode()));
    let text = |text: &str| Value::from(text);
    for missing in 1..=4 {
        assert_eq!(refused(good().without(missing)), Some(MISSING_PARAMETER), "{missing:#04x}");
        assert_eq!(refused(good().with(missing, true)), Some(CBOR_UNEXPECTED_TYPE), "{missing:#04x}");
    }
    let algorithm = |alg: i64, kind: &str| cbor::map([("alg", Value::from(alg)), ("type", text(kind))]);
    for list in [vec![], vec![algorithm(-257, "public-key")], vec![algorithm(-7, "private-key")]] {
        assert_eq!(refused(good().with(4, Value::Array(list))), Some(UNSUPPORTED_ALGORITHM));
    }
    // A list is checked whole, also behind an entry that would do.
    let list = Value::Array(vec![algorithm(-7, "public-key"), cbor::map([("type", "public-key")])]);
    assert_eq!(refused(good().with(4, list)), Some(MISSING_PARAMETER));
    assert_eq!(refused(good().with(7, option("up", false))), Some(INVALID_OPTION));
    assert_eq!(refused(good().with(7, option("uv", true))), Some(INVALID_OPTION));
    assert_eq!(refused(good().with(10, 1)), Some(INVALID_PARAMETER), "enterprise attestation");
    for accepted in [option("up", true), option("unheardOf", true)] {
        assert_eq!(refused(good().with(7, accepted)), None);
    }
    assert_eq!(refused(good().with(99, text("from the future"))), None);
    assert_eq!(refused(good().with(6, option("unheardOf", true))), None);
}

#[test]
fn get_assertion() {
    let (_simulator, key) = attached();
    let made = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let good = || GetAssertion::allow(SITE, &[made.id()]).parameters();
    let refused = |parameters: Parameters| status(key.raw(command::GET_ASSERTION, &parameters.encode()));
    for missing in 1..=2 {
        assert_eq!(refused(good().without(missing)), Some(MISSING_PARAMETER), "{missing:#04x}");
    }
    assert!(refused(good().with(2, &b"no hash"[..])).is_some());
    assert_eq!(refused(good().with(1, "example.org")), Some(NO_CREDENTIALS));
    assert_eq!(refused(good().without(3)), Some(NO_CREDENTIALS), "it is not discoverable");
    assert_eq!(refused(good().with(5, option("rk", true))), Some(UNSUPPORTED_OPTION));
    assert_eq!(refused(good().with(5, option("uv", true))), Some(INVALID_OPTION));
    let mut id = made.id().to_vec();
    for at in 0..id.len() {
        id[at] ^= 0x10;
        let changed = GetAssertion::allow(SITE, &[&id]).parameters();
        assert_eq!(refused(changed), Some(NO_CREDENTIALS), "byte {at} of the credential ID");
        id[at] ^= 0x10;
    }
    assert_eq!(refused(good()), None);
    // Without a touch the flag says so.
    let silent = key.get_assertion(&GetAssertion::allow(SITE, &[made.id()]).silent()).unwrap();
    assert!(!silent.auth_data.user_present());
    assert_eq!(silent.auth_data.bytes.len(), 37);
}

#[test]
fn an_excluded_credential_and_bytes_that_are_no_cbor() {
    let (_simulator, key) = attached();
    let made = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let again = MakeCredential { exclude_list: vec![made.id().to_vec()], ..MakeCredential::new(SITE) };
    assert_eq!(key.make_credential(&again).unwrap_err().status(), Some(CREDENTIAL_EXCLUDED));
    key.make_credential(&MakeCredential { rp_id: "example.org".into(), ..again }).unwrap();

    let good = MakeCredential::new(SITE).parameters().encode();
    let refused =
        |bytes: &[u8]| key.raw(command::MAKE_CREDENTIAL, bytes).err().and_then(|error| error.status());
    for end in 1..good.len() {
        assert_eq!(refused(&good[..end]), Some(INVALID_CBOR), "cut after {end} bytes");
    }
    assert_eq!(refused(&[&good[..], &[0]].concat()), Some(INVALID_CBOR), "a byte more");
    assert_eq!(refused(&[0x80]), Some(CBOR_UNEXPECTED_TYPE), "an array");
    assert_eq!(key.raw(0x3f, &[]).unwrap_err().status(), Some(INVALID_COMMAND));
    key.get_info().unwrap();
}

#[test]
fn u2f() {
    let (_simulator, key) = attached();
    let application = sha256(&[SITE.as_bytes()]);
    let refused = |apdu: &[u8]| match key.apdu(apdu) {
        Err(Error::StatusWord(status)) => status,
        other => panic!("{apdu:02x?}: {other:02x?}"),
    };
    for version in [ctap1::extended(ctap1::VERSION, 0, &[]), ctap1::short(ctap1::VERSION, 0, &[])] {
        assert_eq!(key.apdu(&version).unwrap(), b"U2F_V2");
    }
    assert_eq!(refused(&[0, 0x40, 0, 0]), ctap1::INS_NOT_SUPPORTED);
    assert_eq!(refused(&[1, ctap1::VERSION, 0, 0]), ctap1::CLA_NOT_SUPPORTED);
    assert_eq!(refused(&ctap1::extended(ctap1::REGISTER, 0, &[0; 63])), ctap1::WRONG_LENGTH);

    let registered = key.u2f_register(&[1; 32], &application).unwrap();
    registered.certificate.check_u2f_transports().unwrap();
    let authenticate = |control, application: &[u8; 32], handle: &[u8]| {
        let data = [&[2; 32], &application[..], &[handle.len() as u8], handle].concat();
        refused(&ctap1::extended(ctap1::AUTHENTICATE, control, &data))
    };
    let handle = &registered.key_handle;
    assert_eq!(authenticate(ctap1::CHECK_ONLY, &application, handle), ctap1::CONDITIONS_NOT_SATISFIED);
    for control in [ctap1::CHECK_ONLY, ctap1::ENFORCE, ctap1::DONT_ENFORCE] {
        assert_eq!(authenticate(control, &[0; 32], handle), ctap1::WRONG_DATA, "another site's");
        assert_eq!(authenticate(control, &application, &[0; 64]), ctap1::WRONG_DATA, "nobody's");
    }
    // The refused ones cost no count.
    let signed =
        |control| key.u2f_authenticate(control, &[3; 32], &application, handle, &registered.public_key);
    let first = signed(ctap1::ENFORCE).unwrap();
    let second = signed(ctap1::DONT_ENFORCE).unwrap();
    assert_eq!((first.counter, second.counter), (1, 2));
    assert_eq!((first.user_present, second.user_present), (true, false));
}
