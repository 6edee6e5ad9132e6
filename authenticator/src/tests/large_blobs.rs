//! authenticatorLargeBlobs and largeBlobKey (CTAP 2.3 §6.10, §12.3).

use std::vec;
use std::vec::Vec;

use ciborium::Value;
use sha2::{Digest, Sha256};

use super::client::*;
use super::client_pin::{PIN, PinToken, set_pin};
use crate::Authenticator;
use crate::testing::Platform;

const EMPTY: &[u8] =
    &[0x80, 0x76, 0xbe, 0x8b, 0x52, 0x8d, 0x00, 0x75, 0xf7, 0xaa, 0xe9, 0x8d, 0x6f, 0xa5, 0x7a, 0x6d, 0x3c];
const WRITE: u8 = 0x10;

fn int(number: usize) -> Value {
    Value::from(number as u64)
}

fn blobs(key: &mut Authenticator<'_, Platform>, parameters: &[(u8, Value)]) -> Answer {
    let mut message = vec![0x0c];
    ciborium::into_writer(&map(parameters.to_vec()), &mut message).unwrap();
    send(key, &message)
}

fn get_blobs(key: &mut Authenticator<'_, Platform>, number: usize, offset: usize) -> Result<Vec<u8>, u8> {
    let answer = blobs(key, &[(1, int(number)), (3, int(offset))])?;
    Ok(member(&answer, 1).unwrap().into_bytes().unwrap())
}

/// An array with the digest that belongs to it.
pub(super) fn array(content: &[u8]) -> Vec<u8> {
    [content, &Sha256::digest(content)[..16]].concat()
}

pub(super) fn largest_array(fill: u8) -> Vec<u8> {
    array(&[fill; 4080])
}

fn set_part(part: &[u8], offset: usize, length: Option<usize>, token: Option<&PinToken>) -> Vec<(u8, Value)> {
    let mut parameters = vec![(2, bytes(part)), (3, int(offset))];
    parameters.extend(length.map(|length| (4, int(length))));
    if let Some(token) = token {
        let mut signed = vec![0xff; 32];
        signed.extend_from_slice(&[0x0c, 0]);
        signed.extend_from_slice(&(offset as u32).to_le_bytes());
        signed.extend_from_slice(&Sha256::digest(part));
        parameters.push((5, token.sign(&signed)));
        parameters.push((6, token.agreed.protocol.into()));
    }
    parameters
}

/// Writes an array in pieces of a thousand bytes, without a token.
pub(super) fn write_blobs(key: &mut Authenticator<'_, Platform>, array: &[u8]) -> Result<(), u8> {
    write_with(key, array, None)
}

fn write_with(
    key: &mut Authenticator<'_, Platform>,
    array: &[u8],
    token: Option<&PinToken>,
) -> Result<(), u8> {
    for (number, part) in array.chunks(1000).enumerate() {
        let length = (number == 0).then_some(array.len());
        assert!(blobs(key, &set_part(part, number * 1000, length, token))?.is_empty());
    }
    Ok(())
}

pub(super) fn read_blobs(key: &mut Authenticator<'_, Platform>) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let part = get_blobs(key, 960, whole.len()).unwrap();
        whole.extend_from_slice(&part);
        if part.len() < 960 {
            return whole;
        }
    }
}

#[test]
fn an_array_is_kept_over_a_power_cycle() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    assert_eq!(read_blobs(&mut key), EMPTY);
    for content in [&[0x81, 0x01][..], &[7; 1500], &[9; 4080], &[0x80]] {
        write_blobs(&mut key, &array(content)).unwrap();
        assert_eq!(read_blobs(&mut key), array(content));
    }
    write_blobs(&mut key, &largest_array(5)).unwrap();
    drop(key);
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(read_blobs(&mut key), largest_array(5));
    assert_eq!(get_blobs(&mut key, 10, 4096), Ok(vec![]), "at the end");
    assert_eq!(get_blobs(&mut key, 10, 4097), Err(0x02), "beyond it");
    send(&mut key, &[0x07]).unwrap();
    assert_eq!(read_blobs(&mut key), EMPTY);
}

