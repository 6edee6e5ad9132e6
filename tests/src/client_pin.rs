//! The platform's side of authenticatorClientPIN: both protocols, PINs, tokens (CTAP 2.3 §6.5).

use aes::Aes256;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ciborium::Value;
use hmac::{Hmac, KeyInit, Mac};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{NonZeroScalar, PublicKey};
use sha2::Sha256;

use crate::ctap2::{Parameters, command};
use crate::error::demand;
use crate::{Error, Key, Result, cbor, sha256};

/// Subcommands of authenticatorClientPIN (§6.5.5).
#[allow(missing_docs, reason = "the specification's names")]
pub mod subcommand {
    pub const GET_PIN_RETRIES: u64 = 0x01;
    pub const GET_KEY_AGREEMENT: u64 = 0x02;
    pub const SET_PIN: u64 = 0x03;
    pub const CHANGE_PIN: u64 = 0x04;
    pub const GET_PIN_TOKEN: u64 = 0x05;
    pub const GET_TOKEN_USING_UV: u64 = 0x06;
    pub const GET_UV_RETRIES: u64 = 0x07;
    pub const GET_TOKEN_USING_PIN: u64 = 0x09;
}

/// What a token may be good for (§6.5.5.7).
#[allow(missing_docs, reason = "the specification's names")]
pub mod permission {
    pub const MAKE_CREDENTIAL: u8 = 0x01;
    pub const GET_ASSERTION: u8 = 0x02;
    pub const CREDENTIAL_MANAGEMENT: u8 = 0x04;
    pub const BIO_ENROLLMENT: u8 = 0x08;
    pub const LARGE_BLOB_WRITE: u8 = 0x10;
    pub const AUTHENTICATOR_CONFIGURATION: u8 = 0x20;
    pub const PERSISTENT_READ_ONLY: u8 = 0x40;
}

/// The scalar of every platform key here: a test needs no secret.
const PLATFORM_SCALAR: [u8; 32] = [0x5a; 32];

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// LEFT(SHA-256(PIN), 16)
pub fn pin_hash(pin: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&sha256(&[pin.as_bytes()])[..16]);
    hash
}

/// A PIN as it is sent: 64 bytes, zeros behind. A longer one stays as it is, for a test.
pub fn padded(pin: &str) -> Vec<u8> {
    let mut padded = pin.as_bytes().to_vec();
    padded.resize(padded.len().max(64), 0);
    padded
}

/// A secret that a platform shares with a key, by protocol one or two.
#[derive(Clone)]
pub struct SharedSecret {
    /// 1 or 2.
    pub protocol: u8,
    hmac_key: [u8; 32],
    aes_key: [u8; 32],
}

impl SharedSecret {
    /// Agrees with the key (getKeyAgreement), whose public key must be exactly a COSE_Key for ECDH.
    pub fn agree(key: &Key, protocol: u8) -> Result<Self> {
        let request = request(protocol, subcommand::GET_KEY_AGREEMENT);
        let response = key.call(command::CLIENT_PIN, &request)?;
        let theirs = cbor::get(&response, 1).ok_or_else(|| Error::Violation("no keyAgreement".into()))?;
        let members = theirs.as_map().map_or(0, Vec::len);
        let number = |label: i64| cbor::get(theirs, label).and_then(Value::as_integer).map(i128::from);
        let kind = [number(1), number(3), number(-1)];
        demand!(members == 5 && kind == [Some(2), Some(-25), Some(1)], "keyAgreement {theirs:?}");
        let point = [vec![4], cbor::bytes(theirs, -2)?, cbor::bytes(theirs, -3)?].concat();
        let theirs = PublicKey::from_sec1_bytes(&point)
            .map_err(|error| Error::Violation(format!("keyAgreement: {error}")))?;
        let z = p256::ecdh::diffie_hellman(scalar(), theirs.as_affine()).raw_secret_bytes().to_vec();
        let (hmac_key, aes_key) = match protocol {
            1 => (sha256(&[&z]), sha256(&[&z])),
            _ => {
                // HKDF-SHA-256 with a zero salt (§6.5.7).
                let prk = hmac(&[0; 32], &z);
                let key = |label: &[u8]| hmac(&prk, &[label, &[1]].concat()).try_into().expect("32 bytes");
                (key(b"CTAP2 HMAC key"), key(b"CTAP2 AES key"))
            }
        };
        Ok(Self { protocol, hmac_key, aes_key })
    }

