//! CTAP1, which is U2F: raw messages in ISO 7816 APDUs (FIDO U2F Raw Message Formats 1.2; CTAP 2.3 §7).
//!
//! A U2F key handle is a credential ID, so a credential made here signs in through CTAP2 as well, with its
//! AppID's hash as `rp_id_hash`. A host polls for the touch: none yet is 0x6985, at once.

use ctap_types::ctap1::ControlByte;

use crate::authenticator::Authenticator;
use crate::credential::id::seal;
use crate::credential::key::{p256_public, p256_scalar, sign};
use crate::credential::{Algorithm, CredProtect, Sealed};
use crate::platform::{Operation, Platform, Presence, Prompt, UserPresence};

/// A status word (ISO 7816-4 §5.3.4; U2F Raw Message Formats §3.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
enum Status {
    NoError = 0x9000,
    WrongLength = 0x6700,
    ConditionsNotSatisfied = 0x6985,
    /// alwaysUv is on, and U2F cannot verify a user (CTAP 2.3 §7.2.4).
    CommandNotAllowed = 0x6986,
    WrongData = 0x6a80,
    InstructionNotSupported = 0x6d00,
    ClassNotSupported = 0x6e00,
    /// Nothing in U2F says it better: the flash or the response's buffer failed.
    Unknown = 0x6f00,
}

impl From<ctap_types::ctap2::Error> for Status {
    fn from(_: ctap_types::ctap2::Error) -> Self {
        Self::Unknown
    }
}

const REGISTER: u8 = 0x01;
const AUTHENTICATE: u8 = 0x02;
const VERSION: u8 = 0x03;

/// The first byte of a registration, reserved since U2F began.
const REGISTRATION_RESERVED: u8 = 0x05;

/// The instruction, P1 and data of an APDU with a short or an extended length.
fn parse_apdu(apdu: &[u8]) -> Result<(u8, u8, &[u8]), Status> {
    let &[class, instruction, p1, _p2, ref body @ ..] = apdu else { return Err(Status::WrongLength) };
    if class != 0 {
        return Err(Status::ClassNotSupported);
    }
    // Lc, data, Le. How much is expected back (Le) does not matter: the answer goes out whole.
    let data = match *body {
        // Nothing at all, or a short Le.
        [] | [_] => Some(&[][..]),
        // An extended Le without data.
        [0, _, _] => Some(&[][..]),
        [0, high, low, ref rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let (data, le) = rest.split_at_checked(length).ok_or(Status::WrongLength)?;
            matches!(le.len(), 0 | 2).then_some(data)
        }
        [length, ref rest @ ..] => {
            let (data, le) = rest.split_at_checked(usize::from(length)).ok_or(Status::WrongLength)?;
            matches!(le.len(), 0 | 1).then_some(data)
        }
    };
    Ok((instruction, p1, data.ok_or(Status::WrongLength)?))
}

/// The response as it is written: what does not fit is an error at the end.
struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let place = self.buffer.get_mut(self.length..self.length + bytes.len()).ok_or(Status::Unknown)?;
        place.copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }
}

