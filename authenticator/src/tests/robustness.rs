//! No input makes the key panic, and none costs what is stored.

use std::vec;
use std::vec::Vec;

use ciborium::Value;
use rand_core::Rng as _;

use super::client::*;
use crate::testing::{Platform, rng};
use crate::{Authenticator, Presence};

const SITE: &str = "example.com";

fn messages() -> Vec<Vec<u8>> {
    let protect = map([("credProtect", Value::from(2))]);
    vec![
        Make::new(SITE, b"1").discoverable().with(6, protect).message(),
        Make::new(SITE, b"2").with(5, Value::Array(vec![descriptor(&[1; 113])])).message(),
        Get::new(SITE).message(),
        Get::new(SITE).allow(&[&[1; 113]]).with(5, map([("up", Value::Bool(true))])).message(),
        vec![0x04],
        vec![0x08],
        vec![0x0b],
    ]
}

fn well(key: &mut Authenticator<'_, Platform>, made: &Made) {
    sign_in(key, SITE, made).unwrap();
    assert_eq!(get(key, &Get::new("keep.example")).unwrap().user.unwrap()[0].1, bytes(b"keep"));
}

#[test]
fn truncated_messages() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let mut response = [0; 2048];
    for message in messages() {
        for length in 0..message.len() {
            let answered = key.ctap2(CHANNEL, &message[..length], &mut response);
            let status = response[0];
            assert!(answered == 1 && matches!(status, 0x01 | 0x03 | 0x12 | 0x14), "{length}: {status:#x}");
        }
    }
}

#[test]
fn changed_messages() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    make(&mut key, &Make::new("keep.example", b"keep").discoverable()).unwrap();
    platform.clock.advance(20_000);
    let messages = messages();
    let mut rng = rng(42);
    let mut response = [0; 2048];
    for round in 0..20_000 {
        let mut message = messages[round % messages.len()].clone();
        for _ in 0..=rng.next_u32() % 3 {
            let at = rng.next_u32() as usize % message.len();
            message[at] = rng.next_u32() as u8;
        }
        if rng.next_u32().is_multiple_of(8) {
            platform.finger.script([Presence::Denied]);
        }
        let answered = key.ctap2(CHANNEL, &message, &mut response);
        assert!(answered >= 1 && (response[0] == 0 || answered == 1));
        message.insert(0, 0);
        key.ctap1(&message, &mut response);
    }
    platform.finger.script([]);
    well(&mut key, &made);
}

#[test]
fn noise() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    make(&mut key, &Make::new("keep.example", b"keep").discoverable()).unwrap();
    platform.clock.advance(20_000);
    let mut rng = rng(7);
    let mut response = [0; 2048];
    for _ in 0..20_000 {
        let mut message = vec![0; rng.next_u32() as usize % 100];
        rng.fill_bytes(&mut message);
        key.ctap1(&message, &mut response);
        if let Some(command) = message.first_mut() {
            *command %= 16;
        }
        key.ctap2(CHANNEL, &message, &mut response);
    }
    well(&mut key, &made);
}

/// A body whose buffer is too small gets an error and not half an answer.
#[test]
fn small_buffers() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let make = Make::new(SITE, b"1").message();
    for size in 0..64 {
        let mut response = vec![0; size];
        for message in [&make[..], &[0x04]] {
            let length = key.ctap2(CHANNEL, message, &mut response);
            assert!(length <= 1 && response.first().is_none_or(|&status| status == 0x39));
        }
        let length = key.ctap1(&[0, 3, 0, 0], &mut response);
        assert_eq!(
            length,
            if size < 2 {
                0
            } else if size < 8 {
                2
            } else {
                8
            }
        );
    }
}
