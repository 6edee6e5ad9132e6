//! authenticatorClientPIN (CTAP 2.3 §6.5).

use brasskey_tests::client_pin::{Agreed, PROTOCOLS, cose_key, padded, permission, pin_hash, subcommand};
use brasskey_tests::ctap2::{GetAssertion, MakeCredential, Parameters, command, status::*};
use brasskey_tests::{Error, Key, cbor};
use ciborium::Value;

use crate::{
    PIN, SITE, attached, get, get_refused, make_refused, option, power_cycle, protected, refused,
    token_for_all,
};

/// Covers: §6.5.5.4; §6.5.6; §6.5.7; command authenticatorClientPIN; subcommand getKeyAgreement; protocol one;
/// protocol two; status MISSING_PARAMETER; status INVALID_PARAMETER
#[test]
fn key_agreement() {
    let (_simulator, key) = attached();
    for protocol in PROTOCOLS {
        Agreed::with(&key, protocol).unwrap();
    }
    let ask = |request: Parameters| refused(key.raw(command::CLIENT_PIN, &request.encode()));
    let agreement = || Parameters::default().with(2, subcommand::GET_KEY_AGREEMENT);
    assert_eq!(ask(agreement()), MISSING_PARAMETER);
    for unknown in [0, 3, 255] {
        assert_eq!(ask(agreement().with(1, unknown)), INVALID_PARAMETER);
    }
}

/// Covers: §6.5.5; command authenticatorClientPIN; status INVALID_SUBCOMMAND; status MISSING_PARAMETER;
/// subcommand getUVRetries; subcommand getPinUvAuthTokenUsingUvWithPermissions
#[test]
fn subcommands_that_are_not_there() {
    let (_simulator, key) = attached();
    assert_eq!(
        refused(key.raw(command::CLIENT_PIN, &Parameters::default().with(1, 2).encode())),
        MISSING_PARAMETER
    );
    for unknown in [0x00, 0x08, 0x0a, 0xff] {
        assert_eq!(refused(key.client_pin(2, unknown, &[])), INVALID_SUBCOMMAND, "{unknown:#04x}");
    }
    if option(&key, "uv").is_none() {
        for unsupported in [subcommand::GET_TOKEN_USING_UV, subcommand::GET_UV_RETRIES] {
            assert_eq!(refused(key.client_pin(2, unsupported, &[])), INVALID_SUBCOMMAND);
        }
    }
}

/// Covers: §6.5.5.5; §6.5.5.6; command authenticatorClientPIN; subcommand setPIN; subcommand changePIN;
/// subcommand getPinToken; subcommand getPINRetries; status PIN_AUTH_INVALID; status PIN_NOT_SET;
/// status PIN_INVALID; protocol one; protocol two
#[test]
fn a_pin_is_set_and_changed() {
    for protocol in PROTOCOLS {
        let (_simulator, key) = attached();
        assert_eq!(refused(key.pin_token(protocol, PIN).map(drop)), PIN_NOT_SET);
        assert_eq!(
            refused(key.token(protocol, PIN, permission::GET_ASSERTION, Some(SITE)).map(drop)),
            PIN_NOT_SET
        );
        assert_eq!(refused(key.change_pin(protocol, PIN, "5678")), PIN_NOT_SET);
        key.set_pin(protocol, PIN).unwrap();
        assert_eq!(refused(key.set_pin(protocol, "5678")), PIN_AUTH_INVALID);
        key.pin_token(protocol, PIN).unwrap();
        key.change_pin(protocol, PIN, "an entirely different one").unwrap();
        assert_eq!(refused(key.pin_token(protocol, PIN).map(drop)), PIN_INVALID);
        assert_eq!(key.pin_retries().unwrap(), (7, false));
        // The other protocol knows it as well; a right one restores the tries.
        key.pin_token(3 - protocol, "an entirely different one").unwrap();
        assert_eq!(key.pin_retries().unwrap(), (8, false));
    }
}

