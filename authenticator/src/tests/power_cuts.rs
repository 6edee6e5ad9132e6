//! The power goes at every program and every erase of the commands that write.
//!
//! After each cut the key must boot, be in the state before the command or in the state after it, keep every
//! credential that it acknowledged, and never repeat a count. How many cuts were tried is printed.

use std::collections::BTreeSet;
use std::format;
use std::io::Write as _;
use std::vec::Vec;

use ciborium::Value;

use super::bio_enrollment::enroll;
use super::client::*;
use super::client_pin::PinToken;
use super::config::config;
use super::large_blobs::{largest_array, read_blobs, write_blobs};
use crate::testing::{Cut, FingerprintSensor, Platform, RamFlash};
use crate::{Authenticator, BootError, Flash};

const SITE: &str = "example.com";

/// What a client knows of the key before the command: credentials that were acknowledged, the last count.
#[derive(Clone, Default)]
struct Known {
    made: Vec<Made>,
    count: u32,
}

/// Powers a copy of the flash up, does something, and gives the flash back.
fn power_up<T>(
    flash: RamFlash,
    seed: u64,
    then: impl FnOnce(&mut Authenticator<'_, Platform>) -> T,
) -> (Result<T, BootError>, RamFlash) {
    let mut flash = Flash::new(flash);
    let outcome = Authenticator::boot(&mut flash, Platform::seeded(seed)).map(|mut key| then(&mut key));
    (outcome, flash.into_storage())
}

/// The IDs of the discoverable credentials.
fn discoverable(key: &Authenticator<'_, Platform>) -> BTreeSet<Vec<u8>> {
    let mut ids = BTreeSet::new();
    key.credentials(|credential| assert!(ids.insert(credential.credential_id.to_vec()))).unwrap();
    ids
}

/// Every known credential signs, with counts that go on rising.
fn all_sign(key: &mut Authenticator<'_, Platform>, known: &Known, when: &str) {
    let mut last = known.count;
    for made in &known.made {
        let count = sign_in(key, SITE, made).unwrap_or_else(|status| panic!("{when}: status {status:#x}"));
        assert!(count > last, "{when}: count {count} after {last}");
        last = count;
    }
}

/// A key with three credentials, two of them discoverable, whose counter is one short of its next step.
fn used_key() -> (RamFlash, Known) {
    let (known, flash) = power_up(RamFlash::new(), 1, |key| {
        let mut known = Known::default();
        known.made.push(make(key, &Make::new(SITE, b"0")).unwrap());
        for user in [b"1", b"2"] {
            known.made.push(make(key, &Make::new(SITE, user).discoverable()).unwrap());
        }
        for _ in 0..64 {
            known.count = sign_in(key, SITE, &known.made[0]).unwrap();
        }
        known
    });
    (flash, known.unwrap())
}

/// Cuts `command` at every operation and in every way, and shows `check` what a boot after it finds, along with
/// whether the command was acknowledged. Returns how many cuts there were.
fn sweep<T>(
    name: &str,
    flash: &RamFlash,
    command: impl Fn(&mut Authenticator<'_, Platform>) -> Result<T, u8>,
    mut check: impl FnMut(&mut Authenticator<'_, Platform>, Option<T>, &str),
) -> usize {
    let (outcome, after) = power_up(flash.clone(), 2, &command);
    assert!(outcome.unwrap().is_ok(), "{name} works when nothing is cut");
    let operations = after.operations() - flash.operations();
    let mut cuts = 0;
    for operation in 0..operations {
        for cut in Cut::ALL {
            let mut flash = flash.clone();
            flash.cut_after(operation, cut);
            let (outcome, mut flash) = power_up(flash, 2, &command);
            let acknowledged = outcome.ok().and_then(Result::ok);
            flash.power_up();
            let when = format!("{name}, cut {cut:?} at operation {operation} of {operations}");
            let (booted, _) = power_up(flash, 3, |key| check(key, acknowledged, &when));
            booted.unwrap_or_else(|error| panic!("{when}: {error}"));
            cuts += 1;
        }
    }
    cuts
}

/// Says how many cuts there were; past libtest, which keeps what a test prints to itself.
fn report(name: &str, cuts: usize) {
    assert!(cuts > 0, "{name} writes");
    writeln!(std::io::stderr(), "power cuts: {cuts} at {name}").unwrap();
}

#[test]
fn at_first_boot() {
    let cuts = sweep(
        "first boot",
        &RamFlash::new(),
        |_| Ok(()),
        |key, _, when| {
            assert!(discoverable(key).is_empty(), "{when}");
            let made = make(key, &Make::new(SITE, b"1").discoverable()).unwrap();
            all_sign(key, &Known { made: [made].into(), count: 0 }, when);
        },
    );
    report("first boot", cuts);
}

/// The power goes again while the first boot is made up for.
#[test]
fn twice_at_first_boot() {
    let mut cuts = 0;
    for first in 0.. {
        let mut flash = RamFlash::new();
        flash.cut_after(first, Cut::Halfway);
        let (booted, mut flash) = power_up(flash, 1, |_| ());
        if booted.is_ok() {
            break;
        }
        flash.power_up();
        cuts += sweep(
            "first boot after a cut",
            &flash,
            |_| Ok(()),
            |key, _, when| {
                assert!(discoverable(key).is_empty(), "{when}");
            },
        );
    }
    report("first boot after a cut", cuts);
}

#[test]
fn at_register() {
    let (flash, known) = used_key();
    report("register, discoverable", register_cuts(&flash, &known));
}

fn register_cuts(flash: &RamFlash, known: &Known) -> usize {
    let before = power_up(flash.clone(), 9, |key| discoverable(key)).0.unwrap();
    let command = |key: &mut Authenticator<'_, Platform>| make(key, &Make::new(SITE, b"3").discoverable());
    sweep("register", flash, command, |key, acknowledged, when| {
        let mut after = discoverable(key);
        assert!(before.is_subset(&after), "{when}");
        let mut known = known.clone();
        if let Some(made) = acknowledged {
            assert!(after.contains(made.id()), "{when}");
            known.made.push(made);
        }
        all_sign(key, &known, when);
        after.retain(|id| !before.contains(id));
        assert!(after.len() <= 1, "{when}");
        // Whatever was left behind does not get in the way.
        make(key, &Make::new(SITE, b"4").discoverable()).unwrap();
    })
}

/// As the store grows, littlefs compacts, splits and moves its directories: there a commit has many operations.
#[test]
fn at_register_in_a_store_that_grows() {
    let (mut flash, mut known) = used_key();
    let mut cuts = 0;
    for user in 10u8..50 {
        let before = flash.operations();
        let grown = power_up(flash.clone(), user.into(), |key| {
            make(key, &Make::new(SITE, &[user; 40]).discoverable()).unwrap()
        });
        if grown.1.operations() - before > 3 {
            cuts += register_cuts(&flash, &known);
        }
        flash = grown.1;
        known.made = [known.made.remove(0), grown.0.unwrap()].into();
    }
    report("register, where littlefs moves things", cuts);
}

#[test]
fn at_replacing() {
    let (flash, mut known) = used_key();
    let before = power_up(flash.clone(), 9, |key| discoverable(key)).0.unwrap();
    let old = known.made.pop().unwrap();
    let command = |key: &mut Authenticator<'_, Platform>| make(key, &Make::new(SITE, b"2").discoverable());
    let cuts = sweep("replace", &flash, command, |key, acknowledged, when| {
        let after = discoverable(key);
        assert_eq!(after.len(), before.len(), "{when}: never both, never neither");
        match acknowledged {
            Some(new) => {
                assert!(!after.contains(old.id()), "{when}");
                all_sign(key, &Known { made: [new].into(), count: known.count }, when);
            }
            None if after.contains(old.id()) => {
                all_sign(key, &Known { made: [old.clone()].into(), count: known.count }, when);
            }
            None => assert_eq!(sign_in(key, SITE, &old), Err(0x2e), "{when}"),
        }
        all_sign(key, &Known { made: known.made.clone(), count: known.count }, when);
    });
    report("replacing a credential", cuts);
}

#[test]
fn at_deleting() {
    let (flash, mut known) = used_key();
    let gone = known.made.pop().unwrap();
    let slot_is_gone = |key: &mut Authenticator<'_, Platform>| {
        let found = key
            .store
            .find(&gone.auth_data.rp_id_hash, None, |record, _| **record.credential_id == *gone.id());
        let slot = found.unwrap().unwrap().stored.unwrap().slot;
        key.store.remove(slot).map_err(|_| 0x7f)
    };
    let cuts = sweep("delete", &flash, slot_is_gone, |key, acknowledged, when| {
        let there = discoverable(key).contains(gone.id());
        assert!(acknowledged.is_none() || !there, "{when}");
        assert_eq!(sign_in(key, SITE, &gone).is_ok(), there, "{when}");
        all_sign(key, &Known { made: known.made.clone(), count: known.count }, when);
    });
    report("deleting a credential", cuts);
}

#[test]
fn at_assert_over_a_counter_step() {
    let (flash, known) = used_key();
    report("assert over a counter step", assert_cuts(&flash, &known));
}

fn assert_cuts(flash: &RamFlash, known: &Known) -> usize {
    let command = |key: &mut Authenticator<'_, Platform>| sign_in(key, SITE, &known.made[1]);
    sweep("assert", flash, command, |key, acknowledged, when| {
        let count = acknowledged.unwrap_or(known.count);
        all_sign(key, &Known { made: known.made.clone(), count }, when);
    })
}

/// The counter is written until littlefs has compacted its directory twice.
#[test]
fn at_assert_in_a_store_that_ages() {
    let (mut flash, mut known) = used_key();
    let mut cuts = 0;
    for boot in 0..400 {
        let before = flash.operations();
        let (count, after) = power_up(flash.clone(), boot, |key| sign_in(key, SITE, &known.made[0]).unwrap());
        if after.operations() - before > 1 {
            cuts += assert_cuts(&flash, &known);
        }
        flash = after;
        known.count = count.unwrap();
    }
    report("assert, where littlefs moves things", cuts);
}

#[test]
fn at_reset() {
    let (flash, known) = used_key();
    let attestation = power_up(flash.clone(), 9, |key| key.attestation_root().to_vec()).0.unwrap();
    let command = |key: &mut Authenticator<'_, Platform>| send(key, &[0x07]);
    let cuts = sweep("reset", &flash, command, |key, acknowledged, when| {
        assert_eq!(key.attestation_root(), attestation, "{when}");
        let left = discoverable(key);
        if acknowledged.is_some() || left.is_empty() {
            assert!(left.is_empty(), "{when}");
            for made in &known.made {
                assert_eq!(sign_in(key, SITE, made), Err(0x2e), "{when}: all or nothing");
            }
        } else {
            all_sign(key, &known, when);
        }
    });
    report("reset", cuts);
}

/// The header's second copy was never written: its first must not be risked.
#[test]
fn at_reset_with_one_copy_of_the_header() {
    let whole = power_up(RamFlash::new(), 1, |_| ()).1;
    let mut flash = RamFlash::new();
    flash.cut_after(whole.operations() - 1, Cut::Halfway);
    let (booted, mut flash) = power_up(flash, 1, |_| ());
    assert!(booted.is_err());
    flash.power_up();
    let cuts = sweep(
        "reset",
        &flash,
        |key| send(key, &[0x07]),
        |key, _, when| {
            assert!(discoverable(key).is_empty(), "{when}");
        },
    );
    report("reset with one copy of the header", cuts);
}

/// The power goes again while the reset is made up for.
#[test]
fn twice_at_reset() {
    let (flash, known) = used_key();
    let mut cuts = 0;
    for first in 0.. {
        let mut flash = flash.clone();
        flash.cut_after(first, Cut::Noise);
        let (outcome, mut flash) = power_up(flash, 2, |key| send(key, &[0x07]));
        if outcome.is_ok_and(|answer| answer.is_ok()) {
            break;
        }
        flash.power_up();
        cuts += sweep(
            "reset after a cut",
            &flash,
            |_| Ok(()),
            |key, _, when| {
                assert!(discoverable(key).is_empty(), "{when}");
                assert_eq!(sign_in(key, SITE, &known.made[0]), Err(0x2e), "{when}");
            },
        );
    }
    report("reset after a cut", cuts);
}

/// A credential that is not discoverable is not written anywhere: registering it cannot be cut.
#[test]
fn never_at_register_without_a_record() {
    let (flash, _) = used_key();
    let (outcome, after) = power_up(flash.clone(), 2, |key| make(key, &Make::new(SITE, b"9")).is_ok());
    assert_eq!(outcome, Ok(true));
    assert_eq!(after.operations(), flash.operations());
}

/// A large-blob array in five pieces, over another one: the old one, or the new one.
#[test]
fn at_writing_large_blobs() {
    let (flash, known) = used_key();
    let (old, new) = (largest_array(1), largest_array(2));
    let flash = power_up(flash, 4, |key| write_blobs(key, &old).unwrap()).1;
    let cuts = sweep(
        "large blobs",
        &flash,
        |key| write_blobs(key, &new),
        |key, acknowledged, when| {
            let found = read_blobs(key);
            assert!(found == new || found == old && acknowledged.is_none(), "{when}");
            all_sign(key, &known, when);
            write_blobs(key, &largest_array(3)).unwrap_or_else(|status| panic!("{when}: {status:#x}"));
        },
    );
    report("writing large blobs", cuts);
}

/// Several settings in one command: all of them, or none.
#[test]
fn at_configuring() {
    let (flash, known) = used_key();
    let flash = power_up(flash, 4, |key| key.set_pin("1234").unwrap()).1;
    let params = || map([(1, 6.into()), (2, Value::Array([text(SITE)].into())), (4, true.into())]);
    let command = |key: &mut Authenticator<'_, Platform>| {
        let token = PinToken::get(key, 2, "1234", Some((0x20, None)))?;
        config(key, 3, Some(params()), Some(&token))
    };
    let cuts = sweep("configure", &flash, command, |key, acknowledged, when| {
        let forced = info(key, 0x0c) == Some(true.into());
        let raised = info(key, 0x0d) == Some(6.into());
        let policy = info(key, 0x1b) == Some(true.into());
        assert!(forced == raised && raised == policy, "{when}");
        assert!(forced || acknowledged.is_none(), "{when}");
        all_sign(key, &known, when);
    });
    report("configuring", cuts);
}

/// Enrolling a finger writes once, at the last sample.
#[test]
fn at_enrolling_a_finger() {
    let (flash, _) = used_key();
    let flash = power_up(flash, 4, |key| key.set_pin("2718").unwrap()).1;
    let with_sensor = |flash: RamFlash, then: &mut dyn FnMut(&mut Authenticator<'_, Platform>)| {
        let mut flash = Flash::new(flash);
        let mut platform = Platform::seeded(5);
        platform.sensor = Some(FingerprintSensor::default());
        let booted = Authenticator::boot(&mut flash, platform).map(|mut key| then(&mut key));
        (booted, flash.into_storage())
    };
    let mut cuts = 0;
    for operation in 0.. {
        let mut flash = flash.clone();
        flash.cut_after(operation, Cut::ALL[operation % 4]);
        let mut done = false;
        let (_, mut flash) = with_sensor(flash, &mut |key| done = enroll(key, 1, "2718").is_ok());
        flash.power_up();
        let mut enrolled = None;
        let (booted, _) = with_sensor(flash, &mut |key| {
            enrolled = option(key, "bioEnroll");
            key.change_pin("2718", "3141").unwrap();
        });
        booted.unwrap();
        assert!(!done || enrolled == Some(true), "operation {operation}");
        if done {
            break;
        }
        cuts += 1;
    }
    report("enrolling a finger", cuts);
}
