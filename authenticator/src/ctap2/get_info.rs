//! authenticatorGetInfo (CTAP 2.3 §6.4): only what works, as it is at this moment.

use ctap_types::ctap2::Error;
use ctap_types::ctap2::get_info::{Transport, Version};
use heapless::Vec;
use serde::Serialize;
use serde_bytes::Bytes;
use serde_indexed::SerializeIndexed;

use crate::authenticator::Authenticator;
use crate::credential::record::MAX_CRED_BLOB;
use crate::credential::{Algorithm, CREDENTIAL_ID_LENGTH};
use crate::pin::{MAX_PIN_LENGTH, Protocol, seal_member};
use crate::platform::{AttestationPolicy, Identity, Platform, Profile};
use crate::store::blobs::MAX_LARGE_BLOB_ARRAY;
use crate::store::capacity;
use crate::store::state::MAX_MIN_PIN_LENGTH_RP_IDS;
use crate::user::UV_ATTEMPTS;

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

/// fingerprint_internal (FIDO Registry of Predefined Values §3.1): how the key itself verifies a user.
const UV_MODALITY: u32 = 0x0002;

/// Members by their number; those that are left out do not apply to this key.
#[derive(SerializeIndexed)]
#[serde_indexed(offset = 1)]
struct Info<'a> {
    // 0x01
    versions: Vec<Version, 4>,
    // 0x02
    extensions: &'a [&'a str],
    // 0x03
    aaguid: &'a Bytes,
    // 0x04
    options: Options,
    // 0x05
    max_msg_size: u16,
    // 0x06
    pin_uv_auth_protocols: &'a [u8],
    // 0x07
    max_credential_count_in_list: usize,
    // 0x08
    max_credential_id_length: usize,
    // 0x09
    transports: &'a [Transport],
    // 0x0A
    algorithms: Vec<Parameters, { Algorithm::ALL.len() }>,
    // 0x0B
    max_serialized_large_blob_array: usize,
    // 0x0C
    force_pin_change: bool,
    // 0x0D
    min_pin_length: u8,
    // 0x0E
    firmware_version: u16,
    // 0x0F
    max_cred_blob_length: usize,
    // 0x10
    max_rp_ids_for_set_min_pin_length: usize,
    // 0x11
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_platform_uv_attempts: Option<u8>,
    // 0x12
    #[serde(skip_serializing_if = "Option::is_none")]
    uv_modality: Option<u32>,
    // 0x13: no certification
    #[serde(skip_serializing_if = "Option::is_none")]
    certifications: Option<bool>,
    // 0x14
    remaining_discoverable_credentials: usize,
    // 0x15: no such command
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor_prototype_config_commands: Option<&'a [u32]>,
    // 0x16
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation_formats: Option<&'a [&'a str]>,
    // 0x17
    #[serde(skip_serializing_if = "Option::is_none")]
    uv_count_since_last_pin_entry: Option<u8>,
    // 0x18
    #[serde(skip_serializing_if = "Option::is_none")]
    long_touch_for_reset: Option<bool>,
    // 0x19
    #[serde(skip_serializing_if = "Option::is_none")]
    enc_identifier: Option<&'a Bytes>,
    // 0x1A
    #[serde(skip_serializing_if = "Option::is_none")]
    transports_for_reset: Option<&'a [Transport]>,
    // 0x1B
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_complexity_policy: Option<bool>,
    // 0x1C: the policy stands in the documentation, not at an address of its own
    #[serde(skip_serializing_if = "Option::is_none")]
    pin_complexity_policy_url: Option<&'a Bytes>,
    // 0x1D
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pin_length: Option<u8>,
    // 0x1E
    #[serde(skip_serializing_if = "Option::is_none")]
    enc_cred_store_state: Option<&'a Bytes>,
    // 0x1F
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticator_config_commands: Option<Vec<u8, 4>>,
}

