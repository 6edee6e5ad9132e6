//! `brasskey run`.

use super::ImageArgument;
use super::model::ModelArguments;
use anyhow::Context;
use brasskey::{
    Board, BoardOptions, Body, ConformanceResults, Control, ControlServer, Durability, ImageSource, Key,
    KeyOptions, PresencePolicy, Server, Vhci,
};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    image: ImageArgument,

    /// How many keys to export. Further keys have images of their own beside the first: key-2.img, key-3.img, …
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    keys: u16,

    /// The address to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3240", value_parser = address)]
    listen: SocketAddr,

    /// Plug the keys into this machine as well. Needs root and the kernel's module vhci-hcd
    #[arg(long)]
    attach: bool,

    /// Who touches the keys
    #[arg(long, value_enum, default_value_t = Presence::Ask)]
    presence: Presence,

    #[command(flatten)]
    model: ModelArguments,

    /// What a power cut of this machine may take from an image
    #[arg(long, value_enum, default_value_t = DurabilityArgument::Disk)]
    durability: DurabilityArgument,

    /// Let other machines use the keys: needed for a --listen address that is not loopback
    #[arg(long)]
    allow_remote: bool,

    /// Let programs on this machine touch the keys and cut their power, over HTTP: for tests
    ///
    /// Every program that runs here, under any user, can then sign in with these keys, unseen. Web pages cannot:
    /// what a browser sends is refused. While no test's finger is on a key, --presence decides, only that `ask`
    /// without a terminal waits for a finger instead of refusing. `curl http://127.0.0.1:3280/` lists the paths.
    #[arg(long)]
    test_control: bool,

    /// Where --test-control listens, a loopback address; `off` for nowhere. Without --test-control nothing listens
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:3280", value_parser = http_address)]
    http: Http,

    /// Serve FIDO's conformance tools on this port of localhost: the first key is touched, has its power cut and
    /// their results are printed when they ask for it. As open to this machine's programs as --test-control
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "3000",
        requires = "test_control"
    )]
    conformance_port: Option<u16>,

    /// Add the results that conformance tools send to this file, a line of JSON for each run
    #[arg(long, value_name = "FILE", requires = "conformance_port")]
    conformance_results: Option<PathBuf>,

    /// Export emulated boards that run this firmware instead of simulated keys: an ELF file for the board qemu-mps2,
    /// as `cargo xtask firmware` makes it. Needs qemu-system-arm. The image belongs to the board, and is not a
    /// simulated key's
    #[arg(
        long,
        value_name = "ELF",
        conflicts_with_all = ["test_control", "profile", "algorithms", "enterprise", "fingerprint", "durability"]
    )]
    firmware: Option<PathBuf>,

    /// Add a line to this file for each command that a board has carried out: command, subcommand, the depth of the
    /// stack in bytes, processor cycles
    #[arg(long, value_name = "FILE", requires = "firmware")]
    measurements: Option<PathBuf>,

    /// Have a board's clock count instructions, 40 in a cycle, instead of time, and measure bare P-256 first
    #[arg(long, requires = "firmware")]
    count_instructions: bool,
}

/// Where the control listens, if it does.
#[derive(Clone, Copy, Debug)]
enum Http {
    Off,
    On(SocketAddr),
}

