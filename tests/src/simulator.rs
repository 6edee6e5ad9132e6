//! The program `brasskey` as a child process.
//!
//! Two variables of the environment turn the same tests on something else: `BRASSKEY_BIN` names the program, which is
//! otherwise built by cargo, and `BRASSKEY_RUN_ARGS` holds more arguments for each `brasskey run`, separated by
//! spaces.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, Result};

/// How long the program may take to start, or to stop, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the key lives.
pub const MEMORY: &str = ":memory:";

/// The path of the program; cargo builds it if no other is named.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(path) = std::env::var_os("BRASSKEY_BIN") {
            return path.into();
        }
        // Beside this very program: target/debug/deps/x, or target/debug/x.
        let here = std::env::current_exe().expect("the system knows where this program is");
        let mut profile = here.parent().expect("a program is in a folder");
        if profile.ends_with("deps") {
            profile = profile.parent().expect("cargo's layout");
        }
        let target = profile.parent().expect("cargo's layout");
        let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
        build.args(["build", "--quiet", "--package", "brasskey", "--target-dir"]).arg(target);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo can be started");
        assert!(status.success(), "cargo builds brasskey");
        profile.join("brasskey")
    })
}

/// The program with these arguments, not yet started.
pub fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// `brasskey run` with these arguments and those of `BRASSKEY_RUN_ARGS`.
pub fn run_command(arguments: &[&str]) -> Command {
    let more = std::env::var("BRASSKEY_RUN_ARGS").unwrap_or_default();
    command(["run"].into_iter().chain(arguments.iter().copied()).chain(more.split_whitespace()))
}

/// Do the tests run on firmware, on an emulated board? Its image is no simulated key's.
pub fn is_board() -> bool {
    std::env::var("BRASSKEY_RUN_ARGS").is_ok_and(|more| more.contains("--firmware"))
}

/// A running `brasskey run`. Dropping it kills it.
pub struct Simulator {
    child: Child,
    address: SocketAddr,
    bus_ids: Vec<String>,
    control: Option<SocketAddr>,
    terminal: Option<Terminal>,
}

impl Simulator {
    /// A key in memory that grants every touch.
    pub fn start() -> Result<Self> {
        Self::with_image(MEMORY)
    }

    /// A key in this file that grants every touch.
    pub fn with_image(image: &str) -> Result<Self> {
        Self::with(&["--image", image, "--presence", "auto"])
    }

    /// A key as these arguments have it, on a free port.
    pub fn with(arguments: &[&str]) -> Result<Self> {
        Self::spawn(run_command(&[&["--listen", "127.0.0.1:0"], arguments].concat()), None)
    }

    /// A key as these arguments have it, which asks on a terminal.
    pub fn in_terminal(arguments: &[&str]) -> Result<Self> {
        let (terminal, end) = Terminal::open()?;
        let mut command =
            run_command(&[&["--listen", "127.0.0.1:0", "--presence", "ask"], arguments].concat());
        command.stdin(end.try_clone()?).stderr(end);
        Self::spawn(command, Some(terminal))
    }

    fn spawn(mut command: Command, terminal: Option<Terminal>) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Error::Local(format!("{}: {error}", program().display())))?;
        let lines = lines(child.stdout.take().expect("it is piped"));
        let mut simulator =
            Self { child, address: ([0; 4], 0).into(), bus_ids: Vec::new(), control: None, terminal };
        let until = Instant::now() + PATIENCE;
        loop {
            let line = lines
                .recv_timeout(until.saturating_duration_since(Instant::now()))
                .map_err(|error| Error::Local(format!("brasskey did not get ready: {error}")))?;
            let parse = |address: &str| {
                address.parse().map_err(|error| Error::Violation(format!("address {address:?}: {error}")))
            };
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["usbip", address, "bus", bus_id] => {
                    simulator.address = parse(address)?;
                    simulator.bus_ids.push(bus_id.into());
                }
                ["control", url] => {
                    simulator.control = Some(parse(url.trim_start_matches("http://"))?);
                }
                ["ready"] => return Ok(simulator),
                _ => return Err(Error::Violation(format!("on standard output: {line:?}"))),
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The keys that it exports.
    pub fn bus_ids(&self) -> &[String] {
        &self.bus_ids
    }

    /// A key with a sensor, whose finger a test moves by [`Self::control`]; every touch is granted until then.
    pub fn with_sensor() -> Result<Self> {
        let control = ["--test-control", "--http", "127.0.0.1:0", "--fingerprint"];
        Self::with(&[&["--image", MEMORY, "--presence", "auto"], &control[..]].concat())
    }

    /// Has the test control do something to the first key, such as `touch/never` or `finger/ada/on`.
    ///
    /// Errors: [`Error::Local`] if it was not started with the control, or refuses.
    pub fn control(&self, act: &str) -> Result<()> {
        let address = self.control.ok_or_else(|| Error::Local("started without --test-control".into()))?;
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = "Content-Length: 0\r\nConnection: close";
        write!(stream, "POST /usb1/{act} HTTP/1.1\r\nHost: {address}\r\n{head}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) == Some("200") {
            Ok(())
        } else {
            Err(Error::Local(format!("{act}: the control answers {status:?}")))
        }
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The terminal on which it asks.
    ///
    /// Panics if it has none.
    pub fn terminal(&mut self) -> &mut Terminal {
        self.terminal.as_mut().expect("started by in_terminal()")
    }

    /// Is it still running?
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(mut self, signal: Signal) -> Result<ExitStatus> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).map_err(std::io::Error::from)?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                return Err(Error::TimedOut);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Lines as they come; a thread reads to the end so that the writer never blocks.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(std::result::Result::ok) {
            sender.send(line).ok();
        }
    });
    receiver
}

/// The user's end of a pseudo-terminal.
pub struct Terminal {
    keyboard: std::fs::File,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    /// Opens a pseudo-terminal. Returns it with the program's end.
    fn open() -> Result<(Self, OwnedFd)> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let local = |error: rustix::io::Errno| Error::Local(format!("no pseudo-terminal: {error}"));
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let user = openpt(flags).map_err(local)?;
        grantpt(&user).map_err(local)?;
        unlockpt(&user).map_err(local)?;
        let name = ptsname(&user, Vec::new()).map_err(local)?;
        let options = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let end = rustix::fs::open(name, options, rustix::fs::Mode::empty()).map_err(local)?;
        let keyboard = std::fs::File::from(user);
        let mut reader = keyboard.try_clone()?;
        let screen = Arc::new(Mutex::new(String::new()));
        let seen = screen.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            // At the program's end reading fails.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Ok((Self { keyboard, screen }, end))
    }

    /// Waits until the screen shows `text`, which may have been there before, and takes all that is shown up to its
    /// end.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut screen = self.screen.lock().unwrap();
            if let Some(at) = screen.find(text) {
                let rest = screen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut *screen, rest));
            }
            if Instant::now() > until {
                return Err(Error::Local(format!("no {text:?} on the screen: {screen:?}")));
            }
            drop(screen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types a line.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        Ok(self.keyboard.write_all(format!("{line}\n").as_bytes())?)
    }
}
