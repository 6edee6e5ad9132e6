//! Extensions (CTAP 2.3 §12). minPinLength and pinComplexityPolicy are with authenticatorConfig.

use brasskey_tests::attestation::Attested;
use brasskey_tests::client_pin::{Agreed, PROTOCOLS, permission};
use brasskey_tests::ctap2::{GetAssertion, MakeCredential, Parameters, status::*};
use brasskey_tests::{Key, cbor, sha256};
use ciborium::Value;

use crate::{
    PIN, SITE, attached, get, get_refused, info_number, make, make_refused, one, power_cycle, protected,
    refused, token, token_for_all,
};

const SALT: [u8; 32] = [0x11; 32];
const OTHER_SALT: [u8; 32] = [0x22; 32];

fn has(key: &Key, extension: &str) -> bool {
    let info = key.get_info().unwrap();
    cbor::get(&info, 2).unwrap().as_array().unwrap().contains(&extension.into())
}

fn new(user_id: &[u8]) -> Parameters {
    MakeCredential::discoverable(SITE, user_id).parameters()
}

fn output(extensions: &Option<Value>, name: &str) -> Option<Value> {
    extensions.as_ref().and_then(|outputs| cbor::get(outputs, name)).cloned()
}

/// A discoverable credential by a key with [`PIN`].
fn made_with(key: &Key, user_id: &[u8], extensions: Value) -> Attested {
    make(key, &token(key, permission::MAKE_CREDENTIAL).make(new(user_id).with(6, extensions)))
}

fn allow(made: &Attested) -> Parameters {
    GetAssertion::allow(SITE, &[made.id()]).parameters()
}

fn discover() -> Parameters {
    GetAssertion::discover(SITE).parameters()
}

/// What hmac-secret answers, opened.
fn secrets(
    key: &Key,
    protocol: u8,
    request: impl Fn(Parameters) -> Parameters,
    made: &Attested,
    salts: &[[u8; 32]],
) -> Vec<u8> {
    let agreed = Agreed::with(key, protocol).unwrap();
    let request = request(allow(made).with(4, one("hmac-secret", agreed.hmac_secret(salts))));
    let sealed = output(&get(key, &request).auth_data.extensions, "hmac-secret").unwrap();
    let secrets = agreed.decrypt(sealed.as_bytes().unwrap()).unwrap();
    assert_eq!(secrets.len(), 32 * salts.len());
    secrets
}

/// Covers: §12.7; extension hmac-secret; protocol one; protocol two; command authenticatorGetAssertion
#[test]
fn hmac_secret() {
    let (simulator, key) = protected();
    let made = made_with(&key, b"1", one("hmac-secret", true));
    assert_eq!(output(&made.auth_data.extensions, "hmac-secret"), Some(true.into()));
    let other = made_with(&key, b"2", one("hmac-secret", true));
    let plain = |request: Parameters| request;
    let one_salt = secrets(&key, 2, plain, &made, &[SALT]);
    let two_salts = secrets(&key, 2, plain, &made, &[SALT, OTHER_SALT]);
    assert_eq!(two_salts[..32], one_salt);
    assert_ne!(two_salts[32..], one_salt);
    assert_eq!(secrets(&key, 1, plain, &made, &[SALT, OTHER_SALT]), two_salts, "by the other protocol");
    assert_ne!(secrets(&key, 2, plain, &other, &[SALT]), one_salt, "another credential");
    // A verified user has another secret.
    let verified = |request| token(&key, permission::GET_ASSERTION).get(request);
    let by_verified = secrets(&key, 2, verified, &made, &[SALT]);
    assert_ne!(by_verified, one_salt);
    let key = power_cycle(&simulator, key);
    assert_eq!(secrets(&key, 2, plain, &made, &[SALT]), one_salt);
    let verified = |request| token(&key, permission::GET_ASSERTION).get(request);
    assert_eq!(secrets(&key, 1, verified, &made, &[SALT]), by_verified);
}

