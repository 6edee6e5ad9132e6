//! `cargo xtask demo`: builds the key and shows it at work.

use std::process::Command;

use crate::run::cargo;
use crate::{Result, binary, packages, run};

pub(crate) fn run() -> Result<()> {
    packages::ensure(packages::BUILD)?;
    run::must(&mut cargo(&["build", "--locked", "-p", "brasskey"]))?;
    run::must(&mut cargo(&["build", "--locked", "-p", "brasskey-tests", "--bin", "demo"]))?;
    println!();
    run::must(Command::new(binary("demo")).env("BRASSKEY_BIN", binary("brasskey")))
}
