//! authenticatorClientPIN and hmac-secret (CTAP 2.3 §6.5, §12.7), seen from a platform.

use std::vec;
use std::vec::Vec;

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ciborium::Value;
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::{Digest, Sha256};

use super::client::*;
use crate::testing::Platform;
use crate::{Authenticator, Flash};

const SITE: &str = "example.com";
pub(super) const PIN: &str = "1234";
const INVALID: u8 = 0x31;
const BLOCKED: u8 = 0x32;
const AUTH_INVALID: u8 = 0x33;
const AUTH_BLOCKED: u8 = 0x34;
const NOT_SET: u8 = 0x35;

pub(super) fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hash(pin: &str) -> Vec<u8> {
    Sha256::digest(pin)[..16].to_vec()
}

fn padded(pin: &str) -> Vec<u8> {
    let mut padded = pin.as_bytes().to_vec();
    padded.resize(64, 0);
    padded
}

/// A platform's end of the key agreement.
pub(super) struct Agreed {
    pub(super) protocol: u8,
    pub(super) public: Value,
    hmac_key: Vec<u8>,
    aes_key: [u8; 32],
}

impl Agreed {
    pub(super) fn with(key: &mut Authenticator<'_, Platform>, protocol: u8) -> Self {
        let answer = pin(key, protocol, 2, &[]).unwrap();
        let theirs = member(&answer, 1).unwrap().into_map().unwrap();
        let part = |at: usize| theirs[at].1.as_bytes().unwrap().clone();
        assert_eq!(theirs[1], (Value::from(3), Value::from(-25)));
        let theirs = p256::PublicKey::from_sec1_bytes(&[&[4], &part(3)[..], &part(4)[..]].concat()).unwrap();
        let scalar = p256::NonZeroScalar::from_repr([0x5a; 32].into()).unwrap();
        let ours = p256::PublicKey::from_secret_scalar(&scalar).to_sec1_point(false);
        let z = p256::ecdh::diffie_hellman(scalar, theirs.as_affine()).raw_secret_bytes().to_vec();
        let public = map([
            (1, Value::from(2)),
            (3, Value::from(-25)),
            (-1, Value::from(1)),
            (-2, bytes(ours.x().unwrap())),
            (-3, bytes(ours.y().unwrap())),
        ]);
        let (hmac_key, aes_key) = match protocol {
            1 => (Sha256::digest(&z).to_vec(), Sha256::digest(&z).into()),
            _ => {
                let prk = mac(&[0; 32], &z);
                let aes = mac(&prk, b"CTAP2 AES key\x01");
                (mac(&prk, b"CTAP2 HMAC key\x01"), aes.try_into().unwrap())
            }
        };
        Self { protocol, public, hmac_key, aes_key }
    }

    pub(super) fn encrypt(&self, plain: &[u8]) -> Vec<u8> {
        let iv = if self.protocol == 1 { [0; 16] } else { [9; 16] };
        let mut blocks = plain.to_vec();
        let mut cipher = cbc::Encryptor::<Aes256>::new(&self.aes_key.into(), &iv.into());
        blocks.chunks_exact_mut(16).for_each(|block| cipher.encrypt_block(block.try_into().unwrap()));
        if self.protocol == 1 { blocks } else { [&iv[..], &blocks].concat() }
    }

    pub(super) fn decrypt(&self, sealed: &[u8]) -> Vec<u8> {
        let (iv, blocks) = if self.protocol == 1 { (&[0; 16][..], sealed) } else { sealed.split_at(16) };
        let mut blocks = blocks.to_vec();
        let mut cipher = cbc::Decryptor::<Aes256>::new(&self.aes_key.into(), iv.try_into().unwrap());
        blocks.chunks_exact_mut(16).for_each(|block| cipher.decrypt_block(block.try_into().unwrap()));
        blocks
    }

    fn sign(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut mac = mac(key, message);
        mac.truncate(if self.protocol == 1 { 16 } else { 32 });
        mac
    }

    pub(super) fn authenticate(&self, message: &[u8]) -> Value {
        bytes(&self.sign(&self.hmac_key, message))
    }
}