/// Covers: §6.5.5.5; §6.5.1; command authenticatorClientPIN; status PIN_POLICY_VIOLATION; subcommand setPIN;
/// subcommand changePIN; member maxPINLength
#[test]
fn lengths_of_a_pin() {
    let (_simulator, key) = attached();
    for short in ["", "123", "äöü"] {
        assert_eq!(refused(key.set_pin(2, short)), PIN_POLICY_VIOLATION, "{short:?}");
    }
    assert_eq!(refused(key.set_pin(2, &"8".repeat(64))), PIN_POLICY_VIOLATION);
    key.set_pin(2, &"8".repeat(63)).unwrap();
    assert_eq!(refused(key.change_pin(2, &"8".repeat(63), "123")), PIN_POLICY_VIOLATION);
    // Code points count, not bytes.
    key.change_pin(2, &"8".repeat(63), "äöüß").unwrap();
    key.pin_token(2, "äöüß").unwrap();
}

/// Covers: §6.5.5.5; §6.5.5.6; §6.5.5.7; command authenticatorClientPIN; status MISSING_PARAMETER;
/// status PIN_AUTH_INVALID; status INVALID_PARAMETER; subcommand setPIN; subcommand changePIN
#[test]
fn what_is_missing_or_wrong_costs_no_try() {
    let (_simulator, key) = attached();
    for protocol in PROTOCOLS {
        let agreed = Agreed::with(&key, protocol).unwrap();
        let new = agreed.encrypt(&padded(PIN));
        let all = [
            (3, agreed.public.clone()),
            (4, agreed.authenticate(&new).into()),
            (5, Value::from(new.clone())),
        ];
        for missing in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert_eq!(refused(key.client_pin(protocol, subcommand::SET_PIN, &some)), MISSING_PARAMETER);
        }
        let forged = [&all[..1], &[(4, Value::from(vec![0; 32]))], &all[2..]].concat();
        assert_eq!(refused(key.client_pin(protocol, subcommand::SET_PIN, &forged)), PIN_AUTH_INVALID);
        let off_the_curve = [&[(3, cose_key(&[1; 32], &[1; 32]))], &all[1..]].concat();
        assert_eq!(refused(key.client_pin(protocol, subcommand::SET_PIN, &off_the_curve)), INVALID_PARAMETER);
    }
    key.set_pin(2, PIN).unwrap();
    for protocol in PROTOCOLS {
        let agreed = Agreed::with(&key, protocol).unwrap();
        let new = agreed.encrypt(&padded("5678"));
        let old = agreed.encrypt(&pin_hash(PIN));
        let all = [
            (3, agreed.public.clone()),
            (4, agreed.authenticate(&[&new[..], &old].concat()).into()),
            (5, Value::from(new.clone())),
            (6, Value::from(old.clone())),
        ];
        for missing in 0..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert_eq!(refused(key.client_pin(protocol, subcommand::CHANGE_PIN, &some)), MISSING_PARAMETER);
        }
        let forged = [&all[..1], &[(4, agreed.authenticate(&new).into())], &all[2..]].concat();
        assert_eq!(refused(key.client_pin(protocol, subcommand::CHANGE_PIN, &forged)), PIN_AUTH_INVALID);
        let without_hash = [(3, agreed.public.clone())];
        assert_eq!(
            refused(key.client_pin(protocol, subcommand::GET_PIN_TOKEN, &without_hash)),
            MISSING_PARAMETER
        );
    }
    assert_eq!(key.pin_retries().unwrap(), (8, false));
}

