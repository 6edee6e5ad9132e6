//! A key at work: `cargo xtask demo` builds and runs this.
//!
//! Starts the simulator and plugs the key in: into this machine's kernel where that is possible, otherwise into a USB
//! host in user space, which works on any machine and without root. Has it register with a relying party and sign in
//! twice, and says at each step what was verified. Ends by saying how to plug the key in for other programs.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use brasskey_tests::hidraw::{Hidraw, Node, VHCI, nodes_on_vhci};
use brasskey_tests::relying_party::RelyingParty;
use brasskey_tests::reports::Reports;
use brasskey_tests::simulator::{MEMORY, program};
use brasskey_tests::{Error, Key, Result, Simulator, cbor};
use webauthn_rs_core::proto::AttestationConveyancePreference;

const ORIGIN: &str = "https://example.com";

/// How long the kernel may take to make a file for a new key.
const PATIENCE: Duration = Duration::from_secs(20);

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
    match prepare_kernel() {
        Ok(()) => in_the_kernel(),
        Err(why) => in_user_space(&why),
    }
}

/// Has the kernel a virtual USB controller that we may use? If not, why.
fn prepare_kernel() -> std::result::Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("that takes root".into());
    }
    if !Path::new(VHCI).exists() {
        let modules = ["-a", "-q", "vhci-hcd", "usbhid", "hid-generic"];
        let loaded = Command::new("modprobe").args(modules).stderr(Stdio::null()).status();
        if !loaded.is_ok_and(|status| status.success()) || !Path::new(VHCI).exists() {
            return Err("it has no module vhci-hcd".into());
        }
    }
    Ok(())
}

fn in_the_kernel() -> Result<()> {
    step("Power up a new key, in memory, that grants every touch, and plug it into this machine's kernel");
    let before = nodes_on_vhci();
    let _simulator = Simulator::with(&["--image", MEMORY, "--presence", "auto", "--attach"])?;
    let node = new_node(&before)?;
    verified(&format!("it is a USB device of this machine: {}, {}", node.path.display(), node.name));
    ceremonies(&Key::over(Arc::new(Hidraw::open(&node.path)?))?)?;
    println!("\nThe key is unplugged again. To plug one in for your browser and ssh:\n");
    println!("  sudo {} run --attach", program().display());
    say_how_it_asks();
    Ok(())
}

/// The HID device that was not there before.
fn new_node(before: &[Node]) -> Result<Node> {
    let until = Instant::now() + PATIENCE;
    loop {
        let new = nodes_on_vhci().into_iter().find(|node| !before.contains(node) && node.path.exists());
        if let Some(node) = new {
            return Ok(node);
        }
        if Instant::now() > until {
            return Err(Error::Local(
                "the key is plugged in, but the kernel makes no hidraw file for it".into(),
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn in_user_space(why: &str) -> Result<()> {
    step("Power up a new key, in memory, that grants every touch");
    let simulator = Simulator::start()?;
    let bus_id = simulator.bus_ids().first().cloned().unwrap_or_default();
    verified(&format!("it is ready: USB/IP on {}, bus id {bus_id}", simulator.address()));

    step(&format!("Plug it into a USB host in user space, not into the kernel: {why}"));
    let key = Key::attach(simulator.address())?;
    let [manufacturer, product] = &key.device().strings;
    verified(&format!("enumerated as Linux does it: {manufacturer}, {product}"));
    ceremonies(&key)?;
    println!("\nTo plug such a key into this machine, for your browser and ssh:\n");
    if !Path::new(VHCI).exists() {
        println!("  sudo modprobe vhci-hcd");
    }
    println!("  sudo {} run --attach", program().display());
    say_how_it_asks();
    Ok(())
}

fn ceremonies<R: Reports>(key: &Key<R>) -> Result<()> {
    let info = key.get_info()?;
    let versions = cbor::get(&info, 0x01).and_then(|list| list.as_array()).cloned().unwrap_or_default();
    let versions: Vec<&str> = versions.iter().filter_map(|version| version.as_text()).collect();
    verified(&format!("it speaks {}", versions.join(", ")));

    step(&format!("Register it as a security key with {ORIGIN}"));
    let mut site = RelyingParty::new(ORIGIN)?;
    let credential = site.register(key, AttestationConveyancePreference::Direct, None)?;
    verified("challenge, origin and site are those that were asked for, and somebody touched the key");
    verified(&format!(
        "attestation: {:?}, signed under the key's certificate",
        credential.attestation_format
    ));
    let mut count = credential.counter;
    verified(&format!("signature count {count}"));

    for time in ["Sign in", "Sign in once more"] {
        step(time);
        let new = site.sign_in(key)?;
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
    Ok(())
}

fn step(what: &str) {
    println!("\n{what}");
}

fn verified(what: &str) {
    println!("  ✓ {what}");
}

fn say_how_it_asks() {
    println!(
        "\nIt asks in the terminal before it signs anything. README.md has more, also without root for the key."
    );
}
