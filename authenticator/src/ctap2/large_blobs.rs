//! authenticatorLargeBlobs (CTAP 2.3 §6.10).

use ctap_types::ctap2::Error;
use sha2::{Digest, Sha256};

use crate::authenticator::Authenticator;
use crate::pin::Permissions;
use crate::platform::Platform;
use crate::store::blobs::{EMPTY, MAX_LARGE_BLOB_ARRAY};
use crate::wire::{Map, Value, put_bytes_member};

/// An array ends in the first half of the SHA-256 of what is before it.
const DIGEST: usize = 16;

/// What a fragment's message has beside it (§6.10.2: maxFragmentLength is maxMsgSize − 64).
const REST_OF_MESSAGE: usize = 64;

struct Request<'a> {
    get: Option<u64>,
    set: Option<&'a [u8]>,
    offset: Option<u64>,
    length: Option<u64>,
    pin_uv_auth_param: Option<&'a [u8]>,
    pin_uv_auth_protocol: Option<u64>,
}

impl<'a> Request<'a> {
    fn parse(parameters: &'a [u8]) -> Result<Self, Error> {
        let map = Map::parameters(parameters)?;
        Ok(Self {
            get: map.get(0x01).map(Value::unsigned).transpose()?,
            set: map.get(0x02).map(Value::bytes).transpose()?,
            offset: map.get(0x03).map(Value::unsigned).transpose()?,
            length: map.get(0x04).map(Value::unsigned).transpose()?,
            pin_uv_auth_param: map.get(0x05).map(Value::bytes).transpose()?,
            pin_uv_auth_protocol: map.get(0x06).map(Value::unsigned).transpose()?,
        })
    }
}

/// An array that arrives in pieces.
pub(crate) struct LargeBlobWrite {
    length: usize,
    next_offset: usize,
    /// Of what came so far, without the digest at the end.
    hash: Sha256,
    digest: [u8; DIGEST],
}

impl LargeBlobWrite {
    fn new(length: usize) -> Self {
        Self { length, next_offset: 0, hash: Sha256::new(), digest: [0; DIGEST] }
    }

    /// Takes the next piece, which does not go beyond the end.
    fn take(&mut self, part: &[u8]) {
        let content = (self.length - DIGEST).saturating_sub(self.next_offset).min(part.len());
        let (content, digest) = part.split_at(content);
        self.hash.update(content);
        let end = (self.next_offset + part.len()).saturating_sub(self.length - DIGEST);
        if let Some(place) = self.digest.get_mut(end - digest.len()..end) {
            place.copy_from_slice(digest);
        }
        self.next_offset += part.len();
    }

    fn is_whole(&self) -> bool {
        self.next_offset == self.length
    }

    fn is_intact(&self) -> bool {
        self.hash.clone().finalize()[..DIGEST] == self.digest
    }
}

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn large_blobs(&mut self, parameters: &[u8], response: &mut [u8]) -> Result<usize, Error> {
        let request = Request::parse(parameters)?;
        let offset = request.offset.ok_or(Error::InvalidParameter)?;
        let offset = usize::try_from(offset).map_err(|_| Error::InvalidParameter)?;
        let max_fragment = usize::from(self.platform.identity().max_msg_size).saturating_sub(REST_OF_MESSAGE);
        match (request.get, request.set) {
            (Some(number), None) => {
                let unexpected = request.length.is_some()
                    || request.pin_uv_auth_param.is_some()
                    || request.pin_uv_auth_protocol.is_some();
                if unexpected {
                    return Err(Error::InvalidParameter);
                }
                let number = usize::try_from(number).unwrap_or(usize::MAX);
                if number > max_fragment {
                    return Err(Error::InvalidLength);
                }
                let length = self.store.large_blob_array_length()?;
                let rest = length.checked_sub(offset).ok_or(Error::InvalidParameter)?;
                // In place: the answer is too long for a buffer on a small stack.
                put_bytes_member(1, number.min(rest), response, |part| {
                    Ok(self.store.read_large_blob_array(offset, part)?)
                })
            }
            (None, Some(part)) if part.len() > max_fragment => Err(Error::InvalidLength),
            (None, Some(part)) => {
                let outcome = self.write_large_blobs(&request, offset, part);
                // Whatever went wrong with the flash or the digest ends the writing.
                if matches!(
                    outcome,
                    Err(Error::IntegrityFailure | Error::LargeBlobStorageFull | Error::Other)
                ) {
                    self.large_blob_write = None;
                    self.store.forget_large_blob_array();
                }
                outcome.map(|()| 0)
            }
            _ => Err(Error::InvalidParameter),
        }
    }

    fn write_large_blobs(&mut self, request: &Request<'_>, offset: usize, part: &[u8]) -> Result<(), Error> {
        let begins = match (offset, request.length) {
            (0, Some(length)) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > MAX_LARGE_BLOB_ARRAY {
                    return Err(Error::LargeBlobStorageFull);
                }
                if length < EMPTY.len() {
                    return Err(Error::InvalidParameter);
                }
                Some(LargeBlobWrite::new(length))
            }
            (0, None) | (1.., Some(_)) => return Err(Error::InvalidParameter),
            (1.., None) => None,
        };
        let going_on = self.large_blob_write.as_ref().map(|write| (write.next_offset, write.length));
        let (next_offset, length) =
            begins.as_ref().map(|write| (0, write.length)).or(going_on).ok_or(Error::InvalidSeq)?;
        if offset != next_offset {
            return Err(Error::InvalidSeq);
        }
        if self.is_protected() || self.store.state().always_uv {
            // 32 × 0xff, the command, 0x00, the offset, and a hash of the fragment
            let mut head = [0xff; 38];
            head[32..34].copy_from_slice(&[0x0c, 0]);
            head[34..].copy_from_slice(&(offset as u32).to_le_bytes());
            let hash = Sha256::digest(part);
            self.authorize(
                request.pin_uv_auth_param,
                request.pin_uv_auth_protocol,
                &[&head, &hash],
                Permissions::LARGE_BLOB_WRITE,
            )?;
        }
        if offset + part.len() > length {
            return Err(Error::InvalidParameter);
        }
        let first = begins.is_some();
        if first {
            self.large_blob_write = begins;
        }
        self.store.append_large_blob_array(first, part).map_err(|error| match Error::from(error) {
            Error::KeyStoreFull => Error::LargeBlobStorageFull,
            other => other,
        })?;
        let Some(write) = &mut self.large_blob_write else { return Err(Error::InvalidSeq) };
        write.take(part);
        if write.is_whole() {
            if !write.is_intact() {
                return Err(Error::IntegrityFailure);
            }
            self.large_blob_write = None;
            self.store.commit_large_blob_array()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_may_come_in_pieces() {
        let content = [7; 50];
        let array = [&content[..], &Sha256::digest(content)[..DIGEST]].concat();
        for size in 1..=array.len() {
            let mut write = LargeBlobWrite::new(array.len());
            array.chunks(size).for_each(|part| write.take(part));
            assert!(write.is_whole() && write.is_intact(), "pieces of {size}");
        }
        let mut write = LargeBlobWrite::new(array.len());
        write.take(&[&[8], &array[1..]].concat());
        assert!(write.is_whole() && !write.is_intact());
    }
}
