//! What a simulated key offers, as options of a command.

use brasskey::Model;
use brasskey_authenticator::{AttestationPolicy, Profile};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

#[derive(Args, Debug)]
pub(super) struct ModelArguments {
    /// The attestation of new credentials, where the site leaves it to the key
    #[arg(long, value_enum, default_value_t = Attestation::Packed)]
    attestation: Attestation,

    /// The version of CTAP that the key says it speaks
    #[arg(long, value_enum, default_value_t = ProfileArgument::V2_3)]
    profile: ProfileArgument,

    /// The signature algorithms that the key offers
    #[arg(long, value_enum, default_value_t = Algorithms::Classic)]
    algorithms: Algorithms,

    /// Let authenticatorConfig enable enterprise attestation: the key then tells a site which key it is, where the
    /// platform asks for it, and where this site asks for it. May be given several times
    #[arg(long, value_name = "RP-ID")]
    enterprise: Vec<String>,

    /// Give the key a fingerprint sensor, a virtual one. Whoever touches the key puts the same finger on it each time,
    /// unless --test-control of `brasskey run` names another
    #[arg(long)]
    fingerprint: bool,
}

/// As on the command line: `self` is no name for a variant.
#[derive(Clone, Copy, Debug)]
enum Attestation {
    Packed,
    SelfSigned,
    None,
}

impl ValueEnum for Attestation {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Packed, Self::SelfSigned, Self::None]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Packed => PossibleValue::new("packed").help("Signed by the key's own certificate"),
            Self::SelfSigned => PossibleValue::new("self").help("Signed by the new credential itself"),
            Self::None => PossibleValue::new("none").help("Nothing"),
        })
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileArgument {
    /// CTAP 2.3, with everything that came with it
    #[value(name = "2.3")]
    V2_3,
    /// CTAP 2.1, for platforms that stumble over newer versions
    #[value(name = "2.1")]
    V2_1,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Algorithms {
    /// ES256 and EdDSA
    Classic,
    /// ML-DSA-44 and ML-DSA-65 as well; some browsers refuse a key that lists them
    PostQuantum,
}

impl ModelArguments {
    pub(super) fn model(&self) -> Model {
        let mut model = Model::default();
        model.attestation = match self.attestation {
            Attestation::Packed => AttestationPolicy::Packed,
            Attestation::SelfSigned => AttestationPolicy::SelfSigned,
            Attestation::None => AttestationPolicy::None,
        };
        model.profile = match self.profile {
            ProfileArgument::V2_3 => Profile::V2_3,
            ProfileArgument::V2_1 => Profile::V2_1,
        };
        model.post_quantum = matches!(self.algorithms, Algorithms::PostQuantum);
        model.enterprise = (!self.enterprise.is_empty()).then(|| self.enterprise.clone());
        model.fingerprint = self.fingerprint;
        model
    }
}
