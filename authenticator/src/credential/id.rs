//! Sealed credential IDs.
//!
//! A credential ID is the credential: a record under XChaCha20-Poly1305 with the device's wrapping key, bound to
//! the relying party's `rp_id_hash`. It has the same length for every credential, is a U2F key handle as well,
//! and becomes void when a reset replaces the wrapping key.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version of the format, 1 |
//! | 24 | nonce |
//! | 72 | sealed: algorithm (1), flags (1), credProtect (1), zero (5), seed (32), public key or zero (32) |
//! | 16 | tag |

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{Algorithm, CredProtect};

const VERSION: u8 = 1;
const NONCE: usize = 24;
const SEALED: usize = 72;
const TAG: usize = 16;

/// The length of every credential ID, in bytes.
pub(crate) const CREDENTIAL_ID_LENGTH: usize = 1 + NONCE + SEALED + TAG;

/// A credential ID as sites see it.
pub(crate) type CredentialId = [u8; CREDENTIAL_ID_LENGTH];

/// Set for a discoverable credential: its ID is good only as long as its record is in the store.
const FLAG_DISCOVERABLE: u8 = 1 << 0;
/// Set if the site asked for a largeBlobKey.
const FLAG_LARGE_BLOB_KEY: u8 = 1 << 1;
/// Set if the site asked for third-party payment.
const FLAG_THIRD_PARTY_PAYMENT: u8 = 1 << 2;

/// What a credential ID seals. Debug shows none of it: `seed` is the private key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Sealed {
    #[zeroize(skip)]
    pub(crate) algorithm: Algorithm,
    pub(crate) discoverable: bool,
    pub(crate) large_blob_key: bool,
    pub(crate) third_party_payment: bool,
    #[zeroize(skip)]
    pub(crate) cred_protect: CredProtect,
    pub(crate) seed: [u8; 32],
    /// The Ed25519 public key, or zeros.
    pub(crate) public: [u8; 32],
}

/// Seals a credential for the relying party whose hash is given.
///
/// `None` only if the cipher refuses the message, which it does for no message of this length.
pub(crate) fn seal(
    sealed: &Sealed,
    rp_id_hash: &[u8; 32],
    wrapping_key: &[u8; 32],
    rng: &mut impl CryptoRng,
) -> Option<CredentialId> {
    let mut nonce = [0; NONCE];
    rng.fill_bytes(&mut nonce);

    let mut plain = [0; SEALED];
    plain[0] = sealed.algorithm as u8;
    plain[1] = [
        (sealed.discoverable, FLAG_DISCOVERABLE),
        (sealed.large_blob_key, FLAG_LARGE_BLOB_KEY),
        (sealed.third_party_payment, FLAG_THIRD_PARTY_PAYMENT),
    ]
    .iter()
    .filter(|(set, _)| *set)
    .fold(0, |flags, (_, flag)| flags | flag);
    plain[2] = sealed.cred_protect as u8;
    plain[8..40].copy_from_slice(&sealed.seed);
    plain[40..].copy_from_slice(&sealed.public);

    let tag = cipher(wrapping_key)
        .encrypt_inout_detached(&XNonce::from(nonce), &bound(rp_id_hash), plain.as_mut_slice().into())
        .ok()?;
    let mut id = [0; CREDENTIAL_ID_LENGTH];
    id[0] = VERSION;
    id[1..1 + NONCE].copy_from_slice(&nonce);
    id[1 + NONCE..1 + NONCE + SEALED].copy_from_slice(&plain);
    id[1 + NONCE + SEALED..].copy_from_slice(&tag);
    Some(id)
}

/// Opens a credential ID; `None` if this device did not make it for this relying party since its last reset.
pub(crate) fn unseal(id: &[u8], rp_id_hash: &[u8; 32], wrapping_key: &[u8; 32]) -> Option<Sealed> {
    let id: &CredentialId = id.try_into().ok()?;
    if id[0] != VERSION {
        return None;
    }
    let nonce: [u8; NONCE] = id[1..1 + NONCE].try_into().ok()?;
    let mut plain: [u8; SEALED] = id[1 + NONCE..1 + NONCE + SEALED].try_into().ok()?;
    let tag: [u8; TAG] = id[1 + NONCE + SEALED..].try_into().ok()?;
    cipher(wrapping_key)
        .decrypt_inout_detached(
            &XNonce::from(nonce),
            &bound(rp_id_hash),
            plain.as_mut_slice().into(),
            &Tag::from(tag),
        )
        .ok()?;
    let sealed = Sealed {
        algorithm: Algorithm::from_stored(plain[0])?,
        discoverable: plain[1] & FLAG_DISCOVERABLE != 0,
        large_blob_key: plain[1] & FLAG_LARGE_BLOB_KEY != 0,
        third_party_payment: plain[1] & FLAG_THIRD_PARTY_PAYMENT != 0,
        cred_protect: CredProtect::try_from(u64::from(plain[2])).ok()?,
        seed: plain[8..40].try_into().ok()?,
        public: plain[40..].try_into().ok()?,
    };
    plain.zeroize();
    Some(sealed)
}

fn cipher(wrapping_key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*wrapping_key))
}

/// What the seal is bound to beside the key: the format's version and the relying party.
fn bound(rp_id_hash: &[u8; 32]) -> [u8; 33] {
    let mut data = [VERSION; 33];
    data[1..].copy_from_slice(rp_id_hash);
    data
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn sample() -> Sealed {
        Sealed {
            algorithm: Algorithm::EdDsa,
            discoverable: true,
            large_blob_key: false,
            third_party_payment: true,
            cred_protect: CredProtect::Required,
            seed: [3; 32],
            public: [4; 32],
        }
    }

    #[test]
    fn opens_what_it_sealed() {
        let id = seal(&sample(), &[1; 32], &[2; 32], &mut testing::rng(1)).unwrap();
        let opened = unseal(&id, &[1; 32], &[2; 32]).unwrap();
        assert_eq!(opened.algorithm, Algorithm::EdDsa);
        assert!(opened.discoverable && opened.third_party_payment && !opened.large_blob_key);
        assert_eq!(opened.cred_protect, CredProtect::Required);
        assert_eq!((opened.seed, opened.public), ([3; 32], [4; 32]));
    }

    #[test]
    fn opens_nothing_else() {
        let id = seal(&sample(), &[1; 32], &[2; 32], &mut testing::rng(1)).unwrap();
        assert!(unseal(&id, &[9; 32], &[2; 32]).is_none(), "another relying party");
        assert!(unseal(&id, &[1; 32], &[9; 32]).is_none(), "another wrapping key");
        assert!(unseal(&id[1..], &[1; 32], &[2; 32]).is_none(), "a byte too short");
        for bit in 0..CREDENTIAL_ID_LENGTH * 8 {
            let mut changed = id;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&changed, &[1; 32], &[2; 32]).is_none(), "bit {bit} changed");
        }
    }

    #[test]
    fn shows_no_two_alike() {
        let mut rng = testing::rng(1);
        let one = seal(&sample(), &[1; 32], &[2; 32], &mut rng).unwrap();
        let two = seal(&sample(), &[1; 32], &[2; 32], &mut rng).unwrap();
        assert!(one[1..].iter().zip(&two[1..]).filter(|(a, b)| a == b).count() < 10);
    }
}
