//! The bytes of USB/IP 1.1.1: requests in, replies out (Linux `Documentation/usb/usbip_protocol.rst`).
//!
//! Nothing here reads a socket. A connection has two phases. In the first it carries one *operation*
//! ([`Operation`]): list the devices, or import one. After an import the same connection carries *commands*
//! ([`Command`]) until it closes. Every number is big-endian.
//!
//! A length is checked against its bound before anything is allocated for it, so a hostile header costs no
//! memory; the caller ends the connection on any [`ProtocolError`].

use std::fmt;

/// Protocol version 1.1.1, in binary coded decimal.
pub const VERSION: u16 = 0x0111;

/// The port that IANA gave to USB/IP.
pub const DEFAULT_PORT: u16 = 3240;

/// The length of every command and of every reply's header, in bytes.
pub const HEADER_LEN: usize = 48;

/// The longest transfer that is taken from a host, in bytes.
///
/// A control transfer carries at most 65,535 bytes (`wLength` has 16 bits), and nothing that a security key
/// has to say is longer.
pub const MAX_TRANSFER_LEN: usize = 65_535;

/// The length of a bus id field, in bytes, NUL included.
const BUS_ID_LEN: usize = 32;
/// The length of a device's path field, in bytes, NUL included.
const PATH_LEN: usize = 256;
/// The length of an operation's header: version, code, status.
const OP_HEADER_LEN: usize = 8;

const OP_REQ_DEVLIST: u16 = 0x8005;
const OP_REP_DEVLIST: u16 = 0x0005;
const OP_REQ_IMPORT: u16 = 0x8003;
const OP_REP_IMPORT: u16 = 0x0003;

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

/// What an import was answered with (`op_common.status`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum ImportStatus {
    /// Another host has it (ST_DEV_BUSY).
    Busy = 2,
    /// It is here but cannot start (ST_DEV_ERR).
    DeviceError = 3,
    /// No device has this bus id (ST_NODEV).
    NoDevice = 4,
}

/// How a transfer ended: a negative Linux error number, or zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status(i32);

impl Status {
    /// Done.
    pub const OK: Self = Self(0);
    /// −ENOENT: the device has no such endpoint.
    pub const NO_ENDPOINT: Self = Self(-2);
    /// −EINVAL: the header contradicts the set-up packet.
    pub const INVALID: Self = Self(-22);
    /// −EPIPE: the endpoint is stalled.
    pub const STALL: Self = Self(-32);
    /// −EOVERFLOW: the device sent more than the host had room for; the host has what fitted.
    pub const OVERFLOW: Self = Self(-75);
    /// −ECONNRESET: the URB was taken back before it was done.
    pub const UNLINKED: Self = Self(-104);
    /// −EREMOTEIO: less came than asked, and the host had said that it minds (URB_SHORT_NOT_OK).
    pub const SHORT: Self = Self(-121);

    /// The number on the wire.
    pub fn code(self) -> i32 {
        self.0
    }
}

/// Why a connection must end: the peer does not speak this protocol, or means harm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProtocolError {
    /// The peer speaks another version.
    Version(u16),
    /// An operation that does not exist.
    UnknownOperation(u16),
    /// A command that does not exist.
    UnknownCommand(u32),
    /// A direction other than OUT (0) and IN (1).
    Direction(u32),
    /// A transfer length that is negative or above [`MAX_TRANSFER_LEN`].
    TransferLength(i32),
    /// Isochronous packets: no endpoint here is isochronous.
    Isochronous(i32),
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "USB/IP version {version:#06x}, where 0x0111 is spoken"),
            Self::UnknownOperation(code) => write!(f, "unknown USB/IP operation {code:#06x}"),
            Self::UnknownCommand(command) => write!(f, "unknown USB/IP command {command:#x}"),
            Self::Direction(direction) => write!(f, "transfer direction {direction}"),
            Self::TransferLength(length) => write!(f, "transfer of {length} bytes"),
            Self::Isochronous(packets) => write!(f, "isochronous transfer of {packets} packets"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// What a new connection asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Operation {
    /// OP_REQ_DEVLIST: which devices are exported.
    DeviceList,
    /// OP_REQ_IMPORT: attach the device with this bus id. A field that is not text is an id that nobody has.
    Import(String),
}

impl Operation {
    /// The longest operation, in bytes.
    pub const MAX_LEN: usize = OP_HEADER_LEN + BUS_ID_LEN;

