//! The stand-in's own settings.

use maud::{Markup, html};

use super::page;
use crate::policy::Level;
use crate::settings::{Algorithms, Attestation, ResidentKey, Settings, UserVerification};

/// A form that shows what is set. A test posts it.
pub(crate) fn settings(settings: &Settings, notice: Option<&str>) -> Markup {
    use Attestation as A;
    use UserVerification as V;
    let levels = [Level::L1, Level::L1plus, Level::L2, Level::L2plus, Level::L3, Level::L3plus];
    let certifications: Vec<_> = std::iter::once(("", "any or none", settings.certification.is_none()))
        .chain(levels.map(|level| (level.name(), level.name(), settings.certification == Some(level))))
        .collect();
    page(
        "Settings of the stand-in",
        None,
        notice,
        html! {
            section {
                p { "AWS does not publish what its console asks of WebAuthn. Here it can be chosen; it holds for the next \
                    ceremony." }
                form #settings method="post" action="/settings" {
                    (choice("attestation", "Attestation", &[
                        ("direct", "direct", settings.attestation == A::Direct),
                        ("none", "none", settings.attestation == A::None),
                    ]))
                    (choice("user_verification", "User verification", &[
                        ("discouraged", "discouraged", settings.user_verification == V::Discouraged),
                        ("preferred", "preferred", settings.user_verification == V::Preferred),
                        ("required", "required", settings.user_verification == V::Required),
                    ]))
                    (choice("resident_key", "Discoverable credential", &[
                        ("discouraged", "discouraged", settings.resident_key == ResidentKey::Discouraged),
                        ("preferred", "preferred", settings.resident_key == ResidentKey::Preferred),
                    ]))
                    (choice("algorithms", "Algorithms", &[
                        ("es256", "ES256 (−7)", settings.algorithms == Algorithms::Es256),
                        ("es256-rs256", "ES256, RS256 (−7, −257)", settings.algorithms == Algorithms::Es256Rs256),
                    ]))
                    label { "AppID of U2F keys" input type="text" name="app_id" value=(settings.app_id); }
                    label.choice {
                        input type="checkbox" name="require_mfa" value="true" checked[settings.require_mfa];
                        " Policy: deny IAM users everything but their own MFA until they have signed in with MFA"
                    }
                    (choice("certification", "Policy: iam:FIDO-certification for IAM users", &certifications))
                    button { "Save" }
                }
            }
            section {
                h2 { "A security key from the time of U2F" }
                p { "As if it had been registered before WebAuthn, under the AppID above. Key handle and public key (65 \
                    bytes) in base64url." }
                form #u2f method="post" action="/settings/u2f" {
                    label { "User" input type="text" name="user" required; }
                    label { "Device name" input type="text" name="name" required; }
                    label { "Key handle" input type="text" name="key_handle" required; }
                    label { "Public key" input type="text" name="public_key" required; }
                    button { "Add" }
                }
            }
            section {
                h2 { "Locked out" }
                form #forget method="post" action="/settings/forget" {
                    label { "User" input type="text" name="user" required; }
                    button { "Remove all MFA devices" }
                }
            }
            p { a href="/bench" { "Test bench: every combination of options" } }
            p { a href="/" { "Back to the console" } }
        },
    )
}

fn choice(name: &str, label: &str, options: &[(&str, &str, bool)]) -> Markup {
    html! {
        label {
            (label)
            select name=(name) {
                @for (value, text, selected) in options {
                    option value=(value) selected[*selected] { (text) }
                }
            }
        }
    }
}
