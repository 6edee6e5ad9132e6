//! The FIDO USB device, over any USB peripheral.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod application;
mod bus;
mod channels;
mod descriptors;
mod device;
mod gate;
mod link;
mod packet;

pub use application::{Application, Key};
pub use bus::GatedBus;
pub use ctaphid_dispatch::{Channel, Requester, Responder};
pub use device::{DeviceConfig, FidoDevice, Poll};
pub use link::Link;

/// The longest message that CTAPHID can carry, in bytes: a first packet and 128 more (CTAP 2.3 §11.2.4).
pub const MAX_MESSAGE_SIZE: u16 = 7609;
