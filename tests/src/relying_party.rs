//! A web site that registers a security key and has it sign in, after WebAuthn §7.1 and §7.2 as webauthn-rs-core has
//! them: a verifier that shares no line with the key or with the rest of this crate.

use std::time::Duration;

use url::Url;
use uuid::Uuid;
use webauthn_attestation_ca::{AttestationCaList, AttestationCaListBuilder};
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, AuthenticationState, AuthenticatorAttachment, COSEAlgorithm,
    CreationChallengeResponse, Credential, PublicKeyCredential, RegisterPublicKeyCredential,
    RegistrationState, RequestChallengeResponse, UserVerificationPolicy,
};

use crate::reports::Reports;
use crate::{Error, Key, Result, webauthn};

/// A site with one account, which may have several keys.
pub struct RelyingParty {
    core: WebauthnCore,
    origin: Url,
    credentials: Vec<Credential>,
}

impl RelyingParty {
    /// The site at this origin, such as `https://example.com`; its host is its RP ID.
    pub fn new(origin: &str) -> Result<Self> {
        let origin = Url::parse(origin).map_err(|error| Error::Local(format!("{origin}: {error}")))?;
        let rp_id = origin.host_str().ok_or_else(|| Error::Local(format!("{origin} has no host")))?;
        let timeout = Duration::from_secs(60);
        let core = WebauthnCore::new_unsafe_experts_only(
            "A site",
            rp_id,
            vec![origin.clone()],
            timeout,
            Some(false),
            Some(false),
        );
        Ok(Self { core, origin, credentials: Vec::new() })
    }

    /// The origin as a browser writes it.
    pub fn origin(&self) -> String {
        self.origin.origin().ascii_serialization()
    }

    /// The keys that the account has.
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// What the site's page gives to `create()`: a roaming key, no PIN asked for.
    pub fn start_registration(
        &self,
        attestation: AttestationConveyancePreference,
        algorithm: COSEAlgorithm,
        resident: bool,
    ) -> Result<(CreationChallengeResponse, RegistrationState)> {
        let known = self.credentials.iter().map(|credential| credential.cred_id.clone()).collect();
        let builder = self
            .core
            .new_challenge_register_builder(b"account 7", "ada", "Ada Lovelace")
            .map_err(refused)?
            .attestation(attestation)
            .credential_algorithms(vec![algorithm])
            .authenticator_attachment(Some(AuthenticatorAttachment::CrossPlatform))
            .exclude_credentials(Some(known))
            .require_resident_key(resident)
            .user_verification_policy(UserVerificationPolicy::Discouraged_DO_NOT_USE);
        self.core.generate_challenge_register(builder).map_err(refused)
    }

    /// Verifies what `create()` returned and keeps the credential. With `roots` the attestation must chain up to one
    /// of them.
    pub fn finish_registration(
        &mut self,
        response: &RegisterPublicKeyCredential,
        state: &RegistrationState,
        roots: Option<&AttestationCaList>,
    ) -> Result<&Credential> {
        let credential = self.core.register_credential(response, state, roots).map_err(refused)?;
        self.credentials.push(credential);
        Ok(&self.credentials[self.credentials.len() - 1])
    }

    /// What the site's page gives to `get()`.
    pub fn start_authentication(&self) -> Result<(RequestChallengeResponse, AuthenticationState)> {
        let policy = Some(UserVerificationPolicy::Discouraged_DO_NOT_USE);
        let builder = self.core.new_challenge_authenticate_builder(self.credentials.clone(), policy);
        self.core.generate_challenge_authenticate(builder.map_err(refused)?).map_err(refused)
    }

    /// Verifies what `get()` returned. Returns the signature counter, which must be higher than the one before.
    pub fn finish_authentication(
        &mut self,
        response: &PublicKeyCredential,
        state: &AuthenticationState,
    ) -> Result<u32> {
        let result = self.core.authenticate_credential(response, state).map_err(refused)?;
        let mut credentials = self.credentials.iter_mut();
        let credential = credentials.find(|credential| credential.cred_id == *result.cred_id());
        let credential = credential.ok_or_else(|| Error::Local("an unknown credential".into()))?;
        if result.counter() <= credential.counter {
            return Err(Error::Violation(format!(
                "the counter fell from {} to {}",
                credential.counter,
                result.counter()
            )));
        }
        credential.counter = result.counter();
        Ok(result.counter())
    }

    /// A whole registration with a key.
    pub fn register(
        &mut self,
        key: &Key<impl Reports>,
        attestation: AttestationConveyancePreference,
        roots: Option<&AttestationCaList>,
    ) -> Result<&Credential> {
        let (options, state) = self.start_registration(attestation, COSEAlgorithm::ES256, false)?;
        let response = webauthn::create(key, &self.origin(), &options)?;
        self.finish_registration(&response, &state, roots)
    }

    /// A whole sign-in with a key. Returns the signature counter.
    pub fn sign_in(&mut self, key: &Key<impl Reports>) -> Result<u32> {
        let (options, state) = self.start_authentication()?;
        let response = webauthn::get(key, &self.origin(), &options)?;
        self.finish_authentication(&response, &state)
    }
}

/// A list of roots with this one certificate (DER), trusted for this model.
pub fn roots(root: &[u8], aaguid: [u8; 16]) -> Result<AttestationCaList> {
    let mut builder = AttestationCaListBuilder::new();
    builder
        .insert_device_der(root, Uuid::from_bytes(aaguid), "Brasskey".into(), Default::default())
        .map_err(|error| Error::Local(format!("a root certificate: {error:?}")))?;
    Ok(builder.build())
}

fn refused(error: webauthn_rs_core::error::WebauthnError) -> Error {
    Error::Violation(format!("the relying party refuses: {error}"))
}
