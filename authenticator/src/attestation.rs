//! What a key says about itself when a credential is made (WebAuthn §6.5, §8).
//!
//! At first boot a key makes a root and, signed by it, a leaf whose private key signs attestations; the root's
//! private key is forgotten at once. Both certificates outlive a reset. The leaf follows WebAuthn §8.2.1; the
//! root is what a metadata statement publishes. Every key has a root of its own, so whoever asks for `direct`
//! attestation can tell it from all others: a site cannot have it without the browser's consent.

use ctap_types::ctap2::Error;
use heapless::Vec;
use rand_core::CryptoRng;
use serde::Serialize;
use serde_bytes::Bytes;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::credential::key::{p256_public, p256_scalar, p256_sign};
use crate::credential::{Algorithm, Signature};
use crate::x509::{Certificate, Der, Name, PublicPoint};

/// The longest certificate, in bytes.
const MAX_CERTIFICATE: usize = 640;

/// How many bytes [`Attestation::store`] writes.
pub(crate) const STORED_LENGTH: usize = 16 + 32 + 3 * (2 + MAX_CERTIFICATE);

type Der640 = Vec<u8, MAX_CERTIFICATE>;

/// The attestation key with its certificates.
pub(crate) struct Attestation {
    /// The model that the leaf names.
    pub(crate) aaguid: [u8; 16],
    seed: Zeroizing<[u8; 32]>,
    leaf: Der640,
    root: Der640,
    /// A second leaf for the same key, which says which device this is. Empty in a key of layout 1.
    enterprise: Der640,
}

struct KeyPair {
    seed: Zeroizing<[u8; 32]>,
    public: PublicPoint,
    key_id: [u8; 20],
}

impl KeyPair {
    fn generate(rng: &mut impl CryptoRng) -> Option<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        let (x, y) = p256_public(&p256_scalar(&seed).ok()?);
        let mut public = [4; 65];
        public[1..33].copy_from_slice(&x);
        public[33..].copy_from_slice(&y);
        // A truncated SHA-256 of the public key (RFC 7093 §2).
        let mut key_id = [0; 20];
        key_id.copy_from_slice(&Sha256::digest(public)[..20]);
        Some(Self { seed, public, key_id })
    }
}

impl Attestation {
    /// Makes root and leaf; `None` only if a certificate outgrows its buffer, which none does.
    pub(crate) fn generate(aaguid: &[u8; 16], rng: &mut impl CryptoRng) -> Option<Self> {
        let root_key = KeyPair::generate(rng)?;
        let leaf_key = KeyPair::generate(rng)?;
        // Every key has a root of its own: its name tells them apart.
        let mut name = *b"Brasskey Attestation Root 00000000";
        for (index, byte) in root_key.key_id[..4].iter().enumerate() {
            name[26 + 2 * index] = b"0123456789ABCDEF"[usize::from(byte >> 4)];
            name[27 + 2 * index] = b"0123456789ABCDEF"[usize::from(byte & 15)];
        }
        let root_name = Name { organizational_unit: false, common_name: core::str::from_utf8(&name).ok()? };
        let mut certificate = |subject, subject_key: &KeyPair, aaguid, device| {
            let certificate = Certificate {
                serial: &serial(rng),
                issuer: root_name,
                issuer_key_id: &root_key.key_id,
                subject,
                subject_key: &subject_key.public,
                subject_key_id: &subject_key.key_id,
                aaguid,
                device,
            };
            issue(&certificate, &root_key.seed, rng)
        };
        let root = certificate(root_name, &root_key, None, None)?;
        let leaf_name = |common_name| Name { organizational_unit: true, common_name };
        let leaf = certificate(leaf_name("Brasskey Attestation"), &leaf_key, Some(aaguid), None)?;
        // What is known of a device is its key.
        let mut device = [0; 16];
        device.copy_from_slice(&leaf_key.key_id[..16]);
        let name = leaf_name("Brasskey Enterprise Attestation");
        let enterprise = certificate(name, &leaf_key, Some(aaguid), Some(&device))?;
        Some(Self { aaguid: *aaguid, seed: leaf_key.seed.clone(), leaf, root, enterprise })
    }

