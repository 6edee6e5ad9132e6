//! Extensions of makeCredential and getAssertion (CTAP 2.3 §12). One that is not known is passed over.

mod hmac_secret;

pub(crate) use hmac_secret::{HmacSecret, HmacSecretInput};

use ctap_types::ctap2::Error;
use serde::Serialize;
use serde_bytes::Bytes;

use crate::credential::CredProtect;
use crate::wire::{Map, Value};

/// What makeCredential is asked for beside a credential.
#[derive(Default)]
pub(crate) struct MakeCredentialInputs<'a> {
    pub(crate) cred_protect: Option<CredProtect>,
    /// Every credential can do it; a platform that asks is told so.
    pub(crate) hmac_secret: bool,
    pub(crate) hmac_secret_mc: Option<HmacSecretInput<'a>>,
    pub(crate) cred_blob: Option<&'a [u8]>,
    pub(crate) large_blob_key: bool,
    pub(crate) min_pin_length: bool,
    pub(crate) pin_complexity_policy: bool,
    pub(crate) third_party_payment: bool,
}

impl<'a> MakeCredentialInputs<'a> {
    /// Errors: `CBOR_UNEXPECTED_TYPE`; `INVALID_OPTION` for a value that the extension does not have;
    /// `MISSING_PARAMETER` for hmac-secret-mc without hmac-secret.
    pub(crate) fn parse(extensions: Option<Value<'a>>) -> Result<Self, Error> {
        let Some(extensions) = extensions else { return Ok(Self::default()) };
        let map = extensions.map()?;
        let cred_protect = match map.get_text("credProtect") {
            Some(level) => Some(CredProtect::try_from(level.unsigned()?)?),
            None => None,
        };
        let inputs = Self {
            cred_protect,
            hmac_secret: flag(map, "hmac-secret")?,
            hmac_secret_mc: map.get_text("hmac-secret-mc").map(HmacSecretInput::parse).transpose()?,
            cred_blob: map.get_text("credBlob").map(Value::bytes).transpose()?,
            large_blob_key: large_blob_key(map)?,
            min_pin_length: flag(map, "minPinLength")?,
            pin_complexity_policy: flag(map, "pinComplexityPolicy")?,
            third_party_payment: flag(map, "thirdPartyPayment")?,
        };
        if inputs.hmac_secret_mc.is_some() && !inputs.hmac_secret {
            return Err(Error::MissingParameter);
        }
        Ok(inputs)
    }
}

/// What getAssertion is asked for beside a signature.
#[derive(Default)]
pub(crate) struct GetAssertionInputs<'a> {
    pub(crate) hmac_secret: Option<HmacSecretInput<'a>>,
    pub(crate) wanted: Wanted,
}

/// What every assertion of a ceremony answers in the same way.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted {
    pub(crate) cred_blob: bool,
    pub(crate) large_blob_key: bool,
    pub(crate) third_party_payment: bool,
}

impl<'a> GetAssertionInputs<'a> {
    /// Errors: `CBOR_UNEXPECTED_TYPE`; `INVALID_OPTION` for a value that the extension does not have.
    pub(crate) fn parse(extensions: Option<Value<'a>>) -> Result<Self, Error> {
        let Some(extensions) = extensions else { return Ok(Self::default()) };
        let map = extensions.map()?;
        Ok(Self {
            hmac_secret: map.get_text("hmac-secret").map(HmacSecretInput::parse).transpose()?,
            wanted: Wanted {
                cred_blob: flag(map, "credBlob")?,
                large_blob_key: large_blob_key(map)?,
                third_party_payment: flag(map, "thirdPartyPayment")?,
            },
        })
    }
}

fn flag(map: Map<'_>, name: &str) -> Result<bool, Error> {
    Ok(map.get_text(name).map(Value::boolean).transpose()?.unwrap_or(false))
}

/// Errors: `INVALID_OPTION` unless it is true or missing (§12.3).
fn large_blob_key(map: Map<'_>) -> Result<bool, Error> {
    match map.get_text("largeBlobKey").map(Value::boolean).transpose()? {
        Some(false) => Err(Error::InvalidOption),
        wanted => Ok(wanted.is_some()),
    }
}

/// What authenticator data says about extensions after makeCredential, in canonical order.
#[derive(Default, Serialize)]
pub(crate) struct MakeCredentialOutputs<'a> {
    #[serde(rename = "credBlob", skip_serializing_if = "Option::is_none")]
    pub(crate) cred_blob: Option<bool>,
    #[serde(rename = "credProtect", skip_serializing_if = "Option::is_none")]
    pub(crate) cred_protect: Option<u8>,
    #[serde(rename = "hmac-secret", skip_serializing_if = "Option::is_none")]
    pub(crate) hmac_secret: Option<bool>,
    #[serde(rename = "minPinLength", skip_serializing_if = "Option::is_none")]
    pub(crate) min_pin_length: Option<u8>,
    #[serde(rename = "hmac-secret-mc", skip_serializing_if = "Option::is_none")]
    pub(crate) hmac_secret_mc: Option<&'a Bytes>,
    #[serde(rename = "thirdPartyPayment", skip_serializing_if = "Option::is_none")]
    pub(crate) third_party_payment: Option<bool>,
    #[serde(rename = "pinComplexityPolicy", skip_serializing_if = "Option::is_none")]
    pub(crate) pin_complexity_policy: Option<bool>,
}

impl MakeCredentialOutputs<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.cred_blob.is_none()
            && self.cred_protect.is_none()
            && self.hmac_secret.is_none()
            && self.min_pin_length.is_none()
            && self.hmac_secret_mc.is_none()
            && self.third_party_payment.is_none()
            && self.pin_complexity_policy.is_none()
    }
}

/// What authenticator data says about extensions after getAssertion, in canonical order.
#[derive(Serialize)]
pub(crate) struct GetAssertionOutputs<'a> {
    #[serde(rename = "credBlob", skip_serializing_if = "Option::is_none")]
    pub(crate) cred_blob: Option<&'a Bytes>,
    #[serde(rename = "hmac-secret", skip_serializing_if = "Option::is_none")]
    pub(crate) hmac_secret: Option<&'a Bytes>,
    #[serde(rename = "thirdPartyPayment", skip_serializing_if = "Option::is_none")]
    pub(crate) third_party_payment: Option<bool>,
}

impl GetAssertionOutputs<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.cred_blob.is_none() && self.hmac_secret.is_none() && self.third_party_payment.is_none()
    }
}
