//! One attached host, without its socket: bytes in, bytes out, a device in between.
//!
//! Three bounds keep a host from taking more than its share; passing one ends its connection:
//! [`MAX_PENDING_TRANSFERS`], [`MAX_PENDING_BYTES`] and [`MAX_UNREAD_OUTPUT`].

use super::bus::UsbIpBus;
use super::protocol::{self, Command, ProtocolError};
use std::fmt;

/// How many transfers may wait for an answer. A kernel keeps a handful, a hurried user-space host some dozens.
pub const MAX_PENDING_TRANSFERS: usize = 256;

/// How many bytes the waiting transfers may carry together: room for the longest transfer and many reports.
pub const MAX_PENDING_BYTES: usize = 2 * protocol::MAX_TRANSFER_LEN;

/// How many bytes of answers a host may leave unread, beside what the sockets hold.
pub const MAX_UNREAD_OUTPUT: usize = 256 * 1024;

/// A USB device on a [`UsbIpBus`].
pub trait Device {
    /// Serves the bus until nothing is left to do. `now_ms` is the time since power-up, in milliseconds.
    ///
    /// Returns the time at which to call again although nothing has happened on the bus, if there is one.
    fn poll(&mut self, now_ms: u64) -> Option<u64>;

    /// Whether the device may yet answer although it has nothing to do in [`Self::poll`]: it is elsewhere.
    fn is_busy(&self) -> bool {
        false
    }

    /// Tells that a packet of an interrupt endpoint has gone to the host.
    fn delivered(&mut self, _packet: &[u8]) {}
}

/// Why a session ended that its host had not closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionError {
    /// Not USB/IP, or hostile.
    Protocol(ProtocolError),
    /// A command for another device than the imported one.
    WrongDevice(u32),
    /// More transfers than [`MAX_PENDING_TRANSFERS`], or more bytes than [`MAX_PENDING_BYTES`], wait.
    TooMuchPending,
    /// The host asks and asks, and does not read the answers.
    TooMuchUnread,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(f),
            Self::WrongDevice(id) => write!(f, "command for device {id:#x}, which was not imported"),
            Self::TooMuchPending => write!(f, "too many transfers left pending"),
            Self::TooMuchUnread => write!(f, "the host does not read its answers"),
        }
    }
}

impl std::error::Error for SessionError {}

impl From<ProtocolError> for SessionError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// One attached host.
#[derive(Debug)]
pub struct Session {
    bus: UsbIpBus,
    device_id: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    taken: usize,
}

impl Session {
    /// A session on `bus` for the device that commands call `device_id`.
    pub fn new(bus: UsbIpBus, device_id: u32) -> Self {
        Self { bus, device_id, input: Vec::new(), output: Vec::new(), taken: 0 }
    }

    /// Takes bytes from the host, carries out every whole command in them and lets the device work.
    ///
    /// `received` may be empty: the device is driven in any case, because a call means that something has
    /// happened. Returns when to call again at the latest, on the clock of `now_ms`.
    pub fn run(
        &mut self,
        received: &[u8],
        device: &mut impl Device,
        now_ms: u64,
    ) -> Result<Option<u64>, SessionError> {
        self.input.extend_from_slice(received);
        let mut used = 0;
        let mut driven = None;
        while let Some((command, length)) = Command::decode(&self.input[used..])? {
            used += length;
            // Driven after each command: a host that sends many at once has few pending at a time.
            if self.carry_out(command)? {
                driven = Some(self.drive(device, now_ms)?);
            }
        }
        self.input.drain(..used);
        // Not before the commands: the device must not hear of the time first, and miss what came in time.
        match driven {
            Some(deadline) => Ok(deadline),
            None => self.drive(device, now_ms),
        }
    }

    /// What is to be written to the host.
    pub fn output(&self) -> &[u8] {
        &self.output[self.taken..]
    }

