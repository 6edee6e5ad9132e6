//! `brasskey reset`.

use super::{ImageArgument, confirmed};
use anyhow::bail;
use clap::Args;

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
        let question = format!(
            "This erases {source}: {count} discoverable credentials, and every other account that this key signs in \
             to.\nThere is no way back. "
        );
        if !self.yes && !confirmed(&question, &format!("erase every credential of {source}"))? {
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
