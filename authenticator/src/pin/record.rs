//! The PIN as it is stored, and what may be one (CTAP 2.3 §6.5.1, §6.5.5).

use ctap_types::ctap2::Error;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A right PIN gives this many tries.
pub(crate) const MAX_PIN_RETRIES: u8 = 8;

/// The shortest PIN that a key may allow, in Unicode code points.
pub(crate) const MIN_PIN_LENGTH: u8 = 4;

/// The longest PIN, in bytes of UTF-8, and so in code points.
pub(crate) const MAX_PIN_LENGTH: u8 = 63;

/// What is kept of a PIN.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Pin {
    /// In code points, 1 to 63.
    pub(crate) length: u8,
    /// Would the PIN complexity policy refuse it?
    pub(crate) simple: bool,
    /// LEFT(SHA-256(PIN), 16)
    pub(crate) hash: [u8; 16],
}

impl Pin {
    /// A PIN, as a platform pads it: 64 bytes, zeros behind.
    ///
    /// Errors: `PIN_POLICY_VIOLATION` if it is longer than 63 bytes or not UTF-8.
    pub(crate) fn from_padded(padded: &[u8; 64]) -> Result<Self, Error> {
        let length = padded.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let pin = padded.get(..length).ok_or(Error::PinPolicyViolation)?;
        Self::new(core::str::from_utf8(pin).map_err(|_| Error::PinPolicyViolation)?)
    }

    /// Errors: `PIN_POLICY_VIOLATION` if it is longer than 63 bytes, or empty.
    pub(crate) fn new(pin: &str) -> Result<Self, Error> {
        if pin.is_empty() || pin.len() > usize::from(MAX_PIN_LENGTH) {
            return Err(Error::PinPolicyViolation);
        }
        // Cannot be too many for a byte: it has 63 bytes at most.
        let length = pin.chars().count() as u8;
        Ok(Self { length, simple: is_simple(pin), hash: hash(pin.as_bytes()) })
    }

    /// Is this the hash of the PIN? In constant time.
    pub(crate) fn matches(&self, hash: &[u8; 16]) -> bool {
        self.hash.ct_eq(hash).into()
    }
}

/// LEFT(SHA-256(PIN), 16)
pub(crate) fn hash(pin: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(pin)[..16]);
    hash
}

/// What the PIN complexity policy refuses: one character again and again, and a run up or down such as 1234.
fn is_simple(pin: &str) -> bool {
    let mut steps =
        pin.chars().zip(pin.chars().skip(1)).map(|(a, b)| i64::from(u32::from(b)) - i64::from(u32::from(a)));
    match steps.next() {
        Some(step) => step.abs() <= 1 && steps.all(|next| next == step),
        None => true,
    }
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
    fn length_counts_code_points_and_its_limit_bytes() {
        for (pin, length) in [("1234", 4), ("123", 3), ("äöü", 3), ("äöüß", 4)] {
            assert_eq!(Pin::from_padded(&padded(pin.as_bytes())).unwrap().length, length, "{pin}");
        }
        assert_eq!(Pin::from_padded(&padded(&[b'1'; 63])).unwrap().length, 63);
        for bad in [padded(b""), [b'1'; 64], padded(&[0xff; 8])] {
            assert_eq!(Pin::from_padded(&bad).err(), Some(Error::PinPolicyViolation));
        }
    }

    #[test]
    fn only_the_pin_matches() {
        let pin = Pin::new("1234").unwrap();
        assert!(pin.matches(&hash(b"1234")));
        assert!(!pin.matches(&hash(b"1235")));
    }

    #[test]
    fn runs_and_repetitions_are_simple() {
        for pin in ["1111", "1234", "9876", "abcdef", "ёёёё", "7"] {
            assert!(is_simple(pin), "{pin}");
        }
        for pin in ["1122", "1357", "12345x", "1233", "a1b2c3d4"] {
            assert!(!is_simple(pin), "{pin}");
        }
    }
}
