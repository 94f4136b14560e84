//! Answers of the API server and errors of the client → our errors, by an allow-list: status, reason, field, our words.
//!
//! Never the message of an answer (admission webhooks quote the object there), and never an error of kube as it prints itself.

mod refusal;

use std::error::Error as StdError;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use keyfob_core::{Error, ErrorKind, SecretName};

use self::refusal::{Said, words};
use crate::store::SCHEME;

/// What a request failed with: an error for the user, and what the code decides by.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    status: u16,
    reason: Reason,
    /// What an answer is about: `secrets`, `namespaces`.
    about: About,
    error: Error,
}

/// The reasons that something depends on. Kubernetes: `StatusReason` in k8s.io/apimachinery/pkg/apis/meta/v1/types.go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    AlreadyExists,
    Conflict,
    Expired,
    /// `Invalid` without any cause.
    InvalidOfNoCause,
    NotFound,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Secrets,
    Namespaces,
    Unknown,
}

impl Failed {
    pub(crate) fn of(error: Error) -> Self {
        Self {
            status: 0,
            reason: Reason::Other,
            about: About::Unknown,
            error,
        }
    }

    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self.error = self.error.with("status", status.as_u16().to_string());
        self
    }

    pub(crate) fn too_late() -> Self {
        Self::of(Error::new(ErrorKind::Timeout, "no answer came in time"))
    }

    /// The request did not get there, or its answer not back.
    pub(crate) fn undelivered(error: &kube::Error, writes: bool) -> Self {
        if let Some(auth) = in_chain::<kube::client::AuthError>(error) {
            return Self::of(crate::client::of_program(auth));
        }
        let is_unconnected = in_chain::<hyper_util::client::legacy::Error>(error).is_some_and(|below| below.is_connect());
        Self::of(match writes && !is_unconnected {
            true => write_unsettled(),
            false => broken(error),
        })
    }

    /// What a refusal says.
    pub(crate) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let said = Said::parse(body);
        let reason = said
            .as_ref()
            .and_then(|said| said.reason.as_deref())
            .filter(|reason| is_word(reason));
        let (kind, words, hint) = words(status.as_u16(), said.as_ref());
        let mut error = Error::new(kind, words).with("status", status.as_u16().to_string());
        if let Some(reason) = reason {
            error = error.with("reason", reason);
        }
        if let Some(field) = said.as_ref().and_then(Said::field) {
            error = error.with("field", field);
        }
        if let Some(hint) = hint {
            error = error.with_hint(hint);
        }
        if kind.is_retryable()
            && let Some(wait) = retry_after(headers, said.as_ref())
        {
            error = error.with_retry_after(wait);
        }
        let details = said.as_ref().and_then(|said| said.details.as_ref());
        Self {
            status: status.as_u16(),
            reason: match reason {
                Some("AlreadyExists") => Reason::AlreadyExists,
                Some("Conflict") => Reason::Conflict,
                Some("Expired" | "Gone") => Reason::Expired,
                Some("Invalid") if said.as_ref().is_some_and(|said| said.causes().is_empty()) => Reason::InvalidOfNoCause,
                Some("NotFound") => Reason::NotFound,
                _ => Reason::Other,
            },
            about: match details.and_then(|details| details.kind.as_deref()) {
                Some("secrets") => About::Secrets,
                Some("namespaces") => About::Namespaces,
                _ => About::Unknown,
            },
            error,
        }
    }

    pub(crate) fn map(mut self, change: impl FnOnce(Error) -> Error) -> Self {
        self.error = change(self.error);
        self
    }

    /// The same for a request that changes something: when its answer did not come, nobody knows whether it was done.
    pub(crate) fn settled(self, writes: bool) -> Self {
        match writes && self.error.kind() == ErrorKind::Timeout {
            true => self.map(|error| error.with_hint(SETTLE)),
            false => self,
        }
    }

    /// There is no such object. The API server says the same when the namespace is missing, as far as reads go.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == 404 && self.reason == Reason::NotFound && self.about == About::Secrets
    }

    pub(crate) fn lacks_namespace(&self) -> bool {
        self.status == 404 && self.reason == Reason::NotFound && self.about == About::Namespaces
    }

    pub(crate) fn already_exists(&self) -> bool {
        self.status == 409 && self.reason == Reason::AlreadyExists
    }

    /// Another version is there than the one that was expected, or another object has its name.
    pub(crate) fn is_conflict(&self) -> bool {
        let is_other = || self.error.context().any(|fact| fact == ("field", "metadata.uid"));
        self.status == 409 && self.reason == Reason::Conflict || self.status == 422 && is_other()
    }

    /// What was to be gone on with is no longer known.
    pub(crate) fn is_expired(&self) -> bool {
        self.status == 410 && self.reason == Reason::Expired
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.status == 403
    }

    /// What a JSON patch tests is not so, or what it changes is not there. The API server names a cause when it is the object
    /// that would be that it refuses, and none when it can't apply the patch.
    pub(crate) fn does_not_apply(&self) -> bool {
        self.status == 422 && self.reason == Reason::InvalidOfNoCause
    }

    /// The error about `name`.
    pub(crate) fn about(self, name: &SecretName) -> Error {
        match self.is_not_found() {
            true => not_found(name),
            false => self.error.with("name", name.as_str()),
        }
    }

    /// The error about no single secret.
    pub(crate) fn into_error(self) -> Error {
        self.error
    }
}

const SETTLE: &str = "read the secret to see whether it was written";

