//! The stand-in's own settings, for tests. Nobody has to sign in for them: they are no part of what it stands for.

use std::sync::Arc;

use axum::extract::{Extension, Form, State as From};
use axum::response::Redirect;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use maud::Markup;
use serde::Deserialize;

use super::{Answer, Refusal};
use crate::session::SessionId;
use crate::settings::Settings;
use crate::{Console, pages};

type App = From<Arc<Console>>;
type Id = Extension<SessionId>;

const HERE: &str = "/settings";

pub(super) async fn page(From(console): App, Extension(id): Id) -> Markup {
    let mut state = console.lock();
    let notice = state.notice(&id);
    pages::settings::settings(&state.settings, notice.as_deref())
}

pub(super) async fn save(From(console): App, Extension(id): Id, Form(settings): Form<Settings>) -> Redirect {
    let mut state = console.lock();
    state.settings = settings;
    state.say(&id, "Saved.");
    Redirect::to(HERE)
}

pub(super) async fn bench(From(console): App) -> Markup {
    pages::bench::bench(&console.lock().settings)
}

#[derive(Deserialize)]
pub(super) struct Whose {
    user: String,
}

/// Takes all devices from a user, as AWS's support does for who is locked out.
pub(super) async fn forget(
    From(console): App,
    Extension(id): Id,
    Form(whose): Form<Whose>,
) -> Answer<Redirect> {
    let mut state = console.lock();
    state.user(&whose.user)?.devices.clear();
    state.say(&id, format!("{} has no MFA device any more.", whose.user));
    Ok(Redirect::to(HERE))
}

#[derive(Deserialize)]
pub(super) struct U2f {
    user: String,
    name: String,
    key_handle: String,
    public_key: String,
}

pub(super) async fn add_u2f(
    From(console): App,
    Extension(id): Id,
    Form(form): Form<U2f>,
) -> Answer<Redirect> {
    let decode = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
        bytes.map_err(|error| Refusal::bad(format!("Not base64url: {error}"), HERE))
    };
    let (key_handle, public_key) = (decode(&form.key_handle)?, decode(&form.public_key)?);
    let added = console.add_u2f_key(&form.user, &form.name, key_handle, &public_key);
    added.map_err(|error| Refusal::bad(format!("{error:#}"), HERE))?;
    console.lock().say(&id, format!("Security key {} added.", form.name));
    Ok(Redirect::to(HERE))
}
