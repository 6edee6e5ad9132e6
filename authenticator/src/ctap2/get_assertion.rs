//! authenticatorGetAssertion and authenticatorGetNextAssertion (CTAP 2.3 §6.2, §6.3).

use ctap_types::ctap2::{AuthenticatorDataFlags as Flags, Error};
use serde_bytes::Bytes;
use serde_indexed::SerializeIndexed;
use sha2::{Digest, Sha256};

use super::auth_data::AuthData;
use super::client_data_hash;
use super::get_info::max_credential_count_in_list;
use super::output::{Descriptor, UserOutput};
use crate::authenticator::{Authenticator, Next};
use crate::credential::key::{large_blob_key, sign};
use crate::credential::record::Record;
use crate::credential::{Credential, Sealed};
use crate::extension::{GetAssertionInputs, GetAssertionOutputs, HmacSecret, Wanted};
use crate::pin::Permissions;
use crate::platform::{Operation, Platform};
use crate::user::Verification;
use crate::wire::{Descriptors, Map, Options, Value};

struct Request<'a> {
    rp_id: &'a str,
    client_data_hash: &'a [u8; 32],
    /// `None` also for an empty list, which asks for nothing in particular.
    allow_list: Option<Descriptors<'a>>,
    extensions: GetAssertionInputs<'a>,
    options: Options,
    pin_uv_auth_param: Option<&'a [u8]>,
    pin_uv_auth_protocol: Option<u64>,
}

impl<'a> Request<'a> {
    fn parse(parameters: &'a [u8], list_limit: usize) -> Result<Self, Error> {
        let map = Map::parameters(parameters)?;
        let request = Self {
            rp_id: map.require(0x01)?.text()?,
            client_data_hash: client_data_hash(map.require(0x02)?)?,
            allow_list: map.get(0x03).map(|list| Descriptors::parse(list, list_limit)).transpose()?,
            extensions: GetAssertionInputs::parse(map.get(0x04))?,
            options: Options::parse(map.get(0x05))?,
            pin_uv_auth_param: map.get(0x06).map(Value::bytes).transpose()?,
            pin_uv_auth_protocol: map.get(0x07).map(Value::unsigned).transpose()?,
        };
        Ok(Self { allow_list: request.allow_list.filter(|list| !list.is_empty()), ..request })
    }
}

#[derive(SerializeIndexed)]
#[serde_indexed(offset = 1)]
struct Response<'a> {
    credential: Descriptor<'a>,
    auth_data: &'a Bytes,
    signature: &'a Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserOutput<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number_of_credentials: Option<usize>,
    /// A key without a display has nothing to select on.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_selected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    large_blob_key: Option<&'a Bytes>,
}

/// What every assertion of one getAssertion shares.
struct Ceremony {
    rp_id_hash: [u8; 32],
    client_data_hash: [u8; 32],
    user_present: bool,
    user_verified: bool,
    hmac_secret: Option<HmacSecret>,
    wanted: Wanted,
}

