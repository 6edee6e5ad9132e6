//! [`Inquiry`]: the same finger for a body that has a button of its own, and only needs somebody to press it.

use super::PresencePolicy;
use super::terminal::{Question, Terminal};
use super::text;
use brasskey_authenticator::Prompt;
use std::sync::Arc;

/// A touch that is wanted.
pub(crate) enum Inquiry {
    /// Granted as soon as the host has heard that one is wanted.
    Rule,
    /// Refused.
    Refused,
    /// The person at the terminal decides.
    Asked(Question),
}

impl Inquiry {
    /// Asks for a touch. `wake` is called when the person at the terminal has answered.
    pub(crate) fn new(
        policy: PresencePolicy,
        prompt: &Prompt<'_>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        match policy {
            PresencePolicy::Auto => Self::Rule,
            PresencePolicy::Deny => Self::Refused,
            PresencePolicy::Ask => match Terminal::of_process() {
                Some(terminal) => Self::Asked(terminal.ask(text::question(prompt), Arc::new(wake))),
                None => {
                    eprintln!("brasskey: refused: {}", super::no_terminal(prompt));
                    Self::Refused
                }
            },
        }
    }

    /// What was decided, if it was. `told`: the host has heard that a touch is wanted.
    pub(crate) fn answer(&self, told: bool) -> Option<bool> {
        match self {
            Self::Rule => told.then_some(true),
            Self::Refused => Some(false),
            Self::Asked(question) => question.answer(),
        }
    }
}
