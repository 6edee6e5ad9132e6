//! What the browsers left behind in the virtual machine: the table of WebAuthn options, and their ceremonies, which
//! verifiers that share nothing with us have to judge.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::steps::Tally;
use crate::{Result, packages, root, run, suites, target};

const BROWSERS: [&str; 2] = ["chromium", "firefox"];

/// SimpleWebAuthn needs it.
const NODE: u32 = 20;

/// Where the guest's script leaves its files.
fn folder() -> PathBuf {
    target().join("vm/out/guest-browser")
}

/// Prints a row for each combination of options, a column for each browser.
pub(crate) fn print_options() {
    let mut table: BTreeMap<String, [String; 2]> = BTreeMap::new();
    for (column, browser) in BROWSERS.iter().enumerate() {
        let text = std::fs::read_to_string(folder().join(format!("options-{browser}.txt")));
        for line in text.unwrap_or_default().lines() {
            // PIN | user verification | attestation | discoverable | algorithms | what came of it
            if let Some((options, result)) = line.rsplit_once(" | ") {
                table.entry(options.into()).or_default()[column] = result.into();
            }
        }
    }
    if table.is_empty() {
        return;
    }
    println!("\n| key | user verification | attestation | discoverable | algorithms | Chromium | Firefox |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (options, [chromium, firefox]) in table {
        println!("| {options} | {chromium} | {firefox} |");
    }
}

/// Has the verifiers judge the recorded ceremonies. True if they ended well.
pub(crate) fn verify(tally: &mut Tally) -> Result<bool> {
    let files: Vec<PathBuf> = BROWSERS
        .iter()
        .map(|browser| folder().join(format!("ceremonies-{browser}.jsonl")))
        .filter(|file| file.exists())
        .collect();
    if files.len() < BROWSERS.len() {
        return Err("the browsers have recorded nothing yet; run the step vm first".into());
    }
    let scripts = root().join("tests/browser/verifiers");
    let mut python = Command::new(suites::environment(&root().join("tests/suites"))?);
    python.arg(scripts.join("verify.py")).args(&files).env("PYTHONDONTWRITEBYTECODE", "1");
    let good = run::watch(&mut python, |line| tally.see_check(line))?;
    Ok(simple_webauthn(tally, &files)? && good)
}

/// SimpleWebAuthn, in a folder of its own under target/, by the versions of package-lock.json.
fn simple_webauthn(tally: &mut Tally, files: &[PathBuf]) -> Result<bool> {
    // Not by package alone: where Node comes from elsewhere, npm is a part of it.
    if !packages::exists("node") || !packages::exists("npm") {
        packages::ensure(&["nodejs", "npm"])?;
    }
    let version = run::output(Command::new("node").arg("--version"))?;
    let major = version.trim().trim_start_matches('v').split('.').next().unwrap_or_default().parse();
    if major.is_ok_and(|major: u32| major < NODE) {
        let line = format!("skipped simplewebauthn: it needs Node {NODE}, this is {}", version.trim());
        println!("{line}");
        tally.see_check(&line);
        return Ok(true);
    }
    let place = target().join("verifiers");
    let failed = |error: std::io::Error| format!("{}: {error}", place.display());
    std::fs::create_dir_all(&place).map_err(failed)?;
    for name in ["package.json", "package-lock.json", "verify.mjs"] {
        std::fs::copy(root().join("tests/browser/verifiers").join(name), place.join(name)).map_err(failed)?;
    }
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"]);
    run::must(install.current_dir(&place))?;
    let mut node = Command::new("node");
    node.arg("verify.mjs").args(files).current_dir(&place);
    run::watch(&mut node, |line| tally.see_check(line))
}
