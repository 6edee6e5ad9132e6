//! Our own USB/IP server: a USB device for every host that asks for it over TCP.
//!
//! From the wire inwards: [`protocol`] knows the bytes, [`session`] one attached host, [`bus`] turns its
//! transfers into the packets of a [`usb_device::bus::UsbBus`]. These three touch no socket and are tested with
//! bytes alone.

pub mod bus;
mod completion;
mod control;
pub mod protocol;
mod serve;
pub mod session;
mod stream;
#[cfg(test)]
mod testing;

pub use completion::Completion;
