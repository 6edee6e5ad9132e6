//! The dongle PCA10059: button SW1, light LD1, and the boot loader that it comes with.
#![no_std]
#![no_main]

use brasskey_nrf52840::gpio::{Level, p0, p1};
use brasskey_nrf52840::{Parts, Product, pac, run};
use cortex_m_rt::entry;

/// This board's AAGUID: c11da0ab-96a6-4f5c-af31-da0c3f06077d, a random UUID.
const AAGUID: [u8; 16] = 0xc11d_a0ab_96a6_4f5c_af31_da0c_3f06_077d_u128.to_be_bytes();

#[entry]
fn main() -> ! {
    // The first to take them, right after the reset.
    let Some(chip) = pac::Peripherals::take() else { brasskey_firmware_app::memory::wipe_and_reset() };
    let (port0, port1) = (p0::Parts::new(chip.P0), p1::Parts::new(chip.P1));
    let product = Product {
        aaguid: AAGUID,
        button: port1.p1_06.into_pullup_input().degrade(),
        led: port0.p0_06.into_push_pull_output(Level::High).degrade(),
    };
    let parts = Parts {
        clock: chip.CLOCK,
        nvmc: chip.NVMC,
        rng: chip.RNG,
        timer: chip.TIMER0,
        usbd: chip.USBD,
        wdt: chip.WDT,
    };
    run(product, parts)
}
