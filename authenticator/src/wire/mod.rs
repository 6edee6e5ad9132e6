//! Parsing, separate from meaning: CTAP2's canonical CBOR (CTAP 2.3 §8).
//!
//! [`Value::parse`] checks a whole message once: well formed, canonical, not nested too deep, nothing behind it.
//! What it returns is a view into the message, and every later look at it is cheap and cannot fail but by a
//! wrong type. ctap-types is not used for requests: it caps lists at 10 or 16 entries, forgets algorithms that
//! it does not know, reports a wrong type as malformed CBOR, and cannot keep the raw bytes that
//! `pinUvAuthParam` covers. Responses are written by cbor-smol.

mod check;
mod entity;
mod value;

pub(crate) use entity::{Algorithms, Descriptors, MAX_NAME, Options, RelyingParty, User, truncate};
pub(crate) use value::{Map, Value};

use ctap_types::ctap2::Error;
use serde::Serialize;

/// Writes a map with one member, a byte string of `length` bytes that `fill` writes where it belongs; returns the
/// map's length.
///
/// Errors: `Error::RequestTooLarge` if the buffer is too small, and those of `fill`.
pub(crate) fn put_bytes_member(
    key: u8,
    length: usize,
    buffer: &mut [u8],
    fill: impl FnOnce(&mut [u8]) -> Result<(), Error>,
) -> Result<usize, Error> {
    const MAP_OF_ONE: u8 = 0xa1;
    let [high, low] = u16::try_from(length).map_err(|_| Error::RequestTooLarge)?.to_be_bytes();
    let (head, size) = match length {
        0..24 => ([MAP_OF_ONE, key, 0x40 | low, 0, 0], 3),
        24..256 => ([MAP_OF_ONE, key, 0x58, low, 0], 4),
        _ => ([MAP_OF_ONE, key, 0x59, high, low], 5),
    };
    let whole = buffer.get_mut(..size + length).ok_or(Error::RequestTooLarge)?;
    let (place, content) = whole.split_at_mut(size);
    place.copy_from_slice(&head[..size]);
    fill(content)?;
    Ok(size + length)
}

/// Writes `value` as canonical CBOR at the start of `buffer`; returns its length.
///
/// Errors: `Error::RequestTooLarge` if the buffer is too small.
pub(crate) fn encode<T: Serialize>(value: &T, buffer: &mut [u8]) -> Result<usize, Error> {
    cbor_smol::cbor_serialize(value, buffer).map(<[u8]>::len).map_err(|_| Error::RequestTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_in_place_is_what_the_encoder_writes() {
        for length in [0, 1, 23, 24, 255, 256, 4096] {
            let (mut buffer, mut encoded) = ([0; 5000], [0; 5000]);
            let written = put_bytes_member(1, length, &mut buffer, |part| {
                part.fill(0xab);
                Ok(())
            });
            let content = std::vec![0xab; length];
            let member = std::collections::BTreeMap::from([(1, serde_bytes::Bytes::new(&content))]);
            let expected = encode(&member, &mut encoded).unwrap();
            assert_eq!(written, Ok(expected));
            assert_eq!(buffer[..expected], encoded[..expected]);
            let mut small = std::vec![0; expected - 1];
            assert_eq!(put_bytes_member(1, length, &mut small, |_| Ok(())), Err(Error::RequestTooLarge));
        }
    }
}