/// Covers: §6.5.5.7; command authenticatorClientPIN; status PIN_INVALID; status PIN_AUTH_BLOCKED;
/// subcommand getPinToken; subcommand getPINRetries; subcommand changePIN
#[test]
fn three_wrong_pins_in_a_row_take_a_power_cycle() {
    let (simulator, key) = protected();
    let wrong = |key: &Key| refused(key.pin_token(2, "0000").map(drop));
    assert_eq!([wrong(&key), wrong(&key)], [PIN_INVALID; 2]);
    key.pin_token(2, PIN).unwrap();
    assert_eq!([wrong(&key), wrong(&key), wrong(&key)], [PIN_INVALID, PIN_INVALID, PIN_AUTH_BLOCKED]);
    assert_eq!(key.pin_retries().unwrap(), (5, true));
    // The right one is refused as well, and costs nothing.
    assert_eq!(refused(key.pin_token(2, PIN).map(drop)), PIN_AUTH_BLOCKED);
    assert_eq!(refused(key.change_pin(2, PIN, "5678")), PIN_AUTH_BLOCKED);
    assert_eq!(key.pin_retries().unwrap(), (5, true));
    let key = power_cycle(&simulator, key);
    assert_eq!(key.pin_retries().unwrap(), (5, false));
    assert_eq!(wrong(&key), PIN_INVALID);
    key.pin_token(2, PIN).unwrap();
    assert_eq!(key.pin_retries().unwrap(), (8, false));
}

/// Covers: §6.5.5.7; command authenticatorClientPIN; status PIN_BLOCKED; subcommand getPINRetries;
/// subcommand getPinToken; command authenticatorReset
#[test]
fn eight_wrong_pins_block_until_a_reset() {
    let (simulator, mut key) = protected();
    for left in (0..8u64).rev() {
        let expected = match left {
            0 => PIN_BLOCKED,
            5 | 2 => PIN_AUTH_BLOCKED,
            _ => PIN_INVALID,
        };
        assert_eq!(refused(key.pin_token(2, "0000").map(drop)), expected, "{left} left");
        assert_eq!(key.pin_retries().unwrap().0, left);
        if expected == PIN_AUTH_BLOCKED {
            key = power_cycle(&simulator, key);
        }
    }
    key = power_cycle(&simulator, key);
    assert_eq!(refused(key.pin_token(2, PIN).map(drop)), PIN_BLOCKED);
    assert_eq!(refused(key.token(2, PIN, permission::GET_ASSERTION, Some(SITE)).map(drop)), PIN_BLOCKED);
    assert_eq!(refused(key.change_pin(2, PIN, "5678")), PIN_BLOCKED);
    let key = crate::reset(&simulator, key);
    key.set_pin(2, "5678").unwrap();
    assert_eq!(key.pin_retries().unwrap(), (8, false));
}

/// Covers: §6.5.5.7; command authenticatorClientPIN; status PIN_INVALID; subcommand getPinToken;
/// subcommand getKeyAgreement
#[test]
fn a_hash_that_cannot_be_opened_is_a_wrong_pin() {
    let (_simulator, key) = protected();
    let old = Agreed::with(&key, 2).unwrap();
    let garbage = [(3, old.public.clone()), (6, Value::from(vec![7; 32]))];
    assert_eq!(refused(key.client_pin(2, subcommand::GET_PIN_TOKEN, &garbage)), PIN_INVALID);
    assert_eq!(key.pin_retries().unwrap(), (7, false));
    // After a failed attempt the key's half is a new one: what was agreed before is worth nothing.
    let right_but_old = [(3, old.public.clone()), (6, Value::from(old.encrypt(&pin_hash(PIN))))];
    assert_eq!(refused(key.client_pin(2, subcommand::GET_PIN_TOKEN, &right_but_old)), PIN_INVALID);
    key.pin_token(2, PIN).unwrap();
}

