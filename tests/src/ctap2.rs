//! CTAP2 requests and responses (CTAP 2.3 §6) from the host's side.

use std::collections::BTreeMap;

use ciborium::Value;

use crate::auth_data::AuthData;
use crate::cbor;
use crate::cose::{EDDSA, ES256, PublicKey};
use crate::error::demand;
use crate::{Error, Result};

/// Command bytes.
pub mod command {
    /// authenticatorMakeCredential
    pub const MAKE_CREDENTIAL: u8 = 0x01;
    /// authenticatorGetAssertion
    pub const GET_ASSERTION: u8 = 0x02;
    /// authenticatorGetInfo
    pub const GET_INFO: u8 = 0x04;
    /// authenticatorClientPIN
    pub const CLIENT_PIN: u8 = 0x06;
    /// authenticatorReset
    pub const RESET: u8 = 0x07;
    /// authenticatorGetNextAssertion
    pub const GET_NEXT_ASSERTION: u8 = 0x08;
    /// authenticatorBioEnrollment
    pub const BIO_ENROLLMENT: u8 = 0x09;
    /// authenticatorCredentialManagement
    pub const CREDENTIAL_MANAGEMENT: u8 = 0x0a;
    /// authenticatorSelection
    pub const SELECTION: u8 = 0x0b;
    /// authenticatorLargeBlobs
    pub const LARGE_BLOBS: u8 = 0x0c;
    /// authenticatorConfig
    pub const CONFIG: u8 = 0x0d;
    /// authenticatorBioEnrollment before it was in the specification
    pub const BIO_ENROLLMENT_PREVIEW: u8 = 0x40;
    /// authenticatorCredentialManagement before it was in the specification
    pub const CREDENTIAL_MANAGEMENT_PREVIEW: u8 = 0x41;
}

/// Status codes (§8.2) that the tests expect.
pub mod status {
    #![allow(missing_docs, reason = "the specification's names")]
    pub const SUCCESS: u8 = 0x00;
    pub const INVALID_COMMAND: u8 = 0x01;
    pub const INVALID_PARAMETER: u8 = 0x02;
    pub const INVALID_LENGTH: u8 = 0x03;
    pub const INVALID_SEQ: u8 = 0x04;
    pub const CBOR_UNEXPECTED_TYPE: u8 = 0x11;
    pub const INVALID_CBOR: u8 = 0x12;
    pub const MISSING_PARAMETER: u8 = 0x14;
    pub const LIMIT_EXCEEDED: u8 = 0x15;
    pub const FP_DATABASE_FULL: u8 = 0x17;
    pub const LARGE_BLOB_STORAGE_FULL: u8 = 0x18;
    pub const CREDENTIAL_EXCLUDED: u8 = 0x19;
    pub const UNSUPPORTED_ALGORITHM: u8 = 0x26;
    pub const OPERATION_DENIED: u8 = 0x27;
    pub const KEY_STORE_FULL: u8 = 0x28;
    pub const UNSUPPORTED_OPTION: u8 = 0x2b;
    pub const INVALID_OPTION: u8 = 0x2c;
    pub const KEEPALIVE_CANCEL: u8 = 0x2d;
    pub const NO_CREDENTIALS: u8 = 0x2e;
    pub const USER_ACTION_TIMEOUT: u8 = 0x2f;
    pub const NOT_ALLOWED: u8 = 0x30;
    pub const PIN_INVALID: u8 = 0x31;
    pub const PIN_BLOCKED: u8 = 0x32;
    pub const PIN_AUTH_INVALID: u8 = 0x33;
    pub const PIN_AUTH_BLOCKED: u8 = 0x34;
    pub const PIN_NOT_SET: u8 = 0x35;
    pub const PUAT_REQUIRED: u8 = 0x36;
    pub const PIN_POLICY_VIOLATION: u8 = 0x37;
    pub const UV_BLOCKED: u8 = 0x3c;
    pub const INTEGRITY_FAILURE: u8 = 0x3d;
    pub const INVALID_SUBCOMMAND: u8 = 0x3e;
    pub const UV_INVALID: u8 = 0x3f;
    pub const UNAUTHORIZED_PERMISSION: u8 = 0x40;
}

