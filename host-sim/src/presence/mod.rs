//! Who touches a simulated key: nobody but a rule, or a person at the terminal.

mod inquiry;
mod terminal;
#[cfg(test)]
mod tests;
mod text;

use crate::control::{Answer, Sample, Touch};
use crate::key::Shared;
use brasskey_authenticator::{Operation, Presence, Prompt, Scan, Sensor, UserPresence, UserVerification};
pub(crate) use inquiry::Inquiry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use terminal::{Question, Terminal};
pub use text::printable;

/// How long a host that polls (U2F) may pause before its question is taken back.
const POLL_PAUSE: Duration = Duration::from_secs(3);

/// How long an answer to a polling host is kept for it to come back.
const ANSWER_LIFE: Duration = Duration::from_secs(5);

/// The fingerprint sensor of a simulated key: touched, not swiped, and content with three samples.
const SENSOR: Sensor = Sensor { swipe: false, samples: 3 };

/// `lastEnrollSampleStatus` of a sample that shows too little: CTAP2_ENROLL_FEEDBACK_FP_POOR_QUALITY (CTAP 2.3
/// §6.7.3).
const POOR_QUALITY: u8 = 0x07;

/// Who touches the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PresencePolicy {
    /// The person at the terminal, who sees which site wants what. Without a terminal: nobody.
    Ask,
    /// A rule: every touch is granted, in CTAP2 as soon as the host has heard that one is wanted.
    Auto,
    /// A rule: every touch is refused.
    Deny,
}

/// A host polls for this touch.
struct Polled {
    operation: Operation,
    rp_id_hash: Option<[u8; 32]>,
    last: Instant,
    asked: Asked,
}

enum Asked {
    Open(Question),
    /// Granted at this time, and not used yet.
    Granted(Instant),
    Denied,
}

/// The finger of one key, for one power-up.
pub struct Finger {
    policy: PresencePolicy,
    /// The USB side, if the key is attached.
    shared: Option<Arc<Shared>>,
    /// A test's finger, which goes before the policy.
    touch: Option<Arc<Touch>>,
    /// What touched last.
    sample: Sample,
    /// Where to ask.
    terminal: fn() -> Option<Arc<Terminal>>,
    polled: Option<Polled>,
    /// Nobody could be asked for this touch; said once while a host polls.
    unasked: Option<(Operation, Option<[u8; 32]>, Instant)>,
}

impl Finger {
    pub(crate) fn new(
        policy: PresencePolicy,
        shared: Option<Arc<Shared>>,
        touch: Option<Arc<Touch>>,
    ) -> Self {
        if let (Some(touch), Some(shared)) = (&touch, &shared) {
            touch.wake(shared);
        }
        let (terminal, sample) = (Terminal::of_process, Sample::default());
        Self { policy, shared, touch, sample, terminal, polled: None, unasked: None }
    }

