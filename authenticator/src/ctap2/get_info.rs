//! authenticatorGetInfo (CTAP 2.3 §6.4): only what works, as it is at this moment.

use ctap_types::ctap2::Error;
use ctap_types::ctap2::get_info::{Extension, Transport, Version};
use serde::Serialize;
use serde_bytes::Bytes;
use serde_indexed::SerializeIndexed;

use crate::authenticator::Authenticator;
use crate::credential::{Algorithm, CREDENTIAL_ID_LENGTH};
use crate::pin::{MIN_PIN_LENGTH, Protocol};
use crate::platform::{Identity, Platform};
use crate::store::capacity;

/// What a descriptor in a list takes of a message, in bytes: the ID, and CBOR around it with its transports.
const DESCRIPTOR_LENGTH: usize = CREDENTIAL_ID_LENGTH + 64;

/// What the rest of a request may take of a message, in bytes.
const REST_OF_REQUEST: usize = 512;

/// No platform sends more credentials than this at once.
const MAX_LIST: usize = 32;

/// maxCredentialCountInList: how many descriptors fit into a message beside the rest of a request.
pub(super) fn max_credential_count_in_list(identity: &Identity) -> usize {
    let room = usize::from(identity.max_msg_size).saturating_sub(REST_OF_REQUEST);
    (room / DESCRIPTOR_LENGTH).clamp(1, MAX_LIST)
}

/// Members by their number; those that are left out do not apply to this key.
#[derive(SerializeIndexed)]
#[serde_indexed(offset = 1)]
struct Info<'a> {
    // 0x01
    versions: &'a [Version],
    // 0x02
    extensions: &'a [Extension],
    // 0x03
    aaguid: &'a Bytes,
    // 0x04
    options: Options,
    // 0x05
    max_msg_size: u16,
    // 0x06
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_uv_auth_protocols: Option<&'a [u8]>,
    // 0x07
    max_credential_count_in_list: usize,
    // 0x08
    max_credential_id_length: usize,
    // 0x09
    transports: &'a [Transport],
    // 0x0A
    algorithms: [Parameters; Algorithm::ALL.len()],
    // 0x0B
    #[serde(skip_serializing_if = "Option::is_none")]
    max_serialized_large_blob_array: Option<usize>,
    // 0x0C
    #[serde(skip_serializing_if = "Option::is_none")]
    force_pin_change: Option<bool>,
    // 0x0D
    #[serde(skip_serializing_if = "Option::is_none")]
    min_pin_length: Option<u8>,
    // 0x0E
    firmware_version: u16,
    // 0x0F
    #[serde(skip_serializing_if = "Option::is_none")]
    max_cred_blob_length: Option<usize>,
    // 0x10
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rp_ids_for_set_min_pin_length: Option<usize>,
    // 0x11
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_platform_uv_attempts: Option<u8>,
    // 0x12
    #[serde(skip_serializing_if = "Option::is_none")]
    uv_modality: Option<u32>,
    // 0x13
    #[serde(skip_serializing_if = "Option::is_none")]
    certifications: Option<bool>,
    // 0x14
    remaining_discoverable_credentials: usize,
    // 0x15
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor_prototype_config_commands: Option<&'a [u32]>,
    // 0x16
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation_formats: Option<&'a [&'a str]>,
}

/// Option IDs in canonical order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    rk: bool,
    up: bool,
    cred_mgmt: bool,
    client_pin: bool,
    pin_uv_auth_token: bool,
    make_cred_uv_not_rqd: bool,
}

/// PublicKeyCredentialParameters, members in canonical order.
#[derive(Serialize)]
struct Parameters {
    alg: i32,
    r#type: &'static str,
}

impl<P: Platform> Authenticator<'_, P> {
    /// How many more discoverable credentials fit.
    pub(super) fn remaining(&self) -> usize {
        let limit = usize::from(self.platform.identity().max_discoverable).min(capacity::<P::Storage>());
        limit.saturating_sub(self.store.len())
    }

    pub(crate) fn get_info(&mut self, response: &mut [u8]) -> Result<usize, Error> {
        let identity = self.platform.identity();
        let info = Info {
            versions: &[Version::U2fV2, Version::Fido2_0],
            extensions: &[Extension::CredProtect, Extension::HmacSecret],
            aaguid: Bytes::new(&identity.aaguid),
            options: Options {
                rk: true,
                up: true,
                cred_mgmt: true,
                client_pin: self.store.pin().is_set(),
                pin_uv_auth_token: true,
                make_cred_uv_not_rqd: true,
            },
            max_msg_size: identity.max_msg_size,
            pin_uv_auth_protocols: Some(&Protocol::NUMBERS),
            max_credential_count_in_list: max_credential_count_in_list(identity),
            max_credential_id_length: CREDENTIAL_ID_LENGTH,
            transports: &[Transport::Usb],
            algorithms: Algorithm::ALL
                .map(|algorithm| Parameters { alg: algorithm.cose(), r#type: "public-key" }),
            max_serialized_large_blob_array: None,
            force_pin_change: Some(false),
            min_pin_length: Some(MIN_PIN_LENGTH),
            firmware_version: identity.firmware_version,
            max_cred_blob_length: None,
            max_rp_ids_for_set_min_pin_length: None,
            preferred_platform_uv_attempts: None,
            uv_modality: None,
            certifications: None,
            remaining_discoverable_credentials: self.remaining(),
            vendor_prototype_config_commands: None,
            attestation_formats: Some(&["packed"]),
        };
        crate::wire::encode(&info, response)
    }
}
