//! A USB host that enumerates a FIDO key as Linux does and then moves reports.
//!
//! The order and the lengths of control transfers are those of Linux 6.1: hub.c, message.c, usbhid's hid-core.c.
//! A short or a long answer, or descriptors that contradict each other, are an error.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::error::demand;
use crate::reports::Reports;
use crate::usbip::{Connection, STALL, TIMEOUT, Transfer, Urb};
use crate::{Error, Result};

/// The size of a FIDO report in both directions.
pub const REPORT: usize = 64;

/// Descriptor types (USB 2.0 table 9-5, HID 1.11 §7.1).
pub mod descriptor {
    /// DEVICE
    pub const DEVICE: u8 = 0x01;
    /// CONFIGURATION
    pub const CONFIGURATION: u8 = 0x02;
    /// STRING
    pub const STRING: u8 = 0x03;
    /// INTERFACE
    pub const INTERFACE: u8 = 0x04;
    /// ENDPOINT
    pub const ENDPOINT: u8 = 0x05;
    /// DEVICE_QUALIFIER, which a device that is full speed only has not.
    pub const DEVICE_QUALIFIER: u8 = 0x06;
    /// HID
    pub const HID: u8 = 0x21;
    /// HID report
    pub const REPORT: u8 = 0x22;
}

/// An interrupt endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// bEndpointAddress, the direction in its top bit.
    pub address: u8,
    /// wMaxPacketSize, in bytes.
    pub max_packet: u16,
    /// bInterval, in milliseconds at full speed.
    pub interval: u8,
}

impl Endpoint {
    fn number(self) -> u8 {
        self.address & 0x0f
    }
}

/// What a report descriptor says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReportFormat {
    /// Usage page and usage of the first collection.
    pub usage: (u16, u16),
    /// Bytes of an input report, and the usage of its field.
    pub input: (usize, u16),
    /// Bytes of an output report, and the usage of its field.
    pub output: (usize, u16),
}

/// One FIDO key, attached, configured and open, as one hidraw file in use would have it.
pub struct Device {
    connection: Connection,
    /// The device descriptor.
    pub device_descriptor: Vec<u8>,
    /// The configuration descriptor with all that belongs to it.
    pub configuration: Vec<u8>,
    /// The HID descriptor inside of the configuration.
    pub hid_descriptor: Vec<u8>,
    /// The report descriptor.
    pub report_descriptor: Vec<u8>,
    /// What the report descriptor means.
    pub format: ReportFormat,
    /// iManufacturer, iProduct, iSerialNumber.
    pub strings: [String; 2],
    /// The serial number; a key that must not be told from others has none.
    pub serial: Option<String>,
    /// The interface's number.
    pub interface: u8,
    /// Interrupt IN.
    pub endpoint_in: Endpoint,
    /// Interrupt OUT.
    pub endpoint_out: Endpoint,
    /// The one IN URB that usbhid keeps under way.
    reading: Mutex<Option<Urb>>,
}

