//! What a platform does with the key itself: bioEnrollment, credentialManagement, largeBlobs, authenticatorConfig
//! (CTAP 2.3 §6.7, §6.8, §6.10, §6.11).

use ciborium::Value;

use crate::client_pin::Token;
use crate::ctap2::{Parameters, command};
use crate::error::demand;
use crate::reports::Reports;
use crate::{Key, Result, cbor, sha256};

/// Subcommands of authenticatorCredentialManagement (§6.8).
pub mod credential {
    #![allow(missing_docs, reason = "the specification's names")]
    pub const GET_CREDS_METADATA: u8 = 0x01;
    pub const ENUMERATE_RPS_BEGIN: u8 = 0x02;
    pub const ENUMERATE_RPS_GET_NEXT_RP: u8 = 0x03;
    pub const ENUMERATE_CREDENTIALS_BEGIN: u8 = 0x04;
    pub const ENUMERATE_CREDENTIALS_GET_NEXT_CREDENTIAL: u8 = 0x05;
    pub const DELETE_CREDENTIAL: u8 = 0x06;
    pub const UPDATE_USER_INFORMATION: u8 = 0x07;
}

/// Subcommands of authenticatorBioEnrollment (§6.7).
pub mod enrollment {
    #![allow(missing_docs, reason = "the specification's names")]
    pub const ENROLL_BEGIN: u8 = 0x01;
    pub const ENROLL_CAPTURE_NEXT_SAMPLE: u8 = 0x02;
    pub const CANCEL_CURRENT_ENROLLMENT: u8 = 0x03;
    pub const ENUMERATE_ENROLLMENTS: u8 = 0x04;
    pub const SET_FRIENDLY_NAME: u8 = 0x05;
    pub const REMOVE_ENROLLMENT: u8 = 0x06;
    pub const GET_FINGERPRINT_SENSOR_INFO: u8 = 0x07;
}

/// Subcommands of authenticatorConfig (§6.11).
pub mod config {
    #![allow(missing_docs, reason = "the specification's names")]
    pub const ENABLE_ENTERPRISE_ATTESTATION: u8 = 0x01;
    pub const TOGGLE_ALWAYS_UV: u8 = 0x02;
    pub const SET_MIN_PIN_LENGTH: u8 = 0x03;
    pub const ENABLE_LONG_TOUCH_FOR_RESET: u8 = 0x04;
}

/// The only modality there is.
pub const FINGERPRINT: u8 = 1;

impl<R: Reports> Key<R> {
    /// A command with a subcommand. `head` comes before the subcommand's parameters in what the token signs.
    fn with_subcommand(
        &self,
        command: u8,
        head: &[u8],
        subcommand: u8,
        params: Option<Value>,
        token: Option<&Token>,
    ) -> Result<Value> {
        let signed = [head, &params.as_ref().map(cbor::encode).unwrap_or_default()].concat();
        let mut request = Parameters::default().with(1, subcommand);
        if let Some(params) = params {
            request = request.with(2, params);
        }
        if let Some(token) = token {
            request = request.with(3, token.protocol).with(4, token.authenticate(&signed));
        }
        let response = self.raw(command, &request.encode())?;
        if response.is_empty() { Ok(Value::Map(Vec::new())) } else { cbor::decode(&response) }
    }

    /// authenticatorCredentialManagement.
    pub fn manage(&self, subcommand: u8, params: Option<Value>, token: Option<&Token>) -> Result<Value> {
        self.manage_by(command::CREDENTIAL_MANAGEMENT, subcommand, params, token)
    }

    /// The same by a command of another number, such as its preview's.
    pub fn manage_by(
        &self,
        command: u8,
        subcommand: u8,
        params: Option<Value>,
        token: Option<&Token>,
    ) -> Result<Value> {
        self.with_subcommand(command, &[subcommand], subcommand, params, token)
    }

    /// authenticatorConfig.
    pub fn configure(&self, subcommand: u8, params: Option<Value>, token: Option<&Token>) -> Result<()> {
        let mut head = [0xff; 34];
        head[32..].copy_from_slice(&[command::CONFIG, subcommand]);
        let answer = self.with_subcommand(command::CONFIG, &head, subcommand, params, token)?;
        demand!(answer.as_map().is_some_and(Vec::is_empty), "a response to authenticatorConfig: {answer:?}");
        Ok(())
    }

    /// authenticatorBioEnrollment, of the modality fingerprint.
    pub fn fingers(&self, subcommand: u8, params: Option<Value>, token: Option<&Token>) -> Result<Value> {
        let mut request = Parameters::default().with(1, FINGERPRINT).with(2, subcommand);
        let signed = [&[FINGERPRINT, subcommand][..], &params.as_ref().map(cbor::encode).unwrap_or_default()];
        if let Some(token) = token {
            request = request.with(4, token.protocol).with(5, token.authenticate(&signed.concat()));
        }
        if let Some(params) = params {
            request = request.with(3, params);
        }
        let response = self.raw(command::BIO_ENROLLMENT, &request.encode())?;
        if response.is_empty() { Ok(Value::Map(Vec::new())) } else { cbor::decode(&response) }
    }

    /// authenticatorLargeBlobs, get: up to `count` bytes from `offset`.
    pub fn get_blobs(&self, offset: u64, count: u64) -> Result<Vec<u8>> {
        let request = Parameters::default().with(1, count).with(3, offset);
        cbor::bytes(&self.call(command::LARGE_BLOBS, &request)?, 1)
    }

    /// authenticatorLargeBlobs, set: one fragment; the first comes with the whole array's length.
    pub fn set_blobs(
        &self,
        part: &[u8],
        offset: u32,
        length: Option<u64>,
        token: Option<&Token>,
    ) -> Result<()> {
        let response = self.raw(command::LARGE_BLOBS, &set_blobs(part, offset, length, token).encode())?;
        demand!(response.is_empty(), "a response to a fragment: {response:02x?}");
        Ok(())
    }
}

/// The parameters of [`Key::set_blobs`].
pub fn set_blobs(part: &[u8], offset: u32, length: Option<u64>, token: Option<&Token>) -> Parameters {
    let mut request = Parameters::default().with(2, part).with(3, offset);
    if let Some(length) = length {
        request = request.with(4, length);
    }
    if let Some(token) = token {
        let head = [0xff; 32];
        let signed =
            [&head[..], &[command::LARGE_BLOBS, 0], &offset.to_le_bytes(), &sha256(&[part])].concat();
        request = request.with(5, token.authenticate(&signed)).with(6, token.protocol);
    }
    request
}

/// A large-blob array with the digest behind it (§6.10.2). What is in it is nobody's business but the platform's.
pub fn blob_array(content: &[u8]) -> Vec<u8> {
    [content, &sha256(&[content])[..16]].concat()
}
