//! authenticatorClientPIN (CTAP 2.3 §6.5).

use ctap_types::ctap2::Error;
use p256::PublicKey;
use serde_bytes::Bytes;
use serde_indexed::SerializeIndexed;
use sha2::{Digest, Sha256};

use crate::authenticator::Authenticator;
use crate::credential::CoseKey;
use crate::pin::{
    KeyAgreement, MAX_PIN_RETRIES, Permissions, PinRecord, Protocol, SharedSecret, Token, parse_public,
};
use crate::platform::Platform;
use crate::wire::{Map, Value};

/// Three wrong PINs in a row, and the next try takes a power cycle (§6.5.5.6 step 6).
const MAX_MISMATCHES: u8 = 3;

mod subcommand {
    pub(super) const GET_PIN_RETRIES: u64 = 0x01;
    pub(super) const GET_KEY_AGREEMENT: u64 = 0x02;
    pub(super) const SET_PIN: u64 = 0x03;
    pub(super) const CHANGE_PIN: u64 = 0x04;
    pub(super) const GET_PIN_TOKEN: u64 = 0x05;
    pub(super) const GET_TOKEN_USING_PIN: u64 = 0x09;
}

/// The parameters; which of them are needed depends on the subcommand.
struct Request<'a> {
    protocol: Option<u64>,
    subcommand: u64,
    key_agreement: Option<Map<'a>>,
    pin_uv_auth_param: Option<&'a [u8]>,
    new_pin_enc: Option<&'a [u8]>,
    pin_hash_enc: Option<&'a [u8]>,
    permissions: Option<u64>,
    rp_id: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn parse(parameters: &'a [u8]) -> Result<Self, Error> {
        let map = Map::parameters(parameters)?;
        Ok(Self {
            protocol: map.get(0x01).map(Value::unsigned).transpose()?,
            subcommand: map.require(0x02)?.unsigned()?,
            key_agreement: map.get(0x03).map(Value::map).transpose()?,
            pin_uv_auth_param: map.get(0x04).map(Value::bytes).transpose()?,
            new_pin_enc: map.get(0x05).map(Value::bytes).transpose()?,
            pin_hash_enc: map.get(0x06).map(Value::bytes).transpose()?,
            permissions: map.get(0x09).map(Value::unsigned).transpose()?,
            rp_id: map.get(0x0a).map(Value::text).transpose()?,
        })
    }

    fn protocol(&self) -> Result<Protocol, Error> {
        Protocol::parse(self.protocol.ok_or(Error::MissingParameter)?)
    }

    fn platform_key(&self) -> Result<PublicKey, Error> {
        parse_public(self.key_agreement.ok_or(Error::MissingParameter)?)
    }
}

#[derive(SerializeIndexed)]
#[serde_indexed(offset = 1)]
struct Response<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key_agreement: Option<CoseKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_uv_auth_token: Option<&'a Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_retries: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    power_cycle_state: Option<bool>,
}

