//! The one error type of keyfob.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the terms that a caller can act on.
///
/// Exactly [`RateLimited`](Self::RateLimited), [`Timeout`](Self::Timeout) and
/// [`Unavailable`](Self::Unavailable) are [retryable](Self::is_retryable).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A create found the name taken.
    AlreadyExists,
    /// A precondition did not hold, or the name is reserved by a deleted secret.
    Conflict,
    /// Stored data is damaged, was tampered with, or was replaced by an older copy.
    Corrupt,
    /// The secret's expiry has passed.
    Expired,
    /// Configuration of keyfob itself (a variable, a URL, `keyfob.toml`, a key) is wrong.
    InvalidConfig,
    /// A value given by the caller (a name, a reference, a document) is wrong.
    InvalidInput,
    /// There is no such secret, version, field or file.
    NotFound,
    /// Text was asked for and the value is not UTF-8, or the store takes only text.
    NotText,
    /// The store knows who asks and says no.
    PermissionDenied,
    /// The store asks for fewer requests.
    RateLimited,
    /// No answer came in time. The outcome of a write is then unknown.
    Timeout,
    /// The store does not know who asks.
    Unauthenticated,
    /// The store can't be reached or can't serve now.
    Unavailable,
    /// The store can't do what was asked; see `Capabilities`.
    Unsupported,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Every kind, in the order of their names.
    pub const ALL: [Self; 15] = [
        Self::AlreadyExists,
        Self::Conflict,
        Self::Corrupt,
        Self::Expired,
        Self::InvalidConfig,
        Self::InvalidInput,
        Self::NotFound,
        Self::NotText,
        Self::PermissionDenied,
        Self::RateLimited,
        Self::Timeout,
        Self::Unauthenticated,
        Self::Unavailable,
        Self::Unsupported,
        Self::Other,
    ];

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Timeout | Self::Unavailable)
    }

    /// The stable token of this kind in JSON, audit records and metrics, for example `not_found`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Expired => "expired",
            Self::InvalidConfig => "invalid_config",
            Self::InvalidInput => "invalid_input",
            Self::NotFound => "not_found",
            Self::NotText => "not_text",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::Timeout => "timeout",
            Self::Unauthenticated => "unauthenticated",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Other => "other",
        }
    }
}

impl ErrorKind {
    /// The kind in words for people, for example `not found`.
    #[must_use]
    pub fn words(self) -> String {
        self.as_str().replace('_', " ")
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What failed, why, and what to do about it. Never a secret's bytes.
///
/// `Display` is one line: the message, then the context in parentheses. [`hint`](Self::hint) says what to do,
/// [`source`](std::error::Error::source) what lies below. `Debug` prints the `Display` chain, so that an
/// `unwrap` is as readable, and as harmless, as a log line. Cloning is cheap: one failed round trip can answer
/// many callers.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    hint: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` whose `message` is lower-case, without a final period, names in backticks.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            retry_after: None,
            source: None,
        }))
    }

    /// Adds a fact, for example `("store", "sqlite")`. A key given twice keeps its first value: the innermost
    /// place knows best.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        if !self.0.context.iter().any(|(known, _)| *known == key) {
            self.0.context.push((key, value.into()));
        }
        self
    }

    /// Says what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the error below this one. It must not print a secret's bytes.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Says how long the store asked callers to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, without the context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The facts that were added, in order.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// What the user can do, if anything is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// How long the store asked callers to wait, if it did.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            let opening = if index == 0 { " (" } else { ", " };
            write!(f, "{opening}{key} `{value}`")?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.kind)?;
        let mut below = std::error::Error::source(self);
        while let Some(error) = below {
            write!(f, ": {error}")?;
            below = error.source();
        }
        if let Some(hint) = self.hint() {
            write!(f, "; hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_and_debug_is_the_chain() {
        let below = std::io::Error::other("disk on fire");
        let error = Error::new(ErrorKind::Unavailable, "can't open the store")
            .with("store", "sqlite")
            .with("path", "a.db")
            .with("store", "outer")
            .with_hint("put the fire out")
            .with_source(below);
        assert_eq!(error.to_string(), "can't open the store (store `sqlite`, path `a.db`)");
        assert_eq!(
            format!("{error:?}"),
            "unavailable: can't open the store (store `sqlite`, path `a.db`): disk on fire; hint: put the fire out"
        );
    }

    #[test]
    fn exactly_three_kinds_are_retryable() {
        let retryable: Vec<_> = ErrorKind::ALL.into_iter().filter(|kind| kind.is_retryable()).collect();
        assert_eq!(
            retryable,
            [ErrorKind::RateLimited, ErrorKind::Timeout, ErrorKind::Unavailable]
        );
    }
}
