//! hmac-secret: a secret of its own for each credential and salt (CTAP 2.3 §12.7).

use ctap_types::ctap2::Error;
use heapless::Vec;
use p256::PublicKey;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::credential::key::derive;
use crate::pin::{Protocol, SharedSecret, parse_public};
use crate::wire::{Map, Value};

/// What getAssertion is given.
pub(crate) struct HmacSecretInput<'a> {
    pub(crate) platform_key: PublicKey,
    pub(crate) protocol: Protocol,
    salt_enc: &'a [u8],
    salt_auth: &'a [u8],
}

impl<'a> HmacSecretInput<'a> {
    /// Errors: `MISSING_PARAMETER`, `CBOR_UNEXPECTED_TYPE`, `INVALID_PARAMETER`.
    pub(crate) fn parse(value: Value<'a>) -> Result<Self, Error> {
        let map: Map<'a> = value.map()?;
        let protocol = map.get(4).map(Value::unsigned).transpose()?;
        Ok(Self {
            platform_key: parse_public(map.require(1)?.map()?)?,
            salt_enc: map.require(2)?.bytes()?,
            salt_auth: map.require(3)?.bytes()?,
            // Absent from platforms that know protocol one only.
            protocol: protocol.map_or(Ok(Protocol::One), Protocol::parse)?,
        })
    }

    /// Checks and opens the salts.
    ///
    /// Errors: `PIN_AUTH_INVALID` for a wrong saltAuth; `INVALID_PARAMETER` if there is not one salt, or two.
    pub(crate) fn open(&self, secret: SharedSecret) -> Result<HmacSecret, Error> {
        if !secret.verify(&[self.salt_enc], self.salt_auth) {
            return Err(Error::PinAuthInvalid);
        }
        let mut salts = Zeroizing::new([[0; 32]; 2]);
        let number = if let Some(one) = secret.decrypt::<32>(self.salt_enc) {
            salts[0] = *one;
            1
        } else {
            let both = secret.decrypt::<64>(self.salt_enc).ok_or(Error::InvalidParameter)?;
            let (first, second) = both.split_at(32);
            salts[0].copy_from_slice(first);
            salts[1].copy_from_slice(second);
            2
        };
        Ok(HmacSecret { secret, salts, number })
    }
}

/// Opened salts, good for every assertion of one ceremony.
pub(crate) struct HmacSecret {
    secret: SharedSecret,
    salts: Zeroizing<[[u8; 32]; 2]>,
    number: usize,
}

impl HmacSecret {
    /// The output for one credential. With and without user verification it is another one.
    pub(crate) fn evaluate(
        &self,
        seed: &[u8; 32],
        user_verified: bool,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8, 80>, Error> {
        let label: &[u8] = if user_verified { b"CredRandomWithUV" } else { b"CredRandomWithoutUV" };
        let cred_random = derive(seed, &[label]);
        let mut outputs = Zeroizing::new([0; 64]);
        for (output, salt) in outputs.chunks_exact_mut(32).zip(self.salts.iter()) {
            output.copy_from_slice(derive(&cred_random, &[salt]).as_slice());
        }
        self.secret.encrypt(outputs.get(..32 * self.number).unwrap_or_default(), rng)
    }
}
