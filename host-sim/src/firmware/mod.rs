//! A key that is firmware: the emulated board of `firmware/boards/qemu-mps2`, run by QEMU.
//!
//! The board runs the whole application on an emulated Cortex-M4. What it has no hardware for crosses a serial line,
//! as frames of [`brasskey_board_wire`]: [`bridge`] puts its USB packets on the transfers of a USB/IP connection and
//! presses its button, [`qemu`] starts and ends the emulator and holds the line, [`flash`] is the file that the
//! emulator takes for the board's flash. An attach powers the board up, and its end is a power cut.

mod bridge;
mod flash;
mod qemu;

pub(crate) use bridge::BoardOnBus;
pub(crate) use qemu::PoweredBoard;

use crate::control::Control;
use crate::image::{ImageError, ImageSource};
use crate::presence::PresencePolicy;
use brasskey_authenticator::AttestationPolicy;
use flash::FlashFile;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

/// How a board is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BoardOptions {
    /// The firmware, an ELF file for QEMU's `mps2-an386`.
    pub firmware: PathBuf,
    /// Where its flash is.
    pub image: ImageSource,
    /// Who presses its button.
    pub presence: PresencePolicy,
    /// Which attestation it gives where the relying party does not choose.
    pub attestation: AttestationPolicy,
    /// A file that gets a line for each command: what it cost.
    pub measurements: Option<PathBuf>,
    /// Have the emulator's clock count instructions instead of time, and measure bare cryptography first.
    pub count_instructions: bool,
}

impl BoardOptions {
    /// A board that runs `firmware` on `image`, which is made if it is not there; a touch is asked for on the
    /// terminal.
    pub fn new(firmware: PathBuf, image: ImageSource) -> Self {
        Self {
            firmware,
            image,
            presence: PresencePolicy::Ask,
            attestation: AttestationPolicy::default(),
            measurements: None,
            count_instructions: false,
        }
    }

    /// The same for the `number`th of several boards: on an image of its own.
    pub fn numbered(&self, number: u16) -> Self {
        Self { image: self.image.numbered(number), ..self.clone() }
    }
}

/// Why a board does not start. One line that says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum BoardError {
    /// The image cannot be opened.
    Image(ImageError),
    /// The firmware cannot be read.
    Firmware(PathBuf, io::Error),
    /// The emulator cannot be started.
    Start(io::Error),
    /// The emulator ended, or the firmware reset itself, before the key was there.
    Ended,
    /// The firmware said nothing for too long, or nonsense.
    Silent,
    /// The key does not boot; the text is the firmware's.
    Boot(ImageSource, String),
    /// The board is attached, or just being started.
    InUse,
    /// The operating system has no random bytes.
    Random(getrandom::Error),
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Firmware(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Start(error) => write!(f, "cannot start the emulator: {error}"),
            Self::Ended => f.write_str(
                "the emulator ended before the key was there; is qemu-system-arm installed, and is --firmware made for the board qemu-mps2?",
            ),
            Self::Silent => f.write_str(
                "the firmware does not answer; is --firmware made for the board qemu-mps2, and as old as this program?",
            ),
            Self::Boot(image, why) => write!(
                f,
                "{image}: {why}; nothing was changed: restore the file from a copy, or choose another --image"
            ),
            Self::InUse => f.write_str("the board is attached; detach it first"),
            Self::Random(error) => write!(f, "no random bytes from the operating system: {error}"),
        }
    }
}

impl std::error::Error for BoardError {}

impl From<ImageError> for BoardError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// The flash, and who has it.
#[derive(Debug)]
enum Slot {
    Closed,
    Open(FlashFile),
    Taken,
}

/// One emulated board.
#[derive(Debug)]
pub struct Board {
    options: BoardOptions,
    slot: Mutex<Slot>,
    control: Arc<Control>,
}

impl Board {
    /// A board without power; nothing is opened yet.
    pub fn new(options: BoardOptions) -> Self {
        let control = Control::new(options.presence == PresencePolicy::Auto);
        Self { options, slot: Mutex::new(Slot::Closed), control: Arc::new(control) }
    }

    /// Where its flash is.
    pub fn image(&self) -> &ImageSource {
        &self.options.image
    }

    /// What a test can do to it: cut its power. Its button is pressed by the [`PresencePolicy`] alone.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Opens and locks the image and boots the firmware once, so that what is wrong is known now.
    ///
    /// Errors: [`BoardError`].
    pub async fn prepare(&self) -> Result<(), BoardError> {
        let powered = self.power_on().await?;
        powered.off().await;
        Ok(())
    }

    /// Powers the board up.
    pub(crate) async fn power_on(&self) -> Result<PoweredBoard<'_>, BoardError> {
        let flash = match std::mem::replace(&mut *self.slot(), Slot::Taken) {
            Slot::Open(flash) => Some(flash),
            Slot::Closed => None,
            Slot::Taken => return Err(BoardError::InUse),
        };
        // From here on its end makes the slot usable again, whatever happens.
        let mut lease = Lease { board: self, flash: None };
        let flash = match flash {
            Some(flash) => flash,
            None => FlashFile::open(&self.options.image)?,
        };
        let flash = lease.flash.insert(flash);
        let (child, line) = qemu::start(&self.options, flash).await?;
        Ok(PoweredBoard::new(child, line, lease))
    }

    pub(crate) fn options(&self) -> &BoardOptions {
        &self.options
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The flash of a board that has power.
struct Lease<'a> {
    board: &'a Board,
    flash: Option<FlashFile>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        *self.board.slot() = match self.flash.take() {
            Some(flash) => {
                flash.trim();
                Slot::Open(flash)
            }
            None => Slot::Closed,
        };
    }
}
