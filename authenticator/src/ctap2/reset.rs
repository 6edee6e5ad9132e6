//! authenticatorReset (CTAP 2.3 §6.6).

use ctap_types::ctap2::Error;

use crate::authenticator::Authenticator;
use crate::pin::PinState;
use crate::platform::{Operation, Platform};

/// A key without a display takes a reset only this long after power-up, in milliseconds.
const WINDOW_MS: u64 = 10_000;

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn reset(&mut self) -> Result<usize, Error> {
        if self.now_ms() > WINDOW_MS {
            return Err(Error::NotAllowed);
        }
        self.confirm(Operation::Reset, None, None)?;
        self.pin = PinState::default();
        self.large_blob_write = None;
        self.enrollment = None;
        self.store.reset(self.platform.rng())?;
        Ok(0)
    }
}
