//! What the host gives the authenticator: see [`brasskey_authenticator::Platform`].

use crate::image::Image;
use crate::presence::Finger;
use brasskey_authenticator::{AttestationPolicy, Clock, Identity, MAX_DISCOVERABLE, Platform};
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
}

impl HostPlatform {
    /// Powers the body up.
    ///
    /// Errors: the operating system has no random bytes to give.
    pub(crate) fn new(finger: Finger, attestation: AttestationPolicy) -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let identity = Identity {
            aaguid: AAGUID,
            firmware_version: FIRMWARE_VERSION,
            max_msg_size: brasskey_usb::MAX_MESSAGE_SIZE,
            max_discoverable: MAX_DISCOVERABLE as u16,
            attestation,
            long_touch: true,
            ..Identity::default()
        };
        Ok(Self { rng: ChaCha20Rng::from_seed(seed), clock: HostClock(Instant::now()), finger, identity })
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
}

/// Time since power-up, which is the attach.
#[derive(Clone, Copy, Debug)]
pub struct HostClock(Instant);

impl Clock for HostClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
