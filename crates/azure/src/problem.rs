//! Our own errors, on their way through the SDK.

use std::error::Error as StdError;
use std::fmt;

use azure_core::error::ErrorKind as SdkKind;
use keyfob_core::{Error, ErrorKind};

/// An error that keyfob's own parts below the SDK made, so that it comes out above as it went in.
#[derive(Clone)]
pub(crate) struct Problem {
    pub(crate) error: Error,
    /// The request may have arrived, and its answer did not.
    pub(crate) is_unsettled: bool,
}

impl Problem {
    pub(crate) fn new(kind: ErrorKind, message: &'static str) -> Self {
        Self::from(Error::new(kind, message))
    }

    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self {
            error: self.error.with_hint(hint),
            ..self
        }
    }

    pub(crate) fn with(self, key: &'static str, value: impl Into<String>) -> Self {
        Self {
            error: self.error.with(key, value),
            ..self
        }
    }

    pub(crate) fn unsettled(self) -> Self {
        Self {
            is_unsettled: true,
            ..self
        }
    }

    /// As the SDK carries it.
    pub(crate) fn into_sdk(self, kind: SdkKind) -> azure_core::Error {
        azure_core::Error::new(kind, self)
    }

    /// The one in `error`, if it came from below.
    pub(crate) fn find(error: &azure_core::Error) -> Option<&Self> {
        let mut below: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = below {
            if let Some(problem) = error.downcast_ref() {
                return Some(problem);
            }
            below = error.source();
        }
        None
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self {
            error,
            is_unsettled: false,
        }
    }
}

/// The words of the error alone: the SDK writes them to its log.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl StdError for Problem {}
