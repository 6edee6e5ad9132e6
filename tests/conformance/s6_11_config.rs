//! authenticatorConfig (CTAP 2.3 §6.11), and what its settings do elsewhere.

use brasskey_tests::client_pin::{PROTOCOLS, permission, subcommand};
use brasskey_tests::ctap1;
use brasskey_tests::ctap2::{GetAssertion, MakeCredential, command, status::*};
use brasskey_tests::management::config::*;
use brasskey_tests::{Error, Key, cbor};
use ciborium::Value;

use crate::{
    PIN, SITE, attached, get, get_refused, info_number, make, make_refused, one, option, power_cycle,
    protected, refused, reset, resident, token, token_for_all,
};

const CONFIGURE: u8 = permission::AUTHENTICATOR_CONFIGURATION;

fn has(key: &Key, subcommand: u8) -> bool {
    let info = key.get_info().unwrap();
    let commands = cbor::get(&info, 0x1f).and_then(Value::as_array).cloned().unwrap_or_default();
    option(key, "authnrCfg") == Some(true) && commands.contains(&Value::from(subcommand))
}

fn configure(key: &Key, subcommand: u8, params: Option<Value>) -> brasskey_tests::Result<()> {
    key.configure(subcommand, params, Some(&token_for_all(key, CONFIGURE)))
}

fn minimum(length: u64) -> Option<Value> {
    Some(cbor::map([(1, length)]))
}

/// Covers: §6.11; command authenticatorConfig; status PUAT_REQUIRED; status PIN_AUTH_INVALID;
/// status MISSING_PARAMETER; status INVALID_PARAMETER; permission acfg; protocol one; protocol two;
/// member authenticatorConfigCommands
#[test]
fn a_protected_key_wants_a_token() {
    let (_simulator, key) = protected();
    if option(&key, "authnrCfg") != Some(true) {
        return;
    }
    assert_eq!(refused(key.raw(command::CONFIG, &[0xa0])), MISSING_PARAMETER);
    for unknown in [0, 5, 0x7f] {
        assert_eq!(refused(configure(&key, unknown, None)), INVALID_PARAMETER);
    }
    for subcommand in
        [ENABLE_ENTERPRISE_ATTESTATION, TOGGLE_ALWAYS_UV, SET_MIN_PIN_LENGTH, ENABLE_LONG_TOUCH_FOR_RESET]
    {
        if !has(&key, subcommand) {
            assert_eq!(refused(configure(&key, subcommand, None)), INVALID_PARAMETER, "it is not announced");
            continue;
        }
        assert_eq!(refused(key.configure(subcommand, None, None)), PUAT_REQUIRED);
        for protocol in PROTOCOLS {
            let wrong = key.token(protocol, PIN, permission::CREDENTIAL_MANAGEMENT, None).unwrap();
            assert_eq!(refused(key.configure(subcommand, None, Some(&wrong))), PIN_AUTH_INVALID);
        }
    }
    assert_eq!(option(&key, "alwaysUv"), Some(false));
}

/// Covers: §6.11.4; command authenticatorConfig; subcommand setMinPINLength; status PIN_POLICY_VIOLATION;
/// member minPINLength; member forcePINChange; option setMinPINLength; command authenticatorReset
#[test]
fn the_minimum_length_only_rises() {
    let (simulator, key) = protected();
    if !has(&key, SET_MIN_PIN_LENGTH) {
        return;
    }
    for protocol in PROTOCOLS {
        let token = key.token(protocol, PIN, CONFIGURE, None).unwrap();
        key.configure(SET_MIN_PIN_LENGTH, minimum(4), Some(&token)).unwrap();
    }
    assert_eq!(refused(configure(&key, SET_MIN_PIN_LENGTH, minimum(3))), PIN_POLICY_VIOLATION);
    assert_eq!(refused(configure(&key, SET_MIN_PIN_LENGTH, minimum(64))), PIN_POLICY_VIOLATION);
    assert_eq!(info_number(&key, 0x0d), 4);
    // Above the PIN that there is: it must be changed, and nothing else is done with it.
    configure(&key, SET_MIN_PIN_LENGTH, minimum(6)).unwrap();
    assert_eq!(info_number(&key, 0x0d), 6);
    let forced = |key: &Key| cbor::get(&key.get_info().unwrap(), 0x0c).and_then(Value::as_bool) == Some(true);
    assert!(forced(&key));
    let key = power_cycle(&simulator, key);
    assert!(forced(&key));
    assert_eq!(refused(key.pin_token(2, PIN).map(drop)), PIN_INVALID);
    assert_eq!(refused(key.token(2, PIN, CONFIGURE, None).map(drop)), PIN_POLICY_VIOLATION);
    assert_eq!(refused(key.change_pin(2, PIN, "12345")), PIN_POLICY_VIOLATION);
    assert_eq!(refused(key.change_pin(2, PIN, PIN)), PIN_POLICY_VIOLATION);
    key.change_pin(2, PIN, "123456").unwrap();
    assert!(!forced(&key));
    assert_eq!(
        refused(key.configure(
            SET_MIN_PIN_LENGTH,
            minimum(5),
            Some(&key.token(2, "123456", CONFIGURE, None).unwrap())
        )),
        PIN_POLICY_VIOLATION
    );
    let key = reset(&simulator, key);
    assert_eq!(info_number(&key, 0x0d), 4);
}

