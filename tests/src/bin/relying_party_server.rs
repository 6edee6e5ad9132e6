//! `relying_party_server NAME`: a web site on http://localhost with one page, which registers a security key and signs in
//! with it, without a click. Verifies what the page posts by webauthn-rs-core, and exits when that is done.
//!
//! Prints its URL first. Then it prints a line for each check, `ok NAME-…` or `FAILED NAME-…: why`, and ends with the
//! status 0 if all passed, otherwise 1. A browser that never comes is for the caller to give up on.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result, bail};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use brasskey_tests::relying_party::RelyingParty;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AttestationFormat, AuthenticationState, COSEAlgorithm,
    CreationChallengeResponse, PublicKeyCredential, RegisterPublicKeyCredential, RegistrationState,
    RequestChallengeResponse,
};

const PAGE: &str = include_str!("../../browser/page.html");

/// How often the page signs in: twice, so that one count can be compared with another.
const SIGN_INS: usize = 2;

const LAST_CHECK: &str = "get-again";

/// A check's name and what came of it. The last sign-in ends the server, and so does any `Err`.
type Outcome = (&'static str, Result<(), String>);

struct Site {
    relying_party: RelyingParty,
    registration: Option<RegistrationState>,
    authentication: Option<AuthenticationState>,
    sign_ins: usize,
}

#[derive(Clone)]
struct App {
    site: Arc<Mutex<Site>>,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

/// What a handler answers: on failure, the reason is for the page's log.
type Answer<T> = Result<T, (StatusCode, String)>;

impl App {
    fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Reports a check's result and turns it into the answer to the page.
    fn report(&self, name: &'static str, result: Result<()>) -> Answer<()> {
        let result = result.map_err(|error| format!("{error:#}"));
        // Nobody listens any more after the last check or a failure; nothing depends on later ones.
        let _ = self.outcomes.send((name, result.clone()));
        result.map_err(|reason| (StatusCode::BAD_REQUEST, reason))
    }
}

impl Site {
    fn create_options(&mut self) -> Result<CreationChallengeResponse> {
        let direct = AttestationConveyancePreference::Direct;
        let (options, state) = self.relying_party.start_registration(direct, COSEAlgorithm::ES256, false)?;
        self.registration = Some(state);
        Ok(options)
    }

    fn create(&mut self, response: &RegisterPublicKeyCredential) -> Result<()> {
        let state = self.registration.take().context("no registration is under way")?;
        let credential = self.relying_party.finish_registration(response, &state, None)?;
        // Asked for directly: a browser that left the statement out would give `none`.
        if credential.attestation_format != AttestationFormat::Packed {
            bail!("the attestation is {:?}, not packed", credential.attestation_format);
        }
        Ok(())
    }

    fn get_options(&mut self) -> Result<RequestChallengeResponse> {
        let (options, state) = self.relying_party.start_authentication()?;
        self.authentication = Some(state);
        Ok(options)
    }

    /// The relying party refuses a count that is not higher than the one before.
    fn get(&mut self, response: &PublicKeyCredential) -> Result<()> {
        let state = self.authentication.take().context("no sign-in is under way")?;
        self.relying_party.finish_authentication(response, &state)?;
        self.sign_ins += 1;
        Ok(())
    }
}

async fn create_options(State(app): State<App>) -> Answer<Json<CreationChallengeResponse>> {
    let options = app.site().create_options();
    options.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))
}

async fn create(State(app): State<App>, Json(response): Json<RegisterPublicKeyCredential>) -> Answer<()> {
    let result = app.site().create(&response);
    app.report("create", result)
}

async fn get_options(State(app): State<App>) -> Answer<Json<RequestChallengeResponse>> {
    let options = app.site().get_options();
    options.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))
}

async fn sign_in(State(app): State<App>, Json(response): Json<PublicKeyCredential>) -> Answer<()> {
    let (result, name) = {
        let mut site = app.site();
        (site.get(&response), if site.sign_ins < SIGN_INS { "get" } else { LAST_CHECK })
    };
    app.report(name, result)
}

/// The page's script ended in an exception.
async fn broken(State(app): State<App>, Json(reason): Json<String>) -> Answer<()> {
    app.report("page", Err(anyhow::Error::msg(reason)))
}

/// Serves until the last check passed or one failed. True if all passed.
async fn serve(name: &str) -> Result<bool> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://localhost:{}", listener.local_addr()?.port());
    let (outcomes, mut reports) = mpsc::unbounded_channel();
    let site = Site {
        relying_party: RelyingParty::new(&origin)?,
        registration: None,
        authentication: None,
        sign_ins: 0,
    };
    let router = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/create/options", post(create_options))
        .route("/create", post(create))
        .route("/get/options", post(get_options))
        .route("/get", post(sign_in))
        .route("/broken", post(broken))
        .with_state(App { site: Arc::new(Mutex::new(site)), outcomes });
    println!("{origin}/");
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut passed = false;
    while let Some((check, result)) = reports.recv().await {
        match result {
            Ok(()) => println!("ok {name}-{check}"),
            Err(reason) => {
                println!("FAILED {name}-{check}: {}", reason.replace('\n', " "));
                break;
            }
        }
        if check == LAST_CHECK {
            passed = true;
            break;
        }
    }
    server.abort();
    Ok(passed)
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let name = std::env::args().nth(1).context("usage: relying_party_server NAME")?;
    Ok(if serve(&name).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
