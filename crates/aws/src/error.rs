//! Errors of the SDK → our errors, by an allow-list: status, code, request id, our words.
//!
//! Never the service's message or body, and never `Debug` of a type of the SDK: several print what was sent.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use keyfob_core::{Error, ErrorKind, SecretName};

use crate::http::AnswerTooLarge;
use crate::store::SCHEME;

/// What a request failed with: an error for the user, and what the code decides by.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    code: String,
    /// The service says that the secret is scheduled for deletion.
    pub(crate) is_deleted: bool,
    /// The request may have arrived, and its answer did not.
    is_unsettled: bool,
    error: Error,
}

impl Failed {
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.code == "ResourceNotFoundException"
    }

    pub(crate) fn is_denied(&self) -> bool {
        is_denial(&self.code)
    }

    /// The error about `name`.
    pub(crate) fn about(self, name: &SecretName) -> Error {
        if self.is_deleted {
            return deleted(name);
        }
        self.error.with("name", name.as_str())
    }

    /// The error about no single secret.
    pub(crate) fn into_error(self) -> Error {
        self.error
    }

    /// The answer came, and says nothing of what it must say.
    pub(crate) fn incomprehensible() -> Self {
        Self {
            code: String::new(),
            is_deleted: false,
            is_unsettled: false,
            error: incomprehensible().with("store", SCHEME),
        }
    }

    /// What one item of a batch failed with.
    pub(crate) fn of_item(code: Option<&str>, message: Option<&str>) -> Self {
        let code = shown_code(code.or(Some("unknown")));
        let (kind, words, hint) = words(&code).unwrap_or((ErrorKind::Other, "the service refused one secret of a batch", None));
        Self {
            is_deleted: says_deleted(&code, message),
            is_unsettled: false,
            error: with_hint(Error::new(kind, words), hint)
                .with("store", SCHEME)
                .with("code", code.as_str()),
            code,
        }
    }
}

/// Maps what the SDK says of a request.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn failed<E: ProvideErrorMetadata + StdError + Send + Sync + 'static>(error: SdkError<E, HttpResponse>) -> Failed {
    let service = error.as_service_error();
    let code = shown_code(service.and_then(ProvideErrorMetadata::code));
    let message = service.and_then(ProvideErrorMetadata::message);
    let mapped = match &error {
        SdkError::TimeoutError(_) => timeout(),
        SdkError::DispatchFailure(failure) => {
            undelivered(failure.as_connector_error().map(|error| error as _), failure.is_timeout())
        }
        SdkError::ResponseError(_) => incomprehensible(),
        SdkError::ServiceError(_) => refused(&code, error.raw_response().map_or(0, |raw| raw.status().as_u16())),
        _ => unsent(&error),
    };
    let mut mapped = mapped.with("store", SCHEME);
    if let Some(raw) = error.raw_response() {
        mapped = mapped.with("status", raw.status().as_u16().to_string());
        if !code.is_empty() {
            mapped = mapped.with("code", code.as_str());
        }
        if let Some(id) = request_id(raw) {
            mapped = mapped.with("request_id", id);
        }
        if let Some(wait) = retry_after(raw) {
            mapped = mapped.with_retry_after(wait);
        }
    }
    Failed {
        is_deleted: says_deleted(&code, message),
        is_unsettled: matches!(&error, SdkError::DispatchFailure(failure) if !is_unconnected(failure.as_connector_error())),
        code,
        error: mapped,
    }
}

/// The same for a request that changes something: when its answer got lost, nobody knows whether it was done.
pub(crate) fn failed_write<E: ProvideErrorMetadata + StdError + Send + Sync + 'static>(
    error: SdkError<E, HttpResponse>,
) -> Failed {
    let mut failed = failed(error);
    if failed.is_unsettled && failed.error.kind() == ErrorKind::Unavailable {
        let error = Error::new(ErrorKind::Timeout, "the connection broke before the answer to a write came");
        failed.error = with_facts_of(error, &failed.error);
    }
    if failed.error.kind() == ErrorKind::Timeout {
        failed.error = failed.error.with_hint("read the secret to see whether it was written");
    }
    failed
}

