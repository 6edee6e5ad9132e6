//! authenticatorLargeBlobs (CTAP 2.3 §6.10), and largeBlobKey (§12.3).

use crate::key::{PIN, Served, number, status};
use brasskey_tests::client_pin::{Token, permission};
use brasskey_tests::ctap2::{GetAssertion, MakeCredential, Parameters, command::*, status::*};
use brasskey_tests::{Key, Result, cbor, sha256};
use ciborium::Value;

const SITE: &str = "example.com";

fn array(content: &[u8]) -> Vec<u8> {
    [content, &sha256(&[content])[..16]].concat()
}

fn get(key: &Key, length: u64, offset: u64) -> Result<Vec<u8>> {
    let response = key.call(LARGE_BLOBS, &Parameters::default().with(1, length).with(3, offset))?;
    cbor::bytes(&response, 1)
}

fn read(key: &Key) -> Vec<u8> {
    let fragment = number(key, 0x05).unwrap() - 64;
    let mut whole = Vec::new();
    loop {
        let part = get(key, fragment, whole.len() as u64).unwrap();
        whole.extend_from_slice(&part);
        if part.len() as u64 != fragment {
            return whole;
        }
    }
}

fn set(part: &[u8], offset: u64, length: Option<u64>, token: Option<&Token>) -> Parameters {
    let mut request = Parameters::default().with(2, part).with(3, offset);
    if let Some(length) = length {
        request = request.with(4, length);
    }
    if let Some(token) = token {
        let head = [&[0xff; 32][..], &[0x0c, 0], &(offset as u32).to_le_bytes(), &sha256(&[part])].concat();
        request = request.with(5, token.sign(&head)).with(6, token.protocol);
    }
    request
}

fn write(key: &Key, array: &[u8], token: Option<&Token>) -> Result<()> {
    let fragment = 900;
    for (at, part) in array.chunks(fragment).enumerate() {
        let length = (at == 0).then_some(array.len() as u64);
        key.raw(LARGE_BLOBS, &set(part, (at * fragment) as u64, length, token).encode())?;
    }
    Ok(())
}

/// Covers: command authenticatorLargeBlobs; option largeBlobs
#[test]
fn the_empty_array_is_seventeen_bytes() {
    let served = Served::blank();
    assert_eq!(read(&served.key), array(&[0x80]));
    assert_eq!(get(&served.key, 3, 2).unwrap(), array(&[0x80])[2..5]);
    assert_eq!(get(&served.key, 3, 17).unwrap(), b"", "at the end");
    assert_eq!(status(get(&served.key, 3, 18)), INVALID_PARAMETER, "beyond it");
}

/// Covers: command authenticatorLargeBlobs
#[test]
fn an_array_of_the_promised_size_is_kept() {
    let served = Served::blank();
    let room = number(&served.key, 0x0b).unwrap() as usize;
    for size in [1, 700, room - 16] {
        let content = vec![0x5a; size];
        write(&served.key, &array(&content), None).unwrap();
        assert_eq!(read(&served.key), array(&content));
    }
    let served = served.power_cycle();
    assert_eq!(read(&served.key), array(&vec![0x5a; room - 16]));
    served.key.reset().unwrap();
    assert_eq!(read(&served.key), array(&[0x80]));
}