impl Device {
    /// Attaches the device with this bus id, enumerates it, and opens its FIDO interface.
    pub fn attach(address: SocketAddr, bus_id: &str) -> Result<Self> {
        let connection = Connection::import(address, bus_id)?;
        let control = Control(&connection);

        // hub.c: 64 bytes before the address is known, 18 after it; a full-speed device is asked for its qualifier.
        let short = control.read([0x80, 6, 0, descriptor::DEVICE, 0, 0], 64)?;
        let device_descriptor = control.read([0x80, 6, 0, descriptor::DEVICE, 0, 0], 18)?;
        demand!(device_descriptor.len() == 18, "device descriptor of {} bytes", device_descriptor.len());
        demand!(
            device_descriptor[..2] == [18, descriptor::DEVICE],
            "device descriptor {device_descriptor:02x?}"
        );
        demand!(short == device_descriptor, "the device descriptor changed");
        demand!([8, 16, 32, 64].contains(&device_descriptor[7]), "bMaxPacketSize0 {}", device_descriptor[7]);
        if let Ok(qualifier) = control.read([0x80, 6, 0, descriptor::DEVICE_QUALIFIER, 0, 0], 10) {
            return Err(Error::Violation(format!("full speed only, but a qualifier {qualifier:02x?}")));
        }
        let head = control.read([0x80, 6, 0, descriptor::CONFIGURATION, 0, 0], 9)?;
        demand!(head.len() == 9, "head of the configuration: {} bytes", head.len());
        let total = u16::from_le_bytes([head[2], head[3]]);
        let configuration = control.read([0x80, 6, 0, descriptor::CONFIGURATION, 0, 0], total)?;
        demand!(configuration.len() == usize::from(total), "{} of {total} bytes", configuration.len());
        let parsed = Configuration::parse(&configuration)?;
        let [manufacturer, product] = [14, 15].map(|at| control.string(device_descriptor[at]));
        let serial = Some(device_descriptor[16]).filter(|&index| index != 0);
        let serial = serial.map(|index| control.string(index));

        // message.c and usbhid: configuration 1 with its interface, no reports while nothing changes, the format.
        control.write([0x00, 9, configuration[5], 0, 0, 0], &[])?;
        match control.write([0x21, 0x0a, 0, 0, parsed.interface, 0], &[]) {
            Ok(()) | Err(Error::Urb(STALL)) => {}
            Err(error) => return Err(error),
        }
        let get_report = [0x81, 6, 0, descriptor::REPORT, parsed.interface, 0];
        let report_descriptor = control.read(get_report, parsed.report_length)?;
        demand!(
            report_descriptor.len() == usize::from(parsed.report_length),
            "the HID descriptor promises {} bytes, the report descriptor has {}",
            parsed.report_length,
            report_descriptor.len()
        );
        let format = parse_report_descriptor(&report_descriptor)?;
        demand!(format.usage == (0xf1d0, 0x01), "not a FIDO interface: {format:x?}");
        demand!(
            (format.input.0, format.output.0) == (REPORT, REPORT),
            "reports of other lengths: {format:x?}"
        );

        let device = Self {
            strings: [manufacturer?, product?],
            serial: serial.transpose()?,
            device_descriptor,
            hid_descriptor: parsed.hid_descriptor,
            report_descriptor,
            format,
            interface: parsed.interface,
            endpoint_in: parsed.endpoint_in,
            endpoint_out: parsed.endpoint_out,
            reading: Mutex::new(None),
            configuration,
            connection,
        };
        *device.reading.lock().unwrap() = Some(device.submit_in()?);
        Ok(device)
    }

    /// The connection below, for tests that do what no kernel does.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A control transfer that reads. `setup` is bmRequestType to wIndex; returns what came, at most `length` bytes.
    pub fn control_in(&self, setup: [u8; 6], length: u16) -> Result<Vec<u8>> {
        Control(&self.connection).read(setup, length)
    }

    /// A control transfer that writes.
    pub fn control_out(&self, setup: [u8; 6], data: &[u8]) -> Result<()> {
        Control(&self.connection).write(setup, data)
    }

    /// Writes one report to the interrupt OUT endpoint and waits until the device took it.
    pub fn write_report(&self, report: &[u8; REPORT]) -> Result<()> {
        let transfer = Transfer::Out { data: report, setup: [0; 8] };
        let endpoint = self.endpoint_out;
        let completion =
            self.connection.submit(endpoint.number(), transfer, endpoint.interval)?.wait(TIMEOUT)?;
        if completion.status != 0 {
            return Err(Error::Urb(completion.status));
        }
        demand!(completion.actual_length == REPORT, "{} bytes of a report taken", completion.actual_length);
        Ok(())
    }

