//! [`Link`]: what the USB side and the application tell each other while a request runs.
//!
//! Requests and answers go through ctaphid-dispatch's channel. What that channel cannot carry is here: which
//! CTAPHID channel asked, that the host took its request back, that the application waits for a touch. Loads
//! and stores are all it takes, so it also works where the processor has no compare-and-swap, and between an
//! interrupt and the main loop.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Shared by one [`FidoDevice`](crate::FidoDevice) and one [`Application`](crate::Application).
///
/// The USB side begins a request only when the application has ended the one before, so that the values here
/// always belong to the request that runs.
#[derive(Debug, Default)]
pub struct Link {
    channel: AtomicU32,
    cancelled: AtomicBool,
    waiting_for_user: AtomicBool,
}

impl Link {
    /// A link on which nothing runs.
    pub const fn new() -> Self {
        Self {
            channel: AtomicU32::new(0),
            cancelled: AtomicBool::new(false),
            waiting_for_user: AtomicBool::new(false),
        }
    }

    /// The CTAPHID channel that the running request came from.
    pub fn channel(&self) -> u32 {
        self.channel.load(Ordering::Acquire)
    }

    /// Whether the running request is not wanted any more: its host sent CTAPHID_CANCEL, started anew with
    /// CTAPHID_INIT, reset the bus or went away. Stays true until the next request begins.
    ///
    /// Whoever waits for a touch looks here and gives up.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Tells the application to give up the running request, as CTAPHID_CANCEL does. For a body that shuts down.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    /// Says whether the application waits for a touch: the status that keep-alives carry, UPNEEDED or
    /// PROCESSING (CTAP 2.3 §11.2.9.1.7).
    ///
    /// Call [`FidoDevice::poll`](crate::FidoDevice::poll) soon afterwards: a change of status is told at once.
    pub fn set_waiting_for_user(&self, waiting: bool) {
        self.waiting_for_user.store(waiting, Ordering::Release);
    }

    /// Whether the application waits for a touch.
    pub fn is_waiting_for_user(&self) -> bool {
        self.waiting_for_user.load(Ordering::Acquire)
    }

    /// A request from `channel` begins.
    pub(crate) fn begin(&self, channel: u32) {
        self.channel.store(channel, Ordering::Release);
        self.cancelled.store(false, Ordering::Release);
        self.waiting_for_user.store(false, Ordering::Release);
    }
}
