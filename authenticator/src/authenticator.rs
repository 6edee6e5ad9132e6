//! The authenticator: boot, dispatch, and what commands have in common.

use ctap_types::ctap2::{Error, Operation as Command};

use crate::credential::id::unseal;
use crate::credential::record::Record;
use crate::credential::{CREDENTIAL_ID_LENGTH, CredProtect, Credential, Sealed};
use crate::ctap2::{Enrollment, LargeBlobWrite, NextAssertion, NextCredential, NextRp};
use crate::pin::PinState;
use crate::platform::{Clock, Operation, Platform, UserPresence};
use crate::store::{BootError, Flash, Store, StoreError};

/// A "get next" command must follow the one before within this time, in milliseconds (CTAP 2.3 §6.3, §6.8.3).
const NEXT_TIMEOUT_MS: u64 = 30_000;

/// A command that was begun and may be gone on with, by the next command only.
pub(crate) struct Enumeration {
    channel: u32,
    /// When it ends, in milliseconds since power-up.
    deadline_ms: u64,
    next: Next,
}

/// What comes next in an enumeration.
pub(crate) enum Next {
    Assertion(NextAssertion),
    RelyingParty(NextRp),
    Credential(NextCredential),
}

/// A FIDO authenticator: CTAP1 and CTAP2 over a flash and a [`Platform`].
///
/// It lives from power-up to power-down; making a new one over the same flash is a power cycle.
pub struct Authenticator<'f, P: Platform> {
    pub(crate) store: Store<'f, P::Storage>,
    pub(crate) platform: P,
    pub(crate) pin: PinState,
    /// What the next command may go on with.
    pub(crate) enumeration: Option<Enumeration>,
    /// A large-blob array that arrives in pieces.
    pub(crate) large_blob_write: Option<LargeBlobWrite>,
    /// A finger that is being enrolled.
    pub(crate) enrollment: Option<Enrollment>,
}

/// A discoverable credential, as its owner may list it. The private key is not shown.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CredentialSummary<'a> {
    /// The credential ID as the site knows it.
    pub credential_id: &'a [u8],
    /// The site, cut to 256 bytes.
    pub rp_id: &'a str,
    /// SHA-256 of the site's RP ID.
    pub rp_id_hash: &'a [u8],
    /// The site's handle for the account, 64 bytes at most.
    pub user_id: &'a [u8],
    /// The account's name.
    pub user_name: Option<&'a str>,
    /// The person's name.
    pub user_display_name: Option<&'a str>,
    /// The COSE algorithm: −7 ES256, −8 EdDSA.
    pub algorithm: i32,
    /// When it may be used.
    pub cred_protect: CredProtect,
}

impl<'f, P: Platform> Authenticator<'f, P> {
    /// Powers the key up: opens the store, which a blank flash gets here, and finishes a reset that was cut.
    ///
    /// Errors: see [`BootError`]; nothing was changed then.
    pub fn boot(flash: &'f mut Flash<P::Storage>, mut platform: P) -> Result<Self, BootError> {
        let aaguid = platform.identity().aaguid;
        let store = Store::open(flash, &aaguid, platform.rng())?;
        Ok(Self {
            store,
            platform,
            pin: PinState::default(),
            enumeration: None,
            large_blob_write: None,
            enrollment: None,
        })
    }

    /// Answers one CTAP2 message: a command byte and its parameters in CBOR (CTAP 2.3 §6, §8).
    ///
    /// `channel` is the CTAPHID channel that it came from: an enumeration goes on only there. Returns how many
    /// bytes of `response` are the answer, a status byte and CBOR; `response` should have the length that
    /// [`Identity::max_msg_size`](crate::Identity) announces.
    pub fn ctap2(&mut self, channel: u32, request: &[u8], response: &mut [u8]) -> usize {
        let Some((status, body)) = response.split_first_mut() else { return 0 };
        match self.command(channel, request, body) {
            Ok(length) => {
                *status = Error::Success as u8;
                1 + length
            }
            Err(error) => {
                *status = error as u8;
                1
            }
        }
    }

