//! authenticatorMakeCredential (CTAP 2.3 §6.1).

use ctap_types::ctap2::{AuthenticatorDataFlags as Flags, Error};
use serde_bytes::Bytes;
use serde_indexed::SerializeIndexed;
use sha2::{Digest, Sha256};

use super::auth_data::AuthData;
use super::client_data_hash;
use super::get_info::max_credential_count_in_list;
use crate::attestation::Statement;
use crate::authenticator::Authenticator;
use crate::credential::id::seal;
use crate::credential::key::{public_key, sign};
use crate::credential::record::{MAX_RP_ID, Record};
use crate::credential::{Algorithm, CredentialId, Sealed};
use crate::extension::{MakeCredentialInputs, MakeCredentialOutputs};
use crate::pin::Permissions;
use crate::platform::{AttestationPolicy, Operation, Platform};
use crate::store::capacity;
use crate::wire::{Algorithms, Descriptors, Map, Options, RelyingParty, User, Value, truncate};

struct Request<'a> {
    client_data_hash: &'a [u8; 32],
    rp: RelyingParty<'a>,
    user: User<'a>,
    pub_key_cred_params: Algorithms<'a>,
    exclude_list: Option<Descriptors<'a>>,
    extensions: MakeCredentialInputs,
    options: Options,
    pin_uv_auth_param: Option<&'a [u8]>,
    pin_uv_auth_protocol: Option<u64>,
    enterprise_attestation: Option<u64>,
    wants_no_attestation: bool,
}

impl<'a> Request<'a> {
    fn parse(parameters: &'a [u8], list_limit: usize) -> Result<Self, Error> {
        let map = Map::parameters(parameters)?;
        Ok(Self {
            client_data_hash: client_data_hash(map.require(0x01)?)?,
            rp: RelyingParty::parse(map.require(0x02)?)?,
            user: User::parse(map.require(0x03)?)?,
            pub_key_cred_params: Algorithms::parse(map.require(0x04)?)?,
            exclude_list: map.get(0x05).map(|list| Descriptors::parse(list, list_limit)).transpose()?,
            extensions: MakeCredentialInputs::parse(map.get(0x06))?,
            options: Options::parse(map.get(0x07))?,
            pin_uv_auth_param: map.get(0x08).map(Value::bytes).transpose()?,
            pin_uv_auth_protocol: map.get(0x09).map(Value::unsigned).transpose()?,
            enterprise_attestation: map.get(0x0a).map(Value::unsigned).transpose()?,
            wants_no_attestation: map.get(0x0b).is_some_and(is_none_alone),
        })
    }
}

/// Is attestationFormatsPreference exactly `["none"]`? It is a hint, so one of another type is no error.
fn is_none_alone(preference: Value<'_>) -> bool {
    preference.array().is_ok_and(|formats| formats.map(Value::text).eq([Ok("none")]))
}

