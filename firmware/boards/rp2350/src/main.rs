//! Raspberry Pi Pico 2: an RP2350, in its Arm form.
//!
//! **This has never run on a real Pico 2.** It is built by CI; the parts that it shares with the emulated board are
//! tested there.
//!
//! * USB: rp235x-hal, served from the USB interrupt, which the tick and the main loop make pending.
//! * Tick: SysTick, from the system clock of 150 MHz.
//! * Randomness: the TRNG with the tests of its own, into the DRBG of `brasskey-firmware-app`, which tests again.
//! * Flash: the last 512 KiB, by the boot ROM's functions, from RAM and with interrupts masked.
//! * Watchdog: 8 seconds, fed by each erase too.
#![no_std]
#![no_main]

mod flash;
mod trng;

use atomic_refcell::AtomicRefCell;
use brasskey_authenticator::{Authenticator, BootError, Flash, Identity, MAX_DISCOVERABLE};
use brasskey_firmware_app::light::{self, Pattern};
use brasskey_firmware_app::memory::wipe_and_reset;
use brasskey_firmware_app::random::Drbg;
use brasskey_firmware_app::touch::Button;
use brasskey_firmware_app::{App, Board, Body, MESSAGE_LEN, Usb};
use brasskey_usb::{DeviceConfig, GatedBus};
use core::cell::RefCell;
use cortex_m::peripheral::NVIC;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use critical_section::Mutex;
use embedded_hal::digital::{InputPin, OutputPin};
use flash::Store;
use hal::block::ImageDef;
use hal::fugit::ExtU32;
use hal::gpio::bank0::{Gpio15, Gpio25};
use hal::gpio::{FunctionSio, Pin, PullDown, PullUp, SioInput, SioOutput};
use hal::pac::{self, Interrupt, interrupt};
use hal::usb::UsbBus;
use hal::{Clock, Sio, Watchdog};
use rp235x_hal as hal;
use static_cell::StaticCell;
use trng::Trng;
use usb_device::bus::UsbBusAllocator;

/// Tells the boot ROM that this is a program for the Arm processors.
#[unsafe(link_section = ".start_block")]
#[used]
static IMAGE_DEF: ImageDef = ImageDef::secure_exe();

/// This board's AAGUID: 65293fc7-0b60-4807-8058-d77121aebe92, a random UUID.
const AAGUID: [u8; 16] = 0x6529_3fc7_0b60_4807_8058_d771_21ae_be92_u128.to_be_bytes();

/// getInfo's `firmwareVersion` and the USB device's `bcdDevice`: 0x0010 is version 0.1.0.
const FIRMWARE_VERSION: u16 = 0x0010;

/// The crystal, in Hz.
const CRYSTAL_HZ: u32 = 12_000_000;

type Key = Authenticator<'static, Body<Pico>>;
type Led = Pin<Gpio25, FunctionSio<SioOutput>, PullDown>;
type Switch = Pin<Gpio15, FunctionSio<SioInput>, PullUp>;

static FLASH: StaticCell<Flash<Store>> = StaticCell::new();
static KEY: StaticCell<Result<Key, BootError>> = StaticCell::new();
static APPLICATION: StaticCell<App> = StaticCell::new();
static ALLOCATOR: StaticCell<UsbBusAllocator<GatedBus<UsbBus>>> = StaticCell::new();
/// Used by the USB interrupt alone, once that is unmasked.
static USB: AtomicRefCell<Option<Usb<UsbBus>>> = AtomicRefCell::new(None);
/// Used by SysTick alone, once that counts.
static LED: Mutex<RefCell<Option<Led>>> = Mutex::new(RefCell::new(None));

