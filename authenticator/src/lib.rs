//! Placeholder while the core is being written.
#![no_std]
#![forbid(unsafe_code)]

mod platform;

pub use platform::*;

/// How many discoverable credentials a key holds at most, whatever its flash.
pub const MAX_DISCOVERABLE: usize = 256;
