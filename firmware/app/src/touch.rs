//! The button's logic: which press counts for which question.
//!
//! * A press counts only if the button was seen up since the question was put: a finger that rests there, or a
//!   button that is stuck, grants nothing.
//! * It has to last [`DEBOUNCE_MS`], or ten seconds where a long touch is asked for (CTAP 2.3 §6.11.6).
//! * It serves one question.
//! * A U2F host polls: it asks, hears "not yet", and asks again. The question stays open for [`POLL_PAUSE_MS`] after
//!   it last asked, and a press in between is kept for it for [`ANSWER_LIFE_MS`].

use brasskey_authenticator::{Operation, Prompt};

/// How long a button has to be down to count, in milliseconds.
pub const DEBOUNCE_MS: u64 = 20;

/// A long touch, in milliseconds (CTAP 2.3 §6.11.6).
pub const LONG_MS: u64 = 10_000;

/// How long a polling host may pause before its question is forgotten, in milliseconds.
pub const POLL_PAUSE_MS: u64 = 3_000;

/// How long a press is kept for a polling host, in milliseconds.
pub const ANSWER_LIFE_MS: u64 = 5_000;

/// What a button's pin says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Button {
    /// Not pressed.
    Up,
    /// Pressed.
    Down,
    /// The user said no: for a board with a second button, or an emulated user.
    Refused,
}

/// What the user answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Pressed long enough.
    Granted,
    /// Said no.
    Refused,
}

/// A press, from up over down to long enough.
#[derive(Clone, Copy, Debug)]
pub struct Press {
    needed_ms: u64,
    was_up: bool,
    down_since: Option<u64>,
}

impl Press {
    /// A press that is to come.
    pub const fn new(long: bool) -> Self {
        Self { needed_ms: if long { LONG_MS } else { DEBOUNCE_MS }, was_up: false, down_since: None }
    }

    /// Takes a look at the button; call it every few milliseconds. `Some` once it is decided.
    pub fn look(&mut self, button: Button, now_ms: u64) -> Option<Answer> {
        match button {
            Button::Refused => return Some(Answer::Refused),
            Button::Up => {
                self.was_up = true;
                self.down_since = None;
            }
            Button::Down if self.was_up => {
                let since = *self.down_since.get_or_insert(now_ms);
                if now_ms.saturating_sub(since) >= self.needed_ms {
                    return Some(Answer::Granted);
                }
            }
            Button::Down => {}
        }
        None
    }
}

/// What a polling host asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Question {
    operation: Operation,
    rp_id_hash: Option<[u8; 32]>,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    question: Question,
    last_ms: u64,
    press: Press,
    answer: Option<(Answer, u64)>,
}

/// The question that a polling host has open, if one has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Polled(Option<Open>);

impl Polled {
    /// The host asks, perhaps again. Returns whether the question is new, and the answer that waits for it.
    pub fn ask(&mut self, prompt: &Prompt<'_>, now_ms: u64) -> (bool, Option<Answer>) {
        self.expire(now_ms);
        let question = Question { operation: prompt.operation, rp_id_hash: prompt.rp_id_hash.copied() };
        let fresh = Open { question, last_ms: now_ms, press: Press::new(prompt.long_touch), answer: None };
        let new = self.0.is_none_or(|open| open.question != question);
        if new {
            self.0 = None;
        }
        let open = self.0.get_or_insert(fresh);
        open.last_ms = now_ms;
        let answer = open.answer.map(|(answer, _)| answer);
        if answer == Some(Answer::Granted) {
            // One press serves one operation.
            self.0 = None;
        }
        (new, answer)
    }

    /// Takes a look at the button between two polls.
    pub fn look(&mut self, button: Button, now_ms: u64) {
        self.expire(now_ms);
        if let Some(open) = &mut self.0
            && open.answer.is_none()
        {
            open.answer = open.press.look(button, now_ms).map(|answer| (answer, now_ms));
        }
    }

