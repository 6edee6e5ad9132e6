//! What a life keeps beside its credentials: the PIN, how often it may be tried, and the settings.
//!
//! All of it is one small file, so that a command that changes several settings changes them all or none.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | PIN retries left |
//! | 1 | retries of built-in user verification left |
//! | 1 | uses of built-in user verification since the PIN was entered last |
//! | 1 | length of the PIN in code points, 0: none is set |
//! | 1 | minimum PIN length in code points |
//! | 1 | [flags](Flags) |
//! | 16 | LEFT(SHA-256(PIN), 16) |
//! | 32 | the persistent pinUvAuthToken |
//! | 32 each | SHA-256 of the RP IDs that may learn the minimum PIN length |

use heapless::Vec;
use littlefs2::driver::Storage;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{NEW, STATE, Store, StoreError, header};
use crate::pin::{MAX_PIN_RETRIES, MAX_UV_RETRIES, MIN_PIN_LENGTH, Pin};

/// getInfo's maxRPIDsForSetMinPINLength.
pub(crate) const MAX_MIN_PIN_LENGTH_RP_IDS: usize = 8;

const HEAD: usize = 54;
const MAX_LENGTH: usize = HEAD + 32 * MAX_MIN_PIN_LENGTH_RP_IDS;

/// The RP IDs that setMinPINLength lists, as hashes.
pub(crate) type RpIdHashes = Vec<[u8; 32], MAX_MIN_PIN_LENGTH_RP_IDS>;

/// The bits of the byte for flags.
mod flag {
    pub(super) const PIN_IS_SIMPLE: u8 = 1 << 0;
    pub(super) const FORCE_PIN_CHANGE: u8 = 1 << 1;
    pub(super) const PIN_COMPLEXITY_POLICY: u8 = 1 << 2;
    pub(super) const ALWAYS_UV: u8 = 1 << 3;
    pub(super) const ENTERPRISE: u8 = 1 << 4;
    pub(super) const LONG_TOUCH: u8 = 1 << 5;
    pub(super) const ALL: u8 = (1 << 6) - 1;
}

/// What the text of this module describes. Debug shows none of it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct State {
    pub(crate) pin_retries: u8,
    pub(crate) uv_retries: u8,
    pub(crate) uv_count: u8,
    pub(crate) pin: Option<Pin>,
    pub(crate) min_pin_length: u8,
    pub(crate) force_pin_change: bool,
    pub(crate) pin_complexity_policy: bool,
    pub(crate) always_uv: bool,
    pub(crate) enterprise_attestation: bool,
    pub(crate) long_touch_for_reset: bool,
    pub(crate) persistent_token: [u8; 32],
    #[zeroize(skip)]
    pub(crate) rp_id_hashes: RpIdHashes,
}

impl State {
    /// No PIN, no setting, and a persistent token that nobody has.
    pub(super) fn first(rng: &mut impl CryptoRng) -> Self {
        let mut state = Self {
            pin_retries: MAX_PIN_RETRIES,
            uv_retries: MAX_UV_RETRIES,
            uv_count: 0,
            pin: None,
            min_pin_length: MIN_PIN_LENGTH,
            force_pin_change: false,
            pin_complexity_policy: false,
            always_uv: false,
            enterprise_attestation: false,
            long_touch_for_reset: false,
            persistent_token: [0; 32],
            rp_id_hashes: Vec::new(),
        };
        state.renew_persistent_token(rng);
        state
    }

    /// Makes whoever holds the persistent token hold nothing.
    pub(crate) fn renew_persistent_token(&mut self, rng: &mut impl CryptoRng) {
        rng.fill_bytes(&mut self.persistent_token);
    }

