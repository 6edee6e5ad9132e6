//! A device for tests: usb-device with a class that echoes packets and answers odd control requests.

use super::bus::UsbIpBus;
use super::protocol::{Direction, Submit};
use super::session::Device;
use usb_device::bus::{InterfaceNumber, UsbBus, UsbBusAllocator};
use usb_device::class::{ControlIn, ControlOut, UsbClass};
use usb_device::control::{Recipient, RequestType};
use usb_device::descriptor::DescriptorWriter;
use usb_device::device::{StringDescriptors, UsbDevice, UsbDeviceBuilder, UsbVidPid};
use usb_device::endpoint::{EndpointIn, EndpointOut};

/// Vendor request: answers `wValue` bytes 0, 1, 2, … whatever `wLength` is.
pub(crate) const COUNT: u8 = 1;
/// Vendor request: gets no answer at all.
pub(crate) const SILENCE: u8 = 2;
/// Vendor request: takes data and keeps it.
pub(crate) const STORE: u8 = 3;
/// Vendor request: answers what was kept.
pub(crate) const RECALL: u8 = 4;

pub(crate) struct Echo<'a, B: UsbBus> {
    interface: InterfaceNumber,
    input: EndpointIn<'a, B>,
    output: EndpointOut<'a, B>,
    /// Packets to send back.
    packets: Vec<Vec<u8>>,
    /// Reads nothing while this is set.
    pub(crate) deaf: bool,
    stored: Vec<u8>,
}

impl<B: UsbBus> UsbClass<B> for Echo<'_, B> {
    fn get_configuration_descriptors(&self, writer: &mut DescriptorWriter) -> usb_device::Result<()> {
        writer.interface(self.interface, 0xFF, 1, 2)?;
        writer.endpoint(&self.output)?;
        writer.endpoint(&self.input)
    }

    fn poll(&mut self) {
        let mut buf = [0; 64];
        while !self.deaf
            && let Ok(length) = self.output.read(&mut buf)
        {
            self.packets.push(buf[..length].to_vec());
        }
        while let Some(packet) = self.packets.first()
            && self.input.write(packet).is_ok()
        {
            self.packets.remove(0);
        }
    }

    fn control_in(&mut self, transfer: ControlIn<B>) {
        let request = *transfer.request();
        if request.request_type != RequestType::Vendor || request.recipient != Recipient::Device {
            return;
        }
        let count: Vec<u8> = (0..request.value).map(|byte| byte as u8).collect();
        let _ = match request.request {
            COUNT => transfer.accept_with(&count),
            RECALL => transfer.accept_with(&self.stored),
            _ => transfer.reject(),
        };
    }

    fn control_out(&mut self, transfer: ControlOut<B>) {
        let request = *transfer.request();
        if request.request_type != RequestType::Vendor || request.recipient != Recipient::Device {
            return;
        }
        match request.request {
            STORE => {
                self.stored = transfer.data().to_vec();
                let _ = transfer.accept();
            }
            // Accepting and rejecting both answer; to be silent, the transfer must not stay with usb-device
            // either, which rejects what no class took. A request that never gets this far is sent by the
            // tests with data beyond usb-device's buffer.
            _ => drop(transfer.reject()),
        }
    }
}

pub(crate) struct EchoDevice<'a> {
    usb: UsbDevice<'a, UsbIpBus>,
    pub(crate) echo: Echo<'a, UsbIpBus>,
}

impl<'a> EchoDevice<'a> {
    pub(crate) fn new(allocator: &'a UsbBusAllocator<UsbIpBus>) -> Self {
        let echo = Echo {
            interface: allocator.interface(),
            output: allocator.interrupt(64, 5),
            input: allocator.interrupt(64, 5),
            packets: Vec::new(),
            deaf: false,
            stored: Vec::new(),
        };
        let usb = UsbDeviceBuilder::new(allocator, UsbVidPid(0x1209, 1))
            .strings(&[StringDescriptors::default().product("Echo")])
            .expect("one language")
            .max_packet_size_0(64)
            .expect("a legal size")
            .build();
        Self { usb, echo }
    }
}

impl Device for EchoDevice<'_> {
    fn poll(&mut self, _now_ms: u64) -> Option<u64> {
        // A deaf device leaves its packet on the bus, which reports it for ever.
        for _ in 0..1000 {
            if !self.usb.poll(&mut [&mut self.echo]) {
                break;
            }
        }
        self.echo.poll();
        None
    }
}

pub(crate) fn submit(seqnum: u32, direction: Direction, endpoint: u32, length: usize, data: &[u8]) -> Submit {
    Submit {
        seqnum,
        device_id: 0x0001_0001,
        direction,
        endpoint,
        length,
        short_not_ok: false,
        number_of_packets: 0,
        setup: [0; 8],
        data: data.to_vec(),
    }
}

/// An OUT transfer to endpoint 1.
pub(crate) fn out(seqnum: u32, data: &[u8]) -> Submit {
    submit(seqnum, Direction::Out, 1, data.len(), data)
}

/// An IN transfer from endpoint 1.
pub(crate) fn input(seqnum: u32, length: usize) -> Submit {
    submit(seqnum, Direction::In, 1, length, b"")
}

/// A control transfer whose buffer has the length of `wLength`.
pub(crate) fn control(
    seqnum: u32,
    request_type: u8,
    request: u8,
    value: u16,
    length: u16,
    data: &[u8],
) -> Submit {
    let direction = if request_type & 0x80 != 0 { Direction::In } else { Direction::Out };
    let mut submit = submit(seqnum, direction, 0, usize::from(length), data);
    submit.setup[0] = request_type;
    submit.setup[1] = request;
    submit.setup[2..4].copy_from_slice(&value.to_le_bytes());
    submit.setup[6..8].copy_from_slice(&length.to_le_bytes());
    submit
}

/// A SUBMIT as it comes over the wire.
pub(crate) fn bytes(submit: &Submit) -> Vec<u8> {
    let direction = u32::from(submit.direction == Direction::In);
    let mut bytes = Vec::new();
    for word in [1, submit.seqnum, submit.device_id, direction, submit.endpoint] {
        bytes.extend(word.to_be_bytes());
    }
    let flags = u32::from(submit.short_not_ok);
    for word in [flags, submit.length as u32, 0, submit.number_of_packets as u32, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(submit.setup);
    bytes.extend(&submit.data);
    bytes
}

/// An UNLINK as it comes over the wire.
pub(crate) fn unlink(seqnum: u32, device_id: u32, victim: u32) -> Vec<u8> {
    let words = [2, seqnum, device_id, 0, 0, victim, 0, 0, 0, 0, 0, 0];
    words.iter().flat_map(|word| u32::to_be_bytes(*word)).collect()
}
