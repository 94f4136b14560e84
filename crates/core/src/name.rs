//! The name of a secret.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// A parsed name: `/`-separated segments of printable text.
///
/// At most [`MAX_BYTES`](Self::MAX_BYTES) bytes; no empty, `.` or `..` segment; no control character; no white
/// space at either end. What is wrong can't be built.
///
/// One `/` may stand in front. Such a name is [*absolute*](Self::is_absolute): it is another name than the one without,
/// and a store that has two ways to address things says on its page what it reaches (on Vault any logical path, for
/// example `/database/creds/app`).
///
/// A [*portable*](Self::is_portable) name works on every store. Others (`rds!cluster-1`, an ARN,
/// `users/jo@x.org`) work where the store takes them and are refused elsewhere before any I/O.
///
/// ```
/// use keyfob_core::SecretName;
///
/// let name: SecretName = "team/db/password".parse()?;
/// assert!(name.is_portable());
/// assert!(SecretName::new("team/../db").is_err());
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName(Arc<str>);

impl SecretName {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// Parses `name`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], saying which rule the name breaks.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        if let Some(problem) = problem(name) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("invalid secret name: {problem}"))
                .with("name", shown(name))
                .with_hint("a name is like `team/db/password`: segments of printable text between `/`, at most 512 bytes"));
        }
        Ok(Self(name.into()))
    }

    /// The name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The segments between the `/`; the `/` in front of an absolute name begins none.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.strip_prefix('/').unwrap_or(&self.0).split('/')
    }

    /// Whether a `/` stands in front.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.0.starts_with('/')
    }

    /// Whether keyfob keeps something of its own under this name, about the secret whose name stands in front: the journal of
    /// its rotations, for example. It ends in `.keyfob-` and small letters.
    ///
    /// What is there is no secret of an application. Listings for people leave it out, and copies must.
    ///
    /// ```
    /// use keyfob_core::SecretName;
    ///
    /// assert!(SecretName::new("db/password.keyfob-rotation")?.is_reserved());
    /// assert!(!SecretName::new("db/password")?.is_reserved());
    /// # Ok::<(), keyfob_core::Error>(())
    /// ```
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        let kind = self.0.rsplit_once(".keyfob-").map(|(_, kind)| kind);
        kind.is_some_and(|kind| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase()))
    }

    /// Whether it is not absolute and every segment uses only `[A-Za-z0-9._-]`, and so works on every store.
    #[must_use]
    pub fn is_portable(&self) -> bool {
        !self.is_absolute()
            && self
                .0
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/'))
    }
}

fn problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".to_owned());
    }
    if name.len() > SecretName::MAX_BYTES {
        return Some(format!("it has {} bytes, the limit is {}", name.len(), SecretName::MAX_BYTES));
    }
    if let Some(control) = name.chars().find(|c| c.is_control() || is_invisible(*c)) {
        return Some(format!("it contains the unprintable character U+{:04X}", control as u32));
    }
    if name.trim() != name {
        return Some("it begins or ends with white space".to_owned());
    }
    for segment in name.strip_prefix('/').unwrap_or(name).split('/') {
        match segment {
            "" => return Some("it has an empty segment (a `/` at the end, or two in a row)".to_owned()),
            "." | ".." => return Some(format!("it has the segment `{segment}`")),
            _ => {}
        }
    }
    None
}

/// Characters that change how a line reads without being seen: line and paragraph separators, bidirectional
/// controls, zero-width marks. Two names that look alike must not be two names.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{00AD}')
}

/// What may be quoted of a wrong name: bounded and without control characters.
fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(64).flat_map(char::escape_debug).collect();
    if name.chars().count() > 64 {
        text.push('…');
    }
    text
}

impl FromStr for SecretName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl TryFrom<&str> for SecretName {
    type Error = Error;
    fn try_from(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl AsRef<str> for SecretName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepts_what_stores_use() {
        for name in [
            "a",
            "db/password",
            "rds!cluster-1",
            "users/jo@x.org",
            "a b",
            "ключ",
            "arn:aws:secretsmanager:eu-west-1:1:secret:x-AbCdEf",
            "/database/creds/app",
        ] {
            assert_eq!(SecretName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_what_could_reach_elsewhere() {
        let long = "x".repeat(513);
        for name in [
            "",
            "/",
            "//a",
            "/a/",
            "/../a",
            "a/",
            "a//b",
            ".",
            "a/../b",
            "a/.",
            "a\nb",
            "a\0",
            " a",
            "a ",
            "a\u{202E}b",
            "\u{FEFF}a",
            &long,
        ] {
            let error = SecretName::new(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
            assert!(!error.to_string().contains(['\n', '\0', '\u{202E}']), "{error}");
        }
    }

    #[test]
    fn portable_is_the_common_alphabet() {
        assert!(SecretName::new("A-z_0.9/b").unwrap().is_portable());
        assert!(!SecretName::new("a b").unwrap().is_portable());
        assert!(!SecretName::new("é").unwrap().is_portable());
        assert!(!SecretName::new("/a").unwrap().is_portable());
    }

    #[test]
    fn a_slash_in_front_makes_another_name_with_the_same_segments() {
        let (absolute, relative) = (SecretName::new("/a/b").unwrap(), SecretName::new("a/b").unwrap());
        assert_ne!(absolute, relative);
        assert!(absolute.is_absolute() && !relative.is_absolute());
        assert!(absolute.segments().eq(relative.segments()));
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_as_written_or_an_error(text in any::<String>()) {
            if let Ok(name) = SecretName::new(&text) {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!(name.segments().all(|segment| !matches!(segment, "" | "." | "..")));
            }
        }
    }
}
