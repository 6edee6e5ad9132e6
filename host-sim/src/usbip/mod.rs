//! Our own USB/IP server: a USB device for every host that asks for it over TCP.
//!
//! From the wire inwards: [`protocol`] knows the bytes, [`session`] one attached host, [`bus`] turns its
//! transfers into the packets of a [`usb_device::bus::UsbBus`]. These three touch no socket and are tested with
//! bytes alone.

mod attached;
pub mod bus;
mod completion;
mod control;
mod describe;
mod fido;
pub mod protocol;
mod serve;
mod server;
pub mod session;
mod stream;
#[cfg(test)]
mod testing;

pub use completion::Completion;
pub use server::{Server, ServerError};
