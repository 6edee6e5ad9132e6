//! A client for the tests here: builds requests with ciborium and takes answers apart.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use ciborium::Value;
use p256::ecdsa::signature::Verifier as _;
use sha2::{Digest, Sha256};

use crate::testing::{Platform, RamFlash};
use crate::{Authenticator, Flash};

pub(super) const ES256: i64 = -7;
pub(super) const EDDSA: i64 = -8;
pub(super) const CHANNEL: u32 = 1;
pub(super) const HASH: [u8; 32] = [0xcd; 32];

/// A blank flash, and the body that goes with it.
pub(super) fn blank() -> (Flash<RamFlash>, Platform) {
    (Flash::new(RamFlash::new()), Platform::new())
}

pub(super) fn text(text: &str) -> Value {
    Value::Text(text.into())
}

pub(super) fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.into())
}

pub(super) fn map<K: Into<Value>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

pub(super) fn descriptor(id: &[u8]) -> Value {
    map([("id", bytes(id)), ("type", text("public-key"))])
}

fn message(command: u8, parameters: &[(u8, Value)]) -> Vec<u8> {
    let mut parameters = parameters.to_vec();
    parameters.sort_by_key(|(key, _)| *key);
    let mut message = vec![command];
    ciborium::into_writer(&map(parameters), &mut message).unwrap();
    message
}

/// The parameters of a makeCredential that works; a test changes what it is about.
#[derive(Clone)]
pub(super) struct Make(pub(super) Vec<(u8, Value)>);

impl Make {
    pub(super) fn new(rp_id: &str, user: &[u8]) -> Self {
        let user = map([
            ("id", bytes(user)),
            ("name", text(&format!("user {}", user.first().copied().unwrap_or_default()))),
            ("displayName", text("A. User")),
        ]);
        Self(vec![
            (1, bytes(&HASH)),
            (2, map([("id", text(rp_id)), ("name", text("Example"))])),
            (3, user),
            (4, Value::Array(vec![algorithm(ES256)])),
        ])
    }

    pub(super) fn with(mut self, key: u8, value: Value) -> Self {
        self.0.retain(|(present, _)| *present != key);
        self.0.push((key, value));
        self
    }

    pub(super) fn without(mut self, key: u8) -> Self {
        self.0.retain(|(present, _)| *present != key);
        self
    }

    pub(super) fn discoverable(self) -> Self {
        self.with(7, map([("rk", Value::Bool(true))]))
    }

    pub(super) fn message(&self) -> Vec<u8> {
        message(0x01, &self.0)
    }
}

pub(super) fn algorithm(cose: i64) -> Value {
    map([("alg", Value::from(cose)), ("type", text("public-key"))])
}

/// The parameters of a getAssertion.
#[derive(Clone)]
pub(super) struct Get(pub(super) Vec<(u8, Value)>);

impl Get {
    pub(super) fn new(rp_id: &str) -> Self {
        Self(vec![(1, text(rp_id)), (2, bytes(&HASH))])
    }

    pub(super) fn allow(self, ids: &[&[u8]]) -> Self {
        self.with(3, Value::Array(ids.iter().map(|id| descriptor(id)).collect()))
    }

    pub(super) fn with(mut self, key: u8, value: Value) -> Self {
        self.0.retain(|(present, _)| *present != key);
        self.0.push((key, value));
        self
    }

    pub(super) fn message(&self) -> Vec<u8> {
        message(0x02, &self.0)
    }
}

/// A CTAP2 answer: the CBOR map behind status 0, or the status.
pub(super) type Answer = Result<Vec<(i64, Value)>, u8>;

pub(super) fn send(key: &mut Authenticator<'_, Platform>, message: &[u8]) -> Answer {
    send_on(key, CHANNEL, message)
}

pub(super) fn send_on(key: &mut Authenticator<'_, Platform>, channel: u32, message: &[u8]) -> Answer {
    let mut response = vec![0; 7609];
    let length = key.ctap2(channel, message, &mut response);
    if response[0] != 0 {
        assert_eq!(length, 1, "an error has no body");
        return Err(response[0]);
    }
    if length == 1 {
        return Ok(Vec::new());
    }
    let body = &response[1..length];
    let value: Value = ciborium::from_reader(body).unwrap();
    let mut again = Vec::new();
    ciborium::into_writer(&value, &mut again).unwrap();
    assert_eq!(again, body, "the answer is in the shortest form");
    let entries: Vec<(i64, Value)> = value
        .into_map()
        .unwrap()
        .into_iter()
        .map(|(key, value)| (i64::try_from(key.into_integer().unwrap()).unwrap(), value))
        .collect();
    assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b), "the answer's keys are in order");
    Ok(entries)
}

pub(super) fn member(answer: &[(i64, Value)], key: i64) -> Option<Value> {
    answer.iter().find(|(present, _)| *present == key).map(|(_, value)| value.clone())
}

/// Authenticator data, taken apart.
#[derive(Clone, Debug)]
pub(super) struct AuthData {
    pub(super) raw: Vec<u8>,
    pub(super) rp_id_hash: [u8; 32],
    pub(super) flags: u8,
    pub(super) count: u32,
    pub(super) aaguid: Option<[u8; 16]>,
    pub(super) credential_id: Vec<u8>,
    pub(super) cose_key: Vec<(i64, Value)>,
    pub(super) extensions: Option<Value>,
}

