//! Which licences the dependencies have.
//!
//! `cargo deny` does this better (deny.toml) and is run where it is installed. Compiling it takes longer than all
//! the tests together, so that what always runs is this: each dependency's expression needs an alternative whose
//! parts are all on the list.

use crate::run::{cargo, is_installed, succeeds};

/// The same list as in deny.toml.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// True if every dependency's licence is allowed.
pub(crate) fn check() -> bool {
    let arguments =
        ["tree", "--workspace", "--all-features", "--edges=all", "--prefix=none", "--format={p}\t{l}"];
    let Some(tree) = cargo(&arguments).output().ok().filter(|output| output.status.success()) else {
        eprintln!("cargo tree failed");
        return false;
    };
    let tree = String::from_utf8_lossy(&tree.stdout);
    let mut packages: Vec<(&str, &str)> =
        tree.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('\t')).collect();
    packages.sort_unstable();
    packages.dedup();
    let refused: Vec<_> = packages.iter().filter(|(_, licence)| !is_allowed(licence)).collect();
    for (package, licence) in &refused {
        eprintln!("{package} has the licence {licence:?}, which is not on the list in xtask/src/licences.rs");
    }
    println!("{} packages, {} with a licence that is not allowed", packages.len(), refused.len());
    let deny = || succeeds(&mut cargo(&["deny", "--all-features", "check", "licenses", "bans", "sources"]));
    !packages.is_empty() && refused.is_empty() && (!is_installed("cargo-deny") || deny())
}

/// Does an SPDX expression leave a choice that is allowed? The old `/` means OR; `AND` binds closer than `OR`.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    // Nothing here nests deeper than "(A OR B) AND C": what is in parentheses is decided first.
    if let Some((before, rest)) = expression.split_once('(')
        && let Some((inner, after)) = rest.split_once(')')
    {
        let decided = if is_allowed(inner) { "MIT" } else { "none" };
        return is_allowed(&format!("{before}{decided}{after}"));
    }
    expression.split(" OR ").any(|choice| choice.split(" AND ").all(|part| ALLOWED.contains(&part.trim())))
}

#[cfg(test)]
mod tests {
    use super::is_allowed;

    #[test]
    fn expressions() {
        for allowed in ["MIT", "GPL-3.0-only OR MIT", "MIT/Apache-2.0", "(MIT OR GPL-2.0) AND Unicode-3.0"] {
            assert!(is_allowed(allowed), "{allowed}");
        }
        for refused in ["", "AGPL-3.0-only", "MIT AND GPL-3.0-only", "(GPL-2.0 OR LGPL-3.0) AND MIT"] {
            assert!(!is_allowed(refused), "{refused}");
        }
    }
}