/// Covers: §12.7; extension hmac-secret; status PIN_AUTH_INVALID; status UNSUPPORTED_OPTION;
/// status CBOR_UNEXPECTED_TYPE; status MISSING_PARAMETER
#[test]
fn hmac_secret_that_is_asked_for_in_a_wrong_way() {
    let (_simulator, key) = protected();
    let made = made_with(&key, b"1", one("hmac-secret", true));
    for protocol in PROTOCOLS {
        let agreed = Agreed::with(&key, protocol).unwrap();
        let with = |input: Value| allow(&made).with(4, one("hmac-secret", input));
        let good = agreed.hmac_secret(&[SALT]);
        let silent = with(good.clone()).with(5, one("up", false));
        assert_eq!(get_refused(&key, &silent), UNSUPPORTED_OPTION);
        let salt_enc = agreed.encrypt(&SALT);
        let forged = agreed.hmac_secret_of(salt_enc, vec![0; if protocol == 1 { 16 } else { 32 }]);
        assert_eq!(get_refused(&key, &with(forged)), PIN_AUTH_INVALID);
        let salt_enc = agreed.encrypt(&[0; 48]);
        let salt_auth = agreed.authenticate(&salt_enc);
        refused(key.raw(2, &with(agreed.hmac_secret_of(salt_enc, salt_auth)).encode()));
        for missing in 1..=3 {
            let mut input = good.clone().into_map().unwrap();
            input.retain(|(member, _)| *member != Value::from(missing));
            assert_eq!(get_refused(&key, &with(Value::Map(input))), MISSING_PARAMETER, "{missing}");
        }
        assert_eq!(get_refused(&key, &with(true.into())), CBOR_UNEXPECTED_TYPE);
        get(&key, &with(good));
    }
    let bad = new(b"2").with(6, one("hmac-secret", 1));
    assert_eq!(make_refused(&key, &token(&key, permission::MAKE_CREDENTIAL).make(bad)), CBOR_UNEXPECTED_TYPE);
}

/// Covers: §12; extension hmac-secret-mc; status MISSING_PARAMETER; status PIN_AUTH_INVALID; protocol one;
/// protocol two
#[test]
fn hmac_secret_when_the_credential_is_made() {
    let (_simulator, key) = protected();
    if !has(&key, "hmac-secret-mc") {
        return;
    }
    for protocol in PROTOCOLS {
        let agreed = Agreed::with(&key, protocol).unwrap();
        let by_token = |request| token(&key, permission::MAKE_CREDENTIAL).make(request);
        let alone = new(b"1").with(6, one("hmac-secret-mc", agreed.hmac_secret(&[SALT])));
        assert_eq!(make_refused(&key, &by_token(alone)), MISSING_PARAMETER);
        let both = |agreed: &Agreed, input: Value| {
            let _ = agreed;
            cbor::map([("hmac-secret", Value::from(true)), ("hmac-secret-mc", input)])
        };
        let forged = agreed.hmac_secret_of(agreed.encrypt(&SALT), vec![0; 32]);
        assert_eq!(make_refused(&key, &by_token(new(b"1").with(6, both(&agreed, forged)))), PIN_AUTH_INVALID);
        for salts in [&[SALT][..], &[SALT, OTHER_SALT]] {
            // The token took a new key agreement, so this one comes after it.
            let by_token = token(&key, permission::MAKE_CREDENTIAL);
            let agreed = Agreed::with(&key, protocol).unwrap();
            let request = new(b"1").with(6, both(&agreed, agreed.hmac_secret(salts)));
            let made = make(&key, &by_token.make(request));
            let sealed = output(&made.auth_data.extensions, "hmac-secret-mc").unwrap();
            let at_once = agreed.decrypt(sealed.as_bytes().unwrap()).unwrap();
            let verified = |request| token(&key, permission::GET_ASSERTION).get(request);
            assert_eq!(at_once, secrets(&key, protocol, verified, &made, salts));
        }
    }
}

