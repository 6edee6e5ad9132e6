//! The store: everything that outlives a power cycle.
//!
//! # What the flash must promise
//!
//! littlefs2's [`Storage`]: a block reads back as it was programmed, an erase sets all of it to 0xFF, a program or
//! an erase that returned has happened, and one that power cut short damages no block but its own.
//!
//! # Where things are
//!
//! | place | what |
//! | --- | --- |
//! | blocks 0 and 1 | the [header](header): layout version, phase, attestation; two copies |
//! | the rest | one littlefs |
//! | `/secret` | 32 random bytes; the wrapping key and every other secret of this life are derived from them |
//! | `/counter` | the limit up to which the signature counter may be released, 4 bytes, little-endian |
//! | `/pin` | the PIN's hash and how often it may still be tried, 18 bytes |
//! | `/rk/00`… | one record for each discoverable credential |
//! | `/census` | how many of these there are at least, 2 bytes, little-endian |
//! | `/new`, `/rk/new` | a file that is being written; what boot finds under such a name, it removes |
//!
//! # What is true after a power cut at any flash operation
//!
//! * The key boots, and is in the state before the command or in the state after it. A file that exists is
//!   rewritten in place, which littlefs makes atomic; a new one is written under another name and renamed.
//! * A reset is one write of the header (phase [`Wiping`](header::Phase::Wiping)); whatever is cut after it is
//!   done again at boot. It erases the blocks themselves, so nothing old stays readable.
//! * The counter never repeats: its limit is written before a count below it is released, and a boot goes on
//!   from the limit.
//! * A credential that was acknowledged is there or is missed. littlefs takes a directory whose newest part is
//!   damaged for an older one, and would lose records without a word; the census is kept in another directory.
//! * A PIN that was set is there or is missed: the header says that there is one.
//! * A flash that holds anything but what this text describes is refused, never formatted. Only an all-blank one,
//!   or one whose very first write was cut, begins a new life.
//!
//! # Capacity
//!
//! A record takes one block at the most, so a region of n blocks holds n − 12 credentials ([`capacity`]); small
//! records share blocks, but that is not counted on.

mod error;
pub(crate) mod header;
mod region;

use heapless::Vec;
use littlefs2::driver::Storage;
use littlefs2::fs::{Allocation, FileType, Filesystem};
use littlefs2::path;
use littlefs2::path::{Path, PathBuf};
use rand_core::CryptoRng;
use serde_bytes::Bytes;
use zeroize::Zeroizing;

use crate::MAX_DISCOVERABLE;
use crate::attestation::Attestation;
use crate::credential::Credential;
use crate::credential::id::{Sealed, unseal};
use crate::credential::index::{Index, Slot};
use crate::credential::key::derive;
use crate::credential::record::{MAX_RECORD, Record};
use crate::pin::PinRecord;
pub use error::{BootError, StoreError};
use header::{Header, Phase};
use region::Region;

/// Blocks that are not for credentials: the header, littlefs's own, the small files, and room to work in.
const OVERHEAD_BLOCKS: usize = 12;

/// How many counts are reserved by one flash write.
const COUNTER_STEP: u32 = 64;

const SECRET: &Path = path!("secret");
const COUNTER: &Path = path!("counter");
const CENSUS: &Path = path!("census");
const PIN: &Path = path!("pin");
const RECORDS: &Path = path!("rk");
const NEW: &Path = path!("new");
const NEW_RECORD: &Path = path!("rk/new");

/// The flash, and the memory that littlefs works in. It outlives the authenticator, which borrows it.
pub struct Flash<S: Storage> {
    region: Region<S>,
    allocation: Allocation<Region<S>>,
}

impl<S: Storage> Flash<S> {
    /// Takes the storage; nothing is read or written yet.
    pub fn new(storage: S) -> Self {
        Self { region: Region::new(storage), allocation: Allocation::new() }
    }

    /// Gives the storage back.
    pub fn into_storage(self) -> S {
        self.region.into_storage()
    }

    /// Erases everything, attestation included: the way out for a flash that [`BootError`] refuses.
    ///
    /// Errors: [`BootError::Flash`].
    pub fn erase(&mut self) -> Result<(), BootError> {
        self.region.wipe()?;
        Ok(header::erase(self.region.storage())?)
    }
}

/// How many discoverable credentials fit into this flash, whatever their size.
pub(crate) fn capacity<S: Storage>() -> usize {
    S::BLOCK_COUNT.saturating_sub(OVERHEAD_BLOCKS).min(MAX_DISCOVERABLE)
}

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

