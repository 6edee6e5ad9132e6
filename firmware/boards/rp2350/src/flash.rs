//! The store's part of the flash: the last 512 KiB of the Pico 2's 4 MiB.
//!
//! While the flash is written it cannot be read, so that nothing may run from it: the boot ROM does the work, called
//! from a function in RAM, with interrupts masked (RP2350 datasheet §5.4.8, low-level flash commands). The other core
//! is never started.

use littlefs2::consts::{U16, U256};
use littlefs2::driver::Storage;
use littlefs2::io::{Error, Result};
use rp235x_hal::{pac, rom_data};

/// The watchdog's time, in microseconds; the HAL allows half of what the register holds.
pub(crate) const WATCHDOG_US: u32 = 8_000_000;

/// Where the store is, from the flash's start, in bytes.
const START: usize = (4 << 20) - BLOCK_LEN * BLOCK_COUNT;
/// The erase unit, in bytes, and how many there are.
const BLOCK_LEN: usize = 4096;
const BLOCK_COUNT: usize = 128;
/// What the ROM programs at a time, in bytes.
const PAGE_LEN: usize = 256;
/// Where the processor reads the flash, past the cache.
const UNCACHED: usize = 0x1400_0000;
/// Where the boot ROM left the function that sets fast reads up again, and how long it is (datasheet §5.4.8.5).
const XIP_SETUP: *const u32 = 0x400E_0000 as *const u32;
const XIP_SETUP_WORDS: usize = 64;

/// Flash for the store.
pub(crate) struct Store;

/// What the ROM is to do.
enum Operation<'a> {
    Erase,
    Program(&'a [u8; PAGE_LEN]),
}

/// The ROM's functions, found before the flash is out of reach.
struct Rom {
    connect: unsafe extern "C" fn(),
    exit_xip: unsafe extern "C" fn(),
    erase: unsafe extern "C" fn(u32, usize, u32, u8),
    program: unsafe extern "C" fn(u32, *const u8, usize),
    flush: unsafe extern "C" fn(),
    setup: [u32; XIP_SETUP_WORDS],
}

impl Rom {
    fn find() -> Self {
        let mut setup = [0; XIP_SETUP_WORDS];
        for (index, word) in setup.iter_mut().enumerate() {
            // SAFETY: the boot RAM is there, and only read.
            *word = unsafe { XIP_SETUP.add(index).read_volatile() };
        }
        Self {
            connect: rom_data::connect_internal_flash::ptr(),
            exit_xip: rom_data::flash_exit_xip::ptr(),
            erase: rom_data::flash_range_erase::ptr(),
            program: rom_data::flash_range_program::ptr(),
            flush: rom_data::flash_flush_cache::ptr(),
            setup,
        }
    }
}

/// A block erase command of 4 KiB, as the smallest that there is.
const SECTOR_ERASE: u8 = 0x20;

fn operate(offset: usize, operation: &Operation<'_>) {
    let rom = Rom::find();
    // SAFETY: the range lies within the store (`within`), where no code and no constant is. Interrupts are masked, and
    // the function and all that it touches are in RAM or ROM.
    critical_section::with(|_| unsafe { in_ram(&rom, offset as u32, operation) });
}

/// # Safety
///
/// Interrupts are masked, and nothing else uses the flash.
#[inline(never)]
#[unsafe(link_section = ".data.in_ram")]
unsafe fn in_ram(rom: &Rom, offset: u32, operation: &Operation<'_>) {
    // SAFETY: the ROM's functions, in the order that the datasheet gives. The address of the set-up function is odd
    // for Thumb.
    unsafe {
        (rom.connect)();
        (rom.exit_xip)();
        match operation {
            Operation::Erase => (rom.erase)(offset, BLOCK_LEN, BLOCK_LEN as u32, SECTOR_ERASE),
            Operation::Program(page) => (rom.program)(offset, page.as_ptr(), PAGE_LEN),
        }
        (rom.flush)();
        let setup: extern "C" fn() = core::mem::transmute(rom.setup.as_ptr() as usize | 1);
        setup();
    }
}

/// The watchdog, fed where many operations follow each other: writing the load register again (datasheet §12.9).
fn feed_watchdog() {
    // SAFETY: a register that only takes a new time.
    unsafe { (*pac::WATCHDOG::ptr()).load().write(|register| register.bits(WATCHDOG_US)) };
}

fn within(at: usize, length: usize) -> Result<usize> {
    match at.checked_add(length) {
        Some(end) if end <= BLOCK_LEN * BLOCK_COUNT => Ok(START + at),
        _ => Err(Error::IO),
    }
}

impl Storage for Store {
    const READ_SIZE: usize = 4;
    /// The ROM programs whole pages; what is outside of the data is programmed with ones, which changes nothing.
    const WRITE_SIZE: usize = 16;
    const BLOCK_SIZE: usize = BLOCK_LEN;
    const BLOCK_COUNT: usize = BLOCK_COUNT;
    /// Wear is levelled; a sector lasts 100,000 erases (Winbond W25Q32RV datasheet).
    const BLOCK_CYCLES: isize = 500;
    type CACHE_SIZE = U256;
    type LOOKAHEAD_SIZE = U16;

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<usize> {
        let from = (UNCACHED + within(at, buffer.len())?) as *const u8;
        // SAFETY: a piece of the flash, where no Rust object lives.
        unsafe { from.copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len()) };
        Ok(buffer.len())
    }

    fn write(&mut self, at: usize, data: &[u8]) -> Result<usize> {
        let mut offset = within(at, data.len())?;
        let mut rest = data;
        while !rest.is_empty() {
            let start = offset % PAGE_LEN;
            let (piece, after) = rest.split_at(rest.len().min(PAGE_LEN - start));
            let mut page = [0xFF; PAGE_LEN];
            page[start..start + piece.len()].copy_from_slice(piece);
            operate(offset - start, &Operation::Program(&page));
            offset += piece.len();
            rest = after;
        }
        Ok(data.len())
    }

    fn erase(&mut self, at: usize, length: usize) -> Result<usize> {
        let offset = within(at, length)?;
        for block in (offset..offset + length).step_by(BLOCK_LEN) {
            feed_watchdog();
            operate(block, &Operation::Erase);
        }
        Ok(length)
    }
}
