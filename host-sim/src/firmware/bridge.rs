//! [`BoardOnBus`]: the far end of the board's USB cable, as a [`Device`] on a [`UsbIpBus`].
//!
//! It does nothing but to carry packets: what the bus has for a device goes to the board, what the board writes goes
//! to the bus. The rules of the line are in `brasskey-board-wire`.

use super::qemu::{Line, PoweredBoard, Ring};
use crate::presence::{Inquiry, PresencePolicy};
use crate::usbip::bus::UsbIpBus;
use crate::usbip::session::Device;
use brasskey_authenticator::{Operation, Prompt};
use brasskey_board_wire::{self as wire, Finger, Frame, MAX_PACKET};
use std::sync::Arc;
use usb_device::UsbDirection;
use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};

/// CTAPHID_KEEPALIVE in the fifth byte of a packet, and the status that asks for a touch in the eighth (CTAP 2.3
/// §11.2.9.1.5).
const KEEPALIVE: u8 = 0xBB;
const UPNEEDED: u8 = 0x02;

/// The board's endpoints: 0, and the FIDO interface's.
const ENDPOINTS: usize = 2;

/// The touch that the board waits for.
struct Wanted {
    inquiry: Inquiry,
    /// The host has heard of it.
    told: bool,
    /// The button has been pressed, or refused.
    answered: bool,
}

/// What the packets that are on their way are about.
#[derive(Default)]
struct Flow {
    /// RESETs and SETUPs that the board has not seen yet.
    unseen_resets: u32,
    unseen_setups: u32,
    /// The board's OUT buffer is full.
    full: [bool; ENDPOINTS],
    /// An OUT packet of endpoint 0 waits; the bus tells of it once.
    control_out: bool,
}

/// An attached board.
pub(crate) struct BoardOnBus<'p> {
    bus: UsbIpBus,
    line: &'p mut Line,
    ring: Arc<Ring>,
    policy: PresencePolicy,
    flow: Flow,
    wanted: Option<Wanted>,
}

impl<'p> BoardOnBus<'p> {
    /// Plugs the board into the bus. `None` if the bus has no room for its endpoints.
    pub(crate) fn new(mut bus: UsbIpBus, board: &'p mut PoweredBoard<'_>) -> Option<Self> {
        use UsbDirection::{In, Out};
        let policy = board.options().presence;
        for direction in [Out, In] {
            let kinds = [(0, EndpointType::Control), (1, EndpointType::Interrupt)];
            for (number, kind) in kinds {
                let address = EndpointAddress::from_parts(number, direction);
                bus.alloc_ep(direction, Some(address), kind, MAX_PACKET as u16, 5).ok()?;
            }
        }
        bus.enable();
        let line = &mut board.line;
        let ring = Arc::new(line.bell());
        Some(Self { bus, line, ring, policy, flow: Flow::default(), wanted: None })
    }

    /// Everything that the board sent since the last look.
    fn take_from_board(&mut self) {
        let Self { bus, line, flow, wanted, policy, ring, .. } = self;
        let received = line.receive(|line, frame| match frame {
            Frame::Seen(false) => flow.unseen_resets = flow.unseen_resets.saturating_sub(1),
            Frame::Seen(true) => flow.unseen_setups = flow.unseen_setups.saturating_sub(1),
            Frame::Prompt(prompt) => {
                let ring = Arc::clone(ring);
                let inquiry = Inquiry::new(*policy, &prompt_of(&prompt), move || ring.ring());
                // A host that polls needs no keep-alive to know.
                *wanted = Some(Wanted { inquiry, told: prompt.polled, answered: false });
            }
            Frame::PromptOver => {
                *wanted = None;
                line.send(&Frame::Button(Finger::Up));
            }
            Frame::Wink => tracing::info!("wink"),
            // Of a time before the last reset, or of a control transfer that is over.
            Frame::In(..) | Frame::Read(_) | Frame::Stall(..) if flow.unseen_resets != 0 => {}
            Frame::In(0, _) | Frame::Read(0) | Frame::Stall(0 | 0x80, _) if flow.unseen_setups != 0 => {}
            Frame::In(number, packet) => {
                let address = EndpointAddress::from_parts(usize::from(number), UsbDirection::In);
                if let Err(error) = bus.write(address, packet) {
                    tracing::debug!("a packet of endpoint {number} that nobody takes: {error:?}");
                }
            }
            Frame::Read(number) => {
                if let Some(full) = flow.full.get_mut(usize::from(number)) {
                    *full = false;
                }
            }
            Frame::Stall(address, stalled) => bus.set_stalled(EndpointAddress::from(address), stalled),
            frame => tracing::debug!("the board sent {frame:?}"),
        });
        if let Err(error) = received {
            // Nothing that comes later makes sense either; the host will see a device that does not answer.
            tracing::error!("the board does not speak the protocol: {error:?}");
        }
    }