    /// The platform's public key, as requests carry it.
    pub fn platform_key(&self) -> Value {
        let point = PublicKey::from_secret_scalar(&scalar()).to_sec1_point(false);
        let coordinate = |bytes: Option<&p256::FieldBytes>| Value::from(bytes.map_or(&[][..], |b| &b[..]));
        cbor::map([
            (Value::from(1), Value::from(2)),
            (3.into(), (-25).into()),
            ((-1).into(), 1.into()),
            ((-2).into(), coordinate(point.x())),
            ((-3).into(), coordinate(point.y())),
        ])
    }

    /// `encrypt` of whole blocks.
    pub fn encrypt(&self, plain: &[u8]) -> Vec<u8> {
        // A fixed vector does for a test; protocol one has none.
        let iv = if self.protocol == 1 { [0; 16] } else { [9; 16] };
        let mut blocks = plain.to_vec();
        let mut cipher = cbc::Encryptor::<Aes256>::new(&self.aes_key.into(), &iv.into());
        for block in blocks.chunks_exact_mut(16) {
            cipher.encrypt_block(block.try_into().expect("16 bytes"));
        }
        if self.protocol == 1 { blocks } else { [&iv[..], &blocks].concat() }
    }

    /// `decrypt` of whole blocks.
    pub fn decrypt(&self, sealed: &[u8]) -> Result<Vec<u8>> {
        let (iv, blocks) = if self.protocol == 1 {
            ([0; 16], sealed)
        } else {
            let (iv, blocks) =
                sealed.split_first_chunk().ok_or_else(|| Error::Violation("no vector".into()))?;
            (*iv, blocks)
        };
        demand!(blocks.len() % 16 == 0, "{} bytes are no whole blocks", blocks.len());
        let mut plain = blocks.to_vec();
        let mut cipher = cbc::Decryptor::<Aes256>::new(&self.aes_key.into(), &iv.into());
        for block in plain.chunks_exact_mut(16) {
            cipher.decrypt_block(block.try_into().expect("16 bytes"));
        }
        Ok(plain)
    }

    /// `authenticate` with the shared secret.
    pub fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        authenticate(self.protocol, &self.hmac_key, message)
    }
}

fn scalar() -> NonZeroScalar {
    NonZeroScalar::from_repr(PLATFORM_SCALAR.into()).expect("it is below the order of P-256")
}

fn authenticate(protocol: u8, key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = hmac(key, message);
    mac.truncate(if protocol == 1 { 16 } else { 32 });
    mac
}

/// A request with these two parameters.
pub fn request(protocol: u8, subcommand: u64) -> Parameters {
    Parameters::default().with(0x01, protocol).with(0x02, subcommand)
}

/// A pinUvAuthToken.
#[derive(Clone)]
pub struct Token {
    /// The protocol that it was got by, and signs by.
    pub protocol: u8,
    /// The token itself, 16 or 32 bytes.
    pub bytes: Vec<u8>,
}

impl Token {
    /// pinUvAuthParam over a message.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        authenticate(self.protocol, &self.bytes, message)
    }

    /// makeCredential or getAssertion with this token: the parameters with pinUvAuthParam and pinUvAuthProtocol at
    /// their numbers.
    fn authorize(&self, parameters: Parameters, client_data_hash: &[u8; 32], at: u64) -> Parameters {
        parameters.with(at, self.sign(client_data_hash)).with(at + 1, self.protocol)
    }

    /// A makeCredential that is verified by this token.
    pub fn make_credential(&self, request: &crate::ctap2::MakeCredential) -> Parameters {
        self.authorize(request.parameters(), &request.client_data_hash, 0x08)
    }

    /// A getAssertion that is verified by this token.
    pub fn get_assertion(&self, request: &crate::ctap2::GetAssertion) -> Parameters {
        self.authorize(request.parameters(), &request.client_data_hash, 0x06)
    }

    /// The request of a command with subcommands, whose members are numbered from `first`; `head` is what is signed
    /// before the parameters.
    pub fn subcommand(&self, first: u64, head: &[u8], number: u8, params: Option<Value>) -> Parameters {
        let raw = params.as_ref().map(cbor::encode).unwrap_or_default();
        unauthorized_subcommand(first, number, params)
            .with(first + 2, self.protocol)
            .with(first + 3, self.sign(&[head, &raw].concat()))
    }
}

