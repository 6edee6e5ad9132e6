//! The devices that are assigned: list, resynchronise, remove.

use std::sync::Arc;

use axum::extract::{Extension, Form, Path, Query, State as From};
use axum::response::Redirect;
use maud::Markup;
use serde::Deserialize;

use super::{Answer, Refusal};
use crate::policy::Action;
use crate::session::SessionId;
use crate::{Console, otp, pages};

type App = From<Arc<Console>>;
type Id = Extension<SessionId>;

pub(super) async fn own(From(console): App, Extension(id): Id) -> Answer<Markup> {
    let name = console.lock().actor(&id)?.name;
    list(&console, &id, &name)
}

pub(super) async fn of_user(
    From(console): App,
    Extension(id): Id,
    Path(name): Path<String>,
) -> Answer<Markup> {
    list(&console, &id, &name)
}

fn list(console: &Console, id: &SessionId, name: &str) -> Answer<Markup> {
    let mut state = console.lock();
    let actor = state.authorized(id, Action::ListMfaDevices, name)?;
    let notice = state.notice(id);
    Ok(pages::devices::credentials(&actor, state.user(name)?, notice.as_deref()))
}

/// Which device of which user.
#[derive(Deserialize)]
pub(super) struct Which {
    user: String,
    device: String,
}

fn no_device(name: &str) -> Refusal {
    Refusal::bad(format!("There is no MFA device {name}."), "/iam/security-credentials")
}

pub(super) async fn remove(
    From(console): App,
    Extension(id): Id,
    Form(which): Form<Which>,
) -> Answer<Redirect> {
    let mut state = console.lock();
    let actor = state.authorized(&id, Action::DeactivateMfaDevice, &which.user)?;
    let user = state.user(&which.user)?;
    if user.device(&which.device).is_none() {
        return Err(no_device(&which.device));
    }
    user.devices.retain(|device| device.name != which.device);
    state.say(&id, format!("MFA device {} removed.", which.device));
    Ok(Redirect::to(&pages::credentials_of(&actor, &which.user)))
}

pub(super) async fn resync_page(
    From(console): App,
    Extension(id): Id,
    Query(which): Query<Which>,
) -> Answer<Markup> {
    let mut state = console.lock();
    let actor = state.authorized(&id, Action::ResyncMfaDevice, &which.user)?;
    let device = state.user(&which.user)?.device_mut(&which.device);
    if device.and_then(|device| device.otp_mut()).is_none() {
        return Err(no_device(&which.device));
    }
    Ok(pages::devices::resync(&actor, &which.user, &which.device))
}

#[derive(Deserialize)]
pub(super) struct Resync {
    user: String,
    device: String,
    first: String,
    second: String,
}

pub(super) async fn resync(
    From(console): App,
    Extension(id): Id,
    Form(form): Form<Resync>,
) -> Answer<Redirect> {
    let now = console.now();
    let mut state = console.lock();
    let actor = state.authorized(&id, Action::ResyncMfaDevice, &form.user)?;
    let device = state.user(&form.user)?.device_mut(&form.device);
    let otp = device.and_then(|device| device.otp_mut()).ok_or_else(|| no_device(&form.device))?;
    otp.resync(form.first.trim(), form.second.trim(), now).map_err(refused_codes)?;
    state.say(&id, format!("MFA device {} resynchronised.", form.device));
    Ok(Redirect::to(&pages::credentials_of(&actor, &form.user)))
}

pub(super) fn refused_codes(refused: otp::Refused) -> Refusal {
    let message = match refused {
        otp::Refused::Wrong => "These are not two codes in a row of this device.",
        otp::Refused::Used => "These codes were used before.",
    };
    Refusal::bad(message, "/iam/security-credentials")
}
