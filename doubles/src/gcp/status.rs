//! Errors as Google's APIs write them: <https://cloud.google.com/apis/design/errors>.

use serde_json::{Value, json};

use super::names::Place;

pub(super) const SERVICE: &str = "secretmanager.googleapis.com";

/// `google.rpc.Code`, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument,
    FailedPrecondition,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    Aborted,
    ResourceExhausted,
    Internal,
    Unimplemented,
    Unavailable,
}

impl Code {
    /// Its name and the status of HTTP that stands for it.
    fn parts(self) -> (&'static str, u16) {
        match self {
            Self::InvalidArgument => ("INVALID_ARGUMENT", 400),
            Self::FailedPrecondition => ("FAILED_PRECONDITION", 400),
            Self::Unauthenticated => ("UNAUTHENTICATED", 401),
            Self::PermissionDenied => ("PERMISSION_DENIED", 403),
            Self::NotFound => ("NOT_FOUND", 404),
            Self::AlreadyExists => ("ALREADY_EXISTS", 409),
            Self::Aborted => ("ABORTED", 409),
            Self::ResourceExhausted => ("RESOURCE_EXHAUSTED", 429),
            Self::Internal => ("INTERNAL", 500),
            Self::Unimplemented => ("UNIMPLEMENTED", 501),
            Self::Unavailable => ("UNAVAILABLE", 503),
        }
    }
}

/// Why a call fails: `google.rpc.Status`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Status {
    pub(super) code: Code,
    pub(super) message: String,
    details: Vec<Value>,
}

impl Status {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    pub(super) fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// What the service has and this double has not.
    pub(super) fn not_doubled(what: &str) -> Self {
        Self::new(Code::Unimplemented, format!("The double does not have {what}."))
    }

    /// A part of the request that the service can't read. `field` is its path, empty for the request itself.
    pub(super) fn field(field: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        Self::invalid(description.clone()).with(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": field, "description": description }],
        }))
    }

    pub(super) fn missing_token(method: &str) -> Self {
        let message = "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie \
                       or other valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        Self::unauthenticated(message, "CREDENTIALS_MISSING", method)
    }

    /// `reason` is `ACCESS_TOKEN_EXPIRED` or `ACCESS_TOKEN_TYPE_UNSUPPORTED`.
    pub(super) fn bad_token(reason: &str, method: &str) -> Self {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                       valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        Self::unauthenticated(message, reason, method)
    }

    fn unauthenticated(message: &str, reason: &str, method: &str) -> Self {
        Self::new(Code::Unauthenticated, message).because(
            reason,
            "googleapis.com",
            &json!({
                "service": SERVICE,
                "method": format!("google.cloud.secretmanager.v1.SecretManagerService.{method}"),
            }),
        )
    }

    /// The same whether the resource exists or not: who may not see it does not learn that.
    pub(super) fn denied(permission: &str, resource: &str) -> Self {
        let message = format!("Permission '{permission}' denied for resource '{resource}' (or it may not exist).");
        Self::new(Code::PermissionDenied, message).because(
            "IAM_PERMISSION_DENIED",
            "iam.googleapis.com",
            &json!({ "permission": permission, "resource": resource }),
        )
    }

    pub(super) fn service_disabled(place: &Place) -> Self {
        let number = place.project;
        let url = format!("https://console.developers.google.com/apis/api/{SERVICE}/overview?project={number}");
        let message = format!(
            "Secret Manager API has not been used in project {number} before or it is disabled. Enable it by visiting {url} \
             then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems \
             and retry."
        );
        let help = json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{ "description": "Google developers console API activation", "url": url }],
        });
        Self::new(Code::PermissionDenied, message).with(help).because(
            "SERVICE_DISABLED",
            "googleapis.com",
            &json!({ "consumer": format!("projects/{number}"), "service": SERVICE }),
        )
    }

    pub(super) fn quota_exceeded(place: &Place) -> Self {
        let number = place.project;
        let message = format!(
            "Quota exceeded for quota metric 'Access requests' and limit 'Access requests per minute' of service \
             '{SERVICE}' for consumer 'project_number:{number}'."
        );
        Self::new(Code::ResourceExhausted, message).because(
            "RATE_LIMIT_EXCEEDED",
            "googleapis.com",
            &json!({
                "consumer": format!("projects/{number}"),
                "quota_limit": "AccessRequestsPerMinutePerProject",
                "quota_limit_value": "90000",
                "quota_location": "global",
                "quota_metric": format!("{SERVICE}/access_requests"),
                "service": SERVICE,
            }),
        )
    }

    /// The same with `google.rpc.RetryInfo`; `delay` is written as in `3s`.
    pub(super) fn retry_after(self, delay: &str) -> Self {
        self.with(json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }))
    }

    fn because(self, reason: &str, domain: &str, metadata: &Value) -> Self {
        self.with(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": domain,
            "metadata": metadata,
        }))
    }

    fn with(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// The status of HTTP, and the body.
    pub(super) fn answer(&self) -> (u16, Value) {
        let (name, http) = self.code.parts();
        let mut error = json!({ "code": http, "message": self.message, "status": name });
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        (http, json!({ "error": error }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_form_of_googles() {
        let (http, body) = Status::denied("secretmanager.versions.access", "projects/p/secrets/s/versions/latest").answer();
        assert_eq!(http, 403);
        assert_eq!(
            body,
            json!({ "error": {
                "code": 403,
                "message": "Permission 'secretmanager.versions.access' denied for resource \
                            'projects/p/secrets/s/versions/latest' (or it may not exist).",
                "status": "PERMISSION_DENIED",
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "IAM_PERMISSION_DENIED",
                    "domain": "iam.googleapis.com",
                    "metadata": {
                        "permission": "secretmanager.versions.access",
                        "resource": "projects/p/secrets/s/versions/latest",
                    },
                }],
            }})
        );
        let (http, body) = Status::new(Code::Aborted, "no").retry_after("3s").answer();
        assert_eq!((http, &body["error"]["status"]), (409, &json!("ABORTED")));
        assert_eq!(body["error"]["details"][0]["retryDelay"], "3s");
        assert!(Status::invalid("no").answer().1["error"].get("details").is_none());
    }
}
