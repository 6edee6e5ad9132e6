//! USB, served from an interrupt.

use brasskey_usb::{Channel, DeviceConfig, FidoDevice, GatedBus, Link, Responder};
use core::cell::Cell;
use critical_section::Mutex;
use usb_device::bus::{UsbBus, UsbBusAllocator};

use crate::light::Pattern;
use crate::{clock, light};

/// The longest CTAPHID message, in bytes; getInfo's maxMsgSize.
///
/// It is in memory three times, and thrice more on the stack while a request is handed over.
pub const MESSAGE_LEN: usize = 2048;

static CHANNEL: Channel<MESSAGE_LEN> = Channel::new();

/// What the two sides tell each other beside messages.
pub static LINK: Link = Link::new();

/// When USB wants to be served although nothing has happened.
static DEADLINE_MS: Mutex<Cell<Option<u64>>> = Mutex::new(Cell::new(None));

/// The application's end of the channel. `None` the second time.
pub(crate) fn responder() -> Option<Responder<'static, MESSAGE_LEN>> {
    CHANNEL.responder()
}

/// The USB device. It belongs to one interrupt.
pub struct Usb<B: UsbBus + 'static> {
    device: FidoDevice<'static, B, MESSAGE_LEN>,
}

impl<B: UsbBus> Usb<B> {
    /// Makes the device and turns the peripheral on. `None` the second time.
    ///
    /// Panics as [`FidoDevice::new`].
    pub fn new(
        allocator: &'static UsbBusAllocator<GatedBus<B>>,
        config: &DeviceConfig<'static>,
    ) -> Option<Self> {
        let requester = CHANNEL.requester()?;
        Some(Self { device: FidoDevice::new(allocator, requester, &LINK, config) })
    }

    /// Serves USB. For the peripheral's interrupt, which the tick and the main loop make pending.
    pub fn serve(&mut self) {
        // A request that is ready needs no word: every interrupt ends the main loop's sleep.
        let deadline = self.device.poll(clock::now_ms()).deadline;
        critical_section::with(|token| DEADLINE_MS.borrow(token).set(deadline));
    }
}

/// What the board has to do after a tick.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tick {
    /// Whether the light is on.
    pub light: bool,
    /// The pattern that it follows, for a board with colours.
    pub pattern: Pattern,
    /// Make the interrupt pending in which USB is served.
    pub usb: bool,
}

/// A millisecond has passed. For the board's timer interrupt.
pub fn tick() -> Tick {
    let now_ms = clock::advance();
    let deadline = critical_section::with(|token| DEADLINE_MS.borrow(token).get());
    let pattern = light::now(now_ms);
    let usb = deadline.is_some_and(|deadline| deadline <= now_ms);
    Tick { light: pattern.is_on(now_ms as u32), pattern, usb }
}
