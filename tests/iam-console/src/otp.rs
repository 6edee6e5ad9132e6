//! One-time passwords of authenticator apps and hardware tokens (RFC 6238: SHA-1, six digits, 30 seconds), with what
//! RFC 6238 leaves to the server: a code counts once (§5.2), and a clock that drifts is followed (§6).

use std::ops::RangeInclusive;

use totp_rs::{Builder, Totp};

/// Seconds of one code (RFC 6238's X).
pub(crate) const STEP: u64 = 30;

/// At a sign-in: how many codes early or late.
const SIGN_IN_SKEW: u64 = 1;

/// When a device is assigned: how far its clock may be off, in codes. Its two codes were read one after the other.
const ASSIGN_SKEW: u64 = 4;

/// When a device is resynchronised: an hour.
const RESYNC_SKEW: u64 = 120;

/// A device that shows codes, once its clock is known.
#[derive(Clone)]
pub(crate) struct Otp {
    totp: Totp,
    /// The device's clock less ours, in codes.
    drift: i64,
    /// The newest code that was used, by its number since 1970. It and all before it are void.
    used: u64,
}

/// Why a code is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// It is not the device's.
    Wrong,
    /// It was used before, or a newer one was.
    Used,
}

/// The code generator of a secret, for the account that an app shows.
///
/// Errors: a secret of less than 16 bytes, or a colon in the account's name.
pub(crate) fn generator(secret: &[u8], account: &str) -> anyhow::Result<Totp> {
    let builder = Builder::new().with_secret(secret.to_vec()).with_skew(0).with_step_duration(STEP);
    Ok(builder.with_account_name(account).with_issuer(Some("IAM stand-in")).build()?)
}

impl Otp {
    /// A device that has shown these two codes, one right after the other.
    pub(crate) fn assign(totp: Totp, first: &str, second: &str, now: u64) -> Result<Self, Refused> {
        let mut otp = Self { totp, drift: 0, used: 0 };
        otp.synchronise(first, second, now, ASSIGN_SKEW)?;
        Ok(otp)
    }

    /// Follows a clock that went wrong, from two codes in a row.
    pub(crate) fn resync(&mut self, first: &str, second: &str, now: u64) -> Result<(), Refused> {
        self.synchronise(first, second, now, RESYNC_SKEW)
    }

    fn synchronise(&mut self, first: &str, second: &str, now: u64, skew: u64) -> Result<(), Refused> {
        let step = now / STEP;
        let fits = |&at: &u64| self.is_at(first, at) && self.is_at(second, at + 1);
        let second_step = around(step, skew).find(fits).ok_or(Refused::Wrong)? + 1;
        if second_step <= self.used {
            return Err(Refused::Used);
        }
        self.used = second_step;
        self.drift = second_step as i64 - step as i64;
        Ok(())
    }

    /// Takes a code at a sign-in.
    pub(crate) fn accept(&mut self, code: &str, now: u64) -> Result<(), Refused> {
        let expected = (now / STEP).saturating_add_signed(self.drift);
        let found = around(expected, SIGN_IN_SKEW).find(|&at| self.is_at(code, at)).ok_or(Refused::Wrong)?;
        if found <= self.used {
            return Err(Refused::Used);
        }
        self.used = found;
        self.drift += found as i64 - expected as i64;
        Ok(())
    }

    fn is_at(&self, code: &str, step: u64) -> bool {
        self.totp.check(code, step * STEP).is_some()
    }
}

fn around(step: u64, skew: u64) -> RangeInclusive<u64> {
    step.saturating_sub(skew)..=step + skew
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238 appendix B: the secret, and codes with eight digits of which an app shows the last six.
    const SECRET: &[u8] = b"12345678901234567890";

    fn code(step: u64) -> String {
        generator(SECRET, "ada").unwrap().generate(step * STEP).to_string()
    }

    fn assigned(at: u64) -> Otp {
        Otp::assign(generator(SECRET, "ada").unwrap(), &code(at - 1), &code(at), at * STEP).unwrap()
    }

    #[test]
    fn the_codes_are_those_of_the_rfc() {
        for (time, expected) in [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")] {
            assert_eq!(code(time / STEP), expected);
        }
    }

    #[test]
    fn a_device_is_assigned_by_two_codes_in_a_row() {
        let totp = generator(SECRET, "ada").unwrap();
        let try_codes =
            |first, second| Otp::assign(totp.clone(), &code(first), &code(second), 1000 * STEP).map(|_| ());
        assert_eq!(try_codes(999, 1000), Ok(()));
        assert_eq!(try_codes(1001, 1002), Ok(()));
        assert_eq!(try_codes(1000, 999), Err(Refused::Wrong), "the wrong way round");
        assert_eq!(try_codes(1000, 1000), Err(Refused::Wrong), "one code twice");
        assert_eq!(try_codes(998, 1000), Err(Refused::Wrong), "one between them");
        assert_eq!(try_codes(980, 981), Err(Refused::Wrong), "ten minutes ago");
    }

    #[test]
    fn a_code_counts_once() {
        let mut otp = assigned(1000);
        assert_eq!(otp.accept(&code(1000), 1000 * STEP), Err(Refused::Used), "it was the second code");
        assert_eq!(otp.accept(&code(1001), 1000 * STEP), Ok(()), "a clock that is a little fast");
        assert_eq!(otp.accept(&code(1001), 1001 * STEP), Err(Refused::Used));
        assert_eq!(otp.accept("000000", 1002 * STEP), Err(Refused::Wrong));
        assert_eq!(otp.accept("no code", 1002 * STEP), Err(Refused::Wrong));
    }

    #[test]
    fn drift_is_followed_and_a_lost_clock_is_found_again() {
        let mut otp = assigned(1000);
        // Half a minute more off each time.
        assert_eq!(otp.accept(&code(1011), 1010 * STEP), Ok(()));
        assert_eq!(otp.accept(&code(1022), 1020 * STEP), Ok(()));
        assert_eq!(otp.accept(&code(1090), 1040 * STEP), Err(Refused::Wrong), "too far at once");
        assert_eq!(otp.resync(&code(1090), &code(1091), 1040 * STEP), Ok(()));
        assert_eq!(otp.accept(&code(1092), 1041 * STEP), Ok(()));
        assert_eq!(otp.resync(&code(1090), &code(1091), 1041 * STEP), Err(Refused::Used));
    }
}