    /// Tells that the first `length` bytes of [`Self::output`] were written.
    pub fn wrote(&mut self, length: usize) {
        self.taken += length;
        if self.taken >= self.output.len() {
            self.output.clear();
            self.taken = 0;
        }
    }

    /// Returns whether the device has to look.
    fn carry_out(&mut self, command: Command) -> Result<bool, SessionError> {
        let (Command::Submit(protocol::Submit { device_id, .. }) | Command::Unlink { device_id, .. }) =
            command;
        if device_id != self.device_id {
            return Err(SessionError::WrongDevice(device_id));
        }
        match command {
            Command::Submit(submit) => {
                self.bus.submit(submit);
                Ok(true)
            }
            Command::Unlink { seqnum, victim, .. } => {
                let status = self.bus.unlink(victim);
                protocol::ret_unlink(&mut self.output, seqnum, status);
                self.check_output()?;
                Ok(false)
            }
        }
    }

    fn drive(&mut self, device: &mut impl Device, now_ms: u64) -> Result<Option<u64>, SessionError> {
        let mut deadline = device.poll(now_ms);
        while !device.is_busy() && self.bus.settle() {
            deadline = device.poll(now_ms);
        }
        for completion in self.bus.take_completions() {
            completion.encode(&mut self.output);
            if let Some(packet) = completion.packet() {
                device.delivered(packet);
            }
        }
        self.check_output()?;
        let pending = self.bus.pending();
        if pending.transfers > MAX_PENDING_TRANSFERS || pending.bytes > MAX_PENDING_BYTES {
            return Err(SessionError::TooMuchPending);
        }
        Ok(deadline)
    }

