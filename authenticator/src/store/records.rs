//! Discoverable credentials in the store: a record each, found by an index in RAM.

use heapless::Vec;
use littlefs2::driver::Storage;
use littlefs2::fs::FileType;
use littlefs2::path::{Path, PathBuf};
use serde_bytes::Bytes;

use super::{BootError, CENSUS, NEW, NEW_RECORD, RECORDS, Store, StoreError, half};
use crate::MAX_DISCOVERABLE;
use crate::credential::Credential;
use crate::credential::id::{Sealed, unseal};
use crate::credential::index::Slot;
use crate::credential::key::derive;
use crate::credential::record::{MAX_RECORD, Record};

/// Where a relying party stands among all.
#[derive(Clone, Copy)]
pub(crate) struct RpPosition(usize);

/// The bytes of one record, as read.
pub(crate) type RecordBytes = Vec<u8, MAX_RECORD>;

/// A record that was found.
pub(crate) struct Stored {
    pub(crate) slot: Slot,
    pub(crate) order: u32,
    bytes: RecordBytes,
}

impl Stored {
    /// The record. It decoded once already, when it was found.
    pub(crate) fn record(&self) -> Result<Record<'_>, StoreError> {
        decode(&self.bytes)
    }
}

/// What `/census` holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Census {
    /// How many credentials there are at least.
    credentials: u16,
    /// Rises with every deletion and every update: with what neither number nor age of the credentials tells.
    generation: u32,
}

impl Census {
    pub(super) fn of(credentials: u16) -> Self {
        Self { credentials, generation: 0 }
    }

    pub(super) fn to_bytes(self) -> [u8; 6] {
        let mut bytes = [0; 6];
        bytes[..2].copy_from_slice(&self.credentials.to_le_bytes());
        bytes[2..].copy_from_slice(&self.generation.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; 6]) -> Self {
        let [a, b, generation @ ..] = bytes;
        Self { credentials: u16::from_le_bytes([a, b]), generation: u32::from_le_bytes(generation) }
    }
}