    /// Does a site learn the minimum PIN length?
    pub(crate) fn tells_pin_policy_to(&self, rp_id_hash: &[u8; 32]) -> bool {
        self.rp_id_hashes.contains(rp_id_hash)
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        let pin = self.pin.as_ref();
        let flags = [
            (pin.is_some_and(|pin| pin.simple), flag::PIN_IS_SIMPLE),
            (self.force_pin_change, flag::FORCE_PIN_CHANGE),
            (self.pin_complexity_policy, flag::PIN_COMPLEXITY_POLICY),
            (self.always_uv, flag::ALWAYS_UV),
            (self.enterprise_attestation, flag::ENTERPRISE),
            (self.long_touch_for_reset, flag::LONG_TOUCH),
        ];
        let flags = flags.iter().filter(|(on, _)| *on).fold(0, |flags, (_, flag)| flags | flag);
        let length = pin.map_or(0, |pin| pin.length);
        let head = [self.pin_retries, self.uv_retries, self.uv_count, length, self.min_pin_length, flags];
        let mut bytes = Bytes(Vec::new());
        let mut push = |part: &[u8]| {
            // Cannot fail: the capacity is that of the largest state.
            let _ = bytes.0.extend_from_slice(part);
        };
        push(&head);
        push(pin.map_or(&[0; 16], |pin| &pin.hash));
        push(&self.persistent_token);
        self.rp_id_hashes.iter().for_each(|hash| push(hash));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[pin_retries, uv_retries, uv_count, length, min_pin_length, flags], rest) =
            bytes.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk::<16>()?;
        let (persistent_token, rest) = rest.split_first_chunk::<32>()?;
        let (hashes, []) = rest.as_chunks::<32>() else { return None };
        let good = pin_retries <= MAX_PIN_RETRIES
            && uv_retries <= MAX_UV_RETRIES
            && length < 64
            && (MIN_PIN_LENGTH..64).contains(&min_pin_length)
            && flags & !flag::ALL == 0;
        let is = |flag| flags & flag != 0;
        good.then_some(Self {
            pin_retries,
            uv_retries,
            uv_count,
            pin: (length > 0).then_some(Pin { length, simple: is(flag::PIN_IS_SIMPLE), hash: *hash }),
            min_pin_length,
            force_pin_change: is(flag::FORCE_PIN_CHANGE),
            pin_complexity_policy: is(flag::PIN_COMPLEXITY_POLICY),
            always_uv: is(flag::ALWAYS_UV),
            enterprise_attestation: is(flag::ENTERPRISE),
            long_touch_for_reset: is(flag::LONG_TOUCH),
            persistent_token: *persistent_token,
            rp_id_hashes: Vec::from_slice(hashes).ok()?,
        })
    }
}

/// A state as it is stored.
pub(super) struct Bytes(Vec<u8, MAX_LENGTH>);

impl core::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl<S: Storage> Store<'_, S> {
    /// The PIN and the settings.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Changes PIN and settings, all at once. They are in flash when this returns.
    pub(crate) fn change_state(&mut self, change: impl FnOnce(&mut State)) -> Result<(), StoreError> {
        let mut state = self.state.clone();
        change(&mut state);
        self.put(STATE, NEW, &state.to_bytes())?;
        self.state = state;
        if self.state.pin.is_some() && !self.header.pin_is_set {
            self.header.pin_is_set = true;
            self.save_header()?;
        }
        Ok(())
    }

    /// Reads the state.
    pub(super) fn read_state(&self) -> Option<State> {
        let mut bytes = Bytes(self.fs().ok()?.read(STATE).ok()?);
        let state = State::from_bytes(&bytes);
        bytes.0.as_mut_slice().zeroize();
        state
    }

    /// Writes the header, for which the file system has to be put away for a moment.
    pub(super) fn save_header(&mut self) -> Result<(), StoreError> {
        let (allocation, region) = self.filesystem.take().ok_or(StoreError::Flash)?.into_inner();
        self.header.sequence = self.header.sequence.wrapping_add(1);
        header::save(region.storage(), &self.header)?;
        self.header.layout = header::LAYOUT;
        self.filesystem = Some(littlefs2::fs::Filesystem::mount(allocation, region)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let mut state = State::first(&mut testing::rng(1));
        state.pin = Some(Pin { length: 63, simple: true, hash: [7; 16] });
        (state.pin_retries, state.uv_retries, state.uv_count, state.min_pin_length) = (3, 2, 9, 11);
        (state.always_uv, state.long_touch_for_reset) = (true, true);
        for number in 0..MAX_MIN_PIN_LENGTH_RP_IDS as u8 {
            state.rp_id_hashes.push([number; 32]).unwrap();
            let bytes = state.to_bytes();
            let read = State::from_bytes(&bytes).unwrap();
            assert_eq!(*read.to_bytes(), *bytes);
            assert!(read.always_uv && read.long_touch_for_reset && !read.enterprise_attestation);
            assert!(read.pin.as_ref().is_some_and(|pin| pin.simple));
            assert!(State::from_bytes(&bytes[1..]).is_none(), "a length that none has");
        }
    }

    #[test]
    fn what_no_key_writes_is_refused() {
        let bytes = State::first(&mut testing::rng(1)).to_bytes();
        for (at, value) in [(0, 9), (1, 200), (3, 64), (4, 3), (4, 64), (5, 0x40)] {
            let mut bytes = bytes.to_vec();
            bytes[at] = value;
            assert!(State::from_bytes(&bytes).is_none(), "{value} at {at}");
        }
    }
}
