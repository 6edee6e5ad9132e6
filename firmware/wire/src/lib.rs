//! What crosses the serial line between the emulated board (`firmware/boards/qemu-mps2`) and the program that plugs
//! it in (`brasskey run --firmware`).
//!
//! QEMU's board has no USB controller. Its `UsbBus` hands packets to this line instead, and the other end puts them
//! on a USB/IP connection. Beside them go what an emulator has to get from somewhere: a seed for the random
//! generator, a finger, and what was measured.
//!
//! The line carries [frames](Frame): a kind, a length and that many bytes. It loses nothing and reorders nothing, so
//! there is neither a checksum nor a repetition.
//!
//! # The USB rules
//!
//! * An endpoint's buffer holds one packet. The host sends the next OUT packet when [`Frame::Read`] said that the
//!   last one was read; the board sends the next IN packet after [`Frame::Taken`]. A [`Frame::Setup`] empties both
//!   buffers of endpoint 0, a [`Frame::Reset`] those of all endpoints.
//! * What the board sent before it saw a RESET or a SETUP belongs to what was before. It answers each of these two by
//!   [`Frame::Seen`] at once; the host drops what it had been sent before.
//! * The board counts the host's frames, and says so by [`Frame::Idle`] whenever it has served them all: a control
//!   transfer that is unanswered then will never be answered.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

/// The version of what this text describes, which [`Frame::Hello`] carries.
pub const VERSION: u8 = 1;

/// The most that a frame carries, in bytes.
pub const MAX_PAYLOAD: usize = 255;

/// The longest frame, in bytes.
pub const MAX_FRAME: usize = 2 + MAX_PAYLOAD;

/// The longest USB packet, in bytes.
pub const MAX_PACKET: usize = 64;

/// What the board is told at its power-up.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Start {
    /// Seeds the random generator.
    pub seed: [u8; 32],
    /// The attestation of new credentials: 0 packed, 1 self, 2 none.
    pub attestation: u8,
    /// Measure bare P-256 before anything else, and send it as [`Frame::Measured`].
    pub bench: bool,
}

/// Without the seed.
impl core::fmt::Debug for Start {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Start").field("attestation", &self.attestation).finish_non_exhaustive()
    }
}

/// What the finger does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finger {
    /// It is off the button.
    Up,
    /// It is on the button.
    Down,
    /// The user said no, which only an emulated user can.
    Refuses,
}

/// What a touch is wanted for: a board with a display would show it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prompt<'a> {
    /// A number for the operation; both ends take it from the same list.
    pub operation: u8,
    /// The host polls: the answer to this question is wanted at once, and it is asked again.
    pub polled: bool,
    /// The touch has to last ten seconds.
    pub long: bool,
    /// SHA-256 of the site's name.
    pub rp_id_hash: Option<&'a [u8; 32]>,
    /// The site, cut where the frame ends.
    pub rp_id: Option<&'a str>,
    /// The account, cut likewise.
    pub user: Option<&'a str>,
}

/// What a command cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Measured {
    /// The CTAP2 command; or one of the numbers below, which no command has.
    pub command: u8,
    /// Its subcommand, for those that have one; otherwise 0.
    pub subcommand: u8,
    /// The deepest that the stack was, in bytes, interrupts included. 0: not measured.
    pub stack: u32,
    /// Processor cycles from request to answer, without the wait for a touch.
    pub cycles: u64,
}

impl Measured {
    /// Power-up until USB is on.
    pub const BOOT: u8 = 0xE0;
    /// A U2F message; the subcommand is its instruction.
    pub const U2F: u8 = 0xE1;
    /// Bare P-256 key generation: a scalar and its point.
    pub const KEY_GENERATION: u8 = 0xE2;
    /// A bare P-256 signature over a hash.
    pub const SIGNATURE: u8 = 0xE3;
    /// CTAPHID_WINK.
    pub const WINK: u8 = 0xE4;
}

