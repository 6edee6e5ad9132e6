//! U2F raw messages (FIDO U2F Raw Message Formats 1.2) from the host's side.

use crate::certificate::Certificate;
use crate::cose::PublicKey;
use crate::error::demand;
use crate::{Error, Result};

/// U2F_REGISTER
pub const REGISTER: u8 = 0x01;
/// U2F_AUTHENTICATE
pub const AUTHENTICATE: u8 = 0x02;
/// U2F_VERSION
pub const VERSION: u8 = 0x03;

/// P1 of U2F_AUTHENTICATE: is the key handle this key's?
pub const CHECK_ONLY: u8 = 0x07;
/// P1 of U2F_AUTHENTICATE: sign once touched.
pub const ENFORCE: u8 = 0x03;
/// P1 of U2F_AUTHENTICATE: sign without a touch.
pub const DONT_ENFORCE: u8 = 0x08;

/// SW_CONDITIONS_NOT_SATISFIED: no touch yet, or, to a check, the handle is good.
pub const CONDITIONS_NOT_SATISFIED: u16 = 0x6985;
/// SW_WRONG_DATA: the handle is not this key's.
pub const WRONG_DATA: u16 = 0x6a80;
/// SW_WRONG_LENGTH
pub const WRONG_LENGTH: u16 = 0x6700;
/// SW_CLA_NOT_SUPPORTED
pub const CLA_NOT_SUPPORTED: u16 = 0x6e00;
/// SW_INS_NOT_SUPPORTED
pub const INS_NOT_SUPPORTED: u16 = 0x6d00;

/// An APDU in the extended encoding, which is U2F's over USB; Le asks for everything.
pub fn extended(instruction: u8, p1: u8, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    let lc = if data.is_empty() { &[0][..] } else { &[0, length[0], length[1]] };
    [&[0, instruction, p1, 0], lc, data, &[0, 0]].concat()
}

/// An APDU in the short encoding, for up to 255 bytes.
pub fn short(instruction: u8, p1: u8, data: &[u8]) -> Vec<u8> {
    let lc = if data.is_empty() { &[][..] } else { &[data.len() as u8] };
    [&[0, instruction, p1, 0], lc, data, &[0]].concat()
}

/// Splits data from the status word.
///
/// Errors: [`Error::StatusWord`] unless it is 0x9000.
pub fn parse_response(mut response: Vec<u8>) -> Result<Vec<u8>> {
    demand!(response.len() >= 2, "response {response:02x?}");
    let status = response.split_off(response.len() - 2);
    match u16::from_be_bytes([status[0], status[1]]) {
        0x9000 => Ok(response),
        status => {
            demand!(response.is_empty(), "data beside status {status:#06x}");
            Err(Error::StatusWord(status))
        }
    }
}

/// What U2F_REGISTER answers, verified.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The credential's public key.
    pub public_key: PublicKey,
    /// The key handle.
    pub key_handle: Vec<u8>,
    /// The attestation certificate.
    pub certificate: Certificate,
}

impl Registration {
    /// Reads a registration and verifies its signature over both hashes.
    pub fn parse(data: &[u8], challenge: &[u8; 32], application: &[u8; 32]) -> Result<Self> {
        demand!(data.len() > 67 && data[0] == 0x05, "registration {data:02x?}");
        let point = &data[1..66];
        let (key_handle, rest) = data[67..]
            .split_at_checked(data[66].into())
            .ok_or_else(|| Error::Violation("the key handle is cut".into()))?;
        let (certificate, signature) = Certificate::split(rest)?;
        certificate.public_key()?.verify(&[&[0], application, challenge, key_handle, point], signature)?;
        Ok(Self { public_key: PublicKey::from_sec1(point)?, key_handle: key_handle.to_vec(), certificate })
    }
}

/// What U2F_AUTHENTICATE answers, verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Authentication {
    /// Bit 0 of the answer's first byte; the others must be 0.
    pub user_present: bool,
    /// The signature counter.
    pub counter: u32,
}

impl Authentication {
    /// Reads an authentication and verifies its signature.
    pub fn parse(data: &[u8], challenge: &[u8; 32], application: &[u8; 32], key: &PublicKey) -> Result<Self> {
        demand!(data.len() > 5 && data[0] <= 1, "authentication {data:02x?}");
        key.verify(&[application, &data[..5], challenge], &data[5..])?;
        Ok(Self {
            user_present: data[0] == 1,
            counter: u32::from_be_bytes(data[1..5].try_into().expect("four bytes")),
        })
    }
}
