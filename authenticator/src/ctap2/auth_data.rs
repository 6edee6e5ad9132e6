//! Authenticator data: what a credential signs beside the client data (WebAuthn §6.1).

use ctap_types::ctap2::{AuthenticatorDataFlags as Flags, Error};
use heapless::Vec;
use serde::Serialize;
use serde_bytes::Bytes;

use crate::credential::{CoseKey, CredentialId};
use crate::wire;

/// The longest: 37 bytes, attested credential data (16 + 2 + 113 + 77), and extensions.
#[cfg(not(feature = "ml-dsa"))]
const MAX_LENGTH: usize = 512;
/// The same with an ML-DSA-65 key of 1,952 bytes.
#[cfg(feature = "ml-dsa")]
const MAX_LENGTH: usize = 2432;

/// Where the flags are.
const FLAGS: usize = 32;

pub(super) struct AuthData {
    bytes: Vec<u8, MAX_LENGTH>,
}

impl AuthData {
    /// The 37 bytes that are always there.
    pub(super) fn new(rp_id_hash: &[u8; 32], flags: Flags, count: u32) -> Result<Self, Error> {
        let mut data = Self { bytes: Vec::new() };
        data.push(rp_id_hash)?;
        data.push(&[flags.bits()])?;
        data.push(&count.to_be_bytes())?;
        Ok(data)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes.extend_from_slice(bytes).map_err(|_| Error::RequestTooLarge)
    }

    fn set(&mut self, flag: Flags) {
        if let Some(flags) = self.bytes.get_mut(FLAGS) {
            *flags |= flag.bits();
        }
    }

    /// Appends attested credential data (WebAuthn §6.5.1) and sets AT.
    pub(super) fn attest(
        &mut self,
        aaguid: &[u8; 16],
        credential_id: &CredentialId,
        cose_key: &CoseKey,
    ) -> Result<(), Error> {
        self.set(Flags::ATTESTED_CREDENTIAL_DATA);
        self.push(aaguid)?;
        self.push(&(credential_id.len() as u16).to_be_bytes())?;
        self.push(credential_id)?;
        self.encode(cose_key)
    }

    /// Appends extension outputs and sets ED.
    pub(super) fn extend(&mut self, outputs: &impl Serialize) -> Result<(), Error> {
        self.set(Flags::EXTENSION_DATA);
        self.encode(outputs)
    }

    fn encode(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let start = self.bytes.len();
        self.bytes.resize_default(MAX_LENGTH).map_err(|_| Error::RequestTooLarge)?;
        let room = self.bytes.get_mut(start..).unwrap_or_default();
        let written = wire::encode(value, room)?;
        self.bytes.truncate(start + written);
        Ok(())
    }

    pub(super) fn as_bytes(&self) -> &Bytes {
        Bytes::new(&self.bytes)
    }
}
