//! PIN/UV auth protocols one and two: how a platform and the key share a secret (CTAP 2.3 §6.5.6, §6.5.7).

use aes::{Aes128, Aes256};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ctap_types::ctap2::Error;
use heapless::Vec;
use p256::PublicKey;
use p256::ecdh::diffie_hellman;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::credential::CoseKey;
use crate::credential::key::{derive, p256_public, p256_scalar};
use crate::wire::Map;

/// AES's block and the initialization vector, in bytes.
const BLOCK: usize = 16;

/// The longest ciphertext: 64 bytes of a padded PIN or of two salts, and an initialization vector.
const MAX_CIPHERTEXT: usize = 64 + BLOCK;

/// Which protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    One,
    Two,
}

impl Protocol {
    /// What getInfo lists, best first.
    pub(crate) const NUMBERS: [u8; 2] = [2, 1];

    /// Errors: `INVALID_PARAMETER` for a protocol that the key does not have.
    pub(crate) fn parse(number: u64) -> Result<Self, Error> {
        match number {
            1 => Ok(Self::One),
            2 => Ok(Self::Two),
            _ => Err(Error::InvalidParameter),
        }
    }

    /// `verify(key, message, signature)`, in constant time. Protocol one signs with half of the HMAC.
    pub(crate) fn verify(self, key: &[u8; 32], message: &[&[u8]], signature: &[u8]) -> bool {
        let mac = derive(key, message);
        let expected = match self {
            Self::One => &mac[..16],
            Self::Two => &mac[..],
        };
        expected.ct_eq(signature).into()
    }
}

/// The key's half of the agreement: a P-256 key pair, kept as the seed that it is made from.
pub(crate) struct KeyAgreement {
    seed: Zeroizing<[u8; 32]>,
}

impl KeyAgreement {
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self { seed }
    }

    /// The public key for the platform.
    pub(crate) fn public(&self) -> Result<CoseKey, Error> {
        Ok(CoseKey::ecdh(p256_public(&p256_scalar(&self.seed)?)))
    }

    /// The shared secret with a platform's public key.
    pub(crate) fn agree(&self, protocol: Protocol, platform: &PublicKey) -> Result<SharedSecret, Error> {
        let point = diffie_hellman(p256_scalar(&self.seed)?, platform.as_affine());
        let z: Zeroizing<[u8; 32]> = Zeroizing::new((*point.raw_secret_bytes()).into());
        Ok(SharedSecret::derive(protocol, &z))
    }
}

/// Reads a platform's COSE_Key.
///
/// Errors: `MISSING_PARAMETER`, `CBOR_UNEXPECTED_TYPE`; `INVALID_PARAMETER` if it is not a point on P-256.
pub(crate) fn parse_public(key: Map<'_>) -> Result<PublicKey, Error> {
    for (label, expected) in [(1, 2), (3, -25), (-1, 1)] {
        if key.require(label)?.integer()? != expected {
            return Err(Error::InvalidParameter);
        }
    }
    let mut point = [4; 65];
    for (label, place) in [(-2, 1..33), (-3, 33..65)] {
        let coordinate: &[u8; 32] =
            key.require(label)?.bytes()?.try_into().map_err(|_| Error::InvalidParameter)?;
        point[place].copy_from_slice(coordinate);
    }
    PublicKey::from_sec1_bytes(&point).map_err(|_| Error::InvalidParameter)
}

/// A member of getInfo that only a holder of the persistent token can read (CTAP 2.3 §6.4, encIdentifier and
/// encCredStoreState): an initialization vector, and one block under a key derived for this member.
pub(crate) fn seal_member(
    token: &[u8; 32],
    label: &[u8],
    plain: [u8; BLOCK],
    rng: &mut impl CryptoRng,
) -> [u8; 32] {
    // HKDF-SHA-256 with a zero salt, for one block of output, of which AES-128 takes half.
    let key = derive(&derive(&[0; 32], &[token]), &[label, &[1]]);
    let mut half = Zeroizing::new([0; BLOCK]);
    half.copy_from_slice(&key[..BLOCK]);
    let mut sealed = [0; 2 * BLOCK];
    let (iv, block) = sealed.split_at_mut(BLOCK);
    rng.fill_bytes(iv);
    let mut nonce = [0; BLOCK];
    nonce.copy_from_slice(iv);
    let mut cipher = cbc::Encryptor::<Aes128>::new(&(*half).into(), &nonce.into());
    let mut content = plain.into();
    cipher.encrypt_block(&mut content);
    block.copy_from_slice(&content);
    sealed
}

/// What a platform and the key agreed on.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SharedSecret {
    #[zeroize(skip)]
    protocol: Protocol,
    hmac_key: [u8; 32],
    aes_key: [u8; 32],
}

