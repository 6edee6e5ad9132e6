//! A USB peripheral in memory, as strict as hardware: one packet in the air per endpoint, a read into a buffer
//! that is too small fails and leaves the packet where it is, an endpoint that was never allocated is a panic.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usb_device::{Result, UsbDirection, UsbError};

#[derive(Debug, Default)]
struct Out {
    packets: VecDeque<Vec<u8>>,
    stalled: bool,
}

#[derive(Debug, Default)]
struct In {
    packet: Option<Vec<u8>>,
    complete: bool,
    stalled: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Index 0 is the control endpoint, 1 the FIDO one.
    outs: Vec<Out>,
    ins: Vec<In>,
    setup: Option<[u8; 8]>,
    event: Option<Event>,
    event_after_read: Option<Event>,
    write_error: Option<UsbError>,
    writes: usize,
}

#[derive(Clone, Copy, Debug)]
pub enum Event {
    Reset,
    Suspend,
    Resume,
}

/// Clones are handles of one bus.
#[derive(Clone, Debug, Default)]
pub struct MemBus(Arc<Mutex<State>>);

impl MemBus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The host sends; the packet waits until the device reads it.
    pub fn host_sends(&self, endpoint: usize, packet: &[u8]) {
        self.state().outs[endpoint].packets.push_back(packet.to_vec());
    }

    /// How many packets of the host the device has not read.
    pub fn unread(&self, endpoint: usize) -> usize {
        self.state().outs[endpoint].packets.len()
    }

    /// The host asks for a packet.
    pub fn host_takes(&self, endpoint: usize) -> Option<Vec<u8>> {
        let mut state = self.state();
        let endpoint = &mut state.ins[endpoint];
        let packet = endpoint.packet.take()?;
        endpoint.complete = true;
        Some(packet)
    }

    pub fn host_sets_up(&self, setup: [u8; 8]) {
        let mut state = self.state();
        state.setup = Some(setup);
        // A set-up packet ends what was before it and clears the stall.
        state.outs[0] = Out::default();
        state.ins[0] = In::default();
    }

    pub fn is_control_stalled(&self) -> bool {
        let state = self.state();
        state.outs[0].stalled || state.ins[0].stalled
    }

    /// Something happens on the bus. A reset empties it.
    pub fn raise(&self, event: Event) {
        let mut state = self.state();
        if let Event::Reset = event {
            let State { outs, ins, setup, .. } = &mut *state;
            outs.iter_mut().for_each(|out| *out = Out::default());
            ins.iter_mut().for_each(|one| *one = In::default());
            *setup = None;
        }
        state.event = Some(event);
    }

    /// Something happens right after the device has read a packet of the FIDO endpoint.
    pub fn raise_after_read(&self, event: Event) {
        self.state().event_after_read = Some(event);
    }

    /// Makes every write to the FIDO endpoint fail.
    pub fn fail_writes(&self, error: Option<UsbError>) {
        self.state().write_error = error;
    }

    /// How many packets the device has written to the FIDO endpoint.
    pub fn writes(&self) -> usize {
        self.state().writes
    }
}

impl UsbBus for MemBus {
    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        _address: Option<EndpointAddress>,
        kind: EndpointType,
        _max_packet_size: u16,
        _interval: u8,
    ) -> Result<EndpointAddress> {
        let index = if kind == EndpointType::Control { 0 } else { 1 };
        let mut state = self.state();
        match direction {
            UsbDirection::Out => state.outs.resize_with(2, Out::default),
            UsbDirection::In => state.ins.resize_with(2, In::default),
        }
        Ok(EndpointAddress::from_parts(index, direction))
    }

    fn enable(&mut self) {}

    fn reset(&self) {}

    fn set_device_address(&self, _address: u8) {}

    fn write(&self, address: EndpointAddress, packet: &[u8]) -> Result<usize> {
        let mut state = self.state();
        if address.index() != 0
            && let Some(error) = state.write_error
        {
            return Err(error);
        }
        let endpoint = &mut state.ins[address.index()];
        if endpoint.packet.is_some() {
            return Err(UsbError::WouldBlock);
        }
        endpoint.packet = Some(packet.to_vec());
        if address.index() != 0 {
            state.writes += 1;
        }
        Ok(packet.len())
    }

    fn read(&self, address: EndpointAddress, buffer: &mut [u8]) -> Result<usize> {
        let mut state = self.state();
        let packet = match (address.index(), state.setup) {
            (0, Some(setup)) => setup.to_vec(),
            (index, _) => state.outs[index].packets.front().ok_or(UsbError::WouldBlock)?.clone(),
        };
        buffer.get_mut(..packet.len()).ok_or(UsbError::BufferOverflow)?.copy_from_slice(&packet);
        if address.index() != 0 || state.setup.take().is_none() {
            state.outs[address.index()].packets.pop_front();
        }
        if address.index() != 0
            && let Some(event) = state.event_after_read.take()
        {
            state.event = Some(event);
        }
        Ok(packet.len())
    }

    fn set_stalled(&self, address: EndpointAddress, stalled: bool) {
        let mut state = self.state();
        match address.direction() {
            UsbDirection::Out => state.outs[address.index()].stalled = stalled,
            UsbDirection::In => state.ins[address.index()].stalled = stalled,
        }
    }

    fn is_stalled(&self, address: EndpointAddress) -> bool {
        let state = self.state();
        match address.direction() {
            UsbDirection::Out => state.outs[address.index()].stalled,
            UsbDirection::In => state.ins[address.index()].stalled,
        }
    }

    fn suspend(&self) {}

    fn resume(&self) {}

    fn poll(&self) -> PollResult {
        let mut state = self.state();
        match state.event.take() {
            Some(Event::Reset) => return PollResult::Reset,
            Some(Event::Suspend) => return PollResult::Suspend,
            Some(Event::Resume) => return PollResult::Resume,
            None => {}
        }
        let mut ep_out = 0;
        for (index, endpoint) in state.outs.iter().enumerate() {
            ep_out |= u16::from(!endpoint.packets.is_empty()) << index;
        }
        let mut ep_in_complete = 0;
        for (index, endpoint) in state.ins.iter_mut().enumerate() {
            ep_in_complete |= u16::from(std::mem::take(&mut endpoint.complete)) << index;
        }
        let ep_setup = u16::from(state.setup.is_some());
        if ep_out | ep_in_complete | ep_setup == 0 {
            return PollResult::None;
        }
        PollResult::Data { ep_out, ep_in_complete, ep_setup }
    }
}
