//! What the light says. One light is enough; a board with colours may add to it.
//!
//! | pattern | what it looks like |
//! | --- | --- |
//! | [`Idle`](Pattern::Idle) | a short flash every three seconds: there is power |
//! | [`Waiting`](Pattern::Waiting) | on and off twice a second: touch the button |
//! | [`Wink`](Pattern::Wink) | a fast flicker for two seconds: this is the key that you look for |
//! | [`Error`](Pattern::Error) | one second on, one second off, for ever: the key did not start |

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

/// What the light says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Pattern {
    /// Nothing to do.
    Idle,
    /// A touch is wanted.
    Waiting,
    /// Look here.
    Wink,
    /// The key did not start.
    Error,
}

impl Pattern {
    /// Is the light on at this time?
    pub fn is_on(self, now_ms: u32) -> bool {
        match self {
            Self::Idle => now_ms % 3000 < 20,
            Self::Waiting => now_ms % 500 < 250,
            Self::Wink => now_ms % 100 < 50,
            Self::Error => now_ms % 2000 < 1000,
        }
    }
}

/// How long a wink lasts, in milliseconds.
const WINK_MS: u32 = 2000;

static SHOWN: AtomicU8 = AtomicU8::new(Pattern::Idle as u8);
static WINKING: AtomicBool = AtomicBool::new(false);
static WINK_END: AtomicU32 = AtomicU32::new(0);

/// Shows a pattern from now on. The tick makes the light follow it, also while the main loop computes.
pub fn show(pattern: Pattern) {
    SHOWN.store(pattern as u8, Ordering::Relaxed);
}

/// Winks, and then goes on as before.
pub fn wink(now_ms: u64) {
    // 49 days wrap the number; the difference is what counts.
    WINK_END.store((now_ms as u32).wrapping_add(WINK_MS), Ordering::Relaxed);
    WINKING.store(true, Ordering::Relaxed);
}

/// What is shown at this time. Called by the tick alone, which also ends a wink.
pub(crate) fn now(now_ms: u64) -> Pattern {
    let left = WINK_END.load(Ordering::Relaxed).wrapping_sub(now_ms as u32);
    if WINKING.load(Ordering::Relaxed) {
        if left != 0 && left <= WINK_MS {
            return Pattern::Wink;
        }
        WINKING.store(false, Ordering::Relaxed);
    }
    let shown = SHOWN.load(Ordering::Relaxed);
    let all = [Pattern::Idle, Pattern::Waiting, Pattern::Wink, Pattern::Error];
    all.into_iter().find(|pattern| *pattern as u8 == shown).unwrap_or(Pattern::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wink_ends_and_gives_way_to_what_was_shown() {
        show(Pattern::Waiting);
        assert_eq!(now(10), Pattern::Waiting);
        // Where the lower half of the time wraps.
        let start = u64::from(u32::MAX) - 100;
        wink(start);
        assert_eq!(now(start), Pattern::Wink);
        assert_eq!(now(start + u64::from(WINK_MS) - 1), Pattern::Wink);
        assert_eq!(now(start + u64::from(WINK_MS)), Pattern::Waiting);
        // Long after, when the numbers come round again, it stays over.
        assert_eq!(now(start + (1 << 32)), Pattern::Waiting);
        show(Pattern::Idle);
        assert_eq!(now(0), Pattern::Idle);
    }

    #[test]
    fn each_pattern_blinks_in_its_own_way() {
        let changes =
            |pattern: Pattern| (0..6000).filter(|&at| pattern.is_on(at) != pattern.is_on(at + 1)).count();
        let counts = [Pattern::Idle, Pattern::Error, Pattern::Waiting, Pattern::Wink].map(changes);
        assert_eq!(counts, [4, 6, 24, 120]);
    }
}