/// Covers: §12.1; extension credProtect; status NO_CREDENTIALS; command authenticatorGetAssertion
#[test]
fn cred_protect() {
    let (_simulator, key) = protected();
    for (level, user) in [(1, b"1"), (2, b"2"), (3, b"3")] {
        let made = made_with(&key, user, one("credProtect", level));
        assert_eq!(output(&made.auth_data.extensions, "credProtect"), Some(level.into()));
        let known = |request: &Parameters| key.raw(2, &request.encode()).is_ok();
        // 2 is hidden from who does not name it, 3 from who is not verified; both stay in an allow list's way.
        assert_eq!(known(&allow(&made)), level < 3, "{level}");
        let verified = token(&key, permission::GET_ASSERTION).get(allow(&made));
        assert_eq!(get(&key, &verified).credential_id, made.id());
    }
    assert_eq!(get(&key, &discover()).user_id().unwrap(), b"1");
    let verified = token(&key, permission::GET_ASSERTION).get(discover());
    assert_eq!(get(&key, &verified).number_of_credentials, Some(3));
    // credentialManagement tells which is which.
    let manager = token_for_all(&key, permission::CREDENTIAL_MANAGEMENT);
    let site = cbor::map([(1, sha256(&[SITE.as_bytes()]).to_vec())]);
    let newest = key.manage(4, Some(site), Some(&manager)).unwrap();
    assert_eq!(cbor::unsigned(&newest, 10).unwrap(), 3);
    for bad in [Value::from("3"), true.into()] {
        let request =
            token(&key, permission::MAKE_CREDENTIAL).make(new(b"4").with(6, one("credProtect", bad)));
        assert_eq!(make_refused(&key, &request), CBOR_UNEXPECTED_TYPE);
    }
}

/// Covers: §12.2; extension credBlob; member maxCredBlobLength; status CBOR_UNEXPECTED_TYPE
#[test]
fn cred_blob() {
    let (simulator, key) = attached();
    if !has(&key, "credBlob") {
        return;
    }
    let most = info_number(&key, 0x0f) as usize;
    assert!(most >= 32);
    let make_with = |user: &[u8], blob: usize| make(&key, &new(user).with(6, one("credBlob", vec![7; blob])));
    let kept = make_with(b"1", most);
    assert_eq!(output(&kept.auth_data.extensions, "credBlob"), Some(true.into()));
    let too_long = make_with(b"2", most + 1);
    assert_eq!(output(&too_long.auth_data.extensions, "credBlob"), Some(false.into()));
    assert_eq!(make_refused(&key, &new(b"3").with(6, one("credBlob", true))), CBOR_UNEXPECTED_TYPE);
    let key = power_cycle(&simulator, key);
    for (made, expected) in [(kept, vec![7; most]), (too_long, vec![])] {
        let blob = |wish| get(&key, &allow(&made).with(4, one("credBlob", wish))).auth_data.extensions;
        assert_eq!(output(&blob(true), "credBlob"), Some(expected.into()));
        assert_eq!(get(&key, &allow(&made)).auth_data.extensions, None);
    }
}

/// Covers: §12.3; extension largeBlobKey; status INVALID_OPTION; status CBOR_UNEXPECTED_TYPE; option largeBlobs
#[test]
fn large_blob_key() {
    let (simulator, key) = attached();
    if !has(&key, "largeBlobKey") {
        return;
    }
    let wish = |request: Parameters, value: Value| request.with(6, one("largeBlobKey", value));
    let plain = || MakeCredential::new(SITE).parameters();
    assert_eq!(make_refused(&key, &wish(plain(), true.into())), INVALID_OPTION, "not discoverable");
    assert_eq!(make_refused(&key, &wish(new(b"1"), false.into())), INVALID_OPTION);
    assert_eq!(make_refused(&key, &wish(new(b"1"), 1.into())), CBOR_UNEXPECTED_TYPE);
    let mut keys = Vec::new();
    for user in [b"1", b"2"] {
        let answer = key.call(1, &wish(new(user), true.into())).unwrap();
        assert!(cbor::get(&answer, 5).is_some(), "largeBlobKey");
        keys.push(cbor::bytes(&answer, 5).unwrap());
    }
    assert_ne!(keys[0], keys[1]);
    let key = power_cycle(&simulator, key);
    let asked = discover().with(4, one("largeBlobKey", true));
    let newest = key.call(2, &asked).unwrap();
    assert_eq!(cbor::bytes(&newest, 7).unwrap(), keys[1]);
    let next = cbor::decode(&key.raw(8, &[]).unwrap()).unwrap();
    assert_eq!(cbor::bytes(&next, 7).unwrap(), keys[0]);
    assert!(cbor::get(&key.call(2, &discover()).unwrap(), 7).is_none(), "nobody asked for it");
    assert_eq!(get_refused(&key, &discover().with(4, one("largeBlobKey", false))), INVALID_OPTION);
    assert_eq!(get_refused(&key, &discover().with(4, one("largeBlobKey", 1))), CBOR_UNEXPECTED_TYPE);
}

