//! The control's paths, and who may call them.
//!
//! `GET` and `POST` both move what python-fido2's device suite moves, for it only knows `GET`; everything else is
//! `POST`. That no web page gets here does not rest on the method: see [`guard`].

use super::server::ConformanceResults;
use super::{Control, Fingerprint, Held, Sample};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{HOST, ORIGIN, REFERER, USER_AGENT};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::net::IpAddr;
use std::sync::Arc;

/// A conformance tool's report of its results: a few lines a failed test.
const RESULTS_LEN: usize = 16 * 1024 * 1024;

const USAGE: &str = "\
brasskey test control. /usbN/ is the Nth key; an only key answers to every N.
GET or POST  /usbN/touch/on       a finger rests on the key: every touch is given
             /usbN/touch/off      it goes away: --presence decides
             /usbN/power/off      the key leaves its host
             /usbN/power/on       and is there again
POST         /usbN/touch/once     one touch, for who waits or comes within 5 s; 408 if nobody does
             /usbN/touch/deny     says no to every touch
             /usbN/touch/never    nobody comes, whatever --presence says
             /usbN/power/cycle    off and on
             /usbN/finger/NAME/on     the finger of this name rests on the sensor
             /usbN/finger/NAME/once   it is put there once
             /usbN/finger/poor        a finger that the sensor cannot read, once
";

/// What an Electron program sends as its origin.
const DESKTOP_ORIGIN: &str = "file://";

type Answer = (StatusCode, &'static str);

const DONE: Answer = (StatusCode::OK, "done\n");
const NO_PATH: Answer = (StatusCode::NOT_FOUND, "no such path; GET / lists them\n");
const NO_KEY: Answer = (StatusCode::NOT_FOUND, "no such key; /usb1/ is the first\n");
const POST_ONLY: Answer = (StatusCode::METHOD_NOT_ALLOWED, "POST only\n");
const UNUSED: Answer = (StatusCode::REQUEST_TIMEOUT, "nothing asked for a touch within 5 s\n");
const NOT_PLUGGED: Answer =
    (StatusCode::INTERNAL_SERVER_ERROR, "the kernel does not have the key; the log says why\n");

/// What `--http` serves under `--test-control`.
pub(super) fn control(controls: Vec<Arc<Control>>) -> Router {
    Router::new()
        .route("/", get(USAGE))
        .route("/{key}/touch/{act}", get(touch).post(touch))
        .route("/{key}/power/{act}", get(power).post(power))
        .route("/{key}/finger/{name}", post(poor_finger))
        .route("/{key}/finger/{name}/{act}", post(finger))
        .fallback(|| async { NO_PATH })
        .with_state(Arc::from(controls))
        .layer(middleware::from_fn(|request, next| guard(request, next, Origins::None)))
}

/// What FIDO's conformance tools call, for one key.
pub(super) fn conformance(control: Arc<Control>, results: Arc<ConformanceResults>) -> Router {
    Router::new()
        .route("/conformance/userpresence", post(user_presence))
        .route("/conformance/powercycle", post(power_cycle))
        .with_state(control)
        .route("/conformance/results", post(keep_results).with_state(results))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such path\n") })
        .layer(DefaultBodyLimit::max(RESULTS_LEN))
        .layer(middleware::from_fn(|request, next| guard(request, next, Origins::Desktop)))
}

/// Refuses whatever a web page could have sent.
///
/// A page can make its browser send any `GET` or simple `POST` to this port, and by an address of its own that
/// resolves to loopback it could even read the answers. Browsers mark what they send: `Origin` on every `POST`,
/// `Sec-Fetch-…` and `User-Agent: Mozilla/…` on everything, and no script can take these away. `Host` is what the
/// page calls this machine.
async fn guard(request: Request, next: Next, origins: Origins) -> Response {
    match refuse(request.headers(), origins) {
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    }
}

/// Who may call, of those that name an origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origins {
    None,
    /// A desktop program made of web technology, as FIDO's tools are. A browser gives no page this origin: its own
    /// local files are "null" to it.
    Desktop,
}

fn refuse(headers: &HeaderMap, origins: Origins) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_loopback) || hosts.next().is_some() {
        return Some("call this by localhost or 127.0.0.1\n");
    }
    if origins == Origins::Desktop && headers.get_all(ORIGIN).iter().eq([DESKTOP_ORIGIN]) {
        return None;
    }
    let browser = headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    let fetched = headers.keys().any(|name| name.as_str().starts_with("sec-"));
    if browser || fetched || headers.contains_key(ORIGIN) || headers.contains_key(REFERER) {
        return Some("not for web pages\n");
    }
    None
}

/// Is this the loopback interface, in a `Host` header, with or without a port?
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) if port.is_empty() || port.starts_with(':') => name,
        Some(_) => return false,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

type Controls = State<Arc<[Arc<Control>]>>;

/// The key that `usbN` names. For an only key any N will do: the device suite's own default is the sixth port of a
/// hub.
fn find<'a>(controls: &'a [Arc<Control>], name: &str) -> Option<&'a Control> {
    let index = name.strip_prefix("usb")?.parse::<usize>().ok()?.checked_sub(1)?;
    let control = if let [only] = controls { only } else { controls.get(index)? };
    Some(control)
}

