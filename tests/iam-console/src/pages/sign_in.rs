//! Signing in: the password, then the second factor.

use maud::{Markup, html};

use super::{ceremony, page};
use crate::account::{ACCOUNT, Kind, User};

/// Root user or IAM user, each with a form.
pub(crate) fn password(refused: bool) -> Markup {
    page(
        "Sign in",
        None,
        None,
        html! {
            @if refused { p.alert #refusal role="alert" { "The name or the password is not right." } }
            section {
                h2 { "Root user" }
                form #root method="post" action="/signin/root" {
                    label { "E-mail address" input type="text" name="email" autocomplete="username" required; }
                    label { "Password" input type="password" name="password" required; }
                    button { "Sign in as root user" }
                }
            }
            section {
                h2 { "IAM user" }
                form #iam method="post" action="/signin/iam" {
                    label { "Account ID" input type="text" name="account" value=(ACCOUNT) required; }
                    label { "IAM user name" input type="text" name="user" autocomplete="username" required; }
                    label { "Password" input type="password" name="password" required; }
                    button { "Sign in as IAM user" }
                }
            }
            p.muted { a href="/settings" { "Settings of the stand-in" } }
        },
    )
}

/// The second factor: any of the user's devices.
pub(crate) fn second_factor(user: &User, notice: Option<&str>) -> Markup {
    let has_key = user.credentials().next().is_some();
    let has_codes = user.devices.iter().any(|device| !matches!(device.kind, Kind::SecurityKey(_)));
    page(
        "Multi-factor authentication",
        None,
        notice,
        html! {
            @if has_key {
                section {
                    h2 { "Passkey or security key" }
                    p { "Plug the key in, choose Continue, and touch the key when it asks." }
                    (ceremony("get", "/signin/mfa/options", "/signin/mfa/key", "Continue"))
                }
            }
            @if has_codes {
                section {
                    h2 { "Code of an authenticator app or a hardware token" }
                    form #code method="post" action="/signin/mfa/code" {
                        label {
                            "MFA code"
                            input type="text" name="code" inputmode="numeric" autocomplete="one-time-code" required;
                        }
                        button { "Submit" }
                    }
                }
            }
            form method="post" action="/signout" { button.plain { "Cancel sign-in" } }
        },
    )
}
