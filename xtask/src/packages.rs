//! What the system has to have, and installing it with apt.

use std::path::Path;

use crate::run::{command, is_installed, succeeds};

/// A Debian package, and a file that is there when it is installed: an absolute path, or a program's name.
type Package = (&'static str, &'static str);

/// For littlefs, which is C: its bindings are made with clang's library.
const BUILD: &[Package] = &[("clang", "clang"), ("libclang-dev", "/usr/share/doc/libclang-dev")];

/// For the virtual machine and what runs in it, and for the suites in Python.
const TEST: &[Package] = &[
    ("qemu-system-x86", "qemu-system-x86_64"),
    ("busybox-static", "busybox"),
    ("kmod", "/sbin/depmod"),
    ("cpio", "cpio"),
    ("usbip", "/usr/sbin/usbip"),
    ("usbutils", "lsusb"),
    ("udev", "/lib/systemd/systemd-udevd"),
    ("fido2-tools", "fido2-token"),
    ("openssh-client", "ssh-keygen"),
    ("pamu2fcfg", "pamu2fcfg"),
    ("iproute2", "/sbin/ip"),
    ("chromium", "chromium"),
    ("python3", "python3"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
    ("zstd", "zstd"),
];

/// Installs what building needs. False if something is missing and could not be installed.
pub(crate) fn for_building() -> bool {
    install(BUILD)
}

/// Installs what the tests need.
pub(crate) fn for_testing() -> bool {
    install(TEST)
}

fn install(packages: &[Package]) -> bool {
    let is_there =
        |sign: &str| if sign.starts_with('/') { Path::new(sign).exists() } else { is_installed(sign) };
    let missing: Vec<&str> =
        packages.iter().filter(|(_, sign)| !is_there(sign)).map(|(name, _)| *name).collect();
    if missing.is_empty() {
        return true;
    }
    if !is_installed("apt-get") {
        eprintln!("This needs, from your system's packages (Debian's names): {}", missing.join(" "));
        return false;
    }
    println!("Installing from Debian's packages: {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        let mut apt = if is_root() {
            command("apt-get", &[])
        } else {
            command("sudo", &["--preserve-env=DEBIAN_FRONTEND", "apt-get"])
        };
        // A sudo that has to ask for a password asks on the terminal itself.
        apt.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        succeeds(&mut apt)
    };
    let arguments = [&["install", "-y", "--no-install-recommends"], &missing[..]].concat();
    // The lists of a fresh machine are empty or old.
    apt(&["update"]) && apt(&arguments)
}

fn is_root() -> bool {
    let id = command("id", &["-u"]).output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
