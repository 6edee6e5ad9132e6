//! authenticatorBioEnrollment and built-in user verification (CTAP 2.3 §6.7, §6.5.3, §6.5.5.7.3).

use std::vec;
use std::vec::Vec;

use ciborium::Value;

use super::client::*;
use super::client_pin::{Agreed, PIN, PinToken, pin, set_pin};
use super::config::config;
use crate::testing::{FingerprintSensor, Platform};
use crate::{Authenticator, Operation, Scan};

const SITE: &str = "example.com";
const ENROLL: u8 = 0x08;

fn with_sensor() -> (crate::Flash<crate::testing::RamFlash>, Platform, FingerprintSensor) {
    let (flash, mut platform) = blank();
    let sensor = FingerprintSensor::default();
    platform.sensor = Some(sensor.clone());
    (flash, platform, sensor)
}

fn finger(number: u8) -> Scan {
    FingerprintSensor::finger(number)
}

fn bio(
    key: &mut Authenticator<'_, Platform>,
    subcommand: u8,
    params: Option<Value>,
    token: Option<&PinToken>,
) -> Answer {
    let mut all = vec![(1u8, Value::from(1)), (2, subcommand.into())];
    let mut signed = vec![1, subcommand];
    if let Some(params) = params {
        ciborium::into_writer(&params, &mut signed).unwrap();
        all.push((3, params));
    }
    if let Some(token) = token {
        all.push((4, token.agreed.protocol.into()));
        all.push((5, token.sign(&signed)));
    }
    let mut message = vec![0x09];
    ciborium::into_writer(&map(all), &mut message).unwrap();
    send(key, &message)
}

fn enroller(key: &mut Authenticator<'_, Platform>) -> PinToken {
    PinToken::get(key, 2, PIN, Some((ENROLL, None))).unwrap()
}

fn number(answer: &[(i64, Value)], key: i64) -> Option<i128> {
    member(answer, key).map(|number| number.into_integer().unwrap().into())
}

/// Enrolls a finger with three good samples.
pub(super) fn enroll(key: &mut Authenticator<'_, Platform>, number: u8, pin: &str) -> Result<Vec<u8>, u8> {
    let token = PinToken::get(key, 2, pin, Some((ENROLL, None)))?;
    key.platform().sensor.as_ref().unwrap().script([finger(number); 3]);
    let begun = bio(key, 1, None, Some(&token))?;
    let id = member(&begun, 4).unwrap();
    for _ in 0..2 {
        bio(key, 2, Some(map([(1, id.clone())])), Some(&token))?;
    }
    Ok(id.into_bytes().unwrap())
}

/// A token by the sensor.
fn token_by_finger(
    key: &mut Authenticator<'_, Platform>,
    permissions: u8,
    site: Option<&str>,
) -> Result<PinToken, u8> {
    let agreed = Agreed::with(key, 2);
    let mut more = vec![(3, agreed.public.clone()), (9, permissions.into())];
    more.extend(site.map(|site| (10, text(site))));
    let answer = pin(key, 2, 6, &more)?;
    let token = agreed.decrypt(&member(&answer, 2).unwrap().into_bytes().unwrap());
    Ok(PinToken { agreed, token })
}

fn uv_retries(key: &mut Authenticator<'_, Platform>) -> i128 {
    number(&pin(key, 2, 7, &[]).unwrap(), 5).unwrap()
}

#[test]
fn what_the_sensor_is_like() {
    let (mut flash, platform, _) = with_sensor();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    for command in [0x09, 0x40] {
        let modality = send(&mut key, &[command, 0xa1, 0x06, 0xf5]).unwrap();
        assert_eq!(modality, [(1, 1.into())]);
    }
    let sensor = bio(&mut key, 7, None, None).unwrap();
    assert_eq!([1, 2, 3, 8].map(|key| number(&sensor, key).unwrap()), [1, 1, 3, 64]);
    for name in ["uv", "bioEnroll"] {
        assert_eq!(option(&mut key, name), Some(false), "{name}");
    }
    assert_eq!([0x11, 0x12, 0x17].map(|key_| info(&mut key, key_).unwrap()), [3.into(), 2.into(), 0.into()]);
    assert_eq!(send(&mut key, &[0x09, 0xa1, 0x02, 0x07]), Err(0x14), "no modality");
    assert_eq!(send(&mut key, &[0x09, 0xa2, 0x01, 0x02, 0x02, 0x07]), Err(0x02), "another one");
    assert_eq!(bio(&mut key, 9, None, None), Err(0x3e));
}

