//! The FIDO USB device, over any USB peripheral: CTAPHID (CTAP 2.3 §11.2) without an allocator or an operating
//! system.
//!
//! # How the parts meet
//!
//! ```text
//!   host ── peripheral: UsbBus ── GatedBus ── usb-device ── usbd-ctaphid
//!                                    │                           │
//!                                  gate                 ctaphid-dispatch's channel
//!                                    │                           │
//!                                    └────────── Link ────── Application ── Key (the authenticator)
//! ```
//!
//! * [`FidoDevice`] is everything on the left of the channel, driven by [`FidoDevice::poll`]. It never blocks. It
//!   has no clock and no thread: its caller says what time it is, and is told when to come back.
//! * [`Application`] is what answers: it takes a message from the channel and has a [`Key`] answer it, for as long as
//!   that takes. It runs beside USB: in a thread, or in the main loop while an interrupt polls the device.
//! * [`Link`] carries between the two what the channel cannot: that the host took its request back, that the key
//!   waits for a touch.
//! * [`GatedBus`] wraps the peripheral, so that every packet passes the *gate*. usbd-ctaphid assembles messages, cuts
//!   answers into packets and makes keep-alives, but departs from the specification in more than a dozen points
//!   (`tests/deviations.rs` has them all). So the gate lets only whole and well-formed messages through, one at a
//!   time, and answers the rest itself: `src/gate.rs` tells how.
//!
//! The gate also paces what goes to the host: Linux drops reports of an answer that comes faster than 32 packets at
//! once and then one a millisecond.
//!
//! # What a body does
//!
//! Make channel, link, allocator, device and application, in this order; then
//!
//! * call [`FidoDevice::poll`] when the peripheral has an event, when the application answered, when the key began or
//!   ended to wait for the user, and at [`Poll::deadline`]. An idle device has no deadline;
//! * call [`Application::poll`] when [`Poll::request_ready`] says so;
//! * where it waits for a touch, call [`Link::set_waiting_for_user`] before and after, and give up as soon as
//!   [`Link::is_cancelled`]; [`Poll::cancelled`] says when that has changed.
//!
//! A device that is made anew, with a fresh allocator, is a key that was pulled out and put in again.
//!
//! ```
//! use brasskey_usb::{Application, Channel, DeviceConfig, FidoDevice, GatedBus, Key, Link};
//! use usb_device::bus::{UsbBus, UsbBusAllocator};
//!
//! /// Serves one key on one peripheral until `pulled_out`, all in one loop: good for a key that never waits.
//! fn run<B: UsbBus>(bus: B, key: &mut impl Key, now_ms: impl Fn() -> u64, pulled_out: impl Fn() -> bool) {
//!     // Messages of up to 2,048 bytes, as the authenticator's `Identity::max_msg_size` must say too.
//!     let channel = Channel::<2048>::new();
//!     let link = Link::new();
//!     let allocator = UsbBusAllocator::new(GatedBus::new(bus));
//!     let Some((requester, responder)) = channel.split() else { return };
//!     let config = DeviceConfig { product: "My key", ..DeviceConfig::default() };
//!     let mut device = FidoDevice::new(&allocator, requester, &link, &config);
//!     let mut application = Application::new(responder, &link);
//!     while !pulled_out() {
//!         // A board does this in the interrupt of its peripheral and of a timer set to the deadline …
//!         let poll = device.poll(now_ms());
//!         // … and this in its main loop; an answer makes the interrupt pending.
//!         if poll.request_ready && application.poll(key) {
//!             device.poll(now_ms());
//!         }
//!     }
//! }
//! ```
//!
//! # Memory
//!
//! For messages of `N` bytes: `N` each in [`FidoDevice`], [`Channel`] and [`Application`], and less than 2 KB beside.
//! ctaphid-dispatch moves messages by value, so the stack under [`FidoDevice::poll`] needs room for three of
//! them when a request is handed over (6.2 KB for `N` = 2,048, optimised for size). Nothing else here takes much.
//! Boards take 2,048 or 3,072.
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
