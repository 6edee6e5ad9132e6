//! Running other programs. None of them gets a standard input: nothing here may wait for an answer.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::{Result, root};

/// cargo, the one that runs us, at the top of the repository.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs a command. True if it ended well.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    println!("$ {}", describe(command));
    let status = command.stdin(Stdio::null()).status();
    status.map(|status| status.success()).map_err(|error| format!("{}: {error}", describe(command)))
}

/// Runs a command that must end well.
pub(crate) fn must(command: &mut Command) -> Result<()> {
    if succeeds(command)? { Ok(()) } else { Err(format!("`{}` failed", describe(command))) }
}

/// Runs a command that must end well, and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{}: {error}", describe(command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed", describe(command)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command whose lines pass through to the terminal and to `see`. True if it ended well.
pub(crate) fn watch(command: &mut Command, mut see: impl FnMut(&str)) -> Result<bool> {
    let name = describe(command);
    println!("$ {name}");
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        // In bytes: a test may print what is no UTF-8.
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            see(text.trim_end());
            line.clear();
        }
    }
    child.wait().map(|status| status.success()).map_err(|error| format!("{name}: {error}"))
}