/// Covers: §6.11.4; §6.5.5.6; command authenticatorConfig; subcommand setMinPINLength; status PIN_NOT_SET;
/// status PIN_POLICY_VIOLATION; member forcePINChange; status PIN_AUTH_INVALID; subcommand changePIN
#[test]
fn a_change_of_the_pin_can_be_demanded() {
    let (_simulator, key) = attached();
    if !has(&key, SET_MIN_PIN_LENGTH) {
        return;
    }
    let force = || Some(cbor::map([(3, true)]));
    assert_eq!(refused(key.configure(SET_MIN_PIN_LENGTH, force(), None)), PIN_NOT_SET);
    key.set_pin(2, PIN).unwrap();
    let token = token_for_all(&key, CONFIGURE);
    key.configure(SET_MIN_PIN_LENGTH, force(), Some(&token)).unwrap();
    assert_eq!(
        refused(key.configure(SET_MIN_PIN_LENGTH, force(), Some(&token))),
        PIN_AUTH_INVALID,
        "the token ended"
    );
    assert_eq!(refused(key.change_pin(2, PIN, PIN)), PIN_POLICY_VIOLATION, "the same again");
    key.change_pin(2, PIN, "5678").unwrap();
    key.pin_token(2, "5678").unwrap();
}

/// Covers: §6.11.4; §12.4; command authenticatorConfig; extension minPinLength; extension pinComplexityPolicy; member pinComplexityPolicy;
/// subcommand setMinPINLength; status KEY_STORE_FULL; member maxRPIDsForSetMinPINLength
#[test]
fn sites_that_are_listed_hear_of_the_minimum() {
    let (_simulator, key) = protected();
    if !has(&key, SET_MIN_PIN_LENGTH) {
        return;
    }
    let wish = |rp_id: &str, name: &str| {
        let request = MakeCredential::new(rp_id).parameters().with(6, one(name, true));
        make(&key, &request).auth_data.extensions
    };
    assert_eq!(wish(SITE, "minPinLength"), None);
    let list = |rp_ids: &[String]| {
        Some(cbor::map([(2, Value::Array(rp_ids.iter().map(|id| id.as_str().into()).collect()))]))
    };
    configure(&key, SET_MIN_PIN_LENGTH, list(&[SITE.into()])).unwrap();
    assert_eq!(wish(SITE, "minPinLength"), Some(one("minPinLength", 4)));
    assert_eq!(wish("example.net", "minPinLength"), None);
    let policy = cbor::get(&key.get_info().unwrap(), 0x1b).and_then(Value::as_bool);
    if let Some(policy) = policy {
        assert_eq!(wish(SITE, "pinComplexityPolicy"), Some(one("pinComplexityPolicy", policy)));
        assert_eq!(wish("example.net", "pinComplexityPolicy"), None);
    }
    let bad = MakeCredential::new(SITE).parameters().with(6, one("minPinLength", 1));
    assert_eq!(make_refused(&key, &bad), CBOR_UNEXPECTED_TYPE);
    let many: Vec<String> = (0..=info_number(&key, 0x10)).map(|n| format!("site-{n}.example")).collect();
    assert_eq!(refused(configure(&key, SET_MIN_PIN_LENGTH, list(&many))), KEY_STORE_FULL);
    assert_eq!(wish(SITE, "minPinLength"), Some(one("minPinLength", 4)), "nothing has changed");
    configure(&key, SET_MIN_PIN_LENGTH, list(&many[1..])).unwrap();
    assert_eq!(wish(SITE, "minPinLength"), None, "a new list replaces the old one");
}

