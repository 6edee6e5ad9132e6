//! What a host and a key said to each other, in the log: names, lengths and times. Nothing of what is inside, for there
//! are secrets.

use crate::key::HostPlatform;
use brasskey_authenticator::Authenticator;
use std::time::Instant;

/// A key that logs what it is asked and what it answers, at the level "debug".
pub(super) struct Spoken<'a, 'f>(pub(super) &'a mut Authenticator<'f, HostPlatform>);

impl brasskey_usb::Key for Spoken<'_, '_> {
    fn ctap1(&mut self, request: &[u8], response: &mut [u8]) -> usize {
        let asked = Instant::now();
        let length = self.0.ctap1(request, response);
        let instruction = match request.get(1) {
            Some(1) => "U2F_REGISTER",
            Some(2) => "U2F_AUTHENTICATE",
            Some(3) => "U2F_VERSION",
            _ => "an unknown U2F instruction",
        };
        let status = response.get(..length).and_then(|response| response.last_chunk::<2>());
        let status = status.map_or(0, |status| u16::from_be_bytes(*status));
        tracing::debug!(
            "{instruction}, {} bytes: {status:#06x} after {:.1?}",
            request.len(),
            asked.elapsed()
        );
        length
    }

    fn ctap2(&mut self, channel: u32, request: &[u8], response: &mut [u8]) -> usize {
        let asked = Instant::now();
        let length = self.0.ctap2(channel, request, response);
        let command = request.first().map_or("nothing", |command| name(*command));
        let status = response.first().copied().unwrap_or_default();
        tracing::debug!(
            "{command}, {} bytes, channel {channel:08x}: {status:#04x}{}, {length} bytes after {:.1?}",
            request.len(),
            meaning(status),
            asked.elapsed()
        );
        length
    }

    fn wink(&mut self) {
        tracing::debug!("CTAPHID_WINK");
        self.0.wink();
    }
}

/// A command's name (CTAP 2.3 §6).
fn name(command: u8) -> &'static str {
    match command {
        0x01 => "authenticatorMakeCredential",
        0x02 => "authenticatorGetAssertion",
        0x04 => "authenticatorGetInfo",
        0x06 => "authenticatorClientPIN",
        0x07 => "authenticatorReset",
        0x08 => "authenticatorGetNextAssertion",
        0x09 => "authenticatorBioEnrollment",
        0x0A => "authenticatorCredentialManagement",
        0x0B => "authenticatorSelection",
        0x0C => "authenticatorLargeBlobs",
        0x0D => "authenticatorConfig",
        0x40 => "authenticatorBioEnrollment (preview)",
        0x41 => "authenticatorCredentialManagement (preview)",
        _ => "an unknown command",
    }
}

/// What a status says that a user may meet (CTAP 2.3 §8.2).
fn meaning(status: u8) -> &'static str {
    match status {
        0x00 => " (done)",
        0x19 => " (the key has a credential of this account already)",
        0x26 => " (no algorithm that the key knows)",
        0x27 => " (the user said no)",
        0x28 => " (no room for another credential)",
        0x2D => " (the host took it back)",
        0x2E => " (no credential for this site)",
        0x2F => " (nobody touched the key)",
        0x30 => " (not allowed now)",
        0x31 => " (wrong PIN)",
        0x32 => " (the PIN is blocked)",
        0x33 => " (not authorized)",
        0x34 => " (power the key up again before the next PIN)",
        0x35 => " (no PIN is set)",
        0x36 => " (a PIN or a finger is required)",
        0x37 => " (the PIN breaks the policy, or has to be changed)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageSource, Key, KeyOptions, PresencePolicy};
    use brasskey_usb::Key as _;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn names_and_numbers_are_logged_and_nothing_else() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .with_writer(move || writer.clone())
            .finish();
        let options = KeyOptions::new(ImageSource::Memory).presence(PresencePolicy::Deny);
        let commands = |key: &mut Authenticator<'_, HostPlatform>| {
            let mut response = vec![0; 7609];
            let mut spoken = Spoken(key);
            spoken.ctap2(0x0102_0304, &[0x04], &mut response);
            spoken.ctap2(1, &[0x0B], &mut response);
            spoken.ctap2(1, b"\x06a secret", &mut response);
            spoken.ctap2(1, &[], &mut response);
            spoken.ctap1(&[0, 3, 0, 0], &mut response);
            spoken.ctap1(&[], &mut response);
        };
        tracing::subscriber::with_default(subscriber, || {
            Key::new(options).with_authenticator(commands).unwrap();
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let said: Vec<_> = log.lines().filter_map(|line| line.trim_start().strip_prefix("DEBUG ")).collect();
        let begins = [
            "authenticatorGetInfo, 1 bytes, channel 01020304: 0x00 (done), ",
            "authenticatorSelection, 1 bytes, channel 00000001: 0x27 (the user said no), 1 bytes after ",
            "authenticatorClientPIN, 9 bytes, channel 00000001: 0x12, 1 bytes after ",
            "nothing, 0 bytes, channel 00000001: 0x03, 1 bytes after ",
            "U2F_VERSION, 4 bytes: 0x9000 after ",
            "an unknown U2F instruction, 0 bytes: 0x6700 after ",
        ];
        assert_eq!(said.len(), begins.len(), "{log}");
        for (line, begin) in said.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
        assert!(!log.contains("secret"));
    }
}
