//! Authenticator data (WebAuthn §6.1).

use ciborium::Value;

use crate::cbor;
use crate::cose::PublicKey;
use crate::error::demand;
use crate::{Error, Result};

const UP: u8 = 0x01;
const UV: u8 = 0x04;
const AT: u8 = 0x40;
const ED: u8 = 0x80;

/// What an authenticator says of a credential and of the user, and signs.
#[derive(Clone, Debug)]
pub struct AuthData {
    /// As it came and was signed.
    pub bytes: Vec<u8>,
    /// SHA-256 of the RP ID.
    pub rp_id_hash: [u8; 32],
    /// UP, UV, AT, ED.
    pub flags: u8,
    /// The signature counter.
    pub sign_count: u32,
    /// Only makeCredential has it.
    pub attested: Option<AttestedCredential>,
    /// Extension outputs, a map.
    pub extensions: Option<Value>,
}

/// A new credential (§6.5.1).
#[derive(Clone, Debug)]
pub struct AttestedCredential {
    /// The model of the key.
    pub aaguid: [u8; 16],
    /// The credential ID.
    pub id: Vec<u8>,
    /// Its public key.
    pub public_key: PublicKey,
}

impl AuthData {
    /// Reads authenticator data; flags must say what is there, and nothing may follow.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let short = || Error::Violation(format!("authenticator data is too short: {bytes:02x?}"));
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or_else(short)?;
        let (&[flags], rest) = rest.split_first_chunk::<1>().ok_or_else(short)?;
        let (sign_count, mut rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        demand!(flags & !(UP | UV | AT | ED) == 0, "flags {flags:#04x}");
        let mut attested = None;
        if flags & AT != 0 {
            let (aaguid, behind) = rest.split_first_chunk::<16>().ok_or_else(short)?;
            let (length, behind) = behind.split_first_chunk::<2>().ok_or_else(short)?;
            let (id, behind) =
                behind.split_at_checked(u16::from_be_bytes(*length).into()).ok_or_else(short)?;
            let (key, behind) = cbor::decode_prefix(behind)?;
            attested = Some(AttestedCredential {
                aaguid: *aaguid,
                id: id.to_vec(),
                public_key: PublicKey::parse(&key)?,
            });
            rest = behind;
        }
        let mut extensions = None;
        if flags & ED != 0 {
            let (outputs, behind) = cbor::decode_prefix(rest)?;
            demand!(outputs.as_map().is_some_and(|map| !map.is_empty()), "extension outputs {outputs:?}");
            extensions = Some(outputs);
            rest = behind;
        }
        demand!(rest.is_empty(), "bytes after authenticator data: {rest:02x?}");
        Ok(Self {
            bytes: bytes.to_vec(),
            rp_id_hash: *rp_id_hash,
            flags,
            sign_count: u32::from_be_bytes(*sign_count),
            attested,
            extensions,
        })
    }

    /// The UP flag.
    pub fn user_present(&self) -> bool {
        self.flags & UP != 0
    }

    /// The UV flag.
    pub fn user_verified(&self) -> bool {
        self.flags & UV != 0
    }
}
