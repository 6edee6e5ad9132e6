//! The flash behind the header: where littlefs lives.

use littlefs2::driver::Storage;
use littlefs2::io::{Error, Result};

use super::header;

/// A [`Storage`] over a [`Storage`]: the same flash without the header's blocks.
pub(super) struct Region<S> {
    storage: S,
}

/// How much is read at a time when a block is checked for being blank; divides every block size.
const CHUNK: usize = 256;

impl<S: Storage> Region<S> {
    pub(super) fn new(storage: S) -> Self {
        Self { storage }
    }

    pub(super) fn into_storage(self) -> S {
        self.storage
    }

    /// The whole flash, header included.
    pub(super) fn storage(&mut self) -> &mut S {
        &mut self.storage
    }

    fn block_is_blank(&mut self, block: usize) -> Result<bool> {
        let mut buffer = [0; CHUNK];
        for offset in (0..S::BLOCK_SIZE).step_by(CHUNK) {
            self.read(block * S::BLOCK_SIZE + offset, &mut buffer)?;
            if buffer.iter().any(|&byte| byte != 0xff) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// True if no block was ever programmed since it was erased.
    pub(super) fn is_blank(&mut self) -> Result<bool> {
        for block in 0..Self::BLOCK_COUNT {
            if !self.block_is_blank(block)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Erases every block that is not blank.
    pub(super) fn wipe(&mut self) -> Result<()> {
        for block in 0..Self::BLOCK_COUNT {
            if !self.block_is_blank(block)? {
                self.erase(block * S::BLOCK_SIZE, S::BLOCK_SIZE)?;
            }
        }
        Ok(())
    }

    /// Where an offset of the region is in the flash; an error outside of it.
    fn locate(offset: usize, length: usize) -> Result<usize> {
        let end = offset.checked_add(length).ok_or(Error::IO)?;
        if end > Self::BLOCK_COUNT * S::BLOCK_SIZE {
            return Err(Error::IO);
        }
        Ok(header::BLOCKS * S::BLOCK_SIZE + offset)
    }
}

impl<S: Storage> Storage for Region<S> {
    const READ_SIZE: usize = S::READ_SIZE;
    const WRITE_SIZE: usize = S::WRITE_SIZE;
    const BLOCK_SIZE: usize = S::BLOCK_SIZE;
    const BLOCK_COUNT: usize = S::BLOCK_COUNT - header::BLOCKS;
    const BLOCK_CYCLES: isize = S::BLOCK_CYCLES;
    type CACHE_SIZE = S::CACHE_SIZE;
    type LOOKAHEAD_SIZE = S::LOOKAHEAD_SIZE;

    fn read(&mut self, offset: usize, buffer: &mut [u8]) -> Result<usize> {
        self.storage.read(Self::locate(offset, buffer.len())?, buffer)
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<usize> {
        self.storage.write(Self::locate(offset, data.len())?, data)
    }

    fn erase(&mut self, offset: usize, length: usize) -> Result<usize> {
        self.storage.erase(Self::locate(offset, length)?, length)
    }
}
