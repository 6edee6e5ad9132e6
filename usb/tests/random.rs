//! Hosts, application and bus that do as they please.

mod common;

use common::bus::Event;
use common::*;
use std::collections::{HashMap, HashSet, VecDeque};

/// The longest message here; short, so that the odds for lengths around it are good.
const MAX: usize = 600;

/// An application that takes its time and answers a request with the same bytes.
#[derive(Default)]
struct Echo {
    request: Option<Vec<u8>>,
}

impl Echo {
    fn step(&mut self, wire: &mut Wire<MAX>, random: &mut Random) {
        match self.request.take() {
            None => {
                let taken = if random.one_in(2) { wire.app_takes() } else { None };
                self.request = taken.map(|(_, data)| data);
            }
            Some(request) if random.one_in(4) || wire.link.is_cancelled() => {
                wire.link.set_waiting_for_user(false);
                wire.app_answers(&request);
            }
            Some(request) => {
                wire.app_waits_for_user(random.one_in(2));
                self.request = Some(request);
            }
        }
    }
}

/// Lets everything come to an end; what came in on the way.
fn drain(wire: &mut Wire<MAX>, echo: &mut Echo, random: &mut Random) -> Vec<[u8; 64]> {
    let mut packets = vec![];
    for _ in 0..2000 {
        echo.step(wire, random);
        packets.extend(wire.take_packet());
        wire.advance(1);
    }
    assert_eq!(wire.bus.unread(FIDO), 0, "a packet of the host is stuck");
    assert_eq!(wire.poll.deadline, None, "not idle");
    packets
}

// Anything at all.

/// A packet that is likely to hit something.
fn any_packet(random: &mut Random, channels: &[u32]) -> Vec<u8> {
    let channel = match random.below(8) {
        0 => 0,
        1 => BROADCAST,
        2 => random.next() as u32,
        _ => channels[random.below(channels.len())],
    };
    let length = match random.below(6) {
        0 => random.below(0x1_0000),
        1 => MAX - 1 + random.below(3),
        2 => 0,
        _ => random.below(200),
    };
    let command = match random.below(10) {
        0 => random.below(128) as u8,
        1 | 2 => INIT,
        3 => CANCEL,
        4 | 5 => PING,
        6 => MSG,
        7 => WINK,
        _ => CBOR,
    };
    let length = if command == INIT && !random.one_in(4) { 8 } else { length };
    let mut packet = match random.below(5) {
        0 | 1 => continuation(channel, random.below(6) as u8, b""),
        2 if random.one_in(4) => continuation(channel, random.below(128) as u8, b""),
        _ => begin(channel, command, length),
    }
    .to_vec();
    packet[7..].fill_with(|| random.next() as u8);
    if random.one_in(50) {
        packet.truncate(random.below(64));
    }
    packet
}

#[test]
fn any_packets_in_any_order_break_nothing() {
    for seed in 1..=40 {
        let mut random = Random(seed * 0x9E37_79B9);
        let mut wire = Wire::<MAX>::with_max();
        let mut echo = Echo::default();
        let mut channels = vec![wire.open()];
        // Channels that a host has sent on since the last reset: only there it may hear anything.
        let mut addressed: HashSet<u32> = channels.iter().copied().collect();
        let mut in_message = HashMap::new();
        for _ in 0..3000 {
            match random.below(100) {
                0..30 => {
                    let packet = any_packet(&mut random, &channels);
                    if let Some(channel) = packet.first_chunk() {
                        addressed.insert(u32::from_be_bytes(*channel));
                    }
                    wire.bus.host_sends(FIDO, &packet);
                    if random.one_in(3) {
                        wire.poll();
                    }
                }
                30..60 => {
                    if let Some(packet) = wire.take_packet() {
                        check(&packet, &addressed, &mut in_message);
                        // The bytes after INIT's nonce are a channel.
                        if packet[4] == 0x80 | INIT {
                            channels.push(u32::from_be_bytes(packet[15..19].try_into().unwrap()));
                        }
                    }
                }
                60..75 => echo.step(&mut wire, &mut random),
                75..95 => {
                    let ms = random.below(20) as u64;
                    wire.advance(ms);
                }
                95..98 => {
                    let ms = random.below(700) as u64;
                    // Not every deadline is kept.
                    wire.now += ms;
                    wire.poll();
                }
                98 if random.one_in(10) => {
                    wire.reset();
                    addressed.clear();
                    in_message.clear();
                }
                98 => {
                    let error = random.one_in(2).then_some(usb_device::UsbError::InvalidState);
                    wire.bus.fail_writes(error);
                }
                _ => {
                    wire.bus.raise(if random.one_in(2) { Event::Suspend } else { Event::Resume });
                    wire.poll();
                }
            }
        }
        wire.bus.fail_writes(None);
        wire.bus.raise(Event::Resume);
        wire.poll();
        for packet in drain(&mut wire, &mut echo, &mut random) {
            check(&packet, &addressed, &mut in_message);
        }
        let one = wire.open();
        wire.assert_serves(one);
    }
}

