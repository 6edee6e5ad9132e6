//! CTAPHID from the host's side (CTAP 2.3 §11.2): channels, messages in packets, keep-alives, cancel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::demand;
use crate::reports::Reports;
use crate::usb::{Device, REPORT, deadline};
use crate::{Error, Result};

/// CTAPHID_BROADCAST_CID.
pub const BROADCAST: u32 = 0xffff_ffff;

/// The longest message: a first packet and 128 more.
pub const MAX_MESSAGE: usize = 7609;

/// Payload of a first packet, in bytes.
const FIRST: usize = REPORT - 7;
/// Payload of a continuation packet, in bytes.
const NEXT: usize = REPORT - 5;

/// How long a key may be silent. Keep-alives start it anew.
pub const SILENCE: Duration = Duration::from_secs(20);

/// Commands (§11.2.9).
pub mod command {
    /// CTAPHID_PING
    pub const PING: u8 = 0x01;
    /// CTAPHID_MSG
    pub const MSG: u8 = 0x03;
    /// CTAPHID_LOCK
    pub const LOCK: u8 = 0x04;
    /// CTAPHID_INIT
    pub const INIT: u8 = 0x06;
    /// CTAPHID_WINK
    pub const WINK: u8 = 0x08;
    /// CTAPHID_CBOR
    pub const CBOR: u8 = 0x10;
    /// CTAPHID_CANCEL
    pub const CANCEL: u8 = 0x11;
    /// CTAPHID_KEEPALIVE
    pub const KEEPALIVE: u8 = 0x3b;
    /// CTAPHID_ERROR
    pub const ERROR: u8 = 0x3f;
}

/// Error codes (§11.2.9.1.6).
pub mod error {
    /// ERR_INVALID_CMD
    pub const INVALID_CMD: u8 = 0x01;
    /// ERR_INVALID_LEN
    pub const INVALID_LEN: u8 = 0x03;
    /// ERR_INVALID_SEQ
    pub const INVALID_SEQ: u8 = 0x04;
    /// ERR_MSG_TIMEOUT
    pub const MSG_TIMEOUT: u8 = 0x05;
    /// ERR_CHANNEL_BUSY
    pub const CHANNEL_BUSY: u8 = 0x06;
    /// ERR_INVALID_CHANNEL
    pub const INVALID_CHANNEL: u8 = 0x0b;
}

/// STATUS_PROCESSING of a keep-alive.
pub const PROCESSING: u8 = 1;
/// STATUS_UPNEEDED of a keep-alive.
pub const UPNEEDED: u8 = 2;

/// A whole message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// The channel.
    pub channel: u32,
    /// The command without its top bit.
    pub command: u8,
    /// The payload.
    pub data: Vec<u8>,
}

/// The packets of a message. The length is `data`'s unless `length` says otherwise.
pub fn packets(channel: u32, command: u8, data: &[u8], length: Option<u16>) -> Vec<[u8; REPORT]> {
    let first = &data[..data.len().min(FIRST)];
    let mut packet = [0; REPORT];
    packet[..4].copy_from_slice(&channel.to_be_bytes());
    packet[4] = command | 0x80;
    packet[5..7].copy_from_slice(&length.unwrap_or(data.len() as u16).to_be_bytes());
    packet[7..7 + first.len()].copy_from_slice(first);
    let mut packets = vec![packet];
    for (sequence, chunk) in data[first.len()..].chunks(NEXT).enumerate() {
        let mut packet = [0; REPORT];
        packet[..4].copy_from_slice(&channel.to_be_bytes());
        packet[4] = sequence as u8;
        packet[5..5 + chunk.len()].copy_from_slice(chunk);
        packets.push(packet);
    }
    packets
}

/// Reads the next whole message of any channel, a keep-alive included, whose first packet comes until `until`.
pub fn read_message(device: &impl Reports, until: Instant) -> Result<Message> {
    let first = device.read_report(until)?;
    let channel = u32::from_be_bytes(first[..4].try_into().unwrap());
    demand!(first[4] & 0x80 != 0, "a continuation packet out of nowhere: {first:02x?}");
    let length = usize::from(u16::from_be_bytes([first[5], first[6]]));
    demand!(length <= MAX_MESSAGE, "message of {length} bytes");
    let mut data = first[7..].to_vec();
    let mut sequence = 0;
    while data.len() < length {
        let next = device.read_report(deadline(SILENCE))?;
        demand!(next[..4] == first[..4], "channels mixed inside of a message");
        demand!(next[4] == sequence, "sequence {} for {sequence}", next[4]);
        sequence += 1;
        data.extend_from_slice(&next[5..]);
    }
    demand!(data[length..].iter().all(|&byte| byte == 0), "padding that is not zero");
    data.truncate(length);
    Ok(Message { channel, command: first[4] & 0x7f, data })
}