/// The same without a token.
pub fn unauthorized_subcommand(first: u64, number: u8, params: Option<Value>) -> Parameters {
    let parameters = Parameters::default().with(first, number);
    match params {
        Some(params) => parameters.with(first + 1, params),
        None => parameters,
    }
}

impl Key {
    /// authenticatorClientPIN.
    pub fn client_pin(&self, request: &Parameters) -> Result<Vec<u8>> {
        self.raw(command::CLIENT_PIN, &request.encode())
    }

    /// setPIN.
    pub fn set_pin(&self, protocol: u8, new: &str) -> Result<()> {
        let secret = SharedSecret::agree(self, protocol)?;
        let new_pin_enc = secret.encrypt(&padded(new));
        let request = request(protocol, subcommand::SET_PIN)
            .with(0x03, secret.platform_key())
            .with(0x04, secret.authenticate(&new_pin_enc))
            .with(0x05, new_pin_enc);
        self.client_pin(&request).map(drop)
    }

    /// changePIN.
    pub fn change_pin(&self, protocol: u8, current: &str, new: &str) -> Result<()> {
        let secret = SharedSecret::agree(self, protocol)?;
        let new_pin_enc = secret.encrypt(&padded(new));
        let pin_hash_enc = secret.encrypt(&pin_hash(current));
        let request = request(protocol, subcommand::CHANGE_PIN)
            .with(0x03, secret.platform_key())
            .with(0x04, secret.authenticate(&[&new_pin_enc[..], &pin_hash_enc].concat()))
            .with(0x05, new_pin_enc)
            .with(0x06, pin_hash_enc);
        self.client_pin(&request).map(drop)
    }

    /// getPINRetries: how many are left, and whether a power cycle is needed before the next.
    pub fn pin_retries(&self) -> Result<(u64, bool)> {
        let request = Parameters::default().with(0x02, subcommand::GET_PIN_RETRIES);
        let response = self.call(command::CLIENT_PIN, &request)?;
        let retries = cbor::get(&response, 3).and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok());
        let power_cycle = cbor::get(&response, 4).and_then(Value::as_bool).unwrap_or(false);
        Ok((retries.ok_or_else(|| Error::Violation("no pinRetries".into()))?, power_cycle))
    }

    /// getPinToken, which knows no permissions.
    pub fn pin_token(&self, protocol: u8, pin: &str) -> Result<Token> {
        self.token(protocol, Some(pin), subcommand::GET_PIN_TOKEN, |request| request)
    }

    /// getPinUvAuthTokenUsingPinWithPermissions.
    pub fn token_using_pin(
        &self,
        protocol: u8,
        pin: &str,
        permissions: u8,
        rp_id: Option<&str>,
    ) -> Result<Token> {
        self.token(protocol, Some(pin), subcommand::GET_TOKEN_USING_PIN, |request| {
            with_permissions(request, permissions, rp_id)
        })
    }

    /// getPinUvAuthTokenUsingUvWithPermissions.
    pub fn token_using_uv(&self, protocol: u8, permissions: u8, rp_id: Option<&str>) -> Result<Token> {
        self.token(protocol, None, subcommand::GET_TOKEN_USING_UV, |request| {
            with_permissions(request, permissions, rp_id)
        })
    }

    fn token(
        &self,
        protocol: u8,
        pin: Option<&str>,
        subcommand: u64,
        more: impl FnOnce(Parameters) -> Parameters,
    ) -> Result<Token> {
        let secret = SharedSecret::agree(self, protocol)?;
        let mut request = request(protocol, subcommand).with(0x03, secret.platform_key());
        if let Some(pin) = pin {
            request = request.with(0x06, secret.encrypt(&pin_hash(pin)));
        }
        let response = self.call(command::CLIENT_PIN, &more(request))?;
        let bytes = secret.decrypt(&cbor::bytes(&response, 2)?)?;
        demand!(
            matches!((protocol, bytes.len()), (1, 16 | 32) | (2, 32)),
            "a token of {} bytes",
            bytes.len()
        );
        Ok(Token { protocol, bytes })
    }
}

fn with_permissions(request: Parameters, permissions: u8, rp_id: Option<&str>) -> Parameters {
    let request = request.with(0x09, permissions);
    match rp_id {
        Some(rp_id) => request.with(0x0a, rp_id),
        None => request,
    }
}
