//! Paths of the API, built so that no name can reach another place.

use std::fmt::Write as _;

use keyfob_core::{Error, ErrorKind, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but what RFC 3986 calls unreserved. `%` is encoded too, so `%2e%2e` stays the text that it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path below `/v1/` with query parameters.
///
/// Its segments are percent-encoded one by one. An empty segment, `.` and `..` can't be built, so what is asked for is
/// what was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiPath {
    /// As people write it.
    shown: String,
    encoded: String,
    query: String,
}

impl ApiPath {
    /// A path of keyfob's own, for example `sys/health`.
    pub(crate) fn of(fixed: &'static str) -> Self {
        debug_assert!(fixed.split('/').all(is_segment), "`{fixed}` is no path");
        let mut path = Self {
            shown: String::new(),
            encoded: String::new(),
            query: String::new(),
        };
        path.push(fixed);
        path
    }

    /// A path that came from outside, for example a mount.
    ///
    /// # Errors
    /// `InvalidInput` when a segment is empty, `.` or `..`, or there is a control character.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        Self {
            shown: String::new(),
            encoded: String::new(),
            query: String::new(),
        }
        .join(text)
    }

    /// Appends the `/`-separated segments of `text`.
    ///
    /// # Errors
    /// `InvalidInput` when a segment is empty, `.` or `..`, or there is a control character.
    pub(crate) fn join(mut self, text: &str) -> Result<Self> {
        if !text.split('/').all(is_segment) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a path on the server has an empty segment, `.`, `..` or a control character",
            )
            .with(
                "path",
                text.chars().take(128).flat_map(char::escape_debug).collect::<String>(),
            ));
        }
        self.push(text);
        Ok(self)
    }

    /// Appends a query parameter.
    pub(crate) fn query(mut self, name: &'static str, value: &str) -> Self {
        let separator = if self.query.is_empty() { '?' } else { '&' };
        let _ = write!(self.query, "{separator}{name}={}", utf8_percent_encode(value, ENCODED));
        self
    }

    /// The path without its query, as people write it: safe to show as far as names are.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// What follows `/v1/` in a URL.
    pub(crate) fn encoded(&self) -> String {
        format!("{}{}", self.encoded, self.query)
    }

    fn push(&mut self, text: &str) {
        for segment in text.split('/') {
            if !self.shown.is_empty() {
                self.shown.push('/');
                self.encoded.push('/');
            }
            self.shown.push_str(segment);
            self.encoded.extend(utf8_percent_encode(segment, ENCODED));
        }
    }
}

fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..") && !segment.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reaches_only_its_own_place() {
        for (name, encoded) in [
            ("a/b", "secret/data/a/b"),
            ("a b", "secret/data/a%20b"),
            ("a?list=true", "secret/data/a%3Flist%3Dtrue"),
            ("a#b", "secret/data/a%23b"),
            ("%2e%2e/x", "secret/data/%252e%252e/x"),
            ("a%2Fb", "secret/data/a%252Fb"),
            ("a\\b", "secret/data/a%5Cb"),
            ("...", "secret/data/..."),
            ("é;x", "secret/data/%C3%A9%3Bx"),
        ] {
            let path = ApiPath::of("secret/data").join(name).unwrap();
            assert_eq!(path.encoded(), encoded);
            // The client parses it once more, by the rules of browsers.
            let url = url::Url::parse("https://h/v1/").unwrap().join(&path.encoded()).unwrap();
            assert_eq!(url.as_str(), format!("https://h/v1/{encoded}"));
        }
    }

    #[test]
    fn what_would_reach_elsewhere_is_refused() {
        for name in [
            "",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/../b",
            "dot/../up",
            "a/./b",
            "a\nb",
            "a\0",
        ] {
            let error = ApiPath::of("secret/data").join(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
            assert_eq!(ApiPath::parse(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn a_query_is_encoded_and_not_shown() {
        let path = ApiPath::of("sys/x").query("after", "a&b=c").query("limit", "2");
        assert_eq!(path.encoded(), "sys/x?after=a%26b%3Dc&limit=2");
        assert_eq!(path.shown(), "sys/x");
    }
}
