//! `cargo xtask demo` and `cargo xtask test`: the two commands that a newcomer needs.
//!
//! Each installs what the machine lacks after saying so, and then does its work. Nothing here has a dependency, so
//! that it builds at once on a bare machine.

mod demo;
mod licences;
mod packages;
mod report;
mod run;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  demo            plug a key in, register it with a web site, sign in twice
  test [STEP…]    run every test, or only the named steps:
                  ";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words = arguments.iter().map(String::as_str);
    match words.next() {
        Some("demo") if words.len() == 0 => demo::demo(),
        Some("test") => test::test(&words.collect::<Vec<_>>()),
        _ => {
            eprintln!("{USAGE}{}", test::names().join(" "));
            ExitCode::from(2)
        }
    }
}
