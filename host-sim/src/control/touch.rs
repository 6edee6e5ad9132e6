//! [`Touch`]: what a test's finger does, for the key's thread to look at.

use crate::key::Shared;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::oneshot;

/// The finger that touches where none is named.
const FINGER: &str = "right-index";

/// What a fingerprint sensor makes of one finger: 32 bytes, other ones for every name.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    /// The print of the finger of this name.
    pub fn of(name: &str) -> Self {
        Self(Sha256::new().chain_update("brasskey virtual finger\0").chain_update(name).finalize().into())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// What touches the sensor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sample {
    /// This finger.
    Finger(Fingerprint),
    /// A finger of which the sensor sees too little. It is a touch, but identifies nobody.
    Poor,
}

impl Default for Sample {
    fn default() -> Self {
        Self::Finger(Fingerprint::of(FINGER))
    }
}

/// What the finger does for as long as it is told nothing else.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Held {
    /// Nothing: the key's [`PresencePolicy`](crate::PresencePolicy) decides. `Ask` without a terminal waits.
    #[default]
    Away,
    /// It rests on the key: whatever asks for a touch gets it, a long one too.
    On(Sample),
    /// It says no to whatever asks.
    Deny,
    /// It never comes, whatever the policy says: a command that waits for it waits until its time is over.
    Never,
}

/// What a command that waits for a touch finds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// Ask the policy.
    Policy,
    Touched(Sample),
    Denied,
    /// Wait on, and ask nobody.
    Nobody,
}

#[derive(Debug)]
struct Once {
    sample: Sample,
    /// Tells that the touch was used; closed if it was taken back.
    used: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    held: Held,
    once: VecDeque<Once>,
    /// The key's thread, while it is powered.
    key: Weak<Shared>,
}

/// A finger that a test moves.
#[derive(Default)]
pub(crate) struct Touch(Mutex<State>);

impl Touch {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: the state is as good after a panic elsewhere as before.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the thread to be woken at every change.
    pub(crate) fn wake(&self, key: &Arc<Shared>) {
        self.state().key = Arc::downgrade(key);
    }

    pub(super) fn hold(&self, held: Held) {
        let mut state = self.state();
        state.held = held;
        state.ring();
    }

    /// Touches once. The receiver hears when the touch was used; dropping it takes the touch back.
    pub(super) fn once(&self, sample: Sample) -> oneshot::Receiver<()> {
        let (used, receiver) = oneshot::channel();
        let mut state = self.state();
        state.once.push_back(Once { sample, used });
        state.ring();
        receiver
    }

    /// What a command that wants a touch finds; a single touch is used up by that.
    pub(crate) fn take(&self) -> Answer {
        let mut state = self.state();
        while let Some(Once { sample, used }) = state.once.pop_front() {
            if used.send(()).is_ok() {
                return Answer::Touched(sample);
            }
        }
        match state.held {
            Held::Away => Answer::Policy,
            Held::On(sample) => Answer::Touched(sample),
            Held::Deny => Answer::Denied,
            Held::Never => Answer::Nobody,
        }
    }

    /// Whether the policy decides, as things are.
    pub(crate) fn is_away(&self) -> bool {
        self.state().held == Held::Away
    }
}

impl State {
    fn ring(&self) {
        if let Some(key) = self.key.upgrade() {
            key.signal.raise();
        }
    }
}

impl fmt::Debug for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Touch").field(&self.state().held).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_is_used_once_and_a_held_finger_always() {
        let touch = Touch::default();
        assert_eq!((touch.take(), touch.is_away()), (Answer::Policy, true));
        let poor = touch.once(Sample::Poor);
        let finger = touch.once(Sample::default());
        assert_eq!(touch.take(), Answer::Touched(Sample::Poor));
        assert_eq!(touch.take(), Answer::Touched(Sample::default()));
        assert_eq!(touch.take(), Answer::Policy);
        assert_eq!((poor.blocking_recv(), finger.blocking_recv()), (Ok(()), Ok(())));

        drop(touch.once(Sample::Poor));
        assert_eq!(touch.take(), Answer::Policy, "it was taken back");

        for (held, answer) in [
            (Held::On(Sample::Poor), Answer::Touched(Sample::Poor)),
            (Held::Deny, Answer::Denied),
            (Held::Never, Answer::Nobody),
            (Held::Away, Answer::Policy),
        ] {
            touch.hold(held);
            assert_eq!([touch.take(), touch.take()], [answer; 2]);
        }
    }

    #[test]
    fn every_change_wakes_the_key() {
        use crate::key::Woken;
        let (touch, key) = (Touch::default(), Shared::new());
        touch.wake(&key);
        let past = Some(std::time::Instant::now());
        assert_eq!(key.signal.wait(past), Woken::TimedOut);
        touch.hold(Held::Deny);
        assert_eq!(key.signal.wait(past), Woken::Raised);
        let _used = touch.once(Sample::Poor);
        assert_eq!(key.signal.wait(past), Woken::Raised);
        drop(key);
        touch.hold(Held::Away);
    }

    #[test]
    fn fingers_differ_by_name() {
        assert_eq!(Fingerprint::of("thumb"), Fingerprint::of("thumb"));
        assert_ne!(Fingerprint::of("thumb"), Fingerprint::of("Thumb"));
        assert_eq!(format!("{:?}", Sample::default()), "Finger(Fingerprint)");
    }
}
