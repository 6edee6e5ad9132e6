//! [`Application`]: takes whole CTAPHID messages from the USB side and has the key answer them.

use crate::Link;
use crate::packet::command;
use brasskey_authenticator::{Authenticator, Platform};
use ctaphid_dispatch::Responder;
use ctaphid_dispatch::app::{Command, Error};

/// What answers the messages: an [`Authenticator`], or a stand-in for it in a test.
pub trait Key {
    /// Answers a U2F raw message (CTAPHID_MSG). Returns how many bytes of `response` are the answer.
    fn ctap1(&mut self, request: &[u8], response: &mut [u8]) -> usize;

    /// Answers a CTAP2 message (CTAPHID_CBOR) from a CTAPHID channel. Returns how many bytes of `response` are
    /// the answer.
    fn ctap2(&mut self, channel: u32, request: &[u8], response: &mut [u8]) -> usize;

    /// Draws the user's attention (CTAPHID_WINK). Returns at once.
    fn wink(&mut self);
}

impl<P: Platform> Key for Authenticator<'_, P> {
    fn ctap1(&mut self, request: &[u8], response: &mut [u8]) -> usize {
        Authenticator::ctap1(self, request, response)
    }

    fn ctap2(&mut self, channel: u32, request: &[u8], response: &mut [u8]) -> usize {
        Authenticator::ctap2(self, channel, request, response)
    }

    fn wink(&mut self) {
        Authenticator::wink(self);
    }
}

/// The side of ctaphid-dispatch's channel that answers. It runs beside USB: in a thread of its own, or in the
/// main loop while USB is served by an interrupt.
///
/// `N` is the longest message in bytes, as for [`FidoDevice`](crate::FidoDevice).
pub struct Application<'a, const N: usize> {
    responder: Responder<'a, N>,
    link: &'a Link,
    /// The request's own place: in the channel request and answer share one buffer.
    request: [u8; N],
}

impl<'a, const N: usize> Application<'a, N> {
    /// An application at the other end of `responder`'s channel. `link` is the one that the
    /// [`FidoDevice`](crate::FidoDevice) has.
    pub fn new(responder: Responder<'a, N>, link: &'a Link) -> Self {
        Self { responder, link, request: [0; N] }
    }

    /// Answers the request that waits, if there is one. Returns whether an answer is ready for USB: then
    /// [`FidoDevice::poll`](crate::FidoDevice::poll) is to be called.
    ///
    /// Takes as long as the key does, a wait for the user included.
    pub fn poll(&mut self, key: &mut impl Key) -> bool {
        let request = &mut self.request;
        let taken = self.responder.with_request(|(command, message)| {
            let length = message.len().min(N);
            request[..length].copy_from_slice(&message[..length]);
            (*command, length)
        });
        let Ok((command, length)) = taken else {
            // The USB side was made anew and gave up a request of the one before.
            self.responder.acknowledge_cancel().ok();
            return false;
        };
        let request = &self.request[..length];
        let channel = self.link.channel();
        let built = self.responder.with_response_mut(|response| {
            let Ok(buffer) = &mut response.0 else { return };
            buffer.resize_to_capacity();
            match answer(key, channel, command, request, buffer) {
                // A length that the buffer does not have leaves it whole.
                Ok(length) => buffer.truncate(length),
                Err(error) => response.0 = Err(error),
            }
        });
        if built.and_then(|()| self.responder.send_response()).is_err() {
            // The same, while the key was at work.
            self.responder.acknowledge_cancel().ok();
            return false;
        }
        true
    }
}

fn answer(
    key: &mut impl Key,
    channel: u32,
    command: Command,
    request: &[u8],
    response: &mut [u8],
) -> Result<usize, Error> {
    match command.into_u8() {
        command::CBOR if !request.is_empty() => Ok(key.ctap2(channel, request, response)),
        command::MSG if !request.is_empty() => Ok(key.ctap1(request, response)),
        command::WINK if request.is_empty() => {
            key.wink();
            Ok(0)
        }
        command::CBOR | command::MSG | command::WINK => Err(Error::InvalidLength),
        _ => Err(Error::InvalidCommand),
    }
}
