//! The licences of everything that is linked or run to build, against the list in `deny.toml`.
//!
//! cargo-deny does this and more, and is used where it is installed. It is not installed for the purpose: compiling
//! it on every fresh machine is a high price for a list that `cargo tree` prints as well.

use std::collections::BTreeSet;

use crate::run::cargo;
use crate::{Result, packages, root, run};

/// What is linked for a computer, and what for a microcontroller.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "firmware/Cargo.toml"];

/// Checks them. True if all are allowed.
pub(crate) fn check() -> Result<bool> {
    if packages::exists("cargo-deny") {
        let mut good = true;
        for manifest in WORKSPACES {
            let deny = ["deny", "--workspace", "--manifest-path", manifest];
            let check = ["check", "--config", "deny.toml", "bans", "licenses", "sources"];
            good &= run::succeeds(cargo(&deny).args(check))?;
        }
        return Ok(good);
    }
    let deny = read("deny.toml")?;
    let allowed = allowed(&deny);
    if allowed.is_empty() {
        return Err("deny.toml allows no licence: is its `allow` list still one licence a line?".into());
    }
    let arguments = [
        "--workspace",
        "--edges=normal,build,dev",
        "--target=all",
        "--all-features",
        "--prefix=none",
        "--locked",
    ];
    let mut tree = String::new();
    for manifest in WORKSPACES {
        let command = ["tree", "--format={p}|{l}", "--manifest-path", manifest];
        tree.push_str(&run::output(cargo(&command).args(arguments))?);
    }
    // A package that stands in the tree again ends in ` (*)`.
    let all: BTreeSet<&str> =
        tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    let mut good = true;
    for line in &all {
        let (package, licence) = line.rsplit_once('|').unwrap_or((line, ""));
        if !permits(licence, &allowed) {
            println!("{package}: licence {licence:?} is not on the list in deny.toml");
            good = false;
        }
    }
    for manifest in WORKSPACES {
        let lock = manifest.replace(".toml", ".lock");
        for line in read(&lock)?.lines().filter(|line| line.starts_with("source = \"git+")) {
            println!("{lock}: a package from outside the registry: {line}");
            good = false;
        }
    }
    println!("{} packages", all.len());
    Ok(good)
}

fn read(name: &str) -> Result<String> {
    std::fs::read_to_string(root().join(name)).map_err(|error| format!("{name}: {error}"))
}

/// The `allow` list of deny.toml's section on licences, a licence a line.
fn allowed(deny: &str) -> BTreeSet<&str> {
    let list = deny
        .lines()
        .skip_while(|line| line.trim() != "[licenses]")
        .skip_while(|line| line.trim() != "allow = [");
    list.skip(1).take_while(|line| line.trim() != "]").filter_map(|line| line.split('"').nth(1)).collect()
}

/// Does an SPDX expression leave a choice that is allowed? `/` is what old packages write for OR.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    either(&mut rest, allowed) && rest.is_empty()
}

fn either(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut good = both(rest, allowed);
    while let Some(after) = rest.strip_prefix(&["OR"]) {
        *rest = after;
        // No short cut: the words have to be read in any case.
        good |= both(rest, allowed);
    }
    good
}

fn both(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    let mut good = one(rest, allowed);
    while let Some(after) = rest.strip_prefix(&["AND"]) {
        *rest = after;
        good &= one(rest, allowed);
    }
    good
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<&str>) -> bool {
    match **rest {
        ["(", ref after @ ..] => {
            *rest = after;
            let good = either(rest, allowed);
            match rest.strip_prefix(&[")"]) {
                Some(after) => *rest = after,
                None => return false,
            }
            good
        }
        [licence, "WITH", exception, ref after @ ..] => {
            *rest = after;
            allowed.contains(format!("{licence} WITH {exception}").as_str())
        }
        [licence, ref after @ ..] => {
            *rest = after;
            allowed.contains(licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let deny = "[bans]\nallow = [\n  \"GPL\",\n]\n[licenses]\n# why\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\nother = 1\n";
        assert_eq!(allowed(deny), BTreeSet::from(["ISC", "MIT"]));
    }

    #[test]
    fn expressions_are_understood() {
        let allowed = BTreeSet::from(["MIT", "Unicode-3.0"]);
        for good in
            ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(GPL-3.0 OR MIT) AND Unicode-3.0", "A WITH B OR MIT"]
        {
            assert!(permits(good, &allowed), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT WITH X", "(MIT", "MIT)", "MIT OR", "MIT MIT"] {
            assert_eq!(permits(bad, &allowed), bad == "MIT OR", "{bad}");
        }
    }
}
