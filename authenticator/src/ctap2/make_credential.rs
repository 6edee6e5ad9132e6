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
use crate::credential::key::{large_blob_key, public_key, sign};
use crate::credential::record::{MAX_CRED_BLOB, MAX_RP_ID, Record};
use crate::credential::{Algorithm, CredentialId, Sealed};
use crate::extension::{MakeCredentialInputs, MakeCredentialOutputs};
use crate::pin::Permissions;
use crate::platform::{AttestationPolicy, Operation, Platform};
use crate::store::capacity;
use crate::user::Verification;
use crate::wire::{Algorithms, Descriptors, Map, Options, RelyingParty, User, Value, truncate};

struct Request<'a> {
    client_data_hash: &'a [u8; 32],
    rp: RelyingParty<'a>,
    user: User<'a>,
    pub_key_cred_params: Algorithms<'a>,
    exclude_list: Option<Descriptors<'a>>,
    extensions: MakeCredentialInputs<'a>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    ep_att: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    large_blob_key: Option<&'a Bytes>,
}

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn make_credential(&mut self, parameters: &[u8], response: &mut [u8]) -> Result<usize, Error> {
        let request = Request::parse(parameters, max_credential_count_in_list(self.platform.identity()))?;
        let rp_id_hash: [u8; 32] = Sha256::digest(request.rp.id).into();
        let rp = (request.rp.id, &rp_id_hash);

        if request.pin_uv_auth_param.is_some_and(<[u8]>::is_empty) {
            self.choose(Operation::Register, rp)?;
        }
        let post_quantum = self.platform.identity().post_quantum;
        let algorithm = request
            .pub_key_cred_params
            .identifiers()
            .find_map(|identifier| {
                Algorithm::offered(post_quantum).find(|algorithm| i64::from(algorithm.cose()) == identifier)
            })
            .ok_or(Error::UnsupportedAlgorithm)?;
        let discoverable = request.options.rk == Some(true);
        if request.options.up == Some(false) {
            return Err(Error::InvalidOption);
        }
        if request.extensions.large_blob_key && !discoverable {
            return Err(Error::InvalidOption);
        }
        let verification = Verification {
            param: request.pin_uv_auth_param,
            protocol: request.pin_uv_auth_protocol,
            uv: request.options.uv,
        };
        let built_in = self.wants_built_in_uv(verification, true)?;
        let enterprise = self.enterprise(&request)?;
        // makeCredUvNotRqd lets the others pass (§6.1.2 step 9).
        if discoverable && !built_in && request.pin_uv_auth_param.is_none() && self.is_protected() {
            return Err(Error::PinRequired);
        }
        let evidence = self.verify_user(
            verification,
            built_in,
            request.client_data_hash,
            Permissions::MAKE_CREDENTIAL,
            Operation::Register,
            rp,
        )?;
        let user_verified = evidence.verified;

        let excluded = self.excluded(request.exclude_list, &rp_id_hash, user_verified)?;
        if !evidence.present {
            self.confirm(Operation::Register, Some(rp), request.user.name)?;
        }
        if excluded {
            return Err(Error::CredentialExcluded);
        }

        let mut sealed = Sealed {
            algorithm,
            discoverable,
            large_blob_key: request.extensions.large_blob_key,
            third_party_payment: request.extensions.third_party_payment,
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
        self.extend(&mut auth_data, &request, &sealed, user_verified, &rp_id_hash)?;

        let policy = match self.platform.identity().attestation {
            _ if enterprise => AttestationPolicy::Packed,
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
            self.keep(&request, &rp_id_hash, &credential_id, &sealed)?;
        }
        self.spend_token();
        let (fmt, att_stmt) = match policy {
            AttestationPolicy::Packed => {
                let attestation = self.store.attestation();
                let certificate = attestation.enterprise().filter(|_| enterprise);
                ("packed", Statement::packed(&signature, certificate.unwrap_or(attestation.leaf())))
            }
            AttestationPolicy::SelfSigned => ("packed", Statement::self_signed(&signature, algorithm)),
            AttestationPolicy::None => ("none", Statement::None {}),
        };
        let large_blob_key = sealed.large_blob_key.then(|| large_blob_key(&sealed.seed));
        let answer = Response {
            fmt,
            auth_data: auth_data.as_bytes(),
            att_stmt,
            ep_att: enterprise.then_some(true),
            large_blob_key: large_blob_key.as_ref().map(|key| Bytes::new(key.as_slice())),
        };
        crate::wire::encode(&answer, response)
    }

    /// Does the key say which one it is (§6.1.2 step 7 and 10, §7.1)?
    ///
    /// Errors: `INVALID_PARAMETER` if it does not do that; `INVALID_OPTION` for a kind that there is not.
    fn enterprise(&self, request: &Request<'_>) -> Result<bool, Error> {
        const VENDOR_FACILITATED: u64 = 1;
        const PLATFORM_MANAGED: u64 = 2;
        match request.enterprise_attestation {
            None => Ok(false),
            Some(_) if !(self.has_enterprise_attestation() && self.store.state().enterprise_attestation) => {
                Err(Error::InvalidParameter)
            }
            Some(VENDOR_FACILITATED) => Ok(self.platform.is_enterprise_rp(request.rp.id)),
            Some(PLATFORM_MANAGED) => Ok(true),
            Some(_) => Err(Error::InvalidOption),
        }
    }

    /// Can the key be told to say which one it is?
    pub(super) fn has_enterprise_attestation(&self) -> bool {
        self.platform.identity().enterprise_attestation && self.store.attestation().enterprise().is_some()
    }

    /// Writes the outputs of extensions (§12).
    fn extend(
        &mut self,
        auth_data: &mut AuthData,
        request: &Request<'_>,
        sealed: &Sealed,
        user_verified: bool,
        rp_id_hash: &[u8; 32],
    ) -> Result<(), Error> {
        let inputs = &request.extensions;
        let hmac_secret_mc = match &inputs.hmac_secret_mc {
            Some(input) => {
                let secret = input.open(self.shared_secret(input.protocol, &input.platform_key)?)?;
                Some(secret.evaluate(&sealed.seed, user_verified, self.platform.rng())?)
            }
            None => None,
        };
        let state = self.store.state();
        let tells = state.tells_pin_policy_to(rp_id_hash);
        let outputs = MakeCredentialOutputs {
            cred_blob: inputs.cred_blob.map(|blob| kept_blob(sealed, blob).is_some()),
            cred_protect: inputs.cred_protect.map(|level| level as u8),
            hmac_secret: inputs.hmac_secret.then_some(true),
            min_pin_length: (inputs.min_pin_length && tells).then_some(state.min_pin_length),
            hmac_secret_mc: hmac_secret_mc.as_ref().map(|output| Bytes::new(output)),
            third_party_payment: inputs.third_party_payment.then_some(true),
            pin_complexity_policy: (inputs.pin_complexity_policy && tells)
                .then_some(state.pin_complexity_policy),
        };
        if outputs.is_empty() { Ok(()) } else { auth_data.extend(&outputs) }
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
        sealed: &Sealed,
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
            cred_blob: request.extensions.cred_blob.and_then(|blob| kept_blob(sealed, blob)).map(Bytes::new),
        };
        let limit = usize::from(self.platform.identity().max_discoverable).min(capacity::<P::Storage>());
        Ok(self.store.add(record, replaces, limit)?)
    }
}

/// A credBlob is kept in the record, if there is one, and if it is not too long (§12.2).
fn kept_blob<'a>(sealed: &Sealed, blob: &'a [u8]) -> Option<&'a [u8]> {
    (sealed.discoverable && blob.len() <= MAX_CRED_BLOB).then_some(blob)
}