pub(super) fn pin(
    key: &mut Authenticator<'_, Platform>,
    protocol: u8,
    subcommand: u8,
    more: &[(u8, Value)],
) -> Answer {
    let mut parameters = vec![(1, Value::from(protocol)), (2, Value::from(subcommand))];
    parameters.extend_from_slice(more);
    let mut message = vec![0x06];
    ciborium::into_writer(&map(parameters), &mut message).unwrap();
    send(key, &message)
}

pub(super) fn set_pin(key: &mut Authenticator<'_, Platform>, protocol: u8, new: &str) -> Result<(), u8> {
    let agreed = Agreed::with(key, protocol);
    let new = agreed.encrypt(&padded(new));
    let signature = agreed.authenticate(&new);
    pin(key, protocol, 3, &[(3, agreed.public), (4, signature), (5, bytes(&new))]).map(drop)
}

pub(super) fn change_pin(
    key: &mut Authenticator<'_, Platform>,
    protocol: u8,
    old: &str,
    new: &str,
) -> Result<(), u8> {
    let agreed = Agreed::with(key, protocol);
    let new = agreed.encrypt(&padded(new));
    let old = agreed.encrypt(&hash(old));
    let signature = agreed.authenticate(&[&new[..], &old].concat());
    pin(key, protocol, 4, &[(3, agreed.public), (4, signature), (5, bytes(&new)), (6, bytes(&old))]).map(drop)
}

pub(super) fn retries(key: &mut Authenticator<'_, Platform>) -> i128 {
    let answer = pin(key, 1, 1, &[]).unwrap();
    member(&answer, 3).unwrap().into_integer().unwrap().into()
}

pub(super) struct PinToken {
    pub(super) agreed: Agreed,
    pub(super) token: Vec<u8>,
}

impl PinToken {
    /// By 0x05, or by 0x09 with permissions and a site.
    pub(super) fn get(
        key: &mut Authenticator<'_, Platform>,
        protocol: u8,
        tried: &str,
        permissions: Option<(u8, Option<&str>)>,
    ) -> Result<Self, u8> {
        let agreed = Agreed::with(key, protocol);
        let mut more = vec![(3, agreed.public.clone()), (6, bytes(&agreed.encrypt(&hash(tried))))];
        let subcommand = match permissions {
            None => 5,
            Some((permissions, site)) => {
                more.push((9, Value::from(permissions)));
                more.extend(site.map(|site| (10, text(site))));
                9
            }
        };
        let answer = pin(key, protocol, subcommand, &more)?;
        let token = agreed.decrypt(&member(&answer, 2).unwrap().into_bytes().unwrap());
        assert_eq!(token.len(), 32);
        Ok(Self { agreed, token })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Value {
        bytes(&self.agreed.sign(&self.token, message))
    }

    fn param(&self) -> Value {
        self.sign(&HASH)
    }

    pub(super) fn make(&self, request: Make) -> Make {
        request.with(8, self.param()).with(9, Value::from(self.agreed.protocol))
    }

    pub(super) fn assert(&self, request: Get) -> Get {
        request.with(6, self.param()).with(7, Value::from(self.agreed.protocol))
    }
}

fn token(key: &mut Authenticator<'_, Platform>, protocol: u8) -> PinToken {
    PinToken::get(key, protocol, PIN, Some((3, Some(SITE)))).unwrap()
}

#[test]
fn a_pin_is_set_changed_and_verifies_the_user() {
    for protocol in [1, 2] {
        let (mut flash, platform) = blank();
        let mut key = Authenticator::boot(&mut flash, platform).unwrap();
        assert_eq!(PinToken::get(&mut key, protocol, PIN, None).err(), Some(NOT_SET));
        assert_eq!(change_pin(&mut key, protocol, PIN, "5678"), Err(NOT_SET));
        set_pin(&mut key, protocol, "0000").unwrap();
        assert_eq!(set_pin(&mut key, protocol, PIN), Err(AUTH_INVALID), "it is set already");
        change_pin(&mut key, protocol, "0000", PIN).unwrap();
        assert_eq!(PinToken::get(&mut key, protocol, "0000", None).err(), Some(INVALID));
        assert_eq!(retries(&mut key), 7);

        let rk = Make::new(SITE, b"1").discoverable();
        assert_eq!(make(&mut key, &rk).unwrap_err(), 0x36, "PUAT_REQUIRED");
        let verified = token(&mut key, protocol).make(rk);
        let made = make(&mut key, &verified).unwrap();
        assert_eq!(retries(&mut key), 8);
        assert_eq!(made.auth_data.flags, 0x45, "UP, UV and AT");
        let verified = token(&mut key, protocol).assert(Get::new(SITE));
        let got = get(&mut key, &verified).unwrap();
        assert_eq!(got.auth_data.flags, 0x05);
        made.verify(&got.auth_data.raw, &got.signature);
        let plain = make(&mut key, &Make::new(SITE, b"2")).expect("makeCredUvNotRqd");
        assert_eq!(plain.auth_data.flags, 0x41);
        assert_eq!(option(&mut key, "clientPin"), Some(true));
    }
}

#[test]
fn pins_that_will_not_do() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    for new in ["", "123", "äöü"] {
        assert_eq!(set_pin(&mut key, 2, new), Err(0x37), "{new}");
    }
    set_pin(&mut key, 2, &"9".repeat(63)).unwrap();
    assert_eq!(change_pin(&mut key, 2, &"9".repeat(63), &"9".repeat(64)), Err(0x37));
    change_pin(&mut key, 2, &"9".repeat(63), "äöüß").unwrap();
}