/// The parameters of a request by their number. Tests bend them with [`Parameters::with`].
#[derive(Clone, Debug, Default)]
pub struct Parameters(BTreeMap<u64, Value>);

impl Parameters {
    /// These parameters with one more, or another value for one.
    pub fn with(mut self, key: u64, value: impl Into<Value>) -> Self {
        self.0.insert(key, value.into());
        self
    }

    /// These parameters but one.
    pub fn without(mut self, key: u64) -> Self {
        self.0.remove(&key);
        self
    }

    /// The byte string of this number; none if there is none.
    pub fn bytes(&self, key: u64) -> Vec<u8> {
        self.0.get(&key).and_then(Value::as_bytes).cloned().unwrap_or_default()
    }

    /// Their canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(&cbor::map(self.0.iter().map(|(&key, value)| (key, value.clone()))))
    }
}

/// A list of PublicKeyCredentialDescriptor with these IDs.
pub fn descriptors(ids: &[impl AsRef<[u8]>]) -> Value {
    Value::Array(
        ids.iter()
            .map(|id| cbor::map([("id", Value::from(id.as_ref())), ("type", "public-key".into())]))
            .collect(),
    )
}

/// A request to make a credential. What is `None` or empty is left out.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the specification's names")]
pub struct MakeCredential {
    pub client_data_hash: [u8; 32],
    pub rp_id: String,
    pub user_id: Vec<u8>,
    pub user_name: String,
    pub user_display_name: String,
    /// COSE algorithms, best first.
    pub algorithms: Vec<i64>,
    /// Credential IDs.
    pub exclude_list: Vec<Vec<u8>>,
    pub rk: Option<bool>,
    pub attestation_formats: Vec<String>,
    pub extensions: Vec<(String, Value)>,
}