#[entry]
fn main() -> ! {
    // The first to take them, right after the reset.
    let (Some(mut chip), Some(mut core)) = (pac::Peripherals::take(), cortex_m::Peripherals::take()) else {
        wipe_and_reset()
    };
    let mut watchdog = Watchdog::new(chip.WATCHDOG);
    let clocks = hal::clocks::init_clocks_and_plls(
        CRYSTAL_HZ,
        chip.XOSC,
        chip.CLOCKS,
        chip.PLL_SYS,
        chip.PLL_USB,
        &mut chip.RESETS,
        &mut watchdog,
    );
    let Ok(clocks) = clocks else { wipe_and_reset() };
    watchdog.start(flash::WATCHDOG_US.micros());

    let sio = Sio::new(chip.SIO);
    let pins = hal::gpio::Pins::new(chip.IO_BANK0, chip.PADS_BANK0, sio.gpio_bank0, &mut chip.RESETS);
    critical_section::with(|token| LED.replace(token, Some(pins.gpio25.into_push_pull_output())));
    core.SYST.set_clock_source(SystClkSource::Core);
    core.SYST.set_reload(clocks.system_clock.freq().to_Hz() / 1000 - 1);
    core.SYST.clear_current();
    core.SYST.enable_counter();
    core.SYST.enable_interrupt();

    let trng = Trng::new(chip.TRNG, &mut chip.RESETS);
    let key = boot(trng, pins.gpio15.into_pull_up_input(), watchdog);
    let bus = UsbBus::new(chip.USB, chip.USB_DPRAM, clocks.usb_clock, true, &mut chip.RESETS);
    let application = start_usb(bus);
    brasskey_firmware_app::run(application, key)
}

/// Boots the key in its own place: a function of its own, so that what it needs of the stack is free again afterwards.
#[inline(never)]
fn boot(trng: Trng, button: Switch, watchdog: Watchdog) -> &'static mut Key {
    let Ok(rng) = Drbg::new(trng) else { fail(&watchdog) };
    let identity = Identity {
        aaguid: AAGUID,
        firmware_version: FIRMWARE_VERSION,
        max_msg_size: MESSAGE_LEN as u16,
        max_discoverable: MAX_DISCOVERABLE as u16,
        long_touch: true,
        ..Identity::default()
    };
    let board = Pico { rng, identity, button, watchdog };
    let flash = FLASH.init_with(|| Flash::new(Store));
    match KEY.init_with(|| Authenticator::boot(flash, Body::new(board))) {
        Ok(key) => key,
        Err(_) => {
            light::show(Pattern::Error);
            // The watchdog went with the board: after its time all this begins again.
            loop {
                cortex_m::asm::wfi();
            }
        }
    }
}

/// There is no noise: the light says so.
fn fail(watchdog: &Watchdog) -> ! {
    light::show(Pattern::Error);
    loop {
        watchdog.feed();
        cortex_m::asm::wfi();
    }
}

/// Turns USB on.
#[inline(never)]
fn start_usb(bus: UsbBus) -> &'static mut App {
    let Some(application) = brasskey_firmware_app::application() else { wipe_and_reset() };
    let allocator = ALLOCATOR.init_with(|| UsbBusAllocator::new(GatedBus::new(bus)));
    let config = DeviceConfig { release: FIRMWARE_VERSION, ..DeviceConfig::default() };
    *USB.borrow_mut() = Usb::new(allocator, &config);
    // SAFETY: the device is where the handler looks for it, and nobody else does from here on.
    unsafe { NVIC::unmask(Interrupt::USBCTRL_IRQ) };
    APPLICATION.init(application)
}

#[exception]
fn SysTick() {
    let tick = brasskey_firmware_app::tick();
    critical_section::with(|token| {
        if let Some(led) = &mut *LED.borrow_ref_mut(token) {
            // The error type is empty.
            led.set_state(tick.light.into()).ok();
        }
    });
    if tick.usb {
        NVIC::pend(Interrupt::USBCTRL_IRQ);
    }
}

#[interrupt]
fn USBCTRL_IRQ() {
    if let Some(usb) = &mut *USB.borrow_mut() {
        usb.serve();
    }
}

/// The board, as the application sees it.
struct Pico {
    rng: Drbg<Trng>,
    identity: Identity,
    /// Between GP15 and ground: pins 20 and 18 of the board.
    button: Switch,
    watchdog: Watchdog,
}

impl Board for Pico {
    type Storage = Store;
    type Rng = Drbg<Trng>;

    fn rng(&mut self) -> &mut Drbg<Trng> {
        &mut self.rng
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn button(&mut self) -> Button {
        // The error type is empty.
        if self.button.is_low().unwrap_or(false) { Button::Down } else { Button::Up }
    }

    fn wake_usb(&self) {
        NVIC::pend(Interrupt::USBCTRL_IRQ);
    }

    fn sleep(&self) {
        cortex_m::asm::wfi();
    }

    fn feed_watchdog(&mut self) {
        self.watchdog.feed();
    }
}
