//! A key at work: `cargo xtask demo` builds and runs this.
//!
//! Starts the simulator and plugs the key in: into this machine's kernel where that is possible, otherwise into a USB
//! host in user space, which works on any machine and without root. Has it register at the stand-in of the AWS IAM
//! console (tests/iam-console) and sign in twice, and says at each step what was verified. Ends by saying how to plug the key in for other programs.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use brasskey_iam_console::visitor::{Page, Visitor};
use brasskey_iam_console::{Console, DEMO_USERS, Options};
use brasskey_tests::hidraw::{Hidraw, Node, VHCI, nodes_on_vhci};
use brasskey_tests::reports::Reports;
use brasskey_tests::simulator::{MEMORY, program};
use brasskey_tests::{Key, Simulator, cbor, webauthn};

/// Nothing listens there: the demonstration is console and browser in one.
const ORIGIN: &str = "http://localhost:8400";

/// How long the kernel may take to make a file for a new key.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
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
            bail!("the key is plugged in, but the kernel makes no hidraw file for it");
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

    let (user, login, password) = DEMO_USERS[0];
    let mut person = Visitor::new(Console::new(Options::at(ORIGIN)?)?);
    step("Open a stand-in of the AWS IAM console, which is not AWS, and sign in as its root user");
    let page = person.sign_in(login, password)?;
    expect(&page, "Add MFA for root user")?;
    verified("the password is right; the console recommends to add MFA");

    step("Assign the key: Assign MFA device, Passkey or security key");
    let page = person.assign_key(user, "brasskey", |options| webauthn::create(key, ORIGIN, options))?;
    expect(&page, "MFA device brasskey assigned")?;
    expect(&page, "attestation packed")?;
    verified("challenge, origin and site are those that were asked for, and somebody touched the key");
    verified("attestation: packed, signed under the key's certificate");
    let mut count = signature_count(&page)?;
    verified(&format!("signature count {count}"));

    for time in ["Sign out, and sign in with password and key", "Sign in once more"] {
        step(time);
        person.sign_out()?;
        person.sign_in(login, password)?;
        let refused = person.open("/console")?;
        if refused.path == "/console" {
            bail!("the password alone is enough");
        }
        verified("the password alone is not enough");
        let page = person.sign_in_with_key(|options| webauthn::get(key, ORIGIN, options))?;
        expect(&page, "(with MFA)")?;
        verified("the signature is by the key that was registered, over this sign-in's challenge");
        let new = signature_count(&person.open("/iam/security-credentials")?)?;
        if new <= count {
            bail!("signature count {new} after {count}");
        }
        verified(&format!("signature count {new}, higher than {count}: no copy of the key has been used"));
        count = new;
    }

    println!(
        "\nAll of it was verified by webauthn-rs-core, a WebAuthn server that shares no code with the key."
    );
    Ok(())
}

fn expect(page: &Page, text: &str) -> anyhow::Result<()> {
    if page.body.contains(text) { Ok(()) } else { bail!("no {text:?} on the page {}", page.path) }
}

/// As the list of devices shows it.
fn signature_count(page: &Page) -> anyhow::Result<u32> {
    let (_, rest) = page.body.split_once("signature count ").context("no signature count on the page")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
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
    println!("`cargo xtask console` serves the console of this demonstration to your browser.");
}
