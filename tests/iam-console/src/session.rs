//! Who is at which browser, and what they are in the middle of.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use totp_rs::Totp;
use webauthn_rs_core::proto::{AuthenticationState, RegistrationState};

use crate::random;
use crate::security_key::CEREMONY;

/// The name of the cookie.
pub(crate) const COOKIE: &str = "session";

/// No more browsers than this: a program that takes no cookies would fill the memory.
const MAX_SESSIONS: usize = 1000;

/// Idle for so long, in seconds, a session ends.
const IDLE: u64 = 12 * 3600;

/// A secret that a browser keeps in its cookie: 256 random bits.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(crate) struct SessionId(pub(crate) String);

/// How far somebody has got with signing in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Stage {
    #[default]
    Stranger,
    /// The password was right; the second factor is to come.
    Password { user: String },
    /// In the console.
    SignedIn { user: String, mfa: bool },
}

#[derive(Default)]
pub(crate) struct Session {
    pub(crate) stage: Stage,
    /// The wizard "Assign MFA device".
    pub(crate) assignment: Option<Assignment>,
    /// The challenge of a sign-in by security key.
    pub(crate) challenge: Option<Challenge<AuthenticationState>>,
    /// What to say on the next page.
    pub(crate) notice: Option<String>,
    seen: u64,
}

/// A device on its way.
pub(crate) struct Assignment {
    /// Whose.
    pub(crate) user: String,
    /// The device's name.
    pub(crate) name: String,
    pub(crate) kind: NewDevice,
}

pub(crate) enum NewDevice {
    SecurityKey(Option<Challenge<RegistrationState>>),
    App(Totp),
    Token,
}

/// A WebAuthn ceremony that has begun.
pub(crate) struct Challenge<S> {
    state: S,
    options: Value,
    begun: u64,
}

impl<S> Challenge<S> {
    pub(crate) fn new(state: S, options: Value, now: u64) -> Self {
        Self { state, options, begun: now }
    }

    /// The state and the options, unless it is too late.
    pub(crate) fn open(self, now: u64) -> Option<(S, Value)> {
        // As long again for the way through the network and the browser.
        (now < self.begun + 2 * CEREMONY.as_secs()).then_some((self.state, self.options))
    }
}

#[derive(Default)]
pub(crate) struct Sessions(HashMap<SessionId, Session>);

impl Sessions {
    /// The session of a cookie, or a new one: its ID, and whether it is new.
    pub(crate) fn enter(&mut self, cookie: Option<&str>, now: u64) -> anyhow::Result<(SessionId, bool)> {
        self.0.retain(|_, session| now < session.seen + IDLE);
        if let Some(cookie) = cookie {
            let id = SessionId(cookie.into());
            if let Some(session) = self.0.get_mut(&id) {
                session.seen = now;
                return Ok((id, false));
            }
        }
        if self.0.len() >= MAX_SESSIONS {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.seen).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.0.remove(&id));
        }
        let id = Self::new_id()?;
        self.0.insert(id.clone(), Session { seen: now, ..Session::default() });
        Ok((id, true))
    }

    /// The session of somebody who has just got further, or has signed out, under a new ID: whoever knew the old one
    /// gains nothing.
    pub(crate) fn renew(&mut self, old: &SessionId, stage: Stage, now: u64) -> anyhow::Result<SessionId> {
        self.0.remove(old);
        let id = Self::new_id()?;
        self.0.insert(id.clone(), Session { stage, seen: now, ..Session::default() });
        Ok(id)
    }

    /// `None`: another request of the same browser has ended the session meanwhile.
    pub(crate) fn get(&mut self, id: &SessionId) -> Option<&mut Session> {
        self.0.get_mut(id)
    }

    fn new_id() -> anyhow::Result<SessionId> {
        Ok(SessionId(URL_SAFE_NO_PAD.encode(random::<32>()?)))
    }
}

/// The header that gives a browser its session. Strict: no other site's page can use it. Not `Secure`, since this is
/// plain HTTP on loopback.
pub(crate) fn cookie(id: &SessionId) -> String {
    format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", id.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_expire_and_change_their_names() {
        let mut sessions = Sessions::default();
        let (first, new) = sessions.enter(None, 0).unwrap();
        assert!(new);
        assert!(!sessions.enter(Some(&first.0), 1).unwrap().1);
        assert!(sessions.enter(Some("made up"), 1).unwrap().1, "a browser does not choose its session");
        let renewed = sessions.renew(&first, Stage::Password { user: "ada".into() }, 2).unwrap();
        assert!(sessions.get(&first).is_none() && renewed != first);
        for _ in 0..2 * MAX_SESSIONS {
            sessions.enter(None, 3).unwrap();
        }
        assert_eq!(sessions.0.len(), MAX_SESSIONS);
        sessions.enter(None, 3 + IDLE).unwrap();
        assert_eq!(sessions.0.len(), 1);
    }

    #[test]
    fn a_challenge_is_void_after_a_while() {
        assert!(Challenge::new((), Value::Null, 1000).open(1100).is_some());
        assert!(Challenge::new((), Value::Null, 1000).open(2000).is_none());
    }
}
