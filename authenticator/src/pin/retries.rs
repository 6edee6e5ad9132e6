//! The PIN as it is stored, and how often it may be tried (CTAP 2.3 §6.5.2, §6.5.5).

use ctap_types::ctap2::Error;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A right PIN gives this many tries.
pub(crate) const MAX_PIN_RETRIES: u8 = 8;

/// The shortest PIN, in Unicode code points.
pub(crate) const MIN_PIN_LENGTH: u8 = 4;

/// What `/pin` holds, byte by byte: tries left, length in code points (0: no PIN is set), LEFT(SHA-256(PIN), 16).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct PinRecord {
    pub(crate) retries: u8,
    pub(crate) length: u8,
    hash: [u8; 16],
}

impl PinRecord {
    pub(crate) const LENGTH: usize = 18;

    /// No PIN is set.
    pub(crate) const NONE: Self = Self { retries: MAX_PIN_RETRIES, length: 0, hash: [0; 16] };

    /// A PIN, as a platform pads it: 64 bytes, zeros behind.
    ///
    /// Errors: `PIN_POLICY_VIOLATION` if it is shorter than four code points, longer than 63 bytes or not UTF-8.
    pub(crate) fn new(padded: &[u8; 64]) -> Result<Self, Error> {
        let length = padded.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let pin =
            padded.get(..length).filter(|pin| pin.len() < padded.len()).ok_or(Error::PinPolicyViolation)?;
        let length = code_points(pin).filter(|&length| length >= MIN_PIN_LENGTH);
        let length = length.ok_or(Error::PinPolicyViolation)?;
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(pin)[..16]);
        Ok(Self { retries: MAX_PIN_RETRIES, length, hash })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.length > 0
    }

    /// Is this the hash of the PIN? In constant time.
    pub(crate) fn matches(&self, hash: &[u8; 16]) -> bool {
        self.is_set() & bool::from(self.hash.ct_eq(hash))
    }

    pub(crate) fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[0] = self.retries;
        bytes[1] = self.length;
        bytes[2..].copy_from_slice(&self.hash);
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Option<Self> {
        let [retries, length, hash @ ..] = bytes;
        (retries <= MAX_PIN_RETRIES && length < 64).then_some(Self { retries, length, hash })
    }
}

/// How many Unicode code points a PIN has; `None` if it is not UTF-8.
fn code_points(pin: &[u8]) -> Option<u8> {
    u8::try_from(core::str::from_utf8(pin).ok()?.chars().count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn padded(pin: &[u8]) -> [u8; 64] {
        let mut padded = [0; 64];
        padded[..pin.len()].copy_from_slice(pin);
        padded
    }

    #[test]
    fn length_counts_code_points_below_and_bytes_above() {
        for (pin, length) in [("1234", Some(4)), ("123", None), ("äöü", None), ("äöüß", Some(4)), ("", None)]
        {
            assert_eq!(PinRecord::new(&padded(pin.as_bytes())).ok().map(|pin| pin.length), length, "{pin}");
        }
        assert!(PinRecord::new(&padded(&[b'1'; 63])).is_ok());
        assert_eq!(PinRecord::new(&[b'1'; 64]).err(), Some(Error::PinPolicyViolation));
        assert_eq!(PinRecord::new(&padded(&[0xff; 8])).err(), Some(Error::PinPolicyViolation));
    }

    #[test]
    fn only_the_pin_matches() {
        let record = PinRecord::new(&padded(b"1234")).unwrap();
        let record = PinRecord::from_bytes(record.to_bytes()).unwrap();
        let hash = |pin: &[u8]| <[u8; 16]>::try_from(&Sha256::digest(pin)[..16]).unwrap();
        assert!(record.matches(&hash(b"1234")));
        assert!(!record.matches(&hash(b"1235")));
        assert!(!PinRecord::NONE.matches(&[0; 16]), "no PIN, nothing to match");
    }
}
