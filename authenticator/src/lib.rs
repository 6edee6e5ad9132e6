//! Every rule of a FIDO2 and U2F security key, without a body.
//!
//! [`Authenticator`] answers CTAP1 and CTAP2 messages. It knows nothing of USB, and has of the world only what a
//! [`Platform`] gives it: flash, randomness, time and a finger. The same code is firmware on a microcontroller
//! and a virtual key on a host.
//!
//! The tree follows the specification: `ctap2/make_credential.rs` is CTAP 2.3 §6.1, and so on; `credential/` is
//! what a credential is made of, `store/` how it outlives a power cut (its module text is the contract), `wire/`
//! how CBOR is read.
//!
//! No allocator, no unsafe code, and no panic on any input.
//!
//! # Example
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use brasskey_authenticator::{Authenticator, Flash, testing};
//!
//! // A blank flash becomes a key at its first boot.
//! let mut flash = Flash::new(testing::RamFlash::new());
//! let mut key = Authenticator::boot(&mut flash, testing::Platform::new())?;
//!
//! // authenticatorGetInfo from CTAPHID channel 1.
//! let mut response = [0; 1200];
//! let length = key.ctap2(1, &[0x04], &mut response);
//! assert_eq!(response[0], 0x00, "CTAP2_OK");
//! assert!(response[..length].windows(8).any(|text| text == b"FIDO_2_0"));
//! # Ok::<(), brasskey_authenticator::BootError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

// Tests and the test body only.
#[cfg(any(test, feature = "testing"))]
extern crate std;

mod attestation;
mod authenticator;
mod credential;
mod ctap1;
mod ctap2;
mod extension;
mod local;
mod pin;
mod platform;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod user;
mod wire;
mod x509;

pub use authenticator::{Authenticator, CredentialSummary};
pub use credential::CredProtect;
pub use local::Refusal;
pub use platform::{
    AttestationPolicy, Clock, Identity, Operation, Platform, Presence, Profile, Prompt, Scan, Sensor,
    UserPresence, UserVerification,
};
pub use store::{BootError, Flash, StoreError};

/// How many discoverable credentials a key holds at most, whatever its flash.
pub const MAX_DISCOVERABLE: usize = 256;
