//! A server in this process, and a host that speaks USB/IP to it byte by byte.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use brasskey::{ImageSource, Key, KeyOptions, PresencePolicy, Server};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

pub const IN: u32 = 1;
pub const OUT: u32 = 0;

/// How long a test waits for what must come. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs until it is dropped.
pub struct TestServer {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub fn start(keys: Vec<Key>) -> Self {
        let (address_sender, address) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = Server::bind("127.0.0.1:0".parse().unwrap(), false, keys).await.unwrap();
                address_sender.send(server.local_addr()).unwrap();
                server.serve(async { drop(stopped.await) }).await;
            });
        });
        Self { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// One key in memory that grants every touch.
    pub fn simple() -> Self {
        Self::start(vec![memory_key()])
    }

    /// Stops the server and waits until it has.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Imports `bus_id`; the error is the status.
    pub fn import(&self, bus_id: &str) -> Result<Host, u32> {
        let mut stream = self.connect();
        stream.write_all(&import_request(bus_id)).unwrap();
        let reply = read(&mut stream, 8);
        assert_eq!(reply[..4], [0x01, 0x11, 0x00, 0x03]);
        match be32(&reply, 4) {
            0 => {
                let device = read(&mut stream, 312);
                let device_id = be32(&device, 288) << 16 | be32(&device, 292);
                let (submitted, early) = (HashMap::new(), HashMap::new());
                Ok(Host { stream, device, device_id, seqnum: 0, submitted, early })
            }
            status => Err(status),
        }
    }

    /// Imports the first key, which must be free.
    pub fn attach(&self) -> Host {
        self.import("1-1").unwrap()
    }

    /// Imports the first key and sets the device up.
    pub fn fido(&self) -> Host {
        let mut host = self.attach();
        assert_eq!(host.control(0x00, 9, 1, 0, &[]).0, 0, "SET_CONFIGURATION");
        host
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

pub fn memory_key() -> Key {
    Key::new(KeyOptions::new(ImageSource::Memory).presence(PresencePolicy::Auto))
}

pub fn import_request(bus_id: &str) -> Vec<u8> {
    let mut request = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    request.extend(bus_id.as_bytes());
    request.resize(40, 0);
    request
}

pub fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Whether the server has ended the connection: everything it still sent is thrown away.
pub fn is_ended(stream: &mut TcpStream) -> bool {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            }
        }
    }
}

pub fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The bus ids in the server's list.
pub fn listed(server: &TestServer) -> Vec<String> {
    let mut stream = server.connect();
    stream.write_all(&[0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0]).unwrap();
    let header = read(&mut stream, 12);
    let entries = (0..be32(&header, 8)).map(|_| {
        let entry = read(&mut stream, 312);
        read(&mut stream, 4 * usize::from(entry[311]));
        let bus_id = entry[256..288].split(|byte| *byte == 0).next().unwrap();
        String::from_utf8(bus_id.to_vec()).unwrap()
    });
    entries.collect()
}

/// A USB/IP command's header.
#[derive(Clone, Copy)]
pub struct Submit {
    pub seqnum: u32,
    pub device_id: u32,
    pub direction: u32,
    pub endpoint: u32,
    pub flags: u32,
    pub length: i32,
    pub packets: i32,
    pub setup: [u8; 8],
}

impl Submit {
    pub fn bytes(&self, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let words = [1, self.seqnum, self.device_id, self.direction, self.endpoint, self.flags];
        bytes.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        bytes.extend([self.length, 0, self.packets, 5].iter().flat_map(|word| word.to_be_bytes()));
        bytes.extend(self.setup);
        bytes.extend(data);
        bytes
    }
}

/// A reply.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    pub command: u32,
    pub seqnum: u32,
    pub status: i32,
    pub length: i32,
    pub data: Vec<u8>,
}

pub const RET_SUBMIT: u32 = 3;
pub const RET_UNLINK: u32 = 4;

/// A host that has imported a key.
pub struct Host {
    pub stream: TcpStream,
    /// `struct usbip_usb_device` from the import.
    pub device: Vec<u8>,
    pub device_id: u32,
    seqnum: u32,
    /// The direction of each transfer that has no reply yet.
    submitted: HashMap<u32, u32>,
    /// Replies that came while another was awaited.
    early: HashMap<u32, Reply>,
}

impl Host {
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Makes a SUBMIT that is not sent yet.
    pub fn make(&mut self, direction: u32, endpoint: u32, length: usize) -> Submit {
        self.seqnum += 1;
        self.submitted.insert(self.seqnum, direction);
        Submit {
            seqnum: self.seqnum,
            device_id: self.device_id,
            direction,
            endpoint,
            flags: 0,
            length: length as i32,
            packets: 0,
            setup: [0; 8],
        }
    }

    pub fn submit(&mut self, direction: u32, endpoint: u32, length: usize, data: &[u8]) -> u32 {
        let submit = self.make(direction, endpoint, length);
        self.send(&submit.bytes(data));
        submit.seqnum
    }

    /// Sends UNLINK and returns its number.
    pub fn unlink(&mut self, victim: u32) -> u32 {
        self.seqnum += 1;
        let bytes = self.unlink_bytes(self.seqnum, victim);
        self.send(&bytes);
        self.seqnum
    }

    pub fn unlink_bytes(&self, seqnum: u32, victim: u32) -> Vec<u8> {
        let words = [2, seqnum, self.device_id, 0, 0, victim, 0, 0, 0, 0, 0, 0];
        words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
    }

