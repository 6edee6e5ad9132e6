//! Placeholder.
#![forbid(unsafe_code)]
mod attach;
mod image;
mod key;
mod presence;
pub mod usbip;

pub use attach::{AttachError, Vhci};
pub use image::{Durability, IMAGE_LEN, ImageError, ImageSource, Missing};
pub use key::{AAGUID, HostClock, HostPlatform, Key, KeyError, KeyOptions};
pub use presence::{Finger, PresencePolicy};
pub use usbip::{Server, ServerError};
