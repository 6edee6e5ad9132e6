//! The client's side of USB/IP 1.1.1: what `usbip` and the kernel's vhci_hcd send (Linux,
//! Documentation/usb/usbip_protocol.rst). All numbers are big endian.
//!
//! [`list`] and [`Connection::import`] are the user-space half, [`Connection::submit`] and [`Connection::unlink`] the
//! kernel's. A thread of its own reads replies, so that any number of URBs may be under way.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::error::demand;
use crate::{Error, Result};

/// Protocol version 1.1.1.
pub const VERSION: u16 = 0x0111;
/// OP_REQ_DEVLIST; its reply has the top bit clear.
pub const OP_REQ_DEVLIST: u16 = 0x8005;
/// OP_REQ_IMPORT; its reply has the top bit clear.
pub const OP_REQ_IMPORT: u16 = 0x8003;
/// USBIP_CMD_SUBMIT.
pub const CMD_SUBMIT: u32 = 1;
/// USBIP_CMD_UNLINK.
pub const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

/// −EPIPE: the endpoint stalled.
pub const STALL: i32 = -32;
/// −ECONNRESET: an unlink took its URB back in time.
pub const UNLINKED: i32 = -104;

/// How long a server may take to answer what needs no user.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Which way data travels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Host to device.
    Out = 0,
    /// Device to host.
    In = 1,
}

/// A device as a server describes it (struct usbip_usb_device).
#[derive(Clone, Debug)]
pub struct Exported {
    /// Where it is, as the server's sysfs would name it.
    pub path: String,
    /// What to import it by.
    pub bus_id: String,
    /// Bus number and device number: together the `devid` of every URB.
    pub device_id: u32,
    /// enum usb_device_speed: 1 low, 2 full, 3 high.
    pub speed: u32,
    /// idVendor, idProduct and bcdDevice.
    pub ids: [u16; 3],
    /// bDeviceClass, bDeviceSubClass, bDeviceProtocol, bConfigurationValue, bNumConfigurations, bNumInterfaces.
    pub numbers: [u8; 6],
    /// Class, subclass and protocol of each interface; only a list has them.
    pub interfaces: Vec<[u8; 3]>,
}

impl Exported {
    fn read(stream: &mut impl Read) -> Result<Self> {
        let mut bytes = [0; 312];
        stream.read_exact(&mut bytes)?;
        let text = |range: std::ops::Range<usize>| {
            let field = &bytes[range];
            let end = field.iter().position(|&byte| byte == 0);
            let end = end.ok_or_else(|| Error::Violation("text without an end".into()))?;
            demand!(field[end..].iter().all(|&byte| byte == 0), "bytes after the end of a text");
            String::from_utf8(field[..end].to_vec()).map_err(|_| Error::Violation("text is not UTF-8".into()))
        };
        let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let u16_at = |at: usize| u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap());
        Ok(Self {
            path: text(0..256)?,
            bus_id: text(256..288)?,
            device_id: u32_at(288) << 16 | u32_at(292),
            speed: u32_at(296),
            ids: [u16_at(300), u16_at(302), u16_at(304)],
            numbers: bytes[306..312].try_into().unwrap(),
            interfaces: Vec::new(),
        })
    }
}

/// A TCP connection on which every byte leaves at once.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn operation(stream: &mut TcpStream, code: u16, body: &[u8]) -> Result<()> {
    let mut request = [&VERSION.to_be_bytes()[..], &code.to_be_bytes(), &[0; 4]].concat();
    request.extend_from_slice(body);
    stream.write_all(&request)?;
    let mut reply = [0; 8];
    stream.read_exact(&mut reply)?;
    demand!(reply[..2] == VERSION.to_be_bytes(), "protocol version {:02x?}", &reply[..2]);
    demand!(reply[2..4] == (code & 0x7fff).to_be_bytes(), "operation {:02x?} for {code:#06x}", &reply[2..4]);
    let status = u32::from_be_bytes(reply[4..].try_into().unwrap());
    if status != 0 {
        return Err(Error::Disconnected(format!("the server refused {code:#06x}: status {status}")));
    }
    Ok(())
}

