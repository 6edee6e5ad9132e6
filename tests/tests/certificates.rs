//! The attestation certificate as strict verifiers read it, and its chain up to the root (WebAuthn §8.2).

use brasskey::{ImageSource, Key as Image, KeyOptions, Missing};
use brasskey_tests::attestation::Kind;
use brasskey_tests::certificate::Certificate;
use brasskey_tests::cose::{EDDSA, ES256};
use brasskey_tests::ctap2::MakeCredential;
use brasskey_tests::relying_party::{RelyingParty, roots};
use brasskey_tests::{Key, Simulator, cbor, simulator};
use rustix::process::Signal;
use webauthn_rs_core::proto::AttestationConveyancePreference;

/// What the owner of an image can read of it: the root of its attestation.
fn root_of(image: &str) -> Vec<u8> {
    let options = KeyOptions::new(ImageSource::File(image.into())).missing(Missing::Refuse);
    Image::new(options).with_authenticator(|key| key.attestation_root().to_vec()).unwrap()
}

#[test]
fn the_leaf_chains_up_to_the_root_of_this_key_and_of_no_other() {
    if simulator::is_board() {
        println!("the root is read from the image, and a board's image opens for no other model");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let images = ["a.img", "b.img"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    for image in &images {
        Simulator::with_image(image).unwrap().stop(Signal::TERM).unwrap();
    }
    let [root, other] = [root_of(&images[0]), root_of(&images[1])];

    let simulator = Simulator::with_image(&images[0]).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    let request = MakeCredential::new("example.com");
    let made = key.make_credential(&request).unwrap();
    let Kind::Certified(leaf) = made.verify(&request.client_data_hash).unwrap() else { panic!("{made:?}") };
    leaf.check_u2f_transports().unwrap();
    leaf.verify_issued_by(&Certificate::parse(&root).unwrap()).unwrap();
    leaf.verify_issued_by(&Certificate::parse(&other).unwrap()).expect_err("another key's root");

    let aaguid = made.credential().aaguid;
    let info = key.get_info().unwrap();
    assert_eq!(cbor::bytes(&info, 0x03).unwrap(), aaguid, "getInfo names the same model");
    let mut site = RelyingParty::new("https://example.com").unwrap();
    let direct = || AttestationConveyancePreference::Direct;
    site.register(&key, direct(), Some(&roots(&other, aaguid).unwrap())).expect_err("another key's root");
    site.register(&key, direct(), Some(&roots(&root, aaguid).unwrap())).unwrap();
    site.sign_in(&key).unwrap();
}

#[test]
fn each_policy_gives_its_own_kind_of_statement() {
    for (policy, expected) in [("packed", "packed x5c"), ("self", "packed"), ("none", "none")] {
        let arguments = ["--image", ":memory:", "--presence", "auto", "--attestation", policy];
        let simulator = Simulator::with(&arguments).unwrap();
        let key = Key::attach(simulator.address()).unwrap();
        for algorithm in [ES256, EDDSA] {
            let request = MakeCredential::new("example.com").algorithms(&[algorithm, ES256]);
            let made = key.make_credential(&request).unwrap();
            assert_eq!(made.credential().public_key.algorithm(), algorithm, "the site's order wins");
            let kind = match made.verify(&request.client_data_hash).unwrap() {
                Kind::Certified(_) => "packed x5c",
                Kind::SelfSigned => "packed",
                Kind::None => "none",
            };
            assert_eq!(kind, expected);
        }
        let preference =
            MakeCredential { attestation_formats: vec!["none".into()], ..MakeCredential::new("example.com") };
        assert_eq!(key.make_credential(&preference).unwrap().fmt, "none");
    }
}