/// Covers: command authenticatorLargeBlobs; status INVALID_PARAMETER; status INVALID_LENGTH; status INVALID_SEQ;
/// status INTEGRITY_FAILURE; status LARGE_BLOB_STORAGE_FULL
#[test]
fn what_makes_no_sense_is_refused_and_costs_nothing() {
    let served = Served::blank();
    let kept = array(&[7; 200]);
    write(&served.key, &kept, None).unwrap();
    let fragment = number(&served.key, 0x05).unwrap() - 64;
    let room = number(&served.key, 0x0b).unwrap();
    let none = Parameters::default;
    let long = vec![0; fragment as usize + 1];
    for (request, expected, why) in [
        (none().with(1, 1), INVALID_PARAMETER, "no offset"),
        (none().with(3, 0), INVALID_PARAMETER, "neither get nor set"),
        (set(&[0; 20], 0, Some(20), None).with(1, 1), INVALID_PARAMETER, "both"),
        (none().with(1, 1).with(3, 0).with(4, 1), INVALID_PARAMETER, "a length on get"),
        (none().with(1, 1).with(3, 0).with(5, &[0; 16][..]), INVALID_PARAMETER, "a param on get"),
        (none().with(1, 1).with(3, 0).with(6, 1), INVALID_PARAMETER, "a protocol on get"),
        (none().with(1, fragment + 1).with(3, 0), INVALID_LENGTH, "get of more than a fragment"),
        (set(&long, 0, Some(room), None), INVALID_LENGTH, "set of more than a fragment"),
        (set(&[0; 20], 0, None, None), INVALID_PARAMETER, "a beginning without a length"),
        (set(&[0; 16], 0, Some(16), None), INVALID_PARAMETER, "a length below 17"),
        (set(&[0; 20], 0, Some(room + 1), None), LARGE_BLOB_STORAGE_FULL, "more than there is room for"),
        (set(&[0; 20], 20, Some(40), None), INVALID_PARAMETER, "a length on a continuation"),
        (set(&[0; 20], 20, None, None), INVALID_SEQ, "a continuation of nothing"),
        (set(&[0; 20], 0, Some(40), None), SUCCESS, "a beginning"),
        (set(&[0; 20], 21, None, None), INVALID_SEQ, "a gap"),
        (set(&[0; 21], 20, None, None), INVALID_PARAMETER, "more than announced"),
        (set(&[0; 20], 20, None, None), INTEGRITY_FAILURE, "a wrong digest"),
        (set(&[0; 20], 20, None, None), INVALID_SEQ, "it has to begin again"),
    ] {
        assert_eq!(served.status(LARGE_BLOBS, &request), expected, "{why}");
        assert_eq!(read(&served.key), kept, "{why}");
    }
}

/// Covers: permission lbw; status PUAT_REQUIRED; status PIN_AUTH_INVALID; status MISSING_PARAMETER
#[test]
fn a_protected_key_wants_a_token() {
    let served = Served::with_pin();
    let new = array(&[3; 1000]);
    assert_eq!(status(write(&served.key, &new, None)), PUAT_REQUIRED);
    for protocol in [1, 2] {
        let token = |permissions| served.key.token_using_pin(protocol, PIN, permissions, None).unwrap();
        let other = token(permission::CREDENTIAL_MANAGEMENT);
        assert_eq!(status(write(&served.key, &new, Some(&other))), PIN_AUTH_INVALID);
        let token = token(permission::LARGE_BLOB_WRITE);
        let request = set(&new[..900], 0, Some(new.len() as u64), Some(&token));
        assert_eq!(served.status(LARGE_BLOBS, &request.without(6)), MISSING_PARAMETER);
        write(&served.key, &new, Some(&token)).unwrap();
        assert_eq!(read(&served.key), new);
    }
}

/// Covers: extension largeBlobKey; status INVALID_OPTION; status CBOR_UNEXPECTED_TYPE
#[test]
fn a_large_blob_key_is_the_same_at_every_assertion() {
    let served = Served::blank();
    let wish = |value: Value| cbor::map([("largeBlobKey", value)]);
    let make = |user: &[u8], value: Value| {
        let request = MakeCredential::discoverable(SITE, user).parameters().with(6, wish(value));
        served.key.call(MAKE_CREDENTIAL, &request)
    };
    let key = cbor::bytes(&make(b"1", true.into()).unwrap(), 5).unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(status(make(b"2", false.into())), INVALID_OPTION);
    assert_eq!(status(make(b"2", 1.into())), CBOR_UNEXPECTED_TYPE);
    let stateless = MakeCredential::new(SITE).parameters().with(6, wish(true.into()));
    assert_eq!(served.status(MAKE_CREDENTIAL, &stateless), INVALID_OPTION);
    for _ in 0..2 {
        let request = GetAssertion::discover(SITE).parameters().with(4, wish(true.into()));
        assert_eq!(cbor::bytes(&served.key.call(GET_ASSERTION, &request).unwrap(), 7).unwrap(), key);
    }
    let plain = served.key.call(GET_ASSERTION, &GetAssertion::discover(SITE).parameters()).unwrap();
    assert_eq!(cbor::get(&plain, 7), None);
    let request = GetAssertion::discover(SITE).parameters().with(4, wish(false.into()));
    assert_eq!(served.status(GET_ASSERTION, &request), INVALID_OPTION);
}
