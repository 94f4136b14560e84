//! Errors of the SDK → our errors, by an allow-list: status, codes, request id, our words.
//!
//! Never the service's message or body, and never `Debug` of a type of the SDK.

use std::time::Duration;

use azure_core::error::ErrorKind as SdkKind;
use azure_core::http::headers::{HeaderName, Headers};
use keyfob_core::{Error, ErrorKind, SecretName};
use serde::Deserialize;

use crate::permissions::Permission;
use crate::problem::Problem;
use crate::store::SCHEME;

/// What a request failed with: an error for the user, and what the code decides by.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// The innermost code of the service; empty when it said none.
    code: String,
    status: u16,
    /// The request may have arrived, and its answer did not.
    is_unsettled: bool,
    /// Who asks may not do this; nothing else is in the way.
    lacks_permission: bool,
    error: Error,
}

impl Failed {
    /// The vault knows no such secret or version.
    pub(crate) fn is_not_found(&self) -> bool {
        self.status == 404 && self.code == "SecretNotFound"
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.error.kind() == ErrorKind::PermissionDenied && !self.is_disabled()
    }

    /// Who asks may not do this; nothing else, such as a firewall, is in the way.
    pub(crate) fn lacks_permission(&self) -> bool {
        self.lacks_permission
    }

    /// The version is there, and nobody may read it.
    pub(crate) fn is_disabled(&self) -> bool {
        self.status == 403 && self.code == "SecretDisabled"
    }

    /// Something else is being done to the secret.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status == 409
    }

    /// The secret is being deleted or purged, and its name is not free yet.
    pub(crate) fn is_being_deleted(&self) -> bool {
        self.status == 409 && self.code == "ObjectIsBeingDeleted"
    }

    /// The vault has answered, and knows who asked.
    pub(crate) fn is_answer_to_one_known(&self) -> bool {
        matches!(self.status, 400 | 403..=499)
    }

    /// The request itself is refused.
    pub(crate) fn is_bad_request(&self) -> bool {
        self.status == 400
    }

    /// The error about `name`.
    pub(crate) fn about(self, name: &SecretName) -> Error {
        self.error.with("name", name.as_str())
    }

    /// The error about no single secret.
    pub(crate) fn into_error(self) -> Error {
        self.error
    }

    /// The answer came, and says nothing of what it must say.
    pub(crate) fn incomprehensible() -> Self {
        Self::of(incomprehensible().with("store", SCHEME).with("status", "200"))
    }

    /// What was asked for is not there, as an answer says that is none of an error.
    pub(crate) fn nothing() -> Self {
        Self {
            code: "SecretNotFound".to_owned(),
            status: 404,
            ..Self::of(Error::new(ErrorKind::NotFound, "no such secret").with("store", SCHEME))
        }
    }

    /// No answer came in time.
    pub(crate) fn too_late() -> Self {
        Self {
            is_unsettled: true,
            ..Self::of(Error::new(ErrorKind::Timeout, "no answer came in time").with("store", SCHEME))
        }
    }

    fn of(error: Error) -> Self {
        Self {
            code: String::new(),
            status: 0,
            is_unsettled: false,
            lacks_permission: false,
            error,
        }
    }

    /// The same of a request that needs this permission.
    pub(crate) fn at(self, permission: Permission) -> Self {
        let failed = self.lacking(permission);
        match permission.is_to_write() {
            true => failed.of_write(),
            false => failed,
        }
    }

    /// Says which permission it takes, if it is one that lacks.
    fn lacking(mut self, permission: Permission) -> Self {
        if self.lacks_permission {
            let (action, policy) = (permission.action(), permission.in_policy());
            let needed = match self.code.as_str() {
                "ForbiddenByRbac" => format!("the data action `{action}` in a role"),
                "ForbiddenByPolicy" | "AccessDenied" => format!("`{policy}` in the vault's access policy"),
                _ => format!("the data action `{action}` in a role, or `{policy}` in the vault's access policy"),
            };
            let hint = format!(
                "it takes {needed}; the page about Azure has ready roles, and a new assignment takes some minutes to work"
            );
            self.error = self.error.with_hint(hint);
        }
        self
    }

    /// The same of a request that changes something. When its answer got lost, nobody knows whether it was done, nor when the
    /// vault failed while it did it: Key Vault's reference names no 5xx that means that nothing was done.
    fn of_write(mut self) -> Self {
        let failed = self.error.message();
        let is_unknown = match self.error.kind() {
            ErrorKind::Timeout => true,
            ErrorKind::Unavailable => self.is_unsettled || (500..=599).contains(&self.status),
            _ => false,
        };
        if is_unknown {
            let happened = match self.is_unsettled && self.error.kind() == ErrorKind::Unavailable {
                true => "the connection broke before the answer to a write came",
                false => failed,
            };
            let message = format!("{happened}, and the write may have happened");
            self.error = with_facts_of(Error::new(ErrorKind::Timeout, message), &self.error)
                .with_hint("read the secret to see whether it was written");
        }
        self
    }
}

