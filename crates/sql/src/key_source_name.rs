//! The name of a key source in a service.

use std::fmt;

use keyfob_core::{Error, ErrorKind, Result};

/// What the user writes for a key that a service keeps: `KIND:WHICH`, for example `vault-transit:app`.
///
/// Which kinds there are is known to whoever [connects](crate::KeyConfig::Named) it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySourceName {
    kind: String,
    which: String,
}

impl KeySourceName {
    /// Reads a name.
    ///
    /// # Errors
    /// `InvalidConfig` when it has not this form.
    pub fn parse(text: &str) -> Result<Self> {
        let is_kind = |kind: &str| {
            kind.starts_with(|first: char| first.is_ascii_lowercase())
                && kind
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        match text.split_once(':') {
            Some((kind, which))
                if is_kind(kind) && !which.is_empty() && text.len() <= MAX_BYTES && !which.chars().any(char::is_control) =>
            {
                Ok(Self {
                    kind: kind.to_owned(),
                    which: which.to_owned(),
                })
            }
            // Not repeated: somebody may have put a key where its source is asked for.
            _ => Err(
                Error::new(ErrorKind::InvalidConfig, "the key source is not of the form `KIND:KEY`")
                    .with_hint("write `vault-transit:KEY@MOUNT` or `aws-kms:KEY`; a key file is named with `KEYFOB_KEY_FILE`"),
            ),
        }
    }

    /// What kind of service, for example `vault-transit`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Which key of the service.
    #[must_use]
    pub fn which(&self) -> &str {
        &self.which
    }
}

impl fmt::Display for KeySourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.which)
    }
}

/// An ARN has at most 2048.
const MAX_BYTES: usize = 2100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_kind_and_which() {
        let name = KeySourceName::parse("aws-kms:arn:aws:kms:eu-west-1:1:key/2").unwrap();
        assert_eq!((name.kind(), name.which()), ("aws-kms", "arn:aws:kms:eu-west-1:1:key/2"));
        assert_eq!(name.to_string(), "aws-kms:arn:aws:kms:eu-west-1:1:key/2");
        for text in [
            "",
            "vault-transit",
            "vault-transit:",
            ":a",
            "Vault:a",
            "a b:c",
            "a:b\n",
            "-a:b",
        ] {
            let error = KeySourceName::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{text:?}");
        }
        let error = KeySourceName::parse("kfcanary-notasource1").unwrap_err();
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
}
