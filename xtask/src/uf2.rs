//! The files that are flashed: Intel HEX, and Microsoft's UF2.

use crate::elf::Segment;

/// Intel HEX (Intel, Hexadecimal Object File Format Specification, revision A): lines of sixteen bytes.
pub(crate) fn intel_hex(segments: &[Segment]) -> Vec<u8> {
    const DATA: u8 = 0;
    const END: u8 = 1;
    const UPPER_ADDRESS: u8 = 4;
    let mut text = String::new();
    let mut upper = None;
    for segment in segments {
        let mut at = segment.address;
        let mut rest = &segment.bytes[..];
        while !rest.is_empty() {
            if upper != Some(at >> 16) {
                upper = Some(at >> 16);
                record(&mut text, 0, UPPER_ADDRESS, &((at >> 16) as u16).to_be_bytes());
            }
            // No line crosses a border of 64 KiB.
            let room = 0x1_0000 - (at as usize & 0xFFFF);
            let (line, after) = rest.split_at(rest.len().min(16).min(room));
            record(&mut text, at as u16, DATA, line);
            at = at.wrapping_add(line.len() as u32);
            rest = after;
        }
    }
    record(&mut text, 0, END, &[]);
    text.into_bytes()
}

fn record(text: &mut String, address: u16, kind: u8, data: &[u8]) {
    let [high, low] = address.to_be_bytes();
    let mut bytes = vec![data.len() as u8, high, low, kind];
    bytes.extend_from_slice(data);
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes.push(sum.wrapping_neg());
    text.push(':');
    bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02X}")));
    text.push_str("\r\n");
}

/// How much of the flash a block of UF2 carries.
const PAGE: u32 = 256;

/// UF2 (Microsoft, USB Flashing Format): blocks of 512 bytes, each of which says by itself where it belongs.
///
/// Pages that are not full are filled with what erased flash reads as.
pub(crate) fn uf2(segments: &[Segment], family: u32) -> Vec<u8> {
    let mut pages: std::collections::BTreeMap<u32, [u8; PAGE as usize]> = Default::default();
    for segment in segments {
        for (at, byte) in (segment.address..).zip(&segment.bytes) {
            let page = pages.entry(at / PAGE).or_insert([0xFF; PAGE as usize]);
            page[(at % PAGE) as usize] = *byte;
        }
    }
    const FAMILY_IS_THERE: u32 = 0x2000;
    let mut out = Vec::new();
    let count = pages.len() as u32;
    for (number, (page, bytes)) in (0..).zip(&pages) {
        let header = [0x0A32_4655, 0x9E5D_5157, FAMILY_IS_THERE, page * PAGE, PAGE, number, count, family];
        header.iter().for_each(|word: &u32| out.extend(word.to_le_bytes()));
        out.extend_from_slice(bytes);
        out.resize(out.len() + 476 - PAGE as usize, 0);
        out.extend(0x0AB1_6F30u32.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_as_in_the_specification() {
        let segments = [
            Segment { address: 0x0100, bytes: vec![0x21, 0x46, 0x01, 0x36] },
            Segment { address: 0x1_FFFF, bytes: vec![1, 2] },
        ];
        let text = String::from_utf8(intel_hex(&segments)).unwrap();
        let expected = [":020000040000FA", ":040100002146013"];
        assert!(text.starts_with(&format!("{}\r\n{}", expected[0], expected[1])), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[2..],
            [":020000040001F9", ":01FFFF000100", ":020000040002F8", ":0100000002FD", ":00000001FF"]
        );
        // Every line's bytes add up to nothing.
        for line in lines {
            let bytes: Vec<u8> = (1..line.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0, "{line}");
        }
    }

    #[test]
    fn uf2_blocks_say_where_they_belong() {
        let segments = [
            Segment { address: 0x1000_00FE, bytes: vec![1, 2, 3] },
            Segment { address: 0x1000_0101, bytes: vec![4] },
        ];
        let blocks = uf2(&segments, 0xE48B_FF59);
        assert_eq!(blocks.len(), 1024);
        let word = |at: usize| u32::from_le_bytes(blocks[at..at + 4].try_into().unwrap());
        assert_eq!([word(0), word(4), word(508)], [0x0A32_4655, 0x9E5D_5157, 0x0AB1_6F30]);
        assert_eq!([word(12), word(20), word(24), word(28)], [0x1000_0000, 0, 2, 0xE48B_FF59]);
        assert_eq!([word(512 + 12), word(512 + 20)], [0x1000_0100, 1]);
        assert_eq!(blocks[32 + 253..32 + 257], [0xFF, 1, 2, 0]);
        assert_eq!(blocks[512 + 32..512 + 35], [3, 4, 0xFF]);
    }
}