#[test]
fn wrong_parameters_cost_no_try() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    set_pin(&mut key, 1, PIN).unwrap();
    for protocol in [1, 2] {
        let agreed = Agreed::with(&mut key, protocol);
        let new = agreed.encrypt(&padded("5678"));
        let old = agreed.encrypt(&hash(PIN));
        let all =
            [(3, agreed.public.clone()), (4, agreed.authenticate(&new)), (5, bytes(&new)), (6, bytes(&old))];
        assert_eq!(pin(&mut key, protocol, 4, &all).unwrap_err(), AUTH_INVALID, "signed without the old PIN");
        for missing in 3..=6 {
            let some: Vec<_> = all.iter().filter(|(key, _)| *key != missing).cloned().collect();
            assert_eq!(pin(&mut key, protocol, 4, &some).unwrap_err(), 0x14, "without {missing}");
        }
        let point = map([
            (1, Value::from(2)),
            (3, Value::from(-25)),
            (-1, Value::from(1)),
            (-2, bytes(&[1; 32])),
            (-3, bytes(&[1; 32])),
        ]);
        assert_eq!(pin(&mut key, protocol, 5, &[(3, point), (6, bytes(&old))]).unwrap_err(), 0x02);
        let permissions = |bits: u8, site: bool| {
            let mut more = vec![(3, agreed.public.clone()), (6, bytes(&old)), (9, Value::from(bits))];
            more.extend(site.then(|| (10, text(SITE))));
            more
        };
        assert_eq!(pin(&mut key, protocol, 9, &permissions(0, true)).unwrap_err(), 0x02);
        assert_eq!(pin(&mut key, protocol, 9, &permissions(1, false)).unwrap_err(), 0x14);
        assert_eq!(pin(&mut key, protocol, 9, &permissions(8, true)).unwrap_err(), 0x40);
        assert_eq!(pin(&mut key, protocol, 5, &permissions(1, true)).unwrap_err(), 0x02);
        pin(&mut key, protocol, 9, &permissions(0x81, true)).expect("undefined bits are ignored");
    }
    assert_eq!(pin(&mut key, 1, 0x3f, &[]).unwrap_err(), 0x3e);
    assert_eq!(pin(&mut key, 3, 2, &[]).unwrap_err(), 0x02);
    assert_eq!(retries(&mut key), 8);
}

