//! [`GatedBus`]: a USB peripheral with the gate in front of its two FIDO endpoints.
//!
//! A `UsbBus` over a `UsbBus`. The device above it sees an ordinary peripheral; what the class reads and writes
//! on the FIDO endpoints goes through the gate, all other endpoints straight on.

use crate::Link;
use crate::gate::Gate;
use crate::packet::{PACKET_LEN, Packet};
use atomic_refcell::AtomicRefCell;
use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usb_device::{Result, UsbDirection, UsbError};

/// The peripheral that a [`FidoDevice`](crate::FidoDevice) is made on: any [`UsbBus`], with the gate before it.
///
/// usb-device's allocator takes it: `UsbBusAllocator::new(GatedBus::new(bus))`.
pub struct GatedBus<B> {
    bus: B,
    /// Only [`FidoDevice::poll`](crate::FidoDevice::poll) gets here, by way of usb-device or by itself, and never
    /// twice at once: a borrow always succeeds.
    gate: AtomicRefCell<Gate>,
    /// The FIDO endpoints: the interrupt endpoints. Zero, which is the control endpoint's number, until the class
    /// allocates them.
    out_endpoint: EndpointAddress,
    in_endpoint: EndpointAddress,
    /// Which endpoint numbers exist, one bit each.
    endpoints: u16,
}

impl<B: UsbBus> GatedBus<B> {
    /// Puts the gate before `bus`.
    pub fn new(bus: B) -> Self {
        Self {
            bus,
            gate: AtomicRefCell::new(Gate::new()),
            out_endpoint: EndpointAddress::from(0),
            in_endpoint: EndpointAddress::from(0),
            endpoints: 1,
        }
    }

    /// Lets the gate see what came in and sends what it has for the host. Returns whether anything moved.
    pub(crate) fn serve(&self, now: u64, link: &Link) -> bool {
        let mut gate = self.gate.borrow_mut();
        gate.pace(now);
        self.send(&mut gate);
        gate.serve(now, link);
        self.send(&mut gate);
        gate.take_moved()
    }

    pub(crate) fn gate<R>(&self, look: impl FnOnce(&mut Gate) -> R) -> R {
        look(&mut self.gate.borrow_mut())
    }

    /// Sends until the peripheral is busy. Whatever stopped it, the packet stays first and is tried again at the
    /// next event.
    fn send(&self, gate: &mut Gate) {
        while let Some(packet) = gate.next_reply() {
            if self.bus.write(self.in_endpoint, &packet.0).is_err() {
                return;
            }
            gate.reply_left();
        }
    }

    fn receive(&self, gate: &mut Gate) {
        let mut bytes = [0; PACKET_LEN];
        if let Ok(length) = self.bus.read(self.out_endpoint, &mut bytes) {
            gate.arrived((length == PACKET_LEN).then_some(Packet(bytes)));
        }
    }

    fn exists(&self, address: EndpointAddress) -> bool {
        self.endpoints & bit(address) != 0
    }
}

/// An endpoint's bit in what [`UsbBus::poll`] returns.
fn bit(address: EndpointAddress) -> u16 {
    1u16.checked_shl(address.index() as u32).unwrap_or(0)
}

impl<B: UsbBus> UsbBus for GatedBus<B> {
    const QUIRK_SET_ADDRESS_BEFORE_STATUS: bool = B::QUIRK_SET_ADDRESS_BEFORE_STATUS;

    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        address: Option<EndpointAddress>,
        ep_type: EndpointType,
        max_packet_size: u16,
        interval: u8,
    ) -> Result<EndpointAddress> {
        let address = self.bus.alloc_ep(direction, address, ep_type, max_packet_size, interval)?;
        self.endpoints |= bit(address);
        let fido = match direction {
            UsbDirection::Out => &mut self.out_endpoint,
            UsbDirection::In => &mut self.in_endpoint,
        };
        if ep_type == EndpointType::Interrupt {
            *fido = address;
        }
        Ok(address)
    }

    fn enable(&mut self) {
        self.bus.enable();
    }

    fn reset(&self) {
        self.gate.borrow_mut().reset();
        self.bus.reset();
    }

    fn set_device_address(&self, address: u8) {
        self.bus.set_device_address(address);
    }

    fn write(&self, address: EndpointAddress, packet: &[u8]) -> Result<usize> {
        if address != self.in_endpoint {
            return self.bus.write(address, packet);
        }
        let bytes = packet.try_into().map_err(|_| UsbError::BufferOverflow)?;
        if self.gate.borrow_mut().class_writes(Packet(bytes)) {
            Ok(PACKET_LEN)
        } else {
            Err(UsbError::WouldBlock)
        }
    }

    fn read(&self, address: EndpointAddress, buffer: &mut [u8]) -> Result<usize> {
        if address == self.out_endpoint && address.index() != 0 {
            let packet = self.gate.borrow_mut().class_reads().ok_or(UsbError::WouldBlock)?;
            buffer.get_mut(..PACKET_LEN).ok_or(UsbError::BufferOverflow)?.copy_from_slice(&packet.0);
            return Ok(PACKET_LEN);
        }
        if !buffer.is_empty() {
            return self.bus.read(address, buffer);
        }
        // usb-device drops a packet of endpoint 0 by reading it into nothing. A peripheral may refuse that and
        // offer the packet for ever.
        self.bus.read(address, &mut [0; PACKET_LEN]).map(|_| 0)
    }

    fn set_stalled(&self, address: EndpointAddress, stalled: bool) {
        // SET_FEATURE(ENDPOINT_HALT) takes any number, and a peripheral may index with it.
        if self.exists(address) {
            self.bus.set_stalled(address, stalled);
        }
    }

    fn is_stalled(&self, address: EndpointAddress) -> bool {
        self.exists(address) && self.bus.is_stalled(address)
    }

    fn suspend(&self) {
        self.bus.suspend();
    }

    fn resume(&self) {
        self.bus.resume();
    }

    /// The peripheral's events, but for the host's FIDO packets: the gate reads them, one at a time, and the class
    /// hears of one when the gate has it ready.
    fn poll(&self) -> PollResult {
        let result = self.bus.poll();
        let mut gate = self.gate.borrow_mut();
        let (mut ep_out, ep_in_complete, ep_setup) = match result {
            PollResult::Data { ep_out, ep_in_complete, ep_setup } => (ep_out, ep_in_complete, ep_setup),
            PollResult::None if !gate.is_suspended() => (0, 0, 0),
            PollResult::None => return PollResult::None,
            PollResult::Suspend => {
                gate.set_suspended(true);
                return PollResult::Suspend;
            }
            PollResult::Resume | PollResult::Reset => {
                gate.set_suspended(false);
                return result;
            }
        };
        gate.set_suspended(false);
        let fido_out = bit(self.out_endpoint);
        if ep_out & fido_out != 0 && gate.wants_packet() {
            self.receive(&mut gate);
        }
        ep_out &= !fido_out;
        if gate.has_packet_for_class() {
            ep_out |= fido_out;
        }
        if ep_out | ep_in_complete | ep_setup == 0 {
            return PollResult::None;
        }
        PollResult::Data { ep_out, ep_in_complete, ep_setup }
    }

    fn force_reset(&self) -> Result<()> {
        self.bus.force_reset()
    }
}
