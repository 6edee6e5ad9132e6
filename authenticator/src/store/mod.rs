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
//! | `/state` | the [PIN and the settings](state) |
//! | `/rk/00`… | one record for each discoverable credential |
//! | `/census` | how many of these there are at least, and how often they changed; 6 bytes, little-endian |
//! | `/blobs` | the [large-blob array](blobs); there is no file while it is empty |
//! | `/fingers` | the [fingerprint templates](fingers) |
//! | `/new`, `/blobs.new`, `/rk/new` | a file that is being written; what boot finds under such a name, it removes |
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
//! A record takes one block at the most, so a region of n blocks holds n − 18 credentials ([`capacity`]) beside the
//! largest large-blob array and the one that takes its place; small records share blocks, but that is not counted
//! on.
//!
//! # Layouts
//!
//! Layout 1 had `/pin` instead of `/state`, two bytes of census, and no enterprise attestation. A boot makes a
//! layout 2 of it; a cut on the way leaves one or the other.

pub(crate) mod blobs;
mod error;
pub(crate) mod fingers;
pub(crate) mod header;
mod migration;
mod records;
mod region;
pub(crate) mod state;

use littlefs2::driver::Storage;
use littlefs2::fs::{Allocation, Filesystem};
use littlefs2::path;
use littlefs2::path::Path;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::MAX_DISCOVERABLE;
use crate::attestation::Attestation;
use crate::credential::index::Index;
use crate::credential::key::derive;
pub use error::{BootError, StoreError};
use header::{Header, Phase};
use records::Census;
pub(crate) use records::{RpPosition, Stored, decode};
use region::Region;
use state::State;

/// Blocks that are not for credentials: the header, littlefs's own, the small files, two large-blob arrays, and
/// room to work in.
const OVERHEAD_BLOCKS: usize = 18;

/// How many counts are reserved by one flash write.
const COUNTER_STEP: u32 = 64;

const SECRET: &Path = path!("secret");
const COUNTER: &Path = path!("counter");
const CENSUS: &Path = path!("census");
const STATE: &Path = path!("state");
const BLOBS: &Path = path!("blobs");
const NEW_BLOBS: &Path = path!("blobs.new");
const FINGERS: &Path = path!("fingers");
const RECORDS: &Path = path!("rk");
const NEW: &Path = path!("new");
const NEW_RECORD: &Path = path!("rk/new");

/// The flash, and the memory that littlefs works in. It outlives the authenticator, which borrows it.
pub struct Flash<S: Storage> {
    region: Region<S>,
    allocation: Allocation<Region<S>>,
    /// Here, and not in the authenticator, which is moved about: it is several kilobytes long.
    index: Index,
}

