//! Where a list goes on: `$skiptoken`, which only this process understands.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::jwt::{ProcessKey, Token};
use crate::Failure;

/// Both the greatest and the default number of results of a page.
pub(super) const LENGTH: usize = 25;

pub(super) struct Pages(ProcessKey);

impl Pages {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self(ProcessKey::generate()?))
    }

    /// Remembers that the list at `path` goes on after `last`.
    pub(super) fn token(&self, path: &str, last: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(&json!({ "path": path, "last": last })))
    }

    /// What the list at `path` goes on after. `None` for a token of another list, of another process or of nobody.
    pub(super) fn last(&self, path: &str, token: &str) -> Option<String> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let token = Token::parse(&text).filter(|token| self.0.verify(token))?;
        (token.claim("path") == path).then(|| token.claim("last").to_owned())
    }
}

/// The value of `maxresults`.
pub(super) fn length(maximum: Option<&str>) -> Option<usize> {
    match maximum {
        None => Some(LENGTH),
        Some(text) => text.parse().ok().filter(|length| (1..=LENGTH).contains(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_list_only() {
        let (pages, others) = (Pages::new().unwrap(), Pages::new().unwrap());
        let token = pages.token("/secrets", "LAST");
        assert_eq!(pages.last("/secrets", &token).as_deref(), Some("LAST"));
        assert_eq!(pages.last("/deletedsecrets", &token), None);
        assert_eq!(others.last("/secrets", &token), None);
        assert_eq!(pages.last("/secrets", "LAST"), None);
        assert!(
            token
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
    }

    #[test]
    fn a_page_has_between_one_and_twenty_five_results() {
        assert_eq!(length(None), Some(25));
        for (text, expected) in [
            ("1", Some(1)),
            ("25", Some(25)),
            ("0", None),
            ("26", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(length(Some(text)), expected, "{text}");
        }
    }
}
