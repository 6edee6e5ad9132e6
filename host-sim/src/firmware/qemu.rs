//! The emulator's process, and the serial line to it.
//!
//! QEMU must not outlive this process, however that ends. It has no option for it, so a shell stands between: it waits
//! for the end of its standard input, which is a pipe that only this process holds, and then kills QEMU.

use super::flash::{FlashFile, PSRAM_LEN};
use super::{BoardError, BoardOptions, Lease};
use brasskey_authenticator::AttestationPolicy;
use brasskey_board_wire::{Frame, MAX_FRAME, Malformed, Measured, Start, VERSION};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use tokio::sync::Notify;
use tokio::time::{Duration, timeout};

/// The emulator.
const QEMU: &str = "qemu-system-arm";

/// How long a board may take to boot: the first time it makes its attestation, and the machine may be busy.
const BOOT_TIME: Duration = Duration::from_secs(120);

/// Standard output is the serial line, both ways. `wait` leaves no QEMU behind that still writes to the flash.
const SCRIPT: &str = r#"
exec 3>&1 >&2
"$@" <&3 >&3 3>&- &
exec 3>&-
read -r _
kill -9 $! 2>/dev/null
wait
"#;

/// The emulator with the shell around it.
pub(crate) struct Emulator {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Emulator {
    /// Ends it and waits for its end.
    fn end(&mut self) {
        self.lifeline = None;
        if let Err(error) = self.child.wait() {
            tracing::warn!("the emulator: {error}");
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if self.lifeline.is_some() {
            self.end();
        }
    }
}

#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    closed: bool,
}

/// The bell of a line, and what came.
#[derive(Default)]
struct Inbox {
    received: Mutex<Received>,
    /// Something came.
    bell: Notify,
    /// The line is closed.
    gone: Notify,
}

impl Inbox {
    fn received(&self) -> MutexGuard<'_, Received> {
        // Bytes and a flag are as good after a panic elsewhere as before.
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The serial line to a board.
pub(crate) struct Line {
    socket: UnixStream,
    inbox: Arc<Inbox>,
    /// What came and is no whole frame yet.
    pending: Vec<u8>,
    /// How many frames were sent, and how many of them the board has served.
    sent: u16,
    served: u16,
    measurements: Option<File>,
}

impl Line {
    fn new(socket: UnixStream, measurements: Option<File>) -> std::io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let (mut reader, theirs) = (socket.try_clone()?, Arc::clone(&inbox));
        // It ends with the emulator.
        thread::Builder::new().name("board".into()).spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                theirs.received().bytes.extend_from_slice(&bytes[..length]);
                theirs.bell.notify_one();
            }
            theirs.received().closed = true;
            theirs.bell.notify_one();
            theirs.gone.notify_one();
        })?;
        Ok(Self { socket, inbox, pending: Vec::new(), sent: 0, served: 0, measurements })
    }

    /// Rings when something came.
    pub(crate) fn bell(&self) -> Ring {
        Ring(Arc::clone(&self.inbox))
    }

    /// Sends a frame. An error is the end of the emulator, which shows elsewhere.
    ///
    /// This does not block: what is on its way is a packet for each endpoint at most, far less than the socket takes.
    pub(crate) fn send(&mut self, frame: &Frame<'_>) {
        let mut bytes = [0; MAX_FRAME];
        let length = frame.encode(&mut bytes);
        self.sent = self.sent.wrapping_add(1);
        if let Err(error) = self.socket.write_all(&bytes[..length]) {
            tracing::debug!("the board's line: {error}");
        }
    }

    /// Whether the board has yet to serve something that was sent.
    pub(crate) fn is_busy(&self) -> bool {
        self.sent != self.served
    }

    /// Hands every frame that came to `see`, but for those that concern the line itself.
    ///
    /// Errors: the other end does not speak the protocol.
    pub(crate) fn receive(&mut self, mut see: impl FnMut(&mut Self, Frame<'_>)) -> Result<(), Malformed> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.append(&mut self.inbox.received().bytes);
        let mut used = 0;
        while let Some((frame, length)) = Frame::decode(&pending[used..])? {
            used += length;
            match frame {
                Frame::Idle(count) => self.served = count,
                Frame::Measured(measured) => self.note(&measured),
                Frame::Panicked(place) => {
                    tracing::error!(
                        "the firmware panicked at {place}; this is a fault in brasskey, please report it"
                    );
                }
                frame => see(self, frame),
            }
        }
        pending.drain(..used);
        self.pending = pending;
        Ok(())
    }

    fn note(&mut self, measured: &Measured) {
        let Measured { command, subcommand, stack, cycles } = *measured;
        tracing::debug!("command {command:#04x} {subcommand:#04x}: stack {stack}, cycles {cycles}");
        if let Some(file) = &mut self.measurements {
            // One write: several processes may add to one file.
            let line = format!("{command:#04x} {subcommand:#04x} {stack} {cycles}\n");
            if let Err(error) = file.write_all(line.as_bytes()) {
                tracing::warn!("measurements: {error}");
            }
        }
    }

    /// From HELLO to READY.
    async fn boot(&mut self, options: &BoardOptions) -> Result<(), BoardError> {
        let bell = self.bell();
        loop {
            // Asked before the frames are taken, so that the last of them are seen.
            let closed = self.inbox.received().closed;
            let mut booted = None;
            let mut hello = None;
            let sound = self.receive(|_, frame| match frame {
                Frame::Hello(version) => hello = Some(version),
                Frame::Ready => booted = Some(Ok(())),
                Frame::Failed(why) => {
                    booted = Some(Err(BoardError::Boot(options.image.clone(), why.into())));
                }
                _ => {}
            });
            match hello {
                Some(VERSION) => self.send(&Frame::Start(start_of(options)?)),
                Some(_) => return Err(BoardError::Silent),
                None => {}
            }
            match booted {
                Some(booted) => return booted,
                None if sound.is_err() => return Err(BoardError::Silent),
                None if closed => return Err(BoardError::Ended),
                None => bell.rung().await,
            }
        }
    }
}

