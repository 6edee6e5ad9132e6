//! A simulated key: an image, a finger, and a thread while it is attached.

mod platform;
mod power;
mod signal;
mod spoken;

pub(crate) use platform::FIRMWARE_VERSION;
pub use platform::{AAGUID, HostClock, HostPlatform, Model};
pub(crate) use power::{MESSAGE_LEN, Powered, Shared};
#[cfg(test)]
pub(crate) use signal::Woken;

use crate::control::Control;
use crate::image::{Durability, Image, ImageError, ImageSource, Missing};
use crate::presence::{Finger, PresencePolicy};
use brasskey_authenticator::{Authenticator, BootError, Flash};
use power::PowerError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

/// How a key is made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyOptions {
    /// Where its flash is.
    pub image: ImageSource,
    /// What a power cut of this machine may take from it.
    pub durability: Durability,
    /// What to do about an image that is not there.
    pub missing: Missing,
    /// Who touches it.
    pub presence: PresencePolicy,
    /// What it offers.
    pub model: Model,
    /// Whether its [`Control`] moves its finger. Off: whoever holds that could sign in.
    pub test_control: bool,
}

impl KeyOptions {
    /// A key on `image`, which is made if it is not there; a touch is asked for on the terminal.
    pub fn new(image: ImageSource) -> Self {
        Self {
            image,
            durability: Durability::default(),
            missing: Missing::Create,
            presence: PresencePolicy::Ask,
            model: Model::default(),
            test_control: false,
        }
    }

    /// The same for the `number`th of several keys: on an image of its own ([`ImageSource::numbered`]).
    pub fn numbered(&self, number: u16) -> Self {
        Self { image: self.image.numbered(number), ..self.clone() }
    }

    /// Sets who touches the key.
    pub fn presence(mut self, presence: PresencePolicy) -> Self {
        self.presence = presence;
        self
    }

    /// Sets what the key offers.
    pub fn model(mut self, model: Model) -> Self {
        self.model = model;
        self
    }

    /// Sets whether the key's [`Control`] moves its finger.
    pub fn test_control(mut self, test_control: bool) -> Self {
        self.test_control = test_control;
        self
    }

    /// Sets what a power cut may take.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets what to do about an image that is not there.
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }
}

/// Why a key does not start. One line that says what to do; nothing was lost.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// The image cannot be opened.
    Image(ImageError),
    /// The image was opened and holds no usable key.
    Boot(ImageSource, BootError),
    /// The key is attached, or being looked into.
    InUse,
    /// The operating system has no random bytes.
    Random(getrandom::Error),
    /// The operating system has no thread.
    Thread(io::Error),
    /// The key's thread panicked; the log says where.
    Died,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Boot(image, error) => write!(
                f,
                "{image}: {error}; nothing was changed: restore the file from a copy, or choose another --image"
            ),
            Self::InUse => f.write_str("the key is attached; detach it first"),
            Self::Random(error) => write!(f, "no random bytes from the operating system: {error}"),
            Self::Thread(error) => {
                write!(f, "no thread for the key: {error}; attach fewer keys, or raise the limit")
            }
            Self::Died => f.write_str("the key's thread died; this is a fault in brasskey, please report it"),
        }
    }
}

impl std::error::Error for KeyError {}

impl From<ImageError> for KeyError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

/// The image, and who has it.
#[derive(Debug)]
enum Slot {
    /// Not opened yet.
    Closed,
    /// Opened and locked.
    Open(Image),
    /// With the thread of an attached key.
    Taken,
}

/// One simulated key.
///
/// It takes little memory until it is attached: the image is opened then, or by [`Self::prepare`], and stays
/// open and locked from there on.
#[derive(Debug)]
pub struct Key {
    options: KeyOptions,
    control: Arc<Control>,
    slot: Mutex<Slot>,
}

impl Key {
    /// A key; nothing is opened yet.
    pub fn new(options: KeyOptions) -> Self {
        let control = Arc::new(Control::new(options.presence == PresencePolicy::Auto));
        Self { options, control, slot: Mutex::new(Slot::Closed) }
    }

    /// The hand of a test. Its finger touches nothing without [`KeyOptions::test_control`]; its power switch works.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Where its flash is.
    pub fn image(&self) -> &ImageSource {
        &self.options.image
    }

    /// Opens and locks the image and boots the key once, so that what is wrong with it is known now.
    ///
    /// Errors: [`KeyError`].
    pub fn prepare(&self) -> Result<(), KeyError> {
        self.with_authenticator(|_| ())
    }

    /// Boots the key without USB and lets `act` use it, in this thread.
    ///
    /// Errors: [`KeyError`].
    pub fn with_authenticator<T>(
        &self,
        act: impl FnOnce(&mut Authenticator<'_, HostPlatform>) -> T,
    ) -> Result<T, KeyError> {
        let mut lease = self.lease()?;
        let platform = self.platform(None)?;
        let mut flash = Flash::new(lease.take()?);
        let result = Authenticator::boot(&mut flash, platform).map(|mut key| act(&mut key));
        if result.is_ok() {
            lease.booted();
        }
        lease.give_back(Some(flash.into_storage()));
        result.map_err(|error| KeyError::Boot(self.options.image.clone(), error))
    }

    /// Powers the key up in a thread of its own.
    pub(crate) async fn power_on(&self, shared: &Arc<Shared>) -> Result<(Powered, Lease<'_>), KeyError> {
        let mut lease = self.lease()?;
        let platform = self.platform(Some(shared))?;
        match Powered::on(lease.take()?, platform, Arc::clone(shared)).await {
            Ok(powered) => {
                lease.booted();
                Ok((powered, lease))
            }
            Err((image, error)) => {
                lease.give_back(image);
                Err(match error {
                    PowerError::Boot(error) => KeyError::Boot(self.options.image.clone(), error),
                    PowerError::Thread(error) => KeyError::Thread(error),
                    PowerError::Died => KeyError::Died,
                })
            }
        }
    }

    fn platform(&self, shared: Option<&Arc<Shared>>) -> Result<HostPlatform, KeyError> {
        let touch = self.options.test_control.then(|| Arc::clone(&self.control.touch));
        let finger = Finger::new(self.options.presence, shared.cloned(), touch);
        HostPlatform::new(finger, &self.options.model).map_err(KeyError::Random)
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the image where needed, and takes it.
    fn lease(&self) -> Result<Lease<'_>, KeyError> {
        let mut slot = self.slot();
        let image = match std::mem::replace(&mut *slot, Slot::Taken) {
            Slot::Open(image) => Some(image),
            Slot::Closed => None,
            Slot::Taken => return Err(KeyError::InUse),
        };
        drop(slot);
        // From here on the lease's end makes the slot usable again, whatever happens.
        let mut lease = Lease { key: self, image: None };
        lease.image = Some(match image {
            Some(image) => image,
            None => Image::open(&self.options.image, self.options.durability, self.options.missing)?,
        });
        Ok(lease)
    }
}

/// The image of a key, on loan. Without it at the end the key opens its image anew next time.
pub(crate) struct Lease<'a> {
    key: &'a Key,
    image: Option<Image>,
}

impl Lease<'_> {
    fn take(&mut self) -> Result<Image, KeyError> {
        self.image.take().ok_or(KeyError::InUse)
    }

    /// The image is a key's, without doubt.
    fn booted(&self) {
        Image::make_private(&self.key.options.image);
    }

    /// Ends the loan.
    pub(crate) fn give_back(mut self, image: Option<Image>) {
        self.image = image;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        *self.key.slot() = match self.image.take() {
            Some(image) => Slot::Open(image),
            None => Slot::Closed,
        };
    }
}