/// Maps what the SDK says of a request.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn failed(error: azure_core::Error) -> Failed {
    if let Some(problem) = Problem::find(&error) {
        return Failed {
            is_unsettled: problem.is_unsettled,
            ..Failed::of(problem.error.clone().with("store", SCHEME))
        };
    }
    match error.kind() {
        SdkKind::HttpResponse {
            status, raw_response, ..
        } => {
            let status = u16::from(*status);
            let nothing = Headers::new();
            let (headers, body) = match raw_response {
                Some(raw) => (raw.headers(), raw.body().as_ref()),
                None => (&nothing, [].as_slice()),
            };
            refused(status, headers, body)
        }
        SdkKind::DataConversion => Failed::incomprehensible(),
        SdkKind::Credential => {
            Failed::of(Error::new(ErrorKind::Unauthenticated, "no token could be had for the request").with("store", SCHEME))
        }
        // The SDK has no kind for it, and these are its words.
        _ if error.to_string().contains("challenge resource") => Failed::of(
            Error::new(
                ErrorKind::InvalidConfig,
                "the vault asks for a token that is not for its own domain",
            )
            .with("store", SCHEME)
            .with_hint("check the address: a token is only sent to a vault of the domain that it is for"),
        ),
        _ => Failed::of(Error::new(ErrorKind::Other, "the request could not be made").with("store", SCHEME)),
    }
}

/// `error` with what is known of the answer: status, code, request id.
pub(crate) fn with_facts_of(mut error: Error, of: &Error) -> Error {
    for (key, value) in of.context() {
        error = error.with(key, value);
    }
    if let Some(wait) = of.retry_after() {
        error = error.with_retry_after(wait);
    }
    error
}

pub(crate) fn not_found(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "no such secret")
        .with("name", name.as_str())
        .with("store", SCHEME)
}

pub(crate) fn deleted(name: &SecretName) -> Error {
    not_found(name).with_hint("it is deleted and can be restored")
}

pub(crate) fn reserved(name: &SecretName) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the name belongs to a secret that is deleted and can be restored",
    )
    .with("name", name.as_str())
    .with("store", SCHEME)
    .with_hint("restore it, or delete it for good and wait a moment until Azure has let go of the name")
}

/// Another secret stands where this one would.
pub(crate) fn taken(name: &SecretName, by: &str) -> Error {
    Error::new(ErrorKind::Conflict, "the vault has another secret in the place of this name")
        .with("name", name.as_str())
        .with("other", by.escape_debug().take(128).collect::<String>())
        .with("store", SCHEME)
        .with_hint("Azure doesn't tell names apart that differ in letter case only; choose another name")
}

/// Only the certificate can be changed, and its secret with it.
pub(crate) fn managed(name: &SecretName) -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        "the secret belongs to a certificate and is changed with it only",
    )
    .with("name", name.as_str())
    .with("store", SCHEME)
}

/// The answer lacks what it must have, or is about something else.
fn incomprehensible() -> Error {
    Error::new(ErrorKind::Other, "the answer can't be understood")
        .with_hint("check that the address is a Key Vault and nothing stands between that answers in its place")
}

/// <https://learn.microsoft.com/rest/api/keyvault/secrets/set-secret/set-secret#keyvaulterror>
#[derive(Deserialize)]
struct Body {
    error: Detail,
}

#[derive(Deserialize)]
struct Detail {
    code: Option<String>,
    innererror: Option<Box<Self>>,
}

