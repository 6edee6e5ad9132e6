//! authenticatorLargeBlobs (CTAP 2.3 §6.10).

use brasskey_tests::client_pin::{PROTOCOLS, Token, permission};
use brasskey_tests::ctap2::{Parameters, command, status::*};
use brasskey_tests::management::{blob_array, set_blobs};
use brasskey_tests::{Key, Result};

use crate::{PIN, attached, info_number, option, power_cycle, protected, refused, reset, token_for_all};

/// The array of a key that nobody has written to: an empty CBOR array with its digest.
const EMPTY: [u8; 17] =
    [0x80, 0x76, 0xbe, 0x8b, 0x52, 0x8d, 0, 0x75, 0xf7, 0xaa, 0xe9, 0x8d, 0x6f, 0xa5, 0x7a, 0x6d, 0x3c];

/// maxFragmentLength.
fn fragment(key: &Key) -> usize {
    info_number(key, 0x05) as usize - 64
}

/// maxSerializedLargeBlobArray.
fn room(key: &Key) -> usize {
    info_number(key, 0x0b) as usize
}

fn write(key: &Key, array: &[u8], part: usize, token: Option<&Token>) -> Result<()> {
    let mut offset = 0;
    for part in array.chunks(part) {
        let length = (offset == 0).then_some(array.len() as u64);
        key.set_blobs(part, offset, length, token)?;
        offset += part.len() as u32;
    }
    Ok(())
}

fn read(key: &Key) -> Vec<u8> {
    let part = fragment(key);
    let mut all = Vec::new();
    loop {
        let next = key.get_blobs(all.len() as u64, part as u64).unwrap();
        all.extend_from_slice(&next);
        if next.len() < part {
            return all;
        }
    }
}

fn has_blobs(key: &Key) -> bool {
    option(key, "largeBlobs") == Some(true)
}

/// Covers: §6.10.2; §6.10.3; command authenticatorLargeBlobs (get); command authenticatorLargeBlobs (set);
/// member maxSerializedLargeBlobArray; command authenticatorReset
#[test]
fn an_array_is_kept() {
    let (simulator, key) = attached();
    if !has_blobs(&key) {
        return;
    }
    assert_eq!(read(&key), EMPTY);
    let small = blob_array(b"\x81\xa0");
    write(&key, &small, 1000, None).unwrap();
    assert_eq!(read(&key), small);
    // As long as it may be, in fragments as long as they may be, and in small ones.
    let content: Vec<u8> = (0..room(&key) - 16).map(|at| (at % 251) as u8).collect();
    let whole = blob_array(&content);
    for part in [fragment(&key), 500] {
        write(&key, &whole, part, None).unwrap();
        assert_eq!(read(&key), whole);
    }
    assert_eq!(key.get_blobs(100, 50).unwrap(), whole[100..150]);
    let key = power_cycle(&simulator, key);
    assert_eq!(read(&key), whole);
    let key = reset(&simulator, key);
    assert_eq!(read(&key), EMPTY);
}

/// Covers: §6.10.2; status INVALID_PARAMETER; status INVALID_LENGTH; command authenticatorLargeBlobs (get);
/// command authenticatorLargeBlobs (set); status MISSING_PARAMETER
#[test]
fn parameters_that_do_not_go_together() {
    let (_simulator, key) = attached();
    if !has_blobs(&key) {
        return;
    }
    let ask = |request: Parameters| refused(key.raw(command::LARGE_BLOBS, &request.encode()));
    let get = || Parameters::default().with(1, 17).with(3, 0);
    let set = || set_blobs(&EMPTY, 0, Some(17), None);
    assert_eq!(ask(get().without(1)), INVALID_PARAMETER, "neither get nor set");
    assert_eq!(ask(set().with(1, 17)), INVALID_PARAMETER, "both");
    assert_eq!(ask(get().without(3)), INVALID_PARAMETER, "no offset");
    assert_eq!(ask(set().without(3)), INVALID_PARAMETER);
    assert_eq!(ask(get().with(4, 17)), INVALID_PARAMETER, "length on get");
    assert_eq!(ask(get().with(5, &[0; 32][..])), INVALID_PARAMETER, "auth on get");
    assert_eq!(ask(get().with(6, 2)), INVALID_PARAMETER);
    assert_eq!(ask(get().with(1, fragment(&key) as u64 + 1)), INVALID_LENGTH);
    assert_eq!(ask(get().with(3, 18)), INVALID_PARAMETER, "beyond the end");
    assert_eq!(key.get_blobs(17, 10).unwrap(), b"", "at the end");
    assert_eq!(key.get_blobs(10, 100).unwrap(), EMPTY[10..]);
    assert_eq!(ask(set().without(4)), INVALID_PARAMETER, "no length at the beginning");
    assert_eq!(ask(set().with(4, 16)), INVALID_PARAMETER, "less than an empty array");
    assert_eq!(ask(set().with(2, vec![0; fragment(&key) + 1])), INVALID_LENGTH);
    for member in 1..=6 {
        let request = if member == 1 { get() } else { set() }.with(member, true);
        assert_eq!(ask(request), CBOR_UNEXPECTED_TYPE, "{member}");
    }
    assert_eq!(read(&key), EMPTY);
}

