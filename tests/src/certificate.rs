//! Attestation certificates: the strict profile of WebAuthn §8.2.1 and of FIDO's U2F transports extension.

use x509_parser::prelude::*;

use crate::cose::PublicKey;
use crate::error::demand;
use crate::{Error, Result};

/// id-fido-gen-ce-aaguid: the AAGUID as an OCTET STRING.
const AAGUID: &str = "1.3.6.1.4.1.45724.1.1.4";
/// id-fido-u2f-ce-transports: a BIT STRING, USB is bit 2.
const U2F_TRANSPORTS: &str = "1.3.6.1.4.1.45724.2.1.1";
/// ecdsa-with-SHA256
const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";

/// A certificate in DER.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The encoding, nothing behind it.
    pub der: Vec<u8>,
}

impl Certificate {
    /// Takes all of `der`, which must be one certificate.
    pub fn parse(der: &[u8]) -> Result<Self> {
        let (rest, _) = X509Certificate::from_der(der).map_err(violation)?;
        demand!(rest.is_empty(), "bytes after a certificate");
        Ok(Self { der: der.to_vec() })
    }

    /// Splits a certificate from what follows it, as in a U2F registration.
    pub fn split(bytes: &[u8]) -> Result<(Self, &[u8])> {
        let (rest, _) = X509Certificate::from_der(bytes).map_err(violation)?;
        Ok((Self { der: bytes[..bytes.len() - rest.len()].to_vec() }, rest))
    }

    /// What x509-parser makes of it.
    pub fn x509(&self) -> Result<X509Certificate<'_>> {
        Ok(X509Certificate::from_der(&self.der).map_err(violation)?.1)
    }

    /// The subject's key, which must be on P-256.
    pub fn public_key(&self) -> Result<PublicKey> {
        PublicKey::from_sec1(&self.x509()?.public_key().subject_public_key.data)
    }

    /// Demands that `issuer` signed this, and that names, key identifiers and validity fit.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<()> {
        let (subject, issuer_x509) = (self.x509()?, issuer.x509()?);
        demand!(subject.issuer().as_raw() == issuer_x509.subject().as_raw(), "issuer's name");
        demand!(subject.signature_algorithm.algorithm.to_id_string() == ECDSA_SHA256, "signature algorithm");
        demand!(subject.signature_algorithm == subject.tbs_certificate.signature, "two signature algorithms");
        let signed = subject.tbs_certificate.as_ref();
        issuer.public_key()?.verify(&[signed], &subject.signature_value.data)?;
        demand!(subject.validity().is_valid() && issuer_x509.validity().is_valid(), "not valid today");
        let constraints = issuer_x509.basic_constraints().map_err(violation)?;
        demand!(constraints.is_some_and(|it| it.critical && it.value.ca), "the issuer is no CA");
        let (authority, key) = (authority_key_id(&subject), subject_key_id(&issuer_x509));
        demand!(authority.is_none() || authority == key, "key identifiers {authority:02x?} and {key:02x?}");
        Ok(())
    }

    /// The requirements of WebAuthn §8.2.1 on the certificate of a packed attestation.
    pub fn check_packed_profile(&self, aaguid: &[u8; 16]) -> Result<()> {
        let x509 = self.x509()?;
        demand!(x509.version() == X509Version::V3, "version {}", x509.version());
        self.check_subject(&x509)?;
        let constraints = x509.basic_constraints().map_err(violation)?;
        demand!(constraints.as_ref().is_some_and(|it| !it.value.ca), "basicConstraints {constraints:?}");
        let extension = extension(&x509, AAGUID)?;
        let extension = extension.ok_or_else(|| Error::Violation("no AAGUID extension".into()))?;
        demand!(!extension.critical, "the AAGUID extension is critical");
        demand!(extension.value == [&[0x04, 16][..], aaguid].concat(), "AAGUID {:02x?}", extension.value);
        Ok(())
    }

    /// The U2F transports extension: USB, and not critical.
    pub fn check_u2f_transports(&self) -> Result<()> {
        let x509 = self.x509()?;
        let extension = extension(&x509, U2F_TRANSPORTS)?;
        let extension = extension.ok_or_else(|| Error::Violation("no U2F transports extension".into()))?;
        demand!(!extension.critical, "the U2F transports extension is critical");
        // BIT STRING of 2 bytes, 5 bits unused; bit 2 from the left is 0x20.
        let usb = matches!(extension.value, &[0x03, 2, unused, bits] if unused <= 5 && bits & 0x20 != 0);
        demand!(usb, "U2F transports {:02x?}", extension.value);
        Ok(())
    }

    fn check_subject(&self, x509: &X509Certificate<'_>) -> Result<()> {
        let subject = x509.subject();
        demand!(subject.iter_attributes().all(|name| name.as_str().is_ok()), "subject {subject} is not text");
        let country = only(subject.iter_country(), "C")?;
        demand!(country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase()), "C={country}");
        only(subject.iter_organization(), "O")?;
        let unit = only(subject.iter_organizational_unit(), "OU")?;
        demand!(unit == "Authenticator Attestation", "OU={unit}");
        only(subject.iter_common_name(), "CN")?;
        Ok(())
    }
}

/// The text of the only attribute.
fn only<'a>(
    mut attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
    name: &str,
) -> Result<&'a str> {
    let text = attributes.next().and_then(|attribute| attribute.as_str().ok()).unwrap_or_default();
    demand!(!text.is_empty() && attributes.next().is_none(), "the subject has not exactly one {name}");
    Ok(text)
}

fn extension<'a>(x509: &'a X509Certificate<'a>, oid: &str) -> Result<Option<&'a X509Extension<'a>>> {
    let mut found = x509.extensions().iter().filter(|extension| extension.oid.to_id_string() == oid);
    let first = found.next();
    demand!(found.next().is_none(), "extension {oid} twice");
    Ok(first)
}

fn authority_key_id<'a>(x509: &X509Certificate<'a>) -> Option<&'a [u8]> {
    x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })
}

fn subject_key_id<'a>(x509: &X509Certificate<'a>) -> Option<&'a [u8]> {
    x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

fn violation(error: impl std::fmt::Debug) -> Error {
    Error::Violation(format!("certificate: {error:?}"))
}