/// A packet for the host is for a channel that it has used, and messages of one channel are whole: a continuation
/// goes on where the one before it ended. Only an INIT, or an error, may stand where a continuation should.
fn check(packet: &[u8; 64], addressed: &HashSet<u32>, in_message: &mut HashMap<u32, (u8, usize)>) {
    let channel = u32::from_be_bytes(packet[..4].try_into().unwrap());
    assert!(addressed.contains(&channel), "{channel:#x} never asked");
    let unfinished = in_message.remove(&channel);
    if packet[4] & 0x80 == 0 {
        let (sequence, missing) = unfinished.expect("a continuation of nothing");
        assert_eq!(packet[4], sequence);
        if missing > 59 {
            in_message.insert(channel, (sequence + 1, missing - 59));
        }
        return;
    }
    if let Some((_, missing)) = unfinished {
        assert!(matches!(packet[4] & 0x7F, INIT | ERROR), "{missing} bytes of an answer are lost");
        if packet[4] & 0x7F == ERROR {
            // An intruder's error among the packets of an answer.
            assert_eq!(packet[7], CHANNEL_BUSY);
            in_message.extend(unfinished.map(|unfinished| (channel, unfinished)));
            return;
        }
    }
    let length = usize::from(u16::from_be_bytes([packet[5], packet[6]]));
    assert!(length <= MAX);
    if length > 57 {
        in_message.insert(channel, (0, length - 57));
    }
}

// Hosts that know their manners.

/// What a host waits for.
#[derive(Debug)]
enum Waits {
    Nothing,
    /// For an answer to these bytes, or busy.
    Answer {
        command: u8,
        data: Vec<u8>,
        received: Vec<u8>,
        cancelled: bool,
    },
    /// For INIT's nonce on its channel; whatever comes before is dropped, as hosts do.
    Resync([u8; 8]),
}

struct Host {
    channel: u32,
    out: VecDeque<[u8; 64]>,
    waits: Waits,
    answers: usize,
    busy: usize,
    serial: u32,
}

impl Host {
    fn step(&mut self, random: &mut Random) {
        match &mut self.waits {
            Waits::Nothing => {
                self.serial += 1;
                // Every message says whose it is and which, and is long enough for that.
                let mut data = self.channel.to_be_bytes().to_vec();
                data.extend(self.serial.to_be_bytes());
                let length = random.below(MAX - 8);
                data.extend((0..length).map(|_| random.next() as u8));
                let command = [PING, MSG, CBOR][random.below(3)];
                self.out.extend(Message::new(self.channel, command, &data).packets());
                self.waits = Waits::Answer { command, data, received: vec![], cancelled: false };
            }
            Waits::Answer { cancelled, .. } if self.out.is_empty() && random.one_in(40) && !*cancelled => {
                *cancelled = true;
                self.out.extend(Message::new(self.channel, CANCEL, b"").packets());
            }
            // Also in the middle of sending.
            Waits::Answer { .. } if random.one_in(60) => {
                self.serial += 1;
                let nonce = (u64::from(self.channel) << 32 | u64::from(self.serial)).to_be_bytes();
                self.out.clear();
                self.out.extend(Message::new(self.channel, INIT, &nonce).packets());
                self.waits = Waits::Resync(nonce);
            }
            _ => {}
        }
    }

