//! Conformance, section by section of CTAP 2.3, over the USB/IP port.
//!
//! Every test says what it covers in its documentation, one line each:
//!
//! ```text
//! /// Covers: command authenticatorLargeBlobs; status INTEGRITY_FAILURE
//! ```
//!
//! `cargo xtask conformance` makes `docs/conformance.md` of these lines, and knows which words there are. A test that
//! needs what a board may not have, a sensor or test control, asks [`key::Served`] for it and is not run where the key
//! is another one (`BRASSKEY_RUN_ARGS`).

mod key;

mod s6_10_large_blobs;
mod s6_11_config;
mod s6_4_get_info;
