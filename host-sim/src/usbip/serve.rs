//! The loop of one attached host: a socket, a session and a device.

use super::protocol::ProtocolError;
use super::session::{Device, Session, SessionError};
use super::stream::Stream;
use std::{fmt, io};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

/// How much is read from a socket at once, in bytes: dozens of commands.
const READ_LEN: usize = 8 * 1024;

/// Why a connection was ended from this side.
#[derive(Debug)]
pub(crate) enum ConnectionError {
    /// The socket failed.
    Io(io::Error),
    /// The host broke the rules.
    Session(SessionError),
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Session(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectionError {}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<SessionError> for ConnectionError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<ProtocolError> for ConnectionError {
    fn from(error: ProtocolError) -> Self {
        Self::Session(error.into())
    }
}

/// Serves an attached host until it closes the connection.
///
/// `wake` tells that the device has something to do that did not come from the host. `power_up` is the moment
/// from which the device counts its time. Between events this task sleeps; there is no tick.
pub(crate) async fn serve(
    stream: &Stream,
    session: &mut Session,
    device: &mut impl Device,
    wake: &Notify,
    power_up: Instant,
) -> Result<(), ConnectionError> {
    let mut buf = vec![0; READ_LEN];
    let mut received = 0;
    loop {
        let now_ms = u64::try_from(power_up.elapsed().as_millis()).unwrap_or(u64::MAX);
        let deadline = session.run(&buf[..received], device, now_ms)?;
        received = 0;
        while !session.output().is_empty()
            && let Some(length) = stream.try_write(session.output())?
        {
            session.wrote(length);
        }
        let wait = deadline.and_then(|at| power_up.checked_add(Duration::from_millis(at)));
        tokio::select! {
            // A process that was not given the processor for a while finds packets and deadlines at once. What the
            // host sent in time counts.
            biased;
            read = stream.read(&mut buf) => match read? {
                0 => return Ok(()),
                length => received = length,
            },
            ready = stream.writable(), if !session.output().is_empty() => ready?,
            () = wake.notified() => {}
            () = sleep_until(wait.unwrap_or(power_up)), if wait.is_some() => {}
        }
    }
}
