//! The random text that every value of a case contains, and the search for it.

use std::collections::BTreeMap;

use aho_corasick::AhoCorasick;
use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};

/// So many characters of a canary in a row count as found. Eight random characters don't meet by chance, and a
/// store that shows only the beginning of a value is found too.
const WINDOW: usize = 8;
/// What every canary begins with, so that the output of a whole test run can be searched for canaries of any test.
const MARK: &str = "kfcanary-";
const LENGTH: usize = 24;
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The search goes over a text once, however many forms there are: logs down to `TRACE` are long.
pub(crate) struct Canary {
    text: String,
    /// Every window in every form.
    forms: AhoCorasick,
    /// What each of them is called.
    names: Vec<&'static str>,
    /// As many of these as a window has bytes stand in a list of decimal bytes. Few other texts have so many.
    listed: AhoCorasick,
    /// The windows as lists of decimal bytes, which are sought in text without white space.
    lists: AhoCorasick,
}

impl Canary {
    pub(crate) fn random() -> Self {
        let random = random_text(LENGTH);
        let mut forms = BTreeMap::new();
        let mut lists = Vec::new();
        for window in random.as_bytes().windows(WINDOW) {
            let mut form = |name, text: String| forms.insert(text, name);
            form("as it is", String::from_utf8_lossy(window).into_owned());
            form("in hexadecimal", HEXLOWER.encode(window));
            form("in hexadecimal", HEXUPPER.encode(window));
            for skip in 0..3 {
                // Only groups of three whole bytes look the same whatever stands around them.
                let bytes = &window[skip..];
                let whole = &bytes[..bytes.len() - bytes.len() % 3];
                if whole.len() >= 6 {
                    form("in base64", BASE64.encode(whole));
                    form("in base64", BASE64URL.encode(whole));
                }
            }
            let list: Vec<String> = window.iter().map(u8::to_string).collect();
            lists.push(list.join(","));
        }
        let listed = random.bytes().map(|byte| format!("{byte},"));
        Self {
            text: format!("{MARK}{random}"),
            forms: automaton(forms.keys()),
            names: forms.into_values().collect(),
            listed: automaton(listed),
            lists: automaton(lists),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// In which form the canary, or a part of it, stands in `output`.
    pub(crate) fn find_in(&self, output: &[u8]) -> Option<&'static str> {
        if let Some(found) = self.forms.find(output) {
            return self.names.get(found.pattern().as_usize()).copied();
        }
        self.listed.find_iter(output).nth(WINDOW - 1)?;
        let dense: Vec<u8> = output.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        self.lists.is_match(&dense).then_some("as a list of bytes")
    }
}

fn automaton(texts: impl IntoIterator<Item = impl AsRef<str>>) -> AhoCorasick {
    let texts: Vec<_> = texts.into_iter().collect();
    match AhoCorasick::new(texts.iter().map(|text| text.as_ref().as_bytes())) {
        Ok(automaton) => automaton,
        Err(error) => panic!("a canary can't be searched for: {error}"),
    }
}

/// Random lower-case letters and digits, the first one a letter.
pub(crate) fn random_text(length: usize) -> String {
    let mut bytes = vec![0; length];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the operating system gives no random numbers: {error}");
    }
    bytes
        .iter()
        .enumerate()
        .map(|(index, byte)| ALPHABET[usize::from(byte % if index == 0 { 24 } else { 32 })] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_form_at_every_alignment() {
        let canary = Canary::random();
        for before in ["", "x", "xy", "xyz"] {
            let value = format!("{before}{}-tail", canary.as_str());
            let bytes = value.as_bytes();
            for output in [
                value.clone(),
                format!("{bytes:?}"),
                format!("{bytes:#?}"),
                HEXLOWER.encode(bytes),
                HEXUPPER.encode(bytes),
                BASE64.encode(bytes),
                BASE64URL.encode(bytes),
                format!("value starts with {}...", &canary.as_str()[MARK.len()..MARK.len() + 8]),
            ] {
                assert!(canary.find_in(output.as_bytes()).is_some(), "{output}");
            }
        }
        assert_eq!(canary.find_in(Canary::random().as_str().as_bytes()), None);
        assert_eq!(canary.find_in(b"[REDACTED]"), None);
    }
}
