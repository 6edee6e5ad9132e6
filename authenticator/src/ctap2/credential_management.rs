//! authenticatorCredentialManagement (CTAP 2.3 §6.8), also under its preview's number 0x41.

use ctap_types::ctap2::Error;
use serde_bytes::Bytes;
use serde_indexed::SerializeIndexed;

use super::output::{Descriptor, RpOutput, UserOutput};
use super::subcommand::Subcommand;
use crate::authenticator::{Authenticator, Next};
use crate::credential::key::{large_blob_key, public_key};
use crate::credential::record::Record;
use crate::credential::{CoseKey, Credential};
use crate::pin::{Permissions, Protocol};
use crate::platform::Platform;
use crate::store::{RpPosition, decode};
use crate::wire::{Descriptors, Map, User};

mod subcommand {
    pub(super) const GET_CREDS_METADATA: u8 = 0x01;
    pub(super) const ENUMERATE_RPS_BEGIN: u8 = 0x02;
    pub(super) const ENUMERATE_RPS_GET_NEXT_RP: u8 = 0x03;
    pub(super) const ENUMERATE_CREDENTIALS_BEGIN: u8 = 0x04;
    pub(super) const ENUMERATE_CREDENTIALS_GET_NEXT_CREDENTIAL: u8 = 0x05;
    pub(super) const DELETE_CREDENTIAL: u8 = 0x06;
    pub(super) const UPDATE_USER_INFORMATION: u8 = 0x07;
}

/// The credential that a subcommand is about.
fn credential_id<'a>(request: &Subcommand<'a>) -> Result<&'a [u8], Error> {
    Descriptors::entry(request.require(0x02)?)?.ok_or(Error::NoCredentials)
}

#[derive(Default, SerializeIndexed)]
#[serde_indexed(offset = 1)]
struct Response<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    existing_resident_credentials_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_possible_remaining_resident_credentials_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rp: Option<RpOutput<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rp_id_hash: Option<&'a Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_rps: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserOutput<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<Descriptor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<CoseKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_credentials: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cred_protect: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    large_blob_key: Option<&'a Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    third_party_payment: Option<bool>,
}

/// Which token let a platform begin to read.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Reader {
    /// The one in use; what it began ends with it.
    Token,
    /// The persistent one.
    Persistent,
}

/// What enumerateRPsGetNextRP goes on with.
pub(crate) struct NextRp {
    reader: Reader,
    after: RpPosition,
    left: usize,
}

/// What enumerateCredentialsGetNextCredential goes on with.
pub(crate) struct NextCredential {
    reader: Reader,
    rp_id_hash: [u8; 32],
    before: u32,
    left: usize,
}

