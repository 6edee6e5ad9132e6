//! The time since power-up, counted by the board's tick.

use core::cell::Cell;
use critical_section::Mutex;

static NOW_MS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

/// Milliseconds since power-up.
pub fn now_ms() -> u64 {
    critical_section::with(|token| NOW_MS.borrow(token).get())
}

/// One millisecond has passed. Returns the new time.
pub(crate) fn advance() -> u64 {
    critical_section::with(|token| {
        let now = NOW_MS.borrow(token);
        now.set(now.get() + 1);
        now.get()
    })
}

/// The authenticator's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl brasskey_authenticator::Clock for Clock {
    fn now_ms(&self) -> u64 {
        now_ms()
    }
}
