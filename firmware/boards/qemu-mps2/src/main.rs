//! The emulated board: QEMU's `mps2-an386`, a Cortex-M4F (Arm application note AN386).
//!
//! It runs the whole application, and everything that QEMU has no hardware for crosses a serial line
//! (`brasskey-board-wire`): USB packets, the finger, and the seed of the random generator, which therefore is as good
//! as the program at the other end, `brasskey run --firmware`. The flash is RAM that QEMU keeps in a file.
//!
//! [`line`] is the serial line, [`bus`] the USB peripheral, [`flash`] the flash, [`measure`] what a command costs.
#![no_std]
#![no_main]

mod bus;
mod flash;
mod line;
mod measure;

use atomic_refcell::AtomicRefCell;
use brasskey_authenticator::{
    AttestationPolicy, Authenticator, BootError, Flash, Identity, MAX_DISCOVERABLE, Operation,
};
use brasskey_board_wire::{Frame, Start, VERSION};
use brasskey_firmware_app::random::{Drbg, Entropy, NoEntropy, RAW};
use brasskey_firmware_app::touch::Button;
use brasskey_firmware_app::{App, Board, Body, MESSAGE_LEN, Usb};
use brasskey_usb::{DeviceConfig, GatedBus};
use bus::LineBus;
use cortex_m::peripheral::NVIC;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use flash::Psram;
use measure::Measured;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use static_cell::StaticCell;
use usb_device::bus::UsbBusAllocator;

/// The processor's clock, which SysTick counts, in cycles a millisecond: 25 MHz.
const CYCLES_PER_MS: u32 = 25_000;

/// This board's AAGUID: 496d54e0-bf01-4196-861c-146d5cfb2f43, a random UUID.
const AAGUID: [u8; 16] = 0x496d_54e0_bf01_4196_861c_146d_5cfb_2f43_u128.to_be_bytes();

static FLASH: StaticCell<Flash<Psram>> = StaticCell::new();
type Mps2Key = Authenticator<'static, Body<Mps2>>;
static KEY: StaticCell<Result<Mps2Key, BootError>> = StaticCell::new();
static APPLICATION: StaticCell<App> = StaticCell::new();
static ALLOCATOR: StaticCell<UsbBusAllocator<GatedBus<LineBus>>> = StaticCell::new();
/// Used by the UART's interrupt alone, once that is unmasked.
static USB: AtomicRefCell<Option<Usb<LineBus>>> = AtomicRefCell::new(None);

#[entry]
fn main() -> ! {
    brasskey_firmware_app::memory::paint_stack();
    brasskey_firmware_app::set_panic_hook(|location| line::panicked(location));
    // The only taker, right after the reset.
    let Some(mut peripherals) = cortex_m::Peripherals::take() else { reset() };
    peripherals.SYST.set_clock_source(SystClkSource::Core);
    peripherals.SYST.set_reload(CYCLES_PER_MS - 1);
    peripherals.SYST.clear_current();
    peripherals.SYST.enable_counter();
    peripherals.SYST.enable_interrupt();

    line::enable();
    // SAFETY: the handler takes frames from here on, and finds no USB device yet. Nothing relies on it being masked.
    unsafe { NVIC::unmask(line::UART0_RX) };
    line::send(&Frame::Hello(VERSION));
    let start = line::wait_for_start();

    if start.bench {
        measure::bare_p256(start.seed);
    }
    let boot = measure::Meter::start();
    let mut key = Measured::new(boot_key(start));
    let application = start_usb();
    boot.end(brasskey_board_wire::Measured::BOOT, 0);
    line::send(&Frame::Ready);
    brasskey_firmware_app::run(application, &mut key)
}

/// Boots the key, in its own place: a function of its own, so that what it needs of the stack is free again afterwards.
#[inline(never)]
fn boot_key(start: Start) -> &'static mut Mps2Key {
    let flash = FLASH.init_with(|| Flash::new(Psram));
    let board = match Mps2::new(start) {
        Ok(board) => board,
        Err(NoEntropy) => fail("the random generator was refused: the seed is not random"),
    };
    match KEY.init_with(|| Authenticator::boot(flash, Body::new(board))) {
        Ok(key) => key,
        Err(error) => {
            let mut text = line::Text::new();
            // Cut where the frame ends.
            core::fmt::Write::write_fmt(&mut text, format_args!("{error}")).ok();
            fail(text.as_str())
        }
    }
}

