//! authenticatorReset (CTAP 2.3 §6.6).

use brasskey_tests::ctap1;
use brasskey_tests::ctap2::{GetAssertion, MakeCredential, status::*};
use brasskey_tests::{Error, Key, Simulator, sha256};

use crate::{SITE, attached, option, protected, refused, reset, resident};

/// Covers: §6.6; command authenticatorReset; status NO_CREDENTIALS; option clientPin;
/// command authenticatorLargeBlobs (get)
#[test]
fn it_forgets_everything() {
    let (simulator, key) = protected();
    let stored = resident(&key, SITE, b"1");
    let stateless = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    let application = sha256(&[SITE.as_bytes()]);
    let u2f = key.u2f_register(&[1; 32], &application).unwrap();
    let fresh = key.get_info().unwrap();
    let key = reset(&simulator, key);
    assert_eq!(option(&key, "clientPin"), Some(false));
    for id in [stored.id(), stateless.id(), &u2f.key_handle] {
        assert_eq!(refused(key.get_assertion(&GetAssertion::allow(SITE, &[id]))), NO_CREDENTIALS);
    }
    assert_eq!(refused(key.get_assertion(&GetAssertion::discover(SITE))), NO_CREDENTIALS);
    let check = [&[2; 32], &application[..], &[u2f.key_handle.len() as u8], &u2f.key_handle].concat();
    let check = ctap1::extended(ctap1::AUTHENTICATE, ctap1::CHECK_ONLY, &check);
    assert!(matches!(key.apdu(&check), Err(Error::StatusWord(ctap1::WRONG_DATA))));
    assert_eq!(key.pin_retries().unwrap(), (8, false));
    // It is the same model, and works.
    let again = key.make_credential(&MakeCredential::new(SITE)).unwrap();
    assert_eq!(again.credential().aaguid[..], brasskey_tests::cbor::bytes(&fresh, 3).unwrap());
    key.set_pin(2, "5678").unwrap();
}

/// Covers: §6.6; command authenticatorReset; status OPERATION_DENIED
#[test]
fn nothing_is_lost_if_the_user_says_no() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("key.img");
    let run =
        |presence| Simulator::with(&["--image", image.to_str().unwrap(), "--presence", presence]).unwrap();
    let willing = run("auto");
    let key = Key::attach(willing.address()).unwrap();
    let made = key.make_credential(&MakeCredential::discoverable(SITE, b"1")).unwrap();
    drop((key, willing));
    let denying = run("deny");
    let key = Key::attach(denying.address()).unwrap();
    assert_eq!(refused(key.reset()), OPERATION_DENIED);
    let silent = GetAssertion::discover(SITE).silent();
    assert_eq!(key.get_assertion(&silent).unwrap().credential_id, made.id());
}

/// Covers: §6.6; command authenticatorReset; status NOT_ALLOWED; status KEEPALIVE_CANCEL
#[test]
fn a_cancelled_reset_resets_nothing() {
    use brasskey_tests::ctap2::command;
    let simulator = Simulator::in_terminal(&["--image", ":memory:"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    key.set_pin(2, crate::PIN).unwrap();
    key.send(command::RESET, &[]).unwrap();
    key.channel().wait_for_prompt().unwrap();
    key.channel().cancel().unwrap();
    assert_eq!(refused(key.receive()), KEEPALIVE_CANCEL);
    assert_eq!(option(&key, "clientPin"), Some(true));
}

/// Covers: §6.6; command authenticatorReset
#[test]
fn a_new_key_may_be_reset() {
    let (simulator, key) = attached();
    let key = reset(&simulator, key);
    key.get_info().unwrap();
}
