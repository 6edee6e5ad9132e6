//! What the owner of the flash may do without a host: the rules of CTAP2, without its messages.

use core::fmt;

use ctap_types::ctap2::Error;

use crate::authenticator::Authenticator;
use crate::credential::record::Record;
use crate::pin::{Pin, hash};
use crate::platform::Platform;
use crate::wire::{MAX_NAME, truncate};

/// Why a key did not do what its owner wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The PIN is too short, longer than 63 bytes, or too simple for the policy that was set.
    PinPolicy,
    /// There is a PIN already.
    PinIsSet,
    /// There is no PIN.
    PinIsNotSet,
    /// It is another PIN; so many tries are left.
    PinIsWrong(u8),
    /// Three wrong PINs in a row: the key has to be powered up again first.
    PowerCycleNeeded,
    /// Too many wrong PINs: only a reset helps.
    PinIsBlocked,
    /// No discoverable credential has this ID.
    NoSuchCredential,
    /// The flash, or what it holds, did not allow it.
    Failed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PinPolicy => "the key does not accept this PIN: it is too short, too long or too simple",
            Self::PinIsSet => "a PIN is set already",
            Self::PinIsNotSet => "no PIN is set",
            Self::PinIsWrong(retries) => return write!(f, "wrong PIN; {retries} tries are left"),
            Self::PowerCycleNeeded => "three wrong PINs in a row: power the key up again before the next try",
            Self::PinIsBlocked => "the PIN is blocked after too many wrong tries; only a reset helps",
            Self::NoSuchCredential => "no discoverable credential has this ID",
            Self::Failed => "the key's flash could not be read or written",
        })
    }
}

impl core::error::Error for Refusal {}

impl<P: Platform> Authenticator<'_, P> {
    /// Sets the first PIN (as clientPIN's setPIN, CTAP 2.3 §6.5.5.5).
    ///
    /// Errors: [`Refusal::PinIsSet`], [`Refusal::PinPolicy`], [`Refusal::Failed`].
    pub fn set_pin(&mut self, new: &str) -> Result<(), Refusal> {
        if self.store.state().pin.is_some() {
            return Err(Refusal::PinIsSet);
        }
        Pin::new(new).and_then(|pin| self.keep_pin(pin)).map_err(|error| self.refusal(error))
    }

    /// Changes the PIN (as clientPIN's changePIN, CTAP 2.3 §6.5.5.6): a wrong one costs a try.
    ///
    /// Errors: every [`Refusal`] about PINs but [`Refusal::PinIsSet`], and [`Refusal::Failed`].
    pub fn change_pin(&mut self, current: &str, new: &str) -> Result<(), Refusal> {
        self.try_pin(|| Some(hash(current.as_bytes())))
            .and_then(|()| self.keep_pin(Pin::new(new)?))
            .map_err(|error| self.refusal(error))
    }

    /// Deletes a discoverable credential.
    ///
    /// Errors: [`Refusal::NoSuchCredential`], [`Refusal::Failed`].
    pub fn delete_credential(&mut self, credential_id: &[u8]) -> Result<(), Refusal> {
        let credential = self.stored(credential_id).map_err(|error| self.refusal(error))?;
        let stored = credential.stored.ok_or(Refusal::NoSuchCredential)?;
        self.store.remove(stored.slot).map_err(|_| Refusal::Failed)
    }

    /// Gives the account of a discoverable credential other names; `None` or an empty one removes a name. They
    /// are cut after 64 bytes.
    ///
    /// Errors: [`Refusal::NoSuchCredential`], [`Refusal::Failed`].
    pub fn rename_credential(
        &mut self,
        credential_id: &[u8],
        name: Option<&str>,
        display_name: Option<&str>,
    ) -> Result<(), Refusal> {
        let credential = self.stored(credential_id).map_err(|error| self.refusal(error))?;
        let stored = credential.stored.ok_or(Refusal::NoSuchCredential)?;
        let record = stored.record().map_err(|_| Refusal::Failed)?;
        let kept = |name: Option<_>| {
            name.filter(|name: &&str| !name.is_empty()).map(|name| truncate(name, MAX_NAME))
        };
        let record = Record { user_name: kept(name), user_display_name: kept(display_name), ..record };
        self.store.update(&record, stored.slot).map_err(|_| Refusal::Failed)
    }

    fn refusal(&self, error: Error) -> Refusal {
        match error {
            Error::PinPolicyViolation => Refusal::PinPolicy,
            Error::PinNotSet => Refusal::PinIsNotSet,
            Error::PinInvalid => Refusal::PinIsWrong(self.store.state().pin_retries),
            Error::PinAuthBlocked => Refusal::PowerCycleNeeded,
            Error::PinBlocked => Refusal::PinIsBlocked,
            Error::NoCredentials => Refusal::NoSuchCredential,
            _ => Refusal::Failed,
        }
    }
}
