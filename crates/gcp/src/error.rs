//! What Google answers → our errors, by an allow-list: HTTP status, code, reason, request id, our words.
//!
//! Never the message, which is Google's, nor the body, and never `Debug` of a type of the SDK: several print the value.

mod answer;

use std::error::Error as StdError;
use std::fmt;

use keyfob_core::{Error, ErrorKind, SecretName};
use reqwest::header::HeaderMap;

use self::answer::{Answer, of_code, of_status, retry_after};
use crate::permissions::Permission;
use crate::store::SCHEME;

/// What a request failed with: an error for the user, and the code that the store decides by.
///
/// It goes through the SDK as the source of the SDK's own error.
#[derive(Clone)]
pub(crate) struct Failed {
    code: String,
    error: Error,
}

impl Failed {
    pub(crate) fn new(error: Error) -> Self {
        Self {
            code: String::new(),
            error: error.with("store", SCHEME),
        }
    }

    /// The answer came, and says nothing of what it must say.
    pub(crate) fn incomprehensible() -> Self {
        Self::new(incomprehensible())
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.code == "NOT_FOUND"
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.code == "ALREADY_EXISTS"
    }

    /// No answer of the service came.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.code.is_empty()
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.code == "PERMISSION_DENIED"
    }

    /// Who asks may not do this; nothing else is in the way.
    pub(crate) fn lacks_permission(&self) -> bool {
        self.is_denied() && self.reason().is_none_or(|reason| reason == "IAM_PERMISSION_DENIED")
    }

    /// A version is not enabled, or an etag is not the current one.
    pub(crate) fn is_precondition(&self) -> bool {
        self.code == "FAILED_PRECONDITION"
    }

    /// Somebody changed the resource in between. The documentation of etags names the first code, Google's rules for its
    /// APIs (AIP-154) the second.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.is_precondition() || self.code == "ABORTED"
    }

    pub(crate) fn is_invalid_argument(&self) -> bool {
        self.code == "INVALID_ARGUMENT"
    }

    /// The error about `name`.
    pub(crate) fn about(self, name: &SecretName) -> Error {
        self.error.with("name", name.as_str())
    }

    /// Another error, with what is known of this answer: status, code, request id.
    pub(crate) fn as_fact_of(&self, error: Error) -> Error {
        with_facts_of(error, &self.error)
    }

    /// The error about no single secret.
    pub(crate) fn into_error(self) -> Error {
        self.error
    }

    fn reason(&self) -> Option<&str> {
        self.error
            .context()
            .find_map(|(key, value)| (key == "reason").then_some(value))
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.error = self.error.with(key, value);
        self
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for Failed {}

/// Takes ours out of the SDK's error.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn failed(error: google_cloud_gax::error::Error) -> Failed {
    match error.source().and_then(|source| source.downcast_ref::<Failed>()) {
        Some(failed) => failed.clone(),
        // The SDK refuses what it could not even send.
        None => Failed::new(Error::new(ErrorKind::Other, "the request could not be built")),
    }
}

/// An answer that is no success.
pub(crate) fn refused(status: u16, headers: &HeaderMap, body: &[u8], permission: Permission) -> Failed {
    let answer = Answer::read(body);
    let mut failed = Failed::new(
        answer
            .as_ref()
            .map_or_else(|| of_status(status), |answer| of_code(answer, permission)),
    )
    .with("status", status.to_string());
    let answer = answer.unwrap_or_default();
    if !answer.status.is_empty() {
        failed = failed.with("code", answer.status.as_str());
    }
    if let Some(reason) = answer.reason() {
        failed = failed.with("reason", reason);
    }
    if let Some(id) = answer.request_id() {
        failed = failed.with("request_id", id);
    }
    if let Some(wait) = answer.retry_delay().or_else(|| retry_after(headers)) {
        failed.error = failed.error.with_retry_after(wait);
    }
    failed.code = answer.status;
    // Of the code for 503 too Google says that it is not always safe to send what changes something again:
    // <https://cloud.google.com/apis/design/errors>.
    if permission.is_to_write() && failed.kind() == ErrorKind::Unavailable {
        let message = failed.error.message().to_owned();
        failed.error = told_as(ErrorKind::Timeout, message, &failed.error);
    }
    settled(failed, permission.is_to_write())
}