/// Option IDs in canonical order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    #[serde(skip_serializing_if = "Option::is_none")]
    ep: Option<bool>,
    rk: bool,
    up: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uv: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uv_acfg: Option<bool>,
    always_uv: bool,
    cred_mgmt: bool,
    authnr_cfg: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bio_enroll: Option<bool>,
    client_pin: bool,
    large_blobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    uv_bio_enroll: Option<bool>,
    #[serde(rename = "perCredMgmtRO", skip_serializing_if = "Option::is_none")]
    per_cred_mgmt_ro: Option<bool>,
    pin_uv_auth_token: bool,
    #[serde(rename = "setMinPINLength")]
    set_min_pin_length: bool,
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
        let has_sensor = self.sensor().is_some();
        let uv = has_sensor.then(|| self.store.fingers() > 0);
        let newest = self.platform.identity().profile == Profile::V2_3;
        let state = self.store.state();
        let sealed = newest.then(|| {
            let rng = self.platform.rng();
            let mut seal = |label, value| seal_member(&state.persistent_token, label, value, rng);
            (
                seal(&b"encIdentifier"[..], self.store.identifier()),
                seal(&b"encCredStoreState"[..], self.store.credential_store_state()),
            )
        });
        let versions = [
            // U2F cannot verify a user.
            (Version::U2fV2, !state.always_uv),
            (Version::Fido2_0, true),
            (Version::Fido2_1, true),
            (Version::Fido2_3, newest),
        ];
        let identity = self.platform.identity();
        let info = Info {
            versions: versions.into_iter().filter(|(_, on)| *on).map(|(version, _)| version).collect(),
            extensions: if newest { &EXTENSIONS } else { &EXTENSIONS[..EXTENSIONS_OF_2_1] },
            aaguid: Bytes::new(&identity.aaguid),
            options: Options {
                ep: self.has_enterprise_attestation().then_some(state.enterprise_attestation),
                rk: true,
                up: true,
                uv,
                uv_acfg: uv,
                always_uv: state.always_uv,
                cred_mgmt: true,
                authnr_cfg: true,
                bio_enroll: uv,
                client_pin: state.pin.is_some(),
                large_blobs: true,
                uv_bio_enroll: uv,
                per_cred_mgmt_ro: newest.then_some(true),
                pin_uv_auth_token: true,
                set_min_pin_length: true,
                make_cred_uv_not_rqd: !state.always_uv,
            },
            max_msg_size: identity.max_msg_size,
            pin_uv_auth_protocols: &Protocol::NUMBERS,
            max_credential_count_in_list: max_credential_count_in_list(identity),
            max_credential_id_length: CREDENTIAL_ID_LENGTH,
            transports: &[Transport::Usb],
            algorithms: Algorithm::offered(identity.post_quantum)
                .map(|algorithm| Parameters { alg: algorithm.cose(), r#type: "public-key" })
                .collect(),
            max_serialized_large_blob_array: MAX_LARGE_BLOB_ARRAY,
            force_pin_change: state.force_pin_change,
            min_pin_length: state.min_pin_length,
            firmware_version: identity.firmware_version,
            max_cred_blob_length: MAX_CRED_BLOB,
            max_rp_ids_for_set_min_pin_length: MAX_MIN_PIN_LENGTH_RP_IDS,
            preferred_platform_uv_attempts: has_sensor.then_some(UV_ATTEMPTS),
            uv_modality: has_sensor.then_some(UV_MODALITY),
            certifications: None,
            remaining_discoverable_credentials: self.remaining(),
            vendor_prototype_config_commands: None,
            attestation_formats: match identity.attestation {
                AttestationPolicy::Packed | AttestationPolicy::SelfSigned if newest => Some(&["packed"]),
                _ => None,
            },
            uv_count_since_last_pin_entry: (newest && has_sensor).then_some(state.uv_count),
            long_touch_for_reset: (newest && identity.long_touch).then_some(state.long_touch_for_reset),
            enc_identifier: sealed.as_ref().map(|(identifier, _)| Bytes::new(identifier)),
            transports_for_reset: newest.then_some(&[Transport::Usb]),
            pin_complexity_policy: newest.then_some(state.pin_complexity_policy),
            pin_complexity_policy_url: None,
            max_pin_length: newest.then_some(MAX_PIN_LENGTH),
            enc_cred_store_state: sealed.as_ref().map(|(_, state)| Bytes::new(state)),
            authenticator_config_commands: newest.then(|| self.config_commands()),
        };
        crate::wire::encode(&info, response)
    }
}

/// The extensions that work; first those that CTAP 2.1 knows.
const EXTENSIONS: [&str; 8] = [
    "credBlob",
    "credProtect",
    "hmac-secret",
    "largeBlobKey",
    "minPinLength",
    "hmac-secret-mc",
    "pinComplexityPolicy",
    "thirdPartyPayment",
];
const EXTENSIONS_OF_2_1: usize = 5;
