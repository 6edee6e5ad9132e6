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
    assert_eq!(list(1), ["U2F_V2", "FIDO_2_0", "FIDO_2_1", "FIDO_2_3"].map(text));
    let extensions = [
        "credBlob",
        "credProtect",
        "hmac-secret",
        "largeBlobKey",
        "minPinLength",
        "hmac-secret-mc",
        "pinComplexityPolicy",
        "thirdPartyPayment",
    ];
    assert_eq!(list(2), extensions.map(text));
    assert_eq!(member(&info, 3), Some(bytes(&platform.identity.aaguid)));
    let options = [
        ("rk", true),
        ("up", true),
        ("alwaysUv", false),
        ("credMgmt", true),
        ("authnrCfg", true),
        ("clientPin", false),
        ("largeBlobs", true),
        ("perCredMgmtRO", true),
        ("pinUvAuthToken", true),
        ("setMinPINLength", true),
        ("makeCredUvNotRqd", true),
    ];
    assert_eq!(member(&info, 4), Some(map(options.map(|(name, on)| (name, Value::Bool(on))))));
    assert_eq!(list(6), [Value::from(2), Value::from(1)]);
    assert_eq!(member(&info, 5), Some(Value::from(7609)));
    assert_eq!(list(9), [text("usb")]);
    assert_eq!(list(0x0a), [algorithm(ES256), algorithm(EDDSA)]);
    assert_eq!(list(0x16), [text("packed")]);
    let rest: [(i64, Value); 11] = [
        (0x0b, 4096.into()),
        (0x0c, false.into()),
        (0x0d, 4.into()),
        (0x0e, 1.into()),
        (0x0f, 32.into()),
        (0x10, 8.into()),
        (0x14, 78.into()),
        (0x1a, Value::Array([text("usb")].into())),
        (0x1b, false.into()),
        (0x1d, 63.into()),
        (0x1f, Value::Array([2.into(), 3.into()].into())),
    ];
    for (key, value) in rest {
        assert_eq!(member(&info, key), Some(value), "member {key:#x}");
    }
    for key in [0x11, 0x12, 0x13, 0x15, 0x17, 0x18, 0x1c] {
        assert_eq!(member(&info, key), None, "member {key:#x} does not apply to this body");
    }

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

/// For platforms that stumble over newer versions.
#[test]
fn a_profile_of_2_1_says_nothing_newer() {
    let (mut flash, mut platform) = blank();
    platform.identity.profile = crate::Profile::V2_1;
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    let info = send(&mut key, &[0x04]).unwrap();
    let list = |key| member(&info, key).unwrap().into_array().unwrap();
    assert_eq!(list(1), ["U2F_V2", "FIDO_2_0", "FIDO_2_1"].map(text));
    assert_eq!(list(2), ["credBlob", "credProtect", "hmac-secret", "largeBlobKey", "minPinLength"].map(text));
    assert_eq!(info.last().unwrap().0, 0x14);
    assert_eq!(option(&mut key, "perCredMgmtRO"), None);
}