impl MakeCredential {
    /// An ES256 or EdDSA credential for this site that is not discoverable.
    pub fn new(rp_id: &str) -> Self {
        Self {
            client_data_hash: *b"the hash of the browser's part..",
            rp_id: rp_id.into(),
            user_id: b"user 1".into(),
            user_name: "ada".into(),
            user_display_name: "Ada Lovelace".into(),
            algorithms: vec![ES256, EDDSA],
            exclude_list: Vec::new(),
            rk: None,
            attestation_formats: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// The same, discoverable, for the account with this handle.
    pub fn discoverable(rp_id: &str, user_id: &[u8]) -> Self {
        Self { rk: Some(true), user_id: user_id.into(), ..Self::new(rp_id) }
    }

    /// The same with other algorithms.
    pub fn algorithms(self, algorithms: &[i64]) -> Self {
        Self { algorithms: algorithms.into(), ..self }
    }

    /// The request's parameters.
    pub fn parameters(&self) -> Parameters {
        let user = [
            ("id", Value::from(&self.user_id[..])),
            ("name", self.user_name.as_str().into()),
            ("displayName", self.user_display_name.as_str().into()),
        ];
        let algorithm =
            |&alg: &i64| cbor::map([("alg", Value::from(alg)), ("type", Value::from("public-key"))]);
        let mut parameters = Parameters::default()
            .with(0x01, &self.client_data_hash[..])
            .with(0x02, cbor::map([("id", self.rp_id.as_str()), ("name", "A site")]))
            .with(0x03, cbor::map(user))
            .with(0x04, Value::Array(self.algorithms.iter().map(algorithm).collect()));
        if !self.exclude_list.is_empty() {
            parameters = parameters.with(0x05, descriptors(&self.exclude_list));
        }
        if !self.extensions.is_empty() {
            let extensions = self.extensions.iter().map(|(name, value)| (name.as_str(), value.clone()));
            parameters = parameters.with(0x06, cbor::map(extensions));
        }
        if let Some(rk) = self.rk {
            parameters = parameters.with(0x07, cbor::map([("rk", rk)]));
        }
        if !self.attestation_formats.is_empty() {
            let formats = self.attestation_formats.iter().map(|format| format.as_str().into());
            parameters = parameters.with(0x0b, Value::Array(formats.collect()));
        }
        parameters
    }
}

/// A request for an assertion.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the specification's names")]
pub struct GetAssertion {
    pub rp_id: String,
    pub client_data_hash: [u8; 32],
    /// Credential IDs; left out if empty.
    pub allow_list: Vec<Vec<u8>>,
    pub up: Option<bool>,
}

impl GetAssertion {
    /// Any discoverable credential of this site.
    pub fn discover(rp_id: &str) -> Self {
        Self {
            rp_id: rp_id.into(),
            client_data_hash: *b"the hash of another client data.",
            allow_list: Vec::new(),
            up: None,
        }
    }

    /// One of these credentials.
    pub fn allow(rp_id: &str, ids: &[&[u8]]) -> Self {
        Self { allow_list: ids.iter().map(|id| id.to_vec()).collect(), ..Self::discover(rp_id) }
    }

    /// The same without a touch.
    pub fn silent(self) -> Self {
        Self { up: Some(false), ..self }
    }

    /// The request's parameters.
    pub fn parameters(&self) -> Parameters {
        let mut parameters =
            Parameters::default().with(0x01, self.rp_id.as_str()).with(0x02, &self.client_data_hash[..]);
        if !self.allow_list.is_empty() {
            parameters = parameters.with(0x03, descriptors(&self.allow_list));
        }
        if let Some(up) = self.up {
            parameters = parameters.with(0x05, cbor::map([("up", up)]));
        }
        parameters
    }
}

/// What getAssertion and getNextAssertion answer.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The credential that signed.
    pub credential_id: Vec<u8>,
    /// Authenticator data.
    pub auth_data: AuthData,
    /// The signature over authenticator data and client data hash.
    pub signature: Vec<u8>,
    /// The account, a map.
    pub user: Option<Value>,
    /// How many credentials match, if more than one.
    pub number_of_credentials: Option<u64>,
}

impl Assertion {
    /// Reads the response.
    pub fn parse(response: &Value) -> Result<Self> {
        let credential = cbor::get(response, 0x01).ok_or_else(|| Error::Violation("no credential".into()))?;
        demand!(cbor::text(credential, "type")? == "public-key", "credential {credential:?}");
        let auth_data = AuthData::parse(&cbor::bytes(response, 0x02)?)?;
        demand!(auth_data.attested.is_none(), "attested credential data in an assertion");
        let number = match cbor::get(response, 0x05) {
            None => None,
            Some(number) => Some(
                number
                    .as_integer()
                    .and_then(|number| u64::try_from(number).ok())
                    .ok_or_else(|| Error::Violation(format!("numberOfCredentials {number:?}")))?,
            ),
        };
        demand!(number.is_none_or(|number| number > 1), "numberOfCredentials {number:?}");
        Ok(Self {
            credential_id: cbor::bytes(credential, "id")?,
            auth_data,
            signature: cbor::bytes(response, 0x03)?,
            user: cbor::get(response, 0x04).cloned(),
            number_of_credentials: number,
        })
    }

    /// user.id, if the account was told.
    pub fn user_id(&self) -> Option<Vec<u8>> {
        self.user.as_ref().and_then(|user| cbor::bytes(user, "id").ok())
    }

    /// Verifies the signature.
    pub fn verify(&self, key: &PublicKey, client_data_hash: &[u8; 32]) -> Result<()> {
        key.verify(&[&self.auth_data.bytes, client_data_hash], &self.signature)
    }
}