/// Waits for what comes on a line.
pub(crate) struct Ring(Arc<Inbox>);

impl Ring {
    async fn rung(&self) {
        self.0.bell.notified().await;
    }

    pub(crate) fn notify(&self) -> &Notify {
        &self.0.bell
    }

    /// Rings the bell for another reason.
    pub(crate) fn ring(&self) {
        self.0.bell.notify_one();
    }

    /// Waits until the line is closed.
    pub(crate) async fn gone(&self) {
        self.0.gone.notified().await;
    }
}

fn start_of(options: &BoardOptions) -> Result<Start, BoardError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(BoardError::Random)?;
    let attestation = match options.attestation {
        AttestationPolicy::Packed => 0,
        AttestationPolicy::SelfSigned => 1,
        AttestationPolicy::None => 2,
    };
    Ok(Start { seed, attestation, bench: options.count_instructions })
}

/// Starts the emulator and waits until the key has booted.
pub(super) async fn start(options: &BoardOptions, flash: &FlashFile) -> Result<(Emulator, Line), BoardError> {
    if let Err(error) = File::open(&options.firmware) {
        return Err(BoardError::Firmware(options.firmware.clone(), error));
    }
    let measurements = match &options.measurements {
        None => None,
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Some(file.map_err(|error| BoardError::Firmware(path.clone(), error))?)
        }
    };
    flash.lengthen().map_err(BoardError::Start)?;
    let (ours, theirs) = UnixStream::pair().map_err(BoardError::Start)?;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh", QEMU]).args(arguments(options, flash).map_err(BoardError::Start)?);
    command.stdin(Stdio::piped()).stdout(OwnedFd::from(theirs));
    let mut child = command.spawn().map_err(BoardError::Start)?;
    // The command holds the board's end of the line until it is dropped, and the end of the line is to be seen.
    drop(command);
    let lifeline = child.stdin.take();
    let emulator = Emulator { child, lifeline };
    let mut line = Line::new(ours, measurements).map_err(BoardError::Start)?;
    timeout(BOOT_TIME, line.boot(options)).await.unwrap_or(Err(BoardError::Silent))?;
    Ok((emulator, line))
}

fn arguments(options: &BoardOptions, flash: &FlashFile) -> std::io::Result<Vec<OsString>> {
    let mut psram =
        OsString::from(format!("memory-backend-file,id=psram,size={PSRAM_LEN},share=on,mem-path="));
    // A comma ends a value, two are one.
    psram.push(flash.path()?.display().to_string().replace(',', ",,"));
    let mut arguments: Vec<OsString> =
        ["-machine", "mps2-an386,memory-backend=psram", "-object"].map(OsString::from).into();
    arguments.push(psram);
    arguments.extend(
        ["-display", "none", "-monitor", "none", "-no-reboot", "-chardev", "stdio,id=line,signal=off"]
            .map(OsString::from),
    );
    arguments.extend(["-serial", "chardev:line", "-kernel"].map(OsString::from));
    arguments.push(options.firmware.clone().into());
    if options.count_instructions {
        arguments.extend(["-icount", "shift=0"].map(OsString::from));
    }
    Ok(arguments)
}

/// A board that has power. Dropping it cuts the power.
pub(crate) struct PoweredBoard<'a> {
    emulator: Emulator,
    pub(crate) line: Line,
    /// Given back last, when nothing writes to the flash any more.
    lease: Lease<'a>,
}

impl<'a> PoweredBoard<'a> {
    pub(super) fn new(emulator: Emulator, line: Line, lease: Lease<'a>) -> Self {
        Self { emulator, line, lease }
    }

    pub(crate) fn options(&self) -> &'a BoardOptions {
        self.lease.board.options()
    }

    /// Cuts the power, and waits until it is off.
    pub(crate) async fn off(self) {
        let Self { mut emulator, line, lease } = self;
        drop(line);
        // An error is a panic of that task, which has nothing to panic about.
        tokio::task::spawn_blocking(move || emulator.end()).await.ok();
        drop(lease);
    }
}
