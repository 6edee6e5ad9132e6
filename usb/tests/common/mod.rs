//! The whole USB side on a desk: usb-device, usbd-ctaphid, the gate and its bus, over a peripheral in memory, with
//! a host that the test plays, an application that the test scripts and a clock that the test moves.

#![allow(dead_code, unreachable_pub, reason = "each test file is a crate and uses its part")]

pub mod bus;

use brasskey_usb::{Channel, DeviceConfig, FidoDevice, GatedBus, Link, Poll, Responder};
use bus::{Event, MemBus};
use ctaphid_dispatch::app::{Command, Error};
use usb_device::bus::UsbBusAllocator;

pub const PING: u8 = 0x01;
pub const MSG: u8 = 0x03;
pub const LOCK: u8 = 0x04;
pub const INIT: u8 = 0x06;
pub const WINK: u8 = 0x08;
pub const CBOR: u8 = 0x10;
pub const CANCEL: u8 = 0x11;
pub const KEEPALIVE: u8 = 0x3B;
pub const ERROR: u8 = 0x3F;

pub const INVALID_CMD: u8 = 0x01;
pub const INVALID_LEN: u8 = 0x03;
pub const INVALID_SEQ: u8 = 0x04;
pub const MSG_TIMEOUT: u8 = 0x05;
pub const CHANNEL_BUSY: u8 = 0x06;
pub const INVALID_CHANNEL: u8 = 0x0B;

pub const PROCESSING: u8 = 1;
pub const UPNEEDED: u8 = 2;

pub const BROADCAST: u32 = 0xFFFF_FFFF;
pub const FIDO: usize = 1;

/// The longest message of the device under test, unless a test says otherwise.
pub const N: usize = 7609;

/// A message, put together again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    pub channel: u32,
    pub command: u8,
    pub data: Vec<u8>,
}

impl Message {
    pub fn new(channel: u32, command: u8, data: &[u8]) -> Self {
        Self { channel, command, data: data.to_vec() }
    }

    pub fn error(channel: u32, code: u8) -> Self {
        Self::new(channel, ERROR, &[code])
    }

    pub fn keepalive(channel: u32, status: u8) -> Self {
        Self::new(channel, KEEPALIVE, &[status])
    }

    /// Its packets.
    pub fn packets(&self) -> Vec<[u8; 64]> {
        let (first, rest) = self.data.split_at(self.data.len().min(57));
        let mut packets = vec![self.first(self.data.len(), first)];
        for (sequence, chunk) in rest.chunks(59).enumerate() {
            packets.push(continuation(self.channel, sequence as u8, chunk));
        }
        packets
    }

    /// The first packet alone, with any length in it.
    pub fn first(&self, length: usize, data: &[u8]) -> [u8; 64] {
        let mut packet = [0; 64];
        packet[..4].copy_from_slice(&self.channel.to_be_bytes());
        packet[4] = 0x80 | self.command;
        packet[5..7].copy_from_slice(&(length as u16).to_be_bytes());
        packet[7..][..data.len()].copy_from_slice(data);
        packet
    }
}

/// The first packet of a message of `length` bytes.
pub fn begin(channel: u32, command: u8, length: usize) -> [u8; 64] {
    Message::new(channel, command, &[]).first(length, &[])
}

pub fn continuation(channel: u32, sequence: u8, data: &[u8]) -> [u8; 64] {
    let mut packet = [0; 64];
    packet[..4].copy_from_slice(&channel.to_be_bytes());
    packet[4] = sequence;
    packet[5..][..data.len()].copy_from_slice(data);
    packet
}

/// `length` bytes, each different from its neighbours.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// A key on a desk. `MAX` is its longest message.
pub struct Wire<const MAX: usize = N> {
    pub bus: MemBus,
    pub device: FidoDevice<'static, MemBus, MAX>,
    pub channel: &'static Channel<MAX>,
    /// The application's end, unless a test took it.
    pub responder: Option<Responder<'static, MAX>>,
    pub link: &'static Link,
    pub now: u64,
    /// What the last poll asked for.
    pub poll: Poll,
    /// Whether a request was announced, or a cancellation, since a test looked.
    pub request_ready: bool,
    pub cancelled: bool,
    pub polls: usize,
}

impl Wire {
    /// A key that the host has reset and configured.
    pub fn new() -> Self {
        Self::with_max()
    }
}

impl<const MAX: usize> Wire<MAX> {
    pub fn with_max() -> Self {
        Self::with_config(DeviceConfig { version: [5, 6, 7], ..DeviceConfig::default() })
    }

    pub fn with_config(config: DeviceConfig<'static>) -> Self {
        let channel: &'static Channel<MAX> = Box::leak(Box::new(Channel::new()));
        let link: &'static Link = Box::leak(Box::new(Link::new()));
        Self::on_channel(config, channel, link)
    }

    /// A device at a channel that may have been used before.
    pub fn on_channel(
        config: DeviceConfig<'static>,
        channel: &'static Channel<MAX>,
        link: &'static Link,
    ) -> Self {
        let bus = MemBus::default();
        let allocator = Box::leak(Box::new(UsbBusAllocator::new(GatedBus::new(bus.clone()))));
        let requester = channel.requester().unwrap();
        let device = FidoDevice::new(allocator, requester, link, &config);
        let responder = channel.responder();
        let mut wire = Self {
            bus,
            device,
            channel,
            responder,
            link,
            now: 1_000_000,
            poll: Poll::default(),
            request_ready: false,
            cancelled: false,
            polls: 0,
        };
        wire.reset();
        wire
    }

    // The clock.

    /// Lets the device run, as its caller does at an event.
    pub fn poll(&mut self) {
        self.polls += 1;
        self.poll = self.device.poll(self.now);
        self.request_ready |= self.poll.request_ready;
        self.cancelled |= self.poll.cancelled;
        assert!(self.poll.deadline.is_none_or(|deadline| deadline > self.now), "polled for ever");
    }

