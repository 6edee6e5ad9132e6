//! python-fido2's device suite, written by others for real keys, on ours: `tests/device` in its source distribution.
//!
//! The key is served over TCP, the suite drives it through a USB host in user space (`tests/suites/device_suite.py`),
//! and touches and unplugs it through the key's own test control. What need not pass is in
//! `tests/suites/expected.toml`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::steps::Tally;
use crate::suites::{Served, environment};
use crate::{Result, root, run, target};

/// Keys that differ in what they offer: a name for the list, the key's options, the suite's.
const MODELS: &[(&str, &[&str], &[&str])] = &[
    ("plain", &[], &[]),
    (
        "full",
        &["--fingerprint", "--algorithms", "post-quantum", "--enterprise", "enterprise.example"],
        &["--ep-rp-id", "enterprise.example"],
    ),
    ("2.1", &["--profile", "2.1"], &[]),
];

/// The suite's folder in the archive.
const ARCHIVE: &str = "fido2-2.2.1";

/// Runs it on each model of the key. True if all did what was expected.
pub(crate) fn run(tally: &mut Tally) -> Result<bool> {
    let folder = root().join("tests/suites");
    let python = environment(&folder)?;
    let suite = source(&folder, &python)?;
    let mut good = true;
    for (model, key_options, suite_options) in MODELS {
        let control = ["--test-control", "--http", "127.0.0.1:0", "--presence", "ask"];
        let key = Served::start(&[&control, *key_options].concat())?;
        let report = target().join(format!("device-{model}.txt"));
        // A report of an earlier run is not this one's.
        std::fs::write(&report, "").map_err(|error| format!("{}: {error}", report.display()))?;
        let mut pytest = Command::new(&python);
        pytest.args(["-m", "pytest", "-p", "device_suite", "-p", "no:cacheprovider", "-q", "--tb=short"]);
        pytest.args(["--usbip", &key.address, "--controller", &key.control, "--pico-port", "1"]);
        pytest.args(["--model", model, "--report"]).arg(&report).args(*suite_options).arg("tests/device");
        pytest.current_dir(&suite).env("PYTHONPATH", &folder).env("PYTHONDONTWRITEBYTECODE", "1");
        // What else a developer has set for pytest is for other suites.
        pytest.env_remove("PYTEST_ADDOPTS").env_remove("PYTEST_PLUGINS");
        let ended_well = run::succeeds(&mut pytest)?;
        let lines =
            std::fs::read_to_string(&report).map_err(|error| format!("{}: {error}", report.display()))?;
        println!("python-fido2 on the model {model}:");
        for line in lines.lines() {
            tally.see_check(line);
            // What passed is in the report, and a number in the summary.
            if !line.starts_with("ok ") {
                println!("{line}");
            }
        }
        if !ended_well && !lines.lines().any(|line| line.starts_with("FAILED ")) {
            return Err(format!("the suite broke off on the model {model}"));
        }
        good &= ended_well;
    }
    Ok(good)
}

/// The unpacked source distribution, fetched once for each pin.
fn source(folder: &Path, python: &Path) -> Result<PathBuf> {
    let failed = |error: std::io::Error| format!("python-fido2's source: {error}");
    let pin = folder.join("device-suite.txt");
    let pinned = std::fs::read(&pin).map_err(failed)?;
    let place = target().join("device-suite");
    let (source, stamp) = (place.join(ARCHIVE), place.join("fetched.txt"));
    if std::fs::read(&stamp).is_ok_and(|fetched| fetched == pinned) {
        return Ok(source);
    }
    if place.exists() {
        std::fs::remove_dir_all(&place).map_err(failed)?;
    }
    let download = ["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"];
    let mut pip = Command::new(python);
    pip.args(download).args(["--no-deps", "--no-binary", "fido2", "--require-hashes", "--dest"]).arg(&place);
    run::must(pip.arg("-r").arg(&pin))?;
    let mut unpack = Command::new(python);
    unpack.args(["-m", "tarfile", "--filter", "data", "-e"]).arg(place.join(format!("{ARCHIVE}.tar.gz")));
    run::must(unpack.arg(&place))?;
    std::fs::write(stamp, pinned).map_err(failed)?;
    Ok(source)
}
