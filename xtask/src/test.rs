//! `cargo xtask test`: every test, from the format to browsers on a real kernel.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::report::{Count, Report};
use crate::run::{cargo, command, is_installed, root, succeeds, target, watch};
use crate::{licences, packages};

/// A step's name, and what it does.
type Step = (&'static str, fn() -> Count);

const STEPS: &[Step] = &[
    ("fmt", || Count::one(succeeds(&mut cargo(&["fmt", "--all", "--check"])))),
    ("clippy", clippy),
    ("docs", docs),
    ("licences", || Count::one(licences::check())),
    ("unit", || cargo_test(&["--workspace", "--exclude", "brasskey-tests"])),
    ("blackbox", || cargo_test(&["--package", "brasskey-tests"])),
    ("suites", suites),
    ("vm", vm),
];

/// What the suites are run with. Pinned: a new release must not change what a commit says of itself.
const PYTHON_PACKAGES: [&str; 2] = ["fido2==2.2.1", "webauthn==3.0.1"];

/// The names of the steps, in order.
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|(name, _)| *name).collect()
}

/// Runs the named steps, or all; goes on behind one that fails.
pub(crate) fn test(wanted: &[&str]) -> ExitCode {
    if let Some(unknown) = wanted.iter().find(|name| !names().contains(name)) {
        eprintln!("no step is named {unknown:?}; there are: {}", names().join(" "));
        return ExitCode::from(2);
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.contains(&name);
    let needs_packages = ["suites", "vm"].into_iter().any(is_wanted);
    if !packages::for_building() || needs_packages && !packages::for_testing() {
        println!("\n0 passed, 1 failed");
        return ExitCode::FAILURE;
    }
    let mut report = Report::default();
    for (name, step) in STEPS.iter().filter(|(name, _)| is_wanted(name)) {
        println!("\n== {name}");
        let start = Instant::now();
        let count = step();
        report.add(name, count, start.elapsed());
    }
    if report.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn clippy() -> Count {
    let arguments = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    Count::one(succeeds(&mut cargo(&arguments)))
}

fn docs() -> Count {
    let mut doc = cargo(&["doc", "--workspace", "--all-features", "--no-deps"]);
    Count::one(succeeds(doc.env("RUSTDOCFLAGS", "-D warnings")))
}

/// The program `brasskey` and what the tests start beside it.
fn build() -> bool {
    succeeds(&mut cargo(&["build", "--package", "brasskey", "--package", "brasskey-tests", "--bins"]))
}

fn cargo_test(packages: &[&str]) -> Count {
    let mut count = Count::default();
    let arguments = [&["test", "--no-fail-fast"], packages].concat();
    let succeeded = build()
        && watch(&mut cargo(&arguments), |line| {
            if let Some(result) = Count::libtest(line) {
                count.add(result);
            }
        });
    count.or_failure(succeeded)
}

/// Runs a program of checks and counts its lines.
fn checks(command: &mut Command) -> Count {
    let mut count = Count::default();
    let succeeded = watch(command, |line| count.add(Count::check(line)));
    count.or_failure(succeeded)
}

/// Independent judges in Python, over a USB host in user space.
fn suites() -> Count {
    let environment = root().join("target").join("python");
    let python = environment.join("bin").join("python");
    let is_ready = python.exists() || {
        let path = environment.to_string_lossy();
        succeeds(&mut command("python3", &["-m", "venv", &path]))
    };
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let install = [&install[..], &PYTHON_PACKAGES].concat();
    if !is_ready || !succeeds(&mut command(&python, &install)) || !build() {
        return Count::one(false);
    }
    let program = target().join("debug").join("brasskey");
    let run = ["run", "--image", ":memory:", "--listen", "127.0.0.1:0", "--presence", "auto"];
    let mut key = match command(program, &run).stdout(Stdio::piped()).spawn() {
        Ok(key) => key,
        Err(error) => {
            eprintln!("cannot start brasskey: {error}");
            return Count::one(false);
        }
    };
    // `usbip 127.0.0.1:PORT bus 1-1`
    let mut line = String::new();
    let mut output = key.stdout.take().map(BufReader::new);
    let read = output.as_mut().is_some_and(|output| output.read_line(&mut line).is_ok());
    let address = line.split_whitespace().nth(1).filter(|_| read).unwrap_or_default().to_owned();
    let judges = root().join("tests").join("suites").join("judges.py");
    let count = checks(&mut command(&python, &[&judges.to_string_lossy(), &address]));
    // It is only a simulator in memory: nothing is lost.
    if let Err(error) = key.kill().and_then(|()| key.wait()) {
        eprintln!("cannot stop brasskey: {error}");
    }
    count
}

/// Real clients on Debian's kernel, in a virtual machine.
fn vm() -> Count {
    if !is_installed("qemu-system-x86_64") || !build() {
        return Count::one(false);
    }
    let binaries = target().join("debug");
    let run = root().join("tests").join("vm").join("run");
    checks(&mut command(run, &[&binaries.to_string_lossy()]))
}