impl<P: Platform> Authenticator<'_, P> {
    /// Answers one U2F raw message. Returns how many bytes of `response` are the answer: data and a status word.
    pub fn ctap1(&mut self, request: &[u8], response: &mut [u8]) -> usize {
        self.enumeration = None;
        let Some(room) = response.len().checked_sub(2) else { return 0 };
        let (data, _) = response.split_at_mut(room);
        let mut writer = Writer { buffer: data, length: 0 };
        let (length, status) = match self.u2f(request, &mut writer) {
            Ok(()) => (writer.length, Status::NoError),
            Err(status) => (0, status),
        };
        response[length..length + 2].copy_from_slice(&(status as u16).to_be_bytes());
        length + 2
    }

    fn u2f(&mut self, request: &[u8], response: &mut Writer<'_>) -> Result<(), Status> {
        let (instruction, p1, data) = parse_apdu(request)?;
        if self.store.state().always_uv {
            return Err(Status::CommandNotAllowed);
        }
        match instruction {
            REGISTER => self.u2f_register(data, response),
            AUTHENTICATE => self.u2f_authenticate(p1, data, response),
            VERSION if data.is_empty() => response.push(b"U2F_V2"),
            VERSION => Err(Status::WrongLength),
            _ => Err(Status::InstructionNotSupported),
        }
    }

    /// Takes a touch that is waiting to be used.
    fn touched(&mut self, operation: Operation, application: &[u8; 32]) -> Result<(), Status> {
        let prompt =
            Prompt { operation, rp_id: None, rp_id_hash: Some(application), user: None, long_touch: false };
        match self.platform.user().wait(&prompt, 0) {
            Presence::Granted => Ok(()),
            _ => Err(Status::ConditionsNotSatisfied),
        }
    }

    fn u2f_register(&mut self, data: &[u8], response: &mut Writer<'_>) -> Result<(), Status> {
        let (challenge, application) = data.split_first_chunk::<32>().ok_or(Status::WrongLength)?;
        let application: &[u8; 32] = application.try_into().map_err(|_| Status::WrongLength)?;
        self.touched(Operation::Register, application)?;

        let mut sealed = Sealed {
            algorithm: Algorithm::Es256,
            discoverable: false,
            large_blob_key: false,
            third_party_payment: false,
            cred_protect: CredProtect::Optional,
            seed: [0; 32],
            public: [0; 32],
        };
        let rng = self.platform.rng();
        rand_core::Rng::fill_bytes(rng, &mut sealed.seed);
        let (x, y) = p256_public(&p256_scalar(&sealed.seed)?);
        let key_handle = seal(&sealed, application, self.store.wrapping_key(), rng).ok_or(Status::Unknown)?;
        let message: [&[u8]; 7] = [&[0], application, challenge, &key_handle, &[4], &x, &y];
        let attestation = self.store.attestation();
        let signature = attestation.sign(&message, rng)?;

        response.push(&[REGISTRATION_RESERVED, 4])?;
        response.push(&x)?;
        response.push(&y)?;
        response.push(&[key_handle.len() as u8])?;
        response.push(&key_handle)?;
        response.push(attestation.leaf())?;
        response.push(&signature)
    }

    fn u2f_authenticate(&mut self, p1: u8, data: &[u8], response: &mut Writer<'_>) -> Result<(), Status> {
        let control = ControlByte::try_from(p1).map_err(|_| Status::WrongData)?;
        let (challenge, rest) = data.split_first_chunk::<32>().ok_or(Status::WrongLength)?;
        let (application, rest) = rest.split_first_chunk::<32>().ok_or(Status::WrongLength)?;
        let (&length, key_handle) = rest.split_first().ok_or(Status::WrongLength)?;
        if key_handle.len() != usize::from(length) {
            return Err(Status::WrongLength);
        }
        let credential = self
            .named(key_handle, application)?
            .filter(|credential| credential.sealed.cred_protect.allows(false, true))
            // U2F knows no other algorithm.
            .filter(|credential| credential.sealed.algorithm == Algorithm::Es256)
            .ok_or(Status::WrongData)?;
        let user_present = match control {
            ControlByte::CheckOnly => return Err(Status::ConditionsNotSatisfied),
            ControlByte::EnforceUserPresenceAndSign => {
                self.touched(Operation::Authenticate, application)?;
                1
            }
            ControlByte::DontEnforceUserPresenceAndSign => 0,
        };

        let count = self.store.next_count().map_err(|_| Status::Unknown)?.to_be_bytes();
        let Sealed { algorithm, ref seed, ref public, .. } = credential.sealed;
        let message: [&[u8]; 4] = [application, &[user_present], &count, challenge];
        let signature = sign(algorithm, seed, public, &message, self.platform.rng())?;
        response.push(&[user_present])?;
        response.push(&count)?;
        response.push(&signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apdus_of_every_length() {
        let none: &[u8] = &[];
        assert_eq!(parse_apdu(&[0, 3, 0, 0]), Ok((3, 0, none)), "header alone");
        assert_eq!(parse_apdu(&[0, 3, 0, 0, 0]), Ok((3, 0, none)), "short Le");
        assert_eq!(parse_apdu(&[0, 3, 0, 0, 0, 0, 0]), Ok((3, 0, none)), "extended Le");
        assert_eq!(parse_apdu(&[0, 3, 0, 0, 0, 0, 0, 0, 0]), Ok((3, 0, none)), "extended Lc 0 and Le");
        assert_eq!(parse_apdu(&[0, 2, 7, 0, 2, 8, 9]), Ok((2, 7, &[8, 9][..])), "short Lc");
        assert_eq!(parse_apdu(&[0, 2, 7, 0, 2, 8, 9, 0]), Ok((2, 7, &[8, 9][..])), "short Lc and Le");
        assert_eq!(parse_apdu(&[0, 2, 7, 0, 0, 0, 2, 8, 9]), Ok((2, 7, &[8, 9][..])), "extended Lc");
        assert_eq!(parse_apdu(&[0, 2, 7, 0, 0, 0, 2, 8, 9, 0, 0]), Ok((2, 7, &[8, 9][..])), "and Le");
    }

    #[test]
    fn apdus_that_are_none() {
        for apdu in [
            &[][..],
            &[0, 3, 0],
            &[0, 3, 0, 0, 2, 8],
            &[0, 3, 0, 0, 2, 8, 9, 0, 0],
            &[0, 3, 0, 0, 0, 0, 2, 8],
            &[0, 3, 0, 0, 0, 0, 2, 8, 9, 0],
        ] {
            assert_eq!(parse_apdu(apdu), Err(Status::WrongLength), "{apdu:02x?}");
        }
        assert_eq!(parse_apdu(&[1, 3, 0, 0]), Err(Status::ClassNotSupported));
    }
}
