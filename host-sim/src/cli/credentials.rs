//! `brasskey credentials`.

use super::{ImageArgument, confirmed, hex, print};
use anyhow::bail;
use brasskey::{HostPlatform, Key, printable};
use brasskey_authenticator::{Authenticator, CredProtect, CredentialSummary};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::fmt::Write;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the discoverable credentials, oldest first
    List(List),
    /// Delete a discoverable credential for good
    Delete(Delete),
    /// Give the account of a discoverable credential another name
    Rename(Rename),
}

#[derive(Args, Debug)]
pub(super) struct Delete {
    #[command(flatten)]
    image: ImageArgument,

    /// The credential's ID as `list` shows it, or enough of its first digits to tell it from the others
    id: String,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
#[group(id = "names", required = true, multiple = true, args = ["name", "display_name"])]
pub(super) struct Rename {
    #[command(flatten)]
    image: ImageArgument,

    /// The credential's ID as `list` shows it, or enough of its first digits to tell it from the others
    id: String,

    /// The account's name; an empty one removes it
    #[arg(long)]
    name: Option<String>,

    /// The person's name; an empty one removes it
    #[arg(long)]
    display_name: Option<String>,
}

/// What a command needs of the credential that its user means.
struct Chosen {
    id: Vec<u8>,
    shown: String,
    name: Option<String>,
    display_name: Option<String>,
}

/// The only credential whose ID begins with these digits.
fn choose(key: &Key, prefix: &str) -> anyhow::Result<Chosen> {
    let prefix = prefix.to_ascii_lowercase();
    if prefix.is_empty() || !prefix.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        bail!("a credential ID is written in hexadecimal digits, as `brasskey credentials list` shows them");
    }
    let mut chosen = Vec::new();
    key.with_authenticator(|key| {
        key.credentials(|one| {
            if hex(one.credential_id).starts_with(&prefix) {
                chosen.push(Chosen {
                    id: one.credential_id.to_vec(),
                    shown: in_words(one),
                    name: one.user_name.map(Into::into),
                    display_name: one.user_display_name.map(Into::into),
                });
            }
        })
    })??;
    match (chosen.pop(), chosen.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => bail!("no discoverable credential has an ID that begins with {prefix}"),
        (Some(_), others) => {
            bail!("{} credentials have an ID that begins with {prefix}; give more digits", others + 1)
        }
    }
}

impl Delete {
    fn run(self) -> anyhow::Result<()> {
        let key = self.image.key()?;
        let chosen = choose(&key, &self.id)?;
        let question = format!("This deletes for good:\n{}", chosen.shown);
        if !self.yes && !confirmed(&question, "delete the credential")? {
            bail!("nothing was deleted");
        }
        Ok(key.with_authenticator(|key| key.delete_credential(&chosen.id))??)
    }
}

impl Rename {
    fn run(self) -> anyhow::Result<()> {
        let key = self.image.key()?;
        let chosen = choose(&key, &self.id)?;
        let name = self.name.or(chosen.name);
        let display_name = self.display_name.or(chosen.display_name);
        let rename = |key: &mut Authenticator<'_, HostPlatform>| {
            key.rename_credential(&chosen.id, name.as_deref(), display_name.as_deref())
        };
        Ok(key.with_authenticator(rename)??)
    }
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
            Self::Delete(delete) => delete.run(),
            Self::Rename(rename) => rename.run(),
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
        -48 => "ML-DSA-44".into(),
        -49 => "ML-DSA-65".into(),
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
