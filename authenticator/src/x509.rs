//! Just enough DER to write the certificates of an attestation (RFC 5280; WebAuthn §8.2.1).

/// An X.509 extension, object identifier as DER content bytes.
struct Extension {
    oid: &'static [u8],
    critical: bool,
}

const BASIC_CONSTRAINTS: Extension = Extension { oid: &[0x55, 0x1d, 0x13], critical: true };
const KEY_USAGE: Extension = Extension { oid: &[0x55, 0x1d, 0x0f], critical: true };
const SUBJECT_KEY_IDENTIFIER: Extension = Extension { oid: &[0x55, 0x1d, 0x0e], critical: false };
const AUTHORITY_KEY_IDENTIFIER: Extension = Extension { oid: &[0x55, 0x1d, 0x23], critical: false };
/// id-fido-gen-ce-aaguid, 1.3.6.1.4.1.45724.1.1.4
const FIDO_AAGUID: Extension =
    Extension { oid: &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xe5, 0x1c, 0x01, 0x01, 0x04], critical: false };
/// id-fido-gen-ce-sernum, 1.3.6.1.4.1.45724.1.1.2
const FIDO_SERIAL_NUMBER: Extension =
    Extension { oid: &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xe5, 0x1c, 0x01, 0x01, 0x02], critical: false };
/// fidoU2FTransports, 1.3.6.1.4.1.45724.2.1.1
const FIDO_TRANSPORTS: Extension =
    Extension { oid: &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xe5, 0x1c, 0x02, 0x01, 0x01], critical: false };

/// ecdsa-with-SHA256, 1.2.840.10045.4.3.2
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-ecPublicKey, 1.2.840.10045.2.1
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// prime256v1, 1.2.840.10045.3.1.7
const PRIME256V1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// A key has no calendar: every certificate is valid for fifty years.
const NOT_BEFORE: &[u8] = b"250101000000Z";
const NOT_AFTER: &[u8] = b"20741231235959Z";

/// WebAuthn asks for the vendor's country. A project has none; AQ is a valid code that claims no seat.
const COUNTRY: &str = "AQ";
const ORGANIZATION: &str = "Brasskey";
/// This very text is required (WebAuthn §8.2.1).
const ORGANIZATIONAL_UNIT: &str = "Authenticator Attestation";

/// A distinguished name: country, organization, and these.
#[derive(Clone, Copy)]
pub(crate) struct Name<'a> {
    /// The leaf's, not the root's.
    pub(crate) organizational_unit: bool,
    pub(crate) common_name: &'a str,
}

/// An uncompressed point on P-256.
pub(crate) type PublicPoint = [u8; 65];

/// What a certificate says.
pub(crate) struct Certificate<'a> {
    /// Positive and not zero.
    pub(crate) serial: &'a [u8; 16],
    pub(crate) issuer: Name<'a>,
    pub(crate) issuer_key_id: &'a [u8; 20],
    pub(crate) subject: Name<'a>,
    pub(crate) subject_key: &'a PublicPoint,
    pub(crate) subject_key_id: &'a [u8; 20],
    /// The authenticator's model for a leaf; `None` for a root, which is a CA.
    pub(crate) aaguid: Option<&'a [u8; 16]>,
    /// Which device this is, in a leaf for enterprise attestation (WebAuthn §8.2.2).
    pub(crate) device: Option<&'a [u8; 16]>,
}

