//! One pass over a message that makes sure it is canonical CBOR as CTAP2 defines it (CTAP 2.3 §8).

use core::cmp::Ordering;

/// Maps and arrays may be nested this deep in any message (CTAP 2.3 §8).
const MAX_DEPTH: usize = 4;

pub(super) const MAJOR_UNSIGNED: u8 = 0;
pub(super) const MAJOR_NEGATIVE: u8 = 1;
pub(super) const MAJOR_BYTES: u8 = 2;
pub(super) const MAJOR_TEXT: u8 = 3;
pub(super) const MAJOR_ARRAY: u8 = 4;
pub(super) const MAJOR_MAP: u8 = 5;
pub(super) const MAJOR_TAG: u8 = 6;

/// The first bytes of an item: its major type, its argument, and where the rest begins.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) major: u8,
    /// The number, or the length, that the head carries.
    pub(super) argument: u64,
    /// How many bytes the head takes.
    pub(super) size: usize,
}

/// Reads the head of the item at the start of `bytes`; `None` if it is cut off or not in its shortest form.
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let (&first, rest) = bytes.split_first()?;
    let (major, info) = (first >> 5, first & 0x1f);
    let width = match info {
        0..=23 => return Some(Head { major, argument: u64::from(info), size: 1 }),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        // 28 to 30 are reserved, 31 is an indefinite length: both forbidden.
        _ => return None,
    };
    let argument = rest.get(..width)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    let shortest = match width {
        1 => argument >= 24,
        2 => argument > 0xff,
        4 => argument > 0xffff,
        _ => argument > 0xffff_ffff,
    };
    // Major type 7 holds simple values and floats, whose width is their type and not a matter of length; a
    // simple value below 32 in a byte of its own is not well formed (RFC 8949 §3.3).
    let well_formed = if major == 7 { width > 1 || argument >= 32 } else { shortest };
    well_formed.then_some(Head { major, argument, size: 1 + width })
}

/// The length of the canonical item at the start of `bytes`, with all that it holds; `None` if it is not one.
pub(super) fn item(bytes: &[u8]) -> Option<usize> {
    nested(bytes, MAX_DEPTH)
}

fn nested(bytes: &[u8], depth: usize) -> Option<usize> {
    let head = head(bytes)?;
    let mut end = head.size;
    match head.major {
        MAJOR_BYTES | MAJOR_TEXT => {
            let start = end;
            end = start.checked_add(usize::try_from(head.argument).ok()?)?;
            let content = bytes.get(start..end)?;
            if head.major == MAJOR_TEXT {
                core::str::from_utf8(content).ok()?;
            }
        }
        MAJOR_ARRAY => {
            let depth = depth.checked_sub(1)?;
            for _ in 0..head.argument {
                end += nested(bytes.get(end..)?, depth)?;
            }
        }
        MAJOR_MAP => {
            let depth = depth.checked_sub(1)?;
            let mut previous: Option<&[u8]> = None;
            for _ in 0..head.argument {
                let key_end = end + nested(bytes.get(end..)?, depth)?;
                let key = bytes.get(end..key_end)?;
                if previous.is_some_and(|previous| order(previous, key) != Ordering::Less) {
                    return None;
                }
                previous = Some(key);
                end = key_end + nested(bytes.get(key_end..)?, depth)?;
            }
        }
        MAJOR_TAG => return None,
        _ => {}
    }
    Some(end)
}

/// CTAP2's order of map keys: by major type, then by length, then bytewise.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    let major = |key: &[u8]| key.first().map(|byte| byte >> 5);
    major(a).cmp(&major(b)).then(a.len().cmp(&b.len())).then(a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::item;

    #[test]
    fn canonical_items_are_measured() {
        for bytes in [
            &[0x00][..],
            &[0x18, 0x18],
            &[0x39, 0x01, 0x00],
            &[0x41, 0xff],
            &[0x61, 0x61],
            &[0x80],
            &[0x81, 0x81, 0x81, 0x80],
            &[0xa2, 0x01, 0x02, 0x20, 0x03],
            &[0xa2, 0x61, 0x62, 0x01, 0x62, 0x61, 0x61, 0x02],
            &[0xf4],
            &[0xf9, 0x00, 0x00],
        ] {
            assert_eq!(item(bytes), Some(bytes.len()), "{bytes:02x?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (bytes, why) in [
            (&[][..], "nothing"),
            (&[0x18, 0x17], "an integer that is not in its shortest form"),
            (&[0x19, 0x00, 0xff], "the same with two bytes"),
            (&[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], "the same with eight"),
            (&[0x42, 0x00], "a byte string that is cut off"),
            (&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a length beyond all memory"),
            (&[0x5f, 0x41, 0x00, 0xff], "an indefinite length"),
            (&[0x61, 0xff], "text that is not UTF-8"),
            (&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "an array that never ends"),
            (&[0x81, 0x81, 0x81, 0x81, 0x80], "five levels"),
            (&[0xa2, 0x02, 0x00, 0x01, 0x00], "keys out of order"),
            (&[0xa2, 0x01, 0x00, 0x01, 0x00], "a key twice"),
            (&[0xa2, 0x62, 0x61, 0x61, 0x00, 0x61, 0x62, 0x00], "a longer key first"),
            (&[0xa1, 0x01], "a key without a value"),
            (&[0xc0, 0x00], "a tag"),
            (&[0xf8, 0x14], "a simple value in two bytes that fits in one"),
            (&[0xff], "a break"),
        ] {
            assert_eq!(item(bytes), None, "{why}");
        }
    }
}
