//! The random text that every value of a case contains, and the search for it.

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use memchr::memmem;

/// So many characters of a canary in a row count as found. Eight random characters don't meet by chance, and a
/// store that shows only the beginning of a value is found too.
const WINDOW: usize = 8;
/// What every canary begins with, so that the output of a whole test run can be searched for canaries of any test.
const MARK: &str = "kfcanary-";
const LENGTH: usize = 24;
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

pub(crate) struct Canary {
    text: String,
    /// What to look for: every window in every form.
    forms: Vec<(&'static str, memmem::Finder<'static>)>,
    /// The same for lists of decimal bytes, which are sought in text without white space.
    decimal: Vec<memmem::Finder<'static>>,
}

impl Canary {
    pub(crate) fn random() -> Self {
        let random = random_text(LENGTH);
        let mut forms = Vec::new();
        let mut decimal = Vec::new();
        for window in random.as_bytes().windows(WINDOW) {
            let mut form = |name, bytes: &[u8]| forms.push((name, memmem::Finder::new(bytes).into_owned()));
            form("as it is", window);
            form("in hexadecimal", HEXLOWER.encode(window).as_bytes());
            form("in hexadecimal", HEXUPPER.encode(window).as_bytes());
            for skip in 0..3 {
                // Only groups of three whole bytes look the same whatever stands around them.
                let bytes = &window[skip..];
                let whole = &bytes[..bytes.len() - bytes.len() % 3];
                if whole.len() >= 6 {
                    form("in base64", BASE64.encode(whole).as_bytes());
                    form("in base64", BASE64URL.encode(whole).as_bytes());
                }
            }
            let list: Vec<String> = window.iter().map(u8::to_string).collect();
            decimal.push(memmem::Finder::new(list.join(",").as_bytes()).into_owned());
        }
        Self {
            text: format!("{MARK}{random}"),
            forms,
            decimal,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// In which form the canary, or a part of it, stands in `output`.
    pub(crate) fn find_in(&self, output: &[u8]) -> Option<&'static str> {
        if let Some((form, _)) = self.forms.iter().find(|(_, finder)| finder.find(output).is_some()) {
            return Some(form);
        }
        let dense: Vec<u8> = output.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        self.decimal
            .iter()
            .any(|finder| finder.find(&dense).is_some())
            .then_some("as a list of bytes")
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