    fn receive(&mut self, packet: &[u8; 64]) {
        match &mut self.waits {
            Waits::Resync(nonce) => {
                if packet[4] == 0x80 | INIT && packet[7..15] == *nonce {
                    assert_eq!(packet[15..19], self.channel.to_be_bytes());
                    self.waits = Waits::Nothing;
                    self.answers += 1;
                }
            }
            Waits::Nothing => panic!("nobody asked for {packet:02x?}"),
            Waits::Answer { command, received, .. } => match packet[4] {
                sequence @ 0..0x80 => {
                    assert_eq!(usize::from(sequence), (received.len() - 57) / 59);
                    received.extend(&packet[5..]);
                }
                first if first == 0x80 | KEEPALIVE => {
                    assert_eq!(*command, CBOR);
                    assert!(received.is_empty());
                    return;
                }
                first if first == 0x80 | ERROR => {
                    assert_eq!(packet[7], CHANNEL_BUSY, "a well-formed message fails");
                    assert!(received.is_empty());
                    // The rest of the message is dropped by the device.
                    self.busy += 1;
                    self.waits = Waits::Nothing;
                    return;
                }
                first => {
                    assert_eq!(first, 0x80 | *command);
                    assert!(received.is_empty(), "two answers");
                    received.extend(&packet[7..]);
                }
            },
        }
        if let Waits::Answer { data, received, .. } = &self.waits
            && received.len() >= data.len()
        {
            assert_eq!(received[..data.len()], data[..], "an answer to somebody else");
            self.answers += 1;
            self.waits = Waits::Nothing;
        }
    }
}

#[test]
fn well_formed_transactions_are_all_answered() {
    let (mut answers, mut busy) = (0, 0);
    for seed in 1..=30 {
        let mut random = Random(seed * 0x1234_5677);
        let mut wire = Wire::<MAX>::with_max();
        let mut echo = Echo::default();
        let mut hosts: Vec<Host> = (0..1 + random.below(4))
            .map(|_| Host {
                channel: wire.open(),
                out: VecDeque::new(),
                waits: Waits::Nothing,
                answers: 0,
                busy: 0,
                serial: 0,
            })
            .collect();
        let deliver = |hosts: &mut Vec<Host>, packet: [u8; 64]| {
            let channel = u32::from_be_bytes(packet[..4].try_into().unwrap());
            if channel == BROADCAST {
                assert_eq!(packet[4], 0x80 | INIT);
                return;
            }
            let host = hosts.iter_mut().find(|host| host.channel == channel).expect("a stranger's channel");
            host.receive(&packet);
        };
        for _ in 0..4000 {
            match random.below(10) {
                0..5 => {
                    let index = random.below(hosts.len());
                    hosts[index].step(&mut random);
                    // A host sends without long pauses, and waits when the device does not read.
                    for _ in 0..random.below(4) {
                        if wire.bus.unread(FIDO) < 8
                            && let Some(packet) = hosts[index].out.pop_front()
                        {
                            wire.bus.host_sends(FIDO, &packet);
                        }
                    }
                    wire.poll();
                }
                5..8 => {
                    for _ in 0..random.below(6) {
                        if let Some(packet) = wire.take_packet() {
                            deliver(&mut hosts, packet);
                        }
                    }
                }
                8 => echo.step(&mut wire, &mut random),
                _ if random.one_in(20) => wire.send(BROADCAST, INIT, &[0; 8]),
                _ => {
                    let ms = random.below(4) as u64;
                    wire.advance(ms);
                }
            }
        }
        // The end: everybody sends what he has and hears what is his.
        for host in &mut hosts {
            for packet in std::mem::take(&mut host.out) {
                wire.bus.host_sends(FIDO, &packet);
            }
        }
        for packet in drain(&mut wire, &mut echo, &mut random) {
            deliver(&mut hosts, packet);
        }
        for host in &hosts {
            assert!(matches!(host.waits, Waits::Nothing), "seed {seed}: {:?} is never answered", host.waits);
            answers += host.answers;
            busy += host.busy;
        }
    }
    assert!(answers > 1000 && busy > 100, "{answers} answers, {busy} times busy: the test is too tame");
}