#[test]
fn a_finger_is_enrolled_named_and_removed() {
    let (mut flash, platform, sensor) = with_sensor();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    assert_eq!(bio(&mut key, 1, None, None), Err(0x36));
    set_pin(&mut key, 2, PIN).unwrap();
    let other = PinToken::get(&mut key, 2, PIN, Some((0x04, None))).unwrap();
    assert_eq!(bio(&mut key, 1, None, Some(&other)), Err(0x33));
    let token = enroller(&mut key);
    assert_eq!(bio(&mut key, 4, None, Some(&token)), Err(0x2c), "none is enrolled");

    // A sample that will not do costs nothing, another finger neither.
    sensor.script([Scan::Poor(7), finger(1), finger(2), Scan::TimedOut, finger(1), finger(1)]);
    let begun = bio(&mut key, 1, None, Some(&token)).unwrap();
    let id = member(&begun, 4).unwrap();
    let seen = |answer: &[(i64, Value)]| (number(answer, 5).unwrap(), number(answer, 6).unwrap());
    assert_eq!(seen(&begun), (7, 3));
    let next = Some(map([(1, id.clone())]));
    for expected in [(0, 2), (0x0a, 2), (0x0d, 2), (0, 1), (0, 0)] {
        let answer = bio(&mut key, 2, next.clone(), Some(&token)).unwrap();
        assert_eq!(seen(&answer), expected);
    }
    assert_eq!(bio(&mut key, 2, next, Some(&token)), Err(0x2c), "it is done");
    assert_eq!(sensor.asked(), [Operation::Enroll; 6]);
    assert_eq!(option(&mut key, "uv"), Some(true));
    drop(key);

    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let token = enroller(&mut key);
    let named = |name: &str| vec![(7, Value::Array(vec![map([(1, id.clone()), (2, text(name))])]))];
    assert_eq!(bio(&mut key, 4, None, Some(&token)), Ok(named("")));
    let name = |name: &str| Some(map([(1, id.clone()), (2, text(name))]));
    bio(&mut key, 5, name(&"x".repeat(64)), Some(&token)).unwrap();
    assert_eq!(bio(&mut key, 5, name(&"x".repeat(65)), Some(&token)), Err(0x03));
    assert_eq!(bio(&mut key, 4, None, Some(&token)), Ok(named(&"x".repeat(64))));
    let unknown = Some(map([(1, bytes(&[9, 9])), (2, text("x"))]));
    assert_eq!(bio(&mut key, 5, unknown.clone(), Some(&token)), Err(0x2c));
    assert_eq!(bio(&mut key, 6, unknown, Some(&token)), Err(0x2c));
    assert_eq!(bio(&mut key, 6, None, Some(&token)), Err(0x14));
    sensor.script([finger(1)]);
    let known = bio(&mut key, 1, None, Some(&token)).unwrap();
    assert_eq!(seen(&known), (0x0b, 3), "the finger is there already");
    bio(&mut key, 3, None, None).expect("cancelled without a token");
    bio(&mut key, 6, Some(map([(1, id.clone())])), Some(&token)).unwrap();
    assert_eq!(option(&mut key, "uv"), Some(false));
}