/// What getNextAssertion goes on with.
pub(crate) struct NextAssertion {
    channel: u32,
    ceremony: Ceremony,
    /// The order of the credential that signed last: the next one is older.
    before: u32,
    /// How many are left.
    left: usize,
}

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn get_assertion(
        &mut self,
        channel: u32,
        parameters: &[u8],
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let request = Request::parse(parameters, max_credential_count_in_list(self.platform.identity()))?;
        let rp_id_hash: [u8; 32] = Sha256::digest(request.rp_id).into();
        let rp = (request.rp_id, &rp_id_hash);

        if request.pin_uv_auth_param.is_some_and(<[u8]>::is_empty) {
            self.choose(Operation::Authenticate, rp)?;
        }
        let user_present = request.options.up != Some(false);
        let verification = Verification {
            param: request.pin_uv_auth_param,
            protocol: request.pin_uv_auth_protocol,
            uv: request.options.uv,
        };
        let built_in = self.wants_built_in_uv(verification, user_present)?;
        if request.options.rk.is_some() {
            return Err(Error::UnsupportedOption);
        }
        if request.extensions.hmac_secret.is_some() && !user_present {
            return Err(Error::UnsupportedOption);
        }
        let evidence = self.verify_user(
            verification,
            built_in,
            request.client_data_hash,
            Permissions::GET_ASSERTION,
            Operation::Authenticate,
            rp,
        )?;
        let mut ceremony = Ceremony {
            rp_id_hash,
            client_data_hash: *request.client_data_hash,
            user_present,
            user_verified: evidence.verified,
            hmac_secret: None,
            wanted: request.extensions.wanted,
        };

        let (credential, matches) = match request.allow_list {
            Some(list) => (self.first_allowed(list, &ceremony)?, 1),
            None => (self.discover(&ceremony, None)?, self.count_matches(&ceremony)?),
        };
        let credential = credential.ok_or(Error::NoCredentials)?;
        if user_present && !evidence.present {
            let record = credential.stored.as_ref().map(|stored| stored.record()).transpose()?;
            let name = record.and_then(|record| record.user_name);
            self.confirm(Operation::Authenticate, Some(rp), name)?;
        }
        if let Some(input) = request.extensions.hmac_secret {
            let secret = self.shared_secret(input.protocol, &input.platform_key)?;
            ceremony.hmac_secret = Some(input.open(secret)?);
        }

        let number = (matches > 1).then_some(matches);
        let length = self.assert(&ceremony, &credential, number, number.is_some(), response)?;
        if user_present {
            self.spend_token();
        }
        if number.is_some() {
            self.assert_next(channel, ceremony, &credential, matches - 1);
        }
        Ok(length)
    }

    pub(crate) fn get_next_assertion(
        &mut self,
        next: Option<Next>,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let Some(Next::Assertion(NextAssertion { channel, ceremony, before, left })) = next else {
            return Err(Error::NotAllowed);
        };
        let credential = self.discover(&ceremony, Some(before))?.ok_or(Error::NotAllowed)?;
        let length = self.assert(&ceremony, &credential, None, true, response)?;
        self.assert_next(channel, ceremony, &credential, left - 1);
        Ok(length)
    }

    fn assert_next(&mut self, channel: u32, ceremony: Ceremony, last: &Credential, left: usize) {
        let before = last.stored.as_ref().map(|stored| stored.order).filter(|_| left > 0);
        let next = before.map(|before| Next::Assertion(NextAssertion { channel, ceremony, before, left }));
        self.go_on(channel, next);
    }

    /// The first credential of an allowList that may be used.
    fn first_allowed(&self, list: Descriptors<'_>, ceremony: &Ceremony) -> Result<Option<Credential>, Error> {
        for id in list.ids() {
            if let Some(credential) = self.named(id, &ceremony.rp_id_hash)?
                && credential.sealed.cred_protect.allows(ceremony.user_verified, true)
            {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    /// The newest discoverable credential, older than `before`, that may be used.
    fn discover(&self, ceremony: &Ceremony, before: Option<u32>) -> Result<Option<Credential>, Error> {
        let usable =
            |_: &Record<'_>, sealed: &Sealed| sealed.cred_protect.allows(ceremony.user_verified, false);
        Ok(self.store.find(&ceremony.rp_id_hash, before, usable)?)
    }

    fn count_matches(&self, ceremony: &Ceremony) -> Result<usize, Error> {
        let mut matches = 0;
        self.store.find(&ceremony.rp_id_hash, None, |_, sealed| {
            matches += usize::from(sealed.cred_protect.allows(ceremony.user_verified, false));
            false
        })?;
        Ok(matches)
    }

    /// Makes one assertion. `several` says that the site finds out only by this which account it is: then, and
    /// only with user verification, it is told the names (§6.2.2 step 13).
    fn assert(
        &mut self,
        ceremony: &Ceremony,
        credential: &Credential,
        number_of_credentials: Option<usize>,
        several: bool,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let mut flags = Flags::empty();
        flags.set(Flags::USER_PRESENCE, ceremony.user_present);
        flags.set(Flags::USER_VERIFIED, ceremony.user_verified);
        let record = credential.stored.as_ref().map(|stored| stored.record()).transpose()?;
        let count = self.store.next_count()?;
        let mut auth_data = AuthData::new(&ceremony.rp_id_hash, flags, count)?;
        let seed = &credential.sealed.seed;
        let sealed = &credential.sealed;
        let hmac_secret = match &ceremony.hmac_secret {
            Some(secret) => Some(secret.evaluate(seed, ceremony.user_verified, self.platform.rng())?),
            None => None,
        };
        let cred_blob = record.as_ref().and_then(|record| record.cred_blob).unwrap_or_default();
        let outputs = GetAssertionOutputs {
            cred_blob: ceremony.wanted.cred_blob.then_some(cred_blob),
            hmac_secret: hmac_secret.as_ref().map(|output| Bytes::new(output)),
            third_party_payment: ceremony.wanted.third_party_payment.then_some(sealed.third_party_payment),
        };
        if !outputs.is_empty() {
            auth_data.extend(&outputs)?;
        }
        let message = [&**auth_data.as_bytes(), &ceremony.client_data_hash[..]];
        let signature = sign(sealed.algorithm, seed, &sealed.public, &message, self.platform.rng())?;
        let named = several && ceremony.user_verified;
        let wants_key = ceremony.wanted.large_blob_key && sealed.large_blob_key;
        let large_blob_key = wants_key.then(|| large_blob_key(seed));
        let answer = Response {
            credential: Descriptor::new(&credential.id),
            auth_data: auth_data.as_bytes(),
            signature: Bytes::new(&signature),
            user: record.map(|record| UserOutput::new(&record, named)),
            number_of_credentials,
            user_selected: None,
            large_blob_key: large_blob_key.as_ref().map(|key| Bytes::new(key.as_slice())),
        };
        crate::wire::encode(&answer, response)
    }
}
