//! The random generator: noise from the hardware, judged, condensed, and stretched by ChaCha20.
//!
//! * Each seed is SHA-256 over [`RAW`] bytes of noise, three times what it gives: noise with a bias of a few per
//!   cent still fills it.
//! * The noise passes the two health tests of NIST SP 800-90B §4.4 all the time, for a source of at least one bit of
//!   entropy per byte: the repetition count test and the adaptive proportion test, with a false alarm in 2^30.
//! * ChaCha20 (20 rounds) stretches the seed. After [`RESEED_BYTES`] it is seeded anew, from noise and from its own
//!   output: the new state is unknown to whoever did not know both.
//!
//! A source that fails at power-up leaves the key without a boot. One that fails later costs the reseeding and
//! nothing else: the state before it goes on, and the next request tries again.

use core::convert::Infallible;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// How much noise goes into a seed, in bytes.
pub const RAW: usize = 96;

/// How much is drawn from one seed, in bytes.
pub const RESEED_BYTES: u32 = 64 * 1024;

/// The noise is not good enough, or there is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoEntropy;

/// A source of noise.
pub trait Entropy {
    /// Fills `noise` with raw bytes.
    ///
    /// Errors: [`NoEntropy`] if the hardware gives none.
    fn noise(&mut self, noise: &mut [u8; RAW]) -> Result<(), NoEntropy>;
}

/// The health tests, over every byte that the source ever gave.
#[derive(Clone, Debug, Default)]
struct Health {
    last: Option<u8>,
    repeated: u32,
    /// The adaptive proportion test: the first byte of the window, how often it came, how many came at all.
    first: u8,
    same: u32,
    seen: u32,
}

impl Health {
    /// 1 + 30 / H with H = 1 bit a byte.
    const REPETITIONS: u32 = 31;
    /// The window of SP 800-90B for sources that are not binary.
    const WINDOW: u32 = 512;
    /// 1 + the number of equal bytes of 512 that a source with H = 1 exceeds once in 2^30 windows.
    const PROPORTION: u32 = 325;

    fn take(&mut self, byte: u8) -> Result<(), NoEntropy> {
        self.repeated = if self.last.replace(byte) == Some(byte) { self.repeated + 1 } else { 1 };
        if self.seen.is_multiple_of(Self::WINDOW) {
            (self.first, self.same, self.seen) = (byte, 0, 0);
        }
        self.seen += 1;
        self.same += u32::from(byte == self.first);
        if self.repeated >= Self::REPETITIONS || self.same >= Self::PROPORTION {
            return Err(NoEntropy);
        }
        Ok(())
    }
}

/// The random generator of a board.
pub struct Drbg<E> {
    source: E,
    health: Health,
    rng: ChaCha20Rng,
    left: u32,
}

impl<E: Entropy> Drbg<E> {
    /// Seeds the generator.
    ///
    /// Errors: [`NoEntropy`]; then the key must not boot.
    pub fn new(mut source: E) -> Result<Self, NoEntropy> {
        let mut health = Health::default();
        // The first window of the health tests, before anything is used (SP 800-90B §4.3).
        for _ in 0..(Health::WINDOW as usize).div_ceil(RAW) {
            seed(&mut source, &mut health)?;
        }
        let rng = ChaCha20Rng::from_seed(*seed(&mut source, &mut health)?);
        Ok(Self { source, health, rng, left: RESEED_BYTES })
    }

    /// Counts what is drawn, and seeds anew when it is time.
    fn draw(&mut self, bytes: u32) -> &mut ChaCha20Rng {
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0
            && let Ok(mut fresh) = seed(&mut self.source, &mut self.health)
        {
            let mut own = Zeroizing::new([0; 32]);
            self.rng.fill_bytes(&mut *own);
            fresh.iter_mut().zip(&*own).for_each(|(fresh, own)| *fresh ^= own);
            self.rng = ChaCha20Rng::from_seed(*fresh);
            self.left = RESEED_BYTES;
        }
        &mut self.rng
    }
}

fn seed(source: &mut impl Entropy, health: &mut Health) -> Result<Zeroizing<[u8; 32]>, NoEntropy> {
    let mut noise = Zeroizing::new([0; RAW]);
    source.noise(&mut noise)?;
    noise.iter().try_for_each(|&byte| health.take(byte))?;
    let mut digest = Sha256::digest(*noise);
    let seed = Zeroizing::new(digest.into());
    digest.as_mut_slice().zeroize();
    Ok(seed)
}

impl<E: Entropy> TryRng for Drbg<E> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.draw(4).next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw(8).next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        // More than a u32 counts is more than a seed is good for.
        let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
        self.draw(length).fill_bytes(out);
        Ok(())
    }
}

impl<E: Entropy> TryCryptoRng for Drbg<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise from a counter, until it fails or is stuck.
    struct Source {
        next: u8,
        asked: usize,
        fails: bool,
        stuck: bool,
    }

    const GOOD: Source = Source { next: 0, asked: 0, fails: false, stuck: false };

    impl Entropy for &mut Source {
        fn noise(&mut self, noise: &mut [u8; RAW]) -> Result<(), NoEntropy> {
            self.asked += 1;
            if self.fails {
                return Err(NoEntropy);
            }
            for byte in noise {
                *byte = self.next;
                if !self.stuck {
                    self.next = self.next.wrapping_add(1);
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_source_that_fails_or_is_stuck_makes_no_generator() {
        for (fails, stuck) in [(true, false), (false, true)] {
            assert!(Drbg::new(&mut Source { fails, stuck, ..GOOD }).is_err());
        }
    }

    #[test]
    fn a_lopsided_source_is_found_out() {
        struct Lopsided(u8);
        impl Entropy for Lopsided {
            fn noise(&mut self, noise: &mut [u8; RAW]) -> Result<(), NoEntropy> {
                for (index, byte) in noise.iter_mut().enumerate() {
                    // Two of three bytes are the same, never long in a row.
                    *byte = if index % 3 == 2 { self.0 } else { 7 };
                    self.0 = self.0.wrapping_add(1);
                }
                Ok(())
            }
        }
        assert!(Drbg::new(Lopsided(0)).is_err());
    }

    #[test]
    fn it_is_seeded_anew_and_goes_on_when_that_fails() {
        let mut source = GOOD;
        let mut rng = Drbg::new(&mut source).unwrap();
        let at_start = rng.source.asked;
        let mut plain = rng.rng.clone();
        let mut out = vec![0; RESEED_BYTES as usize - 4];
        rng.fill_bytes(&mut out);
        let mut expected = out.clone();
        plain.fill_bytes(&mut expected);
        assert!(out == expected, "one seed until then");
        assert_eq!(rng.source.asked, at_start);

        rng.source.fails = true;
        assert_eq!(rng.next_u32(), plain.next_u32(), "the old state goes on");
        rng.source.fails = false;
        assert_ne!(rng.next_u64(), plain.next_u64());
        assert_eq!(rng.source.asked, at_start + 2);
    }
}
