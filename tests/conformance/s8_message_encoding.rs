//! Message encoding (CTAP 2.3 §8). That answers are canonical is checked by the client for every one of them.

use brasskey_tests::ctap2::{GetAssertion, MakeCredential, command, descriptors, status::*};
use brasskey_tests::{Key, cbor};
use ciborium::Value;

use crate::{SITE, attached, get_refused, info_number, make, make_refused, one, protected, refused};

/// Every command that has parameters.
const COMMANDS: [u8; 6] = [
    command::MAKE_CREDENTIAL,
    command::GET_ASSERTION,
    command::CLIENT_PIN,
    command::CREDENTIAL_MANAGEMENT,
    command::LARGE_BLOBS,
    command::CONFIG,
];

fn request() -> Vec<u8> {
    MakeCredential::new(SITE).parameters().encode()
}

/// Covers: §8; status INVALID_CBOR
#[test]
fn what_is_cut_or_too_long() {
    let (_simulator, key) = attached();
    let good = request();
    for end in 1..good.len() {
        assert_eq!(
            refused(key.raw(command::MAKE_CREDENTIAL, &good[..end])),
            INVALID_CBOR,
            "after {end} bytes"
        );
    }
    let more = [&good[..], &[0]].concat();
    assert_eq!(refused(key.raw(command::MAKE_CREDENTIAL, &more)), INVALID_CBOR, "a byte behind it");
    key.raw(command::MAKE_CREDENTIAL, &good).unwrap();
}

/// Covers: §8; status INVALID_CBOR; status CBOR_UNEXPECTED_TYPE
#[test]
fn what_is_not_canonical_or_no_cbor() {
    let (_simulator, key) = attached();
    for command in COMMANDS {
        for (bytes, what) in [
            (&[0xa1, 0x18, 0x01, 0x00][..], "a number longer than it need be"),
            (&[0xbf, 0xff], "a map without a length"),
            (&[0xa2, 0x02, 0x00, 0x01, 0x00], "keys out of order"),
            (&[0xa2, 0x01, 0x00, 0x01, 0x00], "a key twice"),
            (&[0xa1, 0x01, 0x5f, 0x41, 0x00, 0xff], "a byte string in pieces"),
            (&[0xa1, 0x01, 0x62, 0xc3, 0x28], "a text that is no UTF-8"),
            (&[0xa1, 0x01, 0x1c], "reserved"),
            (&[0xff], "a break out of nowhere"),
        ] {
            assert_eq!(refused(key.raw(command, bytes)), INVALID_CBOR, "{command:#04x}: {what}");
        }
        for bytes in [&[0x80][..], &[0x00], &[0x60], &[0x40], &[0xf5]] {
            assert_eq!(
                refused(key.raw(command, bytes)),
                CBOR_UNEXPECTED_TYPE,
                "{command:#04x}: {bytes:02x?}"
            );
        }
    }
}

/// Covers: §8; status INVALID_CBOR
#[test]
fn nesting_has_an_end() {
    let (_simulator, key) = attached();
    let deep = [&[0xa1, 0x01][..], &[0x81; 200], &[0x00]].concat();
    assert_eq!(refused(key.raw(command::MAKE_CREDENTIAL, &deep)), INVALID_CBOR);
    key.get_info().unwrap();
}

/// Covers: §6.1.2; §6.2.2; status LIMIT_EXCEEDED; member maxCredentialCountInList
#[test]
fn lists_are_as_long_as_announced() {
    let (_simulator, key) = attached();
    let made = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let most = info_number(&key, 0x07) as usize;
    let mut ids = vec![vec![0x17; made.id().len()]; most - 1];
    ids.push(made.id().to_vec());
    let make_with = |ids: &[Vec<u8>]| MakeCredential::new(SITE).parameters().with(5, descriptors(ids));
    let get_with = |ids: &[Vec<u8>]| GetAssertion::discover(SITE).parameters().with(3, descriptors(ids));
    assert_eq!(make_refused(&key, &make_with(&ids)), CREDENTIAL_EXCLUDED);
    crate::get(&key, &get_with(&ids));
    ids.push(vec![1; 8]);
    assert_eq!(make_refused(&key, &make_with(&ids)), LIMIT_EXCEEDED);
    assert_eq!(get_refused(&key, &get_with(&ids)), LIMIT_EXCEEDED);
}

/// Covers: §8; status SUCCESS
#[test]
fn what_it_does_not_know_is_ignored() {
    let (_simulator, key) = attached();
    let request = || MakeCredential::new(SITE).parameters();
    let nested = cbor::map([("a", Value::Array(vec![one("b", 1), Value::Null, Value::Float(0.5)]))]);
    make(&key, &request().with(0x40, nested.clone()));
    // Four levels deep, all told, is as much as a message may be.
    make(&key, &request().with(6, one("unheardOf", Value::Array(vec![one("b", 1)]))));
    let rp = cbor::map([("id", SITE), ("icon", "https://example.com/x.png"), ("name", "x")]);
    make(&key, &request().with(2, rp));
    let transports = Value::Array(vec!["usb".into(), "carrier-pigeon".into()]);
    let descriptor = cbor::map([
        ("id", Value::from(&[1; 32][..])),
        ("type", "public-key".into()),
        ("transports", transports),
    ]);
    make(&key, &request().with(5, Value::Array(vec![descriptor])));
}

/// Covers: §6.8; §8; status PIN_AUTH_INVALID; subcommand enumerateCredentialsBegin
#[test]
fn a_param_covers_the_bytes_as_they_came() {
    let (_simulator, key) = protected();
    let site = |key: &Key| {
        crate::resident(key, SITE, b"1");
        brasskey_tests::sha256(&[SITE.as_bytes()])
    };
    let params = cbor::map([(1u8, Value::from(site(&key).to_vec())), (0x20, "from the future".into())]);
    let token = crate::token_for_all(&key, 4);
    key.manage(4, Some(params), Some(&token)).unwrap();
}

/// Covers: §8; member maxMsgSize; command CTAPHID_CBOR
#[test]
fn a_message_as_long_as_announced() {
    let (_simulator, key) = attached();
    let most = info_number(&key, 0x05) as usize;
    let with = |length: usize| {
        MakeCredential::new(SITE).parameters().with(0x40, Value::from(vec![0; length])).encode()
    };
    let rest = with(1000).len() - 1000 + 1;
    let longest = with(most - rest);
    assert_eq!(longest.len() + 1, most);
    key.raw(command::MAKE_CREDENTIAL, &longest).unwrap();
}