fn refused(status: u16, headers: &Headers, body: &[u8]) -> Failed {
    let code = serde_json::from_slice::<Body>(body)
        .map(|body| innermost(&body.error))
        .unwrap_or_default();
    let (kind, words, hint) = words(status, &code);
    let mut error = Error::new(kind, words)
        .with("store", SCHEME)
        .with("status", status.to_string());
    if let Some(hint) = hint {
        error = error.with_hint(hint);
    }
    if !code.is_empty() {
        error = error.with("code", code.as_str());
    }
    if let Some(id) = request_id(headers) {
        error = error.with("request_id", id);
    }
    if let Some(wait) = retry_after(headers) {
        error = error.with_retry_after(wait);
    }
    Failed {
        code,
        status,
        is_unsettled: false,
        lacks_permission: words == LACKS_PERMISSION,
        error,
    }
}

/// The code that says most, if it looks like one.
fn innermost(detail: &Detail) -> String {
    let inner = detail.innererror.as_deref().map(innermost).filter(|code| !code.is_empty());
    let own = detail.code.as_deref().filter(|code| {
        (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !code.is_empty()
    });
    inner.or_else(|| own.map(str::to_owned)).unwrap_or_default()
}

const LACKS_PERMISSION: &str = "the credentials are not allowed to do this";

type Words = (ErrorKind, &'static str, Option<&'static str>);

/// <https://learn.microsoft.com/azure/key-vault/general/rest-error-codes> and
/// <https://learn.microsoft.com/azure/key-vault/general/common-error-codes>.
fn words(status: u16, code: &str) -> Words {
    use ErrorKind::{
        Conflict, Expired, InvalidConfig, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout, Unauthenticated,
        Unavailable,
    };
    match (status, code) {
        (400, _) => (InvalidInput, "the vault refuses the request", None),
        (401, _) => (
            Unauthenticated,
            "the vault doesn't take the token",
            Some("is `AZURE_TENANT_ID` the tenant that the vault belongs to?"),
        ),
        (403, "SecretDisabled") => (
            PermissionDenied,
            "the secret's version is disabled",
            Some("enable it: `az keyvault secret set-attributes --vault-name VAULT --name NAME --enabled true`"),
        ),
        (403, "SecretManagedByKeyVault") => (
            PermissionDenied,
            "the secret belongs to a certificate and is changed with it only",
            None,
        ),
        (403, "SecretExpired") => (Expired, "the secret has expired", None),
        (403, "SecretNotYetValid") => (PermissionDenied, "the secret is not valid yet", None),
        (403, "ForbiddenByFirewall" | "ForbiddenByConnection") => (
            PermissionDenied,
            "the vault's firewall doesn't let this machine in",
            Some("allow its address or network in the vault's network settings, or use a private endpoint"),
        ),
        (403, _) => (PermissionDenied, LACKS_PERMISSION, None),
        (404, "SecretNotFound") => (NotFound, "no such secret", None),
        (404, _) => (Other, "what answered is not the vault", Some("check the address")),
        (408 | 504, _) => (Timeout, "the vault gave up waiting", None),
        (409, "ObjectIsDeletedButRecoverable") => (
            Conflict,
            "the name belongs to a secret that is deleted and can be restored",
            Some("restore it, or delete it for good and wait a moment until Azure has let go of the name"),
        ),
        (409, "ObjectIsBeingDeleted") => (
            Conflict,
            "the secret is just being deleted",
            Some("wait some seconds until Azure has finished, then try again"),
        ),
        (409, "ObjectIsBeingRecovered") => (
            Conflict,
            "the secret is just being restored",
            Some("wait some seconds until Azure has finished, then try again"),
        ),
        (409, _) => (
            Conflict,
            "the vault does something else with this secret",
            Some("wait some seconds, then try again"),
        ),
        (429, _) => (RateLimited, "the vault asks for fewer requests", None),
        (501, _) => (
            Other,
            "the server doesn't know this request",
            Some("check that the address is a Key Vault"),
        ),
        (500..=599, _) => (Unavailable, "the vault can't serve now", None),
        (300..=399, _) => (
            InvalidConfig,
            "the vault's address redirects elsewhere, which is not followed",
            None,
        ),
        (200..=299, _) => (
            Other,
            "the answer can't be understood",
            Some("check that the address is a Key Vault and nothing stands between that answers in its place"),
        ),
        _ => (Other, "the vault refused the request", None),
    }
}

fn request_id(headers: &Headers) -> Option<&str> {
    let id = headers.get_optional_str(&REQUEST_ID)?;
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_id.then_some(id)
}

/// In whole seconds, as the service writes it.
pub(crate) fn retry_after(headers: &Headers) -> Option<Duration> {
    let seconds: u64 = headers.get_optional_str(&RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");
