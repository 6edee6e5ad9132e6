//! The relying party: WebAuthn §7.1 and §7.2 by webauthn-rs-core, which verifies challenge, origin, RP ID, flags,
//! signature, attestation statement and that the signature count rises.

use anyhow::{Context, bail};
use p256::elliptic_curve::sec1::ToSec1Point;
use serde_json::Value;
use url::Url;
use uuid::Uuid;
use webauthn_attestation_ca::{AttestationCaList, AttestationCaListBuilder};
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::error::WebauthnError;
use webauthn_rs_core::proto::{
    AttestationFormat, AuthenticationState, AuthenticatorAttachment, COSEAlgorithm, COSEEC2Key, COSEKey,
    COSEKeyType, CreationChallengeResponse, Credential, ECDSACurve, ParsedAttestation, PublicKeyCredential,
    RegisterPublicKeyCredential, RegisteredExtensions, RegistrationState, RequestAuthenticationExtensions,
    RequestChallengeResponse, UserVerificationPolicy,
};

use crate::account::{SecurityKey, User};
use crate::policy::Level;
use crate::settings::Settings;

/// How long a ceremony may take; the browser is told so, and the challenge is void afterwards.
pub(crate) const CEREMONY: std::time::Duration = std::time::Duration::from_secs(120);

/// Makers whose keys the stand-in knows to be certified. AWS takes this from FIDO's metadata service.
pub struct Trust {
    roots: AttestationCaList,
    level: Level,
}

impl Trust {
    /// Keys with an attestation under this root (X.509, DER) have this certification.
    pub fn new(root: &[u8], level: Level) -> anyhow::Result<Self> {
        let mut builder = AttestationCaListBuilder::new();
        builder
            .insert_device_der(root, Uuid::nil(), "a maker".into(), Default::default())
            .map_err(|error| anyhow::anyhow!("the root certificate: {error:?}"))?;
        Ok(Self { roots: builder.build(), level })
    }
}

/// Why a signature was refused.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Its count did not rise: there may be a copy of the key.
    Copied {
        /// Which credential it was.
        credential_id: Vec<u8>,
    },
    /// Anything else, in words.
    Otherwise(String),
}

/// The web site.
pub(crate) struct Site {
    core: WebauthnCore,
    trust: Option<Trust>,
}

impl Site {
    /// The site at this origin, whose host is the RP ID.
    pub(crate) fn new(origin: &Url, trust: Option<Trust>) -> anyhow::Result<Self> {
        let rp_id = origin.host_str().context("an origin without a host")?;
        let origins = vec![origin.clone()];
        // Neither subdomains nor other ports.
        let (subdomains, any_port) = (Some(false), Some(false));
        let core = WebauthnCore::new_unsafe_experts_only(
            "IAM stand-in",
            rp_id,
            origins,
            CEREMONY,
            subdomains,
            any_port,
        );
        Ok(Self { core, trust })
    }

    /// What `navigator.credentials.create()` is given.
    pub(crate) fn start_registration(
        &self,
        settings: &Settings,
        user: &User,
    ) -> anyhow::Result<(CreationChallengeResponse, RegistrationState)> {
        let known = user.credentials().map(|key| key.credential.cred_id.clone()).collect();
        let builder = self
            .core
            .new_challenge_register_builder(&user.handle, user.sign_in_name, user.sign_in_name)?
            .attestation(settings.conveyance())
            .credential_algorithms(settings.cose_algorithms())
            // A security key, not the browser's own store of passkeys.
            .authenticator_attachment(Some(AuthenticatorAttachment::CrossPlatform))
            .exclude_credentials(Some(known))
            .require_resident_key(false)
            .user_verification_policy(settings.verification());
        let (mut options, state) = self.core.generate_challenge_register(builder)?;
        // The builder knows only "required" and "discouraged".
        if let Some(selection) = &mut options.public_key.authenticator_selection {
            selection.resident_key = Some(settings.residence());
        }
        Ok((options, state))
    }

    /// Verifies what `create()` returned.
    pub(crate) fn finish_registration(
        &self,
        response: &Value,
        state: &RegistrationState,
    ) -> anyhow::Result<SecurityKey> {
        let response: RegisterPublicKeyCredential =
            serde_json::from_value(response.clone()).context("not a registration")?;
        let credential = self.core.register_credential(&response, state, None)?;
        let certification = self.trust.as_ref().and_then(|trust| {
            let chain = credential.verify_attestation(&trust.roots).ok().flatten();
            chain.map(|_| trust.level)
        });
        Ok(SecurityKey { credential, by_u2f: false, certification })
    }

    /// What `navigator.credentials.get()` is given.
    pub(crate) fn start_authentication(
        &self,
        settings: &Settings,
        user: &User,
    ) -> anyhow::Result<(RequestChallengeResponse, AuthenticationState)> {
        let credentials = user.credentials().map(|key| key.credential.clone()).collect();
        let policy = Some(settings.verification());
        let mut builder = self.core.new_challenge_authenticate_builder(credentials, policy)?;
        if user.credentials().any(|key| key.by_u2f) {
            let extensions = RequestAuthenticationExtensions {
                appid: Some(settings.app_id.clone()),
                uvm: None,
                hmac_get_secret: None,
            };
            builder = builder.extensions(Some(extensions));
        }
        Ok(self.core.generate_challenge_authenticate(builder)?)
    }

    /// Verifies what `get()` returned. Returns the credential's ID and its new signature count.
    pub(crate) fn finish_authentication(
        &self,
        response: &Value,
        state: &AuthenticationState,
    ) -> Result<(Vec<u8>, u32), Refused> {
        let response: PublicKeyCredential = serde_json::from_value(response.clone())
            .map_err(|error| Refused::Otherwise(format!("not a signature: {error}")))?;
        match self.core.authenticate_credential(&response, state) {
            Ok(result) => Ok((result.cred_id().clone(), result.counter())),
            Err(WebauthnError::CredentialPossibleCompromise) => {
                Err(Refused::Copied { credential_id: response.raw_id.to_vec() })
            }
            Err(error) => Err(Refused::Otherwise(error.to_string())),
        }
    }
}

/// A credential as U2F registered it: its key handle and its public key (65 bytes, SEC 1).
pub(crate) fn from_u2f(key_handle: Vec<u8>, public_key: &[u8]) -> anyhow::Result<SecurityKey> {
    if !(1..=255).contains(&key_handle.len()) {
        bail!("a key handle has 1 to 255 bytes");
    }
    let key = p256::PublicKey::from_sec1_bytes(public_key).context("the public key is none of P-256")?;
    let point = key.to_sec1_point(false);
    let (x, y) = (point.x().context("a point without x")?, point.y().context("a point without y")?);
    let key = COSEKeyType::EC_EC2(COSEEC2Key { curve: ECDSACurve::SECP256R1, x: x.to_vec(), y: y.to_vec() });
    let credential = Credential {
        cred_id: key_handle,
        cred: COSEKey { type_: COSEAlgorithm::ES256, key },
        counter: 0,
        transports: None,
        user_verified: false,
        backup_eligible: false,
        backup_state: false,
        registration_policy: UserVerificationPolicy::Discouraged_DO_NOT_USE,
        extensions: RegisteredExtensions::none(),
        attestation: ParsedAttestation::default(),
        attestation_format: AttestationFormat::None,
    };
    Ok(SecurityKey { credential, by_u2f: true, certification: None })
}
