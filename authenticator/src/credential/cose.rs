//! COSE_Key, as CTAP2 writes public keys (RFC 9052 §7, RFC 9053 §7).

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_bytes::Bytes;

/// A public key on an elliptic curve; serializes in canonical order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CoseKey {
    kty: i8,
    alg: i8,
    crv: i8,
    x: [u8; 32],
    y: Option<[u8; 32]>,
}

impl CoseKey {
    /// ES256: EC2 on P-256.
    pub(crate) fn es256((x, y): ([u8; 32], [u8; 32])) -> Self {
        Self { kty: 2, alg: -7, crv: 1, x, y: Some(y) }
    }

    /// ECDH-ES + HKDF-256 on P-256, as PIN protocols name their key agreement (CTAP 2.3 §6.5.6).
    pub(crate) fn ecdh((x, y): ([u8; 32], [u8; 32])) -> Self {
        Self { alg: -25, ..Self::es256((x, y)) }
    }

    /// EdDSA: OKP on Ed25519.
    pub(crate) fn eddsa(x: [u8; 32]) -> Self {
        Self { kty: 1, alg: -8, crv: 6, x, y: None }
    }
}

impl Serialize for CoseKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4 + usize::from(self.y.is_some())))?;
        for (label, number) in [(1, self.kty), (3, self.alg), (-1, self.crv)] {
            map.serialize_entry(&label, &number)?;
        }
        map.serialize_entry(&-2, Bytes::new(&self.x))?;
        if let Some(y) = &self.y {
            map.serialize_entry(&-3, Bytes::new(y))?;
        }
        map.end()
    }
}