/// DER that is being written: what does not fit is dropped, and [`Der::finish`] says so.
pub(crate) struct Der<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl<'a> Der<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// The length of what was written; `None` if the buffer was too small.
    pub(crate) fn finish(self) -> Option<usize> {
        (self.length <= self.buffer.len()).then_some(self.length)
    }

    fn raw(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.buffer.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
        }
        self.length = end;
    }

    fn value(&mut self, tag: u8, content: &[u8]) {
        self.nested(tag, |der| der.raw(content));
    }

    /// Writes the content first, behind room for the longest length, and then closes the gap.
    fn nested(&mut self, tag: u8, content: impl FnOnce(&mut Self)) {
        const LONGEST: usize = 3;
        self.raw(&[tag, 0, 0, 0]);
        let start = self.length;
        content(self);
        let size = self.length - start;
        let [high, low] = (size as u16).to_be_bytes();
        let all = [0x82, high, low];
        let length: &[u8] = match size {
            0..=0x7f => &all[2..],
            0x80..=0xff => &[0x81, low],
            _ => &all,
        };
        let shift = LONGEST - length.len();
        if self.length <= self.buffer.len() {
            self.buffer[start - LONGEST..][..length.len()].copy_from_slice(length);
            self.buffer.copy_within(start..self.length, start - shift);
        }
        self.length -= shift;
    }

    fn oid(&mut self, oid: &[u8]) {
        self.value(OBJECT_IDENTIFIER, oid);
    }

    fn bit_string(&mut self, bytes: &[u8]) {
        self.nested(BIT_STRING, |der| {
            der.raw(&[0]);
            der.raw(bytes);
        });
    }

    fn algorithm(&mut self) {
        self.nested(SEQUENCE, |der| der.oid(ECDSA_WITH_SHA256));
    }

    fn name(&mut self, name: Name<'_>) {
        let attribute = |der: &mut Self, oid: &[u8], tag, text: &str| {
            der.nested(SET, |der| {
                der.nested(SEQUENCE, |der| {
                    der.oid(oid);
                    der.value(tag, text.as_bytes());
                });
            });
        };
        self.nested(SEQUENCE, |der| {
            attribute(der, &[0x55, 0x04, 0x06], PRINTABLE_STRING, COUNTRY);
            attribute(der, &[0x55, 0x04, 0x0a], UTF8_STRING, ORGANIZATION);
            if name.organizational_unit {
                attribute(der, &[0x55, 0x04, 0x0b], UTF8_STRING, ORGANIZATIONAL_UNIT);
            }
            attribute(der, &[0x55, 0x04, 0x03], UTF8_STRING, name.common_name);
        });
    }

    fn extension(&mut self, extension: &Extension, content: impl FnOnce(&mut Self)) {
        self.nested(SEQUENCE, |der| {
            der.oid(extension.oid);
            if extension.critical {
                der.value(BOOLEAN, &[0xff]);
            }
            der.nested(OCTET_STRING, content);
        });
    }

    fn extensions(&mut self, certificate: &Certificate<'_>) {
        self.extension(&BASIC_CONSTRAINTS, |der| {
            der.nested(SEQUENCE, |der| {
                if certificate.aaguid.is_none() {
                    der.value(BOOLEAN, &[0xff]);
                    der.value(INTEGER, &[0]);
                }
            });
        });
        self.extension(&SUBJECT_KEY_IDENTIFIER, |der| der.value(OCTET_STRING, certificate.subject_key_id));
        self.extension(&AUTHORITY_KEY_IDENTIFIER, |der| {
            der.nested(SEQUENCE, |der| der.value(0x80, certificate.issuer_key_id));
        });
        match certificate.aaguid {
            Some(aaguid) => {
                // digitalSignature (bit 0)
                self.extension(&KEY_USAGE, |der| der.value(BIT_STRING, &[7, 0x80]));
                self.extension(&FIDO_AAGUID, |der| der.value(OCTET_STRING, aaguid));
                // uSB (bit 2)
                self.extension(&FIDO_TRANSPORTS, |der| der.value(BIT_STRING, &[5, 0x20]));
                if let Some(device) = certificate.device {
                    self.extension(&FIDO_SERIAL_NUMBER, |der| der.value(OCTET_STRING, device));
                }
            }
            // keyCertSign (bit 5)
            None => self.extension(&KEY_USAGE, |der| der.value(BIT_STRING, &[2, 0x04])),
        }
    }

    /// The part of a certificate that is signed.
    pub(crate) fn tbs_certificate(&mut self, certificate: &Certificate<'_>) {
        self.nested(SEQUENCE, |der| {
            der.nested(0xa0, |der| der.value(INTEGER, &[2]));
            der.value(INTEGER, certificate.serial);
            der.algorithm();
            der.name(certificate.issuer);
            der.nested(SEQUENCE, |der| {
                der.value(UTC_TIME, NOT_BEFORE);
                der.value(GENERALIZED_TIME, NOT_AFTER);
            });
            der.name(certificate.subject);
            der.nested(SEQUENCE, |der| {
                der.nested(SEQUENCE, |der| {
                    der.oid(EC_PUBLIC_KEY);
                    der.oid(PRIME256V1);
                });
                der.bit_string(certificate.subject_key);
            });
            der.nested(0xa3, |der| der.nested(SEQUENCE, |der| der.extensions(certificate)));
        });
    }

    /// A whole certificate, from its signed part and the signature over it.
    pub(crate) fn certificate(&mut self, tbs_certificate: &[u8], signature: &[u8]) {
        self.nested(SEQUENCE, |der| {
            der.raw(tbs_certificate);
            der.algorithm();
            der.bit_string(signature);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (size, head) in
            [(0, &[4, 0][..]), (127, &[4, 127]), (128, &[4, 0x81, 128]), (256, &[4, 0x82, 1, 0])]
        {
            let mut buffer = [0; 300];
            let mut der = Der::new(&mut buffer);
            der.value(OCTET_STRING, &[0xee; 256][..size]);
            let length = der.finish().unwrap();
            assert_eq!(length, head.len() + size);
            assert_eq!(&buffer[..head.len()], head);
            assert!(buffer[head.len()..length].iter().all(|&byte| byte == 0xee));
        }
    }

    #[test]
    fn a_small_buffer_is_noticed() {
        let mut buffer = [0; 10];
        let mut der = Der::new(&mut buffer);
        der.value(OCTET_STRING, &[0; 20]);
        assert_eq!(der.finish(), None);
    }
}