impl<P: Platform> Authenticator<'_, P> {
    pub(crate) fn credential_management(
        &mut self,
        channel: u32,
        parameters: &[u8],
        next: Option<Next>,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let request = Subcommand::parse(Map::parameters(parameters)?, 0x01)?;
        let number = request.number.ok_or(Error::MissingParameter)?;
        let number = u8::try_from(number).map_err(|_| Error::InvalidSubcommand)?;
        let goes_on = matches!(
            number,
            subcommand::ENUMERATE_RPS_GET_NEXT_RP | subcommand::ENUMERATE_CREDENTIALS_GET_NEXT_CREDENTIAL
        );
        let known = (subcommand::GET_CREDS_METADATA..=subcommand::UPDATE_USER_INFORMATION).contains(&number);
        // Told before anything that is missing or wrong in the parameters.
        if known && !goes_on && request.pin_uv_auth_param.is_none() {
            return Err(Error::PinRequired);
        }
        match number {
            subcommand::GET_CREDS_METADATA => {
                self.may_read(&request, number, None)?;
                let answer = Response {
                    existing_resident_credentials_count: Some(self.store.len()),
                    max_possible_remaining_resident_credentials_count: Some(self.remaining()),
                    ..Response::default()
                };
                crate::wire::encode(&answer, response)
            }
            subcommand::ENUMERATE_RPS_BEGIN => {
                let reader = self.may_read(&request, number, None)?;
                let mut total = 0;
                let mut position = None;
                while let Some((found, _)) = self.store.next_rp(position)? {
                    position = Some(found);
                    total += 1;
                }
                self.show_rp(channel, reader, None, total, Some(total), response)
            }
            subcommand::ENUMERATE_RPS_GET_NEXT_RP => match next {
                Some(Next::RelyingParty(NextRp { reader, after, left })) if self.still_reads(reader) => {
                    self.show_rp(channel, reader, Some(after), left, None, response)
                }
                _ => Err(Error::NotAllowed),
            },
            subcommand::ENUMERATE_CREDENTIALS_BEGIN => {
                let rp_id_hash = request.require(0x01)?.bytes()?;
                let rp_id_hash: [u8; 32] = rp_id_hash.try_into().map_err(|_| Error::InvalidParameter)?;
                let reader = self.may_read(&request, number, Some(&rp_id_hash))?;
                let mut total = 0;
                self.store.find(&rp_id_hash, None, |_, _| {
                    total += 1;
                    false
                })?;
                self.show_credential(channel, reader, rp_id_hash, None, total, Some(total), response)
            }
            subcommand::ENUMERATE_CREDENTIALS_GET_NEXT_CREDENTIAL => match next {
                Some(Next::Credential(NextCredential { reader, rp_id_hash, before, left }))
                    if self.still_reads(reader) =>
                {
                    self.show_credential(channel, reader, rp_id_hash, Some(before), left, None, response)
                }
                _ => Err(Error::NotAllowed),
            },
            subcommand::DELETE_CREDENTIAL => {
                let id = credential_id(&request)?;
                self.may_manage(&request, number)?;
                let credential = self.managed(id)?;
                let stored = credential.stored.ok_or(Error::NoCredentials)?;
                self.store.remove(stored.slot)?;
                Ok(0)
            }
            subcommand::UPDATE_USER_INFORMATION => {
                let id = credential_id(&request)?;
                let user = User::parse(request.require(0x03)?)?;
                self.may_manage(&request, number)?;
                let credential = self.managed(id)?;
                let stored = credential.stored.ok_or(Error::NoCredentials)?;
                let record = stored.record()?;
                if **record.user_id != *user.id {
                    return Err(Error::InvalidParameter);
                }
                let named = |name: Option<_>| name.filter(|name: &&str| !name.is_empty());
                let (user_name, user_display_name) = (named(user.name), named(user.display_name));
                self.store.update(&Record { user_name, user_display_name, ..record }, stored.slot)?;
                Ok(0)
            }
            _ => Err(Error::InvalidSubcommand),
        }
    }

    /// Checks the token; the parameter covers the subcommand and its parameters as they were received.
    fn may_manage(&mut self, request: &Subcommand<'_>, number: u8) -> Result<(), Error> {
        self.authorize_subcommand(request, &[number], Permissions::CREDENTIAL_MANAGEMENT)?;
        Ok(())
    }

    /// The same for reading, for which the persistent token is enough. A token that is bound to a site reads only
    /// what belongs to it.
    fn may_read(
        &mut self,
        request: &Subcommand<'_>,
        number: u8,
        site: Option<&[u8; 32]>,
    ) -> Result<Reader, Error> {
        let param = request.pin_uv_auth_param.ok_or(Error::PinRequired)?;
        let protocol = Protocol::parse(request.pin_uv_auth_protocol.ok_or(Error::MissingParameter)?)?;
        let message = [&[number], request.raw_params()];
        if protocol.verify(&self.store.state().persistent_token, &message, param) {
            return Ok(Reader::Persistent);
        }
        let token = self.authorize_subcommand(request, &[number], Permissions::CREDENTIAL_MANAGEMENT)?;
        match site {
            Some(rp_id_hash) => token.check_site(rp_id_hash)?,
            None => token.check_any_site()?,
        }
        Ok(Reader::Token)
    }

    fn still_reads(&mut self, reader: Reader) -> bool {
        reader == Reader::Persistent || self.token().is_some()
    }

    /// The discoverable credential with this ID, whichever site it is for.
    ///
    /// Errors: `NO_CREDENTIALS`.
    pub(crate) fn stored(&mut self, id: &[u8]) -> Result<Credential, Error> {
        let mut position = None;
        while let Some((found, bytes)) = self.store.next_rp(position)? {
            position = Some(found);
            let rp_id_hash: [u8; 32] = (**decode(&bytes)?.rp_id_hash).try_into().map_err(|_| Error::Other)?;
            if let Some(credential) = self.named(id, &rp_id_hash)?
                && credential.stored.is_some()
            {
                return Ok(credential);
            }
        }
        Err(Error::NoCredentials)
    }

    /// The same, if the token may manage it.
    fn managed(&mut self, id: &[u8]) -> Result<Credential, Error> {
        let credential = self.stored(id)?;
        let stored = credential.stored.as_ref().ok_or(Error::NoCredentials)?;
        let rp_id_hash = (**stored.record()?.rp_id_hash).try_into().map_err(|_| Error::Other)?;
        self.token().ok_or(Error::PinAuthInvalid)?.check_site(&rp_id_hash)?;
        Ok(credential)
    }

    fn show_rp(
        &mut self,
        channel: u32,
        reader: Reader,
        after: Option<RpPosition>,
        left: usize,
        total_rps: Option<usize>,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let (position, bytes) = self.store.next_rp(after)?.ok_or(Error::NoCredentials)?;
        let record = decode(&bytes)?;
        let answer = Response {
            rp: Some(RpOutput { id: record.rp_id }),
            rp_id_hash: Some(record.rp_id_hash),
            total_rps,
            ..Response::default()
        };
        let left = left.saturating_sub(1);
        self.go_on(
            channel,
            (left > 0).then_some(Next::RelyingParty(NextRp { reader, after: position, left })),
        );
        crate::wire::encode(&answer, response)
    }

    #[expect(clippy::too_many_arguments, reason = "what an enumeration remembers, and where it answers")]
    fn show_credential(
        &mut self,
        channel: u32,
        reader: Reader,
        rp_id_hash: [u8; 32],
        before: Option<u32>,
        left: usize,
        total_credentials: Option<usize>,
        response: &mut [u8],
    ) -> Result<usize, Error> {
        let credential = self.store.find(&rp_id_hash, before, |_, _| true)?.ok_or(Error::NoCredentials)?;
        let stored = credential.stored.as_ref().ok_or(Error::NoCredentials)?;
        let record = stored.record()?;
        let sealed = &credential.sealed;
        let (public_key, _) = public_key(sealed.algorithm, &sealed.seed)?;
        let large_blob_key = sealed.large_blob_key.then(|| large_blob_key(&sealed.seed));
        let answer = Response {
            user: Some(UserOutput::new(&record, true)),
            credential_id: Some(Descriptor::new(&credential.id)),
            public_key: Some(public_key),
            total_credentials,
            cred_protect: Some(sealed.cred_protect as u8),
            large_blob_key: large_blob_key.as_ref().map(|key| Bytes::new(key.as_slice())),
            third_party_payment: Some(sealed.third_party_payment),
            ..Response::default()
        };
        let left = left.saturating_sub(1);
        let next = NextCredential { reader, rp_id_hash, before: stored.order, left };
        self.go_on(channel, (left > 0).then_some(Next::Credential(next)));
        crate::wire::encode(&answer, response)
    }
}
