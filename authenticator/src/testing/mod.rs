//! A body for tests: a RAM flash that can lose power, a clock that the test moves, a finger that it scripts.
//!
//! ```
//! use brasskey_authenticator::{Authenticator, Flash, testing};
//!
//! let mut flash = Flash::new(testing::RamFlash::new());
//! let platform = testing::Platform::new();
//! let mut key = Authenticator::boot(&mut flash, platform.clone())?;
//!
//! platform.finger.script([brasskey_authenticator::Presence::Denied]);
//! let mut response = [0; 1200];
//! assert_eq!(key.ctap2(1, &[0x0b], &mut response), 1, "authenticatorSelection");
//! assert_eq!(response[0], 0x27, "OPERATION_DENIED");
//! # Ok::<(), brasskey_authenticator::BootError>(())
//! ```

mod flash;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::string::String;
use std::vec::Vec;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::platform::{self, AttestationPolicy, Identity, Operation, Presence, Prompt, Scan, Sensor};

pub use flash::{Cut, RamFlash};

/// A random generator that gives the same numbers for the same seed. For tests only.
pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Time that passes only when the test says so. Clones share one clock.
#[derive(Clone, Debug, Default)]
pub struct Clock(Rc<Cell<u64>>);

impl Clock {
    /// Lets `ms` milliseconds pass.
    pub fn advance(&self, ms: u64) {
        self.0.set(self.0.get() + ms);
    }
}

impl platform::Clock for Clock {
    fn now_ms(&self) -> u64 {
        self.0.get()
    }
}

/// What the key showed when it asked for a touch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// What the touch was for.
    pub operation: Operation,
    /// The site's RP ID, where known.
    pub rp_id: Option<String>,
    /// The site's hash, where known.
    pub rp_id_hash: Option<[u8; 32]>,
    /// The account's name, where known.
    pub user: Option<String>,
    /// How long it would wait, in milliseconds; 0 if the host polls.
    pub timeout_ms: u32,
    /// The touch had to be a long one.
    pub long_touch: bool,
}

/// A finger that answers as scripted, and touches when the script is at its end. Clones share one finger.
#[derive(Clone, Debug, Default)]
pub struct Finger {
    script: Rc<RefCell<VecDeque<Presence>>>,
    asked: Rc<RefCell<Vec<Asked>>>,
    winks: Rc<Cell<usize>>,
}

impl Finger {
    /// Answers the next prompts in this way; what was scripted before is forgotten.
    pub fn script(&self, answers: impl IntoIterator<Item = Presence>) {
        *self.script.borrow_mut() = answers.into_iter().collect();
    }

    /// What was asked since this was called last.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.take()
    }

    /// How often the key winked.
    pub fn winks(&self) -> usize {
        self.winks.get()
    }
}

impl platform::UserPresence for Finger {
    fn wait(&mut self, prompt: &Prompt<'_>, timeout_ms: u32) -> Presence {
        self.asked.borrow_mut().push(Asked {
            operation: prompt.operation,
            rp_id: prompt.rp_id.map(String::from),
            rp_id_hash: prompt.rp_id_hash.copied(),
            user: prompt.user.map(String::from),
            timeout_ms,
            long_touch: prompt.long_touch,
        });
        self.script.borrow_mut().pop_front().unwrap_or(Presence::Granted)
    }

    fn wink(&mut self) {
        self.winks.set(self.winks.get() + 1);
    }
}

/// A fingerprint sensor that sees the fingers that are scripted, and nothing when the script is at its end. Clones
/// share one sensor.
#[derive(Clone, Debug, Default)]
pub struct FingerprintSensor {
    script: Rc<RefCell<VecDeque<Scan>>>,
    asked: Rc<RefCell<Vec<Operation>>>,
}

impl FingerprintSensor {
    /// A finger, as the sensor sees it each time.
    pub fn finger(number: u8) -> Scan {
        Scan::Finger([number; 32])
    }

    /// Sees these next; what was scripted before is forgotten.
    pub fn script(&self, scans: impl IntoIterator<Item = Scan>) {
        *self.script.borrow_mut() = scans.into_iter().collect();
    }

    /// What fingers were asked for since this was called last.
    pub fn asked(&self) -> Vec<Operation> {
        self.asked.take()
    }
}

impl platform::UserVerification for FingerprintSensor {
    fn sensor(&self) -> Sensor {
        Sensor { swipe: false, samples: 3 }
    }

    fn scan(&mut self, prompt: &Prompt<'_>, _timeout_ms: u32) -> Scan {
        self.asked.borrow_mut().push(prompt.operation);
        self.script.borrow_mut().pop_front().unwrap_or(Scan::TimedOut)
    }
}

/// A body of test parts. Clones share clock and finger, so the test keeps one and gives one to the key.
#[derive(Clone, Debug)]
pub struct Platform {
    /// Moves time.
    pub clock: Clock,
    /// Answers prompts.
    pub finger: Finger,
    /// The sensor, if the body is to have one. It has none unless a test says so.
    pub sensor: Option<FingerprintSensor>,
    /// Who the key says it is.
    pub identity: Identity,
    /// Vendor-facilitated enterprise attestation is for this site.
    pub enterprise_rp: &'static str,
    rng: ChaCha20Rng,
}

impl Default for Platform {
    fn default() -> Self {
        Self::new()
    }
}

impl Platform {
    /// A body that was just powered up.
    pub fn new() -> Self {
        Self::seeded(1)
    }

    /// The same with other random numbers.
    pub fn seeded(seed: u64) -> Self {
        Self {
            clock: Clock::default(),
            finger: Finger::default(),
            sensor: None,
            enterprise_rp: "",
            identity: Identity {
                aaguid: *b"brasskey testing",
                firmware_version: 1,
                max_msg_size: 7609,
                max_discoverable: 100,
                attestation: AttestationPolicy::Packed,
                ..Identity::default()
            },
            rng: rng(seed),
        }
    }
}

impl platform::Platform for Platform {
    type Storage = RamFlash;
    type Rng = ChaCha20Rng;
    type Clock = Clock;
    type UserPresence = Finger;

    fn rng(&mut self) -> &mut ChaCha20Rng {
        &mut self.rng
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn user(&mut self) -> &mut Finger {
        &mut self.finger
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn verification(&mut self) -> Option<&mut dyn platform::UserVerification> {
        self.sensor.as_mut().map(|sensor| sensor as _)
    }

    fn is_enterprise_rp(&self, rp_id: &str) -> bool {
        rp_id == self.enterprise_rp
    }
}
