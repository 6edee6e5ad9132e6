//! The emulated board: the black-box tests on it, and what each command costs there.
//!
//! The firmware measures itself, and `brasskey run --measurements` writes a line for each command that it carried out.
//! So a command that is added later, and tested from outside, is in the table by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::cargo;
use crate::steps::Tally;
use crate::{Result, binary, firmware, packages, run, target};

/// Tests of what the board does not offer, by a part of their names: a fingerprint sensor, ML-DSA, the profile of CTAP
/// 2.1, enterprise attestation, a clock and a finger that a test moves.
const NOT_OFFERED: [&str; 5] = [
    "s6_7_bio_enrollment",
    "post_quantum_algorithms_where_they_are_offered",
    "a_profile_for_platforms_that_know_no_more_than_2_1",
    "s6_11_config::enterprise",
    "the_key_does_not_wait_for_ever",
];

/// Runs the tests and measures. True if nothing failed.
pub(crate) fn run(tally: &mut Tally) -> Result<bool> {
    let elf = firmware::emulated()?;
    let measurements = fresh("board.txt")?;
    let arguments = format!("--firmware {} --measurements {}", words(&elf)?, words(&measurements)?);
    let mut test = cargo(&["test", "--locked", "--no-fail-fast", "-p", "brasskey-tests", "--tests", "--"]);
    for name in NOT_OFFERED {
        test.args(["--skip", name]);
    }
    test.env("BRASSKEY_BIN", binary("brasskey")).env("BRASSKEY_RUN_ARGS", arguments);
    let mut good = run::watch(&mut test, |line| tally.see_cargo_test(line))?;

    let budget = firmware::stack_budget()?;
    println!("\nThe stack on the board, interrupts included; {budget} bytes are allowed:");
    println!("{:>8} {:>8}  command", "bytes", "times");
    let table = Costs::read(&measurements)?;
    if table.0.is_empty() {
        return Err("the board measured nothing".into());
    }
    for (name, cost) in table.by_stack() {
        let over = cost.stack > budget;
        println!("{:>8} {:>8}  {name}{}", cost.stack, cost.times, if over { "  TOO DEEP" } else { "" });
        tally.see_check(&if over { format!("FAILED {name}: too deep") } else { format!("ok {name}") });
        good &= !over;
    }
    println!();
    count_instructions(&elf)?;
    Ok(good)
}

/// `cargo xtask bench --board`.
pub(crate) fn bench() -> Result<()> {
    packages::ensure(&[packages::BUILD, packages::FIRMWARE, packages::BOARD].concat())?;
    run::must(&mut cargo(&["build", "--locked", "-p", "brasskey"]))?;
    count_instructions(&firmware::emulated()?)
}

/// One SysTick cycle of 40 ns, in instructions of one nanosecond (`-icount shift=0`).
const INSTRUCTIONS: u64 = 40;

/// A life of a key with the emulator's clock counting instructions.
fn count_instructions(elf: &Path) -> Result<()> {
    let measurements = fresh("instructions.txt")?;
    run::must(&mut cargo(&["build", "--locked", "-p", "brasskey-tests", "--bin", "demo"]))?;
    let arguments =
        format!("--firmware {} --measurements {} --count-instructions", words(elf)?, words(&measurements)?);
    let mut demo = std::process::Command::new(binary("demo"));
    run::must(demo.env("BRASSKEY_BIN", binary("brasskey")).env("BRASSKEY_RUN_ARGS", arguments))?;
    let costs = Costs::read(&measurements)?;
    let instructions = |command: u8| {
        let cost = costs.0.get(&(command, 0)).ok_or(format!("the board did not measure {command:#04x}"))?;
        Ok::<_, String>(cost.cycles * INSTRUCTIONS)
    };
    let (generation, signature) = (instructions(KEY_GENERATION)?, instructions(SIGNATURE)?);
    println!("\nInstructions on the board, the wait for a touch left out:");
    println!("{:>14}  bare P-256 key generation", grouped(generation));
    println!("{:>14}  bare P-256 signature", grouped(signature));
    for (command, bare) in [(0x01, generation + signature), (0x02, signature)] {
        let all = instructions(command)?;
        let extra = all.saturating_sub(bare);
        let percent = extra * 100 / all.max(1);
        println!(
            "{:>14}  {}, {} ({percent} %) more than its cryptography",
            grouped(all),
            name(command, 0),
            grouped(extra)
        );
    }
    println!("{:>14}  {}", grouped(instructions(0x04)?), name(0x04, 0));
    Ok(())
}

/// Thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A file of measurements that is not there yet.
fn fresh(name: &str) -> Result<PathBuf> {
    let path = target().join("firmware").join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(path),
    }
}

/// A path for `BRASSKEY_RUN_ARGS`, whose words are apart by spaces.
fn words(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    if text.contains(char::is_whitespace) {
        return Err(format!(
            "{text}: the tests on the board need a target folder without a space in its name"
        ));
    }
    Ok(text)
}

/// The largest that a command cost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Cost {
    stack: u32,
    /// The fewest: an interrupt or a flash that has to tidy up only adds.
    cycles: u64,
    times: u32,
}

/// What each command and subcommand cost.
struct Costs(BTreeMap<(u8, u8), Cost>);

impl Costs {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut costs = BTreeMap::new();
        for line in text.lines() {
            let fields = parse(line).ok_or(format!("{}: no measurement: {line}", path.display()))?;
            let (command, subcommand, stack, cycles) = fields;
            let cost: &mut Cost = costs.entry((command, subcommand)).or_default();
            cost.stack = cost.stack.max(stack);
            cost.cycles = if cost.times == 0 { cycles } else { cost.cycles.min(cycles) };
            cost.times += 1;
        }
        Ok(Self(costs))
    }

    /// Deepest first.
    fn by_stack(&self) -> Vec<(String, Cost)> {
        let mut rows: Vec<_> =
            self.0.iter().map(|(&(command, subcommand), &cost)| (name(command, subcommand), cost)).collect();
        rows.sort_by(|a, b| b.1.stack.cmp(&a.1.stack).then_with(|| a.0.cmp(&b.0)));
        rows
    }
}

fn parse(line: &str) -> Option<(u8, u8, u32, u64)> {
    let mut fields = line.split(' ');
    let mut byte = || u8::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok();
    let (command, subcommand) = (byte()?, byte()?);
    Some((command, subcommand, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// `brasskey-board-wire`'s numbers for what is no command.
const BOOT: u8 = 0xE0;
const U2F: u8 = 0xE1;
const KEY_GENERATION: u8 = 0xE2;
const SIGNATURE: u8 = 0xE3;
const WINK: u8 = 0xE4;

/// A command that has no name here is shown by its number.
fn name(command: u8, subcommand: u8) -> String {
    let name = match command {
        0x01 => "makeCredential",
        0x02 => "getAssertion",
        0x04 => "getInfo",
        0x06 => "clientPIN",
        0x07 => "reset",
        0x08 => "getNextAssertion",
        0x09 | 0x40 => "bioEnrollment",
        0x0A | 0x41 => "credentialManagement",
        0x0B => "selection",
        0x0C => "largeBlobs",
        0x0D => "config",
        BOOT => "(power-up)",
        U2F => "U2F",
        KEY_GENERATION => "(bare P-256 key generation)",
        SIGNATURE => "(bare P-256 signature)",
        WINK => "wink",
        _ => return format!("{command:#04x}"),
    };
    if subcommand == 0 { name.into() } else { format!("{name} {subcommand:#04x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_are_read() {
        assert_eq!(parse("0x06 0x09 12345 67"), Some((6, 9, 12_345, 67)));
        for bad in ["", "0x06", "6 9 1 1", "0x06 0x09 x 1", "0x06 0x09 1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(name(0x06, 0x09), "clientPIN 0x09");
        assert_eq!(name(0x3F, 0), "0x3f");
        assert_eq!([0, 999, 1000, 10_800_000].map(grouped), ["0", "999", "1 000", "10 800 000"]);
    }
}
