//! The hand of a test: touches, fingers and power of a simulated key, from outside.
//!
//! Every key has a [`Control`], and it moves nothing until [`KeyOptions::test_control`](crate::KeyOptions) lets it:
//! whoever holds it presses the key's button. [`ControlServer`] offers it over HTTP to test programs on this
//! machine, and keeps web pages out.

mod http;
mod server;
mod touch;

pub use server::{ConformanceResults, ControlError, ControlServer};
pub(crate) use touch::{Answer, Touch};
pub use touch::{Fingerprint, Held, Sample};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a single touch waits for a command that wants it.
const TOUCH_LIFE: Duration = Duration::from_secs(5);

/// How long turning the power on waits for the local kernel to have the key again.
const PLUG_TIME: Duration = Duration::from_secs(10);

/// How far the key's host is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Host {
    Absent,
    Attached,
    /// It has set the USB device up.
    Ready,
}

/// What a test can do to one key. It outlives power cycles.
#[derive(Debug)]
pub struct Control {
    pub(crate) touch: Arc<Touch>,
    power: watch::Sender<bool>,
    host: watch::Sender<Host>,
    /// The key is plugged into this machine's kernel by this process, and is again when the power returns.
    local: AtomicBool,
    /// The key grants every touch by a rule.
    auto: bool,
}

impl Control {
    pub(crate) fn new(auto: bool) -> Self {
        Self {
            touch: Arc::default(),
            power: watch::Sender::new(true),
            host: watch::Sender::new(Host::Absent),
            local: false.into(),
            auto,
        }
    }

    /// What the finger does from now on, until it is told something else.
    pub fn hold(&self, held: Held) {
        self.touch.hold(held);
    }

    /// Touches the key once, for the command that waits for it or the next one that comes within five seconds.
    /// Returns whether one did. A key that grants touches by a rule needs none: that is a success, at once.
    pub async fn touch(&self) -> bool {
        self.auto || self.scan(Sample::default()).await
    }

    /// Puts a certain finger on the sensor, once, as [`Self::touch`]; also on a key that grants touches by a rule.
    pub async fn scan(&self, sample: Sample) -> bool {
        let used = self.touch.once(sample);
        // When the time is over, the receiver is dropped, and that takes the touch back.
        timeout(TOUCH_LIFE, used).await.is_ok_and(|used| used.is_ok())
    }

    /// Cuts the power: the key leaves its host and is not there until [`Self::power_on`]. Returns when it is off.
    pub async fn power_off(&self) {
        self.power.send_replace(false);
        // The sender is ours, so the wait ends only by its condition.
        self.host.subscribe().wait_for(|host| *host == Host::Absent).await.ok();
    }

    /// Gives power. A key that [`Server::attach`](crate::Server::attach) plugged into the local kernel is plugged
    /// in again, and set up when this returns; any other waits for a host to import it. Returns whether the local
    /// kernel has it, if it is to.
    pub async fn power_on(&self) -> bool {
        self.power.send_replace(true);
        if !self.local.load(Ordering::Acquire) {
            return true;
        }
        timeout(PLUG_TIME, self.host.subscribe().wait_for(|host| *host == Host::Ready)).await.is_ok()
    }

    /// A power cycle.
    pub async fn power_cycle(&self) -> bool {
        self.power_off().await;
        self.power_on().await
    }

    /// Whether the key has power.
    pub fn has_power(&self) -> bool {
        *self.power.borrow()
    }

    /// Waits until the key has power, or has none.
    pub(crate) async fn wait_for_power(&self, on: bool) {
        self.power.subscribe().wait_for(|power| *power == on).await.ok();
    }

    pub(crate) fn set_attached(&self, attached: bool) {
        self.host.send_replace(if attached { Host::Attached } else { Host::Absent });
    }

    pub(crate) fn set_configured(&self) {
        self.host.send_replace(Host::Ready);
    }

    pub(crate) fn set_local(&self, local: bool) {
        self.local.store(local, Ordering::Release);
    }
}