/// What a server exports (OP_REQ_DEVLIST).
pub fn list(address: SocketAddr) -> Result<Vec<Exported>> {
    let mut stream = connect(address)?;
    operation(&mut stream, OP_REQ_DEVLIST, &[])?;
    let mut count = [0; 4];
    stream.read_exact(&mut count)?;
    (0..u32::from_be_bytes(count))
        .map(|_| {
            let mut exported = Exported::read(&mut stream)?;
            for _ in 0..exported.numbers[5] {
                let mut interface = [0; 4];
                stream.read_exact(&mut interface)?;
                exported.interfaces.push([interface[0], interface[1], interface[2]]);
            }
            Ok(exported)
        })
        .collect()
}

/// How a URB ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Completion {
    /// 0, or a negative errno.
    pub status: i32,
    /// How many bytes were moved.
    pub actual_length: usize,
    /// What an IN URB brought.
    pub data: Vec<u8>,
}

/// A URB under way.
#[derive(Debug)]
pub struct Urb {
    /// Its sequence number, by which it can be unlinked.
    pub sequence: u32,
    completion: Receiver<Completion>,
}

impl Urb {
    /// Waits for its end.
    ///
    /// Errors: [`Error::TimedOut`]; [`Error::Disconnected`].
    pub fn wait(&self, timeout: Duration) -> Result<Completion> {
        self.completion.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => Error::TimedOut,
            RecvTimeoutError::Disconnected => Error::Disconnected("while a URB was under way".into()),
        })
    }

    /// Waits for a good end and returns the data.
    pub fn data(&self, timeout: Duration) -> Result<Vec<u8>> {
        let completion = self.wait(timeout)?;
        if completion.status != 0 {
            return Err(Error::Urb(completion.status));
        }
        Ok(completion.data)
    }
}

struct Pending {
    direction: Direction,
    /// How much an IN URB has room for: vhci_hcd drops a device that sends more.
    room: usize,
    done: Sender<Completion>,
}

/// Sequence numbers of URBs and of unlinks share one count.
type Table = Arc<Mutex<HashMap<u32, Pending>>>;

/// An imported device, from attach to detach.
pub struct Connection {
    /// What the server said in its reply to the import.
    pub exported: Exported,
    writer: Mutex<(TcpStream, u32)>,
    pending: Table,
}

impl Connection {
    /// Imports a device (OP_REQ_IMPORT). From then on the connection is the device.
    ///
    /// Errors: [`Error::Disconnected`] if the server refuses, for instance because it is attached already.
    pub fn import(address: SocketAddr, bus_id: &str) -> Result<Self> {
        let mut stream = connect(address)?;
        let mut body = [0; 32];
        body[..bus_id.len()].copy_from_slice(bus_id.as_bytes());
        operation(&mut stream, OP_REQ_IMPORT, &body)?;
        let exported = Exported::read(&mut stream)?;
        demand!(exported.bus_id == bus_id, "asked for {bus_id}, was given {}", exported.bus_id);
        stream.set_read_timeout(None)?;
        let pending = Table::default();
        let reader = stream.try_clone()?;
        let table = pending.clone();
        std::thread::spawn(move || {
            let why = read_replies(reader, &table);
            // Whoever waits for a URB learns of the end when its sender goes.
            table.lock().unwrap().clear();
            why
        });
        Ok(Self { exported, writer: Mutex::new((stream, 0)), pending })
    }

    fn send(&self, command: u32, pending: Pending, rest: impl FnOnce(&mut Vec<u8>)) -> Result<u32> {
        let mut writer = self.writer.lock().unwrap();
        writer.1 += 1;
        let sequence = writer.1;
        let direction = if command == CMD_SUBMIT { pending.direction as u32 } else { 0 };
        self.pending.lock().unwrap().insert(sequence, pending);
        let mut packet = Vec::with_capacity(48);
        for number in [command, sequence, self.exported.device_id, direction] {
            packet.extend_from_slice(&number.to_be_bytes());
        }
        rest(&mut packet);
        writer.0.write_all(&packet)?;
        Ok(sequence)
    }

