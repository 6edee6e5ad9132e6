//! No order of cuts, resets, power cycles or commands gives a ninth try at the PIN (CTAP 2.3 §6.5.5).
//!
//! An attacker has commands, and a hand on the plug. What a key knows of his tries is in flash; so it is enough to
//! show, for every number of tries that may be left and for everything he can do next, that he never has more of them
//! than before, and one less after each answer that tells a wrong PIN from the right one. All walks are made of such
//! steps.

use std::io::Write as _;
use std::vec::Vec;

use ciborium::Value;

use super::client::*;
use super::client_pin::{PIN, PinToken, change_pin, retries, set_pin};
use super::config::config;
use crate::testing::{Cut, Platform, RamFlash};
use crate::{Authenticator, Flash, Presence, Refusal};

const WRONG: &str = "0000";

type Key<'f> = Authenticator<'f, Platform>;

/// A step of the attacker: what he learns of the PIN, `true` if he learns anything.
type Step = (&'static str, fn(&mut Key<'_>) -> bool);

/// The statuses that only a comparison gives, or that say that there is none to be had.
fn tells(status: Option<u8>) -> bool {
    matches!(status, Some(0x31 | 0x32 | 0x34))
}

const STEPS: &[Step] = &[
    ("getPinToken, protocol one", |key| tells(PinToken::get(key, 1, WRONG, None).err())),
    ("getPinToken, protocol two", |key| tells(PinToken::get(key, 2, WRONG, None).err())),
    ("a token with permissions", |key| tells(PinToken::get(key, 2, WRONG, Some((4, None))).err())),
    ("the persistent token", |key| tells(PinToken::get(key, 2, WRONG, Some((0x40, None))).err())),
    ("changePIN", |key| tells(change_pin(key, 2, WRONG, "2718").err())),
    ("two tries in a row", |key| {
        tells(PinToken::get(key, 1, WRONG, None).err()) | tells(PinToken::get(key, 2, WRONG, None).err())
    }),
    ("four tries in a row", |key| {
        (0..4).fold(false, |told, _| told | tells(PinToken::get(key, 2, WRONG, None).err()))
    }),
    ("the owner's command", |key| {
        let told = key.change_pin(WRONG, "2718");
        matches!(told, Err(Refusal::PinIsWrong(_) | Refusal::PowerCycleNeeded | Refusal::PinIsBlocked))
    }),
    // From here on what has nothing to do with tries, and must not have.
    ("nothing", |_| false),
    ("setPIN", |key| set_pin(key, 2, "2718").is_ok()),
    ("a reset that is denied", |key| {
        key.platform().finger.script([Presence::Denied]);
        send(key, &[0x07]).is_ok()
    }),
    ("a reset that comes too late", |key| {
        key.platform().clock.advance(10_001);
        send(key, &[0x07]).is_ok()
    }),
    ("a setting without a token", |key| config(key, 3, Some(map([(1, Value::from(8))])), None).is_ok()),
    ("a credential", |key| make(key, &Make::new("example.com", b"1")).is_err()),
    ("large blobs without a token", |key| super::large_blobs::write_blobs(key, &[0; 40]).is_ok()),
];

fn power_up<T>(flash: RamFlash, seed: u64, then: impl FnOnce(&mut Key<'_>) -> T) -> (T, RamFlash) {
    let mut flash = Flash::new(flash);
    let result = then(&mut Authenticator::boot(&mut flash, Platform::seeded(seed)).unwrap());
    (result, flash.into_storage())
}

/// Keys with eight tries left, with seven, and so on to none.
fn keys() -> Vec<(i128, RamFlash)> {
    let ((), mut flash) = power_up(RamFlash::new(), 1, |key| set_pin(key, 2, PIN).unwrap());
    let mut keys = Vec::new();
    for left in (0..=8).rev() {
        keys.push((left, flash.clone()));
        flash = power_up(flash, 2, |key| PinToken::get(key, 2, WRONG, None).err()).1;
    }
    keys
}

#[test]
fn no_step_gives_a_try_back() {
    let mut walked = 0;
    for (left, flash) in keys() {
        for (name, step) in STEPS {
            let (told, after) = power_up(flash.clone(), 3, step);
            let operations = after.operations() - flash.operations();
            let now = power_up(after, 4, retries).0;
            assert!(now <= left, "{name} with {left} tries left: {now}");
            assert!(!told || now < left || left == 0, "{name} with {left} tries left costs none");
            // The same with the plug pulled, at every operation and in every way.
            for operation in 0..operations {
                for cut in Cut::ALL {
                    let mut flash = flash.clone();
                    flash.cut_after(operation, cut);
                    let (told, mut flash) = power_up(flash, 3, step);
                    flash.power_up();
                    let now = power_up(flash, 4, retries).0;
                    let when = std::format!("{name} with {left} tries left, cut {cut:?} at {operation}");
                    assert!(now <= left, "{when}: {now}");
                    assert!(!told || now < left, "{when}: it told something and cost nothing");
                    walked += 1;
                }
            }
            walked += 1;
        }
    }
    writeln!(std::io::stderr(), "tries: {walked} steps").unwrap();
}

/// At the end not even the right PIN helps, in any way.
#[test]
fn the_last_wrong_pin_blocks() {
    let (left, flash) = keys().pop().unwrap();
    assert_eq!(left, 0);
    power_up(flash, 5, |key| {
        assert_eq!(PinToken::get(key, 2, PIN, None).err(), Some(0x32));
        assert_eq!(change_pin(key, 2, PIN, "2718"), Err(0x32));
        assert_eq!(key.change_pin(PIN, "2718"), Err(Refusal::PinIsBlocked));
        assert_eq!(retries(key), 0);
        send(key, &[0x07]).unwrap();
        set_pin(key, 2, PIN).expect("after a reset there is none");
        assert_eq!(retries(key), 8);
    });
}