impl<S: Storage> Store<'_, S> {
    /// Reads the index and the census; `old` says that the census is one of layout 1.
    pub(super) fn load_index(&mut self, old: bool) -> Result<(), BootError> {
        const DAMAGED: BootError = BootError::Damaged("list of credentials");
        let mut slots: Vec<Slot, MAX_DISCOVERABLE> = Vec::new();
        self.fs()
            .map_err(|_| BootError::Flash)?
            .read_dir_and_then(RECORDS, |entries| {
                for entry in entries {
                    let entry = entry?;
                    if entry.file_type() == FileType::File && entry.path() != NEW_RECORD {
                        let slot = slot_of(entry.file_name()).ok_or(littlefs2::io::Error::CORRUPTION)?;
                        slots.push(slot).map_err(|_| littlefs2::io::Error::CORRUPTION)?;
                    }
                }
                Ok(())
            })
            .map_err(|_| DAMAGED)?;
        self.index.clear();
        for slot in slots {
            let bytes = self.read_record(slot).map_err(|_| DAMAGED)?;
            let (hash, order) = decode(&bytes)
                .and_then(|record| Ok((hash_of(&record)?, record.order)))
                .map_err(|_| BootError::Damaged("record of a credential"))?;
            if !self.index.insert(&hash, slot, order) {
                return Err(DAMAGED);
            }
        }
        let census = self.read_array(CENSUS).map(Census::from_bytes);
        // A cut while layout 2 was made leaves either.
        let census = census.or_else(|| if old { self.read_old_census() } else { None });
        self.census = census.ok_or(BootError::Damaged("census of credentials"))?;
        if self.index.len() < usize::from(self.census.credentials) {
            return Err(DAMAGED);
        }
        Ok(())
    }

    /// A value of 16 bytes that changes with every creation, update and deletion of a discoverable credential
    /// (CTAP 2.3 §6.4, encCredStoreState).
    pub(crate) fn credential_store_state(&self) -> [u8; 16] {
        let generation = self.census.generation.to_le_bytes();
        let number = (self.index.len() as u32).to_le_bytes();
        let newest = self.index.next_order().to_le_bytes();
        half(&derive(&self.secret, &[b"credential store state", &generation, &number, &newest]))
    }

    /// How many discoverable credentials there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn read_record(&self, slot: Slot) -> Result<RecordBytes, StoreError> {
        Ok(self.fs()?.read(&slot_path(slot))?)
    }

    /// Finds the newest credential of a relying party that is older than `before` and satisfies `wanted`.
    ///
    /// Reads only records of this relying party (and, by a chance of 2^-32, of others).
    pub(crate) fn find(
        &self,
        rp_id_hash: &[u8; 32],
        before: Option<u32>,
        mut wanted: impl FnMut(&Record<'_>, &Sealed) -> bool,
    ) -> Result<Option<Credential>, StoreError> {
        for (slot, order) in self.index.candidates(rp_id_hash) {
            if before.is_some_and(|before| order >= before) {
                continue;
            }
            let bytes = self.read_record(slot)?;
            let record = decode(&bytes)?;
            if hash_of(&record)? != *rp_id_hash {
                continue;
            }
            let sealed =
                unseal(record.credential_id, rp_id_hash, self.wrapping_key()).ok_or(StoreError::Damaged)?;
            if wanted(&record, &sealed) {
                let id = (**record.credential_id).try_into().map_err(|_| StoreError::Damaged)?;
                return Ok(Some(Credential { id, sealed, stored: Some(Stored { slot, order, bytes }) }));
            }
        }
        Ok(None)
    }

    /// Shows every discoverable credential, oldest first.
    pub(crate) fn each(&self, mut show: impl FnMut(&Record<'_>, &Sealed)) -> Result<(), StoreError> {
        for slot in self.index.slots() {
            let bytes = self.read_record(slot)?;
            let record = decode(&bytes)?;
            let hash = hash_of(&record)?;
            let sealed =
                unseal(record.credential_id, &hash, self.wrapping_key()).ok_or(StoreError::Damaged)?;
            show(&record, &sealed);
        }
        Ok(())
    }

    /// Stores a credential, in place of the one in `replaces` if there is one. `record.order` is set here.
    ///
    /// Errors: [`StoreError::Full`] if `limit` credentials are there already, or the flash is full.
    pub(crate) fn add(
        &mut self,
        mut record: Record<'_>,
        replaces: Option<Slot>,
        limit: usize,
    ) -> Result<(), StoreError> {
        let slot = match replaces {
            Some(slot) => slot,
            None if self.index.len() >= limit => return Err(StoreError::Full),
            None => self.index.free_slot().ok_or(StoreError::Full)?,
        };
        record.order = self.index.next_order();
        let hash = hash_of(&record)?;
        self.write_record(&record, slot)?;
        // Cannot fail: the slot was free, or is one that moves.
        let _ = self.index.insert(&hash, slot, record.order);
        if replaces.is_none() { self.take_census(self.index.len(), false) } else { Ok(()) }
    }

    /// Writes another record for a credential that stays the same: its account's names.
    pub(crate) fn update(&mut self, record: &Record<'_>, slot: Slot) -> Result<(), StoreError> {
        self.take_census(self.index.len(), true)?;
        self.write_record(record, slot)
    }

    fn write_record(&self, record: &Record<'_>, slot: Slot) -> Result<(), StoreError> {
        let mut buffer = [0; MAX_RECORD];
        let bytes = cbor_smol::cbor_serialize(record, &mut buffer).map_err(|_| StoreError::Damaged)?;
        self.put(&slot_path(slot), NEW_RECORD, bytes)
    }

    /// Writes how many credentials there are; `changed` says that neither their number nor their age tells that
    /// something changes.
    fn take_census(&mut self, credentials: usize, changed: bool) -> Result<(), StoreError> {
        let generation = self.census.generation.wrapping_add(changed.into());
        let census = Census { credentials: credentials as u16, generation };
        self.put(CENSUS, NEW, &census.to_bytes())?;
        self.census = census;
        Ok(())
    }

    /// Removes a discoverable credential.
    pub(crate) fn remove(&mut self, slot: Slot) -> Result<(), StoreError> {
        // The census first: it may be too low after a cut, never too high.
        self.take_census(self.index.len().saturating_sub(1), true)?;
        self.fs()?.remove(&slot_path(slot))?;
        self.index.remove(slot);
        Ok(())
    }

    /// The newest credential of the relying party that comes after `after`: they are in the order of their
    /// oldest credential.
    pub(crate) fn next_rp(
        &self,
        after: Option<RpPosition>,
    ) -> Result<Option<(RpPosition, RecordBytes)>, StoreError> {
        let start = after.map_or(0, |RpPosition(position)| position + 1);
        for (position, slot) in self.index.slots().enumerate().skip(start) {
            let bytes = self.read_record(slot)?;
            let hash = hash_of(&decode(&bytes)?)?;
            if self.is_first_of_rp(position, &hash)? {
                return Ok(Some((RpPosition(position), bytes)));
            }
        }
        Ok(None)
    }

    fn is_first_of_rp(&self, position: usize, rp_id_hash: &[u8; 32]) -> Result<bool, StoreError> {
        for slot in self.index.slots_before(position, rp_id_hash) {
            if hash_of(&decode(&self.read_record(slot)?)?)? == *rp_id_hash {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Record<'_>, StoreError> {
    cbor_smol::cbor_deserialize(bytes).map_err(|_| StoreError::Damaged)
}

fn hash_of(record: &Record<'_>) -> Result<[u8; 32], StoreError> {
    let hash: &Bytes = record.rp_id_hash;
    (**hash).try_into().map_err(|_| StoreError::Damaged)
}

/// `rk/` and two hexadecimal digits.
fn slot_path(slot: Slot) -> PathBuf {
    let digit = |nibble: u16| b"0123456789abcdef"[usize::from(nibble & 15)];
    let name = [b'r', b'k', b'/', digit(slot.0 >> 4), digit(slot.0), 0];
    // Cannot fail: the bytes above are ASCII and end with the only zero.
    PathBuf::try_from(&name[..]).unwrap_or_default()
}

fn slot_of(name: &Path) -> Option<Slot> {
    let name = name.as_str();
    let canonical = name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    canonical.then(|| u16::from_str_radix(name, 16).ok().map(Slot)).flatten()
}
