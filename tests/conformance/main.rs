//! Conformance tests: what CTAP 2.3 asks of a key, checked over its USB port. A file for each section of the
//! specification.
//!
//! They are written after the specification, for any key: what differs between keys, such as the longest message, is
//! read from getInfo. Only the numbers of a run of `brasskey` are taken for granted: a new key for each test, in memory,
//! that grants every touch.
//!
//! Each test says what it shows in lines `/// Covers: …; …`: sections of the specification, and the names of commands,
//! subcommands, options, extensions and statuses. `cargo xtask conformance` makes docs/conformance.md of them, and
//! knows all names that there are.

mod s11_2_ctaphid;
mod s12_extensions;
mod s6_10_large_blobs;
mod s6_11_config;
mod s6_1_make_credential;
mod s6_2_get_assertion;
mod s6_4_get_info;
mod s6_5_client_pin;
mod s6_6_reset;
mod s6_7_bio_enrollment;
mod s6_8_credential_management;
mod s6_9_selection;
mod s7_ctap1;
mod s8_message_encoding;

use brasskey_tests::client_pin::{Token, permission};
use brasskey_tests::ctap2::{MakeCredential, Parameters, command};
use brasskey_tests::{Error, Key, Result, Simulator, cbor};
use ciborium::Value;

const SITE: &str = "example.com";
const OTHER_SITE: &str = "example.org";
const PIN: &str = "1234";

/// A new key that grants every touch.
fn attached() -> (Simulator, Key) {
    let simulator = Simulator::start().unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    (simulator, key)
}

/// A new key with [`PIN`].
fn protected() -> (Simulator, Key) {
    let (simulator, key) = attached();
    key.set_pin(2, PIN).unwrap();
    (simulator, key)
}

/// Unplugs the key and plugs it in again.
fn power_cycle(simulator: &Simulator, key: Key) -> Key {
    key.device().detach();
    drop(key);
    // The server may need a moment to see that the port is free.
    for _ in 0..500 {
        match Key::attach(simulator.address()) {
            Err(Error::Violation(_) | Error::Local(_) | Error::Disconnected(_)) => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            attached => return attached.unwrap(),
        }
    }
    panic!("the key does not come back");
}

/// Resets the key, for which it has to be plugged in anew: a reset is taken in the first seconds only.
fn reset(simulator: &Simulator, key: Key) -> Key {
    let key = power_cycle(simulator, key);
    key.reset().unwrap();
    key
}

/// The status with which the key refuses.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>) -> u8 {
    match result {
        Err(Error::Status(status)) => status,
        other => panic!("a status was due, not {other:02x?}"),
    }
}

/// The status of makeCredential with these parameters.
#[track_caller]
fn make_refused(key: &Key, parameters: &Parameters) -> u8 {
    refused(key.raw(command::MAKE_CREDENTIAL, &parameters.encode()))
}

/// The status of getAssertion with these parameters.
#[track_caller]
fn get_refused(key: &Key, parameters: &Parameters) -> u8 {
    refused(key.raw(command::GET_ASSERTION, &parameters.encode()))
}

#[track_caller]
fn make(key: &Key, parameters: &Parameters) -> brasskey_tests::attestation::Attested {
    let answer = key.call(command::MAKE_CREDENTIAL, parameters).unwrap();
    brasskey_tests::attestation::Attested::parse(&answer).unwrap()
}

#[track_caller]
fn get(key: &Key, parameters: &Parameters) -> brasskey_tests::ctap2::Assertion {
    let answer = key.call(command::GET_ASSERTION, parameters).unwrap();
    brasskey_tests::ctap2::Assertion::parse(&answer).unwrap()
}

/// A discoverable credential of a key that has [`PIN`].
fn resident(key: &Key, rp_id: &str, user_id: &[u8]) -> brasskey_tests::attestation::Attested {
    let token = key.token(2, PIN, permission::MAKE_CREDENTIAL, Some(rp_id)).unwrap();
    make(key, &token.make(MakeCredential::discoverable(rp_id, user_id).parameters()))
}

/// A token of [`PIN`] for [`SITE`].
fn token(key: &Key, permissions: u8) -> Token {
    key.token(2, PIN, permissions, Some(SITE)).unwrap()
}

/// A token of [`PIN`] for no site.
fn token_for_all(key: &Key, permissions: u8) -> Token {
    key.token(2, PIN, permissions, None).unwrap()
}

/// A map with one option or one extension.
fn one(name: &str, value: impl Into<Value>) -> Value {
    cbor::map([(name, value.into())])
}

/// An option of getInfo.
fn option(key: &Key, name: &str) -> Option<bool> {
    let info = key.get_info().unwrap();
    cbor::get(cbor::get(&info, 0x04).unwrap(), name).map(|value| value.as_bool().unwrap())
}

/// A number of getInfo.
fn info_number(key: &Key, member: u8) -> u64 {
    cbor::unsigned(&key.get_info().unwrap(), member).unwrap()
}
