//! What Google answers → our errors, by an allow-list: HTTP status, code, reason, request id, our words.
//!
//! Never the message, which is Google's, nor the body, and never `Debug` of a type of the SDK: several print the value.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, SecretName};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

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

    pub(crate) fn is_denied(&self) -> bool {
        self.code == "PERMISSION_DENIED"
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

    /// The error about no single secret.
    pub(crate) fn into_error(self) -> Error {
        self.error
    }

    pub(crate) fn reason(&self) -> Option<&str> {
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
pub(crate) fn refused(status: u16, headers: &HeaderMap, body: &[u8], writes: bool) -> Failed {
    let answer = serde_json::from_slice::<Envelope>(body).map(|envelope| envelope.error);
    // Without Google's envelope it is not the service that answered, but something between.
    let answer = answer.ok().filter(|answer| is_word(&answer.status));
    let (error, answer) = match answer {
        Some(answer) => (of_code(&answer), answer),
        None => (of_status(status), Answer::default()),
    };
    let mut failed = Failed::new(error).with("status", status.to_string());
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
    settled(failed, writes)
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

fn settled(mut failed: Failed, writes: bool) -> Failed {
    if writes && failed.kind() == ErrorKind::Timeout {
        failed.error = failed.error.with_hint("read the secret to see whether it was written");
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

/// The task that wrote is gone: nobody knows how far it came.
pub(crate) fn interrupted(name: &SecretName) -> Error {
    about(Error::new(ErrorKind::Timeout, "the write was interrupted"), name)
        .with_hint("read the secret to see whether it was written")
}

pub(crate) fn about(error: Error, name: &SecretName) -> Error {
    error.with("name", name.as_str()).with("store", SCHEME)
}

fn incomprehensible() -> Error {
    Error::new(ErrorKind::Other, "the answer can't be understood")
        .with_hint("check that the endpoint is Secret Manager and nothing stands between that answers in its place")
}

/// The body of an error: <https://cloud.google.com/apis/design/errors>. The message is left out on purpose.
#[derive(Deserialize)]
struct Envelope {
    error: Answer,
}

#[derive(Deserialize, Default)]
struct Answer {
    #[serde(default)]
    status: String,
    #[serde(default)]
    details: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "@type", default)]
    kind: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(rename = "retryDelay", default)]
    retry_delay: Option<String>,
    #[serde(rename = "requestId", default)]
    request_id: Option<String>,
}

impl Answer {
    fn of(&self, kind: &str) -> impl Iterator<Item = &Detail> {
        let wanted = format!("type.googleapis.com/google.rpc.{kind}");
        self.details.iter().filter(move |detail| detail.kind == wanted)
    }

    fn reason(&self) -> Option<&str> {
        self.of("ErrorInfo")
            .find_map(|detail| detail.reason.as_deref())
            .filter(|text| is_word(text))
    }

    fn request_id(&self) -> Option<&str> {
        let is_id = |id: &&str| id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        self.of("RequestInfo")
            .find_map(|detail| detail.request_id.as_deref())
            .filter(is_id)
    }

    /// Written as `3.5s`.
    fn retry_delay(&self) -> Option<Duration> {
        let text = self.of("RetryInfo").find_map(|detail| detail.retry_delay.as_deref())?;
        let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
        let wait = Duration::try_from_secs_f64(seconds).ok()?;
        Some(wait.min(MOST_WAIT))
    }
}

/// Nobody is told to wait longer.
const MOST_WAIT: Duration = Duration::from_secs(3600);

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MOST_WAIT))
}