impl<S: Storage> Flash<S> {
    /// Takes the storage; nothing is read or written yet.
    pub fn new(storage: S) -> Self {
        Self { region: Region::new(storage), allocation: Allocation::new(), index: Index::default() }
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

/// The open store.
pub(crate) struct Store<'f, S: Storage> {
    /// `None` only after a reset that the flash refused: then every command fails until the next boot.
    filesystem: Option<Filesystem<'f, Region<S>>>,
    header: Header,
    secret: Zeroizing<[u8; 32]>,
    wrapping_key: Zeroizing<[u8; 32]>,
    index: &'f mut Index,
    census: Census,
    state: State,
    /// How many fingers are enrolled.
    fingers: usize,
    /// The last count that was released.
    count: u32,
    /// Counts up to this one may be released without a write.
    limit: u32,
}

/// Makes the header of a blank flash.
// Not inlined, as others on the way to a boot: what they need of the stack does not add up then.
#[inline(never)]
fn make_header<S: Storage>(
    region: &mut Region<S>,
    aaguid: &[u8; 16],
    rng: &mut impl CryptoRng,
) -> Result<Header, BootError> {
    let attestation = Attestation::generate(aaguid, rng).ok_or(BootError::Flash)?;
    let header = Header::first(attestation);
    header::save(region.storage(), &header)?;
    Ok(header)
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
            None if region.is_blank()? => make_header(region, aaguid, rng)?,
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
            secret: Zeroizing::new([0; 32]),
            wrapping_key: Zeroizing::new([0; 32]),
            index: &mut flash.index,
            census: Census::default(),
            state: State::first(rng),
            fingers: 0,
            count: 0,
            limit: 0,
        };
        store.load(rng)?;
        Ok(store)
    }

    /// Reads what is kept in RAM.
    fn load(&mut self, rng: &mut impl CryptoRng) -> Result<(), BootError> {
        self.secret = Zeroizing::new(self.read_array::<32>(SECRET).ok_or(BootError::Damaged("secret"))?);
        self.wrapping_key = derive(&self.secret, &[b"wrapping key"]);
        let limit = self.read_array(COUNTER).ok_or(BootError::Damaged("signature counter"))?;
        self.limit = u32::from_le_bytes(limit);
        self.count = self.limit;
        let old = self.header.layout < header::LAYOUT;
        let state = if old { self.read_old_state(rng) } else { self.read_state() };
        self.state = state.ok_or(BootError::Damaged("PIN"))?;
        if self.header.pin_is_set && self.state.pin.is_none() {
            return Err(BootError::Damaged("PIN"));
        }
        self.load_index(old)?;
        self.load_fingers()?;
        // Only now: a store that is refused is left as it is.
        if old {
            self.migrate()?;
        }
        for leftover in [NEW, NEW_BLOBS, NEW_RECORD, migration::OLD_PIN] {
            self.remove_if_there(leftover)?;
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
        if outcome.is_err() {
            // Out of space: give back what the half-written file took. If that fails too, boot removes it.
            let _ = self.remove_if_there(new);
        }
        Ok(outcome?)
    }

    fn remove_if_there(&self, path: &Path) -> Result<(), StoreError> {
        let fs = self.fs()?;
        if fs.exists(path) {
            fs.remove(path)?;
        }
        Ok(())
    }

    /// What everything of this life is derived from, for a test that looks for it in the flash.
    #[cfg(test)]
    pub(crate) fn secret_for_tests(&self) -> [u8; 32] {
        *self.secret
    }

    /// The key that credential IDs are sealed with.
    pub(crate) fn wrapping_key(&self) -> &[u8; 32] {
        &self.wrapping_key
    }

    /// A value of 16 bytes that tells this life of this key from every other (CTAP 2.3 §6.4, encIdentifier).
    pub(crate) fn identifier(&self) -> [u8; 16] {
        half(&derive(&self.secret, &[b"identifier"]))
    }

    /// The key's attestation.
    pub(crate) fn attestation(&self) -> &Attestation {
        &self.header.attestation
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

    /// Ends this life: erases every credential and every secret but the attestation, and begins a new one.
    pub(crate) fn reset(&mut self, rng: &mut impl CryptoRng) -> Result<(), StoreError> {
        let (allocation, region) = self.filesystem.take().ok_or(StoreError::Flash)?.into_inner();
        self.header.phase = Phase::Wiping;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        let outcome = header::save(region.storage(), &self.header)
            .map_err(BootError::from)
            .and_then(|()| begin_life(region, &mut self.header, rng));
        // From here on, whatever failed, nothing of the old life may be used.
        self.secret = Zeroizing::new([0; 32]);
        self.wrapping_key = Zeroizing::new([0; 32]);
        self.index.clear();
        self.state = State::first(rng);
        self.fingers = 0;
        outcome.map_err(|_| StoreError::Flash)?;
        self.filesystem = Some(Filesystem::mount(allocation, region)?);
        self.load(rng).map_err(|_| StoreError::Flash)
    }
}

/// The file system in a flash, for tests that write there what no key writes.
#[cfg(test)]
pub(crate) fn with_filesystem<S: Storage>(
    storage: S,
    then: impl FnOnce(&dyn littlefs2::object_safe::DynFilesystem),
) -> S {
    let mut region = Region::new(storage);
    Filesystem::mount_and_then(&mut region, |fs| {
        then(fs);
        Ok(())
    })
    .unwrap();
    region.into_storage()
}

/// The first half of 32 bytes.
fn half(bytes: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    half
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
    let state = State::first(rng);
    Filesystem::mount_and_then(region, |fs| {
        fs.write(SECRET, secret.as_slice())?;
        fs.write(COUNTER, &0u32.to_le_bytes())?;
        fs.write(CENSUS, &Census::default().to_bytes())?;
        fs.write(STATE, &state.to_bytes())?;
        fs.create_dir(RECORDS)
    })?;
    header.layout = header::LAYOUT;
    header.phase = Phase::Ready;
    header.pin_is_set = false;
    // Both copies, so that neither of them alone says «wiping» any more.
    for _ in 0..2 {
        header.sequence = header.sequence.wrapping_add(1);
        header::save(region.storage(), header)?;
    }
    Ok(())
}