    /// When to call [`Self::tick`], if ever.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.polled.as_ref().map(Polled::expiry)
    }

    /// Forgets what a host has stopped polling for.
    pub(crate) fn tick(&mut self) {
        self.expire(Instant::now());
    }

    fn expire(&mut self, now: Instant) {
        let expired = self.polled.take_if(|polled| polled.expiry() <= now);
        if let Some(Polled { asked: Asked::Open(question), .. }) = expired {
            question.withdraw("The host has stopped asking.");
        }
    }

    /// Waits for a touch, while the host hears that one is wanted.
    ///
    /// `look` is asked after each event; the wait also ends when the host cancels, at the time-out, and when the
    /// power goes off.
    fn wait_until(
        shared: &Shared,
        timeout: Duration,
        mut look: impl FnMut(&Shared) -> Option<Presence>,
    ) -> Presence {
        let deadline = Instant::now() + timeout;
        shared.asked_for_touch.store(false, Ordering::Release);
        shared.link.set_waiting_for_user(true);
        shared.usb.notify_one();
        let presence = loop {
            if shared.signal.is_off() || shared.link.is_cancelled() {
                break Presence::Cancelled;
            }
            if let Some(presence) = look(shared) {
                break presence;
            }
            if Instant::now() >= deadline {
                break Presence::TimedOut;
            }
            shared.signal.wait(Some(deadline));
        };
        shared.link.set_waiting_for_user(false);
        shared.usb.notify_one();
        presence
    }

    /// Grants as soon as the host knows that a touch is awaited.
    fn auto(&self, timeout: Duration) -> Presence {
        match &self.shared {
            Some(shared) if !timeout.is_zero() => Self::wait_until(shared, timeout, |shared| {
                shared.asked_for_touch.load(Ordering::Acquire).then_some(Presence::Granted)
            }),
            _ => Presence::Granted,
        }
    }

    fn ask(&mut self, prompt: &Prompt<'_>, timeout: Duration) -> Presence {
        let now = Instant::now();
        let Some(shared) = self.shared.clone() else { return Presence::Denied };
        if timeout.is_zero()
            && let Some(presence) = self.answer_to_poll(prompt, now)
        {
            return presence;
        }
        // Whatever a host polled for is over: it asks for something else now.
        self.polled = None;
        let Some(terminal) = (self.terminal)() else {
            self.say_unasked(prompt, now);
            return Presence::Denied;
        };
        let signal = Arc::clone(&shared);
        let question = terminal.ask(text::question(prompt), Arc::new(move || signal.signal.raise()));
        if timeout.is_zero() {
            let (operation, rp_id_hash) = (prompt.operation, prompt.rp_id_hash.copied());
            self.polled = Some(Polled { operation, rp_id_hash, last: now, asked: Asked::Open(question) });
            return Presence::TimedOut;
        }
        let presence = Self::wait_until(&shared, timeout, |_| match question.answer()? {
            true => Some(Presence::Granted),
            false => Some(Presence::Denied),
        });
        match presence {
            Presence::Cancelled => question.withdraw("The host has taken the question back."),
            Presence::TimedOut => question.withdraw("No answer in time."),
            Presence::Granted | Presence::Denied => {}
        }
        presence
    }

    /// Answers a host that polls, if it polled for the same touch before.
    fn answer_to_poll(&mut self, prompt: &Prompt<'_>, now: Instant) -> Option<Presence> {
        self.expire(now);
        let polled = self.polled.as_mut()?;
        if (polled.operation, polled.rp_id_hash.as_ref()) != (prompt.operation, prompt.rp_id_hash) {
            return None;
        }
        polled.last = now;
        polled.take_answer(now);
        match &polled.asked {
            Asked::Open(_) => Some(Presence::TimedOut),
            Asked::Denied => Some(Presence::Denied),
            Asked::Granted(_) => {
                // One answer serves one operation.
                self.polled = None;
                Some(Presence::Granted)
            }
        }
    }

    /// Says that a touch was refused because nobody can be asked; once, while a host polls.
    fn say_unasked(&mut self, prompt: &Prompt<'_>, now: Instant) {
        let key = (prompt.operation, prompt.rp_id_hash.copied());
        let told = self.unasked.is_some_and(|(operation, hash, last)| {
            (operation, hash) == key && now.saturating_duration_since(last) < POLL_PAUSE
        });
        self.unasked = Some((key.0, key.1, now));
        if !told {
            eprintln!("brasskey: refused: {}", no_terminal(prompt));
        }
    }
}

/// Why nobody was asked, and what to do about it.
fn no_terminal(prompt: &Prompt<'_>) -> String {
    let what = text::question(prompt);
    format!("{what}; there is no terminal to ask on, so run brasskey in one or use --presence auto")
}

impl Polled {
    /// When to forget it, unless the host polls again or, for an answer, comes to fetch it.
    fn expiry(&self) -> Instant {
        match self.asked {
            Asked::Granted(since) => since + ANSWER_LIFE,
            // The answer may have come between two polls, and the host pauses as long as it likes.
            Asked::Open(_) | Asked::Denied => self.last + POLL_PAUSE,
        }
    }

