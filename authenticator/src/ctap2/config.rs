//! authenticatorConfig (CTAP 2.3 §6.11).

use ctap_types::ctap2::Error;
use sha2::{Digest, Sha256};

use super::subcommand::Subcommand;
use crate::authenticator::Authenticator;
use crate::pin::{MAX_PIN_LENGTH, Permissions};
use crate::platform::Platform;
use crate::store::state::RpIdHashes;
use crate::wire::{Map, Value};

pub(super) mod subcommand {
    pub(in crate::ctap2) const ENABLE_ENTERPRISE_ATTESTATION: u8 = 0x01;
    pub(in crate::ctap2) const TOGGLE_ALWAYS_UV: u8 = 0x02;
    pub(in crate::ctap2) const SET_MIN_PIN_LENGTH: u8 = 0x03;
    pub(in crate::ctap2) const ENABLE_LONG_TOUCH_FOR_RESET: u8 = 0x04;
}

/// The parameters of setMinPINLength (§6.11.4). All may be missing.
#[derive(Default)]
struct SetMinPinLength<'a> {
    new_min_pin_length: Option<u64>,
    rp_ids: Option<Value<'a>>,
    force_change_pin: bool,
    pin_complexity_policy: bool,
}

impl<'a> SetMinPinLength<'a> {
    fn parse(params: Option<Map<'a>>) -> Result<Self, Error> {
        let Some(map) = params else { return Ok(Self::default()) };
        let flag = |key| map.get(key).map(Value::boolean).transpose().map(|value| value.unwrap_or(false));
        Ok(Self {
            new_min_pin_length: map.get(0x01).map(Value::unsigned).transpose()?,
            rp_ids: map.get(0x02),
            force_change_pin: flag(0x03)?,
            pin_complexity_policy: flag(0x04)?,
        })
    }

    /// Errors: `KEY_STORE_FULL` for more than getInfo's maxRPIDsForSetMinPINLength.
    fn rp_id_hashes(&self) -> Result<Option<RpIdHashes>, Error> {
        let Some(rp_ids) = self.rp_ids else { return Ok(None) };
        let mut hashes = RpIdHashes::new();
        for rp_id in rp_ids.array()? {
            let hash = Sha256::digest(rp_id.text()?).into();
            hashes.push(hash).map_err(|_| Error::KeyStoreFull)?;
        }
        Ok(Some(hashes))
    }
}

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn config(&mut self, parameters: &[u8]) -> Result<usize, Error> {
        let request = Subcommand::parse(Map::parameters(parameters)?, 0x01)?;
        // The specification has this status here, not INVALID_SUBCOMMAND.
        let command = u8::try_from(request.number.ok_or(Error::MissingParameter)?)
            .ok()
            .filter(|command| self.config_commands().contains(command))
            .ok_or(Error::InvalidParameter)?;
        // Whoever turned alwaysUv on without a PIN is not shut out.
        let toggles = command == subcommand::TOGGLE_ALWAYS_UV;
        if self.is_protected() || self.store.state().always_uv && !toggles {
            let mut head = [0xff; 34];
            head[32..].copy_from_slice(&[0x0d, command]);
            self.authorize_subcommand(&request, &head, Permissions::AUTHENTICATOR_CONFIGURATION)?;
        }
        match command {
            subcommand::ENABLE_ENTERPRISE_ATTESTATION => {
                self.store.change_state(|state| state.enterprise_attestation = true)?;
            }
            subcommand::TOGGLE_ALWAYS_UV => {
                self.store.change_state(|state| state.always_uv = !state.always_uv)?;
            }
            subcommand::SET_MIN_PIN_LENGTH => self.set_min_pin_length(request.params()?)?,
            // ENABLE_LONG_TOUCH_FOR_RESET
            _ => self.store.change_state(|state| state.long_touch_for_reset = true)?,
        }
        Ok(0)
    }

    /// The subcommands that work on this key: getInfo's authenticatorConfigCommands.
    pub(super) fn config_commands(&self) -> heapless::Vec<u8, 4> {
        let identity = self.platform.identity();
        let commands = [
            (subcommand::ENABLE_ENTERPRISE_ATTESTATION, self.has_enterprise_attestation()),
            (subcommand::TOGGLE_ALWAYS_UV, true),
            (subcommand::SET_MIN_PIN_LENGTH, true),
            (subcommand::ENABLE_LONG_TOUCH_FOR_RESET, identity.long_touch),
        ];
        commands.into_iter().filter(|(_, works)| *works).map(|(command, _)| command).collect()
    }

    /// All of it or nothing (§6.11.4).
    fn set_min_pin_length(&mut self, params: Option<Map<'_>>) -> Result<(), Error> {
        let params = SetMinPinLength::parse(params)?;
        let state = self.store.state();
        let current = state.min_pin_length;
        let length = match params.new_min_pin_length {
            None => current,
            Some(length) => u8::try_from(length)
                .ok()
                .filter(|length| (current..=MAX_PIN_LENGTH).contains(length))
                .ok_or(Error::PinPolicyViolation)?,
        };
        let rp_id_hashes = params.rp_id_hashes()?;
        if params.force_change_pin && state.pin.is_none() {
            return Err(Error::PinNotSet);
        }
        let breaks_policy = state.pin.as_ref().is_some_and(|pin| {
            pin.length < length || pin.simple && (params.pin_complexity_policy || state.pin_complexity_policy)
        });
        let force = params.force_change_pin || breaks_policy;
        self.store.change_state(|state| {
            state.min_pin_length = length;
            state.force_pin_change |= force;
            state.pin_complexity_policy |= params.pin_complexity_policy;
            if let Some(hashes) = rp_id_hashes {
                state.rp_id_hashes = hashes;
            }
        })?;
        if force {
            self.pin.token = None;
        }
        Ok(())
    }
}
