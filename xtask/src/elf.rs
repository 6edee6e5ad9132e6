//! Just as much of ELF (System V ABI, chapters 4 and 5) as the size of an image takes: 32 bits, little-endian.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::Result;

/// What is flashed: a piece of memory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    pub(crate) address: u32,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Elf {
    bytes: Vec<u8>,
}

struct Section {
    kind: u32,
    flags: u32,
    offset: usize,
    size: u32,
    link: usize,
}

struct Symbol {
    name: String,
    size: u32,
    kind: u8,
}

const LOAD: u32 = 1;
const SYMTAB: u32 = 2;
const NOBITS: u32 = 8;
const WRITE: u32 = 1;
const ALLOC: u32 = 2;
const OBJECT: u8 = 1;
const FUNCTION: u8 = 2;

impl Elf {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if bytes.get(..6) != Some(b"\x7fELF\x01\x01") {
            return Err(format!("{}: no ELF file of 32 bits, little-endian", path.display()));
        }
        Ok(Self { bytes })
    }

    /// Zero outside of the file: such a file has no segments, or empty ones.
    fn word(&self, at: usize) -> u32 {
        self.bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    }

    fn half(&self, at: usize) -> usize {
        self.bytes.get(at..at + 2).map_or(0, |half| usize::from(u16::from_le_bytes([half[0], half[1]])))
    }

    /// What is flashed, by its address in flash.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let (table, size, count) = (self.word(28) as usize, self.half(42), self.half(44));
        let headers = (0..count).map(|index| table + index * size);
        let mut segments: Vec<Segment> = headers
            .filter(|&at| self.word(at) == LOAD)
            .filter_map(|at| {
                let (offset, length) = (self.word(at + 4) as usize, self.word(at + 16) as usize);
                let bytes = self.bytes.get(offset..offset + length)?.to_vec();
                (!bytes.is_empty()).then_some(Segment { address: self.word(at + 12), bytes })
            })
            .collect();
        segments.sort_by_key(|segment| segment.address);
        segments
    }

    fn sections(&self) -> Vec<Section> {
        let (table, size, count) = (self.word(32) as usize, self.half(46), self.half(48));
        let section = |at: usize| Section {
            kind: self.word(at + 4),
            flags: self.word(at + 8),
            offset: self.word(at + 16) as usize,
            size: self.word(at + 20),
            link: self.word(at + 24) as usize,
        };
        (0..count).map(|index| section(table + index * size)).collect()
    }

    /// Code, constants, and the first values of variables, in bytes.
    pub(crate) fn flash(&self) -> u32 {
        let sections = self.sections();
        let kept = sections.iter().filter(|section| section.flags & ALLOC != 0 && section.kind != NOBITS);
        kept.map(|section| section.size).sum()
    }

    /// Variables, in bytes; the stack is not among them.
    pub(crate) fn ram(&self) -> u32 {
        let sections = self.sections();
        let written = sections.iter().filter(|section| section.flags & (ALLOC | WRITE) == ALLOC | WRITE);
        written.map(|section| section.size).sum()
    }

    fn symbols(&self) -> Vec<Symbol> {
        let sections = self.sections();
        let Some(table) = sections.iter().find(|section| section.kind == SYMTAB) else { return Vec::new() };
        let Some(names) = sections.get(table.link) else { return Vec::new() };
        let entries = (0..table.size as usize / 16).map(|index| table.offset + index * 16);
        entries
            .map(|at| {
                let name = self.bytes.get(names.offset + self.word(at) as usize..).unwrap_or_default();
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                Symbol {
                    name: String::from_utf8_lossy(name).into_owned(),
                    size: self.word(at + 8),
                    kind: self.bytes.get(at + 12).map_or(0, |info| info & 15),
                }
            })
            .collect()
    }

    /// How many bytes of code each crate has, most first. C functions, which have no crate, are one line.
    pub(crate) fn crates(&self) -> Vec<(String, u32)> {
        let mut sizes = BTreeMap::new();
        for symbol in self.symbols().iter().filter(|symbol| symbol.kind == FUNCTION) {
            *sizes.entry(crate_of(&symbol.name)).or_insert(0) += symbol.size;
        }
        sorted(sizes.into_iter().collect())
    }

    /// The variables and tables, largest first.
    pub(crate) fn statics(&self) -> Vec<(String, u32)> {
        let objects = self.symbols().into_iter().filter(|symbol| symbol.kind == OBJECT);
        sorted(objects.map(|symbol| (path_of(&symbol.name), symbol.size)).collect())
    }
}

fn sorted(mut sizes: Vec<(String, u32)>) -> Vec<(String, u32)> {
    sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sizes
}

/// The parts of a mangled name: `_ZN4core3fmt5write17h0123456789abcdefE` is core, fmt, write.
fn parts(name: &str) -> Vec<String> {
    let Some(mut rest) = name.strip_prefix("_ZN") else { return Vec::new() };
    let mut parts = Vec::new();
    loop {
        let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let Ok(length) = rest[..digits].parse::<usize>() else { break };
        let Some(part) = rest.get(digits..digits + length) else { break };
        parts.push(part.to_owned());
        rest = &rest[digits + length..];
    }
    // The last one is a hash.
    parts.pop();
    parts
}

fn path_of(name: &str) -> String {
    let parts = parts(name);
    if parts.is_empty() { name.to_owned() } else { parts.join("::") }
}

/// `_$LT$p256..arithmetic..Scalar$u20$as$u20$…` belongs to p256.
fn crate_of(name: &str) -> String {
    let Some(first) = parts(name).into_iter().next() else { return "C, and the runtime".into() };
    let mut plain = first.trim_start_matches('_');
    while let Some(after) =
        ["$LT$", "$RF$", "$u20$", "mut"].iter().find_map(|prefix| plain.strip_prefix(prefix))
    {
        plain = after;
    }
    let end = plain.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(plain.len());
    plain[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_crate() {
        for (name, expected) in [
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core"),
            ("_ZN54_$LT$p256..arithmetic..Scalar$u20$as$u20$core..Mul$GT$3mul17h0123456789abcdefE", "p256"),
            ("_ZN30_$LT$$RF$mut$u20$serde..De$GT$2de17h0123456789abcdefE", "serde"),
            ("lfs_mount", "C, and the runtime"),
            ("_ZN99short", "C, and the runtime"),
        ] {
            assert_eq!(crate_of(name), expected, "{name}");
        }
    }

    #[test]
    fn a_file_that_is_cut_short_is_empty() {
        let elf = Elf { bytes: b"\x7fELF\x01\x01".to_vec() };
        assert_eq!((elf.segments().len(), elf.flash(), elf.ram()), (0, 0, 0));
    }
}
