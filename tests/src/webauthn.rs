//! The browser's part of a WebAuthn ceremony (WebAuthn §5.1.3, §5.1.4) for one USB key, without a browser.

use ciborium::Value;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AuthenticatorAssertionResponseRaw, AuthenticatorAttestationResponseRaw,
    AuthenticatorTransport, CreationChallengeResponse, PublicKeyCredential, RegisterPublicKeyCredential,
    RequestChallengeResponse, ResidentKeyRequirement,
};

use crate::ctap2::{GetAssertion, MakeCredential};
use crate::reports::Reports;
use crate::{Error, Key, Result, cbor, sha256};

/// navigator.credentials.create()
///
/// `None` for the site's conveyance takes the statement and the AAGUID away, as a browser does.
pub fn create(
    key: &Key<impl Reports>,
    origin: &str,
    options: &CreationChallengeResponse,
) -> Result<RegisterPublicKeyCredential> {
    let options = &options.public_key;
    let client_data = client_data("webauthn.create", origin, &serde_json::json!(options)["challenge"]);
    let selection = options.authenticator_selection.as_ref();
    let resident = selection.and_then(|selection| selection.resident_key);
    let request = MakeCredential {
        client_data_hash: sha256(&[&client_data]),
        user_id: options.user.id.clone(),
        user_name: options.user.name.clone(),
        user_display_name: options.user.display_name.clone(),
        algorithms: options.pub_key_cred_params.iter().map(|parameter| parameter.alg).collect(),
        exclude_list: options.exclude_credentials.iter().flatten().map(|one| one.id.clone()).collect(),
        rk: matches!(resident, Some(ResidentKeyRequirement::Required)).then_some(true),
        ..MakeCredential::new(&options.rp.id)
    };
    let mut attested = key.make_credential(&request)?;
    attested.verify(&request.client_data_hash)?;
    if matches!(options.attestation, None | Some(AttestationConveyancePreference::None)) {
        attested.fmt = "none".into();
        attested.att_stmt = Value::Map(Vec::new());
        // The AAGUID follows rpIdHash, flags and counter.
        attested.auth_data.bytes[37..53].fill(0);
    }
    let attestation_object = cbor::encode(&cbor::map([
        ("fmt", Value::from(attested.fmt.as_str())),
        ("attStmt", attested.att_stmt.clone()),
        ("authData", attested.auth_data.bytes.clone().into()),
    ]));
    Ok(RegisterPublicKeyCredential {
        id: String::new(),
        raw_id: attested.id().to_vec(),
        response: AuthenticatorAttestationResponseRaw {
            attestation_object,
            client_data_json: client_data,
            transports: Some(vec![AuthenticatorTransport::Usb]),
        },
        type_: "public-key".into(),
        extensions: Default::default(),
    })
}

/// navigator.credentials.get()
pub fn get(
    key: &Key<impl Reports>,
    origin: &str,
    options: &RequestChallengeResponse,
) -> Result<PublicKeyCredential> {
    let options = &options.public_key;
    let client_data = client_data("webauthn.get", origin, &serde_json::json!(options)["challenge"]);
    let allowed: Vec<&[u8]> = options.allow_credentials.iter().map(|one| &one.id[..]).collect();
    let assertion = key.get_assertion(&GetAssertion {
        client_data_hash: sha256(&[&client_data]),
        ..GetAssertion::allow(&options.rp_id, &allowed)
    })?;
    if !allowed.is_empty() && !allowed.contains(&&assertion.credential_id[..]) {
        return Err(Error::Violation("a credential that was not allowed".into()));
    }
    let user_handle = assertion.user_id();
    Ok(PublicKeyCredential {
        id: String::new(),
        raw_id: assertion.credential_id,
        response: AuthenticatorAssertionResponseRaw {
            authenticator_data: assertion.auth_data.bytes,
            client_data_json: client_data,
            signature: assertion.signature,
            user_handle,
        },
        extensions: Default::default(),
        type_: "public-key".into(),
    })
}

/// CollectedClientData in JSON. `challenge` is text, base64url already.
fn client_data(kind: &str, origin: &str, challenge: &serde_json::Value) -> Vec<u8> {
    serde_json::json!({ "type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false })
        .to_string()
        .into_bytes()
}
