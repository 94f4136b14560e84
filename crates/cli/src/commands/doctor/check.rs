//! One thing that was looked at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use keyfob::Error;
use serde::Serialize;

/// What was looked at, and what was found. Texts are safe to show once they are escaped.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    pub(super) check: &'static str,
    pub(super) subject: String,
    pub(super) status: Status,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) milliseconds: Option<u64>,
    pub(super) details: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Ok,
    Warning,
    Failed,
}

impl Check {
    pub(super) fn ok(check: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            check,
            subject: subject.into(),
            status: Status::Ok,
            message: message.into(),
            hint: None,
            milliseconds: None,
            details: BTreeMap::new(),
        }
    }

    pub(super) fn warning(check: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status: Status::Warning,
            ..Self::ok(check, subject, message)
        }
    }

    pub(super) fn failed(check: &'static str, subject: impl Into<String>, error: &Error) -> Self {
        let mut message = error.to_string();
        let mut below = std::error::Error::source(error);
        while let Some(cause) = below {
            message += &format!(": {cause}");
            below = cause.source();
        }
        Self {
            status: Status::Failed,
            hint: error.hint().map(str::to_owned),
            ..Self::ok(check, subject, message)
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }

    pub(super) fn since(self, begin: Instant) -> Self {
        self.took(begin.elapsed())
    }

    pub(super) fn took(mut self, time: Duration) -> Self {
        self.milliseconds = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }
}
