//! The serialized large-blob array (CTAP 2.3 §6.10): what platforms keep with a key, encrypted by themselves.
//!
//! A new array arrives in pieces. They are appended to a file of their own, which takes the old one's place when
//! the last one is there and the digest is right; whatever is cut before leaves the old array.

use littlefs2::driver::Storage;
use littlefs2::fs::OpenOptions;
use littlefs2::io::SeekFrom;

use super::{BLOBS, NEW_BLOBS, Store, StoreError};

/// getInfo's maxSerializedLargeBlobArray, in bytes.
pub(crate) const MAX_LARGE_BLOB_ARRAY: usize = 4096;

/// The array of a key that has none: an empty CBOR array and the first half of its SHA-256.
pub(crate) const EMPTY: [u8; 17] =
    [0x80, 0x76, 0xbe, 0x8b, 0x52, 0x8d, 0x00, 0x75, 0xf7, 0xaa, 0xe9, 0x8d, 0x6f, 0xa5, 0x7a, 0x6d, 0x3c];

impl<S: Storage> Store<'_, S> {
    /// How long the array is, in bytes.
    pub(crate) fn large_blob_array_length(&self) -> Result<usize, StoreError> {
        let fs = self.fs()?;
        Ok(if fs.exists(BLOBS) { fs.metadata(BLOBS)?.len() } else { EMPTY.len() })
    }

    /// Fills `part` with what begins at `offset`; the caller has seen to it that there is as much.
    pub(crate) fn read_large_blob_array(&self, offset: usize, part: &mut [u8]) -> Result<(), StoreError> {
        let fs = self.fs()?;
        if !fs.exists(BLOBS) {
            let there = EMPTY.get(offset..offset + part.len()).ok_or(StoreError::Damaged)?;
            part.copy_from_slice(there);
            return Ok(());
        }
        let offset = u32::try_from(offset).map_err(|_| StoreError::Damaged)?;
        let length = fs.open_file_and_then(BLOBS, |file| {
            file.seek(SeekFrom::Start(offset))?;
            file.read(part)
        })?;
        if length == part.len() { Ok(()) } else { Err(StoreError::Damaged) }
    }

    /// Appends to the new array; `first` begins it.
    pub(crate) fn append_large_blob_array(&mut self, first: bool, part: &[u8]) -> Result<(), StoreError> {
        let written = OpenOptions::new().write(true).append(true).create(true).truncate(first).open_and_then(
            self.fs()?,
            NEW_BLOBS,
            |file| file.write(part),
        );
        if written != Ok(part.len()) {
            self.forget_large_blob_array();
        }
        written?;
        Ok(())
    }

    /// Puts the new array in the old one's place.
    pub(crate) fn commit_large_blob_array(&mut self) -> Result<(), StoreError> {
        Ok(self.fs()?.rename(NEW_BLOBS, BLOBS)?)
    }

    /// Gives back what a new array took that will not be finished.
    pub(crate) fn forget_large_blob_array(&mut self) {
        // If it fails, the next array or the next boot tries again.
        let _ = self.remove_if_there(NEW_BLOBS);
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::EMPTY;

    #[test]
    fn the_empty_array_is_what_the_specification_says() {
        assert_eq!(EMPTY[0], 0x80);
        assert_eq!(EMPTY[1..], Sha256::digest([0x80])[..16]);
    }
}
