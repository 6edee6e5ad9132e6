//! `brasskey reset`.

use super::ImageArgument;
use anyhow::{Context, bail};
use clap::Args;
use std::io::{self, IsTerminal, Write};

/// authenticatorReset (CTAP 2.3 §6.6).
const RESET: u8 = 0x07;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageArgument,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Arguments {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let source = self.image.source()?;
        let key = self.image.key()?;
        // What can go wrong goes wrong before the question.
        let mut count = 0_usize;
        key.with_authenticator(|key| key.credentials(|_| count += 1))??;
        if !self.yes && !confirmed(&format!("{source}"), count)? {
            bail!("nothing was erased");
        }
        // Through the same door as from USB: the rules are the key's own. It was powered up just now.
        let status = key.with_authenticator(|key| {
            let mut response = [0; 1];
            key.ctap2(1, &[RESET], &mut response);
            response[0]
        })?;
        match status {
            0 => Ok(()),
            status => {
                bail!("the key answered {status:#04x} to the reset; try again, and report it if that repeats")
            }
        }
    }
}

fn confirmed(image: &str, count: usize) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!("no terminal to ask on; add --yes to erase every credential of {image}");
    }
    eprint!(
        "This erases {image}: {count} discoverable credentials, and every other account that this key signs in to.\n\
         There is no way back. Type yes to go on: "
    );
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("no answer")?;
    Ok(answer.trim() == "yes")
}
