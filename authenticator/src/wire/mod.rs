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

pub(crate) use entity::{Algorithms, Descriptors, Options, RelyingParty, User, truncate};
pub(crate) use value::{Map, Value};

use ctap_types::ctap2::Error;
use serde::Serialize;

/// Writes `value` as canonical CBOR at the start of `buffer`; returns its length.
///
/// Errors: `Error::RequestTooLarge` if the buffer is too small.
pub(crate) fn encode<T: Serialize>(value: &T, buffer: &mut [u8]) -> Result<usize, Error> {
    cbor_smol::cbor_serialize(value, buffer).map(<[u8]>::len).map_err(|_| Error::RequestTooLarge)
}
