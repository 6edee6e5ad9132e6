//! The command line.
//!
//! Exit status: 0 if it worked, or after a stop by SIGINT or SIGTERM; 2 for a usage error; 1 for anything else,
//! with one line on standard error that says what to do.

mod credentials;
mod info;
mod metadata;
mod model;
mod pin;
mod reset;
mod run;

use anyhow::{Context, bail};
use brasskey::{ImageSource, Key, KeyOptions, Missing, Model, PresencePolicy};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// A FIDO2 security key as a virtual USB device
///
/// Browsers, OpenSSH and every other program that speaks to security keys see an ordinary key on an ordinary USB
/// port. Start it with `brasskey run`, plug it in with `usbip attach`, or both at once with `brasskey run --attach`.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Say more on standard error: once for who comes and goes, twice for each command and its status, never what is
    /// secret. RUST_LOG overrides it
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Export the key over USB/IP, until SIGINT or SIGTERM
    Run(run::Arguments),
    /// Show what the key says about itself (authenticatorGetInfo)
    Info(info::Arguments),
    /// Set or change the PIN of a key
    #[command(subcommand)]
    Pin(pin::Command),
    /// Look after the discoverable credentials in an image
    #[command(subcommand)]
    Credentials(credentials::Command),
    /// Erase every credential of a key, and make the old ones useless for good
    Reset(reset::Arguments),
    /// Print the key's FIDO metadata statement, JSON, as conformance tools load it
    Metadata(metadata::Arguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

impl Arguments {
    /// Logs go to standard error: standard output is for answers.
    pub(crate) fn start_logging(&self) {
        let level = match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
        let colours = io::stderr().is_terminal();
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
        subscriber.with_writer(io::stderr).with_target(false).init();
    }

    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(arguments) => arguments.run(),
            Command::Info(arguments) => arguments.run(),
            Command::Pin(command) => command.run(),
            Command::Credentials(command) => command.run(),
            Command::Metadata(arguments) => arguments.run(),
            Command::Reset(arguments) => arguments.run(),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "brasskey", &mut script);
                print(&script)
            }
        }
    }
}

/// Which image.
#[derive(Args, Debug)]
struct ImageArgument {
    /// The file that holds the key, or `:memory:` for a key that is gone with the process
    /// [default: $XDG_DATA_HOME/brasskey/key.img]
    #[arg(long, value_name = "FILE")]
    image: Option<ImageSource>,
}

impl ImageArgument {
    fn source(&self) -> anyhow::Result<ImageSource> {
        match &self.image {
            Some(image) => Ok(image.clone()),
            None => Ok(ImageSource::File(default_image()?)),
        }
    }

    /// The key in an image that must be there, for a look from outside. Nobody needs to touch it: whoever can
    /// read the image could do all this without brasskey.
    fn key(&self) -> anyhow::Result<Key> {
        self.key_of(Model::default())
    }

    /// The same for what depends on what the key offers.
    fn key_of(&self, model: Model) -> anyhow::Result<Key> {
        let options = KeyOptions::new(self.source()?).presence(PresencePolicy::Auto).missing(Missing::Refuse);
        Ok(Key::new(options.model(model)))
    }
}

/// `$XDG_DATA_HOME/brasskey/key.img`. The XDG specification has a relative path ignored.
fn default_image() -> anyhow::Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .context("neither XDG_DATA_HOME nor HOME says where to keep the key; give --image")?;
    Ok(data.join("brasskey/key.img"))
}

/// Asks in the terminal. `act` is what --yes would do.
fn confirmed(question: &str, act: &str) -> anyhow::Result<bool> {
    use io::Write;
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!("no terminal to ask on; add --yes to {act}");
    }
    eprint!("{question}Type yes to go on: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("no answer")?;
    Ok(answer.trim() == "yes")
}

/// Writes to standard output, whole.
fn print(text: &[u8]) -> anyhow::Result<()> {
    use io::Write;
    let mut output = io::stdout().lock();
    output.write_all(text)?;
    output.flush()?;
    Ok(())
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
