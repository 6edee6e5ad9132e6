//! The life of an attached key: a thread from power-up to power-down.
//!
//! The thread owns flash, authenticator and application. USB is served elsewhere, by the connection's task;
//! [`Shared`] is all that the two have in common. The thread sleeps on a [`Signal`] and the task on a
//! [`Notify`], and each wakes the other when it has done something for it: nobody polls.

use super::platform::HostPlatform;
use super::signal::{Signal, Woken};
use super::spoken::Spoken;
use crate::image::Image;
use brasskey_authenticator::{Authenticator, BootError, Flash, Platform};
use brasskey_usb::{Application, Channel, Link, MAX_MESSAGE_SIZE};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{io, thread};
use tokio::sync::{Notify, oneshot, watch};

/// The longest CTAPHID message, in bytes.
pub(crate) const MESSAGE_LEN: usize = MAX_MESSAGE_SIZE as usize;

/// The stack of a key's thread, in bytes.
///
/// A run of registrations (every algorithm, resident or not, first boot included), assertions and U2F is content with
/// half of it in a debug build, and a test holds it to that. ML-DSA takes the most; without it 160 KiB were enough,
/// and 48 KiB in a release build. Only pages that were touched take memory, so it is a bound and not a cost; the
/// system's default of 8 MiB would be a thousand times 8 MiB of address space.
pub(crate) const STACK_LEN: usize = 1024 * 1024;

/// What the USB side and the thread of an attached key share.
pub(crate) struct Shared {
    /// Requests and answers.
    pub(crate) channel: Channel<MESSAGE_LEN>,
    /// What goes on beside them.
    pub(crate) link: Link,
    /// Wakes the key's thread.
    pub(crate) signal: Signal,
    /// Wakes the task that serves USB.
    pub(crate) usb: Notify,
    /// Whether the host has set the USB device up.
    pub(crate) configured: watch::Sender<bool>,
    /// Whether a keep-alive that asks for a touch has gone to the host since the key last began to wait.
    pub(crate) asked_for_touch: AtomicBool,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            channel: Channel::new(),
            link: Link::new(),
            signal: Signal::default(),
            usb: Notify::new(),
            configured: watch::Sender::new(false),
            asked_for_touch: false.into(),
        })
    }
}

/// A key that is powered. Dropping it turns it off; [`Self::off`] gives the image back.
pub(crate) struct Powered {
    shared: Arc<Shared>,
    done: Option<oneshot::Receiver<Image>>,
    /// The image of a thread that ended by itself.
    left: Option<Image>,
}

impl Powered {
    /// Powers a key up: starts its thread and waits until it has booted.
    ///
    /// Errors: the image comes back, unless the thread took it along.
    pub(crate) async fn on(
        image: Image,
        platform: HostPlatform,
        shared: Arc<Shared>,
    ) -> Result<Self, (Option<Image>, PowerError)> {
        let (booted_sender, booted) = oneshot::channel();
        let (done_sender, done) = oneshot::channel();
        let thread_shared = Arc::clone(&shared);
        let life = move || {
            let mut flash = Flash::new(image);
            live(&mut flash, platform, &thread_shared, booted_sender);
            // Nobody is there to take the image only if the whole server is gone.
            drop(done_sender.send(flash.into_storage()));
        };
        thread::Builder::new()
            .name("key".into())
            .stack_size(STACK_LEN)
            .spawn(life)
            .map_err(|error| (None, PowerError::Thread(error)))?;
        match booted.await {
            Ok(Ok(())) => Ok(Self { shared, done: Some(done), left: None }),
            Ok(Err(error)) => Err((done.await.ok(), PowerError::Boot(error))),
            Err(_) => Err((None, PowerError::Died)),
        }
    }

    /// Waits until the thread has ended by itself, which only a fault makes it do.
    pub(crate) async fn died(&mut self) {
        if let Some(done) = &mut self.done {
            // The sender is dropped unsent when the thread panics.
            self.left = done.await.ok();
            self.done = None;
        }
    }

    /// Powers the key down. The image comes back when the thread has ended; none, if it died.
    pub(crate) async fn off(mut self) -> Option<Image> {
        self.turn_off();
        self.died().await;
        self.left.take()
    }

    /// Ends a wait for the user too.
    fn turn_off(&self) {
        self.shared.signal.turn_off();
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        self.turn_off();
    }
}

/// Why a key did not power up.
#[derive(Debug)]
pub(crate) enum PowerError {
    Boot(BootError),
    Thread(io::Error),
    Died,
}

/// From power-up to power-down.
fn live(
    flash: &mut Flash<Image>,
    platform: HostPlatform,
    shared: &Shared,
    booted: oneshot::Sender<Result<(), BootError>>,
) {
    let mut key = match Authenticator::boot(flash, platform) {
        Ok(key) => key,
        Err(error) => {
            // Without a listener there is nothing to tell.
            booted.send(Err(error)).ok();
            return;
        }
    };
    // The channel is new and this is its only taker.
    let Some(responder) = shared.channel.responder() else { return };
    let mut application = Application::new(responder, &shared.link);
    if booted.send(Ok(())).is_err() {
        return;
    }
    loop {
        if application.poll(&mut Spoken(&mut key)) {
            shared.usb.notify_one();
            continue;
        }
        let user = key.platform().user();
        match shared.signal.wait(user.next_tick()) {
            Woken::Off => return,
            Woken::Raised => {}
            Woken::TimedOut => user.tick(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Key, KeyOptions};
    use crate::{ImageSource, PresencePolicy};
    use ciborium::{Value, cbor};

    /// makeCredential and getAssertion for `algorithm`, discoverable.
    fn messages(algorithm: i32) -> [Vec<u8>; 2] {
        let hash = || Value::Bytes(vec![1; 32]);
        let make = cbor!({
            1 => hash(),
            2 => { "id" => "example.com" },
            3 => { "id" => Value::Bytes(vec![1; 64]), "name" => "n".repeat(64), "displayName" => "d".repeat(64) },
            4 => [{ "alg" => algorithm, "type" => "public-key" }],
            7 => { "rk" => true },
        });
        let get = cbor!({ 1 => "example.com", 2 => hash() });
        [(1, make), (2, get)].map(|(command, parameters)| {
            let mut message = vec![command];
            ciborium::into_writer(&parameters.unwrap(), &mut message).unwrap();
            message
        })
    }

    /// A stack that is too small ends the process.
    #[test]
    fn half_of_the_stack_is_enough() {
        let commands = || {
            let mut options = KeyOptions::new(ImageSource::Memory).presence(PresencePolicy::Auto);
            options.model.post_quantum = true;
            Key::new(options).with_authenticator(|key| {
                let mut response = vec![0; MESSAGE_LEN];
                let mut messages: Vec<_> = [-7, -8, -48, -49].into_iter().flat_map(messages).collect();
                messages.extend([vec![0x04], vec![0x07]]);
                for message in messages {
                    key.ctap2(1, &message, &mut response);
                    assert_eq!(response[0], 0, "{message:02x?}");
                }
                let register = [&[0, 1, 0, 0, 64][..], &[2; 64]].concat();
                let length = key.ctap1(&register, &mut response);
                assert_eq!(response[length - 2..length], [0x90, 0x00]);
            })
        };
        let thread = thread::Builder::new().stack_size(STACK_LEN / 2).spawn(commands);
        thread.unwrap().join().unwrap().unwrap();
    }
}
