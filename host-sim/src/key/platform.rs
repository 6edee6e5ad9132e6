//! What the host gives the authenticator: see [`brasskey_authenticator::Platform`].

use crate::image::Image;
use crate::presence::Finger;
use brasskey_authenticator::{
    AttestationPolicy, Clock, Identity, MAX_DISCOVERABLE, Platform, Profile, UserVerification,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::time::Instant;

/// The AAGUID of the simulated key, the model's name among authenticators.
///
/// A random UUID (version 4), drawn once for this program: 5b7cdcf4-089d-441f-b61e-83a36d6ebe95. It says "a
/// Brasskey in software", so that a relying party can refuse it; a board has another.
pub const AAGUID: [u8; 16] = 0x5b7c_dcf4_089d_441f_b61e_83a3_6d6e_be95_u128.to_be_bytes();

/// getInfo's `firmwareVersion`, which is the USB device's `bcdDevice` too: 0x0010 is version 0.1.0.
pub(crate) const FIRMWARE_VERSION: u16 = 0x0010;

/// The body of a simulated key.
///
/// Randomness is ChaCha20, seeded anew by the operating system at every power-up: after that no call can fail.
pub struct HostPlatform {
    rng: ChaCha20Rng,
    clock: HostClock,
    finger: Finger,
    identity: Identity,
    enterprise_rp_ids: Vec<String>,
    fingerprint: bool,
}

/// What a simulated key offers, where one may differ from another.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Model {
    /// Which attestation it gives where the relying party does not choose.
    pub attestation: AttestationPolicy,
    /// Which version of CTAP it says it speaks.
    pub profile: Profile,
    /// ML-DSA-44 and ML-DSA-65 too.
    pub post_quantum: bool,
    /// Enterprise attestation can be enabled; the vendor-facilitated kind for these RP IDs.
    pub enterprise: Option<Vec<String>>,
    /// A fingerprint sensor, a virtual one: whoever touches the key touches it.
    pub fingerprint: bool,
}

impl HostPlatform {
    /// Powers the body up.
    ///
    /// Errors: the operating system has no random bytes to give.
    pub(crate) fn new(finger: Finger, model: &Model) -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let identity = Identity {
            aaguid: AAGUID,
            firmware_version: FIRMWARE_VERSION,
            max_msg_size: brasskey_usb::MAX_MESSAGE_SIZE,
            max_discoverable: MAX_DISCOVERABLE as u16,
            attestation: model.attestation,
            profile: model.profile,
            enterprise_attestation: model.enterprise.is_some(),
            post_quantum: model.post_quantum,
            long_touch: true,
        };
        let enterprise_rp_ids = model.enterprise.clone().unwrap_or_default();
        let (rng, clock) = (ChaCha20Rng::from_seed(seed), HostClock(Instant::now()));
        Ok(Self { rng, clock, finger, identity, enterprise_rp_ids, fingerprint: model.fingerprint })
    }
}

impl Platform for HostPlatform {
    type Storage = Image;
    type Rng = ChaCha20Rng;
    type Clock = HostClock;
    type UserPresence = Finger;

    fn rng(&mut self) -> &mut ChaCha20Rng {
        &mut self.rng
    }

    fn clock(&self) -> &HostClock {
        &self.clock
    }

    fn user(&mut self) -> &mut Finger {
        &mut self.finger
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn verification(&mut self) -> Option<&mut dyn UserVerification> {
        // The sensor is what is touched: one finger serves both.
        if self.fingerprint { Some(&mut self.finger) } else { None }
    }

    fn is_enterprise_rp(&self, rp_id: &str) -> bool {
        self.enterprise_rp_ids.iter().any(|enterprise| enterprise == rp_id)
    }
}

/// Time since power-up, which is the attach.
#[derive(Clone, Copy, Debug)]
pub struct HostClock(Instant);

impl Clock for HostClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
