//! authenticatorClientPIN (CTAP 2.3 §6.5).

use ctap_types::ctap2::Error;
use p256::PublicKey;
use serde_bytes::Bytes;
use serde_indexed::SerializeIndexed;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::authenticator::Authenticator;
use crate::credential::CoseKey;
use crate::pin::{
    KeyAgreement, MAX_PIN_RETRIES, MAX_UV_RETRIES, Permissions, Pin, Protocol, SharedSecret, Token,
    parse_public,
};
use crate::platform::{Operation, Platform};
use crate::wire::{Map, Value};

/// Three wrong PINs in a row, and the next try takes a power cycle (§6.5.5.6 step 6).
const MAX_MISMATCHES: u8 = 3;

mod subcommand {
    pub(super) const GET_PIN_RETRIES: u64 = 0x01;
    pub(super) const GET_KEY_AGREEMENT: u64 = 0x02;
    pub(super) const SET_PIN: u64 = 0x03;
    pub(super) const CHANGE_PIN: u64 = 0x04;
    pub(super) const GET_PIN_TOKEN: u64 = 0x05;
    pub(super) const GET_TOKEN_USING_UV: u64 = 0x06;
    pub(super) const GET_UV_RETRIES: u64 = 0x07;
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

#[derive(Default, SerializeIndexed)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    uv_retries: Option<u8>,
}

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn client_pin(&mut self, parameters: &[u8], response: &mut [u8]) -> Result<usize, Error> {
        let request = Request::parse(parameters)?;
        match request.subcommand {
            subcommand::GET_PIN_RETRIES => {
                let power_cycle_state = Some(self.pin.mismatches >= MAX_MISMATCHES);
                let pin_retries = Some(self.store.state().pin_retries);
                crate::wire::encode(
                    &Response { pin_retries, power_cycle_state, ..Response::default() },
                    response,
                )
            }
            subcommand::GET_KEY_AGREEMENT => {
                request.protocol()?;
                let key_agreement = Some(self.key_agreement().public()?);
                crate::wire::encode(&Response { key_agreement, ..Response::default() }, response)
            }
            subcommand::SET_PIN => self.client_pin_set(&request),
            subcommand::CHANGE_PIN => self.client_pin_change(&request),
            subcommand::GET_PIN_TOKEN => {
                if request.permissions.is_some() || request.rp_id.is_some() {
                    return Err(Error::InvalidParameter);
                }
                // The status that a platform of that time knows (§6.5.5.7.1).
                self.token_by_pin(&request, Permissions::LEGACY, None, Error::PinInvalid, response)
            }
            subcommand::GET_TOKEN_USING_PIN => {
                let (permissions, rp_id_hash) = self.permissions(&request)?;
                self.token_by_pin(&request, permissions, rp_id_hash, Error::PinPolicyViolation, response)
            }
            subcommand::GET_TOKEN_USING_UV if self.sensor().is_some() => self.token_by_uv(&request, response),
            subcommand::GET_UV_RETRIES if self.sensor().is_some() => {
                let uv_retries = Some(self.store.state().uv_retries);
                crate::wire::encode(&Response { uv_retries, ..Response::default() }, response)
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
    fn client_pin_set(&mut self, request: &Request<'_>) -> Result<usize, Error> {
        let protocol = request.protocol()?;
        let platform = request.platform_key()?;
        let new_pin_enc = request.new_pin_enc.ok_or(Error::MissingParameter)?;
        let param = request.pin_uv_auth_param.ok_or(Error::MissingParameter)?;
        if self.store.state().pin.is_some() {
            return Err(Error::PinAuthInvalid);
        }
        let secret = self.shared_secret(protocol, &platform)?;
        if !secret.verify(&[new_pin_enc], param) {
            return Err(Error::PinAuthInvalid);
        }
        self.keep_pin(new_pin(&secret, new_pin_enc)?)?;
        Ok(0)
    }

    /// changePIN (§6.5.5.6).
    fn client_pin_change(&mut self, request: &Request<'_>) -> Result<usize, Error> {
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
        self.try_pin(|| secret.decrypt::<16>(pin_hash_enc).map(|hash| *hash))?;
        self.keep_pin(new_pin(&secret, new_pin_enc)?)?;
        Ok(0)
    }

    /// Keeps a PIN, if it is long enough and not too simple. Every token ends, the persistent one too.
    ///
    /// Errors: `PIN_POLICY_VIOLATION`, also for the same PIN again while it has to be changed.
    pub(crate) fn keep_pin(&mut self, pin: Pin) -> Result<(), Error> {
        let state = self.store.state();
        let the_same = state.force_pin_change && state.pin.as_ref().is_some_and(|old| old.matches(&pin.hash));
        if pin.length < state.min_pin_length || state.pin_complexity_policy && pin.simple || the_same {
            return Err(Error::PinPolicyViolation);
        }
        let rng = self.platform.rng();
        self.store.change_state(|state| {
            state.renew_persistent_token(rng);
            state.pin = Some(pin);
            state.pin_retries = MAX_PIN_RETRIES;
            state.force_pin_change = false;
        })?;
        self.pin.mismatches = 0;
        self.pin.token = None;
        Ok(())
    }

    /// The permissions that a platform asks for, and the site that it names.
    fn permissions(&mut self, request: &Request<'_>) -> Result<(Permissions, Option<[u8; 32]>), Error> {
        let has_sensor = self.sensor().is_some();
        let bits = request.permissions.ok_or(Error::MissingParameter)?;
        let permissions = Permissions::parse(bits, has_sensor)?;
        if permissions.need_rp_id() && request.rp_id.is_none() {
            return Err(Error::MissingParameter);
        }
        Ok((permissions, request.rp_id.map(|rp_id| Sha256::digest(rp_id).into())))
    }

    /// getPinToken and getPinUvAuthTokenUsingPinWithPermissions (§6.5.5.7.1, §6.5.5.7.2). `must_change` is the
    /// status for a PIN that has to be changed first.
    fn token_by_pin(
        &mut self,
        request: &Request<'_>,
        permissions: Permissions,
        rp_id_hash: Option<[u8; 32]>,
        must_change: Error,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let protocol = request.protocol()?;
        let platform = request.platform_key()?;
        let pin_hash_enc = request.pin_hash_enc.ok_or(Error::MissingParameter)?;
        self.may_try_pin()?;
        let secret = self.shared_secret(protocol, &platform)?;
        self.try_pin(|| secret.decrypt::<16>(pin_hash_enc).map(|hash| *hash))?;
        if self.store.state().force_pin_change {
            return Err(must_change);
        }
        self.issue_token(protocol, &secret, permissions, rp_id_hash, false, response)
    }

    /// getPinUvAuthTokenUsingUvWithPermissions (§6.5.5.7.3).
    fn token_by_uv(&mut self, request: &Request<'_>, response: &mut [u8]) -> Result<usize, Error> {
        let protocol = request.protocol()?;
        let platform = request.platform_key()?;
        let (permissions, rp_id_hash) = self.permissions(request)?;
        if !self.built_in_uv_is_set() {
            return Err(Error::NotAllowed);
        }
        let rp = request.rp_id.zip(rp_id_hash.as_ref());
        self.scan(Operation::Verify, rp)?;
        let secret = self.shared_secret(protocol, &platform)?;
        self.issue_token(protocol, &secret, permissions, rp_id_hash, true, response)
    }

    /// Gives out a token: a new one, or the persistent one, which grants nothing but reading.
    fn issue_token(
        &mut self,
        protocol: Protocol,
        secret: &SharedSecret,
        permissions: Permissions,
        rp_id_hash: Option<[u8; 32]>,
        user_present: bool,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let now_ms = self.now_ms();
        let rng = self.platform.rng();
        let sealed = if permissions == Permissions::PERSISTENT_READ_ONLY {
            secret.encrypt(&self.store.state().persistent_token, rng)?
        } else {
            let token = Token::issue(protocol, permissions, rp_id_hash, user_present, now_ms, rng);
            let sealed = secret.encrypt(token.bytes(), rng)?;
            self.pin.token = Some(token);
            sealed
        };
        let answer = Response { pin_uv_auth_token: Some(Bytes::new(&sealed)), ..Response::default() };
        crate::wire::encode(&answer, response)
    }

    fn may_try_pin(&self) -> Result<(), Error> {
        let state = self.store.state();
        if state.pin.is_none() {
            return Err(Error::PinNotSet);
        }
        if state.pin_retries == 0 {
            return Err(Error::PinBlocked);
        }
        if self.pin.mismatches >= MAX_MISMATCHES { Err(Error::PinAuthBlocked) } else { Ok(()) }
    }

    /// Compares the hash of a PIN, after the try has been counted in flash. What does not decrypt is a wrong PIN.
    ///
    /// Errors: `PIN_INVALID`; `PIN_AUTH_BLOCKED` at the third in a row; `PIN_BLOCKED` at the last; those of a PIN
    /// that may not be tried.
    pub(crate) fn try_pin(&mut self, hash: impl FnOnce() -> Option<[u8; 16]>) -> Result<(), Error> {
        self.may_try_pin()?;
        self.store.change_state(|state| state.pin_retries -= 1)?;
        let hash = hash().map(Zeroizing::new);
        let pin = self.store.state().pin.as_ref();
        if hash.is_some_and(|hash| pin.is_some_and(|pin| pin.matches(&hash))) {
            self.store.change_state(|state| {
                state.pin_retries = MAX_PIN_RETRIES;
                state.uv_retries = MAX_UV_RETRIES;
                state.uv_count = 0;
            })?;
            self.pin.mismatches = 0;
            return Ok(());
        }
        self.pin.mismatches += 1;
        self.pin.key_agreement = None;
        Err(match self.store.state().pin_retries {
            0 => Error::PinBlocked,
            _ if self.pin.mismatches >= MAX_MISMATCHES => Error::PinAuthBlocked,
            _ => Error::PinInvalid,
        })
    }
}

/// The PIN in newPinEnc.
fn new_pin(secret: &SharedSecret, new_pin_enc: &[u8]) -> Result<Pin, Error> {
    Pin::from_padded(&*secret.decrypt::<64>(new_pin_enc).ok_or(Error::InvalidParameter)?)
}
