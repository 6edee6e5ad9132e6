//! What AWS does not publish about its console, as settings: the WebAuthn options, and the policies in force. On the
//! command line and, for tests that change them between ceremonies, on the page `/settings`.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use webauthn_rs_core::proto::{
    AttestationConveyancePreference, COSEAlgorithm, ResidentKeyRequirement, UserVerificationPolicy,
};

use crate::policy::{Level, Policies};

/// The AppID of credentials that were registered at AWS by U2F, before WebAuthn.
pub const AWS_APP_ID: &str = "https://u2f.aws.amazon.com/app-id.json";

/// `attestation`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "WebAuthn's names")]
pub enum Attestation {
    #[default]
    Direct,
    None,
}

/// `userVerification`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "WebAuthn's names")]
pub enum UserVerification {
    #[default]
    Discouraged,
    Preferred,
    Required,
}

/// `residentKey`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "WebAuthn's names")]
pub enum ResidentKey {
    #[default]
    Discouraged,
    Preferred,
}

/// `pubKeyCredParams`
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
pub enum Algorithms {
    /// −7
    #[default]
    #[serde(rename = "es256")]
    #[value(name = "es256")]
    Es256,
    /// −7, −257
    #[serde(rename = "es256-rs256")]
    #[value(name = "es256-rs256")]
    Es256Rs256,
}

/// All settings.
#[derive(Args, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Settings {
    /// Attestation that is asked for
    #[arg(long, value_enum, default_value = "direct")]
    pub attestation: Attestation,
    /// User verification that is asked for
    #[arg(long, value_enum, default_value = "discouraged")]
    pub user_verification: UserVerification,
    /// Whether credentials shall be discoverable
    #[arg(long, value_enum, default_value = "discouraged")]
    pub resident_key: ResidentKey,
    /// Signature algorithms, best first
    #[arg(long, value_enum, default_value = "es256")]
    pub algorithms: Algorithms,
    /// AppID for credentials that were registered by U2F
    #[arg(long, value_name = "URL", default_value = AWS_APP_ID)]
    pub app_id: String,
    /// Deny IAM users everything but managing their own MFA until they have signed in with MFA
    #[arg(long)]
    #[serde(default)]
    pub require_mfa: bool,
    /// Let IAM users assign only security keys with this certification
    #[arg(long, value_enum, value_name = "LEVEL")]
    #[serde(default, deserialize_with = "level_or_empty")]
    pub certification: Option<Level>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            attestation: Attestation::default(),
            user_verification: UserVerification::default(),
            resident_key: ResidentKey::default(),
            algorithms: Algorithms::default(),
            app_id: AWS_APP_ID.into(),
            require_mfa: false,
            certification: None,
        }
    }
}

/// A form sends an empty value for "none".
fn level_or_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Level>, D::Error> {
    use serde::de::Error as _;
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("") => Ok(None),
        Some(name) => Level::from_str(name, false).map(Some).map_err(D::Error::custom),
    }
}

impl Settings {
    pub(crate) fn policies(&self) -> Policies {
        Policies { require_mfa: self.require_mfa, certification: self.certification }
    }

    pub(crate) fn conveyance(&self) -> AttestationConveyancePreference {
        match self.attestation {
            Attestation::Direct => AttestationConveyancePreference::Direct,
            Attestation::None => AttestationConveyancePreference::None,
        }
    }

    pub(crate) fn verification(&self) -> UserVerificationPolicy {
        match self.user_verification {
            UserVerification::Discouraged => UserVerificationPolicy::Discouraged_DO_NOT_USE,
            UserVerification::Preferred => UserVerificationPolicy::Preferred,
            UserVerification::Required => UserVerificationPolicy::Required,
        }
    }

    pub(crate) fn residence(&self) -> ResidentKeyRequirement {
        match self.resident_key {
            ResidentKey::Discouraged => ResidentKeyRequirement::Discouraged,
            ResidentKey::Preferred => ResidentKeyRequirement::Preferred,
        }
    }

    pub(crate) fn cose_algorithms(&self) -> Vec<COSEAlgorithm> {
        match self.algorithms {
            Algorithms::Es256 => vec![COSEAlgorithm::ES256],
            Algorithms::Es256Rs256 => vec![COSEAlgorithm::ES256, COSEAlgorithm::RS256],
        }
    }
}
