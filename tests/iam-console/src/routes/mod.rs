//! What each address does.

mod assign;
mod console;
mod devices;
mod settings;
mod sign_in;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

pub(crate) use assign::add_device;

use crate::account::User;
use crate::policy::{Action, Actor};
use crate::session::{SessionId, Stage, cookie};
use crate::{Console, State, guard, pages};

/// Far more than the largest ceremony takes.
const MAX_BODY: usize = 64 * 1024;

pub(crate) fn router(console: Arc<Console>) -> Router {
    let asset = |kind, text: &'static str| get(async move || ([(CONTENT_TYPE, kind)], text));
    Router::new()
        .route("/", get(sign_in::start))
        .route("/console.css", asset("text/css", include_str!("../assets/console.css")))
        .route("/console.js", asset("text/javascript", include_str!("../assets/console.js")))
        .route("/bench.js", asset("text/javascript", include_str!("../assets/bench.js")))
        .route("/signin", get(sign_in::page))
        .route("/signin/root", post(sign_in::as_root))
        .route("/signin/iam", post(sign_in::as_user))
        .route("/signin/mfa", get(sign_in::second_factor))
        .route("/signin/mfa/code", post(sign_in::by_code))
        .route("/signin/mfa/options", post(sign_in::key_options))
        .route("/signin/mfa/key", post(sign_in::by_key))
        .route("/signout", post(sign_in::out))
        .route("/console", get(console::home))
        .route("/service", get(console::service))
        .route("/iam", get(console::dashboard))
        .route("/iam/users", get(console::users))
        .route("/iam/users/{name}", get(devices::of_user))
        .route("/iam/security-credentials", get(devices::own))
        .route("/iam/mfa/remove", post(devices::remove))
        .route("/iam/mfa/resync", get(devices::resync_page).post(devices::resync))
        .route("/iam/mfa/assign", get(assign::select_page).post(assign::select))
        .route("/iam/mfa/assign/device", get(assign::device_page))
        .route("/iam/mfa/key/options", post(assign::key_options))
        .route("/iam/mfa/key", post(assign::key))
        .route("/iam/mfa/app", post(assign::app))
        .route("/iam/mfa/token", post(assign::token))
        .route("/settings", get(settings::page).post(settings::save))
        .route("/settings/u2f", post(settings::add_u2f))
        .route("/settings/forget", post(settings::forget))
        .route("/bench", get(settings::bench))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(console.clone(), guard::guard))
        .with_state(console)
}

/// Why something is not done.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The visitor has to sign in (further) first.
    SignIn,
    /// In words, with where to go from there.
    Because { status: StatusCode, message: String, back: &'static str },
}

type Answer<T> = Result<T, Refusal>;

impl Refusal {
    fn bad(message: impl Into<String>, back: &'static str) -> Self {
        Self::Because { status: StatusCode::BAD_REQUEST, message: message.into(), back }
    }

    fn forbidden(message: String) -> Self {
        Self::Because { status: StatusCode::FORBIDDEN, message, back: "/console" }
    }

    /// For a page's script, which shows the message itself.
    fn json(self) -> Response {
        let (status, error) = match self {
            Self::SignIn => (StatusCode::UNAUTHORIZED, "Sign in first.".into()),
            Self::Because { status, message, .. } => (status, message),
        };
        (status, Json(json!({ "error": error }))).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn => Redirect::to("/").into_response(),
            Self::Because { status, message, back } => {
                (status, pages::refusal(&message, back)).into_response()
            }
        }
    }
}

/// What cannot happen but for the operating system.
impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::Because { status, message: format!("{error:#}"), back: "/" }
    }
}

/// An answer to a page's script: where to go next, or why not.
fn script(answer: Answer<serde_json::Value>) -> Response {
    answer.map_or_else(Refusal::json, |value| Json(value).into_response())
}

impl State {
    fn stage(&mut self, id: &SessionId) -> Stage {
        self.sessions.get(id).map(|session| session.stage.clone()).unwrap_or_default()
    }

    /// Who is in the console.
    fn actor(&mut self, id: &SessionId) -> Answer<Actor> {
        match self.stage(id) {
            Stage::SignedIn { user, mfa } => {
                let administrator = self.user(&user)?.administrator;
                Ok(Actor { name: user, administrator, mfa })
            }
            _ => Err(Refusal::SignIn),
        }
    }

    /// Who is in the console and may do this to `target`.
    fn authorized(&mut self, id: &SessionId, action: Action, target: &str) -> Answer<Actor> {
        let actor = self.actor(id)?;
        self.user(target)?;
        self.settings.policies().authorize(&actor, action, target).map_err(Refusal::forbidden)?;
        Ok(actor)
    }

    fn user(&mut self, name: &str) -> Answer<&mut User> {
        let user = self.account.users.get_mut(name);
        user.ok_or_else(|| Refusal::bad(format!("There is no user {name}."), "/console"))
    }

    /// What the next page is to say.
    fn notice(&mut self, id: &SessionId) -> Option<String> {
        self.sessions.get(id)?.notice.take()
    }

    fn say(&mut self, id: &SessionId, notice: impl Into<String>) {
        if let Some(session) = self.sessions.get(id) {
            session.notice = Some(notice.into());
        }
    }

    /// Goes on to another stage: the cookie's header of the new session.
    fn advance(
        &mut self,
        id: &SessionId,
        stage: Stage,
        now: u64,
    ) -> Answer<[(axum::http::HeaderName, String); 1]> {
        let id = self.sessions.renew(id, stage, now)?;
        Ok([(SET_COOKIE, cookie(&id))])
    }
}
