//! CBOR in CTAP2's canonical form (CTAP 2.3 §8).

use ciborium::Value;

use crate::error::demand;
use crate::{Error, Result};

/// Encodes `value`, map keys in canonical order whatever order they are in.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a Vec cannot fail, and a Value holds nothing that has no encoding.
    ciborium::into_writer(&sorted(value), &mut bytes).expect("a Value can be encoded");
    bytes
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Map(entries) => {
            let mut entries: Vec<_> =
                entries.iter().map(|(key, value)| (encode(key), sorted(key), sorted(value))).collect();
            // Major type first, then length, then bytes: the encodings of equal types compare like that.
            entries.sort_by(|(a, ..), (b, ..)| (a[0] >> 5, a.len(), a).cmp(&(b[0] >> 5, b.len(), b)));
            Value::Map(entries.into_iter().map(|(_, key, value)| (key, value)).collect())
        }
        other => other.clone(),
    }
}

/// Decodes one value from the front of `bytes`. Returns it with the bytes behind it.
///
/// Errors: [`Error::Violation`] also if the encoding is not the canonical one.
pub fn decode_prefix(bytes: &[u8]) -> Result<(Value, &[u8])> {
    let mut rest = bytes;
    let value: Value =
        ciborium::from_reader(&mut rest).map_err(|error| Error::Violation(format!("CBOR: {error}")))?;
    let used = &bytes[..bytes.len() - rest.len()];
    demand!(encode(&value) == used && !has_duplicates(&value), "CBOR that is not canonical: {used:02x?}");
    Ok((value, rest))
}

/// Does a map in `value`, whose keys are in order, hold a key twice?
fn has_duplicates(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_duplicates),
        Value::Map(entries) => {
            entries.windows(2).any(|pair| pair[0].0 == pair[1].0)
                || entries.iter().any(|(_, value)| has_duplicates(value))
        }
        _ => false,
    }
}

/// Decodes all of `bytes`, which must be canonical.
pub fn decode(bytes: &[u8]) -> Result<Value> {
    let (value, rest) = decode_prefix(bytes)?;
    demand!(rest.is_empty(), "bytes after CBOR: {rest:02x?}");
    Ok(value)
}

/// The member of a map with this key.
pub fn get(map: &Value, key: impl Into<Value>) -> Option<&Value> {
    let key = key.into();
    map.as_map()?.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// A byte string that must be there.
pub fn bytes(map: &Value, key: impl Into<Value>) -> Result<Vec<u8>> {
    let key = key.into();
    get(map, key.clone())
        .and_then(Value::as_bytes)
        .cloned()
        .ok_or_else(|| Error::Violation(format!("no byte string {key:?} in {map:?}")))
}

/// A text that must be there.
pub fn text(map: &Value, key: impl Into<Value>) -> Result<String> {
    let key = key.into();
    get(map, key.clone())
        .and_then(Value::as_text)
        .map(str::to_owned)
        .ok_or_else(|| Error::Violation(format!("no text {key:?} in {map:?}")))
}

/// A number that must be there and not negative.
pub fn unsigned(map: &Value, key: impl Into<Value>) -> Result<u64> {
    let key = key.into();
    get(map, key.clone())
        .and_then(Value::as_integer)
        .and_then(|number| number.try_into().ok())
        .ok_or_else(|| Error::Violation(format!("no number {key:?} in {map:?}")))
}

/// A map from pairs.
pub fn map<K: Into<Value>, V: Into<Value>>(entries: impl IntoIterator<Item = (K, V)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_put_in_order() {
        let value = map([
            (Value::from("aa"), 1),
            (Value::from("b"), 2),
            (Value::from(-1), 3),
            (Value::from(300), 4),
            (Value::from(2), 5),
        ]);
        let expected = b"\xa5\x02\x05\x19\x01\x2c\x04\x20\x03\x61b\x02\x62aa\x01";
        assert_eq!(encode(&value), expected);
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for bytes in [
            &b"\x18\x01"[..],
            b"\xa2\x02\x00\x01\x00",
            b"\xa2\x01\x00\x01\x00",
            b"\x5f\x41a\xff",
            b"\x00\x00",
        ] {
            assert!(decode(bytes).is_err(), "{bytes:02x?}");
        }
    }
}
