//! Key pairs, each made from a 32-byte seed.
//!
//! ML-DSA is in a module of its own. ES256 (ECDSA over P-256, COSE −7) and EdDSA (Ed25519, COSE −8). An ES256 signature is made from the scalar
//! alone: no public key is computed. Ed25519 signs over its public key, so that one is kept beside the seed.

use super::CoseKey;
use ctap_types::ctap2::Error;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign_byupdate};
use heapless::Vec;
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{NistP256, NonZeroScalar, PublicKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// The longest signature: DER of two 32-byte integers.
#[cfg(not(feature = "ml-dsa"))]
const MAX_SIGNATURE: usize = 72;
/// The longest signature, that of ML-DSA-65 (FIPS 204 §4, table 2).
#[cfg(feature = "ml-dsa")]
const MAX_SIGNATURE: usize = 3309;

/// A signature as CTAP2 carries it: DER for ES256 (X9.62), raw bytes for the others.
pub(crate) type Signature = Vec<u8, MAX_SIGNATURE>;

/// What a credential signs with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Algorithm {
    Es256 = 1,
    EdDsa = 2,
    #[cfg(feature = "ml-dsa")]
    MlDsa44 = 3,
    #[cfg(feature = "ml-dsa")]
    MlDsa65 = 4,
}

impl Algorithm {
    /// Every algorithm, in the order in which getInfo lists them.
    pub(crate) const ALL: &[Self] = &[
        Self::Es256,
        Self::EdDsa,
        #[cfg(feature = "ml-dsa")]
        Self::MlDsa44,
        #[cfg(feature = "ml-dsa")]
        Self::MlDsa65,
    ];

    /// Those that a key offers. Some platforms refuse a key that lists an identifier which they do not know, so the
    /// post-quantum ones have to be asked for.
    pub(crate) fn offered(post_quantum: bool) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |algorithm| post_quantum || !algorithm.is_post_quantum())
    }

    fn is_post_quantum(self) -> bool {
        match self {
            Self::Es256 | Self::EdDsa => false,
            #[cfg(feature = "ml-dsa")]
            Self::MlDsa44 | Self::MlDsa65 => true,
        }
    }

    /// The COSE identifier.
    pub(crate) const fn cose(self) -> i32 {
        match self {
            Self::Es256 => -7,
            Self::EdDsa => -8,
            #[cfg(feature = "ml-dsa")]
            Self::MlDsa44 => -48,
            #[cfg(feature = "ml-dsa")]
            Self::MlDsa65 => -49,
        }
    }

    /// From the number under which a sealed ID keeps it.
    pub(crate) fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|&algorithm| algorithm as u8 == number)
    }
}

/// The P-256 scalar that belongs to a seed.
pub(crate) fn p256_scalar(seed: &[u8; 32]) -> Result<NonZeroScalar, Error> {
    // Of 2^32 candidates one is out of range; five in a row never are.
    for attempt in 0..5u8 {
        let mut candidate = derive(seed, &[b"ES256 ", &[attempt]]);
        let scalar = NonZeroScalar::from_repr((*candidate).into()).into_option();
        candidate.zeroize();
        if let Some(scalar) = scalar {
            return Ok(scalar);
        }
    }
    Err(Error::Other)
}

