//! A browser without a screen, for tests and demonstrations: it keeps the cookie, follows redirects, and sends what
//! forms send. What a security key has to do is left to the caller.

use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE};
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;
use webauthn_rs_core::proto::{
    CreationChallengeResponse, PublicKeyCredential, RegisterPublicKeyCredential, RequestChallengeResponse,
};

use crate::{ACCOUNT, Console, Settings};

/// Somebody at a browser. Its methods block: not for asynchronous code.
pub struct Visitor {
    router: Router,
    runtime: tokio::runtime::Runtime,
    /// What the header `Host` says; tests change it.
    pub host: String,
    /// What the header `Origin` says with changes; tests change it.
    pub origin: Option<String>,
    cookie: Option<String>,
}

/// What came back, after redirects.
#[derive(Clone, Debug)]
pub struct Page {
    /// The last status.
    pub status: StatusCode,
    /// The last address, without the origin.
    pub path: String,
    /// The text.
    pub body: String,
}

impl Page {
    /// The page, if it is no refusal.
    pub fn ok(self) -> anyhow::Result<Self> {
        if self.status.is_success() {
            Ok(self)
        } else {
            bail!("{} {}: {}", self.status, self.path, self.body)
        }
    }

    fn json(self) -> anyhow::Result<Value> {
        let value: Value = serde_json::from_str(&self.body)
            .with_context(|| format!("{} {}: {}", self.status, self.path, self.body))?;
        if self.status.is_success() {
            return Ok(value);
        }
        bail!("{}", value["error"].as_str().unwrap_or("an error without a message"))
    }
}

impl Visitor {
    /// A browser that has never been there.
    pub fn new(console: Arc<Console>) -> Self {
        let (host, origin) = (console.host.clone(), Some(console.origin.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        // It fails only where the system has no file descriptor left, and takes none without an I/O driver.
        let runtime = runtime.expect("a runtime without I/O");
        Self { router: console.router(), runtime, host, origin, cookie: None }
    }

    /// The cookie, `name=value`.
    pub fn cookie(&self) -> Option<&str> {
        self.cookie.as_deref()
    }

    /// Opens a page.
    pub fn open(&mut self, path: &str) -> anyhow::Result<Page> {
        self.request(Method::GET, path, None)
    }

    /// Submits a form.
    pub fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> anyhow::Result<Page> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.request(Method::POST, path, Some(("application/x-www-form-urlencoded", body)))
    }

    /// Posts JSON as the page's script does. An error is what the page would show.
    pub fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.request(Method::POST, path, Some(("application/json", body.to_string())))?.json()
    }

    fn request(&mut self, method: Method, path: &str, body: Option<(&str, String)>) -> anyhow::Result<Page> {
        let mut path = path.to_owned();
        let mut next = (method, body);
        for _ in 0..5 {
            let (method, body) = next;
            let mut request = Request::builder().method(&method).uri(&path).header(HOST, &self.host);
            if let Some(cookie) = &self.cookie {
                request = request.header(COOKIE, cookie);
            }
            if let Some(origin) = self.origin.as_ref().filter(|_| method == Method::POST) {
                request = request.header(ORIGIN, origin);
            }
            let request = match body {
                Some((kind, body)) => request.header(CONTENT_TYPE, kind).body(Body::from(body)),
                None => request.body(Body::empty()),
            };
            let (request, router) = (request?, self.router.clone());
            let (parts, body) = self.runtime.block_on(async {
                let (parts, body) = router.oneshot(request).await?.into_parts();
                anyhow::Ok((parts, to_bytes(body, usize::MAX).await?))
            })?;
            if let Some(cookie) = parts.headers.get(SET_COOKIE) {
                let cookie = cookie.to_str()?;
                self.cookie = Some(cookie.split_once(';').map_or(cookie, |(pair, _)| pair).to_owned());
            }
            if parts.status != StatusCode::SEE_OTHER {
                let body = String::from_utf8(body.into())?;
                return Ok(Page { status: parts.status, path, body });
            }
            let location = parts.headers.get(LOCATION).context("a redirect to nowhere")?;
            path = location.to_str()?.to_owned();
            next = (Method::GET, None);
        }
        bail!("redirects without end")
    }

    /// The password's part of a sign-in: an e-mail address is the root user's, another name an IAM user's.
    pub fn sign_in(&mut self, name: &str, password: &str) -> anyhow::Result<Page> {
        if name.contains('@') {
            self.submit("/signin/root", &[("email", name), ("password", password)])?;
        } else {
            let fields = [("account", ACCOUNT), ("user", name), ("password", password)];
            self.submit("/signin/iam", &fields)?;
        }
        match self.open("/")? {
            page if page.path == "/console" => self.open("/iam"),
            page => Ok(page),
        }
    }

    /// Signs out.
    pub fn sign_out(&mut self) -> anyhow::Result<Page> {
        self.submit("/signout", &[])
    }

    /// The wizard's first step. `kind`: `key`, `app` or `token`.
    pub fn select_device(&mut self, user: &str, name: &str, kind: &str) -> anyhow::Result<Page> {
        self.submit("/iam/mfa/assign", &[("user", user), ("name", name), ("type", kind)])?.ok()
    }

    /// Assigns a security key to a user; `create` is `navigator.credentials.create()`. Returns the page after it.
    pub fn assign_key<E>(
        &mut self,
        user: &str,
        name: &str,
        create: impl FnOnce(&CreationChallengeResponse) -> Result<RegisterPublicKeyCredential, E>,
    ) -> anyhow::Result<Page>
    where
        anyhow::Error: From<E>,
    {
        self.select_device(user, name, "key")?;
        let options = serde_json::from_value(self.post("/iam/mfa/key/options", &Value::Null)?)?;
        let response = serde_json::to_value(create(&options)?)?;
        self.follow("/iam/mfa/key", &response)
    }

    /// The second factor by security key; `get` is `navigator.credentials.get()`. Returns the page after it.
    pub fn sign_in_with_key<E>(
        &mut self,
        get: impl FnOnce(&RequestChallengeResponse) -> Result<PublicKeyCredential, E>,
    ) -> anyhow::Result<Page>
    where
        anyhow::Error: From<E>,
    {
        let options = serde_json::from_value(self.post("/signin/mfa/options", &Value::Null)?)?;
        let response = serde_json::to_value(get(&options)?)?;
        self.follow("/signin/mfa/key", &response)
    }

    /// Posts what a key made, and opens the page that the answer names.
    fn follow(&mut self, path: &str, response: &Value) -> anyhow::Result<Page> {
        let answer = self.post(path, response)?;
        let next = answer["next"].as_str().context("an answer that leads nowhere")?.to_owned();
        self.open(&next)
    }

    /// Changes the settings.
    pub fn set(&mut self, settings: &Settings) -> anyhow::Result<Page> {
        let value = serde_json::to_value(settings)?;
        let fields = value.as_object().into_iter().flatten();
        let fields: Vec<(&str, String)> = fields
            .map(|(name, value)| (name.as_str(), value.as_str().map_or(value.to_string(), str::to_owned)))
            .filter(|(_, value)| value != "null")
            .collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.submit("/settings", &fields)?.ok()
    }
}