    /// Looks whether the user has answered.
    fn take_answer(&mut self, now: Instant) {
        if let Asked::Open(question) = &self.asked {
            match question.answer() {
                Some(true) => self.asked = Asked::Granted(now),
                Some(false) => self.asked = Asked::Denied,
                None => {}
            }
        }
    }
}

impl Finger {
    /// Waits for a test's finger, and for whom the policy names while that is away.
    fn controlled(&mut self, touch: &Touch, prompt: &Prompt<'_>, timeout: Duration) -> Presence {
        let shared = match &self.shared {
            Some(shared) if !timeout.is_zero() => Arc::clone(shared),
            _ => return self.controlled_poll(touch, prompt),
        };
        self.polled = None;
        let asks = touch.is_away() && self.policy == PresencePolicy::Ask;
        let question = asks.then(self.terminal).flatten().map(|terminal| {
            let signal = Arc::clone(&shared);
            terminal.ask(text::question(prompt), Arc::new(move || signal.signal.raise()))
        });
        let mut touched = Sample::default();
        let presence = Self::wait_until(&shared, timeout, |shared| {
            if let Some(answer) = question.as_ref().and_then(Question::answer) {
                return Some(if answer { Presence::Granted } else { Presence::Denied });
            }
            // Every finger comes after the host has heard that one is wanted.
            if !shared.asked_for_touch.load(Ordering::Acquire) {
                return None;
            }
            match (touch.take(), self.policy) {
                (Answer::Touched(sample), _) => {
                    touched = sample;
                    Some(Presence::Granted)
                }
                (Answer::Policy, PresencePolicy::Auto) => Some(Presence::Granted),
                (Answer::Denied, _) | (Answer::Policy, PresencePolicy::Deny) => Some(Presence::Denied),
                (Answer::Nobody, _) | (Answer::Policy, PresencePolicy::Ask) => None,
            }
        });
        self.sample = touched;
        presence
    }

    /// The same for a host that polls: what it finds at this moment.
    fn controlled_poll(&mut self, touch: &Touch, prompt: &Prompt<'_>) -> Presence {
        match touch.take() {
            Answer::Touched(sample) => {
                self.sample = sample;
                Presence::Granted
            }
            Answer::Denied => Presence::Denied,
            Answer::Nobody => Presence::TimedOut,
            Answer::Policy => match self.policy {
                PresencePolicy::Auto => Presence::Granted,
                PresencePolicy::Deny => Presence::Denied,
                PresencePolicy::Ask if (self.terminal)().is_some() => self.ask(prompt, Duration::ZERO),
                // The finger may yet come.
                PresencePolicy::Ask => Presence::TimedOut,
            },
        }
    }
}

impl UserPresence for Finger {
    fn wait(&mut self, prompt: &Prompt<'_>, timeout_ms: u32) -> Presence {
        let timeout = Duration::from_millis(u64::from(timeout_ms));
        self.sample = Sample::default();
        if let Some(touch) = self.touch.clone() {
            return self.controlled(&touch, prompt, timeout);
        }
        match self.policy {
            PresencePolicy::Auto => self.auto(timeout),
            PresencePolicy::Deny => Presence::Denied,
            PresencePolicy::Ask => self.ask(prompt, timeout),
        }
    }

    fn wink(&mut self) {
        match self.policy {
            PresencePolicy::Ask if (self.terminal)().is_some() => eprintln!("\n* The key winks at you. *"),
            _ => tracing::info!("wink"),
        }
    }
}

/// Whoever touches by the policy has one finger, always the same.
impl UserVerification for Finger {
    fn sensor(&self) -> Sensor {
        SENSOR
    }

    fn scan(&mut self, prompt: &Prompt<'_>, timeout_ms: u32) -> Scan {
        match (self.wait(prompt, timeout_ms), self.sample) {
            (Presence::Granted, Sample::Finger(print)) => Scan::Finger(print.0),
            (Presence::Granted, Sample::Poor) => Scan::Poor(POOR_QUALITY),
            (Presence::Denied, _) => Scan::Denied,
            (Presence::TimedOut, _) => Scan::TimedOut,
            (Presence::Cancelled, _) => Scan::Cancelled,
        }
    }
}
