//! A stand-in for the part of the AWS IAM console that assigns MFA devices and signs in with them. It is for testing
//! security keys, and it is not AWS: it looks otherwise, and says so on every page.
//!
//! It follows what AWS documents in its IAM User Guide: sign-in as root or IAM user with the second factor after the
//! password, the wizard "Assign MFA device" with its three types of devices, up to eight of them, policies that demand
//! MFA or certified keys. What AWS does not publish, foremost the options that its page gives to WebAuthn, are
//! [`Settings`]. The WebAuthn part is verified by webauthn-rs-core.
//!
//! All state is in memory; users and passwords are demonstration data ([`DEMO_USERS`]). It serves on loopback, answers
//! only to its own host name (against DNS rebinding), and takes changes only from its own pages (against cross-site
//! requests): see `guard`.
//!
//! ```
//! use brasskey_iam_console::{Console, Options, visitor::Visitor};
//!
//! let console = Console::new(Options::at("http://localhost:8080")?)?;
//! let mut visitor = Visitor::new(console);
//! let page = visitor.sign_in("root@example.com", "root-demo-password")?;
//! assert!(page.body.contains("Add MFA for root user"));
//! # Ok::<(), anyhow::Error>(())
//! ```
#![forbid(unsafe_code)]

mod account;
mod guard;
mod otp;
mod pages;
mod policy;
mod record;
mod routes;
mod security_key;
mod session;
mod settings;
pub mod visitor;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::Router;
use url::Url;

pub use account::{ACCOUNT, DEMO_TOKENS, DEMO_USERS, MAX_DEVICES, ROOT};
pub use policy::Level;
pub use security_key::Trust;
pub use settings::{AWS_APP_ID, Algorithms, Attestation, ResidentKey, Settings, UserVerification};

use account::Account;
use record::Recorder;
use security_key::Site;
use session::Sessions;

/// Seconds since 1970.
pub type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// What a console is made from.
pub struct Options {
    /// Where browsers find it, such as `http://localhost:8080`; the host is the RP ID.
    pub origin: Url,
    /// To begin with.
    pub settings: Settings,
    /// The makers of certified keys.
    pub trust: Option<Trust>,
    /// A file to which each WebAuthn ceremony is appended, a line of JSON each.
    pub record: Option<PathBuf>,
    /// The time.
    pub clock: Clock,
}

impl Options {
    /// Default settings, the system's clock, nothing recorded.
    ///
    /// Errors: this is no origin.
    pub fn at(origin: &str) -> anyhow::Result<Self> {
        let origin = Url::parse(origin).with_context(|| format!("{origin} is no URL"))?;
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Self { origin, settings: Settings::default(), trust: None, record: None, clock: Box::new(clock) })
    }
}

/// The console with all its state.
pub struct Console {
    /// As a browser writes it in the header `Origin`.
    origin: String,
    /// As a browser writes it in the header `Host`.
    host: String,
    site: Site,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    account: Account,
    sessions: Sessions,
    settings: Settings,
    recorder: Recorder,
}

impl Console {
    /// A console in which nobody has an MFA device.
    pub fn new(options: Options) -> anyhow::Result<Arc<Self>> {
        let origin = options.origin.origin().ascii_serialization();
        let host = origin.split_once("://").context("an origin without a host")?.1.to_owned();
        let state = State {
            account: Account::new()?,
            sessions: Sessions::default(),
            settings: options.settings,
            recorder: Recorder::open(options.record.as_deref(), &origin)?,
        };
        let site = Site::new(&options.origin, options.trust)?;
        Ok(Arc::new(Self { origin, host, site, clock: options.clock, state: Mutex::new(state) }))
    }

    /// Its pages.
    pub fn router(self: Arc<Self>) -> Router {
        routes::router(self)
    }

    /// The origin of its pages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Gives a user a security key that was registered by U2F: key handle and public key (65 bytes, SEC 1). AWS has such
    /// keys from the time before WebAuthn; no browser can make one today.
    ///
    /// Errors: no such user, a name that is taken or is none, a ninth device, a key that is none.
    pub fn add_u2f_key(
        &self,
        user: &str,
        name: &str,
        key_handle: Vec<u8>,
        public_key: &[u8],
    ) -> anyhow::Result<()> {
        let key = security_key::from_u2f(key_handle, public_key)?;
        let kind = account::Kind::SecurityKey(Box::new(key));
        let now = self.now();
        let mut state = self.lock();
        let user = state.account.users.get_mut(user).context("no such user")?;
        routes::add_device(user, account::Device::new(name.into(), kind, now)).map_err(anyhow::Error::msg)
    }

    fn now(&self) -> u64 {
        (self.clock)()
    }

    /// A handler that panicked has not left the state half changed in a way that matters to a test server.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system's random numbers")?;
    Ok(bytes)
}
