//! The development kit PCA10056: button 1, light 1, and no boot loader. USB is the connector beside the battery.
#![no_std]
#![no_main]

use brasskey_nrf52840::gpio::{Level, p0};
use brasskey_nrf52840::{Parts, Product, pac, run};
use cortex_m_rt::entry;

/// This board's AAGUID: 04575381-26a4-4d62-9d40-6c5feb6a4518, a random UUID.
const AAGUID: [u8; 16] = 0x0457_5381_26a4_4d62_9d40_6c5f_eb6a_4518_u128.to_be_bytes();

#[entry]
fn main() -> ! {
    // The first to take them, right after the reset.
    let Some(chip) = pac::Peripherals::take() else { brasskey_firmware_app::memory::wipe_and_reset() };
    let port0 = p0::Parts::new(chip.P0);
    let product = Product {
        aaguid: AAGUID,
        button: port0.p0_11.into_pullup_input().degrade(),
        led: port0.p0_13.into_push_pull_output(Level::High).degrade(),
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
