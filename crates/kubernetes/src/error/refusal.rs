//! What the API server says when it refuses, and what that means.

use keyfob_core::ErrorKind;
use serde::Deserialize;

/// The body of a refusal: `Status` in k8s.io/apimachinery/pkg/apis/meta/v1/types.go.
#[derive(Deserialize)]
pub(super) struct Said {
    kind: Option<String>,
    pub(super) reason: Option<String>,
    /// Searched, never shown.
    message: Option<String>,
    pub(super) details: Option<Details>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Details {
    pub(super) kind: Option<String>,
    pub(super) retry_after_seconds: Option<u64>,
    causes: Option<Vec<Cause>>,
}

#[derive(Deserialize)]
pub(super) struct Cause {
    reason: Option<String>,
    field: Option<String>,
}

impl Said {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let said: Self = serde_json::from_slice(body).ok()?;
        (said.kind.as_deref() == Some("Status")).then_some(said)
    }

    pub(super) fn causes(&self) -> &[Cause] {
        let causes = self.details.as_ref().and_then(|details| details.causes.as_deref());
        causes.unwrap_or_default()
    }

    fn has_cause(&self, reason: &str) -> bool {
        self.causes().iter().any(|cause| cause.reason.as_deref() == Some(reason))
    }

    /// The first field that is wrong, if it looks like the path of one.
    pub(super) fn field(&self) -> Option<&str> {
        let field = self.causes().iter().find_map(|cause| cause.field.as_deref())?;
        let is_path = |byte: u8| byte.is_ascii_alphanumeric() || b".[]-_/".contains(&byte);
        (!field.is_empty() && field.len() <= 300 && field.bytes().all(is_path)).then_some(field)
    }
}

pub(super) type Words = (ErrorKind, &'static str, Option<&'static str>);

/// What the statuses and reasons mean.
pub(super) fn words(status: u16, said: Option<&Said>) -> Words {
    use ErrorKind::{
        AlreadyExists, Conflict, InvalidConfig, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout,
        Unauthenticated, Unavailable,
    };
    let Some(said) = said else { return without_status(status) };
    let reason = said.reason.as_deref().unwrap_or_default();
    match (status, reason) {
        (401, _) => (
            Unauthenticated,
            "the API server doesn't know who asks",
            Some("the token or certificate may have expired: log in again, for example with the cloud's own tool"),
        ),
        (403, _) if said.has_cause("NamespaceTerminating") => (
            Conflict,
            "the namespace is being deleted",
            Some("nothing new can be written to it"),
        ),
        (403, _)
            if said
                .message
                .as_deref()
                .is_some_and(|message| message.contains("exceeded quota")) =>
        {
            (
                Other,
                "a quota of the namespace is reached",
                Some("`kubectl describe quota` shows it"),
            )
        }
        (403, _) => (
            PermissionDenied,
            "whoever the token or certificate stands for is not allowed to do this",
            Some(ROLE),
        ),
        (404, "NotFound") if said.details.as_ref().and_then(|details| details.kind.as_deref()) == Some("namespaces") => (
            InvalidConfig,
            "there is no such namespace",
            Some("`kubectl get namespaces` shows them"),
        ),
        (404, "NotFound") => (NotFound, "no such secret", None),
        (409, "AlreadyExists") => (AlreadyExists, "the secret exists already", None),
        (409, _) => (Conflict, "another version is current", None),
        (410, _) => (Unavailable, "what was being read has changed too much", None),
        (413, _) => (InvalidInput, "the secret is too large for the API server", None),
        (422, _) if said.has_cause("FieldValueTooLong") => (
            InvalidInput,
            "the secret would be too large",
            Some("all values of a Secret together can have 1,048,576 bytes, its annotations 262,144"),
        ),
        (422, _) => (InvalidInput, "the API server refuses the change", None),
        (400, _) => (InvalidInput, "the API server refuses the request", None),
        (405 | 406 | 415, _) => (Other, "the API server doesn't know this request", None),
        (429, _) => (RateLimited, "the API server asks for fewer requests", None),
        (500, "ServerTimeout") | (408 | 504, _) => (Timeout, "the API server gave up waiting", None),
        (500..=599, _) => (Unavailable, "the API server can't serve now", None),
        _ => (Other, "the API server refused the request", None),
    }
}

/// An answer without a `Status` is not the API server's but of something between.
fn without_status(status: u16) -> Words {
    use ErrorKind::{InvalidConfig, Other, PermissionDenied, RateLimited, Timeout, Unauthenticated, Unavailable};
    const ADDRESS: Option<&str> = Some("check the cluster's address; a proxy or another service may stand there");
    match status {
        300..=399 => (
            InvalidConfig,
            "the server redirects elsewhere, which is not followed",
            ADDRESS,
        ),
        401 => (
            Unauthenticated,
            "the API server doesn't know who asks",
            Some("the token or certificate may have expired: log in again, for example with the cloud's own tool"),
        ),
        403 => (
            PermissionDenied,
            "whoever the token or certificate stands for is not allowed to do this",
            Some(ROLE),
        ),
        408 | 504 => (Timeout, "the server gave up waiting", None),
        429 => (RateLimited, "the API server asks for fewer requests", None),
        500..=599 => (Unavailable, "the API server can't serve now", None),
        _ => (Other, "what answered is not an API server", ADDRESS),
    }
}

const ROLE: &str = "the page about Kubernetes has a ready Role for each use; `kubectl auth can-i --list` shows what is allowed";
