//! Credentials: their keys, their sealed IDs, the records of the discoverable ones, and the index of those.

pub(crate) mod cose;
pub(crate) mod id;
pub(crate) mod index;
pub(crate) mod key;
pub(crate) mod record;

pub(crate) use cose::CoseKey;
pub(crate) use id::{CREDENTIAL_ID_LENGTH, CredentialId, Sealed};
pub(crate) use key::{Algorithm, Signature};

use ctap_types::ctap2::Error;

use crate::store::Stored;

/// A credential that a request may use.
pub(crate) struct Credential {
    pub(crate) id: CredentialId,
    pub(crate) sealed: Sealed,
    /// Its record, if it is discoverable.
    pub(crate) stored: Option<Stored>,
}

/// credProtect: when a credential may be used or even seen (CTAP 2.3 §12.1).
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum CredProtect {
    /// userVerificationOptional: always.
    #[default]
    Optional = 1,
    /// userVerificationOptionalWithCredentialIDList: without user verification only when the site names it.
    OptionalWithCredentialIdList = 2,
    /// userVerificationRequired: only with user verification.
    Required = 3,
}

impl TryFrom<u64> for CredProtect {
    type Error = Error;

    fn try_from(level: u64) -> Result<Self, Error> {
        match level {
            1 => Ok(Self::Optional),
            2 => Ok(Self::OptionalWithCredentialIdList),
            3 => Ok(Self::Required),
            _ => Err(Error::InvalidOption),
        }
    }
}

impl CredProtect {
    /// May a credential of this level be used, given what the request brought?
    pub(crate) fn allows(self, user_verified: bool, named_by_id: bool) -> bool {
        match self {
            Self::Optional => true,
            Self::OptionalWithCredentialIdList => user_verified || named_by_id,
            Self::Required => user_verified,
        }
    }
}
