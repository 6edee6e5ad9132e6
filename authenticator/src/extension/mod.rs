//! Extensions of makeCredential and getAssertion (CTAP 2.3 §12). One that is not known is passed over.

mod hmac_secret;

pub(crate) use hmac_secret::{HmacSecret, HmacSecretInput};

use ctap_types::ctap2::Error;
use serde::Serialize;

use crate::credential::CredProtect;
use crate::wire::Value;

/// What makeCredential is asked for beside a credential.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MakeCredentialInputs {
    pub(crate) cred_protect: Option<CredProtect>,
    /// Every credential can do it; a platform that asks is told so.
    hmac_secret: bool,
}

impl MakeCredentialInputs {
    /// Errors: `CBOR_UNEXPECTED_TYPE`; `INVALID_OPTION` for a value that the extension does not have.
    pub(crate) fn parse(extensions: Option<Value<'_>>) -> Result<Self, Error> {
        let Some(extensions) = extensions else { return Ok(Self::default()) };
        let map = extensions.map()?;
        let cred_protect = match map.get_text("credProtect") {
            Some(level) => Some(CredProtect::try_from(level.unsigned()?)?),
            None => None,
        };
        let hmac_secret = map.get_text("hmac-secret").map(Value::boolean).transpose()?.unwrap_or(false);
        Ok(Self { cred_protect, hmac_secret })
    }
}

/// What authenticator data says about extensions after makeCredential, in canonical order.
#[derive(Serialize)]
pub(crate) struct MakeCredentialOutputs {
    #[serde(rename = "credProtect", skip_serializing_if = "Option::is_none")]
    cred_protect: Option<u8>,
    #[serde(rename = "hmac-secret", skip_serializing_if = "Option::is_none")]
    hmac_secret: Option<bool>,
}

impl MakeCredentialOutputs {
    pub(crate) fn is_empty(&self) -> bool {
        self.cred_protect.is_none() && self.hmac_secret.is_none()
    }
}

impl From<&MakeCredentialInputs> for MakeCredentialOutputs {
    fn from(inputs: &MakeCredentialInputs) -> Self {
        Self {
            cred_protect: inputs.cred_protect.map(|level| level as u8),
            hmac_secret: inputs.hmac_secret.then_some(true),
        }
    }
}

/// What authenticator data says about extensions after getAssertion.
#[derive(Serialize)]
pub(crate) struct GetAssertionOutputs<'a> {
    #[serde(rename = "hmac-secret")]
    pub(crate) hmac_secret: &'a serde_bytes::Bytes,
}
