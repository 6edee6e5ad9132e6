//! WebAuthn's dictionaries in responses, members in canonical order.

use serde::Serialize;
use serde_bytes::Bytes;

use crate::credential::record::Record;

/// PublicKeyCredentialDescriptor.
#[derive(Serialize)]
pub(super) struct Descriptor<'a> {
    id: &'a Bytes,
    r#type: &'static str,
}

impl<'a> Descriptor<'a> {
    pub(super) fn new(id: &'a [u8]) -> Self {
        Self { id: Bytes::new(id), r#type: "public-key" }
    }
}

/// PublicKeyCredentialUserEntity.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserOutput<'a> {
    id: &'a Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
}

impl<'a> UserOutput<'a> {
    /// The account of a record, with its names or without.
    pub(super) fn new(record: &Record<'a>, named: bool) -> Self {
        Self {
            id: record.user_id,
            name: record.user_name.filter(|_| named),
            display_name: record.user_display_name.filter(|_| named),
        }
    }
}

/// PublicKeyCredentialRpEntity; the name is not kept.
#[derive(Serialize)]
pub(super) struct RpOutput<'a> {
    pub(super) id: &'a str,
}