/// HMAC-SHA-256 of the label's parts under the seed: a key of its own for each purpose.
pub(crate) fn derive(seed: &[u8; 32], label: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = new_hmac(seed);
    label.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// The key of a credential for its large blobs (CTAP 2.3 §12.3).
pub(crate) fn large_blob_key(seed: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    derive(seed, &[b"largeBlobKey"])
}

/// HMAC-SHA-256 with a 32-byte key.
fn new_hmac(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    block.zeroize();
    mac
}

/// The public key of a P-256 scalar: x and y.
pub(crate) fn p256_public(scalar: &NonZeroScalar) -> ([u8; 32], [u8; 32]) {
    let point = PublicKey::from_secret_scalar(scalar).to_sec1_point(false);
    let coordinate = |bytes: Option<&_>| bytes.map_or([0; 32], |bytes: &p256::FieldBytes| (*bytes).into());
    (coordinate(point.x()), coordinate(point.y()))
}

/// The Ed25519 public key of a seed.
pub(crate) fn ed25519_public(seed: &[u8; 32]) -> [u8; 32] {
    let secret = derive(seed, &[b"EdDSA"]);
    ed25519_dalek::SigningKey::from_bytes(&secret).verifying_key().to_bytes()
}

/// ECDSA over a digest, in DER. Randomness goes into the nonce beside the digest (RFC 6979 §3.6), so that two
/// signatures of one message differ and a disturbed computation tells nothing.
pub(crate) fn p256_sign(scalar: &NonZeroScalar, digest: &[u8; 32], rng: &mut impl CryptoRng) -> Signature {
    let mut extra = [0; 32];
    rng.fill_bytes(&mut extra);
    let (signature, _) = ecdsa::hazmat::sign_prehashed_rfc6979::<NistP256, Sha256>(scalar, digest, &extra);
    let mut der = Signature::new();
    // Cannot overflow: a DER signature over P-256 has 72 bytes at most.
    let _ = der.extend_from_slice(signature.to_der().as_bytes());
    der
}

/// Signs the concatenation of `message` with the key of `seed`.
///
/// `public` is used by EdDSA only. Errors: `OTHER` if it is not the point that a sealed ID should hold.
pub(crate) fn sign(
    algorithm: Algorithm,
    seed: &[u8; 32],
    public: &[u8; 32],
    message: &[&[u8]],
    rng: &mut impl CryptoRng,
) -> Result<Signature, Error> {
    match algorithm {
        Algorithm::Es256 => {
            let mut hash = Sha256::new();
            message.iter().for_each(|part| hash.update(part));
            Ok(p256_sign(&p256_scalar(seed)?, &hash.finalize().into(), rng))
        }
        Algorithm::EdDsa => {
            let secret = derive(seed, &[b"EdDSA"]);
            let expanded = ExpandedSecretKey::from(&*secret);
            let public = ed25519_dalek::VerifyingKey::from_bytes(public).map_err(|_| Error::Other)?;
            let update = |hash: &mut Sha512| {
                message.iter().for_each(|part| hash.update(part));
                Ok(())
            };
            let signature =
                raw_sign_byupdate::<Sha512, _>(&expanded, update, &public).map_err(|_| Error::Other)?;
            Signature::from_slice(&signature.to_bytes()).map_err(|_| Error::Other)
        }
        #[cfg(feature = "ml-dsa")]
        Algorithm::MlDsa44 => ml_dsa::sign::<::ml_dsa::MlDsa44>(seed, message, rng),
        #[cfg(feature = "ml-dsa")]
        Algorithm::MlDsa65 => ml_dsa::sign::<::ml_dsa::MlDsa65>(seed, message, rng),
    }
}

/// The public key of a seed, and what a sealed ID keeps of it.
pub(crate) fn public_key(algorithm: Algorithm, seed: &[u8; 32]) -> Result<(CoseKey, [u8; 32]), Error> {
    Ok(match algorithm {
        Algorithm::Es256 => (CoseKey::es256(p256_public(&p256_scalar(seed)?)), [0; 32]),
        Algorithm::EdDsa => {
            let x = ed25519_public(seed);
            (CoseKey::eddsa(x), x)
        }
        #[cfg(feature = "ml-dsa")]
        Algorithm::MlDsa44 => (ml_dsa::public_key::<::ml_dsa::MlDsa44>(algorithm, seed)?, [0; 32]),
        #[cfg(feature = "ml-dsa")]
        Algorithm::MlDsa65 => (ml_dsa::public_key::<::ml_dsa::MlDsa65>(algorithm, seed)?, [0; 32]),
    })
}

/// ML-DSA-44 and ML-DSA-65 (FIPS 204; COSE −48 and −49, RFC 9964).
#[cfg(feature = "ml-dsa")]
mod ml_dsa {
    use ::ml_dsa::signature::RandomizedMultipartSigner;
    use ::ml_dsa::{ExpandedSigningKey, MlDsaParams, Seed};
    use rand_core::CryptoRng;
    use zeroize::Zeroize;

    use super::{Algorithm, CoseKey, Error, Signature, derive};

    fn signing_key<P: MlDsaParams>(seed: &[u8; 32]) -> ExpandedSigningKey<P> {
        let mut xi = Seed::from(*derive(seed, &[b"ML-DSA"]));
        let key = ExpandedSigningKey::from_seed(&xi);
        xi.zeroize();
        key
    }

    pub(super) fn sign<P: MlDsaParams>(
        seed: &[u8; 32],
        message: &[&[u8]],
        rng: &mut impl CryptoRng,
    ) -> Result<Signature, Error> {
        let key = signing_key::<P>(seed);
        let signature = key.try_multipart_sign_with_rng(rng, message).map_err(|_| Error::Other)?;
        Signature::from_slice(&signature.encode()).map_err(|_| Error::Other)
    }

    pub(super) fn public_key<P: MlDsaParams>(
        algorithm: Algorithm,
        seed: &[u8; 32],
    ) -> Result<CoseKey, Error> {
        let public = signing_key::<P>(seed).verifying_key().encode();
        let public = heapless::Vec::from_slice(&public).map_err(|_| Error::Other)?;
        Ok(CoseKey::Akp { alg: algorithm.cose() as i8, public })
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Verifier as _; // Also ECDSA's.

    use super::*;
    use crate::testing;

    #[test]
    fn es256_verifies() {
        let (cose, kept) = public_key(Algorithm::Es256, &[7; 32]).unwrap();
        assert_eq!(kept, [0; 32]);
        let (x, y) = p256_public(&p256_scalar(&[7; 32]).unwrap());
        assert_eq!(cose, CoseKey::es256((x, y)));
        let mut sec1 = [4; 65];
        sec1[1..33].copy_from_slice(&x);
        sec1[33..].copy_from_slice(&y);
        let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1).unwrap();
        let mut rng = testing::rng(1);
        let signature =
            sign(Algorithm::Es256, &[7; 32], &kept, &[&b"to be "[..], &b"signed"[..]], &mut rng).unwrap();
        let signature = p256::ecdsa::Signature::from_der(&signature).unwrap();
        verifier.verify(b"to be signed", &signature).unwrap();
        verifier.verify(b"to be signee", &signature).unwrap_err();
    }

    #[test]
    fn eddsa_verifies() {
        let (cose, kept) = public_key(Algorithm::EdDsa, &[7; 32]).unwrap();
        assert_eq!(cose, CoseKey::eddsa(kept));
        let verifier = ed25519_dalek::VerifyingKey::from_bytes(&kept).unwrap();
        let mut rng = testing::rng(1);
        let signature =
            sign(Algorithm::EdDsa, &[7; 32], &kept, &[&b"to be "[..], &b"signed"[..]], &mut rng).unwrap();
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        verifier.verify(b"to be signed", &signature).unwrap();
        verifier.verify(b"to be signee", &signature).unwrap_err();
    }
}