    /// Everything that the bus has for the board and that has room there. Returns whether there was something.
    fn give_to_board(&mut self) -> bool {
        let Self { bus, line, flow, .. } = self;
        let mut moved = false;
        let (ep_out, ep_in_complete, ep_setup) = match bus.poll() {
            PollResult::Reset => {
                bus.reset();
                *flow = Flow { unseen_resets: flow.unseen_resets + 1, ..Flow::default() };
                line.send(&Frame::Reset);
                return true;
            }
            PollResult::Data { ep_out, ep_in_complete, ep_setup } => (ep_out, ep_in_complete, ep_setup),
            PollResult::None | PollResult::Resume | PollResult::Suspend => (0, 0, 0),
        };
        for number in (0..ENDPOINTS).filter(|number| ep_in_complete & (1 << number) != 0) {
            line.send(&Frame::Taken(number as u8)); // 0 or 1
            moved = true;
        }
        let mut packet = [0; MAX_PACKET];
        let control = EndpointAddress::from_parts(0, UsbDirection::Out);
        if ep_setup & 1 != 0 {
            let setup = bus.read(control, &mut packet).ok().and_then(|_| packet.first_chunk());
            if let Some(setup) = setup {
                flow.unseen_setups += 1;
                flow.full[0] = false;
                flow.control_out = false;
                line.send(&Frame::Setup(setup));
                moved = true;
            }
        }
        flow.control_out |= ep_out & 1 != 0;
        for number in 0..ENDPOINTS {
            let waits = if number == 0 { flow.control_out } else { ep_out & (1 << number) != 0 };
            if !waits || flow.full[number] {
                continue;
            }
            if number == 0 {
                flow.control_out = false;
            }
            let address = EndpointAddress::from_parts(number, UsbDirection::Out);
            if let Ok(length) = bus.read(address, &mut packet) {
                flow.full[number] = true;
                line.send(&Frame::Out(number as u8, &packet[..length])); // 0 or 1
                moved = true;
            }
        }
        moved
    }

    fn press(&mut self) {
        if let Some(wanted) = &mut self.wanted
            && !wanted.answered
            && let Some(granted) = wanted.inquiry.answer(wanted.told)
        {
            wanted.answered = true;
            let finger = if granted { Finger::Down } else { Finger::Refuses };
            self.line.send(&Frame::Button(finger));
        }
    }
}

/// The prompt as the terminal shows it.
fn prompt_of<'a>(prompt: &wire::Prompt<'a>) -> Prompt<'a> {
    let operation = match prompt.operation {
        1 => Operation::Register,
        2 => Operation::Authenticate,
        3 => Operation::Select,
        4 => Operation::Reset,
        5 => Operation::Verify,
        _ => Operation::Enroll,
    };
    let wire::Prompt { rp_id_hash, rp_id, user, long, .. } = *prompt;
    Prompt { operation, rp_id, rp_id_hash, user, long_touch: long }
}

impl Device for BoardOnBus<'_> {
    fn poll(&mut self, _now_ms: u64) -> Option<u64> {
        self.take_from_board();
        while self.give_to_board() {}
        self.press();
        None
    }

    /// A control transfer that is unanswered while the board is at work may yet be answered.
    fn is_busy(&self) -> bool {
        self.line.is_busy()
    }

    fn delivered(&mut self, packet: &[u8]) {
        if let ([_, _, _, _, KEEPALIVE, _, _, UPNEEDED, ..], Some(wanted)) = (packet, &mut self.wanted) {
            wanted.told = true;
            self.press();
        }
    }
}
