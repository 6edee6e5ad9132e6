//! authenticatorClientPIN (CTAP 2.3 §6.5) from the platform's side, and what a token is good for.

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ciborium::Value;
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::Sha256;

use crate::ctap2::{Parameters, command};
use crate::error::demand;
use crate::reports::Reports;
use crate::{Error, Key, Result, cbor, sha256};

/// Subcommands (§6.5.5).
pub mod subcommand {
    #![allow(missing_docs, reason = "the specification's names")]
    pub const GET_PIN_RETRIES: u8 = 0x01;
    pub const GET_KEY_AGREEMENT: u8 = 0x02;
    pub const SET_PIN: u8 = 0x03;
    pub const CHANGE_PIN: u8 = 0x04;
    pub const GET_PIN_TOKEN: u8 = 0x05;
    pub const GET_TOKEN_USING_UV: u8 = 0x06;
    pub const GET_UV_RETRIES: u8 = 0x07;
    pub const GET_TOKEN_USING_PIN: u8 = 0x09;
}

/// What a token may be used for (§6.5.5.7).
pub mod permission {
    #![allow(missing_docs, reason = "the specification's names")]
    pub const MAKE_CREDENTIAL: u8 = 0x01;
    pub const GET_ASSERTION: u8 = 0x02;
    pub const CREDENTIAL_MANAGEMENT: u8 = 0x04;
    pub const BIO_ENROLLMENT: u8 = 0x08;
    pub const LARGE_BLOB_WRITE: u8 = 0x10;
    pub const AUTHENTICATOR_CONFIGURATION: u8 = 0x20;
    pub const PERSISTENT_READ_ONLY: u8 = 0x40;
}

/// Both protocols, for tests that go through them.
pub const PROTOCOLS: [u8; 2] = [1, 2];

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("a key");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// The first half of a PIN's hash.
pub fn pin_hash(pin: &str) -> Vec<u8> {
    sha256(&[pin.as_bytes()])[..16].to_vec()
}

/// A PIN with zeros up to 64 bytes.
pub fn padded(pin: &str) -> Vec<u8> {
    let mut bytes = pin.as_bytes().to_vec();
    bytes.resize(bytes.len().max(64), 0);
    bytes
}

/// `authenticate` of a PIN/UV auth protocol (§6.5.6, §6.5.7), with the shared secret's HMAC key or with a token.
pub fn authenticate(protocol: u8, key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = hmac(key, message);
    mac.truncate(if protocol == 1 { 16 } else { 32 });
    mac
}

/// What both sides agreed on by a PIN/UV auth protocol.
#[derive(Clone)]
pub struct Agreed {
    /// 1 or 2.
    pub protocol: u8,
    /// The platform's public key in COSE.
    pub public: Value,
    hmac_key: Vec<u8>,
    aes_key: [u8; 32],
}

impl Agreed {
    /// Asks the key for its half (getKeyAgreement) and agrees with it.
    pub fn with<R: Reports>(key: &Key<R>, protocol: u8) -> Result<Self> {
        let request = Parameters::default().with(1, protocol).with(2, subcommand::GET_KEY_AGREEMENT);
        let answer = key.call(command::CLIENT_PIN, &request)?;
        let theirs = cbor::get(&answer, 1).ok_or_else(|| Error::Violation("no keyAgreement".into()))?;
        let number = |label: i64| cbor::get(theirs, label).and_then(Value::as_integer).map(i128::from);
        demand!([number(1), number(3), number(-1)] == [Some(2), Some(-25), Some(1)], "COSE key {theirs:?}");
        demand!(theirs.as_map().map(Vec::len) == Some(5), "members of a COSE key: {theirs:?}");
        let point = [vec![4], cbor::bytes(theirs, -2)?, cbor::bytes(theirs, -3)?].concat();
        let theirs = p256::PublicKey::from_sec1_bytes(&point)
            .map_err(|_| Error::Violation("the key's half is no point on the curve".into()))?;
        // Nothing secret hangs on the tests' own half.
        let scalar = p256::NonZeroScalar::from_repr([0x5a; 32].into()).expect("less than the group's order");
        let ours = p256::PublicKey::from_secret_scalar(&scalar).to_sec1_point(false);
        let z = p256::ecdh::diffie_hellman(scalar, theirs.as_affine()).raw_secret_bytes().to_vec();
        let public = cose_key(&ours.as_bytes()[1..33], &ours.as_bytes()[33..]);
        let (hmac_key, aes_key) = if protocol == 1 {
            (sha256(&[&z]).to_vec(), sha256(&[&z]))
        } else {
            // HKDF-SHA-256 with 32 zeros as salt and one block of output each.
            let secret = hmac(&[0; 32], &z);
            let aes = hmac(&secret, b"CTAP2 AES key\x01");
            (hmac(&secret, b"CTAP2 HMAC key\x01"), aes.try_into().expect("32 bytes"))
        };
        Ok(Self { protocol, public, hmac_key, aes_key })
    }

