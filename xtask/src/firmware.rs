//! `cargo xtask firmware`: the compiler for microcontrollers, the boards' images, and their sizes.
//!
//! The target comes from rustup where rustup has it. Where it cannot be had, Debian's own compiler makes the core
//! library for it once and builds with that; it stands beside rustup's and does not disturb it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::elf::Elf;
use crate::{Result, packages, root, run, target, uf2};

/// A board, and how its image is handed to it.
pub(crate) struct Board {
    pub(crate) name: &'static str,
    package: &'static str,
    target: &'static str,
    image: Image,
}

enum Image {
    /// QEMU takes the ELF file.
    Elf,
    /// Intel HEX, for a debugger or for nrfutil.
    Hex,
    /// UF2 for a boot loader that is a USB drive, and this family of chips.
    Uf2(u32),
}

pub(crate) const BOARDS: &[Board] = &[
    Board { name: "qemu-mps2", package: "brasskey-qemu-mps2", target: CORTEX_M4, image: Image::Elf },
    Board { name: "nrf52840-dongle", package: "brasskey-nrf52840", target: CORTEX_M4, image: Image::Hex },
    Board { name: "nrf52840-dk", package: "brasskey-nrf52840", target: CORTEX_M4, image: Image::Hex },
    Board { name: "pico2", package: "brasskey-rp2350", target: CORTEX_M33, image: Image::Uf2(RP2350_ARM) },
];

const CORTEX_M4: &str = "thumbv7em-none-eabihf";
const CORTEX_M33: &str = "thumbv8m.main-none-eabihf";

/// The boot loader's name for its chip: RP2350, Arm, secure (RP2350 datasheet §5.5.3).
const RP2350_ARM: u32 = 0xE48B_FF59;

/// The board that the tests run on.
pub(crate) const EMULATED: &str = "qemu-mps2";

/// `cargo xtask firmware [--board NAME]`.
pub(crate) fn run(board: Option<&str>) -> Result<()> {
    let chosen: Vec<&Board> =
        BOARDS.iter().filter(|known| board.is_none_or(|name| name == known.name)).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = BOARDS.iter().map(|board| board.name).collect();
        return Err(format!("no board {}; there are: {}", board.unwrap_or_default(), names.join(" ")));
    }
    packages::ensure(&[packages::BUILD, packages::FIRMWARE].concat())?;
    let budget = Budget::read()?;
    let mut over = Vec::new();
    for board in chosen {
        let elf = build(board)?;
        let image = board.write_image(&elf)?;
        println!("\n{}: {}", board.name, image.display());
        if !report(&elf, &budget)? {
            over.push(board.name);
        }
    }
    if over.is_empty() {
        return Ok(());
    }
    Err(format!("over the budget in firmware/budget.toml: {}", over.join(" ")))
}

/// Builds the emulated board. Returns its ELF file.
pub(crate) fn emulated() -> Result<PathBuf> {
    let board = BOARDS.iter().find(|board| board.name == EMULATED).ok_or("the emulated board is gone")?;
    build(board)
}

fn folder() -> PathBuf {
    root().join("firmware")
}

/// Builds a board. Returns its ELF file.
fn build(board: &Board) -> Result<PathBuf> {
    let mut cargo = Toolchain::find(board.target)?.cargo(board.target);
    let out = target().join("firmware");
    cargo.args(["build", "--locked", "--release", "--target", board.target]);
    // By the package: what another board asks of a crate is not asked of it for this one.
    cargo
        .args(["--package", board.package, "--bin", board.name])
        .arg("--target-dir")
        .arg(&out)
        .current_dir(folder());
    run::must(&mut cargo)?;
    Ok(out.join(board.target).join("release").join(board.name))
}

/// The tests of what runs on any machine, with the compiler that runs us.
pub(crate) fn host_checks() -> Vec<Command> {
    let cargo = |arguments: &[&str]| {
        let mut command = run::cargo(arguments);
        command.arg("--manifest-path").arg(folder().join("Cargo.toml"));
        command.env("CARGO_TARGET_DIR", target().join("firmware"));
        command
    };
    let mut fmt = cargo(&["fmt", "--all", "--check"]);
    fmt.current_dir(folder());
    let app = ["-p", "brasskey-firmware-app", "--locked"];
    let mut clippy = cargo(&[&["clippy", "--all-targets"], &app[..]].concat());
    clippy.args(["--", "-D", "warnings"]);
    vec![fmt, clippy, cargo(&[&["test"], &app[..]].concat())]
}

/// Who compiles.
enum Toolchain {
    /// The cargo that runs us.
    Rustup,
    /// Debian's, in `/usr/bin`.
    Debian,
}

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";

impl Toolchain {
    /// Finds or makes a compiler for a target.
    fn find(target: &str) -> Result<Self> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        if has_core(&library(Path::new(&rustc), target)) {
            return Ok(Self::Rustup);
        }
        if debian_is_ready(target) {
            return Ok(Self::Debian);
        }
        if packages::exists("rustup") {
            println!("Installing by rustup: the target {target}");
            if run::succeeds(Command::new("rustup").args(["target", "add", target]))? {
                return Ok(Self::Rustup);
            }
            println!("rustup does not have it; Debian's compiler makes it");
        }
        packages::ensure(packages::DEBIAN_RUST)?;
        if !Path::new(DEBIAN_RUSTC).exists() || !Path::new(DEBIAN_CARGO).exists() {
            return Err(format!(
                "no compiler for {target}: rustup has no such target, and this is no Debian"
            ));
        }
        make_core(target)?;
        Ok(Self::Debian)
    }

    fn cargo(&self, target: &str) -> Command {
        match self {
            Self::Rustup => run::cargo(&[]),
            Self::Debian => {
                let mut cargo = debian_cargo();
                // Debian's package has no linker of its own for bare targets.
                let variable = target.to_uppercase().replace(['-', '.'], "_");
                cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), "ld.lld");
                cargo
            }
        }
    }
}

