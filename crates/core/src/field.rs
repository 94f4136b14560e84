//! One field of a value that is a JSON document.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result};
use crate::value::SecretValue;

/// `#key` is a top-level key, `#/a/b` a JSON Pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Field(Box<str>);

impl Field {
    /// Parses what stands after `#`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is empty or a pointer with a `~` that escapes nothing.
    pub fn parse(text: &str) -> Result<Self> {
        let problem = if text.is_empty() {
            "it is empty"
        } else if text.len() > 1024 {
            "it is longer than 1024 bytes"
        } else if text.chars().any(char::is_control) {
            "it contains a control character"
        } else if text.starts_with('/') && text.split('~').skip(1).any(|after| !after.starts_with(['0', '1'])) {
            "in a JSON Pointer `~` is written `~0` and `/` in a key `~1`"
        } else {
            return Ok(Self(text.into()));
        };
        Err(Error::new(ErrorKind::InvalidInput, format!("invalid field: {problem}"))
            .with_hint("a field is a top-level key like `#user` or a JSON Pointer like `#/db/user`"))
    }

    /// The field as it was written, decoded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Picks this field of `value`: a string gives its text, any other scalar or document its JSON as it stands.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the field is absent or `null`, with the keys that do exist where it was looked
    /// for; [`ErrorKind::InvalidInput`] when the value is not a JSON document.
    pub fn pick(&self, value: &SecretValue) -> Result<SecretValue> {
        // The parser's own message can quote the value, so it is not kept.
        let not_json = |_| {
            Error::new(
                ErrorKind::InvalidInput,
                "the value is not a JSON document, so it has no fields",
            )
            .with("field", self.as_str())
        };
        let mut here: &RawValue = serde_json::from_slice(value.expose_secret()).map_err(not_json)?;
        for step in self.steps() {
            let node = Node::parse(here).map_err(not_json)?;
            here = node.child(&step).ok_or_else(|| {
                let error = Error::new(ErrorKind::NotFound, "no such field").with("field", self.as_str());
                let keys = node.keys();
                if keys.is_empty() {
                    error
                } else {
                    error.with(FIELDS_THAT_EXIST, keys)
                }
            })?;
        }
        if here.get().starts_with('"') {
            serde_json::from_str::<String>(here.get())
                .map(SecretValue::from)
                .map_err(not_json)
        } else {
            Ok(SecretValue::from(here.get()))
        }
    }

    fn steps(&self) -> Vec<String> {
        match self.0.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => vec![self.0.to_string()],
        }
    }
}

/// One level of a document; what lies deeper stays unparsed, so numbers keep the digits they were written with.
enum Node<'a> {
    Object(BTreeMap<String, &'a RawValue>),
    Array(Vec<&'a RawValue>),
    Scalar,
}

impl<'a> Node<'a> {
    fn parse(raw: &'a RawValue) -> Result<Self, serde_json::Error> {
        match raw.get().as_bytes().first() {
            Some(b'{') => serde_json::from_str(raw.get()).map(Self::Object),
            Some(b'[') => serde_json::from_str(raw.get()).map(Self::Array),
            _ => Ok(Self::Scalar),
        }
    }

    fn child(&self, step: &str) -> Option<&'a RawValue> {
        let child = match self {
            Self::Object(map) => map.get(step).copied(),
            Self::Array(items) => array_index(step).and_then(|index| items.get(index)).copied(),
            Self::Scalar => None,
        };
        child.filter(|raw| !is_null(raw))
    }

    /// What could have been asked for, for people.
    fn keys(&self) -> String {
        match self {
            Self::Object(map) => {
                let present = map
                    .iter()
                    .filter(|(_, raw)| !is_null(raw))
                    .map(|(key, _)| key.escape_debug().to_string());
                let mut keys: Vec<String> = present.take(MOST_KEYS + 1).collect();
                if keys.len() > MOST_KEYS {
                    keys[MOST_KEYS] = "…".to_owned();
                }
                keys.join(", ")
            }
            Self::Array(items) if !items.is_empty() => format!("0 to {}", items.len() - 1),
            Self::Array(_) | Self::Scalar => String::new(),
        }
    }
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

/// The context key under which a missing field's error names the fields that do exist.
const FIELDS_THAT_EXIST: &str = "fields";

/// At most this many keys are named in an error.
const MOST_KEYS: usize = 20;

/// RFC 6901: digits without a leading zero.
fn array_index(step: &str) -> Option<usize> {
    if step.len() > 1 && step.starts_with('0') || !step.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    step.parse().ok()
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(json: &str, field: &str) -> Result<String> {
        Field::parse(field)?
            .pick(&SecretValue::from(json))
            .map(|value| value.expose_str().unwrap().to_owned())
    }

    #[test]
    fn a_string_gives_its_text_and_anything_else_its_json() {
        let json = r#"{"user":"jo","port":5432,"on":true,"big":12345678901234567890.10,"a/b":{"c":[10,{"d":"x"}]},"empty":""}"#;
        for (field, expected) in [
            ("user", "jo"),
            ("port", "5432"),
            ("on", "true"),
            ("big", "12345678901234567890.10"),
            ("a/b", r#"{"c":[10,{"d":"x"}]}"#),
            ("/a~1b/c/0", "10"),
            ("/a~1b/c/1/d", "x"),
            ("empty", ""),
        ] {
            assert_eq!(pick(json, field).unwrap(), expected, "{field}");
        }
    }

    #[test]
    fn a_missing_field_names_those_that_exist() {
        let json = r#"{"user":"jo","password":"hunter2","none":null}"#;
        for field in ["pasword", "none", "/user/x", "/x/y"] {
            let error = pick(json, field).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert!(!error.to_string().contains("hunter2"));
        }
        assert!(pick(json, "pasword").unwrap_err().to_string().contains("password, user"));
        assert!(pick("[1]", "/00").is_err());
    }

    #[test]
    fn a_value_that_is_no_document_is_not_quoted() {
        let error = pick("hunter2", "user").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(pick(&"[".repeat(100_000), "user").is_err());
    }
}
