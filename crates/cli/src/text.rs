//! Text that somebody else wrote, made safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with everything that a terminal could act on, or that would hide something, written as `\u{...}`: control
/// characters (line ends too), marks that change the direction of writing, invisible characters.
pub(crate) fn escape_untrusted(text: &str) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_dangerous(c) {
            match c {
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                '\t' => escaped.push_str("\\t"),
                _ => {
                    let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
                }
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The same inside the strings of a finished JSON text, as `\uXXXX`, so that it stays the same data.
///
/// Between strings JSON has no such character but the line ends of its layout.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    let must_go = |c: char| is_dangerous(c) && c != '\n';
    if !json.contains(must_go) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if must_go(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{00AD}' | '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_it_could_act_on() {
        assert_eq!(escape_untrusted("jörg ✓"), "jörg ✓");
        assert_eq!(
            escape_untrusted("\x1b[2Ja\nb\u{9b}c\u{202e}d"),
            "\\u{1b}[2Ja\\nb\\u{9b}c\\u{202e}d"
        );
    }

    #[test]
    fn json_stays_the_same_data() {
        let data = "a\u{9b}b\u{7f}c\u{202e}\u{e0041}\nd";
        let json = serde_json::to_string_pretty(&[data]).unwrap();
        let escaped = escape_json(&json);
        assert!(!escaped.contains(['\u{9b}', '\u{7f}', '\u{202e}', '\u{e0041}']));
        assert_eq!(serde_json::from_str::<[String; 1]>(&escaped).unwrap()[0], data);
    }
}