    /// Is a question open that has no answer yet?
    pub fn is_waiting(&self) -> bool {
        self.0.is_some_and(|open| open.answer.is_none())
    }

    /// Is a question open, answered or not?
    pub fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Forgets the question: the host asks for something else.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    fn expire(&mut self, now_ms: u64) {
        let over = |open: &mut Open| match open.answer {
            Some((Answer::Granted, at)) => now_ms.saturating_sub(at) > ANSWER_LIFE_MS,
            Some((Answer::Refused, _)) | None => now_ms.saturating_sub(open.last_ms) > POLL_PAUSE_MS,
        };
        self.0.take_if(over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(hash: &[u8; 32]) -> Prompt<'_> {
        Prompt {
            operation: Operation::Register,
            rp_id: None,
            rp_id_hash: Some(hash),
            user: None,
            long_touch: false,
        }
    }

    #[test]
    fn a_press_counts_when_it_was_made_after_the_question_and_lasts() {
        let mut press = Press::new(false);
        // It was down all along.
        for now in 0..1000 {
            assert_eq!(press.look(Button::Down, now), None);
        }
        assert_eq!(press.look(Button::Up, 1000), None);
        // Contacts that bounce begin anew.
        for now in [1001, 1010, 1019] {
            assert_eq!(press.look(Button::Down, now), None);
        }
        assert_eq!(press.look(Button::Up, 1020), None);
        assert_eq!(press.look(Button::Down, 1021), None);
        assert_eq!(press.look(Button::Down, 1040), None);
        assert_eq!(press.look(Button::Down, 1041), Some(Answer::Granted));
    }

    #[test]
    fn a_long_press_takes_ten_seconds() {
        let mut press = Press::new(true);
        press.look(Button::Up, 0);
        assert_eq!(press.look(Button::Down, 5), None);
        assert_eq!(press.look(Button::Down, LONG_MS + 4), None);
        assert_eq!(press.look(Button::Down, LONG_MS + 5), Some(Answer::Granted));
    }

    #[test]
    fn a_polling_host_gets_the_press_made_between_two_polls_once() {
        let mut polled = Polled::default();
        let hash = [1; 32];
        assert_eq!(polled.ask(&prompt(&hash), 0), (true, None));
        for now in 0..100 {
            polled.look(if now < 10 { Button::Up } else { Button::Down }, now);
        }
        assert!(polled.is_open() && !polled.is_waiting());
        // Another site does not get it; and then the press is gone.
        let mut other = polled;
        assert_eq!(other.ask(&prompt(&[2; 32]), 100), (true, None));
        assert_eq!(polled.ask(&prompt(&hash), 100), (false, Some(Answer::Granted)));
        assert_eq!(polled.ask(&prompt(&hash), 101), (true, None));
    }

    #[test]
    fn questions_and_answers_grow_old() {
        let mut polled = Polled::default();
        let hash = [1; 32];
        polled.ask(&prompt(&hash), 0);
        assert_eq!(polled.ask(&prompt(&hash), POLL_PAUSE_MS), (false, None));
        polled.look(Button::Up, 2 * POLL_PAUSE_MS);
        assert!(polled.is_waiting());
        polled.look(Button::Up, 2 * POLL_PAUSE_MS + 1);
        assert!(!polled.is_open());

        polled.ask(&prompt(&hash), 10_000);
        polled.look(Button::Up, 10_000);
        polled.look(Button::Down, 10_001);
        polled.look(Button::Down, 10_021);
        assert_eq!(polled.ask(&prompt(&hash), 10_021 + ANSWER_LIFE_MS + 1), (true, None));
    }

    #[test]
    fn a_no_is_a_no_for_as_long_as_the_host_asks() {
        let mut polled = Polled::default();
        let hash = [1; 32];
        polled.ask(&prompt(&hash), 0);
        polled.look(Button::Refused, 1);
        for now in [2, 1000, 3000] {
            assert_eq!(polled.ask(&prompt(&hash), now), (false, Some(Answer::Refused)));
        }
    }
}