pub(crate) fn not_found(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "no such secret")
        .with("name", name.as_str())
        .with("store", SCHEME)
}

/// The answer is not one of an API server, or not about what was asked.
pub(crate) fn incomprehensible() -> Error {
    Error::new(ErrorKind::Other, "the answer can't be understood").with_hint(
        "check that the cluster's address is that of its API server and nothing stands between that answers in its place",
    )
}

/// Whether the server says that it did nothing with the request, so that it can be sent again, a write too.
/// RFC 9113, 6.8: what was sent after the last stream that a GOAWAY names; 8.7: a stream that is refused.
pub(crate) fn was_not_processed(error: &kube::Error) -> bool {
    in_chain::<h2::Error>(error).is_some_and(|below| {
        let goes_away = below.is_go_away() && below.reason() == Some(h2::Reason::NO_ERROR);
        below.is_remote() && (goes_away || below.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// The connection broke after a write was sent.
pub(crate) fn write_unsettled() -> Error {
    Error::new(ErrorKind::Timeout, "the connection broke before the answer to a write came").with_hint(SETTLE)
}

/// No connection, or one that broke.
pub(crate) fn broken(error: &kube::Error) -> Error {
    let mapped = Error::new(ErrorKind::Unavailable, "the API server can't be reached");
    match in_chain::<std::io::Error>(error) {
        // The words of the operating system or of TLS about the connection.
        Some(below) => mapped.with("cause", below.to_string()),
        None => mapped,
    }
}

/// Something else changed the object all the time.
pub(crate) fn contended(name: &SecretName) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "somebody else changes the secret at the same time, again and again",
    )
    .with("name", name.as_str())
    .with("store", SCHEME)
}

pub(crate) fn another_is_current(name: &SecretName) -> Error {
    Error::new(ErrorKind::Conflict, "another version is current")
        .with("name", name.as_str())
        .with("store", SCHEME)
}

pub(crate) fn already_exists(name: &SecretName) -> Error {
    Error::new(ErrorKind::AlreadyExists, "the secret exists already")
        .with("name", name.as_str())
        .with("store", SCHEME)
}

/// Seconds, in the header or in the body.
fn retry_after(headers: &HeaderMap, said: Option<&Said>) -> Option<Duration> {
    let header = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let header = header.and_then(|text| text.trim().parse::<u64>().ok());
    let details = said.and_then(|said| said.details.as_ref());
    let seconds = header.or(details.and_then(|details| details.retry_after_seconds))?;
    Some(Duration::from_secs(seconds.min(3600)))
}

/// The text of a reason, if it looks like one.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// The last error of its type: nearest to the cause.
fn in_chain<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    std::iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref())
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Failed {
        Failed::refused(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn the_reason_tells_answers_of_the_same_status_apart() {
        let body = |reason: &str| format!(r#"{{"kind":"Status","reason":"{reason}","details":{{"kind":"secrets"}}}}"#);
        assert!(refused(409, &body("AlreadyExists")).already_exists());
        assert!(refused(409, &body("Conflict")).is_conflict());
        assert!(refused(404, &body("NotFound")).is_not_found());
        let namespace = r#"{"kind":"Status","reason":"NotFound","details":{"kind":"namespaces"}}"#;
        let failed = refused(404, namespace);
        assert!(failed.lacks_namespace() && !failed.is_not_found());
        assert_eq!(failed.into_error().kind(), ErrorKind::InvalidConfig);
        assert!(
            !refused(404, "<html>").is_not_found(),
            "a proxy's 404 says nothing about a secret"
        );
    }

    #[test]
    fn nothing_of_an_answer_is_shown_but_words_that_look_like_reasons_and_fields() {
        let failed = refused(
            422,
            r#"{"kind":"Status","reason":"kfcanary reason 1","message":"kfcanary-message01",
                "details":{"kind":"kfcanary-kind00001","causes":[{"reason":"kfcanary-cause001","field":"kfcanary \"field\" 1"}]}}"#,
        );
        assert!(!format!("{:?}", failed.into_error()).contains("kfcanary"));
        let failed = refused(
            422,
            r#"{"kind":"Status","reason":"Invalid","details":{"causes":[{"field":"data[tls.crt]"}]}}"#,
        );
        let error = failed.into_error();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.context().any(|fact| fact == ("field", "data[tls.crt]")));
    }

    /// As kube-apiserver 1.34 answered a failed test of a JSON patch, and one to an object that may not be.
    #[test]
    fn a_patch_that_does_not_apply_is_told_from_an_object_that_may_not_be() {
        let body = |details| format!(r#"{{"kind":"Status","reason":"Invalid","details":{details},"code":422}}"#);
        assert!(refused(422, &body("{}")).does_not_apply());
        let invalid = r#"{"name":"a","kind":"Secret","causes":[{"reason":"FieldValueInvalid","field":"data[a b]"}]}"#;
        assert!(!refused(422, &body(invalid)).does_not_apply());
        assert!(!refused(422, "<html>").does_not_apply());
    }

    #[test]
    fn a_throttled_request_says_how_long_to_wait() {
        let body = r#"{"kind":"Status","reason":"TooManyRequests","details":{"retryAfterSeconds":4}}"#;
        assert_eq!(refused(429, body).into_error().retry_after(), Some(Duration::from_secs(4)));
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let failed = Failed::refused(StatusCode::TOO_MANY_REQUESTS, &headers, body.as_bytes());
        assert_eq!(failed.into_error().retry_after(), Some(Duration::from_secs(7)));
    }
}
