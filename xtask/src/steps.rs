//! The steps of `cargo xtask test`, and what they add up to.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::cargo;
use crate::{
    Result, binary, board, browsers, conformance, device, firmware, licences, packages, root, run, suites,
    target,
};

/// How many checks came to what.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    /// A line of `cargo test`: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn see_cargo_test(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let numbers = result.split_once(". ").map_or("", |(_, numbers)| numbers);
        for part in numbers.split("; ") {
            let Some((number, word)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    /// A line of a script: `ok NAME`, `FAILED NAME: why`, `skipped NAME: why`.
    pub(crate) fn see_check(&mut self, line: &str) {
        match line.split_once(' ') {
            Some(("ok", _)) => self.passed += 1,
            Some(("FAILED", _)) => self.failed += 1,
            Some(("skipped", _)) => self.skipped += 1,
            _ => {}
        }
    }
}

struct Step {
    name: &'static str,
    /// Installed before any step runs.
    packages: &'static [&'static [&'static str]],
    /// Does it and counts. `Ok(false)`: something failed, and was printed.
    run: fn(&mut Tally) -> Result<bool>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", packages: &[], run: fmt },
    Step { name: "clippy", packages: &[packages::BUILD], run: clippy },
    Step { name: "docs", packages: &[packages::BUILD], run: docs },
    Step { name: "licences", packages: &[], run: |_| licences::check() },
    Step { name: "unit", packages: &[packages::BUILD], run: unit },
    Step { name: "blackbox", packages: &[packages::BUILD], run: blackbox },
    Step { name: "firmware", packages: &[packages::BUILD, packages::FIRMWARE], run: firmware_images },
    Step { name: "board", packages: &[packages::BUILD, packages::FIRMWARE, packages::BOARD], run: board },
    Step { name: "suites", packages: &[packages::BUILD, packages::SUITES], run: python_suites },
    Step { name: "device", packages: &[packages::BUILD, packages::SUITES], run: device_suite },
    Step {
        name: "vm",
        packages: &[packages::BUILD, packages::FIRMWARE, packages::BOARD, packages::VM],
        run: vm,
    },
    Step { name: "verifiers", packages: &[packages::SUITES, packages::VERIFIERS], run: browsers::verify },
];

/// The steps' names, in their order.
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Runs the steps of these names, or all. True if nothing failed.
pub(crate) fn test(only: &[&str]) -> Result<bool> {
    if let Some(unknown) = only.iter().find(|name| !names().contains(name)) {
        return Err(format!("no step {unknown}; there are: {}", names().join(" ")));
    }
    let chosen: Vec<&Step> =
        STEPS.iter().filter(|step| only.is_empty() || only.contains(&step.name)).collect();
    let mut wanted: Vec<&str> = chosen.iter().flat_map(|step| step.packages.concat()).collect();
    wanted.sort_unstable();
    wanted.dedup();
    packages::ensure(&wanted)?;

    let done: Vec<_> = chosen.iter().map(|step| run_step(step)).collect();
    let mut total = Tally::default();
    println!(
        "\n{:<10} {:<7} {:>7} {:>7} {:>8} {:>8}",
        "step", "result", "passed", "failed", "skipped", "seconds"
    );
    for (name, tally, time) in done {
        let result = if tally.failed == 0 { "ok" } else { "FAILED" };
        let Tally { passed, failed, skipped } = tally;
        println!("{name:<10} {result:<7} {passed:>7} {failed:>7} {skipped:>8} {:>8.1}", time.as_secs_f32());
        total.passed += passed;
        total.failed += failed;
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.failed == 0)
}

fn run_step(step: &Step) -> (&'static str, Tally, Duration) {
    println!("\n== {}", step.name);
    let start = Instant::now();
    let mut tally = Tally::default();
    let good = (step.run)(&mut tally).unwrap_or_else(|why| {
        println!("{}: {why}", step.name);
        false
    });
    // A step without tests of its own is one check; one that broke off is a failure that nothing else counts.
    if good && tally == Tally::default() {
        tally.passed = 1;
    } else if !good && tally.failed == 0 {
        tally.failed = 1;
    }
    println!("== {} took {:.1} s", step.name, start.elapsed().as_secs_f32());
    (step.name, tally, start.elapsed())
}

fn fmt(_: &mut Tally) -> Result<bool> {
    packages::ensure_component("rustfmt", "fmt")?;
    run::succeeds(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy(_: &mut Tally) -> Result<bool> {
    packages::ensure_component("clippy", "clippy")?;
    let scope =
        ["clippy", "--locked", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    run::succeeds(&mut cargo(&scope))
}

fn docs(_: &mut Tally) -> Result<bool> {
    let page_is_true = conformance::check()?;
    let scope = ["doc", "--locked", "--workspace", "--no-deps"];
    Ok(run::succeeds(cargo(&scope).env("RUSTDOCFLAGS", "-Dwarnings"))? && page_is_true)
}

fn unit(tally: &mut Tally) -> Result<bool> {
    let scope = ["--workspace", "--exclude", "brasskey-tests", "--exclude", "brasskey-iam-console"];
    let mut test = cargo(&["test", "--locked", "--no-fail-fast"]);
    test.args(scope);
    run::watch(&mut test, |line| tally.see_cargo_test(line))
}

fn blackbox(tally: &mut Tally) -> Result<bool> {
    build_key()?;
    let packages = ["-p", "brasskey-tests", "-p", "brasskey-iam-console"];
    let mut test = cargo(&["test", "--locked", "--no-fail-fast"]);
    test.args(packages);
    run::watch(test.env("BRASSKEY_BIN", binary("brasskey")), |line| tally.see_cargo_test(line))
}

/// Every board's image, with warnings as errors and within the budget, and the tests of what the boards share.
fn firmware_images(tally: &mut Tally) -> Result<bool> {
    packages::ensure_component("rustfmt", "fmt")?;
    packages::ensure_component("clippy", "clippy")?;
    firmware::run(None)?;
    let mut good = true;
    for mut check in firmware::host_checks() {
        good &= run::watch(&mut check, |line| tally.see_cargo_test(line))?;
    }
    Ok(good)
}

/// The tests from outside on the emulated board, and what they cost it.
fn board(tally: &mut Tally) -> Result<bool> {
    build_key()?;
    board::run(tally)
}

fn python_suites(tally: &mut Tally) -> Result<bool> {
    build_key()?;
    suites::run(tally)
}

fn device_suite(tally: &mut Tally) -> Result<bool> {
    build_key()?;
    device::run(tally)
}

fn vm(tally: &mut Tally) -> Result<bool> {
    build_key()?;
    run::must(&mut cargo(&[
        "build",
        "--locked",
        "-p",
        "brasskey-tests",
        "-p",
        "brasskey-iam-console",
        "--bins",
    ]))?;
    // The guest script that plugs the emulated board in finds its firmware beside the programs.
    let elf = firmware::emulated()?;
    let beside = binary("qemu-mps2.elf");
    std::fs::copy(&elf, &beside).map_err(|error| format!("{}: {error}", beside.display()))?;
    let mut rig = Command::new(root().join("tests/vm/run"));
    rig.arg(target().join("debug")).env("BRASSKEY_VM_DIR", target().join("vm"));
    let good = run::watch(&mut rig, |line| tally.see_check(line))?;
    browsers::print_options();
    Ok(good)
}

/// The program itself, which the tests outside of it run.
fn build_key() -> Result<()> {
    run::must(&mut cargo(&["build", "--locked", "-p", "brasskey"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_counted() {
        let mut tally = Tally::default();
        tally.see_cargo_test(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        );
        tally
            .see_cargo_test("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.see_cargo_test("test other::test result: ok");
        assert_eq!(tally, Tally { passed: 15, failed: 2, skipped: 1 });
    }

    #[test]
    fn lines_of_scripts_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "ok enumerates",
            "FAILED signs: no answer",
            "skipped browser: no chromium",
            "okay then",
            "2 passed",
        ] {
            tally.see_check(line);
        }
        assert_eq!(tally, Tally { passed: 1, failed: 1, skipped: 1 });
    }
}
