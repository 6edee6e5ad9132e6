//! What is to be seen once signed in.

use std::sync::Arc;

use axum::extract::{Extension, State as From};
use maud::Markup;

use super::Answer;
use crate::policy::Action;
use crate::session::SessionId;
use crate::{Console, pages};

type App = From<Arc<Console>>;
type Id = Extension<SessionId>;

pub(super) async fn home(From(console): App, Extension(id): Id) -> Answer<Markup> {
    let mut state = console.lock();
    let actor = state.actor(&id)?;
    let notice = state.notice(&id);
    Ok(pages::console(&actor, state.user(&actor.name)?, notice.as_deref()))
}

pub(super) async fn service(From(console): App, Extension(id): Id) -> Answer<Markup> {
    let mut state = console.lock();
    let name = state.actor(&id)?.name;
    let actor = state.authorized(&id, Action::UseService, &name)?;
    Ok(pages::service(&actor))
}

pub(super) async fn dashboard(From(console): App, Extension(id): Id) -> Answer<Markup> {
    let mut state = console.lock();
    let actor = state.actor(&id)?;
    let users = state.account.users.values().filter(|user| !user.is_root()).count();
    Ok(pages::dashboard(&actor, state.user(&actor.name)?, users))
}

pub(super) async fn users(From(console): App, Extension(id): Id) -> Answer<Markup> {
    let mut state = console.lock();
    let name = state.actor(&id)?.name;
    let actor = state.authorized(&id, Action::ListUsers, &name)?;
    Ok(pages::devices::users(&actor, state.account.users.values()))
}