    /// The certificate that goes into x5c and into a U2F registration.
    pub(crate) fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// The certificate that goes into x5c of an enterprise attestation.
    pub(crate) fn enterprise(&self) -> Option<&[u8]> {
        (!self.enterprise.is_empty()).then_some(&self.enterprise)
    }

    /// The certificate that a metadata statement publishes.
    pub(crate) fn root(&self) -> &[u8] {
        &self.root
    }

    /// Signs the concatenation of `message` with the leaf's key, ECDSA with SHA-256.
    pub(crate) fn sign(&self, message: &[&[u8]], rng: &mut impl CryptoRng) -> Result<Signature, Error> {
        let mut hash = Sha256::new();
        message.iter().for_each(|part| hash.update(part));
        Ok(p256_sign(&p256_scalar(&self.seed)?, &hash.finalize().into(), rng))
    }

    /// Writes everything into the first [`STORED_LENGTH`] bytes of `bytes`.
    pub(crate) fn store(&self, bytes: &mut [u8]) {
        bytes[..16].copy_from_slice(&self.aaguid);
        bytes[16..48].copy_from_slice(self.seed.as_slice());
        let mut at = 48;
        for certificate in [&self.leaf, &self.root, &self.enterprise] {
            bytes[at..at + 2].copy_from_slice(&(certificate.len() as u16).to_le_bytes());
            bytes[at + 2..][..certificate.len()].copy_from_slice(certificate);
            at += 2 + MAX_CERTIFICATE;
        }
    }

    /// Reads what [`Self::store`] wrote; in layout 1 there was no certificate for an enterprise.
    pub(crate) fn load(bytes: &[u8], has_enterprise: bool) -> Option<Self> {
        let certificate = |at: usize| {
            let length = u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
            Der640::from_slice(bytes.get(at + 2..)?.get(..usize::from(length))?).ok()
        };
        Some(Self {
            aaguid: bytes.get(..16)?.try_into().ok()?,
            seed: Zeroizing::new(bytes.get(16..48)?.try_into().ok()?),
            leaf: certificate(48)?,
            root: certificate(48 + 2 + MAX_CERTIFICATE)?,
            enterprise: match has_enterprise {
                true => certificate(48 + 2 * (2 + MAX_CERTIFICATE))?,
                false => Der640::new(),
            },
        })
    }
}

/// Sixteen random bytes that make a positive number.
fn serial(rng: &mut impl CryptoRng) -> [u8; 16] {
    let mut serial = [0; 16];
    rng.fill_bytes(&mut serial);
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

fn issue(certificate: &Certificate<'_>, issuer: &[u8; 32], rng: &mut impl CryptoRng) -> Option<Der640> {
    let mut tbs = [0; MAX_CERTIFICATE];
    let mut der = Der::new(&mut tbs);
    der.tbs_certificate(certificate);
    let length = der.finish()?;
    let tbs = tbs.get(..length)?;
    let signature = p256_sign(&p256_scalar(issuer).ok()?, &Sha256::digest(tbs).into(), rng);
    let mut whole = Der640::new();
    whole.resize_default(MAX_CERTIFICATE).ok()?;
    let mut der = Der::new(&mut whole);
    der.certificate(tbs, &signature);
    let length = der.finish()?;
    whole.truncate(length);
    Some(whole)
}

/// The attestation statement of makeCredential, `none` or `packed` (WebAuthn §8.2, §8.7).
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Statement<'a> {
    None {},
    Packed {
        alg: i32,
        sig: &'a Bytes,
        #[serde(skip_serializing_if = "Option::is_none")]
        x5c: Option<[&'a Bytes; 1]>,
    },
}

impl<'a> Statement<'a> {
    /// `packed` with a certificate of the key's own.
    pub(crate) fn packed(signature: &'a Signature, certificate: &'a [u8]) -> Self {
        Self::Packed {
            alg: Algorithm::Es256.cose(),
            sig: Bytes::new(signature),
            x5c: Some([Bytes::new(certificate)]),
        }
    }

    /// `packed`, signed by the credential itself.
    pub(crate) fn self_signed(signature: &'a Signature, algorithm: Algorithm) -> Self {
        Self::Packed { alg: algorithm.cose(), sig: Bytes::new(signature), x5c: None }
    }
}
