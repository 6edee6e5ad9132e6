//! CTAP2's commands, a file each (CTAP 2.3 §6).

mod auth_data;
mod bio_enrollment;
mod client_pin;
mod config;
mod credential_management;
mod get_assertion;
mod get_info;
mod large_blobs;
mod make_credential;
mod output;
mod reset;
mod subcommand;

pub(crate) use bio_enrollment::Enrollment;
pub(crate) use credential_management::{NextCredential, NextRp};
pub(crate) use get_assertion::NextAssertion;
pub(crate) use large_blobs::LargeBlobWrite;

use ctap_types::ctap2::Error;

use crate::wire::Value;

/// A client data hash is a SHA-256.
fn client_data_hash(value: Value<'_>) -> Result<&[u8; 32], Error> {
    value.bytes()?.try_into().map_err(|_| Error::InvalidLength)
}