/// No answer came in time.
pub(crate) fn too_late(writes: bool) -> Failed {
    settled(Failed::new(Error::new(ErrorKind::Timeout, "no answer came in time")), writes)
}

/// The request could not be sent, or its answer not be read.
pub(crate) fn undelivered(error: &reqwest::Error, writes: bool) -> Failed {
    let mapped = if error.is_timeout() {
        Error::new(ErrorKind::Timeout, "no answer came in time")
    } else if writes && !error.is_connect() {
        // It may have arrived, and nobody knows whether it was done.
        Error::new(ErrorKind::Timeout, "the connection broke before the answer to a write came")
    } else {
        Error::new(ErrorKind::Unavailable, "Google Cloud can't be reached")
    };
    let chain = std::iter::successors(Some(error as &(dyn StdError + 'static)), |&error| error.source());
    let below = chain.filter_map(|error| error.downcast_ref::<std::io::Error>()).last();
    settled(
        Failed::new(match below {
            // The words of the operating system or of TLS about the connection.
            Some(below) => mapped.with("reason", below.to_string()),
            None => mapped,
        }),
        writes,
    )
}

pub(crate) fn too_large(status: u16) -> Failed {
    let error = Error::new(
        ErrorKind::Other,
        "the answer is larger than any answer of Secret Manager can be",
    );
    Failed::new(error.with_hint("check the endpoint")).with("status", status.to_string())
}

pub(crate) fn unreadable(status: u16) -> Failed {
    Failed::incomprehensible().with("status", status.to_string())
}

/// The same answer, as another error without a hint.
fn told_as(kind: ErrorKind, message: String, error: &Error) -> Error {
    let told = with_facts_of(Error::new(kind, message), error);
    match error.retry_after() {
        Some(wait) => told.with_retry_after(wait),
        None => told,
    }
}

/// Of a write without an answer nobody knows whether it was done.
fn settled(mut failed: Failed, writes: bool) -> Failed {
    if writes && failed.kind() == ErrorKind::Timeout {
        let message = format!("{}, and the write may have happened", failed.error.message());
        failed.error =
            told_as(ErrorKind::Timeout, message, &failed.error).with_hint("read the secret to see whether it was written");
    }
    failed
}

pub(crate) fn not_found(name: &SecretName) -> Error {
    about(Error::new(ErrorKind::NotFound, "no such secret"), name)
}

/// There is a secret, and nothing in it.
pub(crate) fn without_value(name: &SecretName) -> Error {
    not_found(name).with_hint("there is a secret of that name, and it has no version that is enabled")
}

pub(crate) fn deleted(name: &SecretName) -> Error {
    not_found(name).with_hint("it was deleted so that it can be restored (its versions are disabled)")
}

/// A write to what is deleted.
pub(crate) fn reserved(name: &SecretName) -> Error {
    about(Error::new(ErrorKind::Conflict, "the name belongs to a deleted secret"), name)
        .with_hint("restore it, or delete it for good")
}

/// Others change the secret faster than this write can follow.
pub(crate) fn overtaken(name: &SecretName) -> Error {
    about(
        Error::new(ErrorKind::Conflict, "somebody else changes the secret at the same time"),
        name,
    )
    .with_hint("try again")
}

pub(crate) fn about(error: Error, name: &SecretName) -> Error {
    error.with("name", name.as_str()).with("store", SCHEME)
}

/// `error` with what is known of the answer that another is about: status, code, request id.
pub(crate) fn with_facts_of(error: Error, of: &Error) -> Error {
    of.context().fold(error, |error, (key, value)| error.with(key, value))
}

fn incomprehensible() -> Error {
    Error::new(ErrorKind::Other, "the answer can't be understood")
        .with_hint("check that the endpoint is Secret Manager and nothing stands between that answers in its place")
}

#[cfg(test)]
mod tests;
