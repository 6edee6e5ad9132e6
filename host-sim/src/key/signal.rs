//! [`Signal`]: how a key's thread sleeps, and what wakes it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why [`Signal::wait`] returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Woken {
    /// Something happened.
    Raised,
    /// The time came.
    TimedOut,
    /// The power is off.
    Off,
}

#[derive(Debug, Default)]
struct State {
    raised: bool,
    off: bool,
}

/// A bell for one sleeper. What rings before it sleeps is not lost, and many rings are one.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    bell: Condvar,
}

impl Signal {
    fn state(&self) -> MutexGuard<'_, State> {
        // Two flags are as good after a panic elsewhere as before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the sleeper.
    pub(crate) fn raise(&self) {
        self.state().raised = true;
        self.bell.notify_all();
    }

    /// Turns the power off, for good.
    pub(crate) fn turn_off(&self) {
        self.state().off = true;
        self.bell.notify_all();
    }

    /// Whether the power is off.
    pub(crate) fn is_off(&self) -> bool {
        self.state().off
    }

    /// Sleeps until something happens, or until `deadline`.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Woken {
        let mut state = self.state();
        loop {
            if state.off {
                return Woken::Off;
            }
            if std::mem::take(&mut state.raised) {
                return Woken::Raised;
            }
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return Woken::TimedOut,
                Some(left) => self.bell.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_before_the_sleep_are_kept_as_one() {
        let signal = Signal::default();
        let past = Some(Instant::now());
        assert_eq!(signal.wait(past), Woken::TimedOut);
        signal.raise();
        signal.raise();
        assert_eq!(signal.wait(None), Woken::Raised);
        assert_eq!(signal.wait(past), Woken::TimedOut);
        signal.raise();
        signal.turn_off();
        assert_eq!(signal.wait(None), Woken::Off);
        assert!(signal.is_off());
    }

    #[test]
    fn a_ring_ends_a_sleep() {
        let signal = Signal::default();
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| (signal.wait(None), signal.wait(None)));
            signal.raise();
            while !signal.state.lock().is_ok_and(|state| !state.raised) {
                std::thread::yield_now();
            }
            signal.turn_off();
            assert_eq!(sleeper.join().unwrap(), (Woken::Raised, Woken::Off));
        });
    }
}