fn debian_cargo() -> Command {
    let mut cargo = Command::new(DEBIAN_CARGO);
    cargo.env("RUSTC", DEBIAN_RUSTC);
    // What the cargo that runs us has set for its own children.
    for variable in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTDOC"] {
        cargo.env_remove(variable);
    }
    cargo
}

/// Where a compiler has the libraries of a target.
fn library(rustc: &Path, target: &str) -> PathBuf {
    let mut ask = Command::new(rustc);
    ask.args(["--print", "sysroot"]).stdin(Stdio::null()).stderr(Stdio::null());
    let sysroot = ask.output().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Path::new(&sysroot.unwrap_or_default()).join("lib/rustlib").join(target).join("lib")
}

fn has_core(library: &Path) -> bool {
    let Ok(files) = fs::read_dir(library) else { return false };
    files.flatten().any(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.starts_with("libcore-") && name.ends_with(".rlib")
    })
}

/// Beside the libraries: which compiler made them, for no other can use them.
const STAMP: &str = "made-by.txt";

fn debian_version() -> Option<String> {
    let output = Command::new(DEBIAN_RUSTC).arg("-vV").stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn debian_is_ready(target: &str) -> bool {
    let library = library(Path::new(DEBIAN_RUSTC), target);
    let made_by = fs::read_to_string(library.join(STAMP)).ok();
    made_by.is_some() && made_by == debian_version() && has_core(&library)
}

/// Has Debian's compiler make the core library for a target, and keeps it where it looks for it.
fn make_core(triple: &str) -> Result<()> {
    println!("Making the core library for {triple}, once");
    let failed = |error: std::io::Error| format!("the core library: {error}");
    let folder = target().join("core");
    fs::create_dir_all(folder.join("src")).map_err(failed)?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(folder.join("Cargo.toml"), manifest).map_err(failed)?;
    fs::write(folder.join("src/lib.rs"), "#![no_std]\n").map_err(failed)?;
    let mut cargo = debian_cargo();
    // The compiler is a stable one, and building its own library is not; link-time optimisation needs the bitcode.
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Cembed-bitcode=yes").env_remove("CARGO_TARGET_DIR");
    cargo.args(["build", "--release", "-Zbuild-std=core,alloc", "--target", triple, "--target-dir", "out"]);
    run::must(cargo.current_dir(&folder))?;

    let made = folder.join("out").join(triple).join("release/deps");
    let library = library(Path::new(DEBIAN_RUSTC), triple);
    let stamp = folder.join(STAMP);
    fs::write(&stamp, debian_version().unwrap_or_default()).map_err(failed)?;
    let mut files = vec![stamp];
    for file in fs::read_dir(&made).map_err(failed)?.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let wanted = ["libcore-", "liballoc-", "libcompiler_builtins-"];
        if wanted.iter().any(|wanted| name.starts_with(wanted)) && name.ends_with(".rlib") {
            files.push(file.path());
        }
    }
    // Those of an older compiler have other names, and two of one kind confuse it.
    run::must(packages::as_root("rm")?.arg("-rf").arg(&library))?;
    run::must(packages::as_root("mkdir")?.arg("-p").arg(&library))?;
    run::must(packages::as_root("cp")?.args(&files).arg(&library))
}

impl Board {
    /// Writes what is flashed. Returns its path.
    fn write_image(&self, elf: &Path) -> Result<PathBuf> {
        let (extension, bytes) = match self.image {
            Image::Elf => return Ok(elf.to_owned()),
            Image::Hex => ("hex", uf2::intel_hex(&Elf::read(elf)?.segments())),
            Image::Uf2(family) => ("uf2", uf2::uf2(&Elf::read(elf)?.segments(), family)),
        };
        let path = elf.with_extension(extension);
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

/// What firmware may take, in bytes.
struct Budget {
    flash: u32,
    ram: u32,
    stack: u32,
}

impl Budget {
    fn read() -> Result<Self> {
        let path = folder().join("budget.toml");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let number = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split('#').next()?.split_once('='));
            let value =
                lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().replace('_', ""));
            value
                .and_then(|value| value.parse().ok())
                .ok_or(format!("{}: no number `{name}`", path.display()))
        };
        Ok(Self { flash: number("flash")?, ram: number("ram")?, stack: number("stack")? })
    }
}

/// The most stack that a command may take, in bytes.
pub(crate) fn stack_budget() -> Result<u32> {
    Ok(Budget::read()?.stack)
}

/// Prints what an image takes, and what takes most of it. True if that is within the budget.
fn report(elf: &Path, budget: &Budget) -> Result<bool> {
    let elf = Elf::read(elf)?;
    let (flash, ram) = (elf.flash(), elf.ram());
    println!("flash {flash:>7} of {:>7} bytes", budget.flash);
    println!("RAM   {ram:>7} of {:>7} bytes, without the stack", budget.ram);
    let line = |(name, size): (String, u32)| format!("{size:>7} {name}");
    let crates: Vec<String> = elf.crates().into_iter().take(12).map(line).collect();
    println!("most flash:\n{}", crates.join("\n"));
    let statics: Vec<String> = elf.statics().into_iter().take(6).map(line).collect();
    println!("most RAM:\n{}", statics.join("\n"));
    Ok(flash <= budget.flash && ram <= budget.ram)
}
