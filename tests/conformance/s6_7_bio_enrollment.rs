//! authenticatorBioEnrollment and built-in user verification (CTAP 2.3 §6.7, §6.5.5.7.3), on a key with a sensor.

use brasskey_tests::client_pin::{PROTOCOLS, Token, permission};
use brasskey_tests::ctap2::{GetAssertion, MakeCredential, Parameters, command, status::*};
use brasskey_tests::management::{config::TOGGLE_ALWAYS_UV, enrollment::*};
use brasskey_tests::{Key, Simulator, cbor};
use ciborium::Value;

use crate::{
    PIN, SITE, get, get_refused, make, make_refused, one, option, power_cycle, refused, token_for_all,
};

/// A key with a sensor, and a PIN.
fn with_sensor() -> (Simulator, Key) {
    let simulator = Simulator::with_sensor().unwrap();
    let key = Key::attach(simulator.address()).unwrap();
    key.set_pin(2, PIN).unwrap();
    (simulator, key)
}

fn enroller(key: &Key) -> Token {
    token_for_all(key, permission::BIO_ENROLLMENT)
}

/// lastEnrollSampleStatus and remainingSamples.
fn seen(answer: &Value) -> (u64, u64) {
    (cbor::unsigned(answer, 5).unwrap(), cbor::unsigned(answer, 6).unwrap())
}

/// Enrols the finger that rests on the sensor. Returns its template ID.
fn enroll(key: &Key, token: &Token) -> brasskey_tests::Result<Vec<u8>> {
    let begun = key.fingers(ENROLL_BEGIN, None, Some(token))?;
    let id = cbor::bytes(&begun, 4)?;
    let mut left = seen(&begun);
    while left.1 > 0 {
        let next = Some(cbor::map([(1, id.clone())]));
        let answer = key.fingers(ENROLL_CAPTURE_NEXT_SAMPLE, next, Some(token))?;
        assert_eq!(seen(&answer), (0, left.1 - 1), "each good sample counts");
        left = seen(&answer);
    }
    Ok(id)
}

/// A key that knows the finger `ada`, which rests on it.
fn enrolled() -> (Simulator, Key, Vec<u8>) {
    let (simulator, key) = with_sensor();
    simulator.control("finger/ada/on").unwrap();
    let id = enroll(&key, &enroller(&key)).unwrap();
    (simulator, key, id)
}

/// Covers: §6.7; command authenticatorBioEnrollment; subcommand getFingerprintSensorInfo; option bioEnroll; option uv;
/// member preferredPlatformUvAttempts; member uvModality; member uvCountSinceLastPinEntry; status MISSING_PARAMETER;
/// status INVALID_SUBCOMMAND; status INVALID_PARAMETER
#[test]
fn what_the_sensor_is_like() {
    let (_simulator, key) = with_sensor();
    for command in [command::BIO_ENROLLMENT, command::BIO_ENROLLMENT_PREVIEW] {
        let modality = key.call(command, &Parameters::default().with(6, true)).unwrap();
        assert_eq!(cbor::unsigned(&modality, 1).unwrap(), 1);
    }
    let sensor = key.fingers(GET_FINGERPRINT_SENSOR_INFO, None, None).unwrap();
    assert!([1, 2].contains(&cbor::unsigned(&sensor, 2).unwrap()), "touch or swipe");
    assert!(cbor::unsigned(&sensor, 3).unwrap() >= 1);
    assert_eq!([option(&key, "uv"), option(&key, "bioEnroll")], [Some(false); 2], "nobody is enrolled");
    let info = key.get_info().unwrap();
    assert!(cbor::unsigned(&info, 0x11).unwrap() >= 1);
    assert_eq!(cbor::unsigned(&info, 0x12).unwrap() & 2, 2, "fingerprint_internal");
    assert_eq!(cbor::unsigned(&info, 0x17).unwrap(), 0);
    let ask = |request: Parameters| refused(key.raw(command::BIO_ENROLLMENT, &request.encode()));
    let sensor_info = || Parameters::default().with(2, GET_FINGERPRINT_SENSOR_INFO);
    assert_eq!(ask(sensor_info()), MISSING_PARAMETER, "no modality");
    assert_eq!(ask(sensor_info().with(1, 2)), INVALID_PARAMETER, "one that there is not");
    assert_eq!(refused(key.fingers(0x7f, None, None)), INVALID_SUBCOMMAND);
}