    /// `encrypt` of the protocol; whole blocks of 16 bytes.
    pub fn encrypt(&self, plain: &[u8]) -> Vec<u8> {
        let iv = if self.protocol == 1 { [0; 16] } else { [9; 16] };
        let mut blocks = plain.to_vec();
        let mut cipher = cbc::Encryptor::<Aes256>::new(&self.aes_key.into(), &iv.into());
        for block in blocks.chunks_exact_mut(16) {
            cipher.encrypt_block(block.try_into().expect("16 bytes"));
        }
        if self.protocol == 1 { blocks } else { [&iv[..], &blocks].concat() }
    }

    /// `decrypt` of the protocol.
    pub fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>> {
        let iv_length = if self.protocol == 1 { 0 } else { 16 };
        demand!(sealed.len() >= iv_length && sealed.len().is_multiple_of(16), "ciphertext {sealed:02x?}");
        let (iv, blocks) = sealed.split_at(iv_length);
        let iv: [u8; 16] = iv.try_into().unwrap_or_default();
        let mut blocks = blocks.to_vec();
        let mut cipher = cbc::Decryptor::<Aes256>::new(&self.aes_key.into(), &iv.into());
        for block in blocks.chunks_exact_mut(16) {
            cipher.decrypt_block(block.try_into().expect("16 bytes"));
        }
        Ok(blocks)
    }

    /// `authenticate` under the shared secret.
    pub fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        authenticate(self.protocol, &self.hmac_key, message)
    }

    /// The input of hmac-secret for these salts, 32 bytes each (§12.7).
    pub fn hmac_secret(&self, salts: &[[u8; 32]]) -> Value {
        let salt_enc = self.encrypt(&salts.concat());
        let salt_auth = self.authenticate(&salt_enc);
        self.hmac_secret_of(salt_enc, salt_auth)
    }

    /// The same from parts that may be wrong.
    pub fn hmac_secret_of(&self, salt_enc: Vec<u8>, salt_auth: Vec<u8>) -> Value {
        cbor::map([
            (1, self.public.clone()),
            (2, salt_enc.into()),
            (3, salt_auth.into()),
            (4, self.protocol.into()),
        ])
    }
}

/// A COSE key for key agreement (§6.5.6): EC2, ECDH-ES + HKDF-256, P-256.
pub fn cose_key(x: &[u8], y: &[u8]) -> Value {
    cbor::map([
        (1, Value::from(2)),
        (3, Value::from(-25)),
        (-1, Value::from(1)),
        (-2, Value::from(x)),
        (-3, Value::from(y)),
    ])
}

/// A pinUvAuthToken.
#[derive(Clone)]
pub struct Token {
    /// The protocol it was made by.
    pub protocol: u8,
    /// The token itself.
    pub secret: Vec<u8>,
}

impl Token {
    /// pinUvAuthParam over `message`.
    pub fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        authenticate(self.protocol, &self.secret, message)
    }

    /// A makeCredential with pinUvAuthParam over its clientDataHash.
    pub fn make(&self, request: Parameters) -> Parameters {
        let param = self.authenticate(&request.bytes(0x01));
        request.with(0x08, param).with(0x09, self.protocol)
    }

    /// A getAssertion with pinUvAuthParam over its clientDataHash.
    pub fn get(&self, request: Parameters) -> Parameters {
        let param = self.authenticate(&request.bytes(0x02));
        request.with(0x06, param).with(0x07, self.protocol)
    }
}

