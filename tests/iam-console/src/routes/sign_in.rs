//! Signing in and out.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Form, State as From};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::Markup;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Refusal, script};
use crate::account::{ACCOUNT, ROOT};
use crate::otp;
use crate::security_key::Refused;
use crate::session::{Challenge, SessionId, Stage};
use crate::{Console, State, pages};

const SECOND_FACTOR: &str = "/signin/mfa";

const COPIED: &str = "A signature of this key had a count that did not rise, so there may be a copy of the key. \
                      Remove it unless you know better.";

pub(super) async fn start(
    From(console): From<Arc<Console>>,
    Extension(id): Extension<SessionId>,
) -> Redirect {
    Redirect::to(match console.lock().stage(&id) {
        Stage::Stranger => "/signin",
        Stage::Password { .. } => SECOND_FACTOR,
        Stage::SignedIn { .. } => "/console",
    })
}

pub(super) async fn page() -> Markup {
    pages::sign_in::password(false)
}

#[derive(Deserialize)]
pub(super) struct Root {
    email: String,
    password: String,
}

pub(super) async fn as_root(
    From(console): From<Arc<Console>>,
    Extension(id): Extension<SessionId>,
    Form(form): Form<Root>,
) -> Answer<Response> {
    password(&console, &id, &form.email, &form.password, |name| name == ROOT)
}

#[derive(Deserialize)]
pub(super) struct User {
    account: String,
    user: String,
    password: String,
}

pub(super) async fn as_user(
    From(console): From<Arc<Console>>,
    Extension(id): Extension<SessionId>,
    Form(form): Form<User>,
) -> Answer<Response> {
    let right_account = form.account == ACCOUNT;
    password(&console, &id, &form.user, &form.password, |name| right_account && name != ROOT)
}

fn password(
    console: &Console,
    id: &SessionId,
    sign_in_name: &str,
    password: &str,
    is_meant: impl Fn(&str) -> bool,
) -> Answer<Response> {
    let mut state = console.lock();
    let found = state.account.users.values().find(|user| {
        user.sign_in_name == sign_in_name && is_meant(&user.name) && user.has_password(password)
    });
    let Some(user) = found else {
        return Ok((StatusCode::FORBIDDEN, pages::sign_in::password(true)).into_response());
    };
    let (name, needs_more) = (user.name.clone(), !user.devices.is_empty());
    let (stage, next) = if needs_more {
        (Stage::Password { user: name }, SECOND_FACTOR)
    } else {
        (Stage::SignedIn { user: name, mfa: false }, "/console")
    };
    let cookie = state.advance(id, stage, console.now())?;
    Ok((cookie, Redirect::to(next)).into_response())
}

/// Whose password was right.
fn half_way(state: &mut State, id: &SessionId) -> Answer<String> {
    match state.stage(id) {
        Stage::Password { user } => Ok(user),
        _ => Err(Refusal::SignIn),
    }
}

pub(super) async fn second_factor(
    From(console): From<Arc<Console>>,
    Extension(id): Extension<SessionId>,
) -> Answer<Markup> {
    let mut state = console.lock();
    let user = half_way(&mut state, &id)?;
    let notice = state.notice(&id);
    Ok(pages::sign_in::second_factor(state.user(&user)?, notice.as_deref()))
}

#[derive(Deserialize)]
pub(super) struct Code {
    code: String,
}

pub(super) async fn by_code(
    From(console): From<Arc<Console>>,
    Extension(id): Extension<SessionId>,
    Form(form): Form<Code>,
) -> Answer<Response> {
    let mut state = console.lock();
    let name = half_way(&mut state, &id)?;
    let now = console.now();
    let mut used = false;
    for otp in state.user(&name)?.devices.iter_mut().filter_map(|device| device.otp_mut()) {
        match otp.accept(form.code.trim(), now) {
            Ok(()) => {
                let cookie = state.advance(&id, Stage::SignedIn { user: name, mfa: true }, now)?;
                return Ok((cookie, Redirect::to("/console")).into_response());
            }
            Err(refused) => used |= refused == otp::Refused::Used,
        }
    }
    let message =
        if used { "This code was used before. Wait for the next one." } else { "The MFA code is not right." };
    Err(Refusal::Because { status: StatusCode::FORBIDDEN, message: message.into(), back: SECOND_FACTOR })
}

pub(super) async fn key_options(
    From(console): From<Arc<Console>>,
    Extension(id): Extension<SessionId>,
) -> Response {
    script(start_key(&console, &id))
}

fn start_key(console: &Console, id: &SessionId) -> Answer<Value> {
    let mut state = console.lock();
    let name = half_way(&mut state, id)?;
    let settings = state.settings.clone();
    let (options, ceremony) = console.site.start_authentication(&settings, state.user(&name)?)?;
    let options = json!(options);
    if let Some(session) = state.sessions.get(id) {
        session.challenge = Some(Challenge::new(ceremony, options.clone(), console.now()));
    }
    Ok(options)
}

pub(super) async fn by_key(
    From(console): From<Arc<Console>>,
    Extension(id): Extension<SessionId>,
    Json(response): Json<Value>,
) -> Response {
    match finish_key(&console, &id, &response) {
        Ok(done) => done,
        Err(refusal) => refusal.json(),
    }
}

fn finish_key(console: &Console, id: &SessionId, response: &Value) -> Answer<Response> {
    let now = console.now();
    let mut guard = console.lock();
    let state = &mut *guard;
    let name = half_way(state, id)?;
    // Taken: a challenge serves one answer, right or wrong.
    let challenge = state.sessions.get(id).and_then(|session| session.challenge.take());
    let Some((ceremony, options)) = challenge.and_then(|challenge| challenge.open(now)) else {
        return Err(Refusal::bad("No sign-in is under way, or it took too long.", SECOND_FACTOR));
    };
    let result = console.site.finish_authentication(response, &ceremony);
    let message = match &result {
        Ok(_) => None,
        Err(Refused::Copied { .. }) => Some(COPIED),
        Err(Refused::Otherwise(why)) => Some(&**why),
    };
    state.recorder.write("get", &options, response, message);
    let refused =
        |message: String| Refusal::Because { status: StatusCode::FORBIDDEN, message, back: SECOND_FACTOR };
    match result {
        Ok((credential_id, count)) => {
            // It may have been removed since the challenge was made.
            let key = state.user(&name)?.key_mut(&credential_id);
            let Some((_, key)) = key else { return Err(refused("This key was removed.".into())) };
            key.credential.counter = count;
            let cookie = state.advance(id, Stage::SignedIn { user: name, mfa: true }, now)?;
            Ok((cookie, Json(json!({ "next": "/console" }))).into_response())
        }
        Err(Refused::Copied { credential_id }) => {
            if let Some((alert, _)) = state.user(&name)?.key_mut(&credential_id) {
                *alert = Some(COPIED);
            }
            Err(refused(COPIED.into()))
        }
        Err(Refused::Otherwise(why)) => Err(refused(format!("The key's answer was refused: {why}"))),
    }
}

pub(super) async fn out(
    From(console): From<Arc<Console>>,
    Extension(id): Extension<SessionId>,
) -> Answer<Response> {
    let cookie = console.lock().advance(&id, Stage::Stranger, console.now())?;
    Ok((cookie, Redirect::to("/signin")).into_response())
}
