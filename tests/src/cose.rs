//! COSE public keys and the signatures under them (RFC 9053; WebAuthn §5.8.5, §6.5.1.1).

use ciborium::Value;
use p256::ecdsa::signature::Verifier;

use crate::cbor;
use crate::error::demand;
use crate::{Error, Result};

/// ECDSA on P-256 with SHA-256.
pub const ES256: i64 = -7;
/// EdDSA on Ed25519.
pub const EDDSA: i64 = -8;

/// A credential's public key.
#[derive(Clone, Debug, PartialEq)]
pub enum PublicKey {
    /// −7
    Es256(p256::ecdsa::VerifyingKey),
    /// −8
    EdDsa(ed25519_dalek::VerifyingKey),
}

impl PublicKey {
    /// Reads a COSE key, which must have the members of its kind and no other.
    pub fn parse(key: &Value) -> Result<Self> {
        let number = |label: i64| cbor::get(key, label).and_then(Value::as_integer).map(i128::from);
        let members = key.as_map().map_or(0, Vec::len);
        let parameters = [number(1), number(3), number(-1)];
        if parameters == [Some(2), Some(ES256.into()), Some(1)] {
            demand!(members == 5, "members of an ES256 key: {key:?}");
            let point = [vec![4], cbor::bytes(key, -2)?, cbor::bytes(key, -3)?].concat();
            Self::from_sec1(&point)
        } else if parameters == [Some(1), Some(EDDSA.into()), Some(6)] {
            demand!(members == 4, "members of an EdDSA key: {key:?}");
            let bytes = cbor::bytes(key, -2)?;
            let bytes = bytes.try_into().map_err(|_| Error::Violation("length of an Ed25519 key".into()))?;
            ed25519_dalek::VerifyingKey::from_bytes(&bytes).map(Self::EdDsa).map_err(violation)
        } else {
            Err(Error::Violation(format!("not a key of a known kind: {key:?}")))
        }
    }

    /// An ES256 key from an uncompressed point, as U2F and X.509 write it.
    pub fn from_sec1(point: &[u8]) -> Result<Self> {
        demand!(point.len() == 65 && point[0] == 4, "not an uncompressed point: {point:02x?}");
        p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::Es256).map_err(violation)
    }

    /// The COSE algorithm.
    pub fn algorithm(&self) -> i64 {
        match self {
            Self::Es256(_) => ES256,
            Self::EdDsa(_) => EDDSA,
        }
    }

    /// Verifies the signature over the concatenation of `message`.
    pub fn verify(&self, message: &[&[u8]], signature: &[u8]) -> Result<()> {
        let message = message.concat();
        match self {
            Self::Es256(key) => {
                let signature = p256::ecdsa::DerSignature::from_bytes(signature).map_err(violation)?;
                key.verify(&message, &signature).map_err(violation)
            }
            Self::EdDsa(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature).map_err(violation)?;
                key.verify_strict(&message, &signature).map_err(violation)
            }
        }
    }
}

fn violation(error: impl std::fmt::Display) -> Error {
    Error::Violation(format!("key or signature: {error}"))
}
