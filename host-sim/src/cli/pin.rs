//! `brasskey pin`: what `fido2-token -S` and `-C` do over USB, on an image.

use super::ImageArgument;
use anyhow::{Context, bail};
use clap::Subcommand;
use std::io::{self, BufRead, IsTerminal};
use zeroize::Zeroizing;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Set the key's first PIN
    ///
    /// It is asked for twice in a terminal; otherwise it is the first line of standard input.
    Set {
        #[command(flatten)]
        image: ImageArgument,
    },
    /// Change the PIN. A wrong one costs a try, as it does over USB
    ///
    /// The present PIN and the new one are asked for in a terminal; otherwise they are two lines of standard input.
    Change {
        #[command(flatten)]
        image: ImageArgument,
    },
}

type Pin = Zeroizing<String>;

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Set { image } => {
                let key = image.key()?;
                // What can go wrong goes wrong before the question.
                key.prepare()?;
                let new = new_pin()?;
                Ok(key.with_authenticator(|key| key.set_pin(&new))??)
            }
            Self::Change { image } => {
                let key = image.key()?;
                key.prepare()?;
                let current = read("PIN: ")?;
                let new = new_pin()?;
                Ok(key.with_authenticator(|key| key.change_pin(&current, &new))??)
            }
        }
    }
}

fn new_pin() -> anyhow::Result<Pin> {
    let new = read("New PIN: ")?;
    if io::stdin().is_terminal() && read("Again: ")? != new {
        bail!("these are two different PINs; nothing was changed");
    }
    Ok(new)
}

/// One line: from the terminal, which does not show it, or from standard input.
fn read(prompt: &str) -> anyhow::Result<Pin> {
    if io::stdin().is_terminal() {
        return Ok(Pin::new(rpassword::prompt_password(prompt).context("no PIN from the terminal")?));
    }
    let mut line = Pin::default();
    io::stdin().lock().read_line(&mut line).context("no PIN on standard input")?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    if line.is_empty() {
        bail!("no PIN on standard input: give one a line");
    }
    Ok(line)
}
