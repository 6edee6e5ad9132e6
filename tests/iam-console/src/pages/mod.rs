//! The pages: HTML out of what they are given, nothing else. They look like no console of AWS, on purpose.

pub(crate) mod bench;
pub(crate) mod devices;
pub(crate) mod settings;
pub(crate) mod sign_in;

use maud::{DOCTYPE, Markup, html};

use crate::account::{ROOT, User};
use crate::policy::Actor;

/// A whole page. `actor`: who is signed in.
pub(crate) fn page(title: &str, actor: Option<&Actor>, notice: Option<&str>, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – IAM stand-in" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/console.css";
                script src="/console.js" defer {}
            }
            body {
                p.stand-in { "A stand-in for tests. This is not AWS: do not enter a real password or code." }
                header {
                    strong { "IAM stand-in" }
                    @if let Some(actor) = actor {
                        a href="/console" { "Console" }
                        a href="/iam" { "IAM" }
                        @if actor.administrator { a href="/iam/users" { "Users" } }
                        a href="/iam/security-credentials" { "Security credentials" }
                        span #who data-mfa=(actor.mfa) {
                            (display(&actor.name)) @if actor.mfa { " (with MFA)" } @else { " (without MFA)" }
                        }
                        form method="post" action="/signout" { button.plain #sign-out { "Sign out" } }
                    }
                }
                main {
                    h1 { (title) }
                    @if let Some(notice) = notice { p.notice #notice { (notice) } }
                    (content)
                }
            }
        }
    }
}

/// A page that says why something is refused.
pub(crate) fn refusal(message: &str, back: &str) -> Markup {
    page(
        "Refused",
        None,
        None,
        html! {
            section { p #refusal role="alert" { (message) } p { a href=(back) { "Back" } } }
        },
    )
}

/// What runs a ceremony: the button, the way out, and where errors are shown.
fn ceremony(kind: &str, options: &str, finish: &str, label: &str) -> Markup {
    html! {
        p {
            button #ceremony type="button" data-ceremony=(kind) data-options=(options) data-finish=(finish) {
                (label)
            }
            " "
            button.plain #cancel type="button" hidden { "Cancel" }
        }
        p #status role="alert" {}
    }
}

/// Two codes, one after the other.
fn two_codes() -> Markup {
    html! {
        label { "MFA code 1" input type="text" name="first" inputmode="numeric" autocomplete="off" required; }
        label { "MFA code 2" input type="text" name="second" inputmode="numeric" autocomplete="off" required; }
        p.muted { "Code 2 is the one that the device shows next, after up to 30 seconds." }
    }
}

fn display(user: &str) -> &str {
    if user == ROOT { "Root user" } else { user }
}

/// The page of somebody's MFA devices.
pub(crate) fn credentials_of(actor: &Actor, user: &str) -> String {
    if actor.name == user { "/iam/security-credentials".into() } else { format!("/iam/users/{user}") }
}

/// The console's first page.
pub(crate) fn console(actor: &Actor, user: &User, notice: Option<&str>) -> Markup {
    page(
        "Console home",
        Some(actor),
        notice,
        html! {
            section {
                p { "You are signed in as " code { (user.arn()) } "." }
                ul {
                    li { a href="/iam" { "IAM" } ": users and how they sign in" }
                    li { a href="/service" { "Storage" } ": stands for every other service" }
                }
                @for device in user.devices.iter().filter(|device| device.alert.is_some()) {
                    p.alert { (device.name) ": " (device.alert.unwrap_or_default()) }
                }
            }
        },
    )
}

/// A service that is not IAM.
pub(crate) fn service(actor: &Actor) -> Markup {
    let content = html! { section { p #buckets { "There are no buckets." } } };
    page("Storage", Some(actor), None, content)
}

/// IAM's first page, with the recommendation on MFA.
pub(crate) fn dashboard(actor: &Actor, user: &User, users: usize) -> Markup {
    let (done, missing) = if user.is_root() {
        ("Root user has MFA", "Add MFA for root user")
    } else {
        ("You have MFA", "Add MFA for yourself")
    };
    page(
        "IAM dashboard",
        Some(actor),
        None,
        html! {
            section {
                h2 { "Security recommendations" }
                @if user.devices.is_empty() {
                    p.alert #recommendation {
                        (missing) ". A password alone can be stolen. "
                        a #add-mfa href=(assign_link(&user.name)) { "Add MFA" }
                    }
                } @else {
                    p.notice #recommendation { (done) "." }
                }
            }
            section { h2 { "IAM resources" } p { (users) " users" } }
        },
    )
}

fn assign_link(user: &str) -> String {
    format!("/iam/mfa/assign?user={user}")
}
