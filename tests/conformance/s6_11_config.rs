//! authenticatorConfig (CTAP 2.3 §6.11), and what its settings do elsewhere.

use crate::key::{PIN, Served, info, option, status};
use brasskey_tests::client_pin::{Token, permission, unauthorized_subcommand};
use brasskey_tests::ctap2::{GetAssertion, MakeCredential, command::*, status::*};
use brasskey_tests::{Error, cbor, ctap1, sha256};
use ciborium::Value;

const SITE: &str = "example.com";
const ENABLE_ENTERPRISE_ATTESTATION: u8 = 1;
const TOGGLE_ALWAYS_UV: u8 = 2;
const SET_MIN_PIN_LENGTH: u8 = 3;
const ENABLE_LONG_TOUCH_FOR_RESET: u8 = 4;

fn config(served: &Served, subcommand: u8, params: Option<Value>, token: Option<&Token>) -> u8 {
    let request = match token {
        Some(token) => {
            let head = [&[0xff; 32][..], &[0x0d, subcommand]].concat();
            token.subcommand(1, &head, subcommand, params)
        }
        None => unauthorized_subcommand(1, subcommand, params),
    };
    served.status(CONFIG, &request)
}

fn configurer(served: &Served, pin: &str) -> Token {
    served.key.token_using_pin(2, pin, permission::AUTHENTICATOR_CONFIGURATION, None).unwrap()
}

fn params(entries: &[(u64, Value)]) -> Option<Value> {
    Some(cbor::map(entries.iter().cloned()))
}

/// Covers: command authenticatorConfig; permission acfg; status MISSING_PARAMETER; status PUAT_REQUIRED;
/// status PIN_AUTH_INVALID; status INVALID_PARAMETER; member authenticatorConfigCommands
#[test]
fn subcommands_that_do_not_work_are_refused() {
    let served = Served::blank();
    assert_eq!(status(served.key.raw(CONFIG, &[0xa0])), MISSING_PARAMETER);
    let listed = info(&served.key, 0x1f).unwrap();
    for subcommand in [0, ENABLE_ENTERPRISE_ATTESTATION, 5, 0x80, 0xff] {
        assert!(!listed.as_array().unwrap().contains(&subcommand.into()));
        assert_eq!(config(&served, subcommand, None, None), INVALID_PARAMETER, "{subcommand}");
    }
    served.key.set_pin(2, PIN).unwrap();
    assert_eq!(config(&served, TOGGLE_ALWAYS_UV, None, None), PUAT_REQUIRED);
    let other = served.key.token_using_pin(2, PIN, permission::CREDENTIAL_MANAGEMENT, None).unwrap();
    assert_eq!(config(&served, TOGGLE_ALWAYS_UV, None, Some(&other)), PIN_AUTH_INVALID);
    for protocol in [1, 2] {
        let token = served.key.token_using_pin(protocol, PIN, permission::AUTHENTICATOR_CONFIGURATION, None);
        let token = token.unwrap();
        assert_eq!(config(&served, TOGGLE_ALWAYS_UV, None, Some(&token)), SUCCESS);
    }
}

/// Covers: subcommand toggleAlwaysUv; option alwaysUv; option makeCredUvNotRqd; status PUAT_REQUIRED
#[test]
fn always_uv_lets_nothing_pass() {
    let served = Served::blank();
    let made = served.key.make_credential(&MakeCredential::new(SITE)).unwrap();
    assert_eq!(config(&served, TOGGLE_ALWAYS_UV, None, None), SUCCESS);
    assert_eq!(option(&served.key, "alwaysUv"), Some(true));
    assert_eq!(option(&served.key, "makeCredUvNotRqd"), Some(false));
    assert!(!info(&served.key, 1).unwrap().as_array().unwrap().contains(&"U2F_V2".into()));
    assert_eq!(served.status(MAKE_CREDENTIAL, &MakeCredential::new(SITE).parameters()), PUAT_REQUIRED);
    let request = GetAssertion::allow(SITE, &[made.id()]);
    assert_eq!(served.status(GET_ASSERTION, &request.parameters()), PUAT_REQUIRED);
    let silent = served.key.get_assertion(&request.clone().silent()).unwrap();
    assert!(!silent.auth_data.user_present() && !silent.auth_data.user_verified());
    let refused = served.key.apdu(&ctap1::extended(ctap1::REGISTER, 0, &[1; 64]));
    assert!(matches!(refused, Err(Error::StatusWord(0x6986))), "{refused:?}");
    let served = served.power_cycle();
    assert_eq!(option(&served.key, "alwaysUv"), Some(true));
    served.key.set_pin(2, PIN).unwrap();
    let token = served.key.token_using_pin(2, PIN, permission::GET_ASSERTION, Some(SITE)).unwrap();
    assert_eq!(served.status(GET_ASSERTION, &token.get_assertion(&request)), SUCCESS);
    let token = configurer(&served, PIN);
    assert_eq!(config(&served, TOGGLE_ALWAYS_UV, None, Some(&token)), SUCCESS);
    served.key.get_assertion(&request).unwrap();
}

