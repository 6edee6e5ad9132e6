//! COSE_Key, as CTAP2 writes public keys (RFC 9052 §7, RFC 9053 §7).

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_bytes::Bytes;

/// The longest ML-DSA public key, that of ML-DSA-65 (FIPS 204 §4, table 2).
#[cfg(feature = "ml-dsa")]
const MAX_AKP: usize = 1952;

/// A public key; serializes in canonical order.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg_attr(
    feature = "ml-dsa",
    expect(clippy::large_enum_variant, reason = "there is one at a time, and no allocator to box it")
)]
pub(crate) enum CoseKey {
    /// On an elliptic curve.
    Curve { kty: i8, alg: i8, crv: i8, x: [u8; 32], y: Option<[u8; 32]> },
    /// An algorithm key pair: the algorithm says all about it (RFC 9964).
    #[cfg(feature = "ml-dsa")]
    Akp { alg: i8, public: heapless::Vec<u8, MAX_AKP> },
}

impl CoseKey {
    /// ES256: EC2 on P-256.
    pub(crate) fn es256(point: ([u8; 32], [u8; 32])) -> Self {
        Self::p256(-7, point)
    }

    /// ECDH-ES + HKDF-256 on P-256, as PIN protocols name their key agreement (CTAP 2.3 §6.5.6).
    pub(crate) fn ecdh(point: ([u8; 32], [u8; 32])) -> Self {
        Self::p256(-25, point)
    }

    fn p256(alg: i8, (x, y): ([u8; 32], [u8; 32])) -> Self {
        Self::Curve { kty: 2, alg, crv: 1, x, y: Some(y) }
    }

    /// EdDSA: OKP on Ed25519.
    pub(crate) fn eddsa(x: [u8; 32]) -> Self {
        Self::Curve { kty: 1, alg: -8, crv: 6, x, y: None }
    }
}

impl Serialize for CoseKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Curve { kty, alg, crv, x, y } => {
                let mut map = serializer.serialize_map(Some(4 + usize::from(y.is_some())))?;
                for (label, number) in [(1, kty), (3, alg), (-1, crv)] {
                    map.serialize_entry(&label, number)?;
                }
                map.serialize_entry(&-2, Bytes::new(x))?;
                if let Some(y) = y {
                    map.serialize_entry(&-3, Bytes::new(y))?;
                }
                map.end()
            }
            #[cfg(feature = "ml-dsa")]
            Self::Akp { alg, public } => {
                let mut map = serializer.serialize_map(Some(3))?;
                map.serialize_entry(&1, &7)?;
                map.serialize_entry(&3, alg)?;
                map.serialize_entry(&-1, Bytes::new(public))?;
                map.end()
            }
        }
    }
}
