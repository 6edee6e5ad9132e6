//! PIN and user verification: protocols, retries and tokens (CTAP 2.3 §6.5).

mod protocol;
mod record;
mod token;

pub(crate) use protocol::{KeyAgreement, Protocol, SharedSecret, parse_public, seal_member};
pub(crate) use record::{MAX_PIN_LENGTH, MAX_PIN_RETRIES, MIN_PIN_LENGTH, Pin, hash};
pub(crate) use token::{Permissions, Token};

/// A match gives built-in user verification this many tries (maxUvRetries, §6.5.2.3: 1 to 25).
pub(crate) const MAX_UV_RETRIES: u8 = 8;

/// What is in RAM of PIN and tokens: gone with the power.
#[derive(Default)]
pub(crate) struct PinState {
    /// Made when it is first asked for; new after each wrong PIN.
    pub(crate) key_agreement: Option<KeyAgreement>,
    /// Wrong PINs in a row since power-up.
    pub(crate) mismatches: u8,
    /// At most one token is in use (§6.5.2.1): a new one ends the one before, of whichever protocol.
    pub(crate) token: Option<Token>,
}