/// Covers: subcommand setMinPINLength; option setMinPINLength; member minPINLength; member forcePINChange;
/// status PIN_POLICY_VIOLATION; status PIN_INVALID
#[test]
fn the_minimum_pin_length_rises_and_forces_a_change() {
    let served = Served::with_pin();
    let token = configurer(&served, PIN);
    let length = |length: u64| params(&[(1, length.into())]);
    for (bad, why) in [(3, "lower"), (64, "above maxPINLength"), (1000, "far above")] {
        let status = config(&served, SET_MIN_PIN_LENGTH, length(bad), Some(&token));
        assert_eq!(status, PIN_POLICY_VIOLATION, "{why}");
    }
    assert_eq!(config(&served, SET_MIN_PIN_LENGTH, None, Some(&token)), SUCCESS, "nothing to change");
    assert_eq!(config(&served, SET_MIN_PIN_LENGTH, length(6), Some(&token)), SUCCESS);
    assert_eq!(info(&served.key, 0x0d), Some(6.into()));
    assert_eq!(info(&served.key, 0x0c), Some(true.into()));
    assert_eq!(config(&served, SET_MIN_PIN_LENGTH, length(7), Some(&token)), PIN_AUTH_INVALID);
    assert_eq!(status(served.key.pin_token(2, PIN)), PIN_INVALID);
    assert_eq!(status(served.key.token_using_pin(2, PIN, 4, None)), PIN_POLICY_VIOLATION);
    assert_eq!(status(served.key.change_pin(2, PIN, "31415")), PIN_POLICY_VIOLATION);
    served.key.change_pin(2, PIN, "314159").unwrap();
    assert_eq!(info(&served.key, 0x0c), Some(false.into()));
    served.key.pin_token(2, "314159").unwrap();
    let served = served.power_cycle();
    assert_eq!(info(&served.key, 0x0d), Some(6.into()));
}

/// Covers: subcommand setMinPINLength; status PIN_NOT_SET; status PIN_POLICY_VIOLATION
#[test]
fn a_change_can_be_forced() {
    let served = Served::blank();
    let force = || params(&[(3, true.into())]);
    assert_eq!(config(&served, SET_MIN_PIN_LENGTH, force(), None), PIN_NOT_SET);
    served.key.set_pin(2, PIN).unwrap();
    let token = configurer(&served, PIN);
    assert_eq!(config(&served, SET_MIN_PIN_LENGTH, force(), Some(&token)), SUCCESS);
    assert_eq!(status(served.key.change_pin(2, PIN, PIN)), PIN_POLICY_VIOLATION, "to the same");
    served.key.change_pin(2, PIN, "3141").unwrap();
}

/// Covers: extension minPinLength; extension pinComplexityPolicy; member pinComplexityPolicy; status KEY_STORE_FULL;
/// status PIN_POLICY_VIOLATION
#[test]
fn listed_sites_learn_the_policy() {
    let served = Served::blank();
    let learns = |site: &str| {
        let asks = cbor::map([("minPinLength", true), ("pinComplexityPolicy", true)]);
        let request = MakeCredential::new(site).parameters().with(6, asks);
        let response = served.key.call(MAKE_CREDENTIAL, &request).unwrap();
        let auth_data =
            brasskey_tests::auth_data::AuthData::parse(&cbor::bytes(&response, 2).unwrap()).unwrap();
        auth_data.extensions
    };
    assert_eq!(learns(SITE), None);
    let sites = |sites: &[&str]| Value::Array(sites.iter().map(|&site| site.into()).collect());
    let all = params(&[(1, 6.into()), (2, sites(&[SITE])), (4, true.into())]);
    assert_eq!(config(&served, SET_MIN_PIN_LENGTH, all, None), SUCCESS);
    let told = [("minPinLength", Value::from(6)), ("pinComplexityPolicy", true.into())];
    assert_eq!(learns(SITE), Some(cbor::map(told)));
    assert_eq!(learns("other.example"), None);
    assert_eq!(info(&served.key, 0x1b), Some(true.into()));
    assert_eq!(status(served.key.set_pin(2, "123456")), PIN_POLICY_VIOLATION, "a run");
    assert_eq!(status(served.key.set_pin(2, "777777")), PIN_POLICY_VIOLATION, "one digit");
    let many = vec!["site.example"; 1 + crate::key::number(&served.key, 0x10).unwrap() as usize];
    assert_eq!(config(&served, SET_MIN_PIN_LENGTH, params(&[(2, sites(&many))]), None), KEY_STORE_FULL);
    assert!(learns(SITE).is_some(), "the list is as it was");
}