/// Covers: §12; extension thirdPartyPayment; subcommand enumerateCredentialsBegin
#[test]
fn third_party_payment() {
    let (_simulator, key) = protected();
    if !has(&key, "thirdPartyPayment") {
        return;
    }
    let pays = made_with(&key, b"1", one("thirdPartyPayment", true));
    assert_eq!(output(&pays.auth_data.extensions, "thirdPartyPayment"), Some(true.into()));
    let plain = crate::resident(&key, SITE, b"2");
    for (made, expected) in [(&pays, true), (&plain, false)] {
        let signed = get(&key, &allow(made).with(4, one("thirdPartyPayment", true)));
        assert_eq!(output(&signed.auth_data.extensions, "thirdPartyPayment"), Some(expected.into()));
    }
    let manager = key.token(2, PIN, permission::CREDENTIAL_MANAGEMENT, None).unwrap();
    let site = cbor::map([(1, sha256(&[SITE.as_bytes()]).to_vec())]);
    let newest = key.manage(4, Some(site), Some(&manager)).unwrap();
    assert_eq!(cbor::get(&newest, 12), Some(&Value::from(false)));
    assert_eq!(cbor::get(&key.manage(5, None, None).unwrap(), 12), Some(&Value::from(true)));
}

/// Covers: §6.3; §12.7; extension hmac-secret; extension credBlob; command authenticatorGetNextAssertion
#[test]
fn each_of_several_assertions_has_its_outputs() {
    let (_simulator, key) = protected();
    let made = [1u8, 2].map(|user| {
        let extensions = cbor::map([("credBlob", Value::from(vec![user; 8])), ("hmac-secret", true.into())]);
        made_with(&key, &[user], extensions)
    });
    let plain = |request: Parameters| request;
    let expected = [1, 0].map(|at: usize| secrets(&key, 2, plain, &made[at], &[SALT]));
    let agreed = Agreed::with(&key, 2).unwrap();
    let wishes = cbor::map([("credBlob", Value::from(true)), ("hmac-secret", agreed.hmac_secret(&[SALT]))]);
    let first = get(&key, &discover().with(4, wishes));
    let second = key.get_next_assertion().unwrap();
    for ((signed, expected), user) in [first, second].iter().zip(expected).zip([2u8, 1]) {
        let sealed = output(&signed.auth_data.extensions, "hmac-secret").unwrap();
        assert_eq!(agreed.decrypt(sealed.as_bytes().unwrap()).unwrap(), expected);
        if has(&key, "credBlob") {
            assert_eq!(output(&signed.auth_data.extensions, "credBlob"), Some(vec![user; 8].into()));
        }
        assert_eq!(signed.user_id().unwrap(), [user]);
    }
}

/// Covers: §6.8.4; §12.3; extension largeBlobKey; subcommand enumerateCredentialsBegin
#[test]
fn credential_management_tells_large_blob_keys() {
    let (_simulator, key) = protected();
    if !has(&key, "largeBlobKey") {
        return;
    }
    let request = new(b"1").with(6, one("largeBlobKey", true));
    let answer = key.call(1, &token(&key, permission::MAKE_CREDENTIAL).make(request)).unwrap();
    let manager = token_for_all(&key, permission::CREDENTIAL_MANAGEMENT);
    let site = cbor::map([(1, sha256(&[SITE.as_bytes()]).to_vec())]);
    let listed = key.manage(4, Some(site), Some(&manager)).unwrap();
    assert_eq!(cbor::bytes(&listed, 11).unwrap(), cbor::bytes(&answer, 5).unwrap());
}

/// Covers: §12.1; extension credProtect; command authenticatorGetNextAssertion; status NO_CREDENTIALS
#[test]
fn a_hidden_credential_is_not_counted() {
    let (_simulator, key) = protected();
    made_with(&key, b"1", one("credProtect", 3));
    assert_eq!(get_refused(&key, &discover()), NO_CREDENTIALS);
    made_with(&key, b"2", one("credProtect", 2));
    assert_eq!(get_refused(&key, &discover()), NO_CREDENTIALS);
    made_with(&key, b"3", one("credProtect", 1));
    assert_eq!(get(&key, &discover()).number_of_credentials, None);
    assert_eq!(refused(key.get_next_assertion()), NOT_ALLOWED);
}
