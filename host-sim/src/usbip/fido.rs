//! The FIDO device of an attached key, as a [`Device`] on a [`UsbIpBus`].

use super::bus::UsbIpBus;
use super::session::Device;
use crate::key::{FIRMWARE_VERSION, MESSAGE_LEN, Shared};
use brasskey_usb::{DeviceConfig, FidoDevice, GatedBus};
use std::sync::atomic::Ordering;
use usb_device::bus::UsbBusAllocator;
use usb_device::device::UsbDeviceState;

/// CTAPHID_KEEPALIVE in the fifth byte of a packet, and the status that asks for a touch in the eighth (CTAP 2.3
/// §11.2.9.1.5).
const KEEPALIVE: u8 = 0xBB;
const UPNEEDED: u8 = 0x02;

/// The USB side of a key. It wakes the key's thread when there is something for it.
pub(crate) struct FidoOnBus<'a> {
    device: FidoDevice<'a, UsbIpBus, MESSAGE_LEN>,
    shared: &'a Shared,
}

impl<'a> FidoOnBus<'a> {
    /// What the allocator is made on.
    pub(crate) fn gate(bus: UsbIpBus) -> GatedBus<UsbIpBus> {
        GatedBus::new(bus)
    }

    /// `None` if `shared` serves another device already.
    pub(crate) fn new(
        allocator: &'a UsbBusAllocator<GatedBus<UsbIpBus>>,
        shared: &'a Shared,
    ) -> Option<Self> {
        let requester = shared.channel.requester()?;
        let config = DeviceConfig { release: FIRMWARE_VERSION, ..DeviceConfig::default() };
        Some(Self { device: FidoDevice::new(allocator, requester, &shared.link, &config), shared })
    }
}

impl Device for FidoOnBus<'_> {
    fn poll(&mut self, now_ms: u64) -> Option<u64> {
        let poll = self.device.poll(now_ms);
        if poll.request_ready || poll.cancelled {
            self.shared.signal.raise();
        }
        if self.device.state() == UsbDeviceState::Configured {
            self.shared.configured.send_if_modified(|configured| !std::mem::replace(configured, true));
        }
        poll.deadline
    }

    fn delivered(&mut self, packet: &[u8]) {
        if let [_, _, _, _, KEEPALIVE, _, _, UPNEEDED, ..] = packet {
            self.shared.asked_for_touch.store(true, Ordering::Release);
            self.shared.signal.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::HEADER_LEN;
    use super::super::session::Session;
    use super::super::testing::{bytes, control, input, out};
    use super::*;

    /// CTAPHID_PING, CTAPHID_ERROR and ERR_MSG_TIMEOUT (CTAP 2.3 §11.2.9).
    const PING: u8 = 0x81;
    const ERROR: u8 = 0xBF;
    const MSG_TIMEOUT: u8 = 0x05;

    /// A host on a device that is set up, with a channel.
    fn attached(test: impl FnOnce(&mut Session, &mut FidoOnBus<'_>, [u8; 4])) {
        let (bus, shared) = (UsbIpBus::new(), Shared::new());
        let mut session = Session::new(bus.clone(), 0x0001_0001);
        let allocator = UsbBusAllocator::new(FidoOnBus::gate(bus));
        let mut device = FidoOnBus::new(&allocator, &shared).unwrap();
        session.run(&bytes(&control(2, 0, 9, 1, 0, b"")), &mut device, 0).unwrap();
        let init = [0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        let answer = exchange(&mut session, &mut device, 0, &[&init]).unwrap();
        test(&mut session, &mut device, answer[15..19].try_into().unwrap());
    }

    /// What the device sends at `now_ms`, when these packets reach it together.
    fn exchange(
        session: &mut Session,
        device: &mut FidoOnBus<'_>,
        now_ms: u64,
        packets: &[&[u8]],
    ) -> Option<Vec<u8>> {
        session.wrote(session.output().len());
        let mut received = Vec::new();
        for packet in packets {
            let mut packet = packet.to_vec();
            packet.resize(64, 0);
            received.extend(bytes(&out(2, &packet)));
        }
        received.extend(bytes(&input(3, 64)));
        session.run(&received, device, now_ms).unwrap();
        // The replies to OUT transfers have no data.
        let replies = session.output().get(packets.len() * HEADER_LEN..)?;
        replies.get(HEADER_LEN..).filter(|data| !data.is_empty()).map(<[u8]>::to_vec)
    }

    #[test]
    fn packets_that_waited_with_us_are_not_late() {
        // 100 bytes: a first packet of 57, the other of 43.
        let first = |channel: [u8; 4]| [&channel[..], &[PING, 0, 100], &[7; 57]].concat();
        let next = |channel: [u8; 4]| [&channel[..], &[0], &[7; 43]].concat();
        attached(|session, device, channel| {
            assert_eq!(exchange(session, device, 1_000, &[&first(channel)]), None);
            let answer = exchange(session, device, 9_000, &[&next(channel)]).unwrap();
            assert_eq!(answer[4..7], [PING, 0, 100]);
        });
        // What does not come is late all the same.
        attached(|session, device, channel| {
            assert_eq!(exchange(session, device, 1_000, &[&first(channel)]), None);
            session.wrote(session.output().len());
            session.run(&[], device, 9_000).unwrap();
            assert_eq!(session.output()[HEADER_LEN..][4..8], [ERROR, 0, 1, MSG_TIMEOUT]);
        });
    }
}
