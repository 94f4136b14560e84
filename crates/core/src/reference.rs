//! References: how configuration names a secret.
//!
//! ```text
//! ${secret:NAME}  $<secret:NAME>  ${env:VAR}  ${file:PATH}  ${ALIAS:NAME}
//! NAME = path[@version][#field]      after it:  :-default   or   ?
//! ```

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::error::{Error, ErrorKind, Result};
use crate::field::Field;
use crate::name::SecretName;
use crate::options::VersionSelector;

/// The scheme of references to the default store.
pub const DEFAULT_SCHEME: &str = "secret";

/// The scheme of files, which the resolver reads itself.
pub const FILE_SCHEME: &str = "file";

/// `name@version#field`: which value of which secret.
///
/// Inside it, `@ # % { } $ < > ?`, white space, a `:` before a `-`, and a first `- + =` of a name are
/// percent-encoded.
///
/// ```
/// use keyfob_core::SecretRef;
///
/// let reference: SecretRef = "users/jo%40x.org@previous#/login/password".parse()?;
/// assert_eq!(reference.name.as_str(), "users/jo@x.org");
/// assert_eq!(reference.to_string(), "users/jo%40x.org@previous#/login/password");
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    /// The secret.
    pub name: SecretName,
    /// Which of its versions.
    pub version: VersionSelector,
    /// Which field of a document.
    pub field: Option<Field>,
}

impl SecretRef {
    /// The current value of `name`, as a whole.
    #[must_use]
    pub fn new(name: SecretName) -> Self {
        Self {
            name,
            version: VersionSelector::Current,
            field: None,
        }
    }
}

impl FromStr for SecretRef {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidInput`], saying what is wrong with which part.
    fn from_str(text: &str) -> Result<Self> {
        let (path, field) = split_field(text)?;
        let (name, version) = match path.split_once('@') {
            Some((name, version)) => (name, VersionSelector::parse(&decode("version", version)?)?),
            None => (path, VersionSelector::Current),
        };
        Ok(Self {
            name: SecretName::new(decode("name", name)?)?,
            version,
            field,
        })
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(f, self.name.as_str())?;
        if self.version != VersionSelector::Current {
            f.write_char('@')?;
            encode(f, &self.version.to_string())?;
        }
        write_field(f, self.field.as_ref())
    }
}

/// One reference of a text: where to ask, for what, and what to do when it is absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `secret` (the default store), `file`, or the name of a provider or a store.
    pub scheme: Arc<str>,
    /// For what.
    pub target: Target,
    /// What stands in for it when it does not exist.
    pub fallback: Fallback,
}

/// What a reference asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A secret of a store.
    Secret(SecretRef),
    /// A file's content, without one final line ending.
    File {
        /// Relative to the file in which the reference stands.
        path: String,
        /// Which field of a document.
        field: Option<Field>,
    },
}

/// What stands in for something that does not exist. It does not apply to any other failure.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub enum Fallback {
    /// Nothing: it is a failure.
    #[default]
    None,
    /// `?`: the empty text.
    Empty,
    /// `:-text`.
    Text(Arc<str>),
}

/// A default is somebody's configuration, perhaps a password for development: `Debug` does not print it.
impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Empty => "Empty",
            Self::Text(_) => "Text(…)",
        })
    }
}

impl Reference {
    /// What stands between the braces of a text that is one reference as a whole; `None` when it is not in braces.
    ///
    /// ```
    /// assert_eq!(keyfob_core::Reference::body("${secret:db}"), Some("secret:db"));
    /// assert_eq!(keyfob_core::Reference::body("$<secret:db>"), Some("secret:db"));
    /// assert_eq!(keyfob_core::Reference::body("db"), None);
    /// ```
    #[must_use]
    pub fn body(text: &str) -> Option<&str> {
        let braced = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        braced.or_else(|| text.strip_prefix("$<").and_then(|rest| rest.strip_suffix('>')))
    }

