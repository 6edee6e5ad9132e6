//! CTAP2's commands, a file each (CTAP 2.3 §6).

mod auth_data;
mod client_pin;
mod credential_management;
mod get_assertion;
mod get_info;
mod make_credential;
mod output;
mod reset;

pub(crate) use credential_management::{NextCredential, NextRp};
pub(crate) use get_assertion::NextAssertion;

use ctap_types::ctap2::Error;

use crate::wire::Value;

/// A client data hash is a SHA-256.
fn client_data_hash(value: Value<'_>) -> Result<&[u8; 32], Error> {
    value.bytes()?.try_into().map_err(|_| Error::InvalidLength)
}