    /// The next report from the interrupt IN endpoint.
    ///
    /// Errors: [`Error::TimedOut`] if none came until `deadline`; the URB stays under way.
    pub fn read_report(&self, deadline: Instant) -> Result<[u8; REPORT]> {
        let mut reading = self.reading.lock().unwrap();
        let urb = match reading.take() {
            Some(urb) => urb,
            None => self.submit_in()?,
        };
        let result = urb.data(deadline.saturating_duration_since(Instant::now()));
        if let Err(Error::TimedOut) = result {
            *reading = Some(urb);
            return Err(Error::TimedOut);
        }
        let data = result?;
        *reading = Some(self.submit_in()?);
        let length = data.len();
        data.try_into().map_err(|_| Error::Violation(format!("report of {length} bytes")))
    }

    /// Takes the pending IN URB back, as closing a hidraw file does. Returns the status of the unlink, and the report
    /// if it was completed before.
    pub fn stop_reading(&self) -> Result<(i32, Option<Vec<u8>>)> {
        let Some(urb) = self.reading.lock().unwrap().take() else { return Ok((0, None)) };
        let status = self.connection.unlink(urb.sequence)?;
        let report = if status == 0 { Some(urb.data(TIMEOUT)?) } else { None };
        Ok((status, report))
    }

    fn submit_in(&self) -> Result<Urb> {
        let transfer = Transfer::In { room: REPORT, setup: [0; 8] };
        self.connection.submit(self.endpoint_in.number(), transfer, self.endpoint_in.interval)
    }

    /// Unplugs the device.
    pub fn detach(&self) {
        self.stop_reading().ok();
        self.connection.close();
    }
}

impl Reports for Device {
    fn write_report(&self, report: &[u8; REPORT]) -> Result<()> {
        Device::write_report(self, report)
    }

    fn read_report(&self, deadline: Instant) -> Result<[u8; REPORT]> {
        Device::read_report(self, deadline)
    }
}

/// Control transfers on endpoint 0.
struct Control<'a>(&'a Connection);

impl Control<'_> {
    fn read(&self, setup: [u8; 6], length: u16) -> Result<Vec<u8>> {
        let transfer = Transfer::In { room: length.into(), setup: with_length(setup, length) };
        self.0.submit(0, transfer, 0)?.data(TIMEOUT)
    }

    fn write(&self, setup: [u8; 6], data: &[u8]) -> Result<()> {
        let transfer = Transfer::Out { data, setup: with_length(setup, data.len() as u16) };
        let completion = self.0.submit(0, transfer, 0)?.wait(TIMEOUT)?;
        if completion.status != 0 {
            return Err(Error::Urb(completion.status));
        }
        demand!(
            completion.actual_length == data.len(),
            "{} of {} bytes",
            completion.actual_length,
            data.len()
        );
        Ok(())
    }

    /// usb_string(): the first language, then the string, each with 255 bytes of room.
    fn string(&self, index: u8) -> Result<String> {
        demand!(index != 0, "a string is missing");
        let languages = self.read([0x80, 6, 0, descriptor::STRING, 0, 0], 255)?;
        demand!(languages.len() >= 4 && languages[0] == languages.len() as u8, "languages {languages:02x?}");
        let bytes = self.read([0x80, 6, index, descriptor::STRING, languages[2], languages[3]], 255)?;
        demand!(bytes.len() >= 2 && bytes[0] == bytes.len() as u8, "string {bytes:02x?}");
        demand!(bytes[1] == descriptor::STRING && bytes.len().is_multiple_of(2), "string {bytes:02x?}");
        let units: Vec<u16> =
            bytes[2..].chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        String::from_utf16(&units).map_err(|_| Error::Violation("a string is not UTF-16".into()))
    }
}

fn with_length(setup: [u8; 6], length: u16) -> [u8; 8] {
    let [a, b, c, d, e, f] = setup;
    let [low, high] = length.to_le_bytes();
    [a, b, c, d, e, f, low, high]
}

