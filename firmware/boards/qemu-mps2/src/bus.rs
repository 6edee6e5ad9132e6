//! [`LineBus`]: a USB peripheral whose cable is the serial line.

use brasskey_board_wire::{Frame, MAX_PACKET};
use usb_device::bus::{PollResult, UsbBus};
use usb_device::endpoint::{EndpointAddress, EndpointType};
use usb_device::{Result, UsbDirection, UsbError};

use crate::line::{self, ENDPOINTS};

/// The peripheral. Its registers are with the [line](crate::line).
#[derive(Default)]
pub(crate) struct LineBus {
    /// Which endpoints are taken, one bit a number.
    outs: u16,
    ins: u16,
}

/// An endpoint's bit in what stalls.
fn stall_bit(address: EndpointAddress) -> u32 {
    let half = if address.is_in() { 16 } else { 0 };
    1 << (address.index() % 16 + half)
}

impl UsbBus for LineBus {
    fn alloc_ep(
        &mut self,
        direction: UsbDirection,
        address: Option<EndpointAddress>,
        ep_type: EndpointType,
        max_packet_size: u16,
        _interval: u8,
    ) -> Result<EndpointAddress> {
        if matches!(ep_type, EndpointType::Isochronous { .. }) || usize::from(max_packet_size) > MAX_PACKET {
            return Err(UsbError::Unsupported);
        }
        let taken = match direction {
            UsbDirection::Out => &mut self.outs,
            UsbDirection::In => &mut self.ins,
        };
        let free = |index: &usize| *taken & (1 << index) == 0;
        let index = match address {
            Some(address) => Some(address.index()).filter(|index| *index < ENDPOINTS && free(index)),
            None => (1..ENDPOINTS).find(free),
        };
        let index = index.ok_or(UsbError::EndpointOverflow)?;
        *taken |= 1 << index;
        Ok(EndpointAddress::from_parts(index, direction))
    }

    fn enable(&mut self) {
        line::endpoints(|endpoints| endpoints.enabled = true);
    }

    fn reset(&self) {
        // The line has emptied the buffers when it took the frame; packets may have come since.
    }

    fn set_device_address(&self, _address: u8) {
        // Addresses stay with the host controller at the other end.
    }

    fn write(&self, address: EndpointAddress, packet: &[u8]) -> Result<usize> {
        if packet.len() > MAX_PACKET {
            return Err(UsbError::BufferOverflow);
        }
        line::endpoints(|endpoints| {
            let stalled = endpoints.stalled & stall_bit(address) != 0;
            let busy = endpoints.in_busy.get_mut(address.index()).ok_or(UsbError::InvalidEndpoint)?;
            if *busy || stalled && address.index() != 0 {
                return Err(UsbError::WouldBlock);
            }
            *busy = true;
            Ok(())
        })?;
        line::send(&Frame::In(address.index() as u8, packet));
        Ok(packet.len())
    }

    fn read(&self, address: EndpointAddress, buffer: &mut [u8]) -> Result<usize> {
        let number = address.index();
        let setup = match number {
            0 => line::endpoints(|endpoints| endpoints.setup.take()),
            _ => None,
        };
        if let Some(packet) = setup {
            buffer.get_mut(..packet.len()).ok_or(UsbError::BufferOverflow)?.copy_from_slice(&packet);
            return Ok(packet.len());
        }
        let packet = line::endpoints(|endpoints| endpoints.out.get_mut(number).and_then(Option::take));
        let packet = packet.ok_or(UsbError::WouldBlock)?;
        line::send(&Frame::Read(number as u8));
        let data = packet.data();
        buffer.get_mut(..data.len()).ok_or(UsbError::BufferOverflow)?.copy_from_slice(data);
        Ok(data.len())
    }

    fn set_stalled(&self, address: EndpointAddress, stalled: bool) {
        let changed = line::endpoints(|endpoints| {
            let before = endpoints.stalled;
            let bit = stall_bit(address);
            endpoints.stalled = if stalled { before | bit } else { before & !bit };
            endpoints.stalled != before
        });
        // Endpoint 0 is said to stall each time: the next set-up packet ends that by itself.
        if changed || address.index() == 0 && stalled {
            line::send(&Frame::Stall(address.into(), stalled));
        }
    }

    fn is_stalled(&self, address: EndpointAddress) -> bool {
        line::endpoints(|endpoints| endpoints.stalled & stall_bit(address) != 0)
    }

    fn suspend(&self) {}

    fn resume(&self) {}

    fn poll(&self) -> PollResult {
        line::endpoints(|endpoints| {
            if !endpoints.enabled {
                return PollResult::None;
            }
            if core::mem::take(&mut endpoints.reset) {
                return PollResult::Reset;
            }
            let ep_in_complete = core::mem::take(&mut endpoints.in_complete);
            // usb-device overlooks a packet that has left endpoint 0 beside one that came, so that comes alone.
            let alone = ep_in_complete & 1 != 0;
            let ep_setup = u16::from(endpoints.setup.is_some() && !alone);
            let mut ep_out = 0;
            for (number, buffer) in endpoints.out.iter().enumerate() {
                let waits = buffer.is_some() && !(alone && number == 0);
                ep_out |= u16::from(waits) << number;
            }
            if ep_setup | ep_out | ep_in_complete == 0 {
                return PollResult::None;
            }
            PollResult::Data { ep_out, ep_in_complete, ep_setup }
        })
    }
}
