//! What a command costs: stack by painting, cycles by SysTick.
//!
//! Under `-icount shift=0` QEMU's clock goes one nanosecond for each instruction, and SysTick at 25 MHz counts one for
//! every 40 of them. Without it, cycles are time.

use brasskey_authenticator::{Authenticator, Platform};
use brasskey_board_wire::{Frame, Measured as Record};
use brasskey_firmware_app::memory::{paint_stack, stack_high_water};
use brasskey_firmware_app::{Body, Resident, clock};
use brasskey_usb::Key;
use core::hint::black_box;
use cortex_m::peripheral::{SCB, SYST};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::Generate;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::{CYCLES_PER_MS, Mps2, line};

/// Cycles since power-up.
fn now() -> u64 {
    critical_section::with(|_| {
        let before = SYST::get_current();
        // The counter passed zero and the tick has yet to be counted.
        let pending = SCB::is_pendst_pending();
        let left = if pending { SYST::get_current() } else { before };
        let ms = clock::now_ms() + u64::from(pending);
        ms * u64::from(CYCLES_PER_MS) + u64::from(CYCLES_PER_MS - left)
    })
}

/// A stop watch.
pub(crate) struct Meter(u64);

impl Meter {
    pub(crate) fn start() -> Self {
        Self(now())
    }

    fn cycles(&self) -> u64 {
        now() - self.0
    }

    /// Sends what was measured, and paints the stack for the next time.
    pub(crate) fn end(self, command: u8, subcommand: u8) {
        self.end_without(0, command, subcommand);
    }

    fn end_without(self, waited: u64, command: u8, subcommand: u8) {
        let cycles = self.cycles().saturating_sub(waited);
        let stack = stack_high_water() as u32;
        line::send(&Frame::Measured(Record { command, subcommand, stack, cycles }));
        paint_stack();
    }
}

/// Time that a command spent waiting for a touch.
#[derive(Default)]
pub(crate) struct Waited {
    since: Option<u64>,
    cycles: u64,
}

impl Waited {
    pub(crate) fn begin(&mut self) {
        self.since = Some(now());
    }

    pub(crate) fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.cycles += now() - since;
        }
    }

    pub(crate) fn take(&mut self) -> u64 {
        core::mem::take(&mut self.cycles)
    }
}

/// Bare P-256, in the same image and with the same settings as the key's.
#[inline(never)]
pub(crate) fn bare_p256(seed: [u8; 32]) {
    let mut rng = ChaCha20Rng::from_seed(seed);
    let meter = Meter::start();
    let key = black_box(SigningKey::generate_from_rng(&mut rng));
    // The point: what a registration hands out.
    black_box(key.verifying_key().to_sec1_point(false));
    meter.end(Record::KEY_GENERATION, 0);
    let meter = Meter::start();
    let signature: Result<p256::ecdsa::Signature, _> = key.sign_prehash(black_box(&[7; 32]));
    black_box(signature.is_ok());
    meter.end(Record::SIGNATURE, 0);
}

/// The key, with a look at what each command costs.
pub(crate) struct Measured {
    key: &'static mut Authenticator<'static, Body<Mps2>>,
}

impl Measured {
    pub(crate) fn new(key: &'static mut Authenticator<'static, Body<Mps2>>) -> Self {
        Self { key }
    }

    fn measure<R>(
        &mut self,
        command: u8,
        subcommand: u8,
        act: impl FnOnce(&mut Authenticator<'static, Body<Mps2>>) -> R,
    ) -> R {
        let meter = Meter::start();
        let result = act(self.key);
        let waited = self.key.platform().user().board().waited.take();
        meter.end_without(waited, command, subcommand);
        result
    }
}

/// What a message asks for, as the table names it: CTAP2's subcommand is parameter 1 of those that have one.
fn subcommand(message: &[u8]) -> u8 {
    /// clientPIN, bioEnrollment, credentialManagement and its preview, authenticatorConfig.
    const WITH_SUBCOMMAND: [u8; 5] = [0x06, 0x09, 0x0A, 0x41, 0x0D];
    let [command, parameters @ ..] = message else { return 0 };
    if !WITH_SUBCOMMAND.contains(command) {
        return 0;
    }
    match parameters {
        // A map that begins with 1, or, for clientPIN, with its protocol and then 2.
        [_, 0x01, subcommand @ 0..=0x17, ..] if *command != 0x06 => *subcommand,
        [_, 0x01, _, 0x02, subcommand @ 0..=0x17, ..] => *subcommand,
        [_, 0x02, subcommand @ 0..=0x17, ..] => *subcommand,
        _ => 0,
    }
}

impl Key for Measured {
    fn ctap1(&mut self, request: &[u8], response: &mut [u8]) -> usize {
        let instruction = request.get(1).copied().unwrap_or(0);
        self.measure(Record::U2F, instruction, |key| key.ctap1(request, response))
    }

    fn ctap2(&mut self, channel: u32, request: &[u8], response: &mut [u8]) -> usize {
        let command = request.first().copied().unwrap_or(0);
        self.measure(command, subcommand(request), |key| key.ctap2(channel, request, response))
    }

    fn wink(&mut self) {
        self.measure(Record::WINK, 0, Authenticator::wink);
    }
}

impl Resident for Measured {
    fn idle(&mut self) {
        self.key.idle();
    }

    fn wake_usb(&mut self) {
        self.key.wake_usb();
    }

    fn sleep(&mut self) {
        Resident::sleep(self.key);
    }
}