const EMPTY: Response<'_> =
    Response { key_agreement: None, pin_uv_auth_token: None, pin_retries: None, power_cycle_state: None };

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn client_pin(&mut self, parameters: &[u8], response: &mut [u8]) -> Result<usize, Error> {
        let request = Request::parse(parameters)?;
        match request.subcommand {
            subcommand::GET_PIN_RETRIES => {
                let power_cycle_state = Some(self.pin.mismatches >= MAX_MISMATCHES);
                let pin_retries = Some(self.store.pin().retries);
                crate::wire::encode(&Response { pin_retries, power_cycle_state, ..EMPTY }, response)
            }
            subcommand::GET_KEY_AGREEMENT => {
                request.protocol()?;
                let key_agreement = Some(self.key_agreement().public()?);
                crate::wire::encode(&Response { key_agreement, ..EMPTY }, response)
            }
            subcommand::SET_PIN => self.set_pin(&request),
            subcommand::CHANGE_PIN => self.change_pin(&request),
            subcommand::GET_PIN_TOKEN => {
                if request.permissions.is_some() || request.rp_id.is_some() {
                    return Err(Error::InvalidParameter);
                }
                self.token_by_pin(&request, Permissions::LEGACY, None, response)
            }
            subcommand::GET_TOKEN_USING_PIN => {
                let permissions = Permissions::parse(request.permissions.ok_or(Error::MissingParameter)?)?;
                if permissions.need_rp_id() && request.rp_id.is_none() {
                    return Err(Error::MissingParameter);
                }
                let rp_id_hash = request.rp_id.map(|rp_id| Sha256::digest(rp_id).into());
                self.token_by_pin(&request, permissions, rp_id_hash, response)
            }
            _ => Err(Error::InvalidSubcommand),
        }
    }

    fn key_agreement(&mut self) -> &KeyAgreement {
        let rng = self.platform.rng();
        self.pin.key_agreement.get_or_insert_with(|| KeyAgreement::generate(rng))
    }

    pub(crate) fn shared_secret(
        &mut self,
        protocol: Protocol,
        platform: &PublicKey,
    ) -> Result<SharedSecret, Error> {
        self.key_agreement().agree(protocol, platform)
    }

    /// setPIN (§6.5.5.5).
    fn set_pin(&mut self, request: &Request<'_>) -> Result<usize, Error> {
        let protocol = request.protocol()?;
        let platform = request.platform_key()?;
        let new_pin_enc = request.new_pin_enc.ok_or(Error::MissingParameter)?;
        let param = request.pin_uv_auth_param.ok_or(Error::MissingParameter)?;
        if self.store.pin().is_set() {
            return Err(Error::PinAuthInvalid);
        }
        let secret = self.shared_secret(protocol, &platform)?;
        if !secret.verify(&[new_pin_enc], param) {
            return Err(Error::PinAuthInvalid);
        }
        self.keep_new_pin(&secret, new_pin_enc)
    }

    /// changePIN (§6.5.5.6).
    fn change_pin(&mut self, request: &Request<'_>) -> Result<usize, Error> {
        let protocol = request.protocol()?;
        let platform = request.platform_key()?;
        let new_pin_enc = request.new_pin_enc.ok_or(Error::MissingParameter)?;
        let pin_hash_enc = request.pin_hash_enc.ok_or(Error::MissingParameter)?;
        let param = request.pin_uv_auth_param.ok_or(Error::MissingParameter)?;
        self.may_try_pin()?;
        let secret = self.shared_secret(protocol, &platform)?;
        if !secret.verify(&[new_pin_enc, pin_hash_enc], param) {
            return Err(Error::PinAuthInvalid);
        }
        self.try_pin(&secret, pin_hash_enc)?;
        self.keep_new_pin(&secret, new_pin_enc)
    }

    fn keep_new_pin(&mut self, secret: &SharedSecret, new_pin_enc: &[u8]) -> Result<usize, Error> {
        let padded = secret.decrypt::<64>(new_pin_enc).ok_or(Error::InvalidParameter)?;
        self.store.set_pin(PinRecord::new(&padded)?)?;
        self.pin.mismatches = 0;
        self.pin.token = None;
        Ok(0)
    }

    /// getPinToken and getPinUvAuthTokenUsingPinWithPermissions (§6.5.5.7.1, §6.5.5.7.2).
    fn token_by_pin(
        &mut self,
        request: &Request<'_>,
        permissions: Permissions,
        rp_id_hash: Option<[u8; 32]>,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let protocol = request.protocol()?;
        let platform = request.platform_key()?;
        let pin_hash_enc = request.pin_hash_enc.ok_or(Error::MissingParameter)?;
        self.may_try_pin()?;
        let secret = self.shared_secret(protocol, &platform)?;
        self.try_pin(&secret, pin_hash_enc)?;
        let now_ms = self.now_ms();
        let rng = self.platform.rng();
        let token = Token::issue(protocol, permissions, rp_id_hash, now_ms, rng);
        let sealed = secret.encrypt(token.bytes(), rng)?;
        self.pin.token = Some(token);
        crate::wire::encode(&Response { pin_uv_auth_token: Some(Bytes::new(&sealed)), ..EMPTY }, response)
    }

    fn may_try_pin(&self) -> Result<(), Error> {
        match self.store.pin() {
            pin if !pin.is_set() => Err(Error::PinNotSet),
            pin if pin.retries == 0 => Err(Error::PinBlocked),
            _ if self.pin.mismatches >= MAX_MISMATCHES => Err(Error::PinAuthBlocked),
            _ => Ok(()),
        }
    }

    /// Compares a PIN, after the try has been counted in flash. What does not decrypt is a wrong PIN.
    ///
    /// Errors: `PIN_INVALID`; `PIN_AUTH_BLOCKED` at the third in a row; `PIN_BLOCKED` at the last.
    fn try_pin(&mut self, secret: &SharedSecret, pin_hash_enc: &[u8]) -> Result<(), Error> {
        self.may_try_pin()?;
        self.store.set_pin_retries(self.store.pin().retries - 1)?;
        let hash = secret.decrypt::<16>(pin_hash_enc);
        if hash.is_some_and(|hash| self.store.pin().matches(&hash)) {
            self.store.set_pin_retries(MAX_PIN_RETRIES)?;
            self.pin.mismatches = 0;
            return Ok(());
        }
        self.pin.mismatches += 1;
        self.pin.key_agreement = None;
        Err(match self.store.pin().retries {
            0 => Error::PinBlocked,
            _ if self.pin.mismatches >= MAX_MISMATCHES => Error::PinAuthBlocked,
            _ => Error::PinInvalid,
        })
    }
}
