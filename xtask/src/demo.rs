//! `cargo xtask demo`.

use std::process::ExitCode;

use crate::packages;
use crate::run::{cargo, succeeds};

/// Builds the key and shows it at work.
pub(crate) fn demo() -> ExitCode {
    let shown = packages::for_building()
        && succeeds(&mut cargo(&["build", "--quiet", "--package", "brasskey"]))
        && succeeds(&mut cargo(&["run", "--quiet", "--package", "brasskey-tests", "--bin", "demo"]));
    if shown { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
