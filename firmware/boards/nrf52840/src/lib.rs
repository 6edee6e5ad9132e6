//! Nordic's nRF52840, as both boards have it. A board's binary says which pins it has, and which AAGUID.
//!
//! **None of this has run on a real nRF52840.** It is built by CI; the parts that it shares with the emulated board are
//! tested there.
//!
//! * USB: nrf-usbd, served from the USBD interrupt, which the tick and the main loop make pending.
//! * Tick: TIMER0. SysTick stops while the processor sleeps.
//! * Randomness: the RNG with its bias correction, into the DRBG of `brasskey-firmware-app`.
//! * Flash: the upper half, by the NVMC. The processor stands still while a page is erased (85 ms) or a word is
//!   written (41 µs); USB answers NAK by itself meanwhile (nRF52840 product specification v1.8, §4.3).
//! * Watchdog: 30 seconds, longer than a reset that erases every page of the store.
#![no_std]

mod flash;

use atomic_refcell::AtomicRefCell;
use brasskey_authenticator::{Authenticator, BootError, Flash, Identity, MAX_DISCOVERABLE};
use brasskey_firmware_app::light::{self, Pattern};
use brasskey_firmware_app::memory::wipe_and_reset;
use brasskey_firmware_app::random::{Drbg, Entropy, NoEntropy, RAW};
use brasskey_firmware_app::touch::Button;
use brasskey_firmware_app::{App, Board, Body, MESSAGE_LEN, Usb};
use brasskey_usb::{DeviceConfig, GatedBus};
use core::cell::RefCell;
use cortex_m::peripheral::NVIC;
use critical_section::Mutex;
use embedded_hal::digital::{InputPin, OutputPin};
use flash::Store;
use nrf52840_hal::clocks::{Clocks, ExternalOscillator, Internal, LfOscStopped};
pub use nrf52840_hal::gpio;
use nrf52840_hal::gpio::{Input, Output, Pin, PullUp, PushPull};
use nrf52840_hal::pac::{Interrupt, TIMER0, interrupt};
use nrf52840_hal::rng::Rng;
use nrf52840_hal::timer::{Periodic, Timer};
use nrf52840_hal::usbd::{UsbPeripheral, Usbd};
use nrf52840_hal::wdt::handles::Hdl0;
use nrf52840_hal::wdt::{Watchdog, WatchdogHandle};
pub use nrf52840_hal::{pac, wdt};
use static_cell::StaticCell;
use usb_device::bus::UsbBusAllocator;

/// getInfo's `firmwareVersion` and the USB device's `bcdDevice`: 0x0010 is version 0.1.0.
const FIRMWARE_VERSION: u16 = 0x0010;

/// The watchdog's time, in cycles of its 32,768 Hz.
const WATCHDOG_CYCLES: u32 = 30 * 32_768;

/// The tick, in microseconds: TIMER0 counts at 1 MHz.
const TICK_US: u32 = 1000;

type ClocksOn = Clocks<ExternalOscillator, Internal, LfOscStopped>;
type UsbBus = Usbd<UsbPeripheral<'static>>;
type Key = Authenticator<'static, Body<Nrf>>;

static CLOCKS: StaticCell<ClocksOn> = StaticCell::new();
static FLASH: StaticCell<Flash<Store>> = StaticCell::new();
static KEY: StaticCell<Result<Key, BootError>> = StaticCell::new();
static APPLICATION: StaticCell<App> = StaticCell::new();
static ALLOCATOR: StaticCell<UsbBusAllocator<GatedBus<UsbBus>>> = StaticCell::new();
/// Used by the USBD interrupt alone, once that is unmasked.
static USB: AtomicRefCell<Option<Usb<UsbBus>>> = AtomicRefCell::new(None);
/// Used by TIMER0's interrupt alone, once that is unmasked.
static TICK: Mutex<RefCell<Option<Ticker>>> = Mutex::new(RefCell::new(None));

struct Ticker {
    timer: Timer<TIMER0, Periodic>,
    led: Pin<Output<PushPull>>,
}

/// What a board has to say about itself.
pub struct Product {
    /// The model's AAGUID.
    pub aaguid: [u8; 16],
    /// The button, which connects to ground.
    pub button: Pin<Input<PullUp>>,
    /// The light, which shines when the pin is low. It begins high.
    pub led: Pin<Output<PushPull>>,
}

/// The peripherals that are no pins.
pub struct Parts {
    /// The clocks.
    pub clock: pac::CLOCK,
    /// The flash's controller.
    pub nvmc: pac::NVMC,
    /// The random number generator.
    pub rng: pac::RNG,
    /// The tick's timer.
    pub timer: TIMER0,
    /// The USB device.
    pub usbd: pac::USBD,
    /// The watchdog.
    pub wdt: pac::WDT,
}

/// Runs the key, for ever.
pub fn run(product: Product, parts: Parts) -> ! {
    #[cfg(feature = "readback-protection")]
    protect(&parts.nvmc);
    let clocks = CLOCKS.init_with(|| Clocks::new(parts.clock).enable_ext_hfosc());
    let watchdog = start_watchdog(parts.wdt);
    let mut timer = Timer::periodic(parts.timer);
    timer.enable_interrupt();
    timer.start(TICK_US);
    let ticker = Ticker { timer, led: product.led };
    critical_section::with(|token| TICK.replace(token, Some(ticker)));
    // SAFETY: what the handler needs is in its place, and nobody else touches it from here on.
    unsafe { NVIC::unmask(Interrupt::TIMER0) };

    let key = boot(product.aaguid, product.button, watchdog, parts.rng, parts.nvmc);
    let application = start_usb(parts.usbd, clocks);
    brasskey_firmware_app::run(application, key)
}