/// Covers: §6.11; §7.2.4; command authenticatorConfig; subcommand toggleAlwaysUv; option alwaysUv;
/// option makeCredUvNotRqd; status PUAT_REQUIRED; member versions; status word 0x6986
#[test]
fn always_uv() {
    let (simulator, key) = protected();
    if !has(&key, TOGGLE_ALWAYS_UV) {
        return;
    }
    let made = resident(&key, SITE, b"1");
    configure(&key, TOGGLE_ALWAYS_UV, None).unwrap();
    let key = power_cycle(&simulator, key);
    assert_eq!(option(&key, "alwaysUv"), Some(true));
    assert_ne!(option(&key, "makeCredUvNotRqd"), Some(true));
    let info = key.get_info().unwrap();
    assert!(!cbor::get(&info, 1).unwrap().as_array().unwrap().contains(&"U2F_V2".into()));
    let request = || MakeCredential::new(SITE).parameters();
    assert_eq!(make_refused(&key, &request()), PUAT_REQUIRED);
    make(&key, &token(&key, permission::MAKE_CREDENTIAL).make(request()));
    let allow = GetAssertion::allow(SITE, &[made.id()]);
    assert_eq!(get_refused(&key, &allow.parameters()), PUAT_REQUIRED);
    assert_eq!(
        get(&key, &allow.clone().silent().parameters()).auth_data.flags,
        0,
        "without a touch it is free"
    );
    get(&key, &token(&key, permission::GET_ASSERTION).get(allow.parameters()));
    // U2F knows no verification. Some of its status words say no; none of its commands works.
    for apdu in [ctap1::extended(ctap1::VERSION, 0, &[]), ctap1::extended(ctap1::REGISTER, 0, &[0; 64])] {
        assert!(matches!(key.apdu(&apdu), Err(Error::StatusWord(0x6986))), "{apdu:02x?}");
    }
    configure(&key, TOGGLE_ALWAYS_UV, None).unwrap();
    assert_eq!(option(&key, "alwaysUv"), Some(false));
    get(&key, &allow.parameters());
    assert_eq!(key.apdu(&ctap1::extended(ctap1::VERSION, 0, &[])).unwrap(), b"U2F_V2");
}

/// Covers: §6.11; command authenticatorConfig; subcommand toggleAlwaysUv; status PUAT_REQUIRED;
/// option alwaysUv; command authenticatorMakeCredential
#[test]
fn always_uv_without_a_pin() {
    let (_simulator, key) = attached();
    if !has(&key, TOGGLE_ALWAYS_UV) {
        return;
    }
    key.configure(TOGGLE_ALWAYS_UV, None, None).unwrap();
    assert_eq!(make_refused(&key, &MakeCredential::new(SITE).parameters()), PUAT_REQUIRED);
    if option(&key, "largeBlobs") == Some(true) {
        let array = brasskey_tests::management::blob_array(&[0x80]);
        assert_eq!(refused(key.set_blobs(&array, 0, Some(17), None)), PUAT_REQUIRED);
    }
    key.set_pin(2, PIN).unwrap();
    make(&key, &token(&key, permission::MAKE_CREDENTIAL).make(MakeCredential::new(SITE).parameters()));
}

/// Covers: §6.11; §7.1; command authenticatorConfig; subcommand enableEnterpriseAttestation; option ep;
/// attestation enterprise; status INVALID_OPTION; status INVALID_PARAMETER; command authenticatorReset
#[test]
fn enterprise_attestation() {
    use brasskey_tests::{Simulator, simulator::MEMORY};
    let options = ["--image", MEMORY, "--presence", "auto", "--enterprise", SITE];
    let simulator = Simulator::with(&options).unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    if !has(&key, ENABLE_ENTERPRISE_ATTESTATION) {
        return;
    }
    let request = |site: &str, kind: u8| MakeCredential::new(site).parameters().with(0x0a, kind);
    assert_eq!(option(&key, "ep"), Some(false));
    assert_eq!(make_refused(&key, &request(SITE, 1)), INVALID_PARAMETER);
    key.set_pin(2, PIN).unwrap();
    configure(&key, ENABLE_ENTERPRISE_ATTESTATION, None).unwrap();
    let key = power_cycle(&simulator, key);
    assert_eq!(option(&key, "ep"), Some(true));
    for bad in [0, 3, 255] {
        assert_eq!(make_refused(&key, &request(SITE, bad)), INVALID_OPTION);
    }
    // By the vendor's list, or by the platform's.
    for (site, kind, expected) in [(SITE, 1, true), ("example.net", 1, false), ("example.net", 2, true)] {
        let answer = key.call(command::MAKE_CREDENTIAL, &request(site, kind)).unwrap();
        let enterprise = cbor::get(&answer, 4).and_then(Value::as_bool) == Some(true);
        assert_eq!(enterprise, expected, "{site} {kind}");
        if enterprise {
            let statement = cbor::get(&answer, 3).unwrap();
            assert_eq!(cbor::get(statement, "x5c").unwrap().as_array().unwrap().len(), 1);
        }
    }
    let key = reset(&simulator, key);
    assert_eq!(option(&key, "ep"), Some(false));
}

/// Covers: §6.11; command authenticatorConfig; subcommand enableLongTouchForReset; member longTouchForReset
#[test]
fn a_long_touch_for_a_reset() {
    let (simulator, key) = protected();
    if !has(&key, ENABLE_LONG_TOUCH_FOR_RESET) {
        return;
    }
    let long = |key: &Key| cbor::get(&key.get_info().unwrap(), 0x18).and_then(Value::as_bool);
    assert_eq!(long(&key), Some(false));
    configure(&key, ENABLE_LONG_TOUCH_FOR_RESET, None).unwrap();
    let key = power_cycle(&simulator, key);
    assert_eq!(long(&key), Some(true));
    // Its use is written down in the PIN's own state, which it does not touch.
    assert_eq!(
        key.client_pin(2, subcommand::GET_PIN_RETRIES, &[]).unwrap(),
        cbor::map([(3, Value::from(8)), (4, false.into())])
    );
}
