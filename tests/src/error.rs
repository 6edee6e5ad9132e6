//! What can go wrong between a host and a key.

use std::fmt;

/// What an answer, or the lack of one, came to.
#[derive(Debug)]
pub enum Error {
    /// A CTAP2 status other than success (CTAP 2.3 §8.2).
    Status(u8),
    /// A U2F status word other than 0x9000.
    StatusWord(u16),
    /// CTAPHID_ERROR with this code (CTAP 2.3 §11.2.9.1.6).
    Ctaphid(u8),
    /// No answer came in time.
    TimedOut,
    /// The server closed the connection, or it broke.
    Disconnected(String),
    /// A URB failed with this status, a negative errno.
    Urb(i32),
    /// The other side did what no strict host accepts.
    Violation(String),
    /// Something on this side failed, such as starting a program.
    Local(String),
}

/// The result of talking to a key.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The CTAP2 status, if this is one.
    pub fn status(&self) -> Option<u8> {
        if let Self::Status(status) = self { Some(*status) } else { None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the key answered CTAP2 status {status:#04x}"),
            Self::StatusWord(status) => write!(f, "the key answered U2F status {status:#06x}"),
            Self::Ctaphid(code) => write!(f, "the key answered CTAPHID error {code:#04x}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Disconnected(why) => write!(f, "disconnected: {why}"),
            Self::Urb(status) => write!(f, "URB failed with status {status}"),
            Self::Violation(what) => write!(f, "protocol violation: {what}"),
            Self::Local(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Disconnected(error.to_string())
    }
}

/// Returns an [`Error::Violation`] unless the condition holds.
macro_rules! demand {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Error::Violation(format!($($message)+)));
        }
    };
}
pub(crate) use demand;
