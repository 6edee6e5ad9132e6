//! What the commands with subcommands have in common (CTAP 2.3 §6.7, §6.8, §6.11): a number, parameters that are signed as
//! they were received, and the signature.

use ctap_types::ctap2::Error;

use crate::authenticator::Authenticator;
use crate::pin::{Permissions, Token};
use crate::platform::Platform;
use crate::wire::{Map, Value};

pub(super) struct Subcommand<'a> {
    pub(super) number: Option<u64>,
    params: Option<Value<'a>>,
    pub(super) pin_uv_auth_protocol: Option<u64>,
    pub(super) pin_uv_auth_param: Option<&'a [u8]>,
}

impl<'a> Subcommand<'a> {
    /// Reads the four members from `first` on.
    pub(super) fn parse(map: Map<'a>, first: i64) -> Result<Self, Error> {
        Ok(Self {
            number: map.get(first).map(Value::unsigned).transpose()?,
            params: map.get(first + 1),
            pin_uv_auth_protocol: map.get(first + 2).map(Value::unsigned).transpose()?,
            pin_uv_auth_param: map.get(first + 3).map(Value::bytes).transpose()?,
        })
    }

    /// subCommandParams, if there are any.
    pub(super) fn params(&self) -> Result<Option<Map<'a>>, Error> {
        self.params.map(Value::map).transpose()
    }

    /// A parameter that must be there.
    pub(super) fn require(&self, key: i64) -> Result<Value<'a>, Error> {
        self.params()?.ok_or(Error::MissingParameter)?.require(key)
    }

    /// subCommandParams as they were received: what is signed beside the number.
    pub(super) fn raw_params(&self) -> &'a [u8] {
        self.params.map(Value::raw).unwrap_or_default()
    }
}

impl<P: Platform> Authenticator<'_, P> {
    /// Checks that a token with this permission signed `head` and the parameters, and gives it.
    ///
    /// Errors: `PUAT_REQUIRED` without a signature, and as in [`Self::verify_user`].
    pub(super) fn authorize_subcommand(
        &mut self,
        subcommand: &Subcommand<'_>,
        head: &[u8],
        permission: Permissions,
    ) -> Result<&mut Token, Error> {
        self.authorize(
            subcommand.pin_uv_auth_param,
            subcommand.pin_uv_auth_protocol,
            &[head, subcommand.raw_params()],
            permission,
        )
    }
}
