//! Who may do what: the two kinds of policies on MFA that AWS documents.
//!
//! * "Deny everything but managing one's own MFA until signed in with MFA" (`aws:MultiFactorAuthPresent`).
//! * "Only certified security keys" (the condition key `iam:FIDO-certification` on `iam:EnableMFADevice`).
//!
//! Policies bind IAM users. The root user is bound by none, as in AWS.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::account::{ROOT, arn};

/// FIDO's certification levels, as `iam:FIDO-certification` names them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ValueEnum)]
#[allow(missing_docs, reason = "FIDO's names")]
pub enum Level {
    #[value(name = "L1")]
    L1,
    #[value(name = "L1plus")]
    L1plus,
    #[value(name = "L2")]
    L2,
    #[value(name = "L2plus")]
    L2plus,
    #[value(name = "L3")]
    L3,
    #[value(name = "L3plus")]
    L3plus,
}

impl Level {
    /// As it is written in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "L1",
            Self::L1plus => "L1plus",
            Self::L2 => "L2",
            Self::L2plus => "L2plus",
            Self::L3 => "L3",
            Self::L3plus => "L3plus",
        }
    }
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    ListUsers,
    ListMfaDevices,
    EnableMfaDevice,
    ResyncMfaDevice,
    DeactivateMfaDevice,
    /// Stands for all of AWS but IAM.
    UseService,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::ListUsers => "iam:ListUsers",
            Self::ListMfaDevices => "iam:ListMFADevices",
            Self::EnableMfaDevice => "iam:EnableMFADevice",
            Self::ResyncMfaDevice => "iam:ResyncMFADevice",
            Self::DeactivateMfaDevice => "iam:DeactivateMFADevice",
            Self::UseService => "s3:ListAllMyBuckets",
        }
    }

    /// What AWS's example policy leaves to a user who has not signed in with MFA. Removing a device is not among it: it
    /// would let a stolen password take the second factor away.
    fn is_left_without_mfa(self) -> bool {
        matches!(self, Self::ListMfaDevices | Self::EnableMfaDevice | Self::ResyncMfaDevice)
    }
}

/// Who is signed in, and how.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) name: String,
    pub(crate) administrator: bool,
    pub(crate) mfa: bool,
}

/// The policies in force.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Policies {
    pub(crate) require_mfa: bool,
    pub(crate) certification: Option<Level>,
}

impl Policies {
    /// May the actor do this to the user `target`? The message is of the form that AWS gives.
    pub(crate) fn authorize(&self, actor: &Actor, action: Action, target: &str) -> Result<(), String> {
        let is_root = actor.name == ROOT;
        let own = actor.name == target;
        let allowed =
            is_root || (own && action != Action::ListUsers) || (actor.administrator && target != ROOT);
        if !allowed {
            let why = format!("because no identity-based policy allows the {} action", action.name());
            return Err(denied(actor, action, target, &why));
        }
        let is_left = own && action.is_left_without_mfa();
        if self.require_mfa && !is_root && !actor.mfa && !is_left {
            return Err(denied(actor, action, target, EXPLICIT));
        }
        Ok(())
    }

    /// May a security key of this certification be assigned to the user `target`?
    pub(crate) fn authorize_key(
        &self,
        actor: &Actor,
        target: &str,
        certification: Option<Level>,
    ) -> Result<(), String> {
        match self.certification {
            Some(wanted) if actor.name != ROOT && certification != Some(wanted) => {
                let has = certification.map_or("none", Level::name);
                let denied = denied(actor, Action::EnableMfaDevice, target, EXPLICIT);
                Err(format!(
                    "{denied} (iam:FIDO-certification must be {}; this key's is {has})",
                    wanted.name()
                ))
            }
            _ => Ok(()),
        }
    }
}

const EXPLICIT: &str = "with an explicit deny in an identity-based policy";

fn denied(actor: &Actor, action: Action, target: &str, why: &str) -> String {
    format!(
        "User: {} is not authorized to perform: {} on resource: {} {why}",
        arn(&actor.name),
        action.name(),
        arn(target)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(name: &str, administrator: bool, mfa: bool) -> Actor {
        Actor { name: name.into(), administrator, mfa }
    }

    const OPEN: Policies = Policies { require_mfa: false, certification: None };
    const STRICT: Policies = Policies { require_mfa: true, certification: Some(Level::L1) };

    #[test]
    fn users_manage_themselves_and_administrators_others_but_nobody_the_root_user() {
        let remove = Action::DeactivateMfaDevice;
        OPEN.authorize(&actor("bob", false, false), remove, "bob").unwrap();
        OPEN.authorize(&actor("ada", true, false), remove, "bob").unwrap();
        OPEN.authorize(&actor(ROOT, true, false), remove, "bob").unwrap();
        OPEN.authorize(&actor("bob", false, true), remove, "ada").unwrap_err();
        OPEN.authorize(&actor("bob", false, true), Action::ListUsers, "bob").unwrap_err();
        OPEN.authorize(&actor("ada", true, true), remove, ROOT).unwrap_err();
    }

    #[test]
    fn without_mfa_only_the_own_mfa_is_left() {
        let bob = actor("bob", false, false);
        for action in [Action::ListMfaDevices, Action::EnableMfaDevice, Action::ResyncMfaDevice] {
            STRICT.authorize(&bob, action, "bob").unwrap();
            STRICT.authorize(&actor("ada", true, false), action, "bob").unwrap_err();
        }
        for action in [Action::DeactivateMfaDevice, Action::UseService] {
            let message = STRICT.authorize(&bob, action, "bob").unwrap_err();
            assert!(message.contains("explicit deny"), "{message}");
            STRICT.authorize(&actor("bob", false, true), action, "bob").unwrap();
            STRICT.authorize(&actor(ROOT, true, false), action, ROOT).unwrap();
        }
    }

    #[test]
    fn a_certification_is_asked_of_users_and_must_be_the_one_named() {
        let bob = actor("bob", false, false);
        STRICT.authorize_key(&bob, "bob", Some(Level::L1)).unwrap();
        STRICT.authorize_key(&actor(ROOT, true, false), ROOT, None).unwrap();
        OPEN.authorize_key(&bob, "bob", None).unwrap();
        for other in [None, Some(Level::L2)] {
            let message = STRICT.authorize_key(&bob, "bob", other).unwrap_err();
            assert!(message.contains("iam:EnableMFADevice") && message.contains("L1"), "{message}");
        }
    }
}