/// `error` with what is known of the answer: status, code, request id.
pub(crate) fn with_facts_of(mut error: Error, of: &Error) -> Error {
    for (key, value) in of.context() {
        error = error.with(key, value);
    }
    error
}

/// Refuses the answer to a request about the secret `id` that is not about it.
pub(crate) fn confirm(id: &str, name: Option<&str>, arn: Option<&str>) -> Result<(), Failed> {
    match name == Some(id) || arn == Some(id) {
        true => Ok(()),
        false => Err(Failed::incomprehensible()),
    }
}

pub(crate) fn not_found(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "no such secret")
        .with("name", name.as_str())
        .with("store", SCHEME)
}

pub(crate) fn deleted(name: &SecretName) -> Error {
    not_found(name).with_hint("it is scheduled for deletion and can be restored")
}

pub(crate) fn reserved(name: &SecretName) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the name belongs to a secret that is scheduled for deletion",
    )
    .with("name", name.as_str())
    .with("store", SCHEME)
    .with_hint("restore it, or delete it for good and wait a moment until AWS has let go of the name")
}

/// The answer lacks what it must have, or is about something else.
pub(crate) fn incomprehensible() -> Error {
    Error::new(ErrorKind::Other, "the answer can't be understood")
        .with_hint("check that the endpoint is AWS Secrets Manager and nothing stands between that answers in its place")
}

type Words = (ErrorKind, &'static str, Option<&'static str>);

/// What the codes of the service mean. AWS: "Common Errors" and "Errors" of each action in the Secrets Manager API
/// Reference, <https://docs.aws.amazon.com/secretsmanager/latest/apireference/>.
fn words(code: &str) -> Option<Words> {
    use ErrorKind::{AlreadyExists, Conflict, InvalidInput, NotFound, Other, RateLimited, Timeout, Unavailable, Unsupported};
    Some(match code {
        "ResourceNotFoundException" => (NotFound, "no such secret", None),
        "ResourceExistsException" => (AlreadyExists, "the secret exists already", None),
        "InvalidNextTokenException" => (InvalidInput, "not a page token of this listing", None),
        "InvalidParameterException" | "ValidationException" | "MalformedPolicyDocumentException" => {
            (InvalidInput, "the service refused a part of the request", None)
        }
        "InvalidRequestException" | "PreconditionNotMetException" => {
            (Conflict, "the secret is in a state that doesn't allow this", None)
        }
        "LimitExceededException" => (
            Other,
            "a quota of the account or of the secret is reached",
            Some("see the quotas of Secrets Manager in the AWS console"),
        ),
        "DecryptionFailure" | "EncryptionFailure" => (
            ErrorKind::PermissionDenied,
            "AWS could not use the key that protects the secret",
            Some("the KMS key must be enabled, and `kms:Decrypt` and `kms:GenerateDataKey` allowed"),
        ),
        "UnknownOperationException" | "NotImplementedException" => (
            Unsupported,
            "the endpoint doesn't know this request",
            Some("check the endpoint"),
        ),
        "RequestTimeout" | "RequestTimeoutException" => (Timeout, "the service gave up waiting", None),
        "InternalServiceError"
        | "InternalServiceErrorException"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => (Unavailable, "the service can't serve now", None),
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "PriorRequestNotComplete"
        | "BandwidthLimitExceeded" => (RateLimited, "the service asks for fewer requests", None),
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => (
            ErrorKind::Unauthenticated,
            "the credentials have expired",
            Some("get new ones, for example with `aws sso login`"),
        ),
        "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture" => (
            ErrorKind::Unauthenticated,
            "the request's time is wrong",
            Some("set this machine's clock"),
        ),
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId"
        | "AuthFailure"
        | "NotAuthorized" => (
            ErrorKind::Unauthenticated,
            "the service doesn't know these credentials",
            Some("check them with `aws sts get-caller-identity`"),
        ),
        code if is_denial(code) => (
            ErrorKind::PermissionDenied,
            "the credentials are not allowed to do this",
            Some("the page about AWS has a ready IAM policy; a policy of the secret or of its KMS key may deny it too"),
        ),
        _ => return None,
    })
}

