//! The true random number generator (RP2350 datasheet §12.12): 192 bits at a time, from a ring oscillator, behind a
//! von Neumann balancer and tests of its own.

use brasskey_firmware_app::random::{Entropy, NoEntropy, RAW};
use rp235x_hal::pac::{RESETS, TRNG};

/// Bits of RNG_ISR: a word is there; the samples repeat each other, in three ways of telling.
const VALID: u32 = 1;
const AUTOCORRELATED: u32 = 2;
const REPEATED: u32 = 4;
const UNBALANCED: u32 = 8;

/// What one word carries, in bytes.
const WORD: usize = 24;

/// How many cycles of the system clock lie between two samples. More than the shortest that the datasheet allows: there
/// is no hurry, and slower samples depend less on each other.
const SAMPLE_CYCLES: u32 = 200;

/// How often a word may fail the generator's tests before it is given up.
const TRIES: usize = 32;

/// How often to look for a word: far more than one takes.
const PATIENCE: usize = 1_000_000;

/// The generator.
pub(crate) struct Trng(TRNG);

impl Trng {
    pub(crate) fn new(trng: TRNG, resets: &mut RESETS) -> Self {
        resets.reset().modify(|_, register| register.trng().set_bit());
        resets.reset().modify(|_, register| register.trng().clear_bit());
        while resets.reset_done().read().trng().bit_is_clear() {}
        Self(trng)
    }

    /// One word, or none if it failed the tests.
    fn word(&mut self) -> Option<[u8; WORD]> {
        let trng = &self.0;
        // SAFETY: any value is one of these registers'.
        unsafe {
            trng.rnd_source_enable().write(|register| register.bits(0));
            trng.rng_icr().write(|register| register.bits(VALID | AUTOCORRELATED | REPEATED | UNBALANCED));
            trng.sample_cnt1().write(|register| register.bits(SAMPLE_CYCLES));
            trng.rnd_source_enable().write(|register| register.bits(1));
        }
        let status = (0..PATIENCE).map(|_| trng.rng_isr().read().bits()).find(|status| *status != 0)?;
        if status != VALID {
            // An autocorrelation error stops the generator until it is reset.
            // SAFETY: as above.
            unsafe { trng.trng_sw_reset().write(|register| register.bits(1)) };
            return None;
        }
        let words = [
            trng.ehr_data0().read().bits(),
            trng.ehr_data1().read().bits(),
            trng.ehr_data2().read().bits(),
            trng.ehr_data3().read().bits(),
            trng.ehr_data4().read().bits(),
            trng.ehr_data5().read().bits(),
        ];
        let mut bytes = [0; WORD];
        for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Some(bytes)
    }
}

impl Entropy for Trng {
    fn noise(&mut self, noise: &mut [u8; RAW]) -> Result<(), NoEntropy> {
        for chunk in noise.chunks_exact_mut(WORD) {
            let word = (0..TRIES).find_map(|_| self.word()).ok_or(NoEntropy)?;
            chunk.copy_from_slice(&word);
        }
        // SAFETY: as above. The oscillator rests until it is needed again.
        unsafe { self.0.rnd_source_enable().write(|register| register.bits(0)) };
        Ok(())
    }
}

const _: () = assert!(RAW.is_multiple_of(WORD), "noise is whole words");