#[test]
fn requests_that_make_no_sense() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let old = array(&[1; 100]);
    write_blobs(&mut key, &old).unwrap();
    let part = || bytes(&[0; 17]);
    let number = int;
    type Refused<'a> = (&'a [(u8, Value)], u8, &'a str);
    let refused: [Refused<'_>; 13] = [
        (&[(1, number(1))], 0x02, "no offset"),
        (&[(3, number(0))], 0x02, "neither get nor set"),
        (&[(1, number(1)), (2, part()), (3, number(0))], 0x02, "both"),
        (&[(1, number(1)), (3, number(0)), (4, number(1))], 0x02, "a length on get"),
        (&[(1, number(1)), (3, number(0)), (5, part())], 0x02, "a param on get"),
        (&[(1, number(1)), (3, number(0)), (6, number(1))], 0x02, "a protocol on get"),
        (&[(1, number(7546)), (3, number(0))], 0x03, "get of more than a message has"),
        (&[(2, bytes(&[0; 7546])), (3, number(0)), (4, number(8000))], 0x03, "set of more"),
        (&[(2, part()), (3, number(0))], 0x02, "a beginning without a length"),
        (&[(2, part()), (3, number(0)), (4, number(16))], 0x02, "shorter than a digest and one byte"),
        (&[(2, part()), (3, number(0)), (4, number(4097))], 0x18, "longer than there is room for"),
        (&[(2, bytes(&[0; 18])), (3, number(0)), (4, number(17))], 0x02, "more than announced"),
        (&[(2, part()), (3, number(17)), (4, number(50))], 0x02, "a length on a continuation"),
    ];
    for (parameters, status, what) in refused {
        assert_eq!(blobs(&mut key, parameters), Err(status), "{what}");
    }
    assert_eq!(blobs(&mut key, &set_part(&[0; 17], 17, None, None)), Err(0x04), "never begun");
    assert_eq!(read_blobs(&mut key), old);

    blobs(&mut key, &set_part(&[0; 17], 0, Some(50), None)).unwrap();
    assert_eq!(read_blobs(&mut key), old, "until the last piece the old one counts");
    assert_eq!(blobs(&mut key, &set_part(&[0; 17], 16, None, None)), Err(0x04), "out of order");
    assert_eq!(blobs(&mut key, &set_part(&[0; 34], 17, None, None)), Err(0x02), "too much");
    assert_eq!(blobs(&mut key, &set_part(&[0; 33], 17, None, None)), Err(0x3d), "INTEGRITY_FAILURE");
    assert_eq!(blobs(&mut key, &set_part(&[0; 33], 17, None, None)), Err(0x04), "it has to begin again");
    assert_eq!(read_blobs(&mut key), old);
}

#[test]
fn a_key_with_a_pin_wants_a_token() {
    for protocol in [1, 2] {
        let (mut flash, platform) = blank();
        let mut key = Authenticator::boot(&mut flash, platform).unwrap();
        set_pin(&mut key, protocol, PIN).unwrap();
        let new = array(&[3; 1200]);
        assert_eq!(write_blobs(&mut key, &new), Err(0x36));
        let other = PinToken::get(&mut key, protocol, PIN, Some((4, None))).unwrap();
        assert_eq!(write_with(&mut key, &new, Some(&other)), Err(0x33));
        let token = PinToken::get(&mut key, protocol, PIN, Some((WRITE, None))).unwrap();
        let mut unsigned = set_part(&new, 0, Some(new.len()), Some(&token));
        unsigned.retain(|(key, _)| *key != 6);
        assert_eq!(blobs(&mut key, &unsigned), Err(0x14));
        write_with(&mut key, &new, Some(&token)).unwrap();
        assert_eq!(read_blobs(&mut key), new);
    }
}

/// A platform writes a blob right after the assertion that gave it the key, with the same token.
#[test]
fn a_large_blob_key_belongs_to_its_credential() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let wish = |wish: Value| map([("largeBlobKey", wish)]);
    let mut own_key = |user: &[u8], wanted: Value| {
        let request = Make::new("example.com", user).discoverable().with(6, wish(wanted));
        send(&mut key, &request.message()).map(|answer| member(&answer, 5))
    };
    let one = own_key(b"1", true.into()).unwrap().unwrap().into_bytes().unwrap();
    let two = own_key(b"2", true.into()).unwrap().unwrap().into_bytes().unwrap();
    assert_eq!(one.len(), 32);
    assert_ne!(one, two);
    assert_eq!(own_key(b"3", false.into()), Err(0x2c));
    assert_eq!(own_key(b"3", 1.into()), Err(0x11));
    let stateless = Make::new("example.com", b"4").with(6, wish(true.into()));
    assert_eq!(send(&mut key, &stateless.message()), Err(0x2c), "only for a discoverable one");

    make(&mut key, &Make::new("example.com", b"5").discoverable()).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    let newest = send(&mut key, &Get::new("example.com").with(4, wish(true.into())).message()).unwrap();
    assert_eq!(member(&newest, 7), None, "it was not asked for when it was made");
    let next = send(&mut key, &[0x08]).unwrap();
    assert_eq!(member(&next, 7), Some(bytes(&two)));
    let token = PinToken::get(&mut key, 2, PIN, Some((0x12, Some("example.com")))).unwrap();
    let got = send(&mut key, &token.assert(Get::new("example.com")).message()).unwrap();
    assert_eq!(member(&got, 7), None, "not asked for");
    write_with(&mut key, &array(&[1; 40]), Some(&token)).expect("lbw outlives the assertion");
    let refused = send(&mut key, &Get::new("example.com").with(4, wish(false.into())).message());
    assert_eq!(refused, Err(0x2c));
}
