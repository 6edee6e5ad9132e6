//! The Python suites: verifiers that share nothing with us, on a key that serves over TCP.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::steps::Tally;
use crate::{Result, binary, root, run, target};

/// Runs them all on the program that was built. True if they ended well.
pub(crate) fn run(tally: &mut Tally) -> Result<bool> {
    let folder = root().join("tests/suites");
    let python = environment(&folder)?;
    let mut good = true;
    for attestation in ["packed", "self", "none"] {
        let key = Served::start(&["--presence", "auto", "--attestation", attestation])?;
        let mut judges = Command::new(&python);
        judges.arg(folder.join("judges.py")).args([attestation, &key.address]);
        judges.env("PYTHONDONTWRITEBYTECODE", "1");
        good &= run::watch(&mut judges, |line| tally.see_check(line))?;
    }
    Ok(good)
}

/// A virtual environment with the pinned packages, made anew when the pins change. Returns its Python.
pub(crate) fn environment(folder: &Path) -> Result<PathBuf> {
    let failed = |error: std::io::Error| format!("the Python environment: {error}");
    let pins = std::fs::read(folder.join("requirements.txt")).map_err(failed)?;
    let environment = target().join("suites");
    let python = environment.join("bin/python");
    let stamp = environment.join("installed.txt");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == pins) {
        return Ok(python);
    }
    run::must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let pip = ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "-r"];
    run::must(Command::new(&python).args(pip).arg(folder.join("requirements.txt")))?;
    std::fs::write(stamp, pins).map_err(failed)?;
    Ok(python)
}

/// A key in memory, until dropped.
pub(crate) struct Served {
    child: Child,
    /// The USB/IP server's, ADDRESS:PORT.
    pub(crate) address: String,
    /// The test control's, a URL; empty without it.
    pub(crate) control: String,
}

impl Served {
    /// Starts the program with these options, and waits until it is ready.
    pub(crate) fn start(options: &[&str]) -> Result<Self> {
        let program = binary("brasskey");
        let mut command = Command::new(&program);
        command.args(["run", "--image", ":memory:", "--listen", "127.0.0.1:0"]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let stdout = child.stdout.take();
        let mut served = Self { child, address: String::new(), control: String::new() };
        for line in stdout
            .into_iter()
            .flat_map(|stdout| BufReader::new(stdout).lines())
            .map_while(std::io::Result::ok)
        {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["usbip", address, "bus", _] => served.address = address.into(),
                ["control", url] => served.control = url.into(),
                ["ready"] if !served.address.is_empty() => return Ok(served),
                _ => break,
            }
        }
        Err("brasskey run did not say that it is ready".into())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