impl SharedSecret {
    /// `kdf(Z)`.
    fn derive(protocol: Protocol, z: &[u8; 32]) -> Self {
        match protocol {
            Protocol::One => {
                let key: [u8; 32] = Sha256::digest(z).into();
                Self { protocol, hmac_key: key, aes_key: key }
            }
            Protocol::Two => {
                // HKDF-SHA-256 (RFC 5869) with a zero salt, for one block of output each.
                let pseudorandom = derive(&[0; 32], &[z]);
                Self {
                    protocol,
                    hmac_key: *derive(&pseudorandom, &[b"CTAP2 HMAC key", &[1]]),
                    aes_key: *derive(&pseudorandom, &[b"CTAP2 AES key", &[1]]),
                }
            }
        }
    }

    /// `verify(shared secret, message, signature)`.
    pub(crate) fn verify(&self, message: &[&[u8]], signature: &[u8]) -> bool {
        self.protocol.verify(&self.hmac_key, message, signature)
    }

    /// `decrypt`: AES-256-CBC without padding; protocol two begins with the initialization vector. `None` if the
    /// length is not `N` and whole blocks.
    pub(crate) fn decrypt<const N: usize>(&self, ciphertext: &[u8]) -> Option<Zeroizing<[u8; N]>> {
        let (iv, blocks) = match self.protocol {
            Protocol::One => ([0; BLOCK], ciphertext),
            Protocol::Two => {
                let (iv, blocks) = ciphertext.split_first_chunk::<BLOCK>()?;
                (*iv, blocks)
            }
        };
        let mut plain: Zeroizing<[u8; N]> = Zeroizing::new(blocks.try_into().ok()?);
        let mut cipher = cbc::Decryptor::<Aes256>::new(&self.aes_key.into(), &iv.into());
        for block in plain.chunks_exact_mut(BLOCK) {
            cipher.decrypt_block(block.try_into().ok()?);
        }
        Some(plain)
    }

    /// `encrypt` of whole blocks, 64 bytes at most.
    pub(crate) fn encrypt(
        &self,
        plain: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8, MAX_CIPHERTEXT>, Error> {
        let mut iv = [0; BLOCK];
        let mut out = Vec::new();
        if self.protocol == Protocol::Two {
            rng.fill_bytes(&mut iv);
            out.extend_from_slice(&iv).map_err(|_| Error::Other)?;
        }
        let start = out.len();
        out.extend_from_slice(plain).map_err(|_| Error::Other)?;
        let mut cipher = cbc::Encryptor::<Aes256>::new(&self.aes_key.into(), &iv.into());
        for block in out.get_mut(start..).unwrap_or_default().chunks_exact_mut(BLOCK) {
            cipher.encrypt_block(block.try_into().map_err(|_| Error::Other)?);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_is_encrypted_is_decrypted() {
        for protocol in [Protocol::One, Protocol::Two] {
            let secret = SharedSecret::derive(protocol, &[5; 32]);
            let mut rng = testing::rng(1);
            let sealed = secret.encrypt(&[7; 64], &mut rng).unwrap();
            assert_eq!(sealed.len(), if protocol == Protocol::One { 64 } else { 80 });
            assert_eq!(*secret.decrypt::<64>(&sealed).unwrap(), [7; 64]);
            assert!(secret.decrypt::<32>(&sealed).is_none());
            assert!(secret.decrypt::<64>(&sealed[1..]).is_none());
            assert!(secret.decrypt::<64>(&[]).is_none());
        }
    }

    /// RFC 5869's construction, beside the one that the rest of the world uses.
    #[test]
    fn protocol_two_derives_two_keys() {
        let secret = SharedSecret::derive(Protocol::Two, &[5; 32]);
        assert_ne!(secret.hmac_key, secret.aes_key);
        let one = SharedSecret::derive(Protocol::One, &[5; 32]);
        assert_eq!(one.hmac_key, one.aes_key);
    }

    #[test]
    fn a_signature_is_checked_whole() {
        let key = [1; 32];
        let mac = derive(&key, &[b"ab", b"c"]);
        assert!(Protocol::One.verify(&key, &[b"abc"], &mac[..16]));
        assert!(!Protocol::One.verify(&key, &[b"abc"], &mac[..]));
        assert!(Protocol::Two.verify(&key, &[b"abc"], &mac[..]));
        assert!(!Protocol::Two.verify(&key, &[b"abc"], &mac[..16]));
        assert!(!Protocol::Two.verify(&key, &[b"abd"], &mac[..]));
        assert!(!Protocol::Two.verify(&key, &[b"abc"], &[]));
    }
}
