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

/// ML-DSA-44.
pub const ML_DSA_44: i64 = -48;
/// ML-DSA-65.
pub const ML_DSA_65: i64 = -49;

/// A credential's public key.
#[derive(Clone, Debug, PartialEq)]
pub enum PublicKey {
    /// −7
    Es256(p256::ecdsa::VerifyingKey),
    /// −8
    EdDsa(ed25519_dalek::VerifyingKey),
    /// −48
    MlDsa44(Box<ml_dsa::VerifyingKey<ml_dsa::MlDsa44>>),
    /// −49
    MlDsa65(Box<ml_dsa::VerifyingKey<ml_dsa::MlDsa65>>),
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
        } else if parameters[0] == Some(7) {
            // An algorithm key pair (RFC 9964): the algorithm says all about it.
            demand!(members == 3, "members of a key of kind AKP: {key:?}");
            let bytes = cbor::bytes(key, -1)?;
            match parameters[1].and_then(|algorithm| i64::try_from(algorithm).ok()) {
                Some(ML_DSA_44) => Ok(Self::MlDsa44(ml_dsa_key(&bytes)?)),
                Some(ML_DSA_65) => Ok(Self::MlDsa65(ml_dsa_key(&bytes)?)),
                other => Err(Error::Violation(format!("algorithm {other:?} of a key of kind AKP"))),
            }
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
            Self::MlDsa44(_) => ML_DSA_44,
            Self::MlDsa65(_) => ML_DSA_65,
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
            Self::MlDsa44(key) => verify_ml_dsa(key, &message, signature),
            Self::MlDsa65(key) => verify_ml_dsa(key, &message, signature),
        }
    }
}

fn ml_dsa_key<P: ml_dsa::MlDsaParams>(bytes: &[u8]) -> Result<Box<ml_dsa::VerifyingKey<P>>> {
    let length = bytes.len();
    let encoded = bytes.try_into().map_err(|_| Error::Violation(format!("ML-DSA key of {length} bytes")))?;
    Ok(Box::new(ml_dsa::VerifyingKey::decode(&encoded)))
}

fn verify_ml_dsa<P: ml_dsa::MlDsaParams>(
    key: &ml_dsa::VerifyingKey<P>,
    message: &[u8],
    signature: &[u8],
) -> Result<()> {
    let signature = ml_dsa::Signature::<P>::try_from(signature).map_err(violation)?;
    key.verify(message, &signature).map_err(violation)
}

fn violation(error: impl std::fmt::Display) -> Error {
    Error::Violation(format!("key or signature: {error}"))
}