#[test]
fn five_fingers_and_no_more() {
    let (mut flash, platform, _) = with_sensor();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    let mut ids: Vec<_> = (1..=5).map(|number| enroll(&mut key, number, PIN).unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    let token = enroller(&mut key);
    assert_eq!(bio(&mut key, 1, None, Some(&token)), Err(0x17));
    send(&mut key, &[0x07]).unwrap();
    assert_eq!(option(&mut key, "bioEnroll"), Some(false));
}

#[test]
fn a_finger_verifies_the_user_and_is_a_touch() {
    let (mut flash, platform, sensor) = with_sensor();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let uv = || map([("uv", Value::Bool(true))]);
    assert_eq!(make(&mut key, &Make::new(SITE, b"1").with(7, uv())).unwrap_err(), 0x2c);
    assert_eq!(token_by_finger(&mut key, 3, Some(SITE)).err(), Some(0x30));
    set_pin(&mut key, 2, PIN).unwrap();
    enroll(&mut key, 1, PIN).unwrap();
    sensor.asked();

    sensor.script([finger(9), finger(1), finger(1)]);
    let made = make(&mut key, &Make::new(SITE, b"1").with(7, uv())).unwrap();
    assert_eq!(made.auth_data.flags, 0x45, "the key tried again by itself");
    let got = get(&mut key, &Get::new(SITE).allow(&[made.id()]).with(5, uv())).unwrap();
    assert_eq!(got.auth_data.flags, 0x05);
    assert_eq!(platform.finger.asked(), [], "no other touch");
    assert_eq!(sensor.asked(), [Operation::Register, Operation::Register, Operation::Authenticate]);
    assert_eq!(info(&mut key, 0x17), Some(3.into()));

    sensor.script([finger(1)]);
    let token = token_by_finger(&mut key, 3, Some(SITE)).unwrap();
    let verified = token.assert(Get::new(SITE).allow(&[made.id()]));
    get(&mut key, &verified).unwrap();
    assert_eq!(platform.finger.asked(), [], "the finger was the touch");
    assert_eq!(get(&mut key, &verified).unwrap_err(), 0x33);
    sensor.script([finger(1)]);
    let token = token_by_finger(&mut key, 3, Some(SITE)).unwrap();
    get(&mut key, &token.assert(Get::new(SITE).allow(&[made.id()]).with(5, map([("up", false.into())]))))
        .unwrap();
    platform.clock.advance(30_001);
    get(&mut key, &token.assert(Get::new(SITE).allow(&[made.id()]))).unwrap();
    assert_eq!(platform.finger.asked().len(), 1, "for half a minute");

    PinToken::get(&mut key, 2, PIN, None).unwrap();
    assert_eq!(info(&mut key, 0x17), Some(0.into()));
}

#[test]
fn always_uv_asks_for_the_finger() {
    let (mut flash, platform, sensor) = with_sensor();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    enroll(&mut key, 1, PIN).unwrap();
    let token = PinToken::get(&mut key, 2, PIN, Some((0x20, None))).unwrap();
    config(&mut key, 2, None, Some(&token)).unwrap();
    sensor.script([finger(1)]);
    assert_eq!(make(&mut key, &Make::new(SITE, b"1").discoverable()).unwrap().auth_data.flags, 0x45);
    sensor.script([Scan::Denied]);
    assert_eq!(get(&mut key, &Get::new(SITE)).unwrap_err(), 0x27);
    sensor.script([Scan::TimedOut]);
    assert_eq!(get(&mut key, &Get::new(SITE)).unwrap_err(), 0x2f);
    sensor.script([finger(2), finger(2), finger(2)]);
    assert_eq!(get(&mut key, &Get::new(SITE)).unwrap_err(), 0x36, "the PIN is left");
}

/// Eight wrong fingers over power cycles block the sensor; the PIN opens it again.
#[test]
fn wrong_fingers_block_the_sensor() {
    let (mut flash, platform, sensor) = with_sensor();
    {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        set_pin(&mut key, 2, PIN).unwrap();
        enroll(&mut key, 1, PIN).unwrap();
    }
    for left in (0..8).rev() {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        sensor.script([if left % 2 == 0 { finger(2) } else { Scan::Poor(7) }]);
        let status = if left == 0 { 0x3c } else { 0x3f };
        assert_eq!(token_by_finger(&mut key, 4, None).err(), Some(status), "{left} left");
        assert_eq!(uv_retries(&mut key), left);
    }
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    sensor.script([finger(1)]);
    assert_eq!(token_by_finger(&mut key, 4, None).err(), Some(0x3c));
    PinToken::get(&mut key, 2, PIN, None).unwrap();
    token_by_finger(&mut key, 4, None).unwrap();
    assert_eq!(uv_retries(&mut key), 8);
}

/// The sensor is gone, its fingers are still in flash: the key does not claim what it cannot do.
#[test]
fn without_the_sensor_fingers_are_nothing() {
    let (mut flash, mut platform, _) = with_sensor();
    {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        set_pin(&mut key, 2, PIN).unwrap();
        enroll(&mut key, 1, PIN).unwrap();
    }
    platform.sensor = None;
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(option(&mut key, "uv"), None);
    assert_eq!(make(&mut key, &Make::new(SITE, b"1").with(7, map([("uv", true.into())]))).unwrap_err(), 0x2c);
}
