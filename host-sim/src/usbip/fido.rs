//! The FIDO device of an attached key, as a [`Device`] on a [`UsbIpBus`].

use super::bus::UsbIpBus;
use super::session::Device;
use crate::key::{FIRMWARE_VERSION, MESSAGE_LEN, Shared};
use brasskey_usb::{DeviceConfig, FidoDevice, GatedBus};
use std::sync::atomic::Ordering;
use usb_device::bus::UsbBusAllocator;

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
        poll.deadline
    }

    fn delivered(&mut self, packet: &[u8]) {
        if let [_, _, _, _, KEEPALIVE, _, _, UPNEEDED, ..] = packet {
            self.shared.asked_for_touch.store(true, Ordering::Release);
            self.shared.signal.raise();
        }
    }
}
