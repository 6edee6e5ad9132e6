//! `brasskey credentials`.

use super::{ImageArgument, hex, print};
use brasskey::printable;
use brasskey_authenticator::{CredProtect, CredentialSummary};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the discoverable credentials, oldest first
    List(List),
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    image: ImageArgument,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let key = self.image.key()?;
        if self.json {
            let mut credentials = Vec::new();
            key.with_authenticator(|key| key.credentials(|one| credentials.push(as_json(one))))??;
            return print(format!("{:#}\n", Value::Array(credentials)).as_bytes());
        }
        let mut text = String::new();
        key.with_authenticator(|key| key.credentials(|one| text.push_str(&in_words(one))))??;
        if text.is_empty() {
            text.push_str("no discoverable credentials\n");
        }
        print(text.as_bytes())
    }
}

/// The algorithm's name as COSE registers it.
fn algorithm(cose: i32) -> String {
    match cose {
        -7 => "ES256".into(),
        -8 => "EdDSA".into(),
        other => format!("COSE {other}"),
    }
}

/// The name of a protection policy (CTAP 2.3 §12.1).
fn protection(level: CredProtect) -> &'static str {
    match level {
        CredProtect::Optional => "userVerificationOptional",
        CredProtect::OptionalWithCredentialIdList => "userVerificationOptionalWithCredentialIDList",
        CredProtect::Required => "userVerificationRequired",
    }
}

fn as_json(credential: &CredentialSummary<'_>) -> Value {
    json!({
        "rpId": credential.rp_id,
        "rpIdHash": hex(credential.rp_id_hash),
        "userId": hex(credential.user_id),
        "userName": credential.user_name,
        "userDisplayName": credential.user_display_name,
        "algorithm": algorithm(credential.algorithm),
        "credProtect": protection(credential.cred_protect),
        "credentialId": hex(credential.credential_id),
    })
}

fn in_words(credential: &CredentialSummary<'_>) -> String {
    let mut text = String::new();
    let user = match (credential.user_name, credential.user_display_name) {
        (Some(name), Some(display)) => format!("{} ({})", printable(name), printable(display)),
        (Some(name), None) | (None, Some(name)) => printable(name),
        (None, None) => format!("user {}", hex(credential.user_id)),
    };
    // Writing to a String cannot fail.
    writeln!(text, "{}  {user}", printable(credential.rp_id)).ok();
    writeln!(text, "    {}, {}", algorithm(credential.algorithm), protection(credential.cred_protect)).ok();
    writeln!(text, "    {}", hex(credential.credential_id)).ok();
    text
}