/// What CTAPHID_INIT answers (§11.2.9.1.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Init {
    /// The channel to use.
    pub channel: u32,
    /// The protocol's version: 2.
    pub protocol: u8,
    /// Major, minor and build version of the device.
    pub version: [u8; 3],
    /// CAPABILITY_WINK 0x01, CAPABILITY_CBOR 0x04, CAPABILITY_NMSG 0x08.
    pub capabilities: u8,
}

/// Sends CTAPHID_INIT on `channel` and reads its answer; whatever comes before it is an error.
pub fn init(device: &impl Reports, channel: u32, nonce: [u8; 8]) -> Result<Init> {
    for packet in packets(channel, command::INIT, &nonce, None) {
        device.write_report(&packet)?;
    }
    let message = read_message(device, deadline(SILENCE))?;
    if message.command == command::ERROR && message.channel == channel {
        return Err(Error::Ctaphid(message.data[0]));
    }
    parse_init(&message, channel, nonce)
}

/// Checks an answer to CTAPHID_INIT.
pub fn parse_init(message: &Message, channel: u32, nonce: [u8; 8]) -> Result<Init> {
    let Message { command, ref data, .. } = *message;
    demand!(message.channel == channel && command == command::INIT, "not the answer to INIT: {message:02x?}");
    demand!(data.len() == 17 && data[..8] == nonce, "answer to INIT: {data:02x?}");
    Ok(Init {
        channel: u32::from_be_bytes(data[8..12].try_into().unwrap()),
        protocol: data[12],
        version: data[13..16].try_into().unwrap(),
        capabilities: data[16],
    })
}

/// A channel of a device.
pub struct Channel<R = Device> {
    device: Arc<R>,
    /// What INIT answered.
    pub init: Init,
}

impl<R> Clone for Channel<R> {
    fn clone(&self) -> Self {
        Self { device: self.device.clone(), init: self.init }
    }
}

impl<R: Reports> Channel<R> {
    /// Opens a new channel.
    pub fn open(device: &Arc<R>) -> Result<Self> {
        // A nonce tells this host's INIT from another's: the clock does, as nothing secret hangs on it.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let init = init(device, BROADCAST, (now.as_nanos() as u64).to_be_bytes())?;
        demand!(![0, BROADCAST].contains(&init.channel), "channel {:#x} was given", init.channel);
        demand!(init.protocol == 2, "CTAPHID protocol {}", init.protocol);
        Ok(Self { device: device.clone(), init })
    }

    /// The device below.
    pub fn device(&self) -> &Arc<R> {
        &self.device
    }

    /// Sends a message.
    pub fn send(&self, command: u8, data: &[u8]) -> Result<()> {
        packets(self.init.channel, command, data, None)
            .iter()
            .try_for_each(|packet| self.device.write_report(packet))
    }

    /// Sends CTAPHID_CANCEL, which has no answer of its own.
    pub fn cancel(&self) -> Result<()> {
        self.send(command::CANCEL, &[])
    }

    /// Waits for a keep-alive. Returns its status.
    pub fn keep_alive(&self) -> Result<u8> {
        let message = self.next(SILENCE)?;
        demand!(message.command == command::KEEPALIVE && message.data.len() == 1, "{message:02x?}");
        Ok(message.data[0])
    }

    /// Waits for keep-alives until one says that a touch is needed.
    pub fn wait_for_prompt(&self) -> Result<()> {
        while self.keep_alive()? != UPNEEDED {}
        Ok(())
    }

    /// The next message on this channel, whatever it is.
    pub fn next(&self, timeout: Duration) -> Result<Message> {
        let message = read_message(&self.device, deadline(timeout))?;
        demand!(message.channel == self.init.channel, "another channel's message: {message:02x?}");
        Ok(message)
    }

    /// Reads the answer to `command`. Returns it with the status of each keep-alive before it.
    ///
    /// Errors: [`Error::Ctaphid`] for CTAPHID_ERROR.
    pub fn receive(&self, command: u8) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut keep_alives = Vec::new();
        loop {
            let message = self.next(SILENCE)?;
            match (message.command, &message.data[..]) {
                (command::KEEPALIVE, &[status]) => {
                    demand!([PROCESSING, UPNEEDED].contains(&status), "keep-alive {status}");
                    keep_alives.push(status);
                }
                (command::ERROR, &[code]) => return Err(Error::Ctaphid(code)),
                (answered, _) if answered == command => return Ok((message.data, keep_alives)),
                _ => return Err(Error::Violation(format!("answer to {command:#04x}: {message:02x?}"))),
            }
        }
    }

    /// Sends a message and reads its answer.
    pub fn call(&self, command: u8, data: &[u8]) -> Result<Vec<u8>> {
        self.send(command, data)?;
        Ok(self.receive(command)?.0)
    }

    /// Errors unless the device stays silent for `time`.
    pub fn expect_silence(&self, time: Duration) -> Result<()> {
        match read_message(&self.device, deadline(time)) {
            Err(Error::TimedOut) => Ok(()),
            Err(error) => Err(error),
            Ok(message) => Err(Error::Violation(format!("silence was due: {message:02x?}"))),
        }
    }
}
