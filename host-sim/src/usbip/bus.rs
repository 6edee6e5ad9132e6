//! [`UsbIpBus`]: a [`UsbBus`] whose wire is a queue of USB/IP transfers.
//!
//! The connection puts transfers in ([`UsbIpBus::submit`], [`UsbIpBus::unlink`]) and takes answers out
//! ([`UsbIpBus::take_completions`]); the device on the other side sees the packets of a USB peripheral. There
//! is no clock and no thread here, and nothing blocks.
//!
//! Handles are clones of one bus, so that the connection keeps one when usb-device's allocator has swallowed
//! the other. They are used by one task at a time; the mutex is never contended and stands for the interior
//! mutability that [`UsbBus`] asks for.
//!
//! An interrupt transfer is one packet: an IN URB ends with the first report, whatever room it has left, for a
//! report is what the host waits for.

use super::completion::Completion;
use super::control::{ControlPipe, PACKET_LEN, copy_packet};
use super::protocol::{Direction, Status, Submit};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usb_device::{Result, UsbDirection, UsbError};

/// How many endpoint numbers there are.
const ENDPOINTS: usize = 16;

/// SET_FEATURE(PORT_RESET) to a hub port: what a host of USB/IP sends when it means a reset of the device
/// (Linux `drivers/usb/usbip/stub_rx.c`, `is_reset_device_cmd`).
const PORT_RESET: [u8; 4] = [0x23, 0x03, 0x04, 0x00];

/// An endpoint other than 0, one direction.
#[derive(Debug)]
struct Endpoint {
    max_packet_len: usize,
    stalled: bool,
    /// Transfers that wait: OUT for the device to read, IN for the device to have something.
    queue: VecDeque<Submit>,
    /// OUT: how much of the first transfer the device has read.
    sent: usize,
    /// IN: a packet that the device has written and no host has asked for.
    packet: Option<Vec<u8>>,
    /// IN: a packet went out and the device does not know yet.
    in_complete: bool,
}

impl Endpoint {
    fn new(max_packet_len: usize) -> Self {
        Self {
            max_packet_len,
            stalled: false,
            queue: VecDeque::new(),
            sent: 0,
            packet: None,
            in_complete: false,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    control: ControlPipe,
    /// Control transfers that wait for the one that runs.
    control_queue: VecDeque<Submit>,
    outs: [Option<Endpoint>; ENDPOINTS],
    ins: [Option<Endpoint>; ENDPOINTS],
    reset: bool,
    enabled: bool,
    completions: Vec<Completion>,
}

/// A USB peripheral whose host is at the other end of a USB/IP connection.
#[derive(Clone, Debug, Default)]
pub struct UsbIpBus(Arc<Mutex<State>>);

/// What waits on a bus.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pending {
    /// Transfers that are not answered.
    pub transfers: usize,
    /// The bytes that they carry.
    pub bytes: usize,
}

impl UsbIpBus {
    /// A bus with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves queues of plain values, which are as good as before.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a transfer from the host. Drive the device afterwards, then call [`Self::settle`].
    pub fn submit(&self, submit: Submit) {
        self.state().submit(submit);
    }

    /// Takes a transfer back: [`Status::UNLINKED`] if it was still waiting, [`Status::OK`] if it was answered
    /// already, or never sent.
    pub fn unlink(&self, seqnum: u32) -> Status {
        if self.state().take_back(seqnum) { Status::UNLINKED } else { Status::OK }
    }

    /// Tells the bus that the device has done all it can for now. Returns `true` if it is to be driven again.
    ///
    /// A control transfer that the device has seen and not answered is stalled; then the next one starts. A
    /// device that stopped before it had seen everything (usb-device stops after a reset) gets another turn.
    pub fn settle(&self) -> bool {
        let mut state = self.state();
        if state.enabled && (state.reset || state.control.has_news()) {
            return true;
        }
        let unanswered = state.control.quiet();
        state.completions.extend(unanswered);
        state.start_control();
        state.enabled && (state.reset || !state.control.is_idle())
    }

    /// Takes what was answered since the last call, in order.
    pub fn take_completions(&self) -> Vec<Completion> {
        std::mem::take(&mut self.state().completions)
    }

