//! The two kinds of socket that carry USB/IP: TCP from anywhere, a socket pair to the local kernel.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// How long a silent connection is trusted before the kernel asks whether the other machine still lives.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// How long between such questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How many unanswered questions mean that it is gone.
const KEEPALIVE_COUNT: u32 = 3;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// A TCP connection, set up for small messages that must not wait, and to notice a host that has vanished.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        use rustix::net::sockopt;
        stream.set_nodelay(true)?;
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
        sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
        sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_COUNT)?;
        Ok(Self::Tcp(stream))
    }

    /// A new connection to this machine: our end, and the one to hand on.
    pub(crate) fn pair() -> io::Result<(Self, std::os::unix::net::UnixStream)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self::Unix(UnixStream::from_std(ours)?), theirs))
    }

    /// Reads what is there, waiting until there is something; 0 at the end. Nothing is lost if the future is
    /// dropped.
    pub(crate) async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Self::Tcp(stream) => {
                    stream.readable().await?;
                    stream.try_read(buf)
                }
                Self::Unix(stream) => {
                    stream.readable().await?;
                    stream.try_read(buf)
                }
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }

    /// Waits until the socket takes more.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            Self::Unix(stream) => stream.writable().await,
        }
    }

    /// Writes what the socket takes at once; `None` if that is nothing.
    pub(crate) fn try_write(&self, buf: &[u8]) -> io::Result<Option<usize>> {
        let written = match self {
            Self::Tcp(stream) => stream.try_write(buf),
            Self::Unix(stream) => stream.try_write(buf),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            written => written.map(Some),
        }
    }

    /// Writes everything, waiting where needed.
    pub(crate) async fn write_all(&self, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.try_write(buf)? {
                Some(length) => buf = &buf[length..],
                None => self.writable().await?,
            }
        }
        Ok(())
    }

    /// Whether the other end has closed, as the kernel knows it now: also while nobody has read the end yet.
    pub(crate) fn is_hung_up(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(self, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut fds, Some(&now)) {
            Ok(_) => fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR),
            Err(_) => false,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
