//! NOR flash in RAM, with the rules of the real one, and a plug that can be pulled.

use core::fmt;
use core::ops::Range;
use std::vec;
use std::vec::Vec;

use littlefs2::consts::{U2, U256};
use littlefs2::driver::Storage;
use littlefs2::io::{Error, Result};

/// What a program or an erase had done when the power went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// Nothing.
    Before,
    /// The first half of its bytes; an erase leaves the other half as it was.
    Halfway,
    /// A part that reads as noise: some bits changed, others not.
    Noise,
    /// All of it, but the caller never heard.
    After,
}

impl Cut {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Before, Self::Halfway, Self::Noise, Self::After];
}

/// 96 blocks of 4,096 bytes, programmed in words of 16. A program only clears bits: over a byte that is not erased
/// it panics, unless a cut left that byte behind. littlefs may program there once, reads back what became of it,
/// and takes another block if that is wrong.
#[derive(Clone, Eq, PartialEq)]
pub struct RamFlash {
    bytes: Vec<u8>,
    /// Programs and erases since the flash was made.
    operations: usize,
    /// The power goes during this operation, counted as `operations`.
    cut: Option<(usize, Cut)>,
    powered: bool,
    /// What a cut left in an undefined state, until its block is erased.
    torn: Vec<Range<usize>>,
}

/// Without the contents: they are long, and secret.
impl fmt::Debug for RamFlash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RamFlash").field("operations", &self.operations).finish_non_exhaustive()
    }
}

impl Default for RamFlash {
    fn default() -> Self {
        Self::new()
    }
}

impl RamFlash {
    /// A blank flash.
    pub fn new() -> Self {
        let bytes = vec![0xff; Self::BLOCK_SIZE * Self::BLOCK_COUNT];
        Self { bytes, operations: 0, cut: None, powered: true, torn: Vec::new() }
    }

    /// How many programs and erases there were.
    pub fn operations(&self) -> usize {
        self.operations
    }

    /// Cuts the power during the operation that comes after `operations` more.
    pub fn cut_after(&mut self, operations: usize, cut: Cut) {
        self.cut = Some((self.operations + operations, cut));
    }

    /// Power is back; the next cut has to be set anew.
    pub fn power_up(&mut self) {
        self.powered = true;
        self.cut = None;
    }

    /// What a reader of the chip would see.
    pub fn raw(&self) -> &[u8] {
        &self.bytes
    }

    /// What a reader of the chip could change.
    pub fn raw_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Does one operation on `range`, as far as the power lasts.
    fn operate(&mut self, range: Range<usize>, new: impl Fn(usize) -> u8) -> Result<usize> {
        if !self.powered {
            return Err(Error::IO);
        }
        let cut = self.cut.filter(|(at, _)| *at == self.operations).map(|(_, cut)| cut);
        self.operations += 1;
        let length = range.len();
        if cut.is_some() {
            self.torn.push(range.clone());
        }
        for (index, byte) in self.bytes[range].iter_mut().enumerate() {
            *byte = match cut {
                None | Some(Cut::After) => new(index),
                Some(Cut::Before) => *byte,
                Some(Cut::Halfway) if index < length / 2 => new(index),
                Some(Cut::Halfway) => *byte,
                Some(Cut::Noise) => {
                    // Any mixture of the old bits and the new ones; this one is the same every time.
                    let mask = (index as u8).wrapping_mul(0x9d) ^ (self.operations as u8);
                    *byte & mask | new(index) & !mask
                }
            };
        }
        if cut.is_some() {
            self.powered = false;
            return Err(Error::IO);
        }
        Ok(length)
    }
}

impl Storage for RamFlash {
    const READ_SIZE: usize = 16;
    const WRITE_SIZE: usize = 16;
    const BLOCK_SIZE: usize = 4096;
    const BLOCK_COUNT: usize = 96;
    const BLOCK_CYCLES: isize = 500;
    type CACHE_SIZE = U256;
    type LOOKAHEAD_SIZE = U2;

    fn read(&mut self, offset: usize, buffer: &mut [u8]) -> Result<usize> {
        if !self.powered {
            return Err(Error::IO);
        }
        buffer.copy_from_slice(&self.bytes[offset..offset + buffer.len()]);
        Ok(buffer.len())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<usize> {
        let range = offset..offset + data.len();
        assert!(
            offset.is_multiple_of(Self::WRITE_SIZE) && data.len().is_multiple_of(Self::WRITE_SIZE),
            "a word is cut"
        );
        let old = self.bytes[range.clone()].to_vec();
        for (index, &byte) in old.iter().enumerate() {
            let torn = || self.torn.iter().any(|torn| torn.contains(&(offset + index)));
            assert!(byte == 0xff || !self.powered || torn(), "programmed without erasing");
        }
        self.operate(range, |index| old[index] & data[index])
    }

    fn erase(&mut self, offset: usize, length: usize) -> Result<usize> {
        assert!(
            offset.is_multiple_of(Self::BLOCK_SIZE) && length.is_multiple_of(Self::BLOCK_SIZE),
            "a block is cut"
        );
        if self.powered {
            self.torn.retain(|torn| torn.start < offset || torn.start >= offset + length);
        }
        self.operate(offset..offset + length, |_| 0xff)
    }
}
