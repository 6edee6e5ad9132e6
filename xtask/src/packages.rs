//! What has to be installed, and its installation by apt.

use std::process::{Command, Stdio};

use crate::{Result, run};

/// littlefs2-sys makes its bindings with libclang.
pub(crate) const BUILD: &[&str] = &["clang", "libclang-dev"];

/// For firmware: the C compiler and the headers of a C library, for littlefs.
pub(crate) const FIRMWARE: &[&str] = &["gcc-arm-none-eabi", "libnewlib-arm-none-eabi"];

/// A Rust compiler with its source, where rustup has no target for microcontrollers. It is in `/usr/bin` and leaves
/// rustup's alone.
pub(crate) const DEBIAN_RUST: &[&str] = &["cargo-web", "lld", "rust-web-src", "rustc-web"];

/// For the emulated board.
pub(crate) const BOARD: &[&str] = &["qemu-system-arm"];

/// For the virtual environment of the Python suites.
pub(crate) const SUITES: &[&str] = &["python3", "python3-venv"];

/// Whose tools judge recorded ceremonies.
pub(crate) const VERIFIERS: &[&str] = &["fido2-tools"];

/// For the virtual machine, which runs over this machine's own files, and for the clients in it.
pub(crate) const VM: &[&str] = &[
    "busybox-static",
    "chromium",
    "chromium-driver",
    "cpio",
    "fido2-tools",
    "firefox-esr",
    "iproute2",
    "kmod",
    "libpam-u2f",
    "openssh-client",
    "pamu2fcfg",
    "python3",
    "qemu-system-x86",
    "udev",
    "usbip",
    "usbutils",
    "xdotool",
    "xvfb",
];

/// Installs what is missing of these packages, after saying so.
pub(crate) fn ensure(wanted: &[&str]) -> Result<()> {
    if !exists("dpkg-query") || !exists("apt-get") {
        println!(
            "This system has no apt, so nothing is installed. Needed, by their names in Debian: {}",
            wanted.join(" ")
        );
        return Ok(());
    }
    let missing: Vec<&str> = wanted.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing by apt: {}", missing.join(" "));
    let install = [&["install", "--yes", "--no-install-recommends"], &missing[..]].concat();
    // A machine that has never fetched the lists knows no package; one whose lists are old asks for files that are gone.
    if run::succeeds(&mut apt(&install)?)? {
        return Ok(());
    }
    run::must(&mut apt(&["update"])?)?;
    run::must(&mut apt(&install)?)
}

/// rustfmt and clippy, which a minimal installation of Rust leaves out.
pub(crate) fn ensure_component(name: &str, subcommand: &str) -> Result<()> {
    let mut probe = run::cargo(&[subcommand, "--version"]);
    if probe
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        return Ok(());
    }
    println!("Installing by rustup: {name}");
    run::must(Command::new("rustup").args(["component", "add", name]))
}

fn apt(arguments: &[&str]) -> Result<Command> {
    let mut command = as_root("apt-get")?;
    command.args(arguments);
    Ok(command)
}

/// A program, as root.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    let id = run::output(Command::new("id").arg("-u"))?;
    let mut command;
    if id.trim() == "0" {
        command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
    } else if exists("sudo") {
        // sudo drops the environment. It may ask for a password, on the terminal.
        command = Command::new("sudo");
        command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    } else {
        return Err("installing takes root or sudo".into());
    }
    Ok(command)
}

fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    query.stdin(Stdio::null()).stderr(Stdio::null());
    query.output().is_ok_and(|output| output.stdout == b"installed")
}

pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
