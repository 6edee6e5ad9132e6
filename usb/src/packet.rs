//! CTAPHID packets: 64 bytes that begin or continue a message (CTAP 2.3 §11.2.4).

/// The length of every packet, both ways.
pub(crate) const PACKET_LEN: usize = 64;
/// How much of a message its first packet carries.
pub(crate) const FIRST_DATA_LEN: u16 = 57;
/// How much of a message each later packet carries.
pub(crate) const NEXT_DATA_LEN: u16 = 59;

/// The channel that only INIT is sent on, to get a channel of one's own.
pub(crate) const BROADCAST: u32 = 0xFFFF_FFFF;

/// Set in the fifth byte of a packet that begins a message.
const BEGINS: u8 = 0x80;

/// Command codes (CTAP 2.3 §11.2.9), without the bit that marks a first packet.
pub(crate) mod command {
    pub(crate) const PING: u8 = 0x01;
    pub(crate) const MSG: u8 = 0x03;
    pub(crate) const INIT: u8 = 0x06;
    pub(crate) const WINK: u8 = 0x08;
    pub(crate) const CBOR: u8 = 0x10;
    pub(crate) const CANCEL: u8 = 0x11;
    pub(crate) const KEEPALIVE: u8 = 0x3B;
    pub(crate) const ERROR: u8 = 0x3F;
}

/// What an ERROR packet says (CTAP 2.3 §11.2.9.1.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum HidError {
    InvalidCommand = 0x01,
    InvalidLength = 0x03,
    InvalidSequence = 0x04,
    MessageTimeout = 0x05,
    ChannelBusy = 0x06,
    InvalidChannel = 0x0B,
}

/// What a packet is in the message that it belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// The first one: the message's command code.
    First(u8),
    /// A later one: its sequence number, 0 to 127.
    Next(u8),
}

/// One packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Packet(pub(crate) [u8; PACKET_LEN]);

impl Packet {
    /// A whole message in one packet. `data` longer than 57 bytes is cut; no caller has more than 17.
    pub(crate) fn message(channel: u32, command: u8, data: &[u8]) -> Self {
        let mut packet = Self::header(channel, BEGINS | command);
        let room = &mut packet.0[7..];
        let length = data.len().min(room.len());
        room[..length].copy_from_slice(&data[..length]);
        packet.0[6] = length as u8; // 57 at most
        packet
    }

    pub(crate) fn error(channel: u32, error: HidError) -> Self {
        Self::message(channel, command::ERROR, &[error as u8])
    }

    /// A later packet with nothing in it.
    pub(crate) fn next(channel: u32, sequence: u8) -> Self {
        Self::header(channel, sequence & !BEGINS)
    }

    fn header(channel: u32, kind: u8) -> Self {
        let mut bytes = [0; PACKET_LEN];
        bytes[..4].copy_from_slice(&channel.to_be_bytes());
        bytes[4] = kind;
        Self(bytes)
    }

    pub(crate) fn channel(&self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.0[4] {
            byte if byte & BEGINS != 0 => Kind::First(byte & !BEGINS),
            sequence => Kind::Next(sequence),
        }
    }

    /// The length of the whole message, in bytes. Only a first packet has it.
    pub(crate) fn message_len(&self) -> u16 {
        u16::from_be_bytes([self.0[5], self.0[6]])
    }

    /// What a first packet carries, padding included.
    pub(crate) fn data(&self) -> &[u8] {
        &self.0[7..]
    }
}
