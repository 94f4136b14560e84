//! What Google says in the body of an error, as far as it is listened to.

use std::borrow::Cow;
use std::time::Duration;

use keyfob_core::{Error, ErrorKind};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::incomprehensible;
use crate::permissions::Permission;

/// The body of an error: <https://cloud.google.com/apis/design/errors>. The message is left out on purpose.
#[derive(Deserialize)]
struct Envelope {
    error: Answer,
}

#[derive(Deserialize, Default)]
pub(super) struct Answer {
    #[serde(default)]
    pub(super) status: String,
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
    /// `None` without Google's envelope: then it is not the service that answered, but something between.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let answer = serde_json::from_slice::<Envelope>(body).ok()?.error;
        is_word(&answer.status).then_some(answer)
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &Detail> {
        let wanted = format!("type.googleapis.com/google.rpc.{kind}");
        self.details.iter().filter(move |detail| detail.kind == wanted)
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.of("ErrorInfo")
            .find_map(|detail| detail.reason.as_deref())
            .filter(|text| is_word(text))
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        let is_id = |id: &&str| id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        self.of("RequestInfo")
            .find_map(|detail| detail.request_id.as_deref())
            .filter(is_id)
    }

    /// Written as `3.5s`.
    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let text = self.of("RetryInfo").find_map(|detail| detail.retry_delay.as_deref())?;
        let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
        let wait = Duration::try_from_secs_f64(seconds).ok()?;
        Some(wait.min(MOST_WAIT))
    }
}

/// Nobody is told to wait longer.
pub(super) const MOST_WAIT: Duration = Duration::from_secs(3600);

pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
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
/// `permission` is what the request needed.
pub(super) fn of_code(answer: &Answer, permission: Permission) -> Error {
    use ErrorKind::{AlreadyExists, Conflict, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout};
    use ErrorKind::{Unauthenticated, Unavailable, Unsupported};
    let (kind, words, hint): (_, _, Option<Cow<'static, str>>) = match answer.status.as_str() {
        "NOT_FOUND" => (NotFound, "no such secret", None),
        "ALREADY_EXISTS" => (AlreadyExists, "the secret exists already", None),
        "INVALID_ARGUMENT" | "OUT_OF_RANGE" => (InvalidInput, "the service refused a part of the request", None),
        "FAILED_PRECONDITION" => (Conflict, "the secret is in a state that doesn't allow this", None),
        "ABORTED" => (Conflict, "somebody else changed the secret at the same time", None),
        "PERMISSION_DENIED" => (
            PermissionDenied,
            "the credentials are not allowed to do this",
            Some(denied_hint(answer.reason().unwrap_or_default(), permission)),
        ),
        "UNAUTHENTICATED" => (
            Unauthenticated,
            "the service doesn't know these credentials",
            Some("log in again: `gcloud auth application-default login`, or check `GOOGLE_APPLICATION_CREDENTIALS`".into()),
        ),
        "RESOURCE_EXHAUSTED" => (
            RateLimited,
            "the service asks for fewer requests",
            Some("see the quotas of the Secret Manager API in the console".into()),
        ),
        "UNAVAILABLE" | "INTERNAL" | "UNKNOWN" | "CANCELLED" => (Unavailable, "the service can't serve now", None),
        "DEADLINE_EXCEEDED" => (Timeout, "the service gave up waiting", None),
        "UNIMPLEMENTED" => (
            Unsupported,
            "the endpoint doesn't know this request",
            Some("check the endpoint".into()),
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

fn denied_hint(reason: &str, permission: Permission) -> Cow<'static, str> {
    let hint = match reason {
        "SERVICE_DISABLED" => "the API is not enabled in the project: `gcloud services enable secretmanager.googleapis.com`",
        "BILLING_DISABLED" => "the project has no billing account",
        "USER_PROJECT_DENIED" => {
            "the credentials may not use the quota project (`GOOGLE_CLOUD_QUOTA_PROJECT`, `quota_project_id` of the credentials)"
        }
        "CONSUMER_INVALID" | "RESOURCE_PROJECT_INVALID" => {
            "check the project: there is none of that name, or it is being deleted"
        }
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT" => "the machine's access scopes leave out Secret Manager: give it `cloud-platform`",
        _ => {
            return format!(
                "it takes the permission `{}`; the page about Google Cloud has ready roles, and a missing project is told like \
                 this too",
                permission.name()
            )
            .into();
        }
    };
    hint.into()
}

pub(super) fn of_status(status: u16) -> Error {
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