    /// Parses what stands between `${` and `}` or `$<` and `>`, for example `secret:db/password`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], saying what is wrong; a default is never quoted.
    pub fn parse(body: &str) -> Result<Self> {
        let (scheme, rest) = body
            .split_once(':')
            .ok_or_else(|| invalid("there is no `scheme:` at its beginning"))?;
        if !is_scheme(scheme) {
            return Err(invalid("a scheme is lower-case letters, digits, `-` and `_`"));
        }
        let (path, fallback) = match rest.split_once(":-") {
            Some((path, default)) => (path, Fallback::Text(default.into())),
            None => match rest.strip_suffix('?') {
                Some(path) => (path, Fallback::Empty),
                None => (rest, Fallback::None),
            },
        };
        if path.is_empty() {
            return Err(invalid("there is no name after the scheme"));
        }
        if path.starts_with(['-', '+', '?', '=']) {
            return Err(invalid(
                "a name does not begin with `-`, `+`, `?` or `=` (write them percent-encoded)",
            ));
        }
        if let Fallback::Text(default) = &fallback
            && (default.contains("${") || default.contains("$<"))
        {
            return Err(invalid("a default is plain text and can't hold another reference"));
        }
        let target = if scheme == FILE_SCHEME {
            let (path, field) = split_field(path)?;
            let path = decode("path", path)?;
            if path.contains('\0') {
                return Err(invalid("the path contains a NUL"));
            }
            Target::File { path, field }
        } else {
            Target::Secret(path.parse()?)
        };
        Ok(Self {
            scheme: scheme.into(),
            target,
            fallback,
        })
    }
}

/// As it would be written, except that a default shows as `…`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{{}:", self.scheme)?;
        match &self.target {
            Target::Secret(secret) => secret.fmt(f)?,
            Target::File { path, field } => {
                encode(f, path)?;
                write_field(f, field.as_ref())?;
            }
        }
        f.write_str(match self.fallback {
            Fallback::None => "}",
            Fallback::Empty => "?}",
            Fallback::Text(_) => ":-…}",
        })
    }
}

/// The longest scheme.
pub(crate) const MAX_SCHEME_BYTES: usize = 64;

/// Whether `text` can be the scheme of a reference.
#[must_use]
pub fn is_scheme(text: &str) -> bool {
    text.len() <= MAX_SCHEME_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

fn split_field(text: &str) -> Result<(&str, Option<Field>)> {
    match text.split_once('#') {
        Some((path, field)) => Ok((path, Some(Field::parse(&decode("field", field)?)?))),
        None => Ok((text, None)),
    }
}

fn write_field(f: &mut fmt::Formatter<'_>, field: Option<&Field>) -> fmt::Result {
    if let Some(field) = field {
        f.write_char('#')?;
        encode(f, field.as_str())?;
    }
    Ok(())
}

const RESERVED: [char; 9] = ['@', '#', '%', '{', '}', '$', '<', '>', '?'];

fn encode(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut buffer = [0; 4];
    for (index, c) in text.char_indices() {
        let default_would_begin = c == ':' && text[index + 1..].starts_with('-');
        // At the end, so that what follows (`:-default`) does not join it.
        let at_edge = (index == 0 && matches!(c, '-' | '+' | '=')) || (c == ':' && index + 1 == text.len());
        if RESERVED.contains(&c) || c.is_whitespace() || c.is_control() || default_would_begin || at_edge {
            for byte in c.encode_utf8(&mut buffer).bytes() {
                write!(f, "%{byte:02X}")?;
            }
        } else {
            f.write_char(c)?;
        }
    }
    Ok(())
}

fn decode(part: &'static str, text: &str) -> Result<String> {
    if let Some(raw) = text
        .chars()
        .find(|c| c.is_whitespace() || RESERVED.contains(c) && *c != '%' && *c != '@' && *c != '#')
    {
        let mut encoded = String::new();
        for byte in raw.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(encoded, "%{byte:02X}");
        }
        return Err(invalid(format!(
            "its {part} contains {raw:?}, which is written `{encoded}` inside a reference"
        )));
    }
    let bytes = text.as_bytes();
    for (index, _) in text.match_indices('%') {
        let hex = bytes.get(index + 1..index + 3);
        if !hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err(invalid(format!(
                "its {part} contains a `%` without two hexadecimal digits (a `%` itself is `%25`)"
            )));
        }
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(String::from)
        .map_err(|_| invalid(format!("its {part} is not UTF-8 once it is percent-decoded")))
}