    /// Reads one operation from the start of `bytes`; `None` if more bytes are needed.
    ///
    /// Returns the operation and how many bytes it took. A wrong version or code is found as soon as its
    /// bytes are there.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(version) = u16_at(bytes, 0) else { return Ok(None) };
        if version != VERSION {
            return Err(ProtocolError::Version(version));
        }
        let Some(code) = u16_at(bytes, 2) else { return Ok(None) };
        match code {
            OP_REQ_DEVLIST if bytes.len() >= OP_HEADER_LEN => Ok(Some((Self::DeviceList, OP_HEADER_LEN))),
            OP_REQ_IMPORT if bytes.len() >= Self::MAX_LEN => {
                let field = &bytes[OP_HEADER_LEN..Self::MAX_LEN];
                let text = field.split(|&byte| byte == 0).next().unwrap_or_default();
                let bus_id = String::from_utf8_lossy(text).into_owned();
                Ok(Some((Self::Import(bus_id), Self::MAX_LEN)))
            }
            OP_REQ_DEVLIST | OP_REQ_IMPORT => Ok(None),
            _ => Err(ProtocolError::UnknownOperation(code)),
        }
    }
}

/// The speed of the bus that a device is on (`enum usb_device_speed`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Speed {
    /// 12 Mbit/s, which every FIDO key of today uses.
    Full = 2,
}

/// What the device and configuration descriptors say, as DEVLIST and IMPORT repeat it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceSummary {
    /// `idVendor`.
    pub vendor: u16,
    /// `idProduct`.
    pub product: u16,
    /// `bcdDevice`.
    pub release: u16,
    /// `bDeviceClass`, `bDeviceSubClass`, `bDeviceProtocol`.
    pub class: [u8; 3],
    /// `bConfigurationValue` of the only configuration.
    pub configuration: u8,
    /// `bNumConfigurations`.
    pub configurations: u8,
    /// `bInterfaceClass`, `bInterfaceSubClass`, `bInterfaceProtocol` of each interface.
    pub interfaces: Vec<[u8; 3]>,
}

/// Where an exported device sits: bus number 1, and a number of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BusId(u16);

impl BusId {
    /// The bus that all exported keys are on.
    pub const BUS: u16 = 1;

    /// The id of the `number`th device, counted from 1.
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// `busnum << 16 | devnum`, by which commands name the device.
    pub fn device_id(self) -> u32 {
        u32::from(Self::BUS) << 16 | u32::from(self.0)
    }
}

impl fmt::Display for BusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", Self::BUS, self.0)
    }
}

/// Appends the head of OP_REP_DEVLIST, to be followed by `count` calls of [`device_list_entry`].
pub fn device_list_header(out: &mut Vec<u8>, count: u32) {
    op_header(out, OP_REP_DEVLIST, 0);
    out.extend(count.to_be_bytes());
}

/// Appends one device of OP_REP_DEVLIST, with its interfaces.
pub fn device_list_entry(out: &mut Vec<u8>, id: BusId, device: &DeviceSummary) {
    usb_device(out, id, device);
    for interface in &device.interfaces {
        out.extend(interface);
        out.push(0);
    }
}

/// Appends OP_REP_IMPORT: the device is yours.
pub fn import_accepted(out: &mut Vec<u8>, id: BusId, device: &DeviceSummary) {
    op_header(out, OP_REP_IMPORT, 0);
    usb_device(out, id, device);
}

/// Appends OP_REP_IMPORT: no.
pub fn import_refused(out: &mut Vec<u8>, status: ImportStatus) {
    op_header(out, OP_REP_IMPORT, status as u32);
}

fn op_header(out: &mut Vec<u8>, code: u16, status: u32) {
    out.extend(VERSION.to_be_bytes());
    out.extend(code.to_be_bytes());
    out.extend(status.to_be_bytes());
}

/// `struct usbip_usb_device`.
fn usb_device(out: &mut Vec<u8>, id: BusId, device: &DeviceSummary) {
    text_field(out, &format!("/brasskey/{id}"), PATH_LEN);
    text_field(out, &id.to_string(), BUS_ID_LEN);
    out.extend(u32::from(BusId::BUS).to_be_bytes());
    out.extend(u32::from(id.0).to_be_bytes());
    out.extend((Speed::Full as u32).to_be_bytes());
    out.extend(device.vendor.to_be_bytes());
    out.extend(device.product.to_be_bytes());
    out.extend(device.release.to_be_bytes());
    out.extend(device.class);
    out.push(device.configuration);
    out.push(device.configurations);
    // A descriptor counts its interfaces in one byte, so there are never more than 255.
    out.push(device.interfaces.len() as u8);
}

/// A NUL-terminated text in a field of fixed length.
fn text_field(out: &mut Vec<u8>, text: &str, length: usize) {
    let end = out.len() + length;
    out.extend(text.bytes().take(length - 1));
    out.resize(end, 0);
}

/// Which way a transfer goes, as the host sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the host to the device.
    Out,
    /// From the device to the host.
    In,
}