fn http_address(text: &str) -> Result<Http, String> {
    if text == "off" { Ok(Http::Off) } else { address(text).map(Http::On) }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Presence {
    /// You, asked in this terminal; without a terminal, nobody
    Ask,
    /// A rule that grants every touch
    Auto,
    /// A rule that refuses every touch
    Deny,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DurabilityArgument {
    /// Nothing: each write waits for the disk
    Disk,
    /// What the system had not yet written; a crash of brasskey alone loses nothing
    Process,
}

/// An address and a port; a host name is looked up.
fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found =
        text.to_socket_addrs().map_err(|_| "expected an address and a port, like 127.0.0.1:3240")?;
    found.next().ok_or_else(|| "the name has no address".into())
}

impl Arguments {
    fn keys(&self) -> anyhow::Result<Vec<Body>> {
        let image = self.image.source()?;
        Ok(match &self.firmware {
            None => self.simulated(image),
            Some(firmware) => self.boards(firmware.clone(), image),
        })
    }

    fn presence(&self) -> PresencePolicy {
        match self.presence {
            Presence::Ask => PresencePolicy::Ask,
            Presence::Auto => PresencePolicy::Auto,
            Presence::Deny => PresencePolicy::Deny,
        }
    }

    fn simulated(&self, image: ImageSource) -> Vec<Body> {
        let options = KeyOptions::new(image)
            .presence(self.presence())
            .model(self.model.model())
            .test_control(self.test_control)
            .durability(match self.durability {
                DurabilityArgument::Disk => Durability::Disk,
                DurabilityArgument::Process => Durability::Process,
            });
        (1..=self.keys).map(|number| Key::new(options.numbered(number)).into()).collect()
    }

    fn boards(&self, firmware: PathBuf, image: ImageSource) -> Vec<Body> {
        let mut options = BoardOptions::new(firmware, image);
        options.presence = self.presence();
        options.attestation = self.model.model().attestation;
        options.measurements.clone_from(&self.measurements);
        options.count_instructions = self.count_instructions;
        (1..=self.keys).map(|number| Board::new(options.numbered(number)).into()).collect()
    }

    pub(super) fn run(self) -> anyhow::Result<()> {
        raise_descriptor_limit();
        // One thread is enough: all it does is to move packets. Signatures are made in the keys' own threads.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        // From here on a signal is a request to stop, also before everything has started.
        let mut interrupt = signal(SignalKind::interrupt()).context("no signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("no signals")?;
        let keys = self.keys()?;
        let controls = keys.iter().map(|key| Arc::clone(key.control())).collect();
        // These first: a port in the way should not leave a new image behind.
        let (control, conformance) = self.control(controls).await?;
        let mut server = Server::bind(self.listen, self.allow_remote, keys).await?;
        if self.attach {
            server.attach(&Vhci::default()).await?;
        }
        if !self.listen.ip().to_canonical().is_loopback() {
            eprintln!(
                "brasskey: whoever reaches {} can use these keys: USB/IP has no password and no encryption",
                server.local_addr()
            );
        }
        self.announce(&server, control.as_ref(), conformance.as_ref());
        for control in [control, conformance].into_iter().flatten() {
            tokio::spawn(control.serve(std::future::pending()));
        }
        server
            .serve(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            })
            .await;
        Ok(())
    }

    /// The test control's two ports, each if it is wanted.
    async fn control(
        &self,
        controls: Vec<Arc<Control>>,
    ) -> anyhow::Result<(Option<ControlServer>, Option<ControlServer>)> {
        let first = controls.first().cloned();
        let control = match self.http {
            Http::On(address) if self.test_control => Some(ControlServer::bind(address, controls).await?),
            _ => None,
        };
        let conformance = match (self.conformance_port, first) {
            (Some(port), Some(first)) => {
                let results = ConformanceResults::new(self.conformance_results.clone());
                Some(ControlServer::conformance(port, first, results).await?)
            }
            _ => None,
        };
        Ok((control, conformance))
    }

    /// Prints what is served, and that it is. A reader that has gone away is no reason to stop.
    fn announce(
        &self,
        server: &Server,
        control: Option<&ControlServer>,
        conformance: Option<&ControlServer>,
    ) {
        let mut lines = String::new();
        for id in server.bus_ids() {
            writeln!(lines, "usbip {} bus {id}", server.local_addr()).ok();
        }
        for (name, server) in [("control", control), ("conformance", conformance)] {
            if let Some(Ok(address)) = server.map(ControlServer::local_addr) {
                writeln!(lines, "{name} http://{address}").ok();
            }
        }
        lines.push_str("ready\n");
        let mut output = std::io::stdout().lock();
        if let Err(error) = output.write_all(lines.as_bytes()).and_then(|()| output.flush()) {
            tracing::warn!("standard output: {error}");
        }
    }
}

/// Each attached key takes a socket and a file; the usual limit of 1,024 is there for programs that use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!("the limit of open files stays as it is: {error}");
    }
}
