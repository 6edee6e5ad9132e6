//! The test bench: every combination of WebAuthn options, each tried with a click.

use maud::{Markup, html};

use super::page;
use crate::account::{ACCOUNT, BENCH_USER};
use crate::settings::Settings;

/// A table with a row for each combination; `bench.js` fills in what comes of it.
pub(crate) fn bench(settings: &Settings) -> Markup {
    let (_, user, password) = BENCH_USER;
    let mut rows = Vec::new();
    for user_verification in ["discouraged", "preferred", "required"] {
        for attestation in ["direct", "none"] {
            for resident_key in ["discouraged", "preferred"] {
                for algorithms in ["es256", "es256-rs256"] {
                    rows.push([attestation, user_verification, resident_key, algorithms]);
                }
            }
        }
    }
    page(
        "Test bench",
        None,
        None,
        html! {
            section {
                p { "Each button assigns the key that is plugged in to the user " code { (user) } ", signs in with it and \
                    removes it, with the options of its row." }
                p { button #all type="button" { "Run all" } }
                table #bench data-account=(ACCOUNT) data-user=(user) data-password=(password)
                    data-app-id=(settings.app_id) {
                    tr {
                        th { "Attestation" } th { "User verification" } th { "Discoverable" } th { "Algorithms" }
                        th { "Result" } th {}
                    }
                    @for [attestation, user_verification, resident_key, algorithms] in rows {
                        tr data-attestation=(attestation) data-user-verification=(user_verification)
                            data-resident-key=(resident_key) data-algorithms=(algorithms) {
                            td { (attestation) } td { (user_verification) } td { (resident_key) } td { (algorithms) }
                            td.result {} td { button.plain type="button" { "Run" } }
                        }
                    }
                }
            }
            script src="/bench.js" defer {}
        },
    )
}