fn is_denial(code: &str) -> bool {
    matches!(
        code,
        "AccessDeniedException" | "AccessDenied" | "OptInRequired" | "UnauthorizedOperation"
    )
}

/// By the code, else by the status: an answer without a code is not the service's but of something between.
fn refused(code: &str, status: u16) -> Error {
    if let Some((kind, words, hint)) = words(code) {
        return with_hint(Error::new(kind, words), hint);
    }
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
        200..=299 => return incomprehensible(),
        _ => (ErrorKind::Other, "the service refused the request"),
    };
    Error::new(kind, words)
}

fn timeout() -> Error {
    Error::new(ErrorKind::Timeout, "no answer came in time")
}

/// The request could not be sent, or its answer not be read.
fn undelivered(error: Option<&(dyn StdError + 'static)>, is_timeout: bool) -> Error {
    if is_timeout {
        return timeout();
    }
    if in_chain::<AnswerTooLarge>(error).is_some() {
        return Error::new(
            ErrorKind::Other,
            "the answer is larger than any answer of Secrets Manager can be",
        )
        .with_hint("check the endpoint");
    }
    let mapped = Error::new(ErrorKind::Unavailable, "AWS can't be reached");
    match in_chain::<std::io::Error>(error) {
        // The words of the operating system or of TLS about the connection.
        Some(below) => mapped.with("reason", below.to_string()),
        None => mapped,
    }
}

/// Whether no connection was made, so that nothing can have been done.
fn is_unconnected(error: Option<&ConnectorError>) -> bool {
    // The connection's own type stands in a crate of no other use here; this is how it says its kind.
    chain(error.map(|error| error as _)).any(|error| error.to_string().contains("(Connect)"))
}

/// The request was never built: there is no region, or no credentials could be had.
fn unsent(error: &(dyn StdError + 'static)) -> Error {
    if chain(Some(error)).any(|error| error.to_string().contains("credential")) {
        return Error::new(ErrorKind::Unauthenticated, "no credentials could be had for the request")
            .with_hint("get new ones, for example with `aws sso login`");
    }
    Error::new(ErrorKind::Other, "the request could not be built")
}

/// The last error of its type: nearest to the cause.
fn in_chain<'e, E: StdError + 'static>(error: Option<&'e (dyn StdError + 'static)>) -> Option<&'e E> {
    chain(error).filter_map(|error| error.downcast_ref()).last()
}

fn chain<'e>(error: Option<&'e (dyn StdError + 'static)>) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(error, |&error| error.source())
}

/// `InvalidRequestException` has many reasons and no code for them. Only this one is known by its words, which are not
/// repeated.
fn says_deleted(code: &str, message: Option<&str>) -> bool {
    code == "InvalidRequestException"
        && message.is_some_and(|message| message.contains("deletion") || message.contains("marked deleted"))
}

/// The code, if it looks like one.
fn shown_code(code: Option<&str>) -> String {
    let code = code.unwrap_or_default();
    let is_code = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    if is_code { code.to_owned() } else { "unknown".to_owned() }
}

fn request_id(raw: &HttpResponse) -> Option<&str> {
    let id = raw
        .headers()
        .get("x-amzn-requestid")
        .or_else(|| raw.headers().get("x-amz-request-id"))?;
    let is_id = !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_id.then_some(id)
}

fn retry_after(raw: &HttpResponse) -> Option<Duration> {
    let seconds: u64 = raw.headers().get("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3600)))
}

fn with_hint(error: Error, hint: Option<&'static str>) -> Error {
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
