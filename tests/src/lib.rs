//! A host for Brasskey in user space, and the tests that need one.
//!
//! Everything here stands outside the key and knows it only by its wire: a [`Simulator`] is the program `brasskey`
//! as a child process; a [`usb::Device`] attaches to it over TCP as the Linux kernel's vhci_hcd would; a
//! [`ctaphid::Channel`] speaks CTAPHID over that; a [`Key`] speaks U2F and CTAP2. [`webauthn`] is the browser's part of
//! a ceremony and [`relying_party`] the web site's.
//!
//! The client is strict: what a kernel, a browser or a conformance tool would reject is an error here, too.
//!
//! ```no_run
//! use brasskey_tests::{Simulator, Key, ctap2::MakeCredential};
//!
//! let simulator = Simulator::start()?;
//! let key = Key::attach(simulator.address())?;
//! let registered = key.make_credential(&MakeCredential::new("example.com"))?;
//! assert!(registered.auth_data.user_present());
//! # Ok::<(), brasskey_tests::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod attestation;
pub mod auth_data;
pub mod cbor;
pub mod certificate;
pub mod client_pin;
pub mod cose;
pub mod ctap1;
pub mod ctap2;
pub mod ctaphid;
mod error;
pub mod hidraw;
mod key;
pub mod management;
pub mod relying_party;
pub mod reports;
pub mod simulator;
pub mod usb;
pub mod usbip;
pub mod webauthn;

pub use error::{Error, Result};
pub use key::Key;
pub use simulator::Simulator;

/// SHA-256 of the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    use sha2::Digest;
    parts.iter().fold(sha2::Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}