/// Covers: subcommand enableEnterpriseAttestation; option ep; status INVALID_PARAMETER; status INVALID_OPTION
#[test]
fn enterprise_attestation_is_given_where_it_is_allowed() {
    let served = Served::with(&["--enterprise", SITE]);
    let certificate = |site: &str, kind: Option<u64>| {
        let request = MakeCredential::new(site).parameters();
        let request = match kind {
            Some(kind) => request.with(10, kind),
            None => request,
        };
        let response = served.key.call(MAKE_CREDENTIAL, &request)?;
        let chain = cbor::get(cbor::get(&response, 3).unwrap(), "x5c").unwrap().as_array().unwrap().clone();
        assert_eq!(chain.len(), 1);
        Ok((chain, cbor::get(&response, 4).cloned()))
    };
    assert_eq!(option(&served.key, "ep"), Some(false));
    assert_eq!(status(certificate(SITE, Some(1))), INVALID_PARAMETER, "not enabled yet");
    assert_eq!(status(certificate(SITE, Some(7))), INVALID_PARAMETER);
    assert_eq!(config(&served, ENABLE_ENTERPRISE_ATTESTATION, None, None), SUCCESS);
    assert_eq!(option(&served.key, "ep"), Some(true));
    assert_eq!(status(certificate(SITE, Some(7))), INVALID_OPTION);
    let plain = certificate(SITE, None).unwrap();
    assert_eq!(plain.1, None);
    let told = Some(Value::Bool(true));
    for (site, kind, granted) in [(SITE, 1, true), ("other.example", 1, false), ("other.example", 2, true)] {
        let (chain, ep_att) = certificate(site, Some(kind)).unwrap();
        assert_eq!(ep_att, told.clone().filter(|_| granted), "{site}, kind {kind}");
        assert_eq!(chain != plain.0, granted, "{site}, kind {kind}");
    }
}

/// Covers: subcommand enableLongTouchForReset; member longTouchForReset; command authenticatorReset
#[test]
fn a_long_touch_is_a_setting_that_a_reset_takes_back() {
    let served = Served::blank();
    if info(&served.key, 0x18).is_none() {
        assert_eq!(config(&served, ENABLE_LONG_TOUCH_FOR_RESET, None, None), INVALID_PARAMETER);
        return;
    }
    assert_eq!(info(&served.key, 0x18), Some(false.into()));
    assert_eq!(config(&served, ENABLE_LONG_TOUCH_FOR_RESET, None, None), SUCCESS);
    assert_eq!(info(&served.key, 0x18), Some(true.into()));
    let served = served.power_cycle();
    served.key.reset().unwrap();
    assert_eq!(info(&served.key, 0x18), Some(false.into()));
}

/// The persistent token reads, survives a power cycle, and ends with the PIN.
///
/// Covers: permission pcmr; option perCredMgmtRO; command authenticatorCredentialManagement; status PIN_AUTH_INVALID;
/// status UNAUTHORIZED_PERMISSION
#[test]
fn a_persistent_token_only_reads() {
    let served = Served::blank();
    let made = served.key.make_credential(&MakeCredential::discoverable(SITE, b"1")).unwrap();
    served.key.set_pin(2, PIN).unwrap();
    let both = permission::PERSISTENT_READ_ONLY | permission::CREDENTIAL_MANAGEMENT;
    assert_eq!(status(served.key.token_using_pin(2, PIN, both, None)), UNAUTHORIZED_PERMISSION);
    let reader = served.key.token_using_pin(2, PIN, permission::PERSISTENT_READ_ONLY, None).unwrap();
    let served = served.power_cycle();
    let manage = |token: &Token, number: u8, params: Option<Value>| {
        served.status(CREDENTIAL_MANAGEMENT, &token.subcommand(1, &[number], number, params))
    };
    assert_eq!(manage(&reader, 1, None), SUCCESS);
    assert_eq!(manage(&reader, 2, None), SUCCESS);
    assert_eq!(manage(&reader, 4, params(&[(1, (&sha256(&[SITE.as_bytes()])[..]).into())])), SUCCESS);
    let descriptor = cbor::map([("id", Value::from(made.id())), ("type", "public-key".into())]);
    assert_eq!(manage(&reader, 6, params(&[(2, descriptor)])), PIN_AUTH_INVALID);
    served.key.change_pin(2, PIN, "3141").unwrap();
    assert_eq!(manage(&reader, 1, None), PIN_AUTH_INVALID);
}
