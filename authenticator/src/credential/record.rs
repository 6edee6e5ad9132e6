//! What the store keeps of a discoverable credential.

use serde_bytes::Bytes;
use serde_indexed::{DeserializeIndexed, SerializeIndexed};

use super::CREDENTIAL_ID_LENGTH;

/// An RP ID is kept up to this many bytes; `rp_id_hash` is kept beside it, so only its display is cut.
pub(crate) const MAX_RP_ID: usize = 256;

/// The longest credBlob, in bytes: getInfo's maxCredBlobLength.
pub(crate) const MAX_CRED_BLOB: usize = 32;

/// The largest record in bytes: every member at its largest, with CBOR's heads.
pub(crate) const MAX_RECORD: usize = CREDENTIAL_ID_LENGTH + 32 + MAX_RP_ID + 3 * 64 + 5 + MAX_CRED_BLOB + 32;

/// One discoverable credential, as it is stored: canonical CBOR with the keys 1 to 8.
#[derive(Clone, Debug, DeserializeIndexed, SerializeIndexed)]
#[serde_indexed(offset = 1)]
pub(crate) struct Record<'a> {
    /// The sealed ID, which holds the private key.
    pub(crate) credential_id: &'a Bytes,
    pub(crate) rp_id_hash: &'a Bytes,
    pub(crate) rp_id: &'a str,
    pub(crate) user_id: &'a Bytes,
    /// Rises with every credential that is made: the newest has the highest.
    pub(crate) order: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cred_blob: Option<&'a Bytes>,
}