async fn touch(
    method: Method,
    State(controls): Controls,
    Path((key, act)): Path<(String, String)>,
) -> Answer {
    let Some(control) = find(&controls, &key) else { return NO_KEY };
    match act.as_str() {
        "on" => control.hold(Held::On(Sample::default())),
        "off" => control.hold(Held::Away),
        "once" | "deny" | "never" if method != Method::POST => return POST_ONLY,
        "once" => return touched(control.touch().await),
        "deny" => control.hold(Held::Deny),
        "never" => control.hold(Held::Never),
        _ => return NO_PATH,
    }
    DONE
}

async fn power(
    method: Method,
    State(controls): Controls,
    Path((key, act)): Path<(String, String)>,
) -> Answer {
    let Some(control) = find(&controls, &key) else { return NO_KEY };
    match act.as_str() {
        "on" => plugged(control.power_on().await),
        "off" => {
            control.power_off().await;
            DONE
        }
        "cycle" if method != Method::POST => POST_ONLY,
        "cycle" => plugged(control.power_cycle().await),
        _ => NO_PATH,
    }
}

async fn finger(State(controls): Controls, Path((key, name, act)): Path<(String, String, String)>) -> Answer {
    let Some(control) = find(&controls, &key) else { return NO_KEY };
    let sample = Sample::Finger(Fingerprint::of(&name));
    match act.as_str() {
        "on" => control.hold(Held::On(sample)),
        "once" => return touched(control.scan(sample).await),
        _ => return NO_PATH,
    }
    DONE
}

async fn poor_finger(State(controls): Controls, Path((key, name)): Path<(String, String)>) -> Answer {
    let Some(control) = find(&controls, &key) else { return NO_KEY };
    match name.as_str() {
        "poor" => touched(control.scan(Sample::Poor).await),
        _ => NO_PATH,
    }
}

async fn user_presence(State(control): State<Arc<Control>>) -> Answer {
    touched(control.touch().await)
}

async fn power_cycle(State(control): State<Arc<Control>>) -> Answer {
    plugged(control.power_cycle().await)
}

async fn keep_results(State(results): State<Arc<ConformanceResults>>, body: Bytes) -> Answer {
    let Ok(report) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, "the results are not JSON\n");
    };
    match results.keep(&report) {
        Ok(()) => DONE,
        Err(error) => {
            tracing::error!("cannot keep the results: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, "cannot keep the results; the log says why\n")
        }
    }
}

fn touched(used: bool) -> Answer {
    if used { DONE } else { UNUSED }
}

fn plugged(plugged: bool) -> Answer {
    if plugged { DONE } else { NOT_PLUGGED }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn only_loopback_is_called_by_its_name() {
        for good in
            ["localhost", "LOCALHOST:3280", "127.0.0.1", "127.0.0.1:1", "127.9.9.9:80", "[::1]", "[::1]:80"]
        {
            assert_eq!(refuse(&headers(&[("host", good)]), Origins::None), None, "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "evil.example:3280",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.168.0.1",
            "0.0.0.0",
            "[::1]evil.example",
            "::1",
        ] {
            assert!(refuse(&headers(&[("host", bad)]), Origins::None).is_some(), "{bad}");
        }
        assert!(refuse(&HeaderMap::new(), Origins::None).is_some());
        assert!(
            refuse(&headers(&[("host", "localhost"), ("host", "evil.example")]), Origins::None).is_some()
        );
    }

    #[test]
    fn browsers_are_turned_away() {
        let with =
            |name, value| refuse(&headers(&[("host", "127.0.0.1:3280"), (name, value)]), Origins::None);
        assert_eq!(with("user-agent", "Python-urllib/3.13"), None);
        assert_eq!(with("accept", "*/*"), None);
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:3280"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "no-cors"),
            ("referer", "https://evil.example/"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ] {
            assert!(with(name, value).is_some(), "{name}: {value}");
        }
    }

    #[test]
    fn a_desktop_program_is_none() {
        let electron =
            ("user-agent", "Mozilla/5.0 AppleWebKit/537.36 Chrome/120.0 Electron/28.0 Safari/537.36");
        let from = |origin| {
            let sent = [("host", "localhost:3000"), electron, ("sec-fetch-mode", "cors"), ("origin", origin)];
            refuse(&headers(&sent), Origins::Desktop)
        };
        assert_eq!(from("file://"), None);
        let sent = headers(&[("host", "localhost"), ("origin", "file://")]);
        assert!(refuse(&sent, Origins::None).is_some(), "only the conformance port knows it");
        for other in ["null", "file:///home/user/page.html", "https://evil.example", ""] {
            assert!(from(other).is_some(), "{other}");
        }
        let two = [("host", "localhost"), ("origin", "file://"), ("origin", "https://evil.example")];
        assert!(refuse(&headers(&two), Origins::Desktop).is_some());
        let elsewhere = [("host", "evil.example"), ("origin", "file://")];
        assert!(refuse(&headers(&elsewhere), Origins::Desktop).is_some());
    }

    #[test]
    fn keys_are_counted_from_one() {
        let controls = [(); 2].map(|()| Arc::new(Control::new(false)));
        let found = |name| find(&controls, name).is_some();
        assert!(found("usb1") && found("usb2"));
        for wrong in ["usb0", "usb3", "usb", "usb-1", "key1", "1", "usb99999999999999999999"] {
            assert!(!found(wrong), "{wrong}");
        }
        let only = |name| find(&controls[..1], name).is_some();
        assert!(only("usb1") && only("usb6") && !only("usb0") && !only("6"));
    }
}