fn invalid(problem: impl fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("invalid reference: {problem}"))
        .with_hint("a reference is like `${secret:db/password}`, `${secret:db@previous#user}` or `${env:PORT:-8080}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Version;
    use proptest::prelude::*;

    fn parse(body: &str) -> Reference {
        Reference::parse(body).unwrap()
    }

    fn secret(reference: &Reference) -> &SecretRef {
        match &reference.target {
            Target::Secret(secret) => secret,
            Target::File { .. } => panic!("a file"),
        }
    }

    #[test]
    fn parses_every_part() {
        let reference = parse("vault:team/db@7#user:-nobody");
        assert_eq!(&*reference.scheme, "vault");
        assert_eq!(secret(&reference).name.as_str(), "team/db");
        assert_eq!(secret(&reference).version, VersionSelector::Exact(Version::from(7)));
        assert_eq!(secret(&reference).field.as_ref().unwrap().as_str(), "user");
        assert_eq!(reference.fallback, Fallback::Text("nobody".into()));
        assert_eq!(parse("env:HOME?").fallback, Fallback::Empty);
        assert_eq!(parse("env:HOME:-").fallback, Fallback::Text("".into()));
        assert_eq!(
            parse("file:/run/secrets/a@b").target,
            Target::File {
                path: "/run/secrets/a@b".into(),
                field: None
            }
        );
        let arn = "aws:arn:aws:secretsmanager:eu-west-1:123456789012:secret:app-AbCdEf";
        assert_eq!(secret(&parse(arn)).name.as_str(), &arn[4..]);
    }

    #[test]
    fn a_version_like_current_is_the_default() {
        assert_eq!(parse("secret:a@current"), parse("secret:a"));
        assert_eq!(secret(&parse("secret:a@previous")).version, VersionSelector::Previous);
    }

    #[test]
    fn refuses_with_a_reason() {
        for (body, reason) in [
            ("secret:", "no name"),
            ("secret:?", "no name"),
            ("secret:-a", "does not begin"),
            ("secret:a b", "%20"),
            ("secret:a%", "two hexadecimal"),
            ("secret:a%FF", "not UTF-8"),
            ("secret:a${b", "%24"),
            ("secret:a@", "version"),
            ("secret:a#", "field"),
            ("secret:../a", "segment"),
            ("secret:a:-${env:B}", "plain text"),
            ("Secret:a", "lower-case"),
            ("secret", "scheme"),
        ] {
            let error = Reference::parse(body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{body}");
            assert!(error.to_string().contains(reason), "{body}: {error}");
        }
    }

    #[test]
    fn a_default_is_never_printed() {
        let reference = parse("secret:a:-hunter2");
        assert!(!format!("{reference} {reference:?}").contains("hunter2"));
        let error = Reference::parse("secret:a b:-hunter2").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in any::<String>()) {
            let _ = Reference::parse(&text);
            let _ = Reference::parse(&format!("secret:{text}"));
        }

        #[test]
        fn a_reference_survives_being_written(name in "[^/\\p{C}]{1,20}(/[^/\\p{C}]{1,20}){0,2}", version in "[!-~]{1,10}", field in "[^\\p{C}]{1,10}", optional: bool) {
            let (Ok(name), Ok(version)) = (SecretName::new(name), VersionSelector::parse(&version)) else { return Ok(()) };
            let Ok(field) = Field::parse(&field) else { return Ok(()) };
            let fallback = if optional { Fallback::Empty } else { Fallback::None };
            let reference = Reference {
                scheme: "secret".into(),
                target: Target::Secret(SecretRef { name, version, field: Some(field) }),
                fallback,
            };
            let written = reference.to_string();
            prop_assert_eq!(Reference::parse(&written[2..written.len() - 1]).unwrap(), reference);
        }
    }
}
