//! The wizard "Assign MFA device".

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Form, Query, State as From};
use axum::response::{Redirect, Response};
use maud::Markup;
use serde::Deserialize;
use serde_json::{Value, json};

use super::devices::refused_codes;
use super::{Answer, Refusal, script};
use crate::account::{Device, Kind, MAX_DEVICES, User, is_device_name};
use crate::otp::{self, Otp};
use crate::policy::{Action, Actor};
use crate::session::{Assignment, Challenge, NewDevice, SessionId};
use crate::{Console, State, pages, random};

type App = From<Arc<Console>>;
type Id = Extension<SessionId>;

/// Where who has lost the thread starts again.
const BACK: &str = "/iam/security-credentials";

/// May the user have one more device of this name?
fn has_room(user: &User, name: &str) -> Result<(), String> {
    if user.devices.len() >= MAX_DEVICES {
        return Err(format!("Cannot exceed quota for MFA devices per user: {MAX_DEVICES}."));
    }
    if !is_device_name(name) {
        return Err("A device name has 1 to 128 letters, digits, or + = , . @ - _".into());
    }
    if user.device(name).is_some() {
        return Err(format!("There is an MFA device {name} already."));
    }
    Ok(())
}

/// Gives a user a device, if there is room for it.
pub(crate) fn add_device(user: &mut User, device: Device) -> Result<(), String> {
    has_room(user, &device.name)?;
    user.devices.push(device);
    Ok(())
}

#[derive(Deserialize)]
pub(super) struct Whose {
    user: String,
}

pub(super) async fn select_page(
    From(console): App,
    Extension(id): Id,
    Query(whose): Query<Whose>,
) -> Answer<Markup> {
    let actor = console.lock().authorized(&id, Action::EnableMfaDevice, &whose.user)?;
    Ok(pages::devices::select(&actor, &whose.user))
}

#[derive(Deserialize)]
pub(super) struct Selected {
    user: String,
    name: String,
    #[serde(rename = "type")]
    kind: SelectedKind,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SelectedKind {
    Key,
    App,
    Token,
}

pub(super) async fn select(
    From(console): App,
    Extension(id): Id,
    Form(form): Form<Selected>,
) -> Answer<Redirect> {
    let mut state = console.lock();
    state.authorized(&id, Action::EnableMfaDevice, &form.user)?;
    let user = state.user(&form.user)?;
    has_room(user, &form.name).map_err(|why| Refusal::bad(why, BACK))?;
    let kind = match form.kind {
        SelectedKind::Key => NewDevice::SecurityKey(None),
        SelectedKind::App => NewDevice::App(otp::generator(&random::<20>()?, user.sign_in_name)?),
        SelectedKind::Token => NewDevice::Token,
    };
    if let Some(session) = state.sessions.get(&id) {
        session.assignment = Some(Assignment { user: form.user, name: form.name, kind });
    }
    Ok(Redirect::to("/iam/mfa/assign/device"))
}

fn lost() -> Refusal {
    Refusal::bad("No device is being assigned.", BACK)
}

/// Who assigns which device to whom; they still may.
fn under_way(state: &mut State, id: &SessionId) -> Answer<(Actor, String, String)> {
    let session = state.sessions.get(id).ok_or(Refusal::SignIn)?;
    let assignment = session.assignment.as_ref().ok_or_else(lost)?;
    let (user, name) = (assignment.user.clone(), assignment.name.clone());
    let actor = state.authorized(id, Action::EnableMfaDevice, &user)?;
    Ok((actor, user, name))
}

/// The device of the assignment.
fn new_device<'a>(state: &'a mut State, id: &SessionId) -> Answer<&'a mut NewDevice> {
    let session = state.sessions.get(id).ok_or(Refusal::SignIn)?;
    session.assignment.as_mut().map(|assignment| &mut assignment.kind).ok_or_else(lost)
}

pub(super) async fn device_page(From(console): App, Extension(id): Id) -> Answer<Markup> {
    let mut state = console.lock();
    let (actor, _, name) = under_way(&mut state, &id)?;
    Ok(match new_device(&mut state, &id)? {
        NewDevice::SecurityKey(_) => pages::devices::set_up_key(&actor, &name),
        NewDevice::App(totp) => {
            let url = totp.to_url().map_err(anyhow::Error::from)?;
            pages::devices::set_up_app(&actor, &secret_in(&url), &url)
        }
        NewDevice::Token => pages::devices::set_up_token(&actor),
    })
}

/// The secret in base32, as the URL for apps has it.
fn secret_in(url: &str) -> String {
    let pairs = url::Url::parse(url).ok();
    let pairs = pairs.iter().flat_map(|url| url.query_pairs());
    pairs.filter(|(name, _)| name == "secret").map(|(_, value)| value.into_owned()).collect()
}

