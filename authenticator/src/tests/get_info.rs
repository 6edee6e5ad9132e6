//! authenticatorGetInfo (CTAP 2.3 §6.4).

use ciborium::Value;

use super::client::*;
use crate::Authenticator;

#[test]
fn says_what_works_and_nothing_else() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let info = send(&mut key, &[0x04]).unwrap();
    let list = |key| member(&info, key).unwrap().into_array().unwrap();
    assert_eq!(list(1), [text("U2F_V2"), text("FIDO_2_0")]);
    assert_eq!(list(2), [text("credProtect"), text("hmac-secret")]);
    assert_eq!(member(&info, 3), Some(bytes(&platform.identity.aaguid)));
    let options = [
        ("rk", true),
        ("up", true),
        ("credMgmt", true),
        ("clientPin", false),
        ("pinUvAuthToken", true),
        ("makeCredUvNotRqd", true),
    ];
    assert_eq!(member(&info, 4), Some(map(options.map(|(name, on)| (name, Value::Bool(on))))));
    assert_eq!(list(6), [Value::from(2), Value::from(1)]);
    assert_eq!(member(&info, 5), Some(Value::from(7609)));
    assert_eq!(list(9), [text("usb")]);
    assert_eq!(list(0x0a), [algorithm(ES256), algorithm(EDDSA)]);
    assert_eq!(list(0x16), [text("packed")]);

    let made = make(&mut key, &Make::new("example.com", b"1")).unwrap();
    assert_eq!(member(&info, 8), Some(Value::from(made.id().len() as u64)));
}

#[test]
fn a_full_list_fits_into_a_message() {
    for max_msg_size in [1024, 2048, 7609] {
        let (mut flash, mut platform) = blank();
        platform.identity.max_msg_size = max_msg_size;
        let mut key = Authenticator::boot(&mut flash, platform).unwrap();
        let info = send(&mut key, &[0x04]).unwrap();
        let number = |key| {
            let number: i128 = member(&info, key).unwrap().into_integer().unwrap().into();
            usize::try_from(number).unwrap()
        };
        let id = [1; 256][..number(8)].to_vec();
        let list = Value::Array(std::vec![descriptor(&id); number(7)]);
        let message = Make::new("login.example.com", &[1; 64]).with(5, list).message();
        assert!(message.len() < usize::from(max_msg_size), "{max_msg_size}");
    }
}

#[test]
fn follows_the_store() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let remaining = |key: &mut Authenticator<'_, _>| {
        let info = send(key, &[0x04]).unwrap();
        i128::from(member(&info, 0x14).unwrap().into_integer().unwrap())
    };
    let before = remaining(&mut key);
    make(&mut key, &Make::new("example.com", b"1")).unwrap();
    assert_eq!(remaining(&mut key), before);
    make(&mut key, &Make::new("example.com", b"1").discoverable()).unwrap();
    assert_eq!(remaining(&mut key), before - 1);
    send(&mut key, &[0x07]).unwrap();
    assert_eq!(remaining(&mut key), before);
}