/// Starts the watchdog. After a reset that was not a power-up it runs already, and is fed all the same.
fn start_watchdog(wdt: pac::WDT) -> WatchdogHandle<Hdl0> {
    match Watchdog::try_new(wdt) {
        Ok(mut watchdog) => {
            watchdog.set_lfosc_ticks(WATCHDOG_CYCLES);
            watchdog.activate::<nrf52840_hal::wdt::count::One>().handles.0
        }
        Err(wdt) => match Watchdog::try_recover::<nrf52840_hal::wdt::count::One>(wdt) {
            Ok(parts) => parts.handles.0,
            // Whoever started it wanted more handles fed than we have.
            Err(_) => wipe_and_reset(),
        },
    }
}

/// Boots the key in its own place: a function of its own, so that what it needs of the stack is free again afterwards.
#[inline(never)]
fn boot(
    aaguid: [u8; 16],
    button: Pin<Input<PullUp>>,
    watchdog: WatchdogHandle<Hdl0>,
    rng: pac::RNG,
    nvmc: pac::NVMC,
) -> &'static mut Key {
    let Ok(rng) = Drbg::new(Noise(Rng::new(rng))) else { fail() };
    let identity = Identity {
        aaguid,
        firmware_version: FIRMWARE_VERSION,
        max_msg_size: MESSAGE_LEN as u16,
        max_discoverable: MAX_DISCOVERABLE as u16,
        long_touch: true,
        ..Identity::default()
    };
    let board = Nrf { rng, identity, button, watchdog };
    let flash = FLASH.init_with(|| Flash::new(Store::new(nvmc)));
    match KEY.init_with(|| Authenticator::boot(flash, Body::new(board))) {
        Ok(key) => key,
        Err(_) => fail(),
    }
}

/// The key does not start: the light says so until the watchdog has had enough, and again after it.
fn fail() -> ! {
    light::show(Pattern::Error);
    loop {
        cortex_m::asm::wfi();
    }
}

/// Turns USB on.
#[inline(never)]
fn start_usb(usbd: pac::USBD, clocks: &'static ClocksOn) -> &'static mut App {
    let Some(application) = brasskey_firmware_app::application() else { wipe_and_reset() };
    let bus = GatedBus::new(Usbd::new(UsbPeripheral::new(usbd, clocks)));
    let allocator = ALLOCATOR.init_with(|| UsbBusAllocator::new(bus));
    let config = DeviceConfig { release: FIRMWARE_VERSION, ..DeviceConfig::default() };
    *USB.borrow_mut() = Usb::new(allocator, &config);
    // SAFETY: as above.
    unsafe { NVIC::unmask(Interrupt::USBD) };
    APPLICATION.init(application)
}

#[interrupt]
fn TIMER0() {
    critical_section::with(|token| {
        let Some(ticker) = &mut *TICK.borrow_ref_mut(token) else { return };
        ticker.timer.reset_event();
        let tick = brasskey_firmware_app::tick();
        // A pin that cannot be set does not exist: the error type is empty.
        if tick.light { ticker.led.set_low() } else { ticker.led.set_high() }.ok();
        if tick.usb {
            NVIC::pend(Interrupt::USBD);
        }
    });
}

#[interrupt]
fn USBD() {
    if let Some(usb) = &mut *USB.borrow_mut() {
        usb.serve();
    }
}

/// The hardware's noise.
struct Noise(Rng);

impl Entropy for Noise {
    fn noise(&mut self, noise: &mut [u8; RAW]) -> Result<(), NoEntropy> {
        self.0.random(noise);
        Ok(())
    }
}

/// The board, as the application sees it.
struct Nrf {
    rng: Drbg<Noise>,
    identity: Identity,
    button: Pin<Input<PullUp>>,
    watchdog: WatchdogHandle<Hdl0>,
}

impl Board for Nrf {
    type Storage = Store;
    type Rng = Drbg<Noise>;

    fn rng(&mut self) -> &mut Drbg<Noise> {
        &mut self.rng
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn button(&mut self) -> Button {
        // As above: the error type is empty.
        if self.button.is_low().unwrap_or(false) { Button::Down } else { Button::Up }
    }

    fn wake_usb(&self) {
        NVIC::pend(Interrupt::USBD);
    }

    fn sleep(&self) {
        cortex_m::asm::wfi();
    }

    fn feed_watchdog(&mut self) {
        self.watchdog.pet();
    }
}

/// Closes the debug port for good, until the whole chip is erased: UICR.APPROTECT (product specification §4.8.2).
#[cfg(feature = "readback-protection")]
fn protect(nvmc: &pac::NVMC) {
    // SAFETY: a read-only look at the user information registers, which always exist.
    let uicr = unsafe { &*pac::UICR::ptr() };
    if uicr.approtect.read().pall().is_enabled() {
        return;
    }
    let wait = || while nvmc.ready.read().ready().is_busy() {};
    nvmc.config.write(|register| register.wen().wen());
    wait();
    uicr.approtect.write(|register| register.pall().enabled());
    wait();
    nvmc.config.write(|register| register.wen().ren());
    wait();
    // It takes effect at the next reset.
    wipe_and_reset()
}
