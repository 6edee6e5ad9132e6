//! A key on the wire: CTAP2, U2F, and a relying party that verifies everything.

use brasskey_tests::attestation::Kind;
use brasskey_tests::ctap2::{GetAssertion, MakeCredential};
use brasskey_tests::relying_party::RelyingParty;
use brasskey_tests::{Error, Key, Simulator, cbor, ctap1, ctaphid, sha256};
use webauthn_rs_core::proto::AttestationConveyancePreference;

const SITE: &str = "example.com";

fn attached() -> (Simulator, Key) {
    let simulator = Simulator::start().unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    (simulator, key)
}

#[test]
fn both_attestation_conveyances_satisfy_a_relying_party() {
    let (_simulator, key) = attached();
    for conveyance in [AttestationConveyancePreference::Direct, AttestationConveyancePreference::None] {
        let mut site = RelyingParty::new("https://example.com").unwrap();
        site.register(&key, conveyance, None).unwrap();
        let counts = [(); 3].map(|()| site.sign_in(&key).unwrap());
        assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
    }
}

#[test]
fn the_attestation_has_the_profile_that_webauthn_demands() {
    let (_simulator, key) = attached();
    let request = MakeCredential::new(SITE);
    let made = key.make_credential(&request).unwrap();
    assert!(matches!(made.verify(&request.client_data_hash).unwrap(), Kind::Certified(_)));
    let mut changed = request.client_data_hash;
    changed[0] ^= 1;
    made.verify(&changed).expect_err("one bit of the client data changed");
}

#[test]
fn the_newest_discoverable_credential_comes_first() {
    let (_simulator, key) = attached();
    for user in [b"1", b"2", b"3"] {
        key.make_credential(&MakeCredential::discoverable(SITE, user)).unwrap();
    }
    let request = GetAssertion::discover(SITE);
    let mut found = vec![key.get_assertion(&request).unwrap()];
    assert_eq!(found[0].number_of_credentials, Some(3));
    found.extend([(); 2].map(|()| key.get_next_assertion().unwrap()));
    let users: Vec<_> = found.iter().map(|assertion| assertion.user_id().unwrap()).collect();
    assert_eq!(users, [b"3", b"2", b"1"]);
    assert_eq!(key.get_next_assertion().unwrap_err().status(), Some(0x30));
}

#[test]
fn u2f_registers_and_the_credential_works_in_ctap2() {
    let (_simulator, key) = attached();
    let app_id = "https://u2f.aws.amazon.com/app-id.json";
    let (challenge, application) = ([7; 32], sha256(&[app_id.as_bytes()]));
    let registered = key.u2f_register(&challenge, &application).unwrap();
    for control in [ctap1::ENFORCE, 0x08] {
        let handle = &registered.key_handle;
        key.u2f_authenticate(control, &challenge, &application, handle, &registered.public_key).unwrap();
    }
    let request = GetAssertion::allow(app_id, &[&registered.key_handle]);
    let assertion = key.get_assertion(&request).unwrap();
    assertion.verify(&registered.public_key, &request.client_data_hash).unwrap();
    assert_eq!(assertion.auth_data.sign_count, 3);
}

#[test]
fn a_reset_needs_a_new_power_up_and_voids_everything() {
    let (simulator, key) = attached();
    let made = key.make_credential(&MakeCredential::discoverable(SITE, b"1")).unwrap();
    key.reset().unwrap();
    let request = GetAssertion::allow(SITE, &[made.id()]);
    assert_eq!(key.get_assertion(&request).unwrap_err().status(), Some(0x2e));
    key.device().detach();
    drop(key);
    let key = Key::attach(simulator.address()).unwrap();
    assert_eq!(key.get_assertion(&request).unwrap_err().status(), Some(0x2e));
}

#[test]
fn a_key_that_is_told_to_refuses() {
    let simulator = Simulator::with(&["--image", ":memory:", "--presence", "deny"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    assert_eq!(key.selection().unwrap_err().status(), Some(0x27));
    assert_eq!(key.make_credential(&MakeCredential::new(SITE)).unwrap_err().status(), Some(0x27));
}

#[test]
fn the_user_is_asked_on_the_terminal_and_the_host_may_cancel() {
    let mut simulator = Simulator::in_terminal(&["--image", ":memory:"]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    let parameters = MakeCredential::new(SITE).parameters().encode();
    for (answer, status) in [("y", None), ("n", Some(0x27))] {
        key.send(0x01, &parameters).unwrap();
        let asked = simulator.terminal().wait_for("[y/n]").unwrap();
        assert!(asked.contains(SITE), "{asked:?}");
        simulator.terminal().type_line(answer).unwrap();
        assert_eq!(key.receive().err().and_then(|error| error.status()), status);
    }
    key.send(0x01, &parameters).unwrap();
    key.channel().wait_for_prompt().unwrap();
    key.channel().cancel().unwrap();
    assert_eq!(key.receive().unwrap_err().status(), Some(0x2d), "KEEPALIVE_CANCEL");
}

#[test]
fn pings_of_every_kind_of_length_come_back() {
    let (_simulator, key) = attached();
    // A board takes shorter messages than a host.
    let longest = cbor::get(&key.get_info().unwrap(), 0x05).unwrap().as_integer().unwrap();
    let longest = usize::try_from(longest).unwrap();
    let lengths = [0, 1, 57, 58, 116, 117, 1024, 3715, 3716, 7608, 7609];
    for length in lengths.into_iter().filter(|length| *length <= longest).chain([longest - 1, longest]) {
        let data: Vec<u8> = (0..length).map(|index| index as u8).collect();
        assert!(key.channel().call(ctaphid::command::PING, &data).unwrap() == data, "{length} bytes");
    }
    let unknown = key.channel().call(0x50, b"").unwrap_err();
    assert!(matches!(unknown, Error::Ctaphid(0x01)), "{unknown}");
}