struct Configuration {
    interface: u8,
    hid_descriptor: Vec<u8>,
    report_length: u16,
    endpoint_in: Endpoint,
    endpoint_out: Endpoint,
}

impl Configuration {
    /// Demands exactly one HID interface with one endpoint in each direction.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let mut interfaces = Vec::new();
        let mut hid = Vec::new();
        let mut endpoints = Vec::new();
        let mut rest = bytes;
        while let Some(&length) = rest.first() {
            let length = usize::from(length);
            demand!((2..=rest.len()).contains(&length), "descriptor of {length} bytes in {rest:02x?}");
            let (one, behind) = rest.split_at(length);
            match one[1] {
                descriptor::INTERFACE => interfaces.push(one),
                descriptor::HID => hid.push(one),
                descriptor::ENDPOINT => endpoints.push(one),
                _ => {}
            }
            rest = behind;
        }
        demand!(bytes[4] as usize == interfaces.len(), "bNumInterfaces {}", bytes[4]);
        let (&[interface], &[hid]) = (&interfaces[..], &hid[..]) else {
            return Err(Error::Violation(format!("not exactly one HID interface: {bytes:02x?}")));
        };
        demand!(interface.len() == 9 && interface[5..8] == [3, 0, 0], "interface {interface:02x?}");
        demand!(usize::from(interface[4]) == endpoints.len(), "bNumEndpoints {}", interface[4]);
        demand!(hid.len() == 9 && hid[5] == 1 && hid[6] == descriptor::REPORT, "HID {hid:02x?}");
        let endpoint = |direction: u8| {
            let mut found = endpoints.iter().filter(|one| one[2] & 0x80 == direction);
            let one = found.next().ok_or_else(|| Error::Violation("an endpoint is missing".into()))?;
            demand!(found.next().is_none(), "two endpoints in one direction");
            demand!(one[3] == 3 && one[6] != 0, "not an interrupt endpoint: {one:02x?}");
            let max_packet = u16::from_le_bytes([one[4], one[5]]);
            demand!(usize::from(max_packet) == REPORT, "wMaxPacketSize {max_packet}");
            Ok(Endpoint { address: one[2], max_packet, interval: one[6] })
        };
        Ok(Self {
            interface: interface[2],
            hid_descriptor: hid.to_vec(),
            report_length: u16::from_le_bytes([hid[7], hid[8]]),
            endpoint_in: endpoint(0x80)?,
            endpoint_out: endpoint(0)?,
        })
    }
}

/// Reads short items (HID 1.11 §6.2.2.2); report IDs and long items are an error, as FIDO has neither.
fn parse_report_descriptor(mut rest: &[u8]) -> Result<ReportFormat> {
    let mut format = ReportFormat::default();
    let (mut page, mut usage, mut bits, mut count) = (0u16, 0u16, 0usize, 0usize);
    let mut collections = 0;
    while let Some((&head, behind)) = rest.split_first() {
        let size = [0, 1, 2, 4][usize::from(head & 3)];
        demand!(head != 0xfe && size <= behind.len(), "item {head:#04x} in a report descriptor");
        let value = behind[..size].iter().rev().fold(0u32, |value, &byte| value << 8 | u32::from(byte));
        match head & 0xfc {
            0x04 => page = value as u16,
            0x08 => usage = value as u16,
            0x74 => bits = value as usize,
            0x94 => count = value as usize,
            0x84 => return Err(Error::Violation("report IDs".into())),
            0xa0 => {
                if collections == 0 {
                    format.usage = (page, usage);
                }
                collections += 1;
            }
            0xc0 => collections -= 1,
            0x80 => format.input = (bits * count / 8, usage),
            0x90 => format.output = (bits * count / 8, usage),
            _ => {}
        }
        rest = &behind[size..];
    }
    demand!(collections == 0, "a collection is not closed");
    Ok(format)
}

/// A deadline this far from now.
pub fn deadline(after: Duration) -> Instant {
    Instant::now() + after
}