    /// The next reply, whatever it answers.
    pub fn next(&mut self) -> Reply {
        let header = read(&mut self.stream, 48);
        let (command, seqnum) = (be32(&header, 0), be32(&header, 4));
        assert_eq!(header[8..20], [0; 12], "device, direction and endpoint of a reply");
        let (status, length) = (be32(&header, 20) as i32, be32(&header, 24) as i32);
        let mut data = Vec::new();
        if command == RET_SUBMIT {
            let direction = self.submitted.remove(&seqnum).expect("a reply to nothing");
            if direction == IN {
                data = read(&mut self.stream, length as usize);
            }
        } else {
            assert_eq!(command, RET_UNLINK);
        }
        Reply { command, seqnum, status, length, data }
    }

    /// The reply to `seqnum`.
    pub fn reply(&mut self, seqnum: u32) -> Reply {
        loop {
            if let Some(reply) = self.early.remove(&seqnum) {
                return reply;
            }
            let reply = self.next();
            self.early.insert(reply.seqnum, reply);
        }
    }

    /// A control transfer whose buffer has the length of `wLength`: status and data.
    pub fn control(&mut self, kind: u8, request: u8, value: u16, index: u16, data: &[u8]) -> (i32, Vec<u8>) {
        self.control_sized(kind, request, value, index, data.len() as u16, data)
    }

    pub fn control_in(
        &mut self,
        kind: u8,
        request: u8,
        value: u16,
        index: u16,
        length: u16,
    ) -> (i32, Vec<u8>) {
        self.control_sized(kind, request, value, index, length, &[])
    }

    fn control_sized(
        &mut self,
        kind: u8,
        request: u8,
        value: u16,
        index: u16,
        length: u16,
        data: &[u8],
    ) -> (i32, Vec<u8>) {
        let direction = u32::from(kind >> 7);
        let mut submit = self.make(direction, 0, usize::from(length));
        let [v0, v1] = value.to_le_bytes();
        let [i0, i1] = index.to_le_bytes();
        let [l0, l1] = length.to_le_bytes();
        submit.setup = [kind, request, v0, v1, i0, i1, l0, l1];
        self.send(&submit.bytes(data));
        let reply = self.reply(submit.seqnum);
        (reply.status, reply.data)
    }

    /// GET_DESCRIPTOR of the device.
    pub fn descriptor(&mut self, kind: u8, index: u8, length: u16) -> (i32, Vec<u8>) {
        self.control_in(0x80, 6, u16::from_be_bytes([kind, index]), 0, length)
    }

    /// Sends a CTAPHID packet and waits until the key has taken it.
    pub fn write_packet(&mut self, packet: &[u8]) {
        let mut packet = packet.to_vec();
        packet.resize(64, 0);
        let seqnum = self.submit(OUT, 1, 64, &packet);
        let reply = self.reply(seqnum);
        assert_eq!((reply.status, reply.length), (0, 64));
    }

    pub fn read_packet(&mut self) -> Vec<u8> {
        let seqnum = self.submit(IN, 1, 64, &[]);
        let reply = self.reply(seqnum);
        assert_eq!((reply.status, reply.length), (0, 64));
        reply.data
    }

    /// CTAPHID_INIT: a channel.
    pub fn open_channel(&mut self) -> u32 {
        let nonce = [1, 2, 3, 4, 5, 6, 7, 8];
        self.write_packet(&[&[0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8], &nonce[..]].concat());
        let answer = self.read_packet();
        assert_eq!(answer[7..15], nonce);
        be32(&answer, 15)
    }

    pub fn send_message(&mut self, channel: u32, command: u8, message: &[u8]) {
        let (first, mut rest) = message.split_at(message.len().min(57));
        let [high, low] = (message.len() as u16).to_be_bytes();
        self.write_packet(&[&channel.to_be_bytes()[..], &[0x80 | command, high, low], first].concat());
        for sequence in 0.. {
            if rest.is_empty() {
                return;
            }
            let (next, after) = rest.split_at(rest.len().min(59));
            self.write_packet(&[&channel.to_be_bytes()[..], &[sequence], next].concat());
            rest = after;
        }
    }

    /// The answer to a message: the statuses of its keep-alives, its command, and its data.
    pub fn read_message(&mut self, channel: u32) -> (Vec<u8>, u8, Vec<u8>) {
        let mut keep_alives = Vec::new();
        loop {
            let packet = self.read_packet();
            assert_eq!(be32(&packet, 0), channel);
            let command = packet[4] & 0x7F;
            if command == 0x3B {
                keep_alives.push(packet[7]);
                continue;
            }
            let length = usize::from(u16::from_be_bytes([packet[5], packet[6]]));
            let mut message = packet[7..].to_vec();
            while message.len() < length {
                message.extend(&self.read_packet()[5..]);
            }
            message.truncate(length);
            return (keep_alives, command, message);
        }
    }

    /// A CTAP2 command on a channel of its own: status and CBOR, and the keep-alives before it.
    pub fn ctap2(&mut self, channel: u32, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        self.send_message(channel, 0x10, message);
        let (keep_alives, command, answer) = self.read_message(channel);
        assert_eq!(command, 0x10, "{answer:02x?}");
        (keep_alives, answer)
    }
}

/// authenticatorSelection: the shortest command that wants a touch.
pub const SELECTION: u8 = 0x0B;
/// authenticatorReset.
pub const RESET: u8 = 0x07;