impl AuthData {
    fn parse(raw: &[u8]) -> Self {
        let flags = raw[32];
        let mut data = Self {
            raw: raw.to_vec(),
            rp_id_hash: raw[..32].try_into().unwrap(),
            flags,
            count: u32::from_be_bytes(raw[33..37].try_into().unwrap()),
            aaguid: None,
            credential_id: Vec::new(),
            cose_key: Vec::new(),
            extensions: None,
        };
        let mut rest = &raw[37..];
        if flags & 0x40 != 0 {
            data.aaguid = Some(rest[..16].try_into().unwrap());
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            data.credential_id = rest[18..18 + length].to_vec();
            rest = &rest[18 + length..];
            let key: Value = ciborium::from_reader(&mut rest).unwrap();
            data.cose_key = key
                .into_map()
                .unwrap()
                .into_iter()
                .map(|(key, value)| (i64::try_from(key.into_integer().unwrap()).unwrap(), value))
                .collect();
        }
        if flags & 0x80 != 0 {
            data.extensions = Some(ciborium::from_reader(&mut rest).unwrap());
        }
        assert!(rest.is_empty(), "nothing behind authenticator data");
        data
    }
}

/// A credential that the key made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) format: String,
    pub(super) auth_data: AuthData,
    pub(super) statement: Vec<(Value, Value)>,
}

impl Made {
    pub(super) fn id(&self) -> &[u8] {
        &self.auth_data.credential_id
    }

    /// Verifies a signature by this credential over authenticator data and the client data hash.
    pub(super) fn verify(&self, auth_data: &[u8], signature: &[u8]) {
        let mut message = auth_data.to_vec();
        message.extend_from_slice(&HASH);
        let part = |key| member(&self.auth_data.cose_key, key).unwrap().into_bytes().unwrap();
        match i64::try_from(member(&self.auth_data.cose_key, 3).unwrap().into_integer().unwrap()).unwrap() {
            ES256 => {
                let sec1 = [&[4], &part(-2)[..], &part(-3)[..]].concat();
                verify_es256(&sec1, &message, signature);
            }
            EDDSA => {
                let key: [u8; 32] = part(-2).try_into().unwrap();
                let key = ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap();
                key.verify_strict(&message, &signature.try_into().unwrap()).unwrap();
            }
            -48 => verify_ml_dsa::<ml_dsa::MlDsa44>(&part(-1), &message, signature),
            -49 => verify_ml_dsa::<ml_dsa::MlDsa65>(&part(-1), &message, signature),
            other => panic!("algorithm {other}"),
        }
    }
}

fn verify_ml_dsa<P: ml_dsa::MlDsaParams>(public: &[u8], message: &[u8], signature: &[u8]) {
    let public = ml_dsa::VerifyingKey::<P>::decode(&public.try_into().unwrap());
    public.verify(message, &signature.try_into().unwrap()).unwrap();
}

pub(super) fn verify_es256(sec1: &[u8], message: &[u8], signature: &[u8]) {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(sec1).unwrap();
    key.verify(message, &p256::ecdsa::Signature::from_der(signature).unwrap()).unwrap();
}

pub(super) fn make(key: &mut Authenticator<'_, Platform>, request: &Make) -> Result<Made, u8> {
    let answer = send(key, &request.message())?;
    assert!(answer.iter().map(|(key, _)| *key).eq([1, 2, 3]));
    let bytes = member(&answer, 2).unwrap().into_bytes().unwrap();
    Ok(Made {
        format: member(&answer, 1).unwrap().into_text().unwrap(),
        auth_data: AuthData::parse(&bytes),
        statement: member(&answer, 3).unwrap().into_map().unwrap(),
    })
}

/// An assertion that the key made.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) credential_id: Vec<u8>,
    pub(super) auth_data: AuthData,
    pub(super) signature: Vec<u8>,
    pub(super) user: Option<Vec<(Value, Value)>>,
    pub(super) number: Option<i128>,
}

pub(super) fn got(answer: &[(i64, Value)]) -> Got {
    let credential = member(answer, 1).unwrap().into_map().unwrap();
    assert_eq!(credential[1], (text("type"), text("public-key")));
    Got {
        credential_id: credential[0].1.clone().into_bytes().unwrap(),
        auth_data: AuthData::parse(&member(answer, 2).unwrap().into_bytes().unwrap()),
        signature: member(answer, 3).unwrap().into_bytes().unwrap(),
        user: member(answer, 4).map(|user| user.into_map().unwrap()),
        number: member(answer, 5).map(|number| number.into_integer().unwrap().into()),
    }
}

pub(super) fn get(key: &mut Authenticator<'_, Platform>, request: &Get) -> Result<Got, u8> {
    send(key, &request.message()).map(|answer| got(&answer))
}

/// Signs in with a credential, verifies the signature, and returns the count.
pub(super) fn sign_in(key: &mut Authenticator<'_, Platform>, rp_id: &str, made: &Made) -> Result<u32, u8> {
    let got = get(key, &Get::new(rp_id).allow(&[made.id()]))?;
    assert_eq!(got.credential_id, made.id());
    assert_eq!(got.auth_data.rp_id_hash, <[u8; 32]>::from(Sha256::digest(rp_id)));
    made.verify(&got.auth_data.raw, &got.signature);
    Ok(got.auth_data.count)
}

/// An option of getInfo.
pub(super) fn option(key: &mut Authenticator<'_, Platform>, name: &str) -> Option<bool> {
    let info = send(key, &[0x04]).unwrap();
    let options = member(&info, 4).unwrap().into_map().unwrap();
    options.into_iter().find(|(key, _)| *key == text(name)).map(|(_, value)| value.as_bool().unwrap())
}

/// A member of getInfo.
pub(super) fn info(key: &mut Authenticator<'_, Platform>, number: i64) -> Option<Value> {
    member(&send(key, &[0x04]).unwrap(), number)
}
