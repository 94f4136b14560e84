//! Keeps values out of what a program says to people.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER};
use keyfob_core::SecretValue;
use percent_encoding::percent_encode;
use zeroize::Zeroizing;

/// Shorter parts of a value are found in any text.
const LEAST: usize = 6;

/// How many characters of what was said are shown.
const MOST: usize = 300;

/// The values of a question, in all the ways in which they could be said.
pub(super) struct Screen(Vec<Zeroizing<Vec<u8>>>);

impl Screen {
    pub(super) fn of<'v>(values: impl Iterator<Item = &'v SecretValue>) -> Self {
        let mut forms = Vec::new();
        for value in values.map(SecretValue::expose_secret).filter(|value| !value.is_empty()) {
            add(&mut forms, value);
            // A key of many lines is given away by one of them, and a document by one of its fields.
            for line in value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
                if line.len() >= LEAST {
                    add(&mut forms, line);
                }
            }
            if let Ok(document) = serde_json::from_slice::<serde_json::Value>(value) {
                add_fields(&mut forms, &document);
            }
        }
        Self(forms)
    }

    /// One line for people; nothing when a value is in it.
    pub(super) fn shown(&self, text: &str) -> Option<String> {
        let is_in = |text: &[u8]| {
            self.0
                .iter()
                .any(|form| text.windows(form.len()).any(|window| window == form.as_slice()))
        };
        // Without what may be put between two lines of base64, and in the one case that hexadecimal digits are kept in.
        let joined: Zeroizing<Vec<u8>> = Zeroizing::new(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
        let lower = Zeroizing::new(joined.to_ascii_lowercase());
        if is_in(text.as_bytes()) || is_in(&joined) || is_in(&lower) {
            return None;
        }
        let clean: String = text
            .trim()
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(MOST)
            .collect();
        Some(clean)
    }
}

fn add(forms: &mut Vec<Zeroizing<Vec<u8>>>, part: &[u8]) {
    let escaped = std::str::from_utf8(part)
        .ok()
        .and_then(|text| serde_json::to_string(text).ok());
    let all = [
        Some(part.to_vec()),
        escaped.map(|text| text.trim_matches('"').as_bytes().to_vec()),
        Some(HEXLOWER.encode(part).into_bytes()),
        Some(percent_encode(part, crate::percent::RESERVED).to_string().into_bytes()),
    ];
    let encoded = (0..3).flat_map(|before| [BASE64_NOPAD, BASE64URL_NOPAD].map(|base64| inside(&base64, part, before)));
    forms.extend(all.into_iter().flatten().chain(encoded.flatten()).map(Zeroizing::new));
}

/// What surely stands in the base64 of a longer text, so many bytes of which come before the part since the last third.
fn inside(base64: &Encoding, part: &[u8], before: usize) -> Option<Vec<u8>> {
    let text = Zeroizing::new([&[0; 2][..before], part].concat());
    let encoded = Zeroizing::new(base64.encode(&text));
    // Characters of six bits that have no bit of what comes before or after.
    let (first, end) = ((8 * before).div_ceil(6), 8 * text.len() / 6);
    let inside = encoded.as_bytes().get(first..end)?;
    (before == 0 || inside.len() >= LEAST)
        .then(|| inside.to_vec())
        .filter(|inside| !inside.is_empty())
}

fn add_fields(forms: &mut Vec<Zeroizing<Vec<u8>>>, document: &serde_json::Value) {
    match document {
        serde_json::Value::String(text) if text.len() >= LEAST => add(forms, text.as_bytes()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| add_fields(forms, item)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| add_fields(forms, field)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_in_whatever_it_is_written() {
        let plain = SecretValue::from("kfcanary-\"pass word01");
        let document = SecretValue::from(r#"{"user":"someone","deep":[{"password":"kfcanary-inside001"}]}"#);
        let lines = SecretValue::from("-----BEGIN KEY-----\nkfcanary-line000001\n-----END KEY-----\n");
        let screen = Screen::of([&plain, &document, &lines].into_iter());
        for said in [
            "it was kfcanary-\"pass word01!",
            r#"{"p":"kfcanary-\"pass word01"}"#,
            "a2ZjYW5hcnktInBhc3Mgd29yZDAx",
            "a2ZjYW5hcnktInBh\nc3Mgd29yZDAx",
            "eGtmY2FuYXJ5LSJwYXNzIHdvcmQwMXk",
            "eHhrZmNhbmFyeS0icGFzcyB3b3JkMDF5",
            "6B666361 6e6172792d2270617373 20776f72643031",
            "?p=kfcanary-%22pass%20word01",
            "password kfcanary-inside001 refused",
            "someone",
            "a line: kfcanary-line000001",
        ] {
            assert!(screen.shown(said).is_none());
        }
        assert_eq!(
            screen.shown(" nothing\u{1b}[31m\nhere ").as_deref(),
            Some("nothing [31m here")
        );
        assert_eq!(screen.shown(&"x".repeat(5000)).unwrap().len(), MOST);
    }

    #[test]
    fn a_short_value_is_found_too() {
        let screen = Screen::of([&SecretValue::from("ab")].into_iter());
        assert!(screen.shown("a cab").is_none() && screen.shown("nothing").is_some());
        let nothing = Screen::of([&SecretValue::from("")].into_iter());
        assert_eq!(nothing.shown("words").as_deref(), Some("words"));
    }
}
