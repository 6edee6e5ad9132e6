//! A checked CBOR item, seen through typed glasses.

use ctap_types::ctap2::Error;

use super::check::{
    Head, MAJOR_ARRAY, MAJOR_BYTES, MAJOR_MAP, MAJOR_NEGATIVE, MAJOR_TEXT, MAJOR_UNSIGNED, head, item,
};

/// One canonical CBOR item. The accessors answer `CBOR_UNEXPECTED_TYPE` where it is of another type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// Checks a whole message.
    ///
    /// Errors: `INVALID_CBOR` if it is malformed, not canonical, nested deeper than four levels, or followed by
    /// anything.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        match item(bytes) {
            Some(length) if length == bytes.len() => Ok(Self { bytes }),
            _ => Err(Error::InvalidCbor),
        }
    }

    fn head(self) -> Result<Head, Error> {
        head(self.bytes).ok_or(Error::InvalidCbor)
    }

    fn content(self, major: u8) -> Result<(u64, &'a [u8]), Error> {
        let head = self.head()?;
        if head.major != major {
            return Err(Error::CborUnexpectedType);
        }
        Ok((head.argument, self.bytes.get(head.size..).unwrap_or_default()))
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], Error> {
        Ok(self.content(MAJOR_BYTES)?.1)
    }

    pub(crate) fn text(self) -> Result<&'a str, Error> {
        core::str::from_utf8(self.content(MAJOR_TEXT)?.1).map_err(|_| Error::InvalidCbor)
    }

    pub(crate) fn unsigned(self) -> Result<u64, Error> {
        Ok(self.content(MAJOR_UNSIGNED)?.0)
    }

    /// A signed integer. One beyond 64 bits is none that any parameter uses, and reads as `i64::MIN` or `MAX`.
    pub(crate) fn integer(self) -> Result<i64, Error> {
        let head = self.head()?;
        let magnitude = i64::try_from(head.argument).unwrap_or(i64::MAX);
        match head.major {
            MAJOR_UNSIGNED => Ok(magnitude),
            MAJOR_NEGATIVE => Ok(-1 - magnitude),
            _ => Err(Error::CborUnexpectedType),
        }
    }

    pub(crate) fn boolean(self) -> Result<bool, Error> {
        match self.bytes {
            [0xf4] => Ok(false),
            [0xf5] => Ok(true),
            _ => Err(Error::CborUnexpectedType),
        }
    }

    /// The elements of an array, in order.
    pub(crate) fn array(self) -> Result<Items<'a>, Error> {
        let (left, bytes) = self.content(MAJOR_ARRAY)?;
        Ok(Items { bytes, left })
    }

    /// The item as it was received.
    pub(crate) fn raw(self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn map(self) -> Result<Map<'a>, Error> {
        let (entries, bytes) = self.content(MAJOR_MAP)?;
        // Not an overflow: each entry took two bytes of the message at least.
        Ok(Map { items: Items { bytes, left: entries * 2 } })
    }
}

/// Items one after another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'a> {
    bytes: &'a [u8],
    left: u64,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (bytes, rest) = self.bytes.split_at_checked(item(self.bytes)?)?;
        self.bytes = rest;
        Some(Value { bytes })
    }
}

/// A map, by integer keys as in CTAP2's parameters or by text as in WebAuthn's dictionaries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map<'a> {
    items: Items<'a>,
}

impl<'a> Map<'a> {
    /// The parameters of a command: all that follows the command byte.
    ///
    /// Errors: `INVALID_CBOR`, or `CBOR_UNEXPECTED_TYPE` if it is not a map. A command without any bytes after
    /// it has an empty map.
    pub(crate) fn parameters(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Ok(Self { items: Items { bytes, left: 0 } });
        }
        Value::parse(bytes)?.map()
    }

    /// Key and value, in the order of the message.
    pub(crate) fn entries(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let mut items = self.items;
        core::iter::from_fn(move || Some((items.next()?, items.next()?)))
    }

    /// The value under an integer key.
    pub(crate) fn get(self, key: i64) -> Option<Value<'a>> {
        self.entries().find(|(k, _)| k.integer() == Ok(key)).map(|(_, value)| value)
    }

    /// The value under a text key.
    pub(crate) fn get_text(self, key: &str) -> Option<Value<'a>> {
        self.entries().find(|(k, _)| k.text() == Ok(key)).map(|(_, value)| value)
    }

    /// As [`Self::get`]; `MISSING_PARAMETER` if it is not there.
    pub(crate) fn require(self, key: i64) -> Result<Value<'a>, Error> {
        self.get(key).ok_or(Error::MissingParameter)
    }

    /// As [`Self::get_text`]; `MISSING_PARAMETER` if it is not there.
    pub(crate) fn require_text(self, key: &str) -> Result<Value<'a>, Error> {
        self.get_text(key).ok_or(Error::MissingParameter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_is_asked_for() {
        // {1: h'ff', 2: "a", 3: [1, -2], -1: true}
        let message = [0xa4, 0x01, 0x41, 0xff, 0x02, 0x61, 0x61, 0x03, 0x82, 0x01, 0x21, 0x20, 0xf5];
        let map = Map::parameters(&message).unwrap();
        assert_eq!(map.require(1).unwrap().bytes(), Ok(&[0xff][..]));
        assert_eq!(map.require(2).unwrap().text(), Ok("a"));
        assert!(map.require(3).unwrap().array().unwrap().map(|v| v.integer().unwrap()).eq([1, -2]));
        assert_eq!(map.require(-1).unwrap().boolean(), Ok(true));
    }

    #[test]
    fn tells_wrong_missing_and_malformed_apart() {
        let map = Map::parameters(&[0xa1, 0x01, 0x41, 0xff]).unwrap();
        assert_eq!(map.require(1).unwrap().text(), Err(Error::CborUnexpectedType));
        assert_eq!(map.require(2).unwrap_err(), Error::MissingParameter);
        assert_eq!(Map::parameters(&[0x80]).unwrap_err(), Error::CborUnexpectedType);
        assert_eq!(Map::parameters(&[0xa1, 0x01]).unwrap_err(), Error::InvalidCbor);
        assert_eq!(Map::parameters(&[0xa0, 0x00]).unwrap_err(), Error::InvalidCbor, "bytes after the map");
        assert!(Map::parameters(&[]).unwrap().get(1).is_none());
    }

    #[test]
    fn huge_integers_do_not_overflow() {
        let negative = [0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Value::parse(&negative).unwrap().integer(), Ok(i64::MIN));
    }
}