/// A command of an attached host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// USBIP_CMD_SUBMIT.
    Submit(Submit),
    /// USBIP_CMD_UNLINK.
    Unlink {
        /// This command's own number, which the reply repeats.
        seqnum: u32,
        /// The device that is meant.
        device_id: u32,
        /// The number of the SUBMIT to take back.
        victim: u32,
    },
}

/// USBIP_CMD_SUBMIT: one transfer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Submit {
    /// The host's number for this transfer, which the reply repeats.
    pub seqnum: u32,
    /// The device that is meant.
    pub device_id: u32,
    /// Which way the data goes.
    pub direction: Direction,
    /// The endpoint's number. A host can write any number here; only 0 to 15 exist.
    pub endpoint: u32,
    /// How many bytes the host asks for, or sends.
    pub length: usize,
    /// URB_SHORT_NOT_OK: less than `length` is an error to the host.
    pub short_not_ok: bool,
    /// `number_of_packets` as it came: 0 or −1. The reply repeats it.
    pub number_of_packets: i32,
    /// The set-up packet of a control transfer; zeroes otherwise.
    pub setup: [u8; 8],
    /// What the host sends; empty for [`Direction::In`].
    pub data: Vec<u8>,
}

impl Command {
    /// Reads one command from the start of `bytes`; `None` if more bytes are needed.
    ///
    /// Returns the command and how many bytes it took, at most [`HEADER_LEN`] + [`MAX_TRANSFER_LEN`].
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(command) = u32_at(bytes, 0) else { return Ok(None) };
        if !matches!(command, CMD_SUBMIT | CMD_UNLINK) {
            return Err(ProtocolError::UnknownCommand(command));
        }
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        // Every offset below lies inside the header, whose length is fixed.
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (seqnum, device_id) = (word(4), word(8));
        if command == CMD_UNLINK {
            return Ok(Some((Self::Unlink { seqnum, device_id, victim: word(20) }, HEADER_LEN)));
        }

        let direction = match word(12) {
            0 => Direction::Out,
            1 => Direction::In,
            other => return Err(ProtocolError::Direction(other)),
        };
        let asked = word(24) as i32;
        let length = usize::try_from(asked).unwrap_or(usize::MAX);
        if length > MAX_TRANSFER_LEN {
            return Err(ProtocolError::TransferLength(asked));
        }
        let number_of_packets = word(32) as i32;
        if !matches!(number_of_packets, 0 | -1) {
            return Err(ProtocolError::Isochronous(number_of_packets));
        }
        let carried = if direction == Direction::Out { length } else { 0 };
        let Some(data) = rest.get(..carried) else { return Ok(None) };
        let mut setup = [0; 8];
        setup.copy_from_slice(&header[40..]);
        let submit = Submit {
            seqnum,
            device_id,
            direction,
            endpoint: word(16),
            length,
            short_not_ok: word(20) & URB_SHORT_NOT_OK != 0,
            number_of_packets,
            setup,
            data: data.to_vec(),
        };
        Ok(Some((Self::Submit(submit), HEADER_LEN + carried)))
    }
}

/// The host counts a short transfer as an error (`include/linux/usb.h`).
const URB_SHORT_NOT_OK: u32 = 0x0001;

/// Appends USBIP_RET_SUBMIT. `data` is what an IN transfer brought; `actual_length` counts OUT bytes too.
pub fn ret_submit(
    out: &mut Vec<u8>,
    seqnum: u32,
    status: Status,
    actual_length: usize,
    packets: i32,
    data: &[u8],
) {
    reply_header(out, RET_SUBMIT, seqnum);
    out.extend(status.code().to_be_bytes());
    // At most MAX_TRANSFER_LEN, since nothing longer is taken.
    out.extend((actual_length as u32).to_be_bytes());
    out.extend(0u32.to_be_bytes()); // start_frame
    out.extend(packets.to_be_bytes());
    out.extend(0u32.to_be_bytes()); // error_count
    out.extend([0; 8]);
    out.extend(data);
}

/// Appends USBIP_RET_UNLINK: [`Status::UNLINKED`] if the URB was taken back, [`Status::OK`] if it was too late.
pub fn ret_unlink(out: &mut Vec<u8>, seqnum: u32, status: Status) {
    reply_header(out, RET_UNLINK, seqnum);
    out.extend(status.code().to_be_bytes());
    out.extend([0; 24]);
}

/// `struct usbip_header_basic`; a reply leaves device, direction and endpoint zero.
fn reply_header(out: &mut Vec<u8>, command: u32, seqnum: u32) {
    out.extend(command.to_be_bytes());
    out.extend(seqnum.to_be_bytes());
    out.extend([0; 12]);
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
