//! CTAP1 (FIDO U2F Raw Message Formats 1.2).

use std::vec;
use std::vec::Vec;

use ciborium::Value;
use sha2::{Digest, Sha256};

use super::client::*;
use crate::testing::Platform;
use crate::{Authenticator, Operation, Presence};

const CHALLENGE: [u8; 32] = [0xc1; 32];
/// The one that the IAM console used with U2F.
const APP_ID: &str = "https://u2f.aws.amazon.com/app-id.json";

fn application() -> [u8; 32] {
    Sha256::digest(APP_ID).into()
}

fn apdu(instruction: u8, p1: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = (data.len() as u16).to_be_bytes();
    [&[0, instruction, p1, 0, 0, high, low], data, &[0, 0]].concat()
}

fn send_apdu(key: &mut Authenticator<'_, Platform>, apdu: &[u8]) -> (Vec<u8>, u16) {
    let mut response = vec![0; 2048];
    let length = key.ctap1(apdu, &mut response);
    let status = u16::from_be_bytes([response[length - 2], response[length - 1]]);
    (response[..length - 2].to_vec(), status)
}

struct Registered {
    public_key: Vec<u8>,
    key_handle: Vec<u8>,
}

/// A version request.
pub(super) fn version() -> Vec<u8> {
    apdu(3, 0, &[])
}

/// A registration request.
pub(super) fn register_request(challenge: &[u8; 32], application: &[u8; 32]) -> Vec<u8> {
    apdu(1, 0, &[challenge.as_slice(), application].concat())
}

fn register(key: &mut Authenticator<'_, Platform>) -> Registered {
    let (answer, status) = send_apdu(key, &apdu(1, 0, &[CHALLENGE, application()].concat()));
    assert_eq!((status, answer[0]), (0x9000, 0x05));
    let public_key = answer[1..66].to_vec();
    let handle_end = 67 + usize::from(answer[66]);
    let key_handle = answer[67..handle_end].to_vec();
    let rest = &answer[handle_end..];
    assert_eq!(rest[..2], [0x30, 0x82]);
    let certificate_end = 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
    let (certificate, signature) = rest.split_at(certificate_end);
    let at = certificate.windows(3).position(|bytes| bytes == [0x03, 0x42, 0x00]).unwrap();
    let message = [&[0], &application()[..], &CHALLENGE, &key_handle, &public_key].concat();
    verify_es256(&certificate[at + 3..at + 68], &message, signature);
    Registered { public_key, key_handle }
}

fn authenticate(key_handle: &[u8]) -> Vec<u8> {
    [&CHALLENGE[..], &application(), &[key_handle.len() as u8], key_handle].concat()
}

/// Verifies an authentication and returns the touch byte and the count.
fn check(registered: &Registered, answer: &[u8]) -> (u8, u32) {
    let message = [&application()[..], &answer[..5], &CHALLENGE].concat();
    verify_es256(&registered.public_key, &message, &answer[5..]);
    (answer[0], u32::from_be_bytes(answer[1..5].try_into().unwrap()))
}

#[test]
fn registers_and_signs_in() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let registered = register(&mut key);
    let (answer, status) = send_apdu(&mut key, &apdu(2, 3, &authenticate(&registered.key_handle)));
    assert_eq!((status, check(&registered, &answer)), (0x9000, (1, 1)));
    let asked = platform.finger.asked();
    assert!(asked.iter().map(|asked| asked.operation).eq([Operation::Register, Operation::Authenticate]));
    assert!(asked.iter().all(|asked| asked.timeout_ms == 0 && asked.rp_id_hash == Some(application())));

    let (answer, status) = send_apdu(&mut key, &apdu(2, 8, &authenticate(&registered.key_handle)));
    assert_eq!((status, check(&registered, &answer)), (0x9000, (0, 2)), "don't-enforce");
    assert_eq!(platform.finger.asked(), []);
}

