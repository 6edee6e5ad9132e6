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

    /// The fingerprint sensor, on a body that has one. Without it, the key announces neither `uv` nor `bioEnroll`.
    fn verification(&mut self) -> Option<&mut dyn UserVerification> {
        None
    }

    /// Is this one of the RP IDs to which vendor-facilitated enterprise attestation is given (CTAP 2.3 §7.1.3)?
    fn is_enterprise_rp(&self, rp_id: &str) -> bool {
        let _ = rp_id;
        false
    }
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

/// A built-in user verification method: a fingerprint sensor (CTAP 2.3 §3, §6.7).
pub trait UserVerification {
    /// What kind of sensor it is.
    fn sensor(&self) -> Sensor;

    /// Asks for a finger and waits for it, `timeout_ms` milliseconds at most; as [`UserPresence::wait`].
    fn scan(&mut self, prompt: &Prompt<'_>, timeout_ms: u32) -> Scan;
}

/// What a fingerprint sensor is like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sensor {
    /// A finger is swiped over it, not put on it.
    pub swipe: bool,
    /// How many good samples make a template, 1 or more.
    pub samples: u8,
}

/// What a fingerprint sensor saw.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Scan {
    /// A finger: the same 32 bytes for the same finger, which nobody can guess for another one's.
    Finger([u8; 32]),
    /// A finger, but no good sample of it; why, as in `lastEnrollSampleStatus` (CTAP 2.3 §6.7.3).
    Poor(u8),
    /// The user said no.
    Denied,
    /// Nobody touched in time.
    TimedOut,
    /// The host took the request back.
    Cancelled,
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
    /// The touch has to last ten seconds (CTAP 2.3 §6.11.6).
    pub long_touch: bool,
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
    /// Show a finger to be verified, for whatever the platform goes on to do.
    Verify,
    /// Show a finger to be enrolled.
    Enroll,
}

/// Which version of CTAP2 the key says it speaks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// CTAP 2.3, the newest.
    #[default]
    V2_3,
    /// CTAP 2.1: for platforms that stumble over a version that they do not know. Members, options and extensions
    /// that came later are not announced.
    V2_1,
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
    /// Which version the key says it speaks.
    pub profile: Profile,
    /// The key is made for an enterprise: it may be told to say which one it is (CTAP 2.3 §7.1).
    pub enterprise_attestation: bool,
    /// ML-DSA is offered too, with the feature `ml-dsa`. Some platforms refuse a key that lists an algorithm which they
    /// do not know.
    pub post_quantum: bool,
    /// The body can tell a touch of ten seconds from a shorter one.
    pub long_touch: bool,
}

impl Default for Identity {
    /// No product: the rest of a body's own identity.
    fn default() -> Self {
        Self {
            aaguid: [0; 16],
            firmware_version: 0,
            max_msg_size: 1024,
            max_discoverable: crate::MAX_DISCOVERABLE as u16,
            attestation: AttestationPolicy::default(),
            profile: Profile::default(),
            enterprise_attestation: false,
            post_quantum: false,
            long_touch: false,
        }
    }
}

/// Without the finger.
impl core::fmt::Debug for Scan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Finger(_) => "Finger",
            Self::Poor(_) => "Poor",
            Self::Denied => "Denied",
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
        })
    }
}
