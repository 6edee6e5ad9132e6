//! What stands before every page: whose request it is, and whether it may come from where it comes from.
//!
//! * `Host` must be our own: a page of another name that resolves to this machine gets nothing (DNS rebinding).
//! * A change (POST) must name our own origin: no other site's page can make one (cross-site request forgery). Browsers
//!   send `Origin` with every POST, and a script cannot forge it. The session's cookie is `SameSite=Strict` besides.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{COOKIE, HOST, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::{Console, session};

/// On every answer. `publickey-credentials-*` are the page's own by default.
const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
];

pub(crate) async fn guard(State(console): State<Arc<Console>>, mut request: Request, next: Next) -> Response {
    let mut response = match admit(&console, &mut request) {
        Ok(new_cookie) => {
            let mut response = next.run(request).await;
            // A handler that renewed the session has said so itself.
            if let Some(cookie) = new_cookie
                && !response.headers().contains_key(SET_COOKIE)
            {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            response
        }
        Err(refusal) => refusal.into_response(),
    };
    for (name, value) in HEADERS {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        response.headers_mut().insert(name, value);
    }
    response
}

/// Checks the request and puts the session's ID into it. Returns the cookie of a session that is new.
fn admit(console: &Console, request: &mut Request) -> Result<Option<HeaderValue>, (StatusCode, String)> {
    let headers = request.headers();
    if text(headers, HOST) != Some(&console.host) {
        let where_to = format!("This server answers only at {}/\n", console.origin);
        return Err((StatusCode::MISDIRECTED_REQUEST, where_to));
    }
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if !reads && text(headers, ORIGIN) != Some(&console.origin) {
        return Err((StatusCode::FORBIDDEN, "A change must come from a page of this site.\n".into()));
    }
    let cookie = text(headers, COOKIE).and_then(session_cookie);
    let failed = |error: anyhow::Error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n"));
    let (id, new) = console.lock().sessions.enter(cookie, console.now()).map_err(failed)?;
    let header = new.then(|| HeaderValue::from_str(&session::cookie(&id))).transpose();
    request.extensions_mut().insert(id);
    header.map_err(|error| failed(error.into()))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn session_cookie(cookies: &str) -> Option<&str> {
    cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix(session::COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        assert_eq!(session_cookie("a=b; session=x; session2=y"), Some("x"));
        assert_eq!(session_cookie("session2=y; mysession=z"), None);
    }
}