    /// What waits for the device, or for something to come from it.
    pub fn pending(&self) -> Pending {
        let state = self.state();
        let endpoints = state.outs.iter().chain(&state.ins).flatten().flat_map(|endpoint| &endpoint.queue);
        let all = endpoints.chain(&state.control_queue).chain(state.control.running());
        all.fold(Pending::default(), |sum, submit| Pending {
            transfers: sum.transfers + 1,
            bytes: sum.bytes + submit.data.len(),
        })
    }
}

impl State {
    fn submit(&mut self, submit: Submit) {
        if submit.endpoint == 0 {
            self.control_queue.push_back(submit);
            self.start_control();
            return;
        }
        let side = match submit.direction {
            Direction::Out => &mut self.outs,
            Direction::In => &mut self.ins,
        };
        let number = usize::try_from(submit.endpoint).unwrap_or(usize::MAX);
        match side.get_mut(number).and_then(Option::as_mut) {
            None => self.completions.push(Completion::failed(&submit, Status::NO_ENDPOINT)),
            Some(endpoint) if endpoint.stalled => {
                self.completions.push(Completion::failed(&submit, Status::STALL));
            }
            Some(endpoint) => {
                endpoint.queue.push_back(submit);
                self.completions.extend(endpoint.match_in());
            }
        }
    }

    fn start_control(&mut self) {
        while self.control.is_idle() {
            let Some(submit) = self.control_queue.pop_front() else { return };
            if submit.setup[..4] == PORT_RESET {
                self.reset = true;
                self.completions.push(Completion::failed(&submit, Status::OK));
                continue;
            }
            self.completions.extend(self.control.start(submit));
        }
    }

    fn take_back(&mut self, seqnum: u32) -> bool {
        if self.control.take_back(seqnum) {
            self.start_control();
            return true;
        }
        let endpoints = self.outs.iter_mut().chain(&mut self.ins).flatten();
        let queues = endpoints.map(|endpoint| (&mut endpoint.queue, Some(&mut endpoint.sent)));
        for (queue, sent) in queues.chain([(&mut self.control_queue, None)]) {
            if let Some(at) = queue.iter().position(|submit| submit.seqnum == seqnum) {
                queue.remove(at);
                if let (0, Some(sent)) = (at, sent) {
                    *sent = 0;
                }
                return true;
            }
        }
        false
    }

    fn endpoint(&mut self, address: EndpointAddress) -> Result<&mut Endpoint> {
        let side = match address.direction() {
            UsbDirection::Out => &mut self.outs,
            UsbDirection::In => &mut self.ins,
        };
        side.get_mut(address.index()).and_then(Option::as_mut).ok_or(UsbError::InvalidEndpoint)
    }
}

impl Endpoint {
    /// IN: hands the waiting packet to the transfer that waits for it, if both are there.
    fn match_in(&mut self) -> Option<Completion> {
        if self.queue.is_empty() {
            return None;
        }
        let packet = self.packet.take()?;
        let submit = self.queue.pop_front()?;
        self.in_complete = true;
        Some(Completion::received(&submit, packet))
    }

    /// OUT: the device reads a packet of the first transfer.
    fn read(&mut self, buf: &mut [u8]) -> (Result<usize>, Option<Completion>) {
        if self.stalled {
            return (Err(UsbError::WouldBlock), None);
        }
        let Some(submit) = self.queue.front() else { return (Err(UsbError::WouldBlock), None) };
        let end = submit.data.len().min(self.sent + self.max_packet_len);
        let read = copy_packet(buf, &submit.data[self.sent..end]);
        self.sent = end;
        if end < submit.data.len() {
            return (read, None);
        }
        self.sent = 0;
        let done = self.queue.pop_front().map(|submit| Completion::sent(&submit, submit.data.len()));
        (read, done)
    }
}

impl UsbBus for UsbIpBus {
    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        address: Option<EndpointAddress>,
        ep_type: EndpointType,
        max_packet_size: u16,
        _interval: u8,
    ) -> Result<EndpointAddress> {
        if matches!(ep_type, EndpointType::Isochronous { .. }) {
            return Err(UsbError::Unsupported);
        }
        let mut state = self.state();
        if ep_type == EndpointType::Control {
            return match address {
                Some(address) if address.index() == 0 && usize::from(max_packet_size) == PACKET_LEN => {
                    Ok(address)
                }
                _ => Err(UsbError::Unsupported),
            };
        }
        let side = match direction {
            UsbDirection::Out => &mut state.outs,
            UsbDirection::In => &mut state.ins,
        };
        let index = match address {
            Some(address) => address.index(),
            None => (1..ENDPOINTS).find(|&index| side[index].is_none()).ok_or(UsbError::EndpointOverflow)?,
        };
        let slot = side.get_mut(index).filter(|_| index != 0).ok_or(UsbError::InvalidEndpoint)?;
        if slot.is_some() {
            return Err(UsbError::InvalidEndpoint);
        }
        *slot = Some(Endpoint::new(usize::from(max_packet_size)));
        Ok(EndpointAddress::from_parts(index, direction))
    }