/// Covers: §6.10.2; status INVALID_SEQ; status INTEGRITY_FAILURE; status LARGE_BLOB_STORAGE_FULL;
/// status INVALID_PARAMETER; command authenticatorLargeBlobs (set)
#[test]
fn a_write_that_goes_wrong_leaves_the_old_array() {
    let (simulator, key) = attached();
    if !has_blobs(&key) {
        return;
    }
    let old = blob_array(b"what was there before");
    write(&key, &old, 1000, None).unwrap();
    let new = blob_array(&[0x55; 300]);
    let length = Some(new.len() as u64);
    // Out of order, or with a length where none belongs.
    assert_eq!(refused(key.set_blobs(&new[100..], 100, None, None)), INVALID_SEQ, "nothing was begun");
    key.set_blobs(&new[..100], 0, length, None).unwrap();
    assert_eq!(refused(key.set_blobs(&new[200..], 200, None, None)), INVALID_SEQ, "a gap");
    key.set_blobs(&new[..100], 0, length, None).unwrap();
    assert_eq!(refused(key.set_blobs(&new[100..], 100, length, None)), INVALID_PARAMETER, "length again");
    key.set_blobs(&new[..100], 0, length, None).unwrap();
    let too_much = [&new[100..], &[0; 10]].concat();
    assert_eq!(refused(key.set_blobs(&too_much, 100, None, None)), INVALID_PARAMETER, "more than was said");
    // The digest is wrong.
    let mut broken = new.clone();
    broken[7] ^= 1;
    assert_eq!(refused(write(&key, &broken, 100, None)), INTEGRITY_FAILURE);
    // Too long, said at the beginning.
    let too_long = Some(room(&key) as u64 + 1);
    assert_eq!(refused(key.set_blobs(&new[..100], 0, too_long, None)), LARGE_BLOB_STORAGE_FULL);
    assert_eq!(read(&key), old);
    // Half of it, and the power goes.
    key.set_blobs(&new[..100], 0, length, None).unwrap();
    let key = power_cycle(&simulator, key);
    assert_eq!(read(&key), old);
    assert_eq!(refused(key.set_blobs(&new[100..], 100, None, None)), INVALID_SEQ);
    write(&key, &new, 100, None).unwrap();
    assert_eq!(read(&key), new);
}

/// Covers: §6.10.2; status PUAT_REQUIRED; status PIN_AUTH_INVALID; status MISSING_PARAMETER;
/// status INVALID_PARAMETER; permission lbw; command authenticatorLargeBlobs (set)
#[test]
fn a_protected_key_wants_a_token_for_writing() {
    let (_simulator, key) = protected();
    if !has_blobs(&key) {
        return;
    }
    let array = blob_array(b"\x80 and more");
    assert_eq!(refused(write(&key, &array, 1000, None)), PUAT_REQUIRED);
    assert_eq!(read(&key), EMPTY, "reading is free");
    for protocol in PROTOCOLS {
        let wrong = key.token(protocol, PIN, permission::CREDENTIAL_MANAGEMENT, None).unwrap();
        assert_eq!(refused(write(&key, &array, 1000, Some(&wrong))), PIN_AUTH_INVALID);
        let right = key.token(protocol, PIN, permission::LARGE_BLOB_WRITE, None).unwrap();
        let request = || set_blobs(&array, 0, Some(array.len() as u64), Some(&right));
        let ask = |request: Parameters| refused(key.raw(command::LARGE_BLOBS, &request.encode()));
        assert_eq!(ask(request().without(6)), MISSING_PARAMETER);
        assert_eq!(ask(request().with(6, 9)), INVALID_PARAMETER);
        // It is signed for this fragment at this place.
        let mut forged = array.clone();
        forged[3] ^= 1;
        assert_eq!(ask(request().with(2, forged)), PIN_AUTH_INVALID);
        // Each fragment shows the token again.
        for part in [1000, 10] {
            write(&key, &array, part, Some(&right)).unwrap();
            assert_eq!(read(&key), array);
        }
    }
    let token = token_for_all(&key, permission::LARGE_BLOB_WRITE);
    key.set_blobs(&array[..10], 0, Some(array.len() as u64), Some(&token)).unwrap();
    assert_eq!(refused(key.set_blobs(&array[10..], 10, None, None)), PUAT_REQUIRED);
}
