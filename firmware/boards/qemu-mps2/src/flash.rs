//! The flash: a piece of the board's PSRAM, which outlives the processor's power because QEMU keeps it in a file.

use littlefs2::consts::{U16, U256};
use littlefs2::driver::Storage;
use littlefs2::io::{Error, Result};

/// Where QEMU's machine has its 16 MB of PSRAM (AN386 table 3-1). The file at the other end is 1 MiB of it.
const BASE: *mut u8 = 0x2100_0000 as *mut u8;

/// The erase unit, in bytes, and how many there are: as in the simulator's images.
const BLOCK_LEN: usize = 4096;
const BLOCK_COUNT: usize = 256;

/// NOR flash in PSRAM: an erase sets bits, a program clears them.
pub(crate) struct Psram;

fn within(offset: usize, length: usize) -> Result<*mut u8> {
    match offset.checked_add(length) {
        // SAFETY: the sum lies within the PSRAM.
        Some(end) if end <= BLOCK_LEN * BLOCK_COUNT => Ok(unsafe { BASE.add(offset) }),
        _ => Err(Error::IO),
    }
}

impl Storage for Psram {
    const READ_SIZE: usize = 4;
    const WRITE_SIZE: usize = 4;
    const BLOCK_SIZE: usize = BLOCK_LEN;
    const BLOCK_COUNT: usize = BLOCK_COUNT;
    const BLOCK_CYCLES: isize = 500;
    type CACHE_SIZE = U256;
    type LOOKAHEAD_SIZE = U16;

    fn read(&mut self, offset: usize, buffer: &mut [u8]) -> Result<usize> {
        let from = within(offset, buffer.len())?;
        // SAFETY: a piece of the PSRAM, where no Rust object lives.
        unsafe { from.copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len()) };
        Ok(buffer.len())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<usize> {
        let to = within(offset, data.len())?;
        for (index, byte) in data.iter().enumerate() {
            // SAFETY: within the piece that was checked.
            unsafe {
                let at = to.add(index);
                at.write_volatile(at.read_volatile() & byte);
            }
        }
        Ok(data.len())
    }

    fn erase(&mut self, offset: usize, length: usize) -> Result<usize> {
        let to = within(offset, length)?;
        // SAFETY: a piece of the PSRAM, where no Rust object lives.
        unsafe { to.write_bytes(0xFF, length) };
        Ok(length)
    }
}
