//! pinUvAuthToken: what a platform gets for the PIN or a finger, and how long it is good for (CTAP 2.3 §6.5.2.1,
//! §6.5.5.7).

use ctap_types::ctap2::Error;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::Protocol;

/// A token must be used for the first time within this, in milliseconds (the initial usage time limit).
const FIRST_USE_MS: u64 = 30_000;

/// And never after this, in milliseconds (the max usage time period).
const MAX_USE_MS: u64 = 600_000;

/// A touch that came with the token counts this long, in milliseconds (the user present time limit).
const USER_PRESENT_MS: u64 = 30_000;

/// What a token is good for, a bit each (§6.5.5.7, table of permissions).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Permissions(u8);

impl Permissions {
    pub(crate) const MAKE_CREDENTIAL: Self = Self(0x01);
    pub(crate) const GET_ASSERTION: Self = Self(0x02);
    pub(crate) const CREDENTIAL_MANAGEMENT: Self = Self(0x04);
    pub(crate) const BIO_ENROLLMENT: Self = Self(0x08);
    pub(crate) const LARGE_BLOB_WRITE: Self = Self(0x10);
    pub(crate) const AUTHENTICATOR_CONFIGURATION: Self = Self(0x20);
    /// persistent credential management, read only
    pub(crate) const PERSISTENT_READ_ONLY: Self = Self(0x40);
    /// What 0x05 gives, which knows no permissions.
    pub(crate) const LEGACY: Self = Self(0x03);
    /// mc, ga, cm, be, lbw, acfg, pcmr.
    const DEFINED: u8 = 0x7f;

    /// What a platform asks for; undefined bits are passed over.
    ///
    /// Errors: `INVALID_PARAMETER` for none at all; `UNAUTHORIZED_PERMISSION` for bioEnrollment on a key without a
    /// sensor, and for the persistent permission along with another.
    pub(crate) fn parse(bits: u64, has_sensor: bool) -> Result<Self, Error> {
        if bits == 0 {
            return Err(Error::InvalidParameter);
        }
        let defined = Self((bits & u64::from(Self::DEFINED)) as u8);
        let persistent = defined.contain(Self::PERSISTENT_READ_ONLY);
        if persistent && defined != Self::PERSISTENT_READ_ONLY
            || !has_sensor && defined.contain(Self::BIO_ENROLLMENT)
        {
            return Err(Error::UnauthorizedPermission);
        }
        Ok(defined)
    }

    /// Does it take a site to be granted?
    pub(crate) fn need_rp_id(self) -> bool {
        self.0 & Self::LEGACY.0 != 0
    }

    fn contain(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A token in use. Debug shows none of it.
pub(crate) struct Token {
    bytes: Zeroizing<[u8; 32]>,
    protocol: Protocol,
    permissions: Permissions,
    /// The only site it is good for; `None` until one is bound to it.
    rp_id_hash: Option<[u8; 32]>,
    /// A finger gave the token, and nothing has used up its touch.
    user_present: bool,
    issued_ms: u64,
    used: bool,
}

impl Token {
    pub(crate) fn issue(
        protocol: Protocol,
        permissions: Permissions,
        rp_id_hash: Option<[u8; 32]>,
        user_present: bool,
        now_ms: u64,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self { bytes, protocol, permissions, rp_id_hash, user_present, issued_ms: now_ms, used: false }
    }

    /// What the platform is sent, encrypted.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Has its time come?
    pub(crate) fn expired(&self, now_ms: u64) -> bool {
        let age = now_ms.saturating_sub(self.issued_ms);
        age > MAX_USE_MS || !self.used && age > FIRST_USE_MS
    }

    /// Does the touch that came with the token still count?
    pub(crate) fn user_present(&self, now_ms: u64) -> bool {
        self.user_present && now_ms.saturating_sub(self.issued_ms) <= USER_PRESENT_MS
    }

    /// Checks that this token made a pinUvAuthParam over `message`, and may for this purpose.
    ///
    /// Errors: `PIN_AUTH_INVALID`.
    pub(crate) fn authorize(
        &mut self,
        protocol: Protocol,
        param: &[u8],
        message: &[&[u8]],
        permission: Permissions,
    ) -> Result<(), Error> {
        let good = self.protocol == protocol
            && protocol.verify(&self.bytes, message, param)
            && self.permissions.contain(permission);
        if !good {
            return Err(Error::PinAuthInvalid);
        }
        self.used = true;
        Ok(())
    }

    /// Binds the token to a site, unless it is bound.
    ///
    /// Errors: `PIN_AUTH_INVALID` if it is bound to another.
    pub(crate) fn bind(&mut self, rp_id_hash: &[u8; 32]) -> Result<(), Error> {
        self.check_site(rp_id_hash)?;
        self.rp_id_hash = Some(*rp_id_hash);
        Ok(())
    }

    /// Errors: `PIN_AUTH_INVALID` if the token is bound to another site.
    pub(crate) fn check_site(&self, rp_id_hash: &[u8; 32]) -> Result<(), Error> {
        let good = self.rp_id_hash.is_none_or(|bound| bound == *rp_id_hash);
        if good { Ok(()) } else { Err(Error::PinAuthInvalid) }
    }

    /// Errors: `PIN_AUTH_INVALID` if the token is bound to any site.
    pub(crate) fn check_any_site(&self) -> Result<(), Error> {
        if self.rp_id_hash.is_none() { Ok(()) } else { Err(Error::PinAuthInvalid) }
    }

    /// After makeCredential, and after getAssertion with a touch, a token is good for nothing but large blobs.
    pub(crate) fn spend(&mut self) {
        self.permissions.0 &= Permissions::LARGE_BLOB_WRITE.0;
        self.user_present = false;
    }
}
