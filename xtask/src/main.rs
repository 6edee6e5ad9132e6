//! `cargo xtask demo`, `console`, `test` and `firmware`: everything there is to do with a fresh clone.
//!
//! Only the standard library, so that it builds at once on a machine that has nothing but Rust.
#![forbid(unsafe_code)]

mod board;
mod browsers;
mod conformance;
mod console;
mod demo;
mod device;
mod elf;
mod firmware;
mod licences;
mod packages;
mod run;
mod steps;
mod suites;
mod uf2;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask demo                     show a key that registers with a web site and signs in
       cargo xtask console                  serve a stand-in of the IAM console, to register a key there
       cargo xtask test [STEP…]             run all tests, or only these steps
       cargo xtask suite python-fido2       run python-fido2's device suite: the step device
       cargo xtask conformance              make docs/conformance.md of what the conformance tests say
       cargo xtask firmware [--board NAME]  build the boards' images, or one, and print their sizes
       cargo xtask bench --board            count what commands cost on the emulated board";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["firmware"] => firmware::run(None).map(|()| true),
        ["firmware", "--board", name] => firmware::run(Some(name)).map(|()| true),
        ["bench", "--board"] => board::bench().map(|()| true),
        ["demo"] => demo::run().map(|()| true),
        ["console"] => console::run().map(|()| true),
        ["test", ref names @ ..] => steps::test(names),
        ["conformance"] => conformance::write().map(|()| true),
        ["suite", "python-fido2"] => steps::test(&["device"]),
        _ => {
            eprintln!("{USAGE}\nsteps: {}", steps::names().join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, in one line for the user.
type Result<T> = std::result::Result<T, String>;

/// The top of the repository.
fn root() -> &'static Path {
    // This package is one folder down; cargo sets the variable when it compiles.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    // A relative path in the variable is relative to where cargo was started, which is where we still are.
    let named = std::env::var_os("CARGO_TARGET_DIR").and_then(|path| std::path::absolute(path).ok());
    named.unwrap_or_else(|| root().join("target"))
}

/// A program of this workspace, as a debug build leaves it.
fn binary(name: &str) -> PathBuf {
    target().join("debug").join(name)
}
