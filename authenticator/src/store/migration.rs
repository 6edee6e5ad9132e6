//! What layout 1 kept otherwise, made into layout 2.

use littlefs2::driver::Storage;
use littlefs2::path;
use littlefs2::path::Path;
use rand_core::CryptoRng;

use super::records::Census;
use super::state::State;
use super::{BootError, CENSUS, NEW, STATE, Store};
use crate::pin::Pin;

/// Tries left, length in code points (0: no PIN is set), LEFT(SHA-256(PIN), 16).
pub(super) const OLD_PIN: &Path = path!("pin");
const OLD_PIN_LENGTH: usize = 18;

impl<S: Storage> Store<'_, S> {
    /// The state of a store of layout 1, or the new one if a cut came after it had been written.
    pub(super) fn read_old_state(&self, rng: &mut impl CryptoRng) -> Option<State> {
        if let Some(state) = self.read_state() {
            return Some(state);
        }
        let [retries, length, hash @ ..] = self.read_array::<OLD_PIN_LENGTH>(OLD_PIN)?;
        let mut state = State::first(rng);
        state.pin_retries = retries;
        // How complex it is, nobody knows any more; layout 1 had no policy that asked.
        state.pin = (length > 0).then_some(Pin { length, simple: false, hash });
        // Whatever no key writes is damage.
        State::from_bytes(&state.to_bytes())
    }

    /// The census of a store of layout 1: only the number.
    pub(super) fn read_old_census(&self) -> Option<Census> {
        self.read_array(CENSUS).map(|number| Census::of(u16::from_le_bytes(number)))
    }

    /// Writes layout 2. Whatever is cut is done again at the next boot, until the header says that it is done.
    pub(super) fn migrate(&mut self) -> Result<(), BootError> {
        self.put(STATE, NEW, &self.state.to_bytes())?;
        self.put(CENSUS, NEW, &self.census.to_bytes())?;
        Ok(self.save_header()?)
    }
}
