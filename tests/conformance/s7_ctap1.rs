//! CTAP1: U2F raw messages over CTAP (CTAP 2.3 §7; FIDO U2F Raw Message Formats 1.2).

use brasskey_tests::ctap1::{self, *};
use brasskey_tests::ctap2::{GetAssertion, MakeCredential};
use brasskey_tests::{Error, Key, Simulator, sha256};

use crate::{SITE, attached, power_cycle};

fn application() -> [u8; 32] {
    sha256(&[SITE.as_bytes()])
}

#[track_caller]
fn status_word(key: &Key, apdu: &[u8]) -> u16 {
    match key.apdu(apdu) {
        Err(Error::StatusWord(word)) => word,
        other => panic!("{apdu:02x?}: {other:02x?}"),
    }
}

fn authenticate(application: &[u8; 32], handle: &[u8]) -> Vec<u8> {
    [&[2; 32], &application[..], &[handle.len() as u8], handle].concat()
}

/// Covers: §7.1; command U2F_VERSION; status word 0x6D00; status word 0x6E00; status word 0x6700;
/// command CTAPHID_MSG
#[test]
fn the_version_and_what_is_no_command() {
    let (_simulator, key) = attached();
    for version in [
        extended(VERSION, 0, &[]),
        short(VERSION, 0, &[]),
        vec![0, VERSION, 0, 0],
        vec![0, VERSION, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(key.apdu(&version).unwrap(), b"U2F_V2", "{version:02x?}");
    }
    assert_eq!(status_word(&key, &extended(0x40, 0, &[])), INS_NOT_SUPPORTED);
    assert_eq!(status_word(&key, &[0x80, VERSION, 0, 0]), CLA_NOT_SUPPORTED);
    for length in [0, 1, 63, 65] {
        assert_eq!(status_word(&key, &extended(REGISTER, 0, &vec![0; length])), WRONG_LENGTH, "{length}");
    }
    for cut in 1..4 {
        assert_eq!(status_word(&key, &[0, VERSION, 0, 0][..cut]), WRONG_LENGTH, "cut after {cut} bytes");
    }
}

/// Covers: §7.1; §7.2; command U2F_REGISTER; command U2F_AUTHENTICATE; status word 0x6985; attestation fido-u2f
#[test]
fn register_and_authenticate() {
    let (simulator, key) = attached();
    let registered = key.u2f_register(&[1; 32], &application()).unwrap();
    registered.certificate.check_u2f_transports().unwrap();
    let handle = &registered.key_handle;
    // It is the key's, which a check says by the same word that asks for a touch.
    let check = extended(AUTHENTICATE, CHECK_ONLY, &authenticate(&application(), handle));
    assert_eq!(status_word(&key, &check), CONDITIONS_NOT_SATISFIED);
    let signed = |key: &Key, control| {
        key.u2f_authenticate(control, &[3; 32], &application(), handle, &registered.public_key).unwrap()
    };
    let first = signed(&key, ENFORCE);
    let second = signed(&key, DONT_ENFORCE);
    assert_eq!((first.user_present, second.user_present), (true, false));
    assert_eq!(second.counter, first.counter + 1);
    // In the short encoding as well.
    let apdu = short(AUTHENTICATE, DONT_ENFORCE, &authenticate(&application(), handle));
    let third = ctap1::Authentication::parse(
        &key.apdu(&apdu).unwrap(),
        &[2; 32],
        &application(),
        &registered.public_key,
    );
    assert_eq!(third.unwrap().counter, second.counter + 1);
    let key = power_cycle(&simulator, key);
    assert!(signed(&key, ENFORCE).counter > second.counter + 1);
}

/// Covers: §7.2; command U2F_AUTHENTICATE; status word 0x6A80
#[test]
fn a_handle_that_is_not_its_own() {
    let simulator = Simulator::with(&["--image", ":memory:", "--presence", "deny"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    // Nobody is asked for a touch: this key would be refused one.
    for control in [CHECK_ONLY, ENFORCE, DONT_ENFORCE] {
        for handle in [&[0; 64][..], &[7; 120]] {
            let apdu = extended(AUTHENTICATE, control, &authenticate(&application(), handle));
            assert_eq!(status_word(&key, &apdu), WRONG_DATA);
        }
    }
    let (_simulator, key) = attached();
    let registered = key.u2f_register(&[1; 32], &application()).unwrap();
    for control in [CHECK_ONLY, ENFORCE, DONT_ENFORCE] {
        let other = extended(AUTHENTICATE, control, &authenticate(&[9; 32], &registered.key_handle));
        assert_eq!(status_word(&key, &other), WRONG_DATA, "another site's");
        let mut handle = registered.key_handle.clone();
        handle[5] ^= 1;
        let bent = extended(AUTHENTICATE, control, &authenticate(&application(), &handle));
        assert_eq!(status_word(&key, &bent), WRONG_DATA);
    }
    let cut = extended(AUTHENTICATE, CHECK_ONLY, &authenticate(&application(), &registered.key_handle)[..64]);
    assert_eq!(status_word(&key, &cut), WRONG_LENGTH);
}

/// Covers: §7.1; status word 0x6985; command U2F_REGISTER
#[test]
fn without_a_touch_the_host_polls() {
    let simulator = Simulator::with(&["--image", ":memory:", "--presence", "deny"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    let apdu = extended(REGISTER, 0, &[&[1; 32][..], &application()].concat());
    for _ in 0..3 {
        assert_eq!(status_word(&key, &apdu), CONDITIONS_NOT_SATISFIED);
    }
}

/// Covers: §7.2; §7.3; command authenticatorGetAssertion; command U2F_AUTHENTICATE
#[test]
fn a_u2f_credential_is_a_fido2_credential_and_back() {
    let (_simulator, key) = attached();
    // An AppID is an RP ID like any other text.
    for site in [SITE, "https://u2f.aws.amazon.com/app-id.json"] {
        let application = sha256(&[site.as_bytes()]);
        let registered = key.u2f_register(&[1; 32], &application).unwrap();
        let request = GetAssertion::allow(site, &[&registered.key_handle]);
        let signed = key.get_assertion(&request).unwrap();
        signed.verify(&registered.public_key, &request.client_data_hash).unwrap();
        // One counter for both.
        let next = key
            .u2f_authenticate(ENFORCE, &[1; 32], &application, &registered.key_handle, &registered.public_key)
            .unwrap();
        assert_eq!(next.counter, signed.auth_data.sign_count + 1);
        let made = key.make_credential(&MakeCredential::new(site).algorithms(&[-7])).unwrap();
        if made.id().len() <= 255 {
            let by_u2f = key.u2f_authenticate(
                ENFORCE,
                &[1; 32],
                &application,
                made.id(),
                &made.credential().public_key,
            );
            assert!(by_u2f.unwrap().user_present);
        }
    }
}

/// Covers: §7.2; §12.1; extension credProtect; status word 0x6A80
#[test]
fn a_credential_that_needs_verification_is_hidden_from_u2f() {
    let (_simulator, key) = crate::protected();
    let request = MakeCredential::new(SITE).algorithms(&[-7]).parameters();
    let request = request.with(6, crate::one("credProtect", 3));
    let made = crate::make(&key, &crate::token(&key, 1).make(request));
    if made.id().len() <= 255 {
        for control in [CHECK_ONLY, ENFORCE] {
            let apdu = extended(AUTHENTICATE, control, &authenticate(&application(), made.id()));
            assert_eq!(status_word(&key, &apdu), WRONG_DATA);
        }
    }
}