#[test]
fn a_token_is_for_one_site_one_purpose_and_one_use() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    let made = make(&mut key, &Make::new(SITE, b"1")).unwrap();
    let request = || Get::new(SITE).allow(&[made.id()]);
    let silent = || request().with(5, map([("up", Value::Bool(false))]));

    let other = PinToken::get(&mut key, 2, PIN, Some((2, Some("other.example")))).unwrap();
    assert_eq!(get(&mut key, &other.assert(request())).unwrap_err(), AUTH_INVALID);
    let purpose = PinToken::get(&mut key, 2, PIN, Some((1, Some(SITE)))).unwrap();
    assert_eq!(get(&mut key, &purpose.assert(request())).unwrap_err(), AUTH_INVALID);

    let once = token(&mut key, 2);
    get(&mut key, &once.assert(silent())).unwrap();
    get(&mut key, &once.assert(silent())).expect("up:false spends nothing");
    get(&mut key, &once.assert(request())).unwrap();
    assert_eq!(get(&mut key, &once.assert(request())).unwrap_err(), AUTH_INVALID);

    let old = token(&mut key, 2);
    token(&mut key, 2);
    assert_eq!(get(&mut key, &old.assert(request())).unwrap_err(), AUTH_INVALID, "a new one ended it");

    let bound = PinToken::get(&mut key, 2, PIN, None).unwrap();
    get(&mut key, &bound.assert(silent())).unwrap();
    let elsewhere = bound.make(Make::new("other.example", b"1"));
    assert_eq!(make(&mut key, &elsewhere).unwrap_err(), AUTH_INVALID, "bound at its first use");

    let late = token(&mut key, 2);
    platform.clock.advance(30_001);
    assert_eq!(get(&mut key, &late.assert(request())).unwrap_err(), AUTH_INVALID, "30 s unused");
    let old = token(&mut key, 2);
    get(&mut key, &old.assert(silent())).unwrap();
    platform.clock.advance(600_000);
    get(&mut key, &old.assert(silent())).unwrap();
    platform.clock.advance(1);
    assert_eq!(get(&mut key, &old.assert(silent())).unwrap_err(), AUTH_INVALID, "10 minutes");
}

#[test]
fn three_wrong_pins_take_a_power_cycle_and_eight_take_a_reset() {
    let (mut flash, platform) = blank();
    {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        set_pin(&mut key, 2, PIN).unwrap();
    }
    let mut tries = 0;
    while tries < 8 {
        let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
        for in_a_row in 1..=3 {
            let status = PinToken::get(&mut key, 1 + tries % 2, "0000", None).err();
            tries += 1;
            assert_eq!(retries(&mut key), i128::from(8 - tries));
            let expected = match (tries, in_a_row) {
                (8, _) => BLOCKED,
                (_, 3) => AUTH_BLOCKED,
                _ => INVALID,
            };
            assert_eq!(status, Some(expected), "try {tries}");
            if tries == 8 {
                break;
            }
        }
        if tries < 8 {
            assert_eq!(PinToken::get(&mut key, 2, PIN, None).err(), Some(AUTH_BLOCKED), "even the right one");
            assert_eq!(retries(&mut key), i128::from(8 - tries), "and it was not tried");
        }
    }
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    assert_eq!(PinToken::get(&mut key, 2, PIN, None).err(), Some(BLOCKED));
    assert_eq!(change_pin(&mut key, 2, PIN, "5678"), Err(BLOCKED));
    send(&mut key, &[0x07]).unwrap();
    assert_eq!(retries(&mut key), 8);
    set_pin(&mut key, 2, "5678").unwrap();
    PinToken::get(&mut key, 2, "5678", None).map(drop).unwrap();
}

#[test]
fn an_empty_param_tells_whether_there_is_a_pin() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    let empty = Make::new(SITE, b"1").with(8, bytes(&[])).with(9, Value::from(1));
    assert_eq!(make(&mut key, &empty).unwrap_err(), NOT_SET);
    set_pin(&mut key, 2, PIN).unwrap();
    assert_eq!(make(&mut key, &empty).unwrap_err(), INVALID);
    assert_eq!(get(&mut key, &Get::new(SITE).with(6, bytes(&[]))).unwrap_err(), INVALID);
    assert_eq!(platform.finger.asked().len(), 3);
}

#[test]
fn verification_shows_what_cred_protect_hides() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    let made = [1u8, 2, 3].map(|level| {
        let protect = map([("credProtect", Value::from(level))]);
        let request = Make::new(SITE, &[level]).discoverable().with(6, protect);
        let request = token(&mut key, 2).make(request);
        make(&mut key, &request).unwrap()
    });
    assert_eq!(get(&mut key, &Get::new(SITE)).unwrap().number, None);
    let request = token(&mut key, 2).assert(Get::new(SITE));
    let verified = get(&mut key, &request).unwrap();
    assert_eq!(verified.number, Some(3));
    assert_eq!(verified.user.unwrap().len(), 3, "id, name and displayName");
    let next = got(&send(&mut key, &[0x08]).unwrap());
    assert_eq!((next.auth_data.flags, next.credential_id.as_slice()), (0x05, made[1].id()));
    assert_eq!(sign_in(&mut key, SITE, &made[2]), Err(0x2e));
}

