//! MFA devices: the lists, and the wizard that assigns one.

use maud::{Markup, PreEscaped, html};
use qrcodegen::{QrCode, QrCodeEcc};
use webauthn_rs_core::proto::AttestationFormat;

use super::{assign_link, ceremony, display, page, two_codes};
use crate::account::{Device, Kind, MAX_DEVICES, SecurityKey, User};
use crate::policy::{Actor, Level};

/// All users, for an administrator.
pub(crate) fn users<'a>(actor: &Actor, users: impl Iterator<Item = &'a User>) -> Markup {
    page(
        "Users",
        Some(actor),
        None,
        html! {
            section {
                table {
                    tr { th { "User name" } th { "MFA devices" } }
                    @for user in users.filter(|user| !user.is_root()) {
                        tr {
                            td { a href={ "/iam/users/" (user.name) } { (user.name) } }
                            td { (user.devices.len()) }
                        }
                    }
                }
            }
        },
    )
}

/// "Security credentials" of a user.
pub(crate) fn credentials(actor: &Actor, user: &User, notice: Option<&str>) -> Markup {
    let title = if actor.name == user.name { "My security credentials" } else { "Security credentials" };
    page(
        title,
        Some(actor),
        notice,
        html! {
            section {
                h2 { "Multi-factor authentication (MFA) of " (display(&user.name)) }
                p { (user.devices.len()) " of " (MAX_DEVICES) " devices. Any of them signs in. Assign two at least: \
                    who has lost the only one is locked out." }
                table #devices {
                    tr { th { "Name" } th { "Type" } th { "Details" } th { "Actions" } }
                    @for device in &user.devices { (row(user, device)) }
                }
                p { a.button #assign href=(assign_link(&user.name)) { "Assign MFA device" } }
            }
        },
    )
}

fn row(user: &User, device: &Device) -> Markup {
    html! {
        tr data-device=(device.name) data-created=(device.created) {
            td { (device.name) }
            td { (device.type_name()) }
            td {
                @match &device.kind {
                    Kind::SecurityKey(key) => (key_details(key)),
                    Kind::App(_) => {},
                    Kind::Token { serial, .. } => { "serial number " (serial) },
                }
                @if let Some(alert) = device.alert { p.alert { (alert) } }
            }
            td {
                @if !matches!(device.kind, Kind::SecurityKey(_)) {
                    a href={ "/iam/mfa/resync?user=" (user.name) "&device=" (device.name) } { "Resync" } " "
                }
                form method="post" action="/iam/mfa/remove" {
                    input type="hidden" name="user" value=(user.name);
                    input type="hidden" name="device" value=(device.name);
                    button.plain { "Remove" }
                }
            }
        }
    }
}

fn key_details(key: &SecurityKey) -> Markup {
    let attestation = match (key.by_u2f, &key.credential.attestation_format) {
        (true, _) => "registered by U2F",
        (false, AttestationFormat::Packed) => "attestation packed",
        (false, AttestationFormat::FIDOU2F) => "attestation fido-u2f",
        (false, AttestationFormat::None) => "attestation none",
        (false, _) => "another attestation",
    };
    let certification = key.certification.map_or("none", Level::name);
    html! {
        span.key data-attestation=(attestation) data-uv=(key.credential.user_verified) {
            (attestation)
            @if key.credential.user_verified { ", by PIN" }
            ", certification " (certification)
            ", signature count " (key.credential.counter)
        }
    }
}

/// The wizard's first step: a name and a type.
pub(crate) fn select(actor: &Actor, user: &str) -> Markup {
    let types = [
        ("key", "Passkey or security key", "A FIDO2 key in a USB port, touched to sign in"),
        ("app", "Authenticator app", "An app that shows a code every 30 seconds"),
        ("token", "Hardware TOTP token", "A device that shows a code every 30 seconds"),
    ];
    page(
        "Select MFA device",
        Some(actor),
        None,
        html! {
            section {
                form #select method="post" action="/iam/mfa/assign" {
                    input type="hidden" name="user" value=(user);
                    label {
                        "Device name"
                        input type="text" name="name" maxlength="128" pattern=r"[A-Za-z0-9+=,.@_\-]+" required;
                    }
                    p.muted { "Letters, digits and + = , . @ - _" }
                    @for (index, (value, name, explanation)) in types.into_iter().enumerate() {
                        label.choice {
                            input type="radio" name="type" value=(value) checked[index == 0];
                            " " strong { (name) } " " span.muted { (explanation) }
                        }
                    }
                    button { "Next" }
                }
            }
        },
    )
}

/// The second step for a security key.
pub(crate) fn set_up_key(actor: &Actor, name: &str) -> Markup {
    page(
        "Set up your security key",
        Some(actor),
        None,
        html! {
            section {
                p { "The key " strong { (name) } ": plug it in, choose Register, and touch it when it asks." }
                (ceremony("create", "/iam/mfa/key/options", "/iam/mfa/key", "Register"))
            }
        },
    )
}

/// The second step for an app.
pub(crate) fn set_up_app(actor: &Actor, secret: &str, url: &str) -> Markup {
    page(
        "Set up your authenticator app",
        Some(actor),
        None,
        html! {
            section {
                p { "Scan the code with an app, or type the secret into it; then enter two codes in a row." }
                (qr(url))
                p { "Secret key: " code #secret { (secret) } }
                form #codes method="post" action="/iam/mfa/app" { (two_codes()) button { "Add MFA" } }
            }
        },
    )
}

/// The second step for a hardware token.
pub(crate) fn set_up_token(actor: &Actor) -> Markup {
    page(
        "Set up your hardware TOTP token",
        Some(actor),
        None,
        html! {
            section {
                form #codes method="post" action="/iam/mfa/token" {
                    label { "Serial number" input type="text" name="serial" autocomplete="off" required; }
                    (two_codes())
                    button { "Add MFA" }
                }
            }
        },
    )
}

/// Two codes for a device whose clock went wrong.
pub(crate) fn resync(actor: &Actor, user: &str, device: &str) -> Markup {
    page(
        "Resynchronise MFA device",
        Some(actor),
        None,
        html! {
            section {
                p { "Two codes in a row of " strong { (device) } "." }
                form #codes method="post" action="/iam/mfa/resync" {
                    input type="hidden" name="user" value=(user);
                    input type="hidden" name="device" value=(device);
                    (two_codes())
                    button { "Resync" }
                }
            }
        },
    )
}

/// A QR code as a picture; nothing if the text is too long for one.
fn qr(text: &str) -> Markup {
    let Ok(code) = QrCode::encode_text(text, QrCodeEcc::Medium) else { return html! {} };
    // The border of four modules is part of the format.
    let size = code.size() + 8;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|&x| code.get_module(x, y)) {
            path.push_str(&format!("M{} {}h1v1h-1z", x + 4, y + 4));
        }
    }
    html! {
        (PreEscaped(format!(
            "<svg class=\"qr\" id=\"qr\" role=\"img\" aria-label=\"QR code\" viewBox=\"0 0 {size} {size}\" \
             shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{size}v{size}H0z\"/><path d=\"{path}\"/></svg>"
        )))
    }
}