/// Whether it looks like a code or a reason: `RESOURCE_EXHAUSTED`.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// The codes of <https://cloud.google.com/apis/design/errors#handling_errors>, and the reasons of `google.api.ErrorReason`.
fn of_code(answer: &Answer) -> Error {
    use ErrorKind::{AlreadyExists, Conflict, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout};
    use ErrorKind::{Unauthenticated, Unavailable, Unsupported};
    let (kind, words, hint) = match answer.status.as_str() {
        "NOT_FOUND" => (NotFound, "no such secret", None),
        "ALREADY_EXISTS" => (AlreadyExists, "the secret exists already", None),
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => (InvalidInput, "the service refused a part of the request", None),
        "FAILED_PRECONDITION" => (Conflict, "the secret is in a state that doesn't allow this", None),
        "ABORTED" => (Conflict, "somebody else changed the secret at the same time", None),
        "PERMISSION_DENIED" => (
            PermissionDenied,
            "the credentials are not allowed to do this",
            Some(denied_hint(answer.reason().unwrap_or_default())),
        ),
        "UNAUTHENTICATED" => (
            Unauthenticated,
            "the service doesn't know these credentials",
            Some("log in again: `gcloud auth application-default login`, or check `GOOGLE_APPLICATION_CREDENTIALS`"),
        ),
        "RESOURCE_EXHAUSTED" => (
            RateLimited,
            "the service asks for fewer requests",
            Some("see the quotas of the Secret Manager API in the console"),
        ),
        "UNAVAILABLE" | "INTERNAL" | "UNKNOWN" | "CANCELLED" => (Unavailable, "the service can't serve now", None),
        "DEADLINE_EXCEEDED" => (Timeout, "the service gave up waiting", None),
        "UNIMPLEMENTED" => (
            Unsupported,
            "the endpoint doesn't know this request",
            Some("check the endpoint"),
        ),
        "DATA_LOSS" => (ErrorKind::Corrupt, "the service lost data", None),
        _ => (Other, "the service refused the request", None),
    };
    let error = Error::new(kind, words);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn denied_hint(reason: &str) -> &'static str {
    match reason {
        "SERVICE_DISABLED" => "the API is not enabled in the project: `gcloud services enable secretmanager.googleapis.com`",
        "BILLING_DISABLED" => "the project has no billing account",
        "USER_PROJECT_DENIED" => {
            "the credentials may not use the quota project (`GOOGLE_CLOUD_QUOTA_PROJECT`, `quota_project_id` of the credentials)"
        }
        "CONSUMER_INVALID" | "RESOURCE_PROJECT_INVALID" => {
            "check the project: there is none of that name, or it is being deleted"
        }
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => "the machine's access scopes leave out Secret Manager: give it `cloud-platform`",
        _ => "the page about Google Cloud has ready roles; a missing project is told like this too",
    }
}

fn of_status(status: u16) -> Error {
    let (kind, words) = match status {
        300..=399 => (
            ErrorKind::InvalidConfig,
            "the endpoint redirects elsewhere, which is not followed",
        ),
        401 => (ErrorKind::Unauthenticated, "the service doesn't know these credentials"),
        403 => (ErrorKind::PermissionDenied, "the credentials are not allowed to do this"),
        408 | 504 => (ErrorKind::Timeout, "the service gave up waiting"),
        429 => (ErrorKind::RateLimited, "the service asks for fewer requests"),
        500..=599 => (ErrorKind::Unavailable, "the service can't serve now"),
        _ => return incomprehensible(),
    };
    Error::new(kind, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Error {
        refused(status, &HeaderMap::new(), body.as_bytes(), false).into_error()
    }

    #[test]
    fn the_facts_are_told_and_the_message_is_not() {
        let error = of(
            403,
            r#"{"error": {"code": 403, "message": "kfcanary-message01", "status": "PERMISSION_DENIED", "details": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
                 "metadata": {"consumer": "kfcanary-metadata1"}},
                {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "abc-123"},
                {"@type": "type.googleapis.com/google.rpc.Help", "links": []}]}}"#,
        );
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        let facts: Vec<_> = error.context().collect();
        for fact in [
            ("status", "403"),
            ("code", "PERMISSION_DENIED"),
            ("reason", "SERVICE_DISABLED"),
            ("request_id", "abc-123"),
        ] {
            assert!(facts.contains(&fact), "{fact:?} in {error:?}");
        }
        assert!(error.hint().unwrap().contains("gcloud services enable"));
        assert!(!format!("{error:?}").contains("kfcanary"));
    }

    #[test]
    fn the_time_to_wait_is_told() {
        let body = |delay: &str| {
            format!(
                r#"{{"error": {{"status": "RESOURCE_EXHAUSTED", "details": [
                    {{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "{delay}"}}]}}}}"#
            )
        };
        let wait = |delay: &str| of(429, &body(delay)).retry_after();
        assert_eq!(wait("7s"), Some(Duration::from_secs(7)));
        assert_eq!(wait("0.250s"), Some(Duration::from_millis(250)));
        assert_eq!(wait("99999999999s"), Some(MOST_WAIT));
        for nonsense in ["7", "-3s", "NaNs", "s", "kfcanary-notadelay"] {
            assert_eq!(wait(nonsense), None, "{nonsense}");
        }
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "11".parse().unwrap())]);
        let error = refused(429, &headers, b"", false).into_error();
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::RateLimited, Some(Duration::from_secs(11)))
        );
    }

    #[test]
    fn what_google_did_not_say_is_not_taken_for_its_word() {
        // A missing page is not a missing secret.
        assert_eq!(of(404, "<html>kfcanary-apage0001</html>").kind(), ErrorKind::Other);
        assert_eq!(of(404, r#"{"error": "kfcanary-notstatus"}"#).kind(), ErrorKind::Other);
        let odd = of(400, r#"{"error": {"status": "kfcanary-oddstatus"}}"#);
        assert_eq!(odd.kind(), ErrorKind::Other);
        assert!(!format!("{odd:?}").contains("kfcanary"));
        assert_eq!(of(404, r#"{"error": {"status": "NOT_FOUND"}}"#).kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_write_without_an_answer_says_what_to_do() {
        assert!(too_late(true).into_error().hint().is_some());
        assert!(too_late(false).into_error().hint().is_none());
    }
}