/// Covers: §6.5.5.7.1; §6.5.5.7.2; command authenticatorClientPIN; status INVALID_PARAMETER;
/// status MISSING_PARAMETER; status UNAUTHORIZED_PERMISSION; subcommand getPinToken;
/// subcommand getPinUvAuthTokenUsingPinWithPermissions; permission be; permission pcmr
#[test]
fn permissions_that_can_not_be_had() {
    let (_simulator, key) = protected();
    for protocol in PROTOCOLS {
        let ask = |permissions, site| refused(key.token(protocol, PIN, permissions, site).map(drop));
        assert_eq!(ask(0, Some(SITE)), INVALID_PARAMETER);
        for of_a_site in [permission::MAKE_CREDENTIAL, permission::GET_ASSERTION, 3] {
            assert_eq!(ask(of_a_site, None), MISSING_PARAMETER);
        }
        if option(&key, "bioEnroll").is_none() {
            assert_eq!(ask(permission::BIO_ENROLLMENT, None), UNAUTHORIZED_PERMISSION);
        }
        if option(&key, "perCredMgmtRO") == Some(true) {
            let both = permission::PERSISTENT_READ_ONLY | permission::CREDENTIAL_MANAGEMENT;
            assert_eq!(ask(both, None), UNAUTHORIZED_PERMISSION);
        }
        // A bit that no version defines is nothing.
        key.token(protocol, PIN, permission::CREDENTIAL_MANAGEMENT | 0x80, None).unwrap();
        // The old subcommand knows neither permissions nor sites.
        let agreed = Agreed::with(&key, protocol).unwrap();
        let old = [(3, agreed.public.clone()), (6, agreed.encrypt(&pin_hash(PIN)).into())];
        for more in [(9, Value::from(permission::GET_ASSERTION)), (10, SITE.into())] {
            let request = [&old[..], &[more]].concat();
            assert_eq!(
                refused(key.client_pin(protocol, subcommand::GET_PIN_TOKEN, &request)),
                INVALID_PARAMETER
            );
        }
    }
    assert_eq!(key.pin_retries().unwrap(), (8, false), "none of it was a try");
}

/// Covers: §6.5.5.7.1; command authenticatorClientPIN; subcommand getPinToken; permission mc; permission ga;
/// status PIN_AUTH_INVALID
#[test]
fn the_old_token_belongs_to_the_site_that_uses_it_first() {
    let (_simulator, key) = protected();
    crate::resident(&key, SITE, b"1");
    crate::resident(&key, crate::OTHER_SITE, b"1");
    let silent = |site: &str| GetAssertion::discover(site).silent().parameters();
    for protocol in PROTOCOLS {
        let token = key.pin_token(protocol, PIN).unwrap();
        assert_eq!(get(&key, &token.get(silent(SITE))).auth_data.flags, 0x04);
        assert_eq!(get_refused(&key, &token.get(silent(crate::OTHER_SITE))), PIN_AUTH_INVALID);
        assert_eq!(get(&key, &token.get(silent(SITE))).auth_data.flags, 0x04);
        // It does not manage credentials.
        assert_eq!(refused(key.manage(1, None, Some(&token))), PIN_AUTH_INVALID);
    }
}

/// Covers: §6.5.2.1; command authenticatorClientPIN; subcommand getPinUvAuthTokenUsingPinWithPermissions;
/// status PIN_AUTH_INVALID; permission lbw; permission cm
#[test]
fn a_token_ends_with_the_next_one_and_with_the_power() {
    let (simulator, key) = protected();
    let first = token_for_all(&key, permission::CREDENTIAL_MANAGEMENT);
    key.manage(1, None, Some(&first)).unwrap();
    key.manage(1, None, Some(&first)).unwrap();
    let second = token_for_all(&key, permission::CREDENTIAL_MANAGEMENT);
    assert_eq!(refused(key.manage(1, None, Some(&first))), PIN_AUTH_INVALID);
    key.manage(1, None, Some(&second)).unwrap();
    // A change of the PIN ends it, as well.
    key.change_pin(2, PIN, "5678").unwrap();
    assert_eq!(refused(key.manage(1, None, Some(&second))), PIN_AUTH_INVALID);
    let third = key.token(2, "5678", permission::CREDENTIAL_MANAGEMENT, None).unwrap();
    let key = power_cycle(&simulator, key);
    assert_eq!(refused(key.manage(1, None, Some(&third))), PIN_AUTH_INVALID);
}