/// One frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    // From the host.
    /// Power-up goes on: the answer to [`Frame::Hello`].
    Start(Start),
    /// The bus was reset.
    Reset,
    /// A set-up packet.
    Setup(&'a [u8; 8]),
    /// A packet for this endpoint number.
    Out(u8, &'a [u8]),
    /// The host took the packet of this endpoint number.
    Taken(u8),
    /// The finger moved.
    Button(Finger),

    // From the board.
    /// The board has power, and speaks this version.
    Hello(u8),
    /// The key has booted and USB is on.
    Ready,
    /// The key does not boot; a text for the user.
    Failed(&'a str),
    /// A RESET (false) or a SETUP (true) was seen.
    Seen(bool),
    /// Everything up to so many frames from the host, counted from power-up and wrapping, was served.
    Idle(u16),
    /// A packet from this endpoint number.
    In(u8, &'a [u8]),
    /// The OUT packet of this endpoint number was read.
    Read(u8),
    /// This endpoint address stalls, or no longer does.
    Stall(u8, bool),
    /// A touch is wanted.
    Prompt(Prompt<'a>),
    /// No touch is wanted any longer.
    PromptOver,
    /// The light winks.
    Wink,
    /// What a command cost.
    Measured(Measured),
    /// The firmware panicked at this place and resets.
    Panicked(&'a str),
}

impl<'a> Frame<'a> {
    /// Writes the frame. Returns how long it is. Text that has no room is cut.
    pub fn encode(&self, out: &mut [u8; MAX_FRAME]) -> usize {
        let mut writer = Writer { out, length: 2 };
        let kind = match *self {
            Self::Start(start) => {
                writer.put(&start.seed);
                writer.put(&[start.attestation, start.bench.into()]);
                0x01
            }
            Self::Reset => 0x02,
            Self::Setup(packet) => {
                writer.put(packet);
                0x03
            }
            Self::Out(endpoint, packet) => {
                writer.put(&[endpoint]);
                writer.put(packet);
                0x04
            }
            Self::Taken(endpoint) => {
                writer.put(&[endpoint]);
                0x05
            }
            Self::Button(finger) => {
                writer.put(&[finger as u8]);
                0x06
            }
            Self::Hello(version) => {
                writer.put(&[version]);
                0x81
            }
            Self::Ready => 0x82,
            Self::Failed(text) => {
                writer.text(text, MAX_PAYLOAD);
                0x83
            }
            Self::Seen(setup) => {
                writer.put(&[setup.into()]);
                0x84
            }
            Self::Idle(count) => {
                writer.put(&count.to_be_bytes());
                0x85
            }
            Self::In(endpoint, packet) => {
                writer.put(&[endpoint]);
                writer.put(packet);
                0x86
            }
            Self::Read(endpoint) => {
                writer.put(&[endpoint]);
                0x87
            }
            Self::Stall(address, stalled) => {
                writer.put(&[address, stalled.into()]);
                0x88
            }
            Self::Prompt(prompt) => {
                writer.prompt(&prompt);
                0x89
            }
            Self::PromptOver => 0x8A,
            Self::Wink => 0x8B,
            Self::Measured(measured) => {
                writer.put(&[measured.command, measured.subcommand]);
                writer.put(&measured.stack.to_be_bytes());
                writer.put(&measured.cycles.to_be_bytes());
                0x8C
            }
            Self::Panicked(place) => {
                writer.text(place, MAX_PAYLOAD);
                0x8D
            }
        };
        let length = writer.length;
        out[0] = kind;
        out[1] = (length - 2) as u8; // the writer stops at 255
        length
    }

    /// Reads the frame at the start of `bytes`. Returns it with its length; `None` if it is not there whole.
    ///
    /// Errors: [`Malformed`]; the line is of no use any more.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let [kind, length, rest @ ..] = bytes else { return Ok(None) };
        let Some(payload) = rest.get(..usize::from(*length)) else { return Ok(None) };
        let frame = Self::parse(*kind, payload).ok_or(Malformed(*kind))?;
        Ok(Some((frame, 2 + payload.len())))
    }

    fn parse(kind: u8, payload: &'a [u8]) -> Option<Self> {
        Some(match (kind, payload) {
            (0x01, [seed @ .., attestation, bench]) => Self::Start(Start {
                seed: seed.try_into().ok()?,
                attestation: *attestation,
                bench: *bench != 0,
            }),
            (0x02, []) => Self::Reset,
            (0x03, packet) => Self::Setup(packet.try_into().ok()?),
            (0x04, [endpoint, packet @ ..]) if packet.len() <= MAX_PACKET => Self::Out(*endpoint, packet),
            (0x05, [endpoint]) => Self::Taken(*endpoint),
            (0x06, [0]) => Self::Button(Finger::Up),
            (0x06, [1]) => Self::Button(Finger::Down),
            (0x06, [2]) => Self::Button(Finger::Refuses),
            (0x81, [version]) => Self::Hello(*version),
            (0x82, []) => Self::Ready,
            (0x83, text) => Self::Failed(str::from_utf8(text).ok()?),
            (0x84, [setup]) => Self::Seen(*setup != 0),
            (0x85, count) => Self::Idle(u16::from_be_bytes(count.try_into().ok()?)),
            (0x86, [endpoint, packet @ ..]) if packet.len() <= MAX_PACKET => Self::In(*endpoint, packet),
            (0x87, [endpoint]) => Self::Read(*endpoint),
            (0x88, [address, stalled]) => Self::Stall(*address, *stalled != 0),
            (0x89, payload) => Self::Prompt(parse_prompt(payload)?),
            (0x8A, []) => Self::PromptOver,
            (0x8B, []) => Self::Wink,
            (0x8C, [command, subcommand, numbers @ ..]) => {
                let (stack, cycles) = numbers.split_first_chunk()?;
                Self::Measured(Measured {
                    command: *command,
                    subcommand: *subcommand,
                    stack: u32::from_be_bytes(*stack),
                    cycles: u64::from_be_bytes(cycles.try_into().ok()?),
                })
            }
            (0x8D, place) => Self::Panicked(str::from_utf8(place).ok()?),
            _ => return None,
        })
    }
}

/// The other end does not speak this protocol. Carries the kind of frame that made no sense.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed(pub u8);

/// Flags in the second byte of a prompt: which of its parts are there.
const POLLED: u8 = 1;
const HASH: u8 = 2;
const RP_ID: u8 = 4;
const USER: u8 = 8;
const LONG: u8 = 16;

/// How much of a site's name a prompt carries, in bytes; the rest of the frame is for the account.
const MAX_RP_ID: usize = 150;

fn parse_prompt(payload: &[u8]) -> Option<Prompt<'_>> {
    let ([operation, flags], mut rest) = payload.split_first_chunk()?;
    let mut prompt = Prompt {
        operation: *operation,
        polled: flags & POLLED != 0,
        long: flags & LONG != 0,
        rp_id_hash: None,
        rp_id: None,
        user: None,
    };
    if flags & HASH != 0 {
        let (hash, after) = rest.split_first_chunk()?;
        (prompt.rp_id_hash, rest) = (Some(hash), after);
    }
    if flags & RP_ID != 0 {
        let (length, after) = rest.split_first()?;
        let (text, after) = after.split_at_checked(usize::from(*length))?;
        (prompt.rp_id, rest) = (Some(str::from_utf8(text).ok()?), after);
    }
    if flags & USER != 0 {
        (prompt.user, rest) = (Some(str::from_utf8(rest).ok()?), &[]);
    }
    rest.is_empty().then_some(prompt)
}

/// Fills a frame.
struct Writer<'o> {
    out: &'o mut [u8; MAX_FRAME],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let room = &mut self.out[self.length..];
        let length = bytes.len().min(room.len());
        room[..length].copy_from_slice(&bytes[..length]);
        self.length += length;
    }

    /// Text of `limit` bytes at most.
    fn text(&mut self, text: &str, limit: usize) {
        self.put(cut(text, limit.min(MAX_FRAME - self.length)).as_bytes());
    }

    fn prompt(&mut self, prompt: &Prompt<'_>) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(prompt.polled, POLLED)
            | flag(prompt.long, LONG)
            | flag(prompt.rp_id_hash.is_some(), HASH)
            | flag(prompt.rp_id.is_some(), RP_ID)
            | flag(prompt.user.is_some(), USER);
        self.put(&[prompt.operation, flags]);
        if let Some(hash) = prompt.rp_id_hash {
            self.put(hash);
        }
        if let Some(rp_id) = prompt.rp_id {
            let rp_id = cut(rp_id, MAX_RP_ID);
            self.put(&[rp_id.len() as u8]); // 150 at most
            self.put(rp_id.as_bytes());
        }
        if let Some(user) = prompt.user {
            self.text(user, MAX_PAYLOAD);
        }
    }
}

/// As much of a text as has room, cut between characters.
fn cut(text: &str, room: usize) -> &str {
    &text[..text.floor_char_boundary(room)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: Prompt<'_> = Prompt {
        operation: 1,
        polled: true,
        long: false,
        rp_id_hash: Some(&[7; 32]),
        rp_id: Some("example.com"),
        user: Some("alice"),
    };

    fn all(check: impl Fn(Frame<'_>)) {
        let measured = Measured { command: 1, subcommand: 2, stack: 70_000, cycles: 1 << 40 };
        let bare = Prompt { polled: false, long: true, rp_id_hash: None, rp_id: None, user: None, ..PROMPT };
        for frame in [
            Frame::Start(Start { seed: [9; 32], attestation: 2, bench: true }),
            Frame::Reset,
            Frame::Setup(&[1, 2, 3, 4, 5, 6, 7, 8]),
            Frame::Out(1, &[5; MAX_PACKET]),
            Frame::Out(0, &[]),
            Frame::Taken(1),
            Frame::Button(Finger::Up),
            Frame::Button(Finger::Down),
            Frame::Button(Finger::Refuses),
            Frame::Hello(VERSION),
            Frame::Ready,
            Frame::Failed("no"),
            Frame::Seen(true),
            Frame::Seen(false),
            Frame::Idle(0xABCD),
            Frame::In(1, &[5; MAX_PACKET]),
            Frame::Read(1),
            Frame::Stall(0x81, true),
            Frame::Prompt(PROMPT),
            Frame::Prompt(bare),
            Frame::PromptOver,
            Frame::Wink,
            Frame::Measured(measured),
            Frame::Panicked("src/main.rs:7"),
        ] {
            check(frame);
        }
    }

    #[test]
    fn every_frame_is_read_as_it_was_written_and_only_whole() {
        all(|frame| {
            let mut bytes = [0; MAX_FRAME];
            let length = frame.encode(&mut bytes);
            assert_eq!(Frame::decode(&bytes), Ok(Some((frame, length))));
            for end in 0..length {
                assert_eq!(Frame::decode(&bytes[..end]), Ok(None), "{frame:?} cut after {end}");
            }
        });
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let (long, user) = ("é".repeat(100), "ü".repeat(200));
        let prompt = Prompt { rp_id: Some(&long), user: Some(&user), ..PROMPT };
        let mut bytes = [0; MAX_FRAME];
        let length = Frame::Prompt(prompt).encode(&mut bytes);
        let Ok(Some((Frame::Prompt(read), _))) = Frame::decode(&bytes[..length]) else { panic!() };
        assert_eq!(read.rp_id.unwrap().len(), MAX_RP_ID);
        assert!(read.user.unwrap().len() > 60 && user.starts_with(read.user.unwrap()));
    }

    #[test]
    fn nonsense_is_told_and_never_panics() {
        let mut state = 1u32;
        for _ in 0..20_000 {
            let mut bytes = [0; 64];
            for byte in &mut bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
            bytes[0] = 0x80 | bytes[0] & 0x0F;
            bytes[1] %= 60;
            let _ = Frame::decode(&bytes);
        }
        assert_eq!(Frame::decode(&[0x7F, 0]), Err(Malformed(0x7F)));
        assert_eq!(Frame::decode(&[0x03, 2, 0, 0]), Err(Malformed(0x03)), "a set-up packet has eight bytes");
    }
}
