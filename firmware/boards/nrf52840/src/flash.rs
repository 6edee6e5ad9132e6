//! The store's part of the flash. Where it is, `store.x` says.

use core::ptr::addr_of_mut;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use littlefs2::consts::{U16, U256};
use littlefs2::driver::Storage;
use littlefs2::io::{Error, Result};
use nrf52840_hal::nvmc::Nvmc;
use nrf52840_hal::pac::NVMC;

/// The erase unit, in bytes.
const PAGE_LEN: usize = 4096;
/// How many there are; `store.x` must say the same, and the linker compares.
const PAGES: usize = 128;

unsafe extern "C" {
    static mut _store_start: [u8; PAGE_LEN * PAGES];
}

/// Flash for the store.
pub(crate) struct Store(Nvmc<NVMC>);

impl Store {
    /// There is one NVMC, so there is one store.
    pub(crate) fn new(nvmc: NVMC) -> Self {
        // SAFETY: the linker keeps this piece of flash free of everything else, and this is the only reference to it:
        // whoever calls has the only NVMC.
        Self(Nvmc::new(nvmc, unsafe { &mut *addr_of_mut!(_store_start) }))
    }
}

fn offset(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(|_| Error::IO)
}

impl Storage for Store {
    const READ_SIZE: usize = 4;
    const WRITE_SIZE: usize = 4;
    const BLOCK_SIZE: usize = PAGE_LEN;
    const BLOCK_COUNT: usize = PAGES;
    /// Wear is levelled; a page lasts 10,000 erases (product specification §4.3.8).
    const BLOCK_CYCLES: isize = 500;
    type CACHE_SIZE = U256;
    type LOOKAHEAD_SIZE = U16;

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(offset(at)?, buffer).map_err(|_| Error::IO)?;
        Ok(buffer.len())
    }

    fn write(&mut self, at: usize, data: &[u8]) -> Result<usize> {
        self.0.write(offset(at)?, data).map_err(|_| Error::IO)?;
        Ok(data.len())
    }

    fn erase(&mut self, at: usize, length: usize) -> Result<usize> {
        let end = at.checked_add(length).ok_or(Error::IO)?;
        self.0.erase(offset(at)?, offset(end)?).map_err(|_| Error::IO)?;
        Ok(length)
    }
}
