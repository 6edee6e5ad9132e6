//! What can be wrong with a store, at boot and later.

use core::fmt;

use ctap_types::ctap2::Error;

/// Why a key does not boot. Nothing was changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BootError {
    /// The flash does not read, program or erase.
    Flash,
    /// The flash has too few blocks, or blocks too small for the header.
    Geometry,
    /// The flash holds something that is not a Brasskey store.
    Foreign,
    /// The store was written by a later version.
    Layout(u16),
    /// The store belongs to a key of another model: its attestation names another AAGUID.
    Model,
    /// A part of the store cannot be read.
    Damaged(&'static str),
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash => f.write_str("the flash cannot be read or written"),
            Self::Geometry => f.write_str("the flash is too small for a key"),
            Self::Foreign => f.write_str("this is not the flash of a Brasskey key"),
            Self::Layout(version) => {
                write!(f, "the store has layout {version}, which a later version of Brasskey wrote")
            }
            Self::Model => f.write_str("the store belongs to another model of key"),
            Self::Damaged(what) => write!(f, "the store is damaged: its {what} cannot be read"),
        }
    }
}

impl core::error::Error for BootError {}

impl From<littlefs2::io::Error> for BootError {
    fn from(_: littlefs2::io::Error) -> Self {
        Self::Flash
    }
}

impl From<StoreError> for BootError {
    fn from(_: StoreError) -> Self {
        Self::Flash
    }
}

/// Why the store did not do what a command asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no room for another credential.
    Full,
    /// A record cannot be read.
    Damaged,
    /// The flash does not read, program or erase.
    Flash,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the store is full",
            Self::Damaged => "a record cannot be read",
            Self::Flash => "the flash cannot be read or written",
        })
    }
}

impl core::error::Error for StoreError {}

impl From<littlefs2::io::Error> for StoreError {
    fn from(error: littlefs2::io::Error) -> Self {
        match error {
            littlefs2::io::Error::NO_SPACE => Self::Full,
            littlefs2::io::Error::CORRUPTION | littlefs2::io::Error::NO_SUCH_ENTRY => Self::Damaged,
            _ => Self::Flash,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::KeyStoreFull,
            StoreError::Damaged | StoreError::Flash => Self::Other,
        }
    }
}