    /// Moves the clock, and polls at each deadline on the way and at the end.
    pub fn advance(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(deadline) = self.poll.deadline.filter(|&deadline| deadline <= end) {
            self.now = deadline;
            self.poll();
        }
        self.now = end;
        self.poll();
    }

    // The host.

    pub fn reset(&mut self) {
        self.bus.raise(Event::Reset);
        self.poll();
    }

    pub fn send_packet(&mut self, packet: &[u8]) {
        self.bus.host_sends(FIDO, packet);
        self.poll();
    }

    pub fn send(&mut self, channel: u32, command: u8, data: &[u8]) {
        for packet in Message::new(channel, command, data).packets() {
            self.send_packet(&packet);
        }
    }

    /// The next packet from the device, if it has one now.
    pub fn take_packet(&mut self) -> Option<[u8; 64]> {
        let packet = self.bus.host_takes(FIDO)?;
        self.poll();
        Some(packet.try_into().expect("reports are 64 bytes"))
    }

    /// The next packet, for which the clock may move while the device has a deadline, up to 50 ms.
    pub fn wait_packet(&mut self) -> Option<[u8; 64]> {
        for _ in 0..50 {
            let packet = self.take_packet();
            if packet.is_some() {
                return packet;
            }
            self.poll.deadline?;
            self.advance(1);
        }
        None
    }

    /// The next message, whole.
    pub fn receive(&mut self) -> Option<Message> {
        let first = self.wait_packet()?;
        let channel = u32::from_be_bytes(first[..4].try_into().unwrap());
        assert_ne!(first[4] & 0x80, 0, "an answer begins with a continuation packet: {first:02x?}");
        let length = usize::from(u16::from_be_bytes(first[5..7].try_into().unwrap()));
        let mut data = first[7..].to_vec();
        let mut sequence = 0;
        while data.len() < length {
            let next = self.wait_packet().expect("an answer is cut short");
            assert_eq!(next[..4], first[..4], "packets of two messages are mixed");
            assert_eq!(next[4], sequence);
            data.extend(&next[5..]);
            sequence += 1;
        }
        assert!(data[length..].iter().all(|&byte| byte == 0), "padding is not zero: {data:02x?}");
        data.truncate(length);
        Some(Message { channel, command: first[4] & 0x7F, data })
    }

    pub fn transact(&mut self, channel: u32, command: u8, data: &[u8]) -> Option<Message> {
        self.send(channel, command, data);
        self.receive()
    }

    /// Asserts that the device has nothing to say and nothing to wait for.
    #[track_caller]
    pub fn assert_idle(&mut self) {
        assert_eq!(self.receive(), None);
        assert_eq!(self.poll.deadline, None, "an idle device needs no timer");
    }

    /// Asserts that the device is silent now; it may be waiting.
    #[track_caller]
    pub fn assert_silent(&mut self) {
        let packet = self.take_packet();
        assert_eq!(packet, None);
    }

    /// INIT, on any channel; the answer's channel.
    #[track_caller]
    pub fn init(&mut self, channel: u32) -> u32 {
        let nonce = self.now.to_be_bytes();
        let answer = self.transact(channel, INIT, &nonce).expect("INIT is answered at once");
        assert_eq!((answer.channel, answer.command, answer.data.len()), (channel, INIT, 17));
        assert_eq!(answer.data[..8], nonce);
        assert_eq!(answer.data[12..], [2, 5, 6, 7, 0x05]);
        u32::from_be_bytes(answer.data[8..12].try_into().unwrap())
    }

    /// A channel of one's own.
    #[track_caller]
    pub fn open(&mut self) -> u32 {
        self.init(BROADCAST)
    }

    // The application.

    fn responder(&mut self) -> &mut Responder<'static, MAX> {
        self.responder.as_mut().expect("the test took the responder")
    }

    /// Takes the request that waits.
    pub fn app_takes(&mut self) -> Option<(u8, Vec<u8>)> {
        let (command, message) = self.responder().take_request()?;
        Some((command.into_u8(), message.to_vec()))
    }

    /// Answers the request that was taken.
    pub fn app_answers(&mut self, answer: &[u8]) {
        self.app_says(Ok(answer));
    }

    pub fn app_says(&mut self, answer: Result<&[u8], Error>) {
        let answer = answer.map(|data| data.try_into().unwrap());
        self.responder().respond(answer.into()).unwrap();
        self.poll();
    }

    pub fn app_waits_for_user(&mut self, waits: bool) {
        self.link.set_waiting_for_user(waits);
        self.poll();
    }

    /// Sends a CBOR request and has the application take it.
    #[track_caller]
    pub fn start_cbor(&mut self, channel: u32, data: &[u8]) {
        self.send(channel, CBOR, data);
        assert_eq!(self.app_takes(), Some((CBOR, data.to_vec())));
        assert_eq!(Command::Cbor.into_u8(), CBOR);
    }

    /// Asserts that a CBOR request on `channel` is served from end to end.
    #[track_caller]
    pub fn assert_serves(&mut self, channel: u32) {
        let (request, answer) = (pattern(100), pattern(200));
        self.start_cbor(channel, &request);
        assert_eq!(self.link.channel(), channel);
        assert!(!self.link.is_cancelled());
        self.app_answers(&answer);
        assert_eq!(self.receive(), Some(Message::new(channel, CBOR, &answer)));
        assert_eq!(
            self.transact(channel, PING, &pattern(99)),
            Some(Message::new(channel, PING, &pattern(99)))
        );
        self.assert_idle();
    }
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// Less than `limit`, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    /// Once in `of` times.
    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}
