//! A key at work: `cargo xtask demo` builds and runs this.
//!
//! Starts the simulator, plugs the key into a USB host in user space, which works on any machine and without root, has it
//! register with a relying party and sign in twice, and says at each step what was verified. Ends by saying how to plug
//! the key into the machine itself.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use brasskey_tests::relying_party::RelyingParty;
use brasskey_tests::simulator::program;
use brasskey_tests::{Error, Key, Result, Simulator, cbor};
use webauthn_rs_core::proto::AttestationConveyancePreference;

const ORIGIN: &str = "https://example.com";

/// The simulated controller of a kernel that has USB/IP.
const VHCI: &str = "/sys/devices/platform/vhci_hcd.0";

fn main() -> ExitCode {
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show() -> Result<()> {
    step("Power up a new key, in memory, that grants every touch");
    let simulator = Simulator::start()?;
    let bus_id = simulator.bus_ids().first().cloned().unwrap_or_default();
    verified(&format!("it is ready: USB/IP on {}, bus id {bus_id}", simulator.address()));

    step("Plug it into a USB host");
    let key = Key::attach(simulator.address())?;
    let [manufacturer, product] = &key.device().strings;
    verified(&format!("enumerated as Linux does it: {manufacturer}, {product}"));
    let info = key.get_info()?;
    let versions = cbor::get(&info, 0x01).and_then(|list| list.as_array()).cloned().unwrap_or_default();
    let versions: Vec<&str> = versions.iter().filter_map(|version| version.as_text()).collect();
    verified(&format!("it speaks {}", versions.join(", ")));

    step(&format!("Register it as a security key with {ORIGIN}"));
    let mut site = RelyingParty::new(ORIGIN)?;
    let credential = site.register(&key, AttestationConveyancePreference::Direct, None)?;
    verified("challenge, origin and site are those that were asked for, and somebody touched the key");
    verified(&format!(
        "attestation: {:?}, signed under the key's certificate",
        credential.attestation_format
    ));
    let mut count = credential.counter;
    verified(&format!("signature count {count}"));

    for time in ["Sign in", "Sign in once more"] {
        step(time);
        let new = site.sign_in(&key)?;
        if new <= count {
            return Err(Error::Violation(format!("signature count {new} after {count}")));
        }
        verified("the signature is by the key that was registered, over this sign-in's challenge");
        verified(&format!("signature count {new}, higher than {count}: no copy of the key has been used"));
        count = new;
    }

    println!(
        "\nAll of it was verified by webauthn-rs-core, a WebAuthn server that shares no code with the key."
    );
    say_how_to_plug_it_in();
    Ok(())
}

fn step(what: &str) {
    println!("\n{what}");
}

fn verified(what: &str) {
    println!("  ✓ {what}");
}

fn say_how_to_plug_it_in() {
    let program = program().display();
    println!("\nTo plug such a key into this machine, for your browser and ssh:\n");
    if !Path::new(VHCI).exists() {
        println!("  sudo modprobe vhci-hcd");
    }
    println!("  sudo {program} run --attach\n");
    println!(
        "It asks in the terminal before it signs anything. README.md has more, also without root for the key."
    );
}