    fn command(&mut self, channel: u32, request: &[u8], response: &mut [u8]) -> Result<usize, Error> {
        let (&command, parameters) = request.split_first().ok_or(Error::InvalidLength)?;
        // Any other command ends an enumeration.
        let now_ms = self.now_ms();
        let enumeration = self
            .enumeration
            .take()
            .filter(|state| state.channel == channel && now_ms < state.deadline_ms)
            .map(|state| state.next);
        match Command::try_from(command) {
            Ok(Command::MakeCredential) => self.make_credential(parameters, response),
            Ok(Command::GetAssertion) => self.get_assertion(channel, parameters, response),
            Ok(Command::GetNextAssertion) => self.get_next_assertion(enumeration, response),
            Ok(Command::CredentialManagement | Command::PreviewCredentialManagement) => {
                self.credential_management(channel, parameters, enumeration, response)
            }
            Ok(Command::GetInfo) => self.get_info(response),
            Ok(Command::ClientPin) => self.client_pin(parameters, response),
            Ok(Command::Reset) => self.reset(),
            Ok(Command::Selection) => self.selection(),
            Ok(Command::LargeBlobs) => self.large_blobs(parameters, response),
            Ok(Command::Config) => self.config(parameters),
            Ok(Command::BioEnrollment | Command::PreviewBioEnrollment) => {
                self.bio_enrollment(parameters, response)
            }
            _ => Err(Error::InvalidCommand),
        }
    }

    /// Draws the user's attention (CTAPHID_WINK).
    pub fn wink(&mut self) {
        self.platform.user().wink();
    }

    /// The body, for what the authenticator does not do.
    pub fn platform(&mut self) -> &mut P {
        &mut self.platform
    }

    /// The root certificate of this key's attestation, DER: what a metadata statement publishes.
    pub fn attestation_root(&self) -> &[u8] {
        self.store.attestation().root()
    }

    /// Shows every discoverable credential, oldest first. For the owner of the flash, not for a host.
    ///
    /// Errors: [`StoreError`] if a record cannot be read.
    pub fn credentials(&self, mut show: impl FnMut(&CredentialSummary<'_>)) -> Result<(), StoreError> {
        self.store.each(|record: &Record<'_>, sealed: &Sealed| {
            show(&CredentialSummary {
                credential_id: record.credential_id,
                rp_id: record.rp_id,
                rp_id_hash: record.rp_id_hash,
                user_id: record.user_id,
                user_name: record.user_name,
                user_display_name: record.user_display_name,
                algorithm: sealed.algorithm.cose(),
                cred_protect: sealed.cred_protect,
            });
        })
    }

    /// Opens a credential that a site named. `None` if it is not this key's, not this site's, or was deleted.
    pub(crate) fn named(&self, id: &[u8], rp_id_hash: &[u8; 32]) -> Result<Option<Credential>, Error> {
        let Some(sealed) = unseal(id, rp_id_hash, self.store.wrapping_key()) else { return Ok(None) };
        if sealed.discoverable {
            return Ok(self.store.find(rp_id_hash, None, |record, _| **record.credential_id == *id)?);
        }
        let id: [u8; CREDENTIAL_ID_LENGTH] = id.try_into().map_err(|_| Error::Other)?;
        Ok(Some(Credential { id, sealed, stored: None }))
    }

    /// authenticatorSelection (CTAP 2.3 §6.9).
    fn selection(&mut self) -> Result<usize, Error> {
        self.confirm(Operation::Select, None, None)?;
        Ok(0)
    }

    /// Remembers what a "get next" command from this channel goes on with, if anything is left.
    pub(crate) fn go_on(&mut self, channel: u32, next: Option<Next>) {
        let deadline_ms = self.now_ms() + NEXT_TIMEOUT_MS;
        self.enumeration = next.map(|next| Enumeration { channel, deadline_ms, next });
    }

    /// Milliseconds since power-up.
    pub(crate) fn now_ms(&self) -> u64 {
        self.platform.clock().now_ms()
    }
}