    fn enable(&mut self) {
        let mut state = self.state();
        state.enabled = true;
        state.reset = true;
    }

    fn reset(&self) {
        let mut state = self.state();
        // A reset stands before whatever control transfer was started since: that one goes on.
        let State { outs, ins, .. } = &mut *state;
        for endpoint in outs.iter_mut().chain(ins).flatten() {
            endpoint.stalled = false;
            endpoint.packet = None;
            endpoint.in_complete = false;
            endpoint.sent = 0;
        }
    }

    fn set_device_address(&self, _address: u8) {
        // The host controller of the client keeps addresses; they do not cross the network.
    }

    fn write(&self, address: EndpointAddress, packet: &[u8]) -> Result<usize> {
        let mut state = self.state();
        if address.index() == 0 {
            let (written, done) = state.control.write(packet);
            state.completions.extend(done);
            return written;
        }
        let endpoint = state.endpoint(address)?;
        if packet.len() > endpoint.max_packet_len {
            return Err(UsbError::BufferOverflow);
        }
        if endpoint.packet.is_some() || endpoint.stalled {
            return Err(UsbError::WouldBlock);
        }
        endpoint.packet = Some(packet.to_vec());
        let done = endpoint.match_in();
        state.completions.extend(done);
        Ok(packet.len())
    }

    fn read(&self, address: EndpointAddress, buf: &mut [u8]) -> Result<usize> {
        let mut state = self.state();
        if address.index() == 0 {
            let (read, done) = state.control.read(buf);
            state.completions.extend(done);
            return read;
        }
        let (read, done) = state.endpoint(address)?.read(buf);
        state.completions.extend(done);
        read
    }

    fn set_stalled(&self, address: EndpointAddress, stalled: bool) {
        let mut state = self.state();
        if address.index() == 0 {
            let done = if stalled { state.control.stall() } else { None };
            state.completions.extend(done);
            return;
        }
        let Ok(endpoint) = state.endpoint(address) else { return };
        endpoint.stalled = stalled;
        if stalled {
            endpoint.packet = None;
            endpoint.sent = 0;
            let queue = std::mem::take(&mut endpoint.queue);
            state.completions.extend(queue.iter().map(|submit| Completion::failed(submit, Status::STALL)));
        }
    }

    fn is_stalled(&self, address: EndpointAddress) -> bool {
        self.state().endpoint(address).is_ok_and(|endpoint| endpoint.stalled)
    }

    fn suspend(&self) {}

    fn resume(&self) {}

    /// What the device should look at. A packet of an OUT endpoint is reported until it is read, as by the
    /// hardware; an endpoint-0 packet once.
    fn poll(&self) -> PollResult {
        let mut state = self.state();
        if !state.enabled {
            return PollResult::None;
        }
        if std::mem::take(&mut state.reset) {
            return PollResult::Reset;
        }
        let control = state.control.poll();
        let mut ep_out = u16::from(control.out);
        let mut ep_in_complete = u16::from(control.in_complete);
        for (index, endpoint) in state.outs.iter().enumerate() {
            let waits =
                endpoint.as_ref().is_some_and(|endpoint| !endpoint.queue.is_empty() && !endpoint.stalled);
            ep_out |= u16::from(waits) << index;
        }
        for (index, endpoint) in state.ins.iter_mut().enumerate() {
            let done = endpoint.as_mut().is_some_and(|endpoint| std::mem::take(&mut endpoint.in_complete));
            ep_in_complete |= u16::from(done) << index;
        }
        if !control.setup && ep_out == 0 && ep_in_complete == 0 {
            return PollResult::None;
        }
        PollResult::Data { ep_out, ep_in_complete, ep_setup: u16::from(control.setup) }
    }
}

#[cfg(test)]
mod tests;