/// Covers: §6.7.4; §6.7.5; §6.7.6; §6.7.7; §6.7.8; subcommand enrollBegin; subcommand enrollCaptureNextSample;
/// subcommand cancelCurrentEnrollment; subcommand enumerateEnrollments; subcommand setFriendlyName;
/// subcommand removeEnrollment; permission be; status PUAT_REQUIRED; status PIN_AUTH_INVALID; status INVALID_OPTION;
/// command authenticatorBioEnrollment; option bioEnroll; option uv; status MISSING_PARAMETER
#[test]
fn a_finger_is_enrolled_named_and_removed() {
    let (simulator, key) = with_sensor();
    assert_eq!(refused(key.fingers(ENROLL_BEGIN, None, None)), PUAT_REQUIRED);
    let wrong = token_for_all(&key, permission::CREDENTIAL_MANAGEMENT);
    assert_eq!(refused(key.fingers(ENROLL_BEGIN, None, Some(&wrong))), PIN_AUTH_INVALID);
    let none = key.fingers(ENUMERATE_ENROLLMENTS, None, Some(&enroller(&key)));
    assert_eq!(refused(none), INVALID_OPTION, "none is enrolled");

    // One that was begun and given up is no enrolment.
    simulator.control("finger/ada/on").unwrap();
    key.fingers(ENROLL_BEGIN, None, Some(&enroller(&key))).unwrap();
    key.fingers(CANCEL_CURRENT_ENROLLMENT, None, None).unwrap();
    assert_eq!(option(&key, "bioEnroll"), Some(false));
    let mut ids = Vec::new();
    for protocol in PROTOCOLS {
        simulator.control(&format!("finger/number-{protocol}/on")).unwrap();
        let token = key.token(protocol, PIN, permission::BIO_ENROLLMENT, None).unwrap();
        ids.push(enroll(&key, &token).unwrap());
    }
    assert_ne!(ids[0], ids[1]);
    let key = power_cycle(&simulator, key);
    assert_eq!([option(&key, "uv"), option(&key, "bioEnroll")], [Some(true); 2]);
    let token = enroller(&key);
    let name = |id: &[u8], name: &str| Some(cbor::map([(1, Value::from(id)), (2, name.into())]));
    key.fingers(SET_FRIENDLY_NAME, name(&ids[1], "left thumb"), Some(&token)).unwrap();
    let listed = key.fingers(ENUMERATE_ENROLLMENTS, None, Some(&token)).unwrap();
    let listed = cbor::get(&listed, 7).unwrap().as_array().unwrap().clone();
    assert_eq!(listed.len(), 2);
    let found = listed.iter().find(|one| cbor::bytes(one, 1).unwrap() == ids[1]).unwrap();
    assert_eq!(cbor::text(found, 2).unwrap(), "left thumb");
    // What there is not, or what is missing.
    assert_eq!(refused(key.fingers(SET_FRIENDLY_NAME, name(&[9; 3], "x"), Some(&token))), INVALID_OPTION);
    let unknown = Some(cbor::map([(1, vec![9; 3])]));
    assert_eq!(refused(key.fingers(REMOVE_ENROLLMENT, unknown, Some(&token))), INVALID_OPTION);
    assert_eq!(refused(key.fingers(REMOVE_ENROLLMENT, None, Some(&token))), MISSING_PARAMETER);
    for id in ids {
        key.fingers(REMOVE_ENROLLMENT, Some(cbor::map([(1, id)])), Some(&token)).unwrap();
    }
    assert_eq!([option(&key, "uv"), option(&key, "bioEnroll")], [Some(false); 2]);
}

/// Covers: §6.7.4; status FP_DATABASE_FULL; subcommand enrollBegin; command authenticatorReset
#[test]
fn there_is_room_for_so_many_fingers() {
    let (simulator, key) = with_sensor();
    let mut known = 0;
    let full = loop {
        simulator.control(&format!("finger/number-{known}/on")).unwrap();
        match enroll(&key, &enroller(&key)) {
            Ok(_) => known += 1,
            refusal => break refused(refusal),
        }
        assert!(known < 100);
    };
    assert_eq!(full, FP_DATABASE_FULL);
    assert!(known >= 1);
    let key = crate::reset(&simulator, key);
    assert_eq!(option(&key, "bioEnroll"), Some(false));
}

