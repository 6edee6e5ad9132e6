//! The dictionaries that CTAP2 took over from WebAuthn, as views into a request.
//!
//! Members that are not known are passed over, and every member that is known is checked, also behind a good
//! one (CTAP 2.3 §6.1.2, §6.2.2).

use ctap_types::ctap2::Error;

use super::value::{Items, Value};

/// The only credential type there is (WebAuthn §5.8.2).
const PUBLIC_KEY: &str = "public-key";

/// user.id has 64 bytes at most (WebAuthn §5.4.3).
const MAX_USER_ID: usize = 64;

/// Names are kept up to 64 bytes (WebAuthn §6.4.1).
pub(crate) const MAX_NAME: usize = 64;

/// The largest part of `text` that ends on a character and has `limit` bytes at most.
pub(crate) fn truncate(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

/// PublicKeyCredentialRpEntity. The name and the old icon are not kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelyingParty<'a> {
    pub(crate) id: &'a str,
}

impl<'a> RelyingParty<'a> {
    pub(crate) fn parse(value: Value<'a>) -> Result<Self, Error> {
        let map = value.map()?;
        let id = map.require_text("id")?.text()?;
        for unused in ["name", "icon"] {
            map.get_text(unused).map(Value::text).transpose()?;
        }
        Ok(Self { id })
    }
}

/// PublicKeyCredentialUserEntity, names cut to 64 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User<'a> {
    pub(crate) id: &'a [u8],
    pub(crate) name: Option<&'a str>,
    pub(crate) display_name: Option<&'a str>,
}

impl<'a> User<'a> {
    pub(crate) fn parse(value: Value<'a>) -> Result<Self, Error> {
        let map = value.map()?;
        let id = map.require_text("id")?.bytes()?;
        if id.len() > MAX_USER_ID {
            return Err(Error::InvalidLength);
        }
        let text = |key| match map.get_text(key) {
            Some(value) => value.text().map(|text| Some(truncate(text, MAX_NAME))),
            None => Ok(None),
        };
        text("icon")?;
        Ok(Self { id, name: text("name")?, display_name: text("displayName")? })
    }
}

/// pubKeyCredParams: what the relying party accepts, best first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Algorithms<'a> {
    items: Items<'a>,
}

impl<'a> Algorithms<'a> {
    pub(crate) fn parse(value: Value<'a>) -> Result<Self, Error> {
        let items = value.array()?;
        items.into_iter().try_for_each(|item| Self::entry(item).map(drop))?;
        Ok(Self { items })
    }

    fn entry(item: Value<'a>) -> Result<Option<i64>, Error> {
        let map = item.map()?;
        let algorithm = map.require_text("alg")?.integer()?;
        Ok((map.require_text("type")?.text()? == PUBLIC_KEY).then_some(algorithm))
    }

    /// COSE algorithm identifiers, best first.
    pub(crate) fn identifiers(self) -> impl Iterator<Item = i64> {
        self.items.filter_map(|item| Self::entry(item).ok().flatten())
    }
}

/// A list of PublicKeyCredentialDescriptor: allowList or excludeList.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptors<'a> {
    items: Items<'a>,
}

impl<'a> Descriptors<'a> {
    /// Checks every entry.
    ///
    /// Errors: `LIMIT_EXCEEDED` for more entries than getInfo's maxCredentialCountInList.
    pub(crate) fn parse(value: Value<'a>, limit: usize) -> Result<Self, Error> {
        let items = value.array()?;
        let mut entries = 0;
        for item in items {
            Self::entry(item)?;
            entries += 1;
        }
        if entries > limit {
            return Err(Error::LimitExceeded);
        }
        Ok(Self { items })
    }

    /// The ID in one descriptor; `None` if it is of another type.
    pub(crate) fn entry(item: Value<'a>) -> Result<Option<&'a [u8]>, Error> {
        let map = item.map()?;
        let id = map.require_text("id")?.bytes()?;
        Ok((map.require_text("type")?.text()? == PUBLIC_KEY).then_some(id))
    }

    /// True if the list has no entry at all.
    pub(crate) fn is_empty(self) -> bool {
        self.items.into_iter().next().is_none()
    }

    /// The credential IDs; descriptors of another type are passed over.
    pub(crate) fn ids(self) -> impl Iterator<Item = &'a [u8]> {
        self.items.filter_map(|item| Self::entry(item).ok().flatten())
    }
}

/// The options of makeCredential and getAssertion.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) rk: Option<bool>,
    pub(crate) up: Option<bool>,
    pub(crate) uv: Option<bool>,
}

impl Options {
    pub(crate) fn parse(value: Option<Value<'_>>) -> Result<Self, Error> {
        let Some(value) = value else { return Ok(Self::default()) };
        let map = value.map()?;
        let option = |key| map.get_text(key).map(Value::boolean).transpose();
        Ok(Self { rk: option("rk")?, up: option("up")?, uv: option("uv")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_on_a_character() {
        assert_eq!(truncate("ag\u{308}", 3), "ag", "the example of WebAuthn §6.4.1");
        assert_eq!(truncate("ag\u{308}", 4), "ag\u{308}");
        assert_eq!(truncate("", 64), "");
    }
}
