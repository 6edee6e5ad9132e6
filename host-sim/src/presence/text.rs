//! What a prompt says. Names come from web sites: nothing in them may move the cursor or reorder the line.

use brasskey_authenticator::{Operation, Prompt};
use std::fmt::Write;

/// One sentence: who wants what.
pub(super) fn question(prompt: &Prompt<'_>) -> String {
    let who = match (prompt.rp_id, prompt.rp_id_hash) {
        (Some(rp_id), _) => printable(rp_id),
        // U2F names a site by its hash alone.
        (None, Some(hash)) => {
            let digits = hash.iter().take(8).fold(String::new(), |mut digits, byte| {
                write!(digits, "{byte:02x}").ok();
                digits
            });
            format!("a U2F site (AppID hash {digits}…)")
        }
        (None, None) => "a program".into(),
    };
    let user = prompt.user.map(printable);
    match (prompt.operation, user) {
        (Operation::Register, Some(user)) => format!("{who} wants to register this key for “{user}”"),
        (Operation::Register, None) => format!("{who} wants to register this key"),
        (Operation::Authenticate, Some(user)) => format!("{who} wants to sign in “{user}”"),
        (Operation::Authenticate, None) => format!("{who} wants to sign in"),
        (Operation::Select, _) => format!("{who} asks whether this is the key you mean"),
        (Operation::Reset, _) => format!("{who} wants to ERASE every credential on this key"),
        (Operation::Verify, _) => format!("{who} wants to see your finger"),
        (Operation::Enroll, _) => format!("{who} wants to enroll your finger"),
        (_, _) => format!("{who} wants your consent"),
    }
}

/// A name from a web site, fit for a terminal: every character that is not plainly visible, which is controls and
/// those that reorder or hide text, is written as its code.
pub fn printable(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_deceptive(character) {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Soft hyphen, marks of direction, zero width, separators of lines and paragraphs.
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            // Invisible operators and isolates, byte order mark, interlinear marks, tags.
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_says_who_wants_what() {
        let prompt = Prompt {
            operation: Operation::Register,
            rp_id: Some("example.com"),
            rp_id_hash: Some(&[0xAB; 32]),
            user: Some("alice"),
            long_touch: false,
        };
        assert_eq!(question(&prompt), "example.com wants to register this key for “alice”");
        let prompt = Prompt { operation: Operation::Authenticate, rp_id: None, user: None, ..prompt };
        assert_eq!(question(&prompt), "a U2F site (AppID hash abababababababab…) wants to sign in");
        let prompt = Prompt { operation: Operation::Reset, rp_id_hash: None, ..prompt };
        assert_eq!(question(&prompt), "a program wants to ERASE every credential on this key");
    }

    #[test]
    fn nothing_in_a_name_reaches_the_terminal_raw() {
        assert_eq!(printable("\x1b[2J\r\n\x07"), "\\u{1b}[2J\\u{d}\\u{a}\\u{7}");
        assert_eq!(printable("\u{9b}31m\u{202e}moc.elpmaxe"), "\\u{9b}31m\\u{202e}moc.elpmaxe");
        assert_eq!(printable("Zoë 🔑 日本"), "Zoë 🔑 日本");
        for code in (0..0x20).chain(0x7F..0xA0).chain(0x2028..0x202F) {
            let character = char::from_u32(code).unwrap();
            assert!(printable(&character.to_string()).starts_with("\\u"), "{code:#x}");
        }
    }
}