/// Covers: §6.1.2; §6.2.2; §6.5.5.7.3; option uv; option pinUvAuthToken; subcommand
/// getPinUvAuthTokenUsingUvWithPermissions; command authenticatorMakeCredential; command authenticatorGetAssertion;
/// protocol one; protocol two; member uvCountSinceLastPinEntry; status NOT_ALLOWED; status MISSING_PARAMETER
#[test]
fn a_finger_verifies_the_user() {
    let (_simulator, key, _) = enrolled();
    let request = MakeCredential::discoverable(SITE, b"1")
        .parameters()
        .with(7, cbor::map([("rk", true), ("uv", true)]));
    assert_eq!(make(&key, &request).auth_data.flags, 0x45);
    let discover = || GetAssertion::discover(SITE).parameters();
    assert_eq!(get(&key, &discover().with(5, one("uv", true))).auth_data.flags, 0x05);
    assert_eq!(get(&key, &discover()).auth_data.flags, 0x01, "who asks for no verification gets none");
    assert!(cbor::unsigned(&key.get_info().unwrap(), 0x17).unwrap() > 0);
    for protocol in PROTOCOLS {
        let missing = key.token_by_uv(protocol, permission::GET_ASSERTION, None);
        assert_eq!(refused(missing.map(drop)), MISSING_PARAMETER);
        let token = key.token_by_uv(protocol, permission::GET_ASSERTION, Some(SITE)).unwrap();
        assert_eq!(get(&key, &token.get(discover())).auth_data.flags, 0x05);
        assert_eq!(get_refused(&key, &token.get(discover())), PIN_AUTH_INVALID, "it is used up");
    }
    key.pin_token(2, PIN).unwrap();
    assert_eq!(cbor::unsigned(&key.get_info().unwrap(), 0x17).unwrap(), 0);
}

/// Covers: §6.5.5.7.3; §6.5.5.3; status UV_INVALID; status UV_BLOCKED; subcommand getUVRetries; subcommand
/// getPinUvAuthTokenUsingUvWithPermissions
#[test]
fn wrong_fingers_block_the_sensor_until_the_pin() {
    let (simulator, mut key, _) = enrolled();
    let all = key.uv_retries().unwrap();
    let ask = |key: &Key| key.token_by_uv(2, permission::CREDENTIAL_MANAGEMENT, None).map(drop);
    ask(&key).unwrap();
    simulator.control("finger/eve/on").unwrap();
    let mut left = all;
    while left > 0 {
        let status = refused(ask(&key));
        let now = key.uv_retries().unwrap();
        assert!(now < left, "a wrong finger costs a try");
        assert_eq!(status, if now == 0 { UV_BLOCKED } else { UV_INVALID });
        left = now;
        key = power_cycle(&simulator, key);
        assert_eq!(key.uv_retries().unwrap(), left);
    }
    simulator.control("finger/ada/on").unwrap();
    assert_eq!(refused(ask(&key)), UV_BLOCKED, "the right one is refused as well");
    key.pin_token(2, PIN).unwrap();
    ask(&key).unwrap();
    assert_eq!(key.uv_retries().unwrap(), all);
}

/// Covers: §6.11; option alwaysUv; subcommand toggleAlwaysUv; status PUAT_REQUIRED; status OPERATION_DENIED
#[test]
fn always_uv_asks_for_the_finger() {
    let (simulator, key, _) = enrolled();
    let token = token_for_all(&key, permission::AUTHENTICATOR_CONFIGURATION);
    key.configure(TOGGLE_ALWAYS_UV, None, Some(&token)).unwrap();
    let request = || MakeCredential::new(SITE).parameters();
    let made = make(&key, &request());
    assert_eq!(made.auth_data.flags, 0x45);
    let allow = GetAssertion::allow(SITE, &[made.id()]).parameters();
    assert_eq!(get(&key, &allow).auth_data.flags, 0x05);
    simulator.control("touch/deny").unwrap();
    assert_eq!(make_refused(&key, &request()), OPERATION_DENIED);
    simulator.control("finger/eve/on").unwrap();
    assert_eq!(get_refused(&key, &allow), PUAT_REQUIRED, "the PIN is left");
}

/// Covers: §6.5.5.7.3; option uvAcfg; option uvBioEnroll; permission acfg; permission be; status UNAUTHORIZED_PERMISSION
#[test]
fn what_a_finger_alone_may_do() {
    let (_simulator, key, _) = enrolled();
    for (name, permission) in
        [("uvAcfg", permission::AUTHENTICATOR_CONFIGURATION), ("uvBioEnroll", permission::BIO_ENROLLMENT)]
    {
        let token = key.token_by_uv(2, permission, None);
        if option(&key, name) == Some(true) {
            token.unwrap();
        } else {
            assert_eq!(refused(token.map(drop)), UNAUTHORIZED_PERMISSION, "{name}");
        }
    }
}