/// Turns USB on.
#[inline(never)]
fn start_usb() -> &'static mut App {
    let Some(application) = brasskey_firmware_app::application() else { reset() };
    let allocator = ALLOCATOR.init_with(|| UsbBusAllocator::new(GatedBus::new(LineBus::default())));
    let config = DeviceConfig { release: FIRMWARE_VERSION, ..DeviceConfig::default() };
    NVIC::mask(line::UART0_RX);
    *USB.borrow_mut() = Usb::new(allocator, &config);
    // SAFETY: the device is where the handler looks for it, and nobody else does from here on.
    unsafe { NVIC::unmask(line::UART0_RX) };
    APPLICATION.init(application)
}

/// getInfo's `firmwareVersion` and the USB device's `bcdDevice`: 0x0010 is version 0.1.0.
const FIRMWARE_VERSION: u16 = 0x0010;

/// Says why the key does not boot, and waits to be turned off.
fn fail(why: &str) -> ! {
    line::send(&Frame::Failed(why));
    loop {
        cortex_m::asm::wfi();
    }
}

fn reset() -> ! {
    brasskey_firmware_app::memory::wipe_and_reset()
}

#[exception]
fn SysTick() {
    // The light is not connected to anything.
    if brasskey_firmware_app::tick().usb {
        NVIC::pend(line::UART0_RX);
    }
}

/// A byte came, or USB is to be served for another reason.
fn serve_line() {
    line::receive();
    if let Some(usb) = &mut *USB.borrow_mut() {
        usb.serve();
    }
    line::say_idle();
}

/// Noise from the seed that crossed the line.
struct Seeded(ChaCha20Rng);

impl Entropy for Seeded {
    fn noise(&mut self, noise: &mut [u8; RAW]) -> Result<(), NoEntropy> {
        self.0.fill_bytes(noise);
        Ok(())
    }
}

struct Mps2 {
    rng: Drbg<Seeded>,
    identity: Identity,
    /// Cycles that were spent waiting for a touch since this was last taken.
    waited: measure::Waited,
}

impl Mps2 {
    fn new(start: Start) -> Result<Self, NoEntropy> {
        let attestation = match start.attestation {
            1 => AttestationPolicy::SelfSigned,
            2 => AttestationPolicy::None,
            _ => AttestationPolicy::Packed,
        };
        let identity = Identity {
            aaguid: AAGUID,
            firmware_version: FIRMWARE_VERSION,
            max_msg_size: MESSAGE_LEN as u16,
            max_discoverable: MAX_DISCOVERABLE as u16,
            attestation,
            long_touch: true,
            ..Identity::default()
        };
        let rng = Drbg::new(Seeded(ChaCha20Rng::from_seed(start.seed)))?;
        Ok(Self { rng, identity, waited: measure::Waited::default() })
    }
}

impl Board for Mps2 {
    type Storage = Psram;
    type Rng = Drbg<Seeded>;

    fn rng(&mut self) -> &mut Drbg<Seeded> {
        &mut self.rng
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn button(&mut self) -> Button {
        line::button()
    }

    fn wake_usb(&self) {
        NVIC::pend(line::UART0_RX);
    }

    fn sleep(&self) {
        cortex_m::asm::wfi();
    }

    fn prompt(&mut self, prompt: &brasskey_authenticator::Prompt<'_>, polled: bool) {
        if !polled {
            self.waited.begin();
        }
        let operation = match prompt.operation {
            Operation::Register => 1,
            Operation::Authenticate => 2,
            Operation::Select => 3,
            Operation::Reset => 4,
            Operation::Verify => 5,
            Operation::Enroll => 6,
            _ => 0,
        };
        line::send(&Frame::Prompt(brasskey_board_wire::Prompt {
            operation,
            polled,
            long: prompt.long_touch,
            rp_id_hash: prompt.rp_id_hash,
            rp_id: prompt.rp_id,
            user: prompt.user,
        }));
    }

    fn prompt_over(&mut self) {
        line::send(&Frame::PromptOver);
        self.waited.end();
    }

    fn winks(&mut self) {
        line::send(&Frame::Wink);
    }
}