pub(super) async fn key_options(From(console): App, Extension(id): Id) -> Response {
    script(start_key(&console, &id))
}

fn start_key(console: &Console, id: &SessionId) -> Answer<Value> {
    let mut state = console.lock();
    let (_, user, _) = under_way(&mut state, id)?;
    let settings = state.settings.clone();
    let (options, ceremony) = console.site.start_registration(&settings, state.user(&user)?)?;
    let options = json!(options);
    let NewDevice::SecurityKey(challenge) = new_device(&mut state, id)? else { return Err(lost()) };
    *challenge = Some(Challenge::new(ceremony, options.clone(), console.now()));
    Ok(options)
}

pub(super) async fn key(From(console): App, Extension(id): Id, Json(response): Json<Value>) -> Response {
    script(finish_key(&console, &id, &response))
}

fn finish_key(console: &Console, id: &SessionId, response: &Value) -> Answer<Value> {
    let now = console.now();
    let mut guard = console.lock();
    let state = &mut *guard;
    let (actor, user, name) = under_way(state, id)?;
    let NewDevice::SecurityKey(challenge) = new_device(state, id)? else { return Err(lost()) };
    // Taken: a challenge serves one answer, right or wrong.
    let Some((ceremony, options)) = challenge.take().and_then(|challenge| challenge.open(now)) else {
        return Err(Refusal::bad("No registration is under way, or it took too long.", BACK));
    };
    let result = console.site.finish_registration(response, &ceremony);
    let why = result.as_ref().err().map(|error| format!("{error:#}"));
    state.recorder.write("create", &options, response, why.as_deref());
    let key =
        result.map_err(|error| Refusal::bad(format!("The key's answer was refused: {error:#}"), BACK))?;
    // WebAuthn §7.1: a credential belongs to one account.
    let known = |user: &User| user.credentials().any(|one| one.credential.cred_id == key.credential.cred_id);
    if state.account.users.values().any(known) {
        return Err(Refusal::bad("This credential is registered already.", BACK));
    }
    let policies = state.settings.policies();
    policies.authorize_key(&actor, &user, key.certification).map_err(Refusal::forbidden)?;
    let next = assigned(state, id, &actor, &user, &name, Kind::SecurityKey(Box::new(key)), now)?;
    Ok(json!({ "next": next }))
}

#[derive(Deserialize)]
pub(super) struct Codes {
    first: String,
    second: String,
}

pub(super) async fn app(From(console): App, Extension(id): Id, Form(codes): Form<Codes>) -> Answer<Redirect> {
    let now = console.now();
    let mut state = console.lock();
    let (actor, user, name) = under_way(&mut state, &id)?;
    let NewDevice::App(totp) = new_device(&mut state, &id)? else { return Err(lost()) };
    let otp =
        Otp::assign(totp.clone(), codes.first.trim(), codes.second.trim(), now).map_err(refused_codes)?;
    let next = assigned(&mut state, &id, &actor, &user, &name, Kind::App(otp), now)?;
    Ok(Redirect::to(&next))
}

#[derive(Deserialize)]
pub(super) struct Token {
    serial: String,
    first: String,
    second: String,
}

pub(super) async fn token(
    From(console): App,
    Extension(id): Id,
    Form(form): Form<Token>,
) -> Answer<Redirect> {
    let now = console.now();
    let mut state = console.lock();
    let (actor, user, name) = under_way(&mut state, &id)?;
    let NewDevice::Token = new_device(&mut state, &id)? else { return Err(lost()) };
    let serial = form.serial.trim().to_owned();
    let Some(totp) = state.account.free_token(&serial) else {
        return Err(Refusal::bad("No token of this serial number can be assigned.", BACK));
    };
    let otp = Otp::assign(totp, form.first.trim(), form.second.trim(), now).map_err(refused_codes)?;
    let next = assigned(&mut state, &id, &actor, &user, &name, Kind::Token { serial, otp }, now)?;
    Ok(Redirect::to(&next))
}

/// The wizard's end: where to go from there.
fn assigned(
    state: &mut State,
    id: &SessionId,
    actor: &Actor,
    user: &str,
    name: &str,
    kind: Kind,
    now: u64,
) -> Answer<String> {
    let device = Device::new(name.into(), kind, now);
    add_device(state.user(user)?, device).map_err(|why| Refusal::bad(why, BACK))?;
    if let Some(session) = state.sessions.get(id) {
        session.assignment = None;
    }
    state.say(id, format!("MFA device {name} assigned."));
    Ok(pages::credentials_of(actor, user))
}