impl<R: Reports> Key<R> {
    /// authenticatorClientPIN with these parameters beside protocol and subcommand.
    pub fn client_pin(&self, protocol: u8, subcommand: u8, more: &[(u64, Value)]) -> Result<Value> {
        let request = Parameters::default().with(1, protocol).with(2, subcommand);
        let request = more.iter().fold(request, |request, (key, value)| request.with(*key, value.clone()));
        let response = self.raw(command::CLIENT_PIN, &request.encode())?;
        if response.is_empty() { Ok(Value::Map(Vec::new())) } else { cbor::decode(&response) }
    }

    /// setPIN.
    pub fn set_pin(&self, protocol: u8, pin: &str) -> Result<()> {
        let agreed = Agreed::with(self, protocol)?;
        let new = agreed.encrypt(&padded(pin));
        let param = agreed.authenticate(&new);
        self.client_pin(
            protocol,
            subcommand::SET_PIN,
            &[(3, agreed.public), (4, param.into()), (5, new.into())],
        )?;
        Ok(())
    }

    /// changePIN.
    pub fn change_pin(&self, protocol: u8, old: &str, new: &str) -> Result<()> {
        let agreed = Agreed::with(self, protocol)?;
        let new = agreed.encrypt(&padded(new));
        let old = agreed.encrypt(&pin_hash(old));
        let param = agreed.authenticate(&[&new[..], &old].concat());
        self.client_pin(
            protocol,
            subcommand::CHANGE_PIN,
            &[(3, agreed.public), (4, param.into()), (5, new.into()), (6, old.into())],
        )?;
        Ok(())
    }

    /// A token by getPinToken, which has the permissions that were all there was.
    pub fn pin_token(&self, protocol: u8, pin: &str) -> Result<Token> {
        self.token_by_pin(protocol, pin, subcommand::GET_PIN_TOKEN, &[])
    }

    /// A token by getPinUvAuthTokenUsingPinWithPermissions.
    pub fn token(&self, protocol: u8, pin: &str, permissions: u8, rp_id: Option<&str>) -> Result<Token> {
        let mut more = vec![(9, permissions.into())];
        more.extend(rp_id.map(|rp_id| (10, rp_id.into())));
        self.token_by_pin(protocol, pin, subcommand::GET_TOKEN_USING_PIN, &more)
    }

    fn token_by_pin(&self, protocol: u8, pin: &str, subcommand: u8, more: &[(u64, Value)]) -> Result<Token> {
        let agreed = Agreed::with(self, protocol)?;
        let hash = (6, agreed.encrypt(&pin_hash(pin)).into());
        self.new_token(&agreed, subcommand, &[&[hash], more].concat())
    }

    /// A token by getPinUvAuthTokenUsingUvWithPermissions: by the key's own sensor.
    pub fn token_by_uv(&self, protocol: u8, permissions: u8, rp_id: Option<&str>) -> Result<Token> {
        let mut more = vec![(9, permissions.into())];
        more.extend(rp_id.map(|rp_id| (10, rp_id.into())));
        self.new_token(&Agreed::with(self, protocol)?, subcommand::GET_TOKEN_USING_UV, &more)
    }

    fn new_token(&self, agreed: &Agreed, subcommand: u8, more: &[(u64, Value)]) -> Result<Token> {
        let protocol = agreed.protocol;
        let more = [&[(3, agreed.public.clone())], more].concat();
        let answer = self.client_pin(protocol, subcommand, &more)?;
        let secret = agreed.decrypt(&cbor::bytes(&answer, 2)?)?;
        demand!(secret.len() == 32 || protocol == 1 && secret.len() == 16, "token of {} bytes", secret.len());
        Ok(Token { protocol, secret })
    }

    /// getUVRetries: how many wrong fingers are left.
    pub fn uv_retries(&self) -> Result<u64> {
        let request = Parameters::default().with(2, subcommand::GET_UV_RETRIES);
        cbor::unsigned(&self.call(command::CLIENT_PIN, &request)?, 5)
    }

    /// getPINRetries: how many are left, and whether only a power cycle gives the next.
    pub fn pin_retries(&self) -> Result<(u64, bool)> {
        let request = Parameters::default().with(2, subcommand::GET_PIN_RETRIES);
        let answer = self.call(command::CLIENT_PIN, &request)?;
        let retries = cbor::unsigned(&answer, 3)?;
        let power_cycle = cbor::get(&answer, 4).and_then(Value::as_bool).unwrap_or(false);
        Ok((retries, power_cycle))
    }
}