#[test]
fn no_touch_is_said_at_once_and_costs_nothing() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let registered = register(&mut key);
    platform.finger.script([Presence::TimedOut, Presence::TimedOut, Presence::Denied]);
    assert_eq!(send_apdu(&mut key, &apdu(1, 0, &[0; 64])), (vec![], 0x6985));
    for _ in 0..2 {
        let request = apdu(2, 3, &authenticate(&registered.key_handle));
        assert_eq!(send_apdu(&mut key, &request), (vec![], 0x6985));
    }
    let (answer, _) = send_apdu(&mut key, &apdu(2, 3, &authenticate(&registered.key_handle)));
    assert_eq!(check(&registered, &answer).1, 1);
}

#[test]
fn check_only_never_signs() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let registered = register(&mut key);
    platform.finger.asked();
    let good = authenticate(&registered.key_handle);
    assert_eq!(send_apdu(&mut key, &apdu(2, 7, &good)), (vec![], 0x6985));
    let mut wrong = good.clone();
    *wrong.last_mut().unwrap() ^= 1;
    for control in [3, 7, 8] {
        assert_eq!(send_apdu(&mut key, &apdu(2, control, &wrong)), (vec![], 0x6a80));
    }
    let mut other_site = good;
    other_site[40] ^= 1;
    assert_eq!(send_apdu(&mut key, &apdu(2, 3, &other_site)), (vec![], 0x6a80));
    assert_eq!(platform.finger.asked(), [], "a wrong handle is refused before any touch");
}

#[test]
fn version_and_wrong_apdus() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(send_apdu(&mut key, &[0, 3, 0, 0]), (b"U2F_V2".to_vec(), 0x9000));
    assert_eq!(send_apdu(&mut key, &[0, 3, 0, 0, 0, 0, 0, 0, 0]), (b"U2F_V2".to_vec(), 0x9000));
    for (apdu, status) in [
        (apdu(3, 0, &[1]), 0x6700),
        (apdu(1, 0, &[0; 63]), 0x6700),
        (apdu(2, 3, &[0; 64]), 0x6700),
        (apdu(2, 3, &[7; 70]), 0x6700),
        (apdu(2, 5, &[0; 65]), 0x6a80),
        (apdu(4, 0, &[]), 0x6d00),
        (vec![0x80, 3, 0, 0], 0x6e00),
        (vec![], 0x6700),
    ] {
        assert_eq!(send_apdu(&mut key, &apdu), (vec![], status), "{apdu:02x?}");
    }
}

#[test]
fn the_two_protocols_share_credentials_and_the_counter() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let registered = register(&mut key);
    let got = get(&mut key, &Get::new(APP_ID).allow(&[&registered.key_handle])).unwrap();
    let message = [&got.auth_data.raw[..], &HASH].concat();
    verify_es256(&registered.public_key, &message, &got.signature);
    assert_eq!(got.auth_data.count, 1);

    let made = make(&mut key, &Make::new(APP_ID, b"1")).unwrap();
    let (_, status) = send_apdu(&mut key, &apdu(2, 7, &authenticate(made.id())));
    assert_eq!(status, 0x6985, "made by CTAP2, known to U2F");
    let (answer, _) = send_apdu(&mut key, &apdu(2, 8, &authenticate(&registered.key_handle)));
    assert_eq!(check(&registered, &answer), (0, 2));

    let protect = map([("credProtect", Value::from(3))]);
    let hidden = make(&mut key, &Make::new(APP_ID, b"1").with(6, protect)).unwrap();
    assert_eq!(send_apdu(&mut key, &apdu(2, 7, &authenticate(hidden.id()))).1, 0x6a80);
    let eddsa = Make::new(APP_ID, b"1").with(4, Value::Array(vec![algorithm(EDDSA)]));
    let eddsa = make(&mut key, &eddsa).unwrap();
    assert_eq!(send_apdu(&mut key, &apdu(2, 7, &authenticate(eddsa.id()))).1, 0x6a80);
}