    fn check_output(&mut self) -> Result<(), SessionError> {
        if self.output().len() > MAX_UNREAD_OUTPUT {
            return Err(SessionError::TooMuchUnread);
        }
        // What was written is dropped once it outweighs what was not, so the buffer stays within twice the bound.
        if self.taken > MAX_UNREAD_OUTPUT {
            self.output.drain(..self.taken);
            self.taken = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::Direction;
    use super::super::testing::{self, EchoDevice, bytes, control, input, out};
    use super::*;
    use usb_device::bus::UsbBusAllocator;

    const DEVICE_ID: u32 = 0x0001_0001;

    fn session(test: impl FnOnce(Session, EchoDevice<'_>)) {
        let bus = UsbIpBus::new();
        let allocator = UsbBusAllocator::new(bus.clone());
        test(Session::new(bus, DEVICE_ID), EchoDevice::new(&allocator));
    }

    /// The sequence numbers and statuses of the replies in `output`.
    fn replies(mut output: &[u8]) -> Vec<(u32, i32)> {
        let mut replies = Vec::new();
        while let Some((header, rest)) = output.split_at_checked(protocol::HEADER_LEN) {
            let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            replies.push((word(4), word(20) as i32));
            // The tests' IN transfers carry an odd number, so that a reply's data can be told.
            output = if word(0) == 3 && word(4) % 2 == 1 { &rest[word(24) as usize..] } else { rest };
        }
        assert_eq!(output, b"");
        replies
    }

    #[test]
    fn commands_arrive_in_any_pieces() {
        let mut input_bytes = Vec::new();
        for (in_number, out_number) in [(1, 2), (3, 4), (5, 6)] {
            input_bytes.extend(bytes(&input(in_number, 64)));
            input_bytes.extend(bytes(&out(out_number, &[7; 64])));
        }
        let expected = [(2, 0), (1, 0), (4, 0), (3, 0), (6, 0), (5, 0)];
        for piece in [1, 7, 48, 113, 1000] {
            session(|mut session, mut device| {
                for received in input_bytes.chunks(piece) {
                    assert_eq!(session.run(received, &mut device, 0), Ok(None));
                }
                assert_eq!(replies(session.output()), expected, "in pieces of {piece}");
                session.wrote(10);
                let rest = session.output().len();
                session.wrote(rest);
                assert_eq!(session.output(), b"");
            });
        }
    }

    #[test]
    fn unlink_says_whether_it_was_in_time() {
        session(|mut session, mut device| {
            let mut received = bytes(&input(1, 64));
            received.extend(testing::unlink(2, DEVICE_ID, 1));
            received.extend(testing::unlink(4, DEVICE_ID, 1));
            received.extend(testing::unlink(6, DEVICE_ID, 99));
            session.run(&received, &mut device, 0).unwrap();
            assert_eq!(replies(session.output()), [(2, -104), (4, 0), (6, 0)]);
        });
    }

    #[test]
    fn another_device_ends_the_session() {
        session(|mut session, mut device| {
            let stranger = protocol::Submit { device_id: 0x0001_0002, ..input(1, 64) };
            let error = session.run(&bytes(&stranger), &mut device, 0).unwrap_err();
            assert_eq!(error, SessionError::WrongDevice(0x0001_0002));
        });
        session(|mut session, mut device| {
            let error = session.run(&testing::unlink(1, 7, 1), &mut device, 0).unwrap_err();
            assert_eq!(error, SessionError::WrongDevice(7));
        });
    }

    #[test]
    fn transfers_may_wait_up_to_a_bound() {
        session(|mut session, mut device| {
            for seqnum in 0..MAX_PENDING_TRANSFERS as u32 {
                session.run(&bytes(&input(seqnum, 64)), &mut device, 0).unwrap();
            }
            let error = session.run(&bytes(&input(1000, 64)), &mut device, 0).unwrap_err();
            assert_eq!(error, SessionError::TooMuchPending);
        });
        session(|mut session, mut device| {
            device.echo.deaf = true;
            let long = vec![0; protocol::MAX_TRANSFER_LEN];
            for seqnum in 0..2 {
                session.run(&bytes(&out(seqnum, &long)), &mut device, 0).unwrap();
            }
            let error = session.run(&bytes(&out(2, &[0])), &mut device, 0).unwrap_err();
            assert_eq!(error, SessionError::TooMuchPending);
        });
    }

    #[test]
    fn any_number_of_answered_transfers_is_fine_while_the_host_reads() {
        session(|mut session, mut device| {
            let received: Vec<u8> =
                (0..20_000).flat_map(|seqnum| bytes(&control(seqnum, 0x80, 6, 0x0100, 18, b""))).collect();
            let mut replied = 0;
            for received in received.chunks(8192) {
                session.run(received, &mut device, 0).unwrap();
                // The host reads all but a little each time.
                let read = session.output().len().saturating_sub(100);
                session.wrote(read);
                replied += read;
            }
            replied += session.output().len();
            assert_eq!(replied, 20_000 * (48 + 18));
        });
    }

    #[test]
    fn a_host_that_does_not_read_is_let_go() {
        session(|mut session, mut device| {
            let ask = bytes(&control(1, 0x80, 6, 0x0100, 18, b""));
            let asked = (0..).take_while(|_| session.run(&ask, &mut device, 0).is_ok()).count();
            assert_eq!(asked, MAX_UNREAD_OUTPUT / (48 + 18));
        });
        session(|mut session, mut device| {
            let ask = testing::unlink(1, DEVICE_ID, 99);
            let asked = (0..).take_while(|_| session.run(&ask, &mut device, 0).is_ok()).count();
            assert_eq!(asked, MAX_UNREAD_OUTPUT / 48);
        });
    }

    #[test]
    fn endpoints_beyond_the_last_are_not_there() {
        session(|mut session, mut device| {
            let nowhere = testing::submit(2, Direction::Out, u32::MAX, 4, b"lost");
            session.run(&bytes(&nowhere), &mut device, 0).unwrap();
            assert_eq!(replies(session.output()), [(2, -2)]);
        });
    }
}
