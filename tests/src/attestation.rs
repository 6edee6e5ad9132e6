//! Attestation statements (WebAuthn §8): packed with a certificate, packed by the credential itself, none.

use ciborium::Value;

use crate::auth_data::{AttestedCredential, AuthData};
use crate::cbor;
use crate::certificate::Certificate;
use crate::cose::ES256;
use crate::error::demand;
use crate::{Error, Result, sha256};

/// What makeCredential answers.
#[derive(Clone, Debug)]
pub struct Attested {
    /// The statement's format.
    pub fmt: String,
    /// Authenticator data with the new credential.
    pub auth_data: AuthData,
    /// The statement.
    pub att_stmt: Value,
}

/// What a statement proves.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Signed under this certificate.
    Certified(Certificate),
    /// Signed by the new credential.
    SelfSigned,
    /// Nothing.
    None,
}

impl Attested {
    /// Reads the response of makeCredential.
    pub fn parse(response: &Value) -> Result<Self> {
        let attested = Self {
            fmt: cbor::text(response, 0x01)?,
            auth_data: AuthData::parse(&cbor::bytes(response, 0x02)?)?,
            att_stmt: cbor::get(response, 0x03).ok_or_else(|| Error::Violation("no attStmt".into()))?.clone(),
        };
        demand!(response.as_map().map(Vec::len) == Some(3), "members of a response: {response:?}");
        demand!(attested.auth_data.attested.is_some(), "no attested credential data");
        Ok(attested)
    }

    /// The new credential.
    pub fn credential(&self) -> &AttestedCredential {
        self.auth_data.attested.as_ref().expect("parse() saw to it")
    }

    /// The credential ID.
    pub fn id(&self) -> &[u8] {
        &self.credential().id
    }

    /// Verifies the statement over `client_data_hash` (§8.2.1, §8.7) and says what it proves. Whether the certificate
    /// chains up to a root is for [`Certificate::verify_issued_by`].
    pub fn verify(&self, client_data_hash: &[u8; 32]) -> Result<Kind> {
        let members = self.att_stmt.as_map().map_or(0, Vec::len);
        if self.fmt == "none" {
            demand!(members == 0, "a statement of format none: {:?}", self.att_stmt);
            return Ok(Kind::None);
        }
        demand!(self.fmt == "packed", "format {}", self.fmt);
        let algorithm = cbor::get(&self.att_stmt, "alg").and_then(Value::as_integer).map(i128::from);
        let signature = cbor::bytes(&self.att_stmt, "sig")?;
        let message = [&self.auth_data.bytes[..], client_data_hash];
        let Some(chain) = cbor::get(&self.att_stmt, "x5c") else {
            demand!(members == 2, "members of a self attestation: {:?}", self.att_stmt);
            let key = &self.credential().public_key;
            demand!(algorithm == Some(key.algorithm().into()), "alg {algorithm:?} for {key:?}");
            key.verify(&message, &signature)?;
            return Ok(Kind::SelfSigned);
        };
        demand!(members == 3, "members of a packed attestation: {:?}", self.att_stmt);
        let leaf = chain.as_array().and_then(|chain| chain.first()).and_then(Value::as_bytes);
        let leaf = leaf.ok_or_else(|| Error::Violation(format!("x5c: {chain:?}")))?;
        let certificate = Certificate::parse(leaf)?;
        demand!(algorithm == Some(ES256.into()), "alg {algorithm:?} for a certificate on P-256");
        certificate.public_key()?.verify(&message, &signature)?;
        certificate.check_packed_profile(&self.credential().aaguid)?;
        Ok(Kind::Certified(certificate))
    }

    /// [`Self::verify`] for a client data hash that is SHA-256 of `client_data`.
    pub fn verify_client_data(&self, client_data: &[u8]) -> Result<Kind> {
        self.verify(&sha256(&[client_data]))
    }
}
