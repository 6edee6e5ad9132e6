//! The header: two blocks before the file system that say what the flash holds and how far a reset has come.
//!
//! littlefs cannot hold this itself: whether it may be mounted, formatted or must be refused is decided before
//! it is there, and the attestation has to outlive the erasing of all its blocks. Each save goes to the block
//! whose turn it is by its sequence number; the valid one with the highest number counts. A cut while one copy
//! is written leaves the other.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | "BRASSKEY" |
//! | 2 | layout version, little-endian |
//! | 1 | phase |
//! | 1 | 1 if a PIN is set, else 0 |
//! | 4 | sequence number, little-endian |
//! | 32 | SHA-256 of all the rest |
//! | 2000 | the attestation; layout 1 ended after 1488 of them |

use littlefs2::driver::Storage;
use littlefs2::io::Result;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::BootError;
use crate::attestation::{Attestation, STORED_LENGTH};

/// How many blocks the header takes.
pub(super) const BLOCKS: usize = 2;

/// How many bytes of a block the header uses; a multiple of every sensible read and write size.
pub(super) const LENGTH: usize = 2048;

/// The version of the layout that the text of [`super`] describes, which is written.
pub(super) const LAYOUT: u16 = 2;

/// How long the header was in layout 1.
const OLD_LENGTH: usize = 1536;

const MAGIC: &[u8; 8] = b"BRASSKEY";
const DIGEST: core::ops::Range<usize> = 16..48;
const ATTESTATION: usize = 48;
const _: () = assert!(ATTESTATION + STORED_LENGTH <= LENGTH);

/// What the region behind the header holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Nothing that counts: it is to be erased and made anew.
    Wiping = 1,
    /// A file system that must mount.
    Ready = 2,
}

pub(super) struct Header {
    /// The layout of what the header was read with.
    pub(super) layout: u16,
    pub(super) phase: Phase,
    pub(super) pin_is_set: bool,
    pub(super) sequence: u32,
    pub(super) attestation: Attestation,
}

impl Header {
    /// The header of a flash that was blank.
    pub(super) fn first(attestation: Attestation) -> Self {
        Self { layout: LAYOUT, phase: Phase::Wiping, pin_is_set: false, sequence: 0, attestation }
    }

    fn to_bytes(&self) -> Zeroizing<[u8; LENGTH]> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&LAYOUT.to_le_bytes());
        bytes[10] = self.phase as u8;
        bytes[11] = self.pin_is_set.into();
        bytes[12..16].copy_from_slice(&self.sequence.to_le_bytes());
        self.attestation.store(&mut bytes[ATTESTATION..]);
        let digest = digest(bytes.as_slice());
        bytes[DIGEST].copy_from_slice(&digest);
        bytes
    }

    /// `None` if the bytes are not a whole header.
    fn from_bytes(bytes: &[u8; LENGTH]) -> Option<core::result::Result<Self, BootError>> {
        let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        if bytes[..8] != *MAGIC {
            return None;
        }
        let layout = u16::from_le_bytes([bytes[8], bytes[9]]);
        let bytes = bytes.get(..if layout == 1 { OLD_LENGTH } else { LENGTH })?;
        if bytes[DIGEST] != digest(bytes) {
            return None;
        }
        if !(1..=LAYOUT).contains(&layout) {
            return Some(Err(BootError::Layout(layout)));
        }
        let phase = match bytes[10] {
            1 => Phase::Wiping,
            2 => Phase::Ready,
            _ => return None,
        };
        let attestation = Attestation::load(&bytes[ATTESTATION..], layout > 1)?;
        Some(Ok(Self { layout, phase, pin_is_set: bytes[11] != 0, sequence: word(12)?, attestation }))
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(&bytes[..DIGEST.start]).chain_update(&bytes[DIGEST.end..]);
    hash.finalize().into()
}

/// Reads the header that counts; `None` if the flash may be a new one: at least the second copy is blank (a key
/// that was ready once has written both) and the first is blank or was cut while it was written.
#[inline(never)]
pub(super) fn load<S: Storage>(storage: &mut S) -> core::result::Result<Option<Header>, BootError> {
    let mut newest: Option<Header> = None;
    let mut last_is_blank = false;
    for block in 0..BLOCKS {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        storage.read(block * S::BLOCK_SIZE, bytes.as_mut_slice())?;
        last_is_blank = bytes.iter().all(|&byte| byte == 0xff);
        if let Some(header) = Header::from_bytes(&bytes) {
            let header = header?;
            if newest.as_ref().is_none_or(|newest| newest.sequence < header.sequence) {
                newest = Some(header);
            }
        }
    }
    match newest {
        None if !last_is_blank => Err(BootError::Foreign),
        newest => Ok(newest),
    }
}

/// Writes a header into the block whose turn it is.
pub(super) fn save<S: Storage>(storage: &mut S, header: &Header) -> Result<()> {
    let offset = (header.sequence as usize % BLOCKS) * S::BLOCK_SIZE;
    storage.erase(offset, S::BLOCK_SIZE)?;
    storage.write(offset, header.to_bytes().as_slice())?;
    Ok(())
}

/// Erases both copies.
pub(super) fn erase<S: Storage>(storage: &mut S) -> Result<()> {
    for block in 0..BLOCKS {
        storage.erase(block * S::BLOCK_SIZE, S::BLOCK_SIZE)?;
    }
    Ok(())
}
