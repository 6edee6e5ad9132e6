//! Hands each binary its linker scripts.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for script in ["dongle.x", "dk.x", "store.x"] {
        fs::copy(script, out.join(script)).expect("OUT_DIR can be written to");
        println!("cargo:rerun-if-changed={script}");
    }
    // cortex-m-rt's link.x includes a memory.x. Each binary has a layout of its own, given before it.
    fs::write(out.join("memory.x"), "/* See the binary's own script. */\n")
        .expect("OUT_DIR can be written to");
    println!("cargo:rustc-link-search={}", out.display());
    for (binary, script) in [("nrf52840-dongle", "dongle.x"), ("nrf52840-dk", "dk.x")] {
        for script in [script, "store.x", "link.x"] {
            println!("cargo:rustc-link-arg-bin={binary}=-T{script}");
        }
    }
}
