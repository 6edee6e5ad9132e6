//! Everything that the boards share.
//!
//! A board is a small binary: it sets its clocks up, makes what [`Board`] asks for, a flash, and a USB peripheral,
//! and then
//!
//! 1. boots the key on the flash: `Authenticator::boot(flash, Body::new(board))`;
//! 2. makes the USB device ([`Usb::new`]), which turns the peripheral on, and puts it where its interrupt finds it;
//! 3. unmasks that interrupt, whose handler calls [`Usb::serve`], and a tick each millisecond, whose handler calls
//!    [`tick`] and does what that returns;
//! 4. calls [`run`], which never returns.
//!
//! USB is served by the interrupt while the main loop computes, so keep-alives leave on time during a signature, and
//! a host that cancels is heard. The two meet in [`LINK`] and in the channel of `brasskey-usb`, which need no lock.
//!
//! No rule of CTAP is here: those are in `brasskey-authenticator`.
//!
//! Modules: [`touch`] is the button's logic and [`light`] the light's, [`random`] the random generator, [`clock`] the
//! time since power-up, [`memory`] the stack's depth and the end of everything secret.
#![cfg_attr(not(test), no_std)]

mod body;
// Only C calls it; on a computer, only its tests do.
#[cfg(any(target_os = "none", test))]
mod c_library;
pub mod clock;
pub mod light;
#[cfg(target_os = "none")]
pub mod memory;
#[cfg(target_os = "none")]
mod panic;
pub mod random;
mod run;
pub mod touch;
mod usb;

pub use body::{Board, Body, User};
#[cfg(target_os = "none")]
pub use panic::set_panic_hook;
pub use run::{App, Resident, application, run};
pub use usb::{LINK, MESSAGE_LEN, Tick, Usb, tick};

// Only for its features, which a bare target needs.
#[cfg(target_os = "none")]
use littlefs2_sys as _;
