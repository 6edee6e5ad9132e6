//! A FIDO2 security key as a virtual USB device.
//!
//! The key is the one that runs on a microcontroller: [`brasskey_authenticator`] behind [`brasskey_usb`]. This
//! crate is its body on a host. Its flash is a file ([`ImageSource`]), its finger a rule or a person at the
//! terminal ([`PresencePolicy`]), and its USB cable a TCP connection that speaks USB/IP ([`Server`]) or a socket to
//! the local kernel ([`Server::attach`]). A test may move its finger and its plug ([`Control`]).
//!
//! The program `brasskey` is a command line over this library. To have a key inside another program, a test say:
//!
//! ```
//! use brasskey::{ImageSource, Key, KeyOptions, PresencePolicy, Server};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let key = Key::new(KeyOptions::new(ImageSource::Memory).presence(PresencePolicy::Auto));
//! let server = Server::bind("127.0.0.1:0".parse()?, false, vec![key]).await?;
//! println!("usbip attach -r 127.0.0.1 --tcp-port {} -b 1-1", server.local_addr().port());
//!
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
//! // … and in the end:
//! drop(stop);
//! serving.await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where things are: [`usbip`] is the server, from the bytes of the protocol to the life of a connection; the key,
//! its thread and its platform, its image, its finger and the way into the local kernel have a module each. What is
//! exported may also be firmware on an emulated board ([`Board`]).
#![forbid(unsafe_code)]

mod attach;
mod body;
mod control;
mod firmware;
mod image;
mod key;
mod presence;
pub mod usbip;

pub use attach::{AttachError, Vhci};
pub use body::{Body, BodyError};
pub use control::{ConformanceResults, Control, ControlError, ControlServer, Fingerprint, Held, Sample};
pub use firmware::{Board, BoardError, BoardOptions};
pub use image::{Durability, IMAGE_LEN, ImageError, ImageSource, Missing};
pub use key::{AAGUID, HostClock, HostPlatform, Key, KeyError, KeyOptions, Model};
pub use presence::{Finger, PresencePolicy, printable};
pub use usbip::{Server, ServerError};
