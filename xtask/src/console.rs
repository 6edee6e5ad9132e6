//! `cargo xtask console`: the stand-in of the IAM console, for a person to click through, with a key plugged in where
//! that is possible.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::cargo;
use crate::{Result, binary, packages, run};

const ADDRESS: &str = "127.0.0.1:8400";

/// The simulated controller of a kernel that has USB/IP.
const VHCI: &str = "/sys/devices/platform/vhci_hcd.0";

pub(crate) fn run() -> Result<()> {
    packages::ensure(packages::BUILD)?;
    run::must(&mut cargo(&["build", "--locked", "-p", "brasskey", "-p", "brasskey-iam-console"]))?;
    println!();
    let failed = |error: std::io::Error| format!("brasskey-iam-console: {error}");
    let mut site = Command::new(binary("brasskey-iam-console"));
    site.args(["--listen", ADDRESS]).stdin(Stdio::null());
    let mut site = site.spawn().map_err(failed)?;

    let key = binary("brasskey");
    let is_root = run::output(Command::new("id").arg("-u"))?.trim() == "0";
    if Path::new(VHCI).exists() && is_root {
        println!(
            "\nA new key, in memory, is plugged in. It asks here before each touch. Ctrl-C ends both.\n"
        );
        let mut plugged = Command::new(&key);
        // Its terminal is ours.
        let status = plugged.args(["run", "--image", ":memory:", "--attach"]).status();
        // It may have ended at the same Ctrl-C.
        let _ = site.kill();
        let _ = site.wait();
        let status = status.map_err(|error| format!("{}: {error}", key.display()))?;
        return if status.success() { Ok(()) } else { Err("the key ended with an error".into()) };
    }
    println!("\nTo plug a key into this machine, in another terminal:\n");
    if !Path::new(VHCI).exists() {
        println!("  sudo modprobe vhci-hcd");
    }
    println!("  sudo {} run --attach\n", key.display());
    println!("Any other security key does as well. Ctrl-C ends the console.");
    let status = site.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err("the console ended with an error".into()) }
}
