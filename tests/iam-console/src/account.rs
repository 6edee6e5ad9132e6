//! The account: its root user, its IAM users and their MFA devices. All of it is demonstration data and kept in memory.

use std::collections::BTreeMap;

use totp_rs::Totp;
use webauthn_rs_core::proto::Credential;

use crate::otp::{self, Otp};
use crate::policy::Level;
use crate::random;

/// The account's number, one that AWS's own documentation uses for examples.
pub const ACCOUNT: &str = "123456789012";

/// The name of the root user; no IAM user here has it.
pub const ROOT: &str = "root";

/// Who is there, with the passwords of the demonstration: (name, e-mail or user name to sign in with, password).
pub const DEMO_USERS: [(&str, &str, &str); 4] = [
    (ROOT, "root@example.com", "root-demo-password"),
    ("ada", "ada", "ada-demo-password"),
    ("bob", "bob", "bob-demo-password"),
    BENCH_USER,
];

/// Whose devices the test bench assigns and removes.
pub(crate) const BENCH_USER: (&str, &str, &str) = ("bench", "bench", "bench-demo-password");

/// The IAM user who may manage others.
const ADMINISTRATOR: &str = "ada";

/// The hardware tokens that the stand-in's "manufacturer" has delivered: serial number and secret (RFC 6238's own).
pub const DEMO_TOKENS: [(&str, &[u8]); 2] =
    [("GADA00000001", b"12345678901234567890"), ("GADA00000002", b"09876543210987654321")];

/// As many as AWS allows for one user, of any types.
pub const MAX_DEVICES: usize = 8;

/// An MFA device's name: as AWS's, letters, digits and `+=,.@-_`, up to 128.
pub(crate) fn is_device_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "+=,.@-_".contains(letter))
}

/// Somebody who can sign in.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) sign_in_name: &'static str,
    password: &'static str,
    pub(crate) administrator: bool,
    /// WebAuthn's user handle.
    pub(crate) handle: [u8; 16],
    pub(crate) devices: Vec<Device>,
}

impl User {
    pub(crate) fn is_root(&self) -> bool {
        self.name == ROOT
    }

    pub(crate) fn has_password(&self, password: &str) -> bool {
        self.password == password
    }

    pub(crate) fn arn(&self) -> String {
        arn(&self.name)
    }

    pub(crate) fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.name == name)
    }

    pub(crate) fn device_mut(&mut self, name: &str) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.name == name)
    }

    /// The security key with this credential, and what its owner must be told.
    pub(crate) fn key_mut(
        &mut self,
        credential_id: &[u8],
    ) -> Option<(&mut Option<&'static str>, &mut SecurityKey)> {
        self.devices.iter_mut().find_map(|device| match &mut device.kind {
            Kind::SecurityKey(key) if key.credential.cred_id == credential_id => {
                Some((&mut device.alert, &mut **key))
            }
            _ => None,
        })
    }

    /// The credentials of the security keys.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &SecurityKey> {
        self.devices.iter().filter_map(|device| match &device.kind {
            Kind::SecurityKey(key) => Some(&**key),
            _ => None,
        })
    }
}

/// A user's name in AWS's notation.
pub(crate) fn arn(user: &str) -> String {
    if user == ROOT {
        format!("arn:aws:iam::{ACCOUNT}:root")
    } else {
        format!("arn:aws:iam::{ACCOUNT}:user/{user}")
    }
}

/// An assigned MFA device.
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// What the owner must be told, such as that there may be a copy of the key.
    pub(crate) alert: Option<&'static str>,
}

pub(crate) enum Kind {
    SecurityKey(Box<SecurityKey>),
    App(Otp),
    Token { serial: String, otp: Otp },
}

pub(crate) struct SecurityKey {
    pub(crate) credential: Credential,
    /// Registered by U2F, so that its signatures are made for an AppID and not for the site's RP ID.
    pub(crate) by_u2f: bool,
    /// What the attestation proves, going by the roots that the stand-in trusts.
    pub(crate) certification: Option<Level>,
}

impl Device {
    pub(crate) fn new(name: String, kind: Kind, created: u64) -> Self {
        Self { name, kind, created, alert: None }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::SecurityKey(_) => "Passkey or security key",
            Kind::App(_) => "Virtual",
            Kind::Token { .. } => "Hardware TOTP token",
        }
    }

    pub(crate) fn otp_mut(&mut self) -> Option<&mut Otp> {
        match &mut self.kind {
            Kind::SecurityKey(_) => None,
            Kind::App(otp) | Kind::Token { otp, .. } => Some(otp),
        }
    }
}

/// Everybody, and the tokens that can be assigned.
pub(crate) struct Account {
    pub(crate) users: BTreeMap<String, User>,
    tokens: BTreeMap<&'static str, Totp>,
}

impl Account {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let mut users = BTreeMap::new();
        for (name, sign_in_name, password) in DEMO_USERS {
            let user = User {
                name: name.into(),
                sign_in_name,
                password,
                administrator: name == ROOT || name == ADMINISTRATOR,
                handle: random()?,
                devices: Vec::new(),
            };
            users.insert(name.into(), user);
        }
        let mut tokens = BTreeMap::new();
        for (serial, secret) in DEMO_TOKENS {
            tokens.insert(serial, otp::generator(secret, serial)?);
        }
        Ok(Self { users, tokens })
    }

    /// The generator of the token with this serial number. `None`: there is none, or somebody has it.
    pub(crate) fn free_token(&self, serial: &str) -> Option<Totp> {
        let taken =
            |device: &Device| matches!(&device.kind, Kind::Token { serial: has, .. } if has == serial);
        let is_free = !self.users.values().flat_map(|user| &user.devices).any(taken);
        self.tokens.get(serial).filter(|_| is_free).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_those_that_aws_takes() {
        for good in ["key", "My_Key-1+=,.@", &"a".repeat(128)] {
            assert!(is_device_name(good), "{good}");
        }
        for bad in ["", "two words", "<b>", "é", &"a".repeat(129)] {
            assert!(!is_device_name(bad), "{bad}");
        }
    }
}