    /// Hands a URB to the device (USBIP_CMD_SUBMIT).
    ///
    /// `room` is how many bytes an IN URB takes; `interval` is bInterval of an interrupt endpoint.
    pub fn submit(&self, endpoint: u8, transfer: Transfer<'_>, interval: u8) -> Result<Urb> {
        let (direction, room, setup, data) = match transfer {
            Transfer::In { room, setup } => (Direction::In, room, setup, &[][..]),
            Transfer::Out { data, setup } => (Direction::Out, data.len(), setup, data),
        };
        let (done, completion) = channel();
        let sequence = self.send(CMD_SUBMIT, Pending { direction, room, done }, |packet| {
            for number in [u32::from(endpoint), 0, room as u32, 0, 0, u32::from(interval)] {
                packet.extend_from_slice(&number.to_be_bytes());
            }
            packet.extend_from_slice(&setup);
            packet.extend_from_slice(data);
        })?;
        Ok(Urb { sequence, completion })
    }

    /// Takes a URB back (USBIP_CMD_UNLINK). Returns the reply's status: [`UNLINKED`], or 0 when it was too late.
    pub fn unlink(&self, sequence: u32) -> Result<i32> {
        let (done, completion) = channel();
        let pending = Pending { direction: Direction::Out, room: 0, done };
        let unlink = self.send(CMD_UNLINK, pending, |packet| {
            for number in [0, sequence] {
                packet.extend_from_slice(&u32::to_be_bytes(number));
            }
            packet.resize(48, 0);
        })?;
        let status = Urb { sequence: unlink, completion }.wait(TIMEOUT)?.status;
        if status == UNLINKED {
            let taken_back = self.pending.lock().unwrap().remove(&sequence);
            demand!(taken_back.is_some(), "URB {sequence} was completed and taken back");
        }
        Ok(status)
    }

    /// Ends the connection, as unplugging does.
    pub fn close(&self) {
        self.writer.lock().unwrap().0.shutdown(Shutdown::Both).ok();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a URB is to do. `setup` is all zero but on endpoint 0.
#[derive(Clone, Copy, Debug)]
pub enum Transfer<'a> {
    /// Bring up to `room` bytes.
    In {
        /// transfer_buffer_length.
        room: usize,
        /// The eight bytes of a control transfer.
        setup: [u8; 8],
    },
    /// Take these bytes.
    Out {
        /// The data stage, or the packet.
        data: &'a [u8],
        /// The eight bytes of a control transfer.
        setup: [u8; 8],
    },
}

/// Reads until the connection ends or the server does what makes the kernel drop the device. Returns why it ended.
fn read_replies(mut stream: TcpStream, table: &Table) -> Error {
    loop {
        if let Err(error) = read_reply(&mut stream, table) {
            stream.shutdown(Shutdown::Both).ok();
            if let Error::Violation(what) = &error {
                // The test's own failure will only say that the device went away.
                eprintln!("USB/IP violation: {what}");
            }
            return error;
        }
    }
}

fn read_reply(stream: &mut TcpStream, table: &Table) -> Result<()> {
    let mut head = [0; 48];
    stream.read_exact(&mut head)?;
    let number = |index: usize| u32::from_be_bytes(head[4 * index..4 * index + 4].try_into().unwrap());
    let [command, sequence, _, _, _] = [0, 1, 2, 3, 4].map(number);
    let status = number(5) as i32;
    demand!([RET_SUBMIT, RET_UNLINK].contains(&command), "command {command}");
    demand!(head[8..20].iter().all(|&byte| byte == 0), "devid, direction and ep of a reply are not 0");
    let pending = table.lock().unwrap().remove(&sequence);
    // The kernel's "cannot find a urb of seqnum".
    demand!(pending.is_some(), "reply {command} for unknown sequence number {sequence}");
    let Some(Pending { direction, room, done }) = pending else { return Ok(()) };
    let mut completion = Completion { status, actual_length: 0, data: Vec::new() };
    if command == RET_SUBMIT {
        completion.actual_length = number(6) as usize;
        // The kernel's "recv xbuf".
        demand!(completion.actual_length <= room, "{} bytes for {room}", completion.actual_length);
        if direction == Direction::In {
            completion.data.resize(completion.actual_length, 0);
            stream.read_exact(&mut completion.data)?;
        }
    }
    // Nobody may be waiting any more.
    done.send(completion).ok();
    Ok(())
}