#[test]
fn hmac_secret_is_the_same_every_time() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform.clone()).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    let asked = map([("hmac-secret", Value::Bool(true))]);
    let made = make(&mut key, &Make::new(SITE, b"1").with(6, asked.clone())).unwrap();
    assert_eq!(made.auth_data.extensions, Some(asked));
    let other = make(&mut key, &Make::new(SITE, b"2")).unwrap();

    let evaluate = |key: &mut Authenticator<'_, Platform>, made: &Made, protocol, salts: &[u8], verified| {
        let agreed = Agreed::with(key, protocol);
        let sealed = agreed.encrypt(salts);
        let input = map([
            (1, agreed.public.clone()),
            (2, bytes(&sealed)),
            (3, agreed.authenticate(&sealed)),
            (4, Value::from(protocol)),
        ]);
        let mut request = Get::new(SITE).allow(&[made.id()]).with(4, map([("hmac-secret", input)]));
        if verified {
            request = token(key, 1).assert(request);
        }
        let got = get(key, &request).unwrap();
        made.verify(&got.auth_data.raw, &got.signature);
        let output = got.auth_data.extensions.unwrap().into_map().unwrap().remove(0).1;
        agreed.decrypt(&output.into_bytes().unwrap())
    };
    let one = evaluate(&mut key, &made, 1, &[1; 32], false);
    assert_eq!(one.len(), 32);
    assert_eq!(evaluate(&mut key, &made, 2, &[1; 32], false), one, "the protocol makes no difference");
    let both = evaluate(&mut key, &made, 2, &[[1; 32], [2; 32]].concat(), false);
    assert_eq!((both.len(), &both[..32]), (64, &one[..]));
    assert_ne!(both[32..], one);
    assert_ne!(evaluate(&mut key, &made, 2, &[1; 32], true), one, "with verification it is another");
    assert_ne!(evaluate(&mut key, &other, 2, &[1; 32], false), one, "and for another credential");

    let agreed = Agreed::with(&mut key, 2);
    let sealed = agreed.encrypt(&[1; 48]);
    for (salts, signature, status) in [
        (&sealed, agreed.authenticate(&sealed), 0x02),
        (&sealed, agreed.authenticate(&sealed[1..]), AUTH_INVALID),
    ] {
        let input = map([(1, agreed.public.clone()), (2, bytes(salts)), (3, signature), (4, Value::from(2))]);
        let request = Get::new(SITE).allow(&[made.id()]).with(4, map([("hmac-secret", input)]));
        assert_eq!(get(&mut key, &request).unwrap_err(), status);
        platform.finger.asked();
        let silent = request.with(5, map([("up", Value::Bool(false))]));
        assert_eq!(get(&mut key, &silent).unwrap_err(), 0x2b);
        assert_eq!(platform.finger.asked(), []);
    }
}

#[test]
fn a_lost_pin_is_no_fresh_start() {
    let (mut flash, platform) = blank();
    let mut key = Authenticator::boot(&mut flash, platform).unwrap();
    set_pin(&mut key, 2, PIN).unwrap();
    drop(key);
    let whole = flash.into_storage();
    let mut refused = 0;
    let programmed: Vec<usize> = (8192..whole.raw().len()).filter(|&at| whole.raw()[at] != 0xff).collect();
    for at in programmed {
        let mut damaged = whole.clone();
        damaged.raw_mut()[at] ^= 0x04;
        let mut flash = Flash::new(damaged);
        match Authenticator::boot(&mut flash, Platform::new()) {
            Ok(mut key) => {
                let info = send(&mut key, &[0x04]).unwrap();
                let options = member(&info, 4).unwrap();
                assert_eq!(options.as_map().unwrap()[3].1, Value::Bool(true), "byte {at}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
}
