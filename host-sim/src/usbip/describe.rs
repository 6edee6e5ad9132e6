//! What DEVLIST and IMPORT say about a key: read from the descriptors that the key itself answers.

use super::bus::UsbIpBus;
use super::fido::FidoOnBus;
use super::protocol::{DeviceSummary, Direction, Status, Submit};
use super::session::Device;
use crate::key::Shared;
use usb_device::bus::UsbBusAllocator;

/// Descriptor types (USB 2.0 table 9-5).
const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const INTERFACE: u8 = 4;

/// Makes a key's USB side for a moment and asks it for its descriptors.
///
/// `None` if they make no sense; all keys have the same, so this is known before the first is exported.
pub(crate) fn describe() -> Option<DeviceSummary> {
    let shared = Shared::new();
    let bus = UsbIpBus::new();
    let allocator = UsbBusAllocator::new(FidoOnBus::gate(bus.clone()));
    let mut fido = FidoOnBus::new(&allocator, &shared)?;
    let device = get_descriptor(&bus, &mut fido, DEVICE)?;
    let configuration = get_descriptor(&bus, &mut fido, CONFIGURATION)?;
    summarize(&device, &configuration)
}

fn get_descriptor(bus: &UsbIpBus, device: &mut impl Device, kind: u8) -> Option<Vec<u8>> {
    let length = u16::MAX;
    let [low, high] = length.to_le_bytes();
    bus.submit(Submit {
        seqnum: 0,
        device_id: 0,
        direction: Direction::In,
        endpoint: 0,
        length: usize::from(length),
        short_not_ok: false,
        number_of_packets: 0,
        setup: [0x80, 6, 0, kind, 0, 0, low, high],
        data: Vec::new(),
    });
    device.poll(0);
    while bus.settle() {
        device.poll(0);
    }
    let completion = bus.take_completions().pop()?;
    (completion.status == Status::OK).then_some(completion.data)
}

fn summarize(device: &[u8], configuration: &[u8]) -> Option<DeviceSummary> {
    let word = |at: usize| Some(u16::from_le_bytes(*device.get(at..)?.first_chunk()?));
    let mut interfaces = Vec::new();
    let mut rest = configuration;
    while let [length, kind, ..] = *rest {
        let (descriptor, after) = rest.split_at_checked(usize::from(length.max(2)))?;
        // Only the first setting of an interface counts it.
        if let (INTERFACE, [_, _, _, 0, _, class, subclass, protocol, ..]) = (kind, descriptor) {
            interfaces.push([*class, *subclass, *protocol]);
        }
        rest = after;
    }
    Some(DeviceSummary {
        vendor: word(8)?,
        product: word(10)?,
        release: word(12)?,
        class: *device.get(4..)?.first_chunk()?,
        configuration: *configuration.get(5)?,
        configurations: *device.get(17)?,
        interfaces,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_described_as_it_describes_itself() {
        let summary = describe().unwrap();
        assert_eq!((summary.vendor, summary.product), (0x1209, 0x0001));
        assert_eq!(summary.release, crate::key::FIRMWARE_VERSION);
        assert_eq!((summary.class, summary.configuration, summary.configurations), ([0; 3], 1, 1));
        assert_eq!(summary.interfaces, [[3, 0, 0]], "one HID interface");
    }

    #[test]
    fn broken_descriptors_describe_nothing() {
        assert_eq!(summarize(&[18, 1], &[9, 2, 0, 0, 1, 1]), None);
        assert_eq!(summarize(&[0; 18], &[9, 4]), None);
    }
}