#[derive(SerializeIndexed)]
#[serde_indexed(offset = 1)]
struct Response<'a> {
    fmt: &'a str,
    auth_data: &'a Bytes,
    att_stmt: Statement<'a>,
}

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn make_credential(&mut self, parameters: &[u8], response: &mut [u8]) -> Result<usize, Error> {
        let request = Request::parse(parameters, max_credential_count_in_list(self.platform.identity()))?;
        let rp_id_hash: [u8; 32] = Sha256::digest(request.rp.id).into();
        let rp = (request.rp.id, &rp_id_hash);

        if request.pin_uv_auth_param.is_some_and(<[u8]>::is_empty) {
            self.choose(Operation::Register, rp)?;
        }
        let algorithm = request
            .pub_key_cred_params
            .identifiers()
            .find_map(Algorithm::from_cose)
            .ok_or(Error::UnsupportedAlgorithm)?;
        let discoverable = request.options.rk == Some(true);
        if request.options.up == Some(false) {
            return Err(Error::InvalidOption);
        }
        if request.pin_uv_auth_param.is_none() {
            if request.options.uv == Some(true) {
                return Err(Error::InvalidOption);
            }
            // makeCredUvNotRqd lets the others pass (§6.1.2 step 9).
            if discoverable && self.store.pin().is_set() {
                return Err(Error::PinRequired);
            }
        }
        if request.enterprise_attestation.is_some() {
            return Err(Error::InvalidParameter);
        }
        let user_verified = self.verify_user(
            request.pin_uv_auth_param,
            request.pin_uv_auth_protocol,
            request.client_data_hash,
            Permissions::MAKE_CREDENTIAL,
            rp.1,
        )?;

        let excluded = self.excluded(request.exclude_list, &rp_id_hash, user_verified)?;
        self.confirm(Operation::Register, Some(rp), request.user.name)?;
        if excluded {
            return Err(Error::CredentialExcluded);
        }

        let mut sealed = Sealed {
            algorithm,
            discoverable,
            cred_protect: request.extensions.cred_protect.unwrap_or_default(),
            seed: [0; 32],
            public: [0; 32],
        };
        let rng = self.platform.rng();
        rand_core::Rng::fill_bytes(rng, &mut sealed.seed);
        let (cose_key, public) = public_key(algorithm, &sealed.seed)?;
        sealed.public = public;
        let credential_id = seal(&sealed, &rp_id_hash, self.store.wrapping_key(), rng).ok_or(Error::Other)?;

        let mut flags = Flags::USER_PRESENCE;
        flags.set(Flags::USER_VERIFIED, user_verified);
        let mut auth_data = AuthData::new(&rp_id_hash, flags, self.store.count())?;
        auth_data.attest(&self.platform.identity().aaguid, &credential_id, &cose_key)?;
        let outputs = MakeCredentialOutputs::from(&request.extensions);
        if !outputs.is_empty() {
            auth_data.extend(&outputs)?;
        }

        let policy = match self.platform.identity().attestation {
            _ if request.wants_no_attestation => AttestationPolicy::None,
            policy => policy,
        };
        let message = [&**auth_data.as_bytes(), &request.client_data_hash[..]];
        let rng = self.platform.rng();
        let signature = match policy {
            AttestationPolicy::Packed => self.store.attestation().sign(&message, rng)?,
            AttestationPolicy::SelfSigned => sign(algorithm, &sealed.seed, &sealed.public, &message, rng)?,
            AttestationPolicy::None => Default::default(),
        };
        // Nothing can fail after this, but the response's encoding in a buffer that is too small.
        if discoverable {
            self.keep(&request, &rp_id_hash, &credential_id)?;
        }
        self.spend_token();
        let (fmt, att_stmt) = match policy {
            AttestationPolicy::Packed => ("packed", Statement::packed(&signature, self.store.attestation())),
            AttestationPolicy::SelfSigned => ("packed", Statement::self_signed(&signature, algorithm)),
            AttestationPolicy::None => ("none", Statement::None {}),
        };
        crate::wire::encode(&Response { fmt, auth_data: auth_data.as_bytes(), att_stmt }, response)
    }

    /// Does the key hold one of these credentials, as far as it may tell? (§6.1.2 step 12)
    fn excluded(
        &self,
        list: Option<Descriptors<'_>>,
        rp_id_hash: &[u8; 32],
        user_verified: bool,
    ) -> Result<bool, Error> {
        let Some(list) = list else { return Ok(false) };
        for id in list.ids() {
            if let Some(credential) = self.named(id, rp_id_hash)?
                && credential.sealed.cred_protect.allows(user_verified, true)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stores a discoverable credential; it takes the place of the one for the same account of the same site.
    fn keep(
        &mut self,
        request: &Request<'_>,
        rp_id_hash: &[u8; 32],
        credential_id: &CredentialId,
    ) -> Result<(), Error> {
        let user = &request.user;
        let same_account = self.store.find(rp_id_hash, None, |record, _| **record.user_id == *user.id)?;
        let replaces = same_account.and_then(|credential| credential.stored).map(|stored| stored.slot);
        let record = Record {
            credential_id: Bytes::new(credential_id),
            rp_id_hash: Bytes::new(rp_id_hash),
            rp_id: truncate(request.rp.id, MAX_RP_ID),
            user_id: Bytes::new(user.id),
            order: 0,
            user_name: user.name,
            user_display_name: user.display_name,
        };
        let limit = usize::from(self.platform.identity().max_discoverable).min(capacity::<P::Storage>());
        Ok(self.store.add(record, replaces, limit)?)
    }
}