/// The open store.
pub(crate) struct Store<'f, S: Storage> {
    /// `None` only after a reset that the flash refused: then every command fails until the next boot.
    filesystem: Option<Filesystem<'f, Region<S>>>,
    header: Header,
    wrapping_key: Zeroizing<[u8; 32]>,
    index: Index,
    pin: PinRecord,
    /// The last count that was released.
    count: u32,
    /// Counts up to this one may be released without a write.
    limit: u32,
}

impl<'f, S: Storage> Store<'f, S> {
    /// Opens the store, and first makes it if the flash is blank, or finishes a reset that was cut.
    pub(crate) fn open(
        flash: &'f mut Flash<S>,
        aaguid: &[u8; 16],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, BootError> {
        if S::BLOCK_SIZE < header::LENGTH || S::BLOCK_COUNT <= OVERHEAD_BLOCKS {
            return Err(BootError::Geometry);
        }
        let region = &mut flash.region;
        let mut header = match header::load(region.storage())? {
            Some(header) => header,
            None if region.is_blank()? => {
                let attestation = Attestation::generate(aaguid, rng).ok_or(BootError::Flash)?;
                let header = Header::first(attestation);
                header::save(region.storage(), &header)?;
                header
            }
            None => return Err(BootError::Foreign),
        };
        if header.attestation.aaguid != *aaguid {
            return Err(BootError::Model);
        }
        if header.phase == Phase::Wiping {
            begin_life(region, &mut header, rng)?;
        }
        let filesystem = Filesystem::mount(&mut flash.allocation, &mut flash.region)
            .map_err(|_| BootError::Damaged("file system"))?;
        let mut store = Self {
            filesystem: Some(filesystem),
            header,
            wrapping_key: Zeroizing::new([0; 32]),
            index: Index::default(),
            pin: PinRecord::NONE,
            count: 0,
            limit: 0,
        };
        store.load()?;
        Ok(store)
    }

    /// Reads what is kept in RAM.
    fn load(&mut self) -> Result<(), BootError> {
        let secret = Zeroizing::new(self.read_array::<32>(SECRET).ok_or(BootError::Damaged("secret"))?);
        self.wrapping_key = derive(&secret, &[b"wrapping key"]);
        let limit = self.read_array(COUNTER).ok_or(BootError::Damaged("signature counter"))?;
        self.limit = u32::from_le_bytes(limit);
        self.count = self.limit;
        self.pin = self.read_array(PIN).and_then(PinRecord::from_bytes).ok_or(BootError::Damaged("PIN"))?;
        if self.header.pin_is_set && !self.pin.is_set() {
            return Err(BootError::Damaged("PIN"));
        }
        self.load_index()
    }

    fn load_index(&mut self) -> Result<(), BootError> {
        const DAMAGED: BootError = BootError::Damaged("list of credentials");
        let fs = self.filesystem.as_ref().ok_or(BootError::Flash)?;
        let mut slots: Vec<Slot, MAX_DISCOVERABLE> = Vec::new();
        fs.read_dir_and_then(RECORDS, |entries| {
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
        let census = self.read_array(CENSUS).ok_or(BootError::Damaged("census of credentials"))?;
        if self.index.len() < usize::from(u16::from_le_bytes(census)) {
            return Err(DAMAGED);
        }
        // Only now: a store that is refused is left as it is.
        let fs = self.filesystem.as_ref().ok_or(BootError::Flash)?;
        for leftover in [NEW, NEW_RECORD] {
            if fs.exists(leftover) {
                fs.remove(leftover)?;
            }
        }
        Ok(())
    }

    fn fs(&self) -> Result<&Filesystem<'f, Region<S>>, StoreError> {
        self.filesystem.as_ref().ok_or(StoreError::Flash)
    }

    fn read_array<const N: usize>(&self, path: &Path) -> Option<[u8; N]> {
        // One byte more, so that a file that is too long is seen.
        let (bytes, length) =
            self.fs().ok()?.read_chunk::<N>(path, littlefs2::io::OpenSeekFrom::Start(0)).ok()?;
        if length != N { None } else { bytes.into_array().ok() }
    }

    /// Writes a file so that a cut leaves it whole: as it was, or as it shall be.
    fn put(&self, path: &Path, new: &Path, contents: &[u8]) -> Result<(), StoreError> {
        let fs = self.fs()?;
        if fs.exists(path) {
            return Ok(fs.write(path, contents)?);
        }
        let outcome = fs.write(new, contents).and_then(|()| fs.rename(new, path));
        if outcome.is_err() && fs.exists(new) {
            // Out of space: give back what the half-written file took. If that fails too, boot removes it.
            let _ = fs.remove(new);
        }
        Ok(outcome?)
    }

    /// The key that credential IDs are sealed with.
    pub(crate) fn wrapping_key(&self) -> &[u8; 32] {
        &self.wrapping_key
    }

    /// The key's attestation.
    pub(crate) fn attestation(&self) -> &Attestation {
        &self.header.attestation
    }

    /// The PIN, or that there is none.
    pub(crate) fn pin(&self) -> &PinRecord {
        &self.pin
    }

    /// Sets or changes the PIN.
    pub(crate) fn set_pin(&mut self, pin: PinRecord) -> Result<(), StoreError> {
        self.put(PIN, NEW, &pin.to_bytes())?;
        self.pin = pin;
        if self.header.pin_is_set {
            return Ok(());
        }
        let (allocation, region) = self.filesystem.take().ok_or(StoreError::Flash)?.into_inner();
        self.header.pin_is_set = true;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        header::save(region.storage(), &self.header)?;
        self.filesystem = Some(Filesystem::mount(allocation, region)?);
        Ok(())
    }

    /// Writes how often the PIN may still be tried.
    pub(crate) fn set_pin_retries(&mut self, retries: u8) -> Result<(), StoreError> {
        if retries != self.pin.retries {
            let mut pin = self.pin.clone();
            pin.retries = retries;
            self.put(PIN, NEW, &pin.to_bytes())?;
            self.pin = pin;
        }
        Ok(())
    }

    /// How many discoverable credentials there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The signature counter as it stands: the last count that was released.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Releases the next count. It costs a flash write once in [`COUNTER_STEP`] times.
    pub(crate) fn next_count(&mut self) -> Result<u32, StoreError> {
        let count = self.count.checked_add(1).ok_or(StoreError::Full)?;
        if count > self.limit {
            let limit = self.count.saturating_add(COUNTER_STEP);
            self.put(COUNTER, NEW, &limit.to_le_bytes())?;
            self.limit = limit;
        }
        self.count = count;
        Ok(count)
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
        if replaces.is_none() {
            self.write_census(self.index.len())?;
        }
        Ok(())
    }

    /// Writes another record for a credential that stays the same: its account's names.
    pub(crate) fn update(&mut self, record: &Record<'_>, slot: Slot) -> Result<(), StoreError> {
        self.write_record(record, slot)
    }

    fn write_record(&self, record: &Record<'_>, slot: Slot) -> Result<(), StoreError> {
        let mut buffer = [0; MAX_RECORD];
        let bytes = cbor_smol::cbor_serialize(record, &mut buffer).map_err(|_| StoreError::Damaged)?;
        self.put(&slot_path(slot), NEW_RECORD, bytes)
    }

    fn write_census(&self, credentials: usize) -> Result<(), StoreError> {
        self.put(CENSUS, NEW, &(credentials as u16).to_le_bytes())
    }

    /// Removes a discoverable credential.
    pub(crate) fn remove(&mut self, slot: Slot) -> Result<(), StoreError> {
        // The census first: it may be too low after a cut, never too high.
        self.write_census(self.index.len().saturating_sub(1))?;
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

    /// Ends this life: erases every credential and every secret but the attestation, and begins a new one.
    pub(crate) fn reset(&mut self, rng: &mut impl CryptoRng) -> Result<(), StoreError> {
        let (allocation, region) = self.filesystem.take().ok_or(StoreError::Flash)?.into_inner();
        self.header.phase = Phase::Wiping;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        let outcome = header::save(region.storage(), &self.header)
            .map_err(BootError::from)
            .and_then(|()| begin_life(region, &mut self.header, rng));
        // From here on, whatever failed, nothing of the old life may be used.
        self.wrapping_key = Zeroizing::new([0; 32]);
        self.index.clear();
        self.pin = PinRecord::NONE;
        outcome.map_err(|_| StoreError::Flash)?;
        self.filesystem = Some(Filesystem::mount(allocation, region)?);
        self.load().map_err(|_| StoreError::Flash)
    }
}

/// Erases the region, makes a file system with new secrets in it, and only then declares it ready.
fn begin_life<S: Storage>(
    region: &mut Region<S>,
    header: &mut Header,
    rng: &mut impl CryptoRng,
) -> Result<(), BootError> {
    region.wipe()?;
    Filesystem::format(region)?;
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(secret.as_mut_slice());
    Filesystem::mount_and_then(region, |fs| {
        fs.write(SECRET, secret.as_slice())?;
        fs.write(COUNTER, &0u32.to_le_bytes())?;
        fs.write(CENSUS, &0u16.to_le_bytes())?;
        fs.write(PIN, &PinRecord::NONE.to_bytes())?;
        fs.create_dir(RECORDS)
    })?;
    header.phase = Phase::Ready;
    header.pin_is_set = false;
    // Both copies, so that neither of them alone says «wiping» any more.
    for _ in 0..2 {
        header.sequence = header.sequence.wrapping_add(1);
        header::save(region.storage(), header)?;
    }
    Ok(())
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