/// Covers: §6.5.2.1; command authenticatorClientPIN; permission cm; permission mc;
/// command authenticatorMakeCredential; status PIN_AUTH_INVALID
#[test]
fn a_used_token_has_no_permission_left() {
    let (_simulator, key) = protected();
    let all = permission::MAKE_CREDENTIAL | permission::GET_ASSERTION | permission::CREDENTIAL_MANAGEMENT;
    let token = crate::token(&key, all);
    let request = MakeCredential::discoverable(SITE, b"1").parameters();
    crate::make(&key, &token.make(request.clone()));
    assert_eq!(make_refused(&key, &token.make(request)), PIN_AUTH_INVALID);
    assert_eq!(get_refused(&key, &token.get(GetAssertion::discover(SITE).parameters())), PIN_AUTH_INVALID);
    let rp = cbor::map([(1, brasskey_tests::sha256(&[SITE.as_bytes()]).to_vec())]);
    assert_eq!(refused(key.manage(4, Some(rp), Some(&token))), PIN_AUTH_INVALID);
}

/// Covers: §6.5.5; command authenticatorClientPIN; status MISSING_PARAMETER; status CBOR_UNEXPECTED_TYPE;
/// status INVALID_CBOR
#[test]
fn members_of_a_wrong_type() {
    let (_simulator, key) = protected();
    for member in [1, 2, 3, 4, 5, 6, 9, 10] {
        let request = Parameters::default().with(1, 2).with(2, subcommand::SET_PIN).with(member, true);
        assert_eq!(
            refused(key.raw(command::CLIENT_PIN, &request.encode())),
            CBOR_UNEXPECTED_TYPE,
            "{member}"
        );
    }
    assert!(matches!(
        key.raw(command::CLIENT_PIN, &[]),
        Err(Error::Status(INVALID_CBOR | MISSING_PARAMETER))
    ));
}

/// Covers: §6.5.5.5; subcommand setPIN; subcommand getPINRetries; status INVALID_PARAMETER; status PIN_POLICY_VIOLATION;
/// protocol one; protocol two
#[test]
fn a_new_pin_comes_in_64_bytes() {
    let (_simulator, key) = attached();
    assert_eq!(key.pin_retries().unwrap(), (8, false), "also before there is a PIN");
    for protocol in PROTOCOLS {
        for length in [16, 48, 80, 128] {
            let agreed = Agreed::with(&key, protocol).unwrap();
            let mut plain = b"1234".to_vec();
            plain.resize(length, 0);
            let new = agreed.encrypt(&plain);
            let param = agreed.authenticate(&new);
            let request = [(3, agreed.public), (4, param.into()), (5, new.into())];
            // Suites differ in which of the two it is; a PIN it is not.
            let status = refused(key.client_pin(protocol, subcommand::SET_PIN, &request));
            assert!([INVALID_PARAMETER, PIN_POLICY_VIOLATION].contains(&status), "{length}: {status:#04x}");
        }
    }
    assert_eq!(option(&key, "clientPin"), Some(false));
}

/// Covers: §6.5.5.7.2; status PIN_AUTH_INVALID; permission acfg; permission lbw; permission cm;
/// subcommand getPinUvAuthTokenUsingPinWithPermissions
#[test]
fn a_permission_is_for_one_thing() {
    let (_simulator, key) = protected();
    let array = brasskey_tests::management::blob_array(&[0x80]);
    type Act<'a> = &'a dyn Fn(&brasskey_tests::client_pin::Token) -> brasskey_tests::Result<()>;
    let manage: Act<'_> = &|token| key.manage(1, None, Some(token)).map(drop);
    let write: Act<'_> = &|token| key.set_blobs(&array, 0, Some(17), Some(token));
    let configure: Act<'_> = &|token| key.configure(3, None, Some(token));
    let acts = [
        (permission::CREDENTIAL_MANAGEMENT, manage),
        (permission::LARGE_BLOB_WRITE, write),
        (permission::AUTHENTICATOR_CONFIGURATION, configure),
    ];
    for (asked, _) in acts {
        for (wanted, act) in acts {
            let token = token_for_all(&key, asked);
            if asked == wanted {
                act(&token).unwrap();
            } else {
                assert_eq!(refused(act(&token)), PIN_AUTH_INVALID, "{wanted:#04x} with {asked:#04x}");
            }
        }
    }
}
