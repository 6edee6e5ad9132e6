//! What a body supplies: flash, randomness, time, a finger, and who it is.
//!
//! [`Platform`] gathers these as associated types, so that a whole key can be put together in one place: by a
//! board, by the simulator, or by a test in three lines (`testing::Platform`, behind the feature `testing`).
//!
//! The core blocks on nothing but [`UserPresence::wait`], reads no clock but [`Clock`], and draws no random
//! number but from [`Platform::Rng`].

use rand_core::CryptoRng;

/// Everything that the authenticator needs from its body.
pub trait Platform {
    /// The flash. littlefs2's driver trait: blocks that are erased whole and programmed in small pieces.
    type Storage: littlefs2::driver::Storage;
    /// A cryptographically secure random generator, seeded before the key boots.
    type Rng: CryptoRng;
    /// Time since power-up.
    type Clock: Clock;
    /// The touch sensor or button, and the light beside it.
    type UserPresence: UserPresence;

    /// The random generator.
    fn rng(&mut self) -> &mut Self::Rng;
    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// The user's finger.
    fn user(&mut self) -> &mut Self::UserPresence;
    /// Which product this is and how large it is.
    fn identity(&self) -> &Identity;
}

/// Milliseconds since power-up.
pub trait Clock {
    /// Milliseconds since power-up; never goes back.
    fn now_ms(&self) -> u64;
}

/// The user's consent, as a touch or a button gives it (CTAP 2.3 §3, "evidence of user interaction").
pub trait UserPresence {
    /// Asks for a touch and waits for the answer.
    ///
    /// `timeout_ms` is in milliseconds. Zero means "answer at once": a touch that is waiting to be used is
    /// [`Presence::Granted`], otherwise [`Presence::TimedOut`]; U2F hosts poll in this way. A touch serves one
    /// prompt only.
    ///
    /// While it waits, the body keeps USB alive, sends keep-alives with status UPNEEDED and returns
    /// [`Presence::Cancelled`] when the host sends CTAPHID_CANCEL.
    fn wait(&mut self, prompt: &Prompt<'_>, timeout_ms: u32) -> Presence;

    /// Draws the user's attention for a moment (CTAPHID_WINK). Returns at once.
    fn wink(&mut self);
}

/// What the user answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// Touched: go on.
    Granted,
    /// The user said no (a body with two buttons, or a terminal).
    Denied,
    /// Nobody touched in time.
    TimedOut,
    /// The host took the request back.
    Cancelled,
}

/// What is at stake when a touch is asked for; a body with a display shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prompt<'a> {
    /// What the touch will do.
    pub operation: Operation,
    /// The site, where the host named it (not in U2F).
    pub rp_id: Option<&'a str>,
    /// SHA-256 of the site's RP ID, or of its U2F AppID.
    pub rp_id_hash: Option<&'a [u8; 32]>,
    /// The account's name, where known.
    pub user: Option<&'a str>,
}

/// What a touch will do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// Make a credential for a site.
    Register,
    /// Sign in to a site.
    Authenticate,
    /// Only show which of several keys is meant (authenticatorSelection).
    Select,
    /// Erase every credential.
    Reset,
}

/// Which attestation makeCredential gives where the relying party does not choose.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AttestationPolicy {
    /// `packed` with the key's own certificate (WebAuthn §8.2.1).
    #[default]
    Packed,
    /// `packed` signed by the new credential itself (WebAuthn §8.2, self attestation).
    SelfSigned,
    /// `none` (WebAuthn §8.7).
    None,
}

/// Which product this is, and how large it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The model's AAGUID.
    pub aaguid: [u8; 16],
    /// getInfo's firmwareVersion, and authenticatorVersion in the metadata statement.
    pub firmware_version: u16,
    /// The longest CTAPHID message that the body takes, in bytes (1,024 to 7,609).
    pub max_msg_size: u16,
    /// How many discoverable credentials are kept at most; [`crate::MAX_DISCOVERABLE`] is the ceiling.
    pub max_discoverable: u16,
    /// Which attestation makeCredential gives.
    pub attestation: AttestationPolicy,
}
