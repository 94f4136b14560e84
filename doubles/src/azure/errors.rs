//! The error answers of the vault, in the words of the service.

use serde_json::json;

use super::bodies::Wrong;
use super::directory::Principal;
use super::permissions::Action;
use super::tokens;
use super::vault::Refusal;
use crate::server::Response;

/// The region that the double claims to be in.
pub(super) const REGION: &str = "keyfobdouble";

/// `{"error": {"code", "message", "innererror": {"code"}}}`.
pub(super) fn error(status: u16, code: &str, message: &str, inner: Option<&str>) -> Response {
    let mut error = json!({ "code": code, "message": message });
    if let Some(inner) = inner {
        error["innererror"] = json!({ "code": inner });
    }
    Response::json(status, &json!({ "error": error }))
}

/// 401 with the challenge that tells a client where to sign in, and for which resource.
pub(super) fn unauthorized(authority: &str, tenant: &str, message: &str) -> Response {
    let challenge = format!(
        "Bearer authorization=\"{authority}/{tenant}\", resource=\"{}\"",
        tokens::VAULT_RESOURCE
    );
    error(401, "Unauthorized", message, None).with("www-authenticate", &challenge)
}

pub(super) fn bad_parameter(message: &str) -> Response {
    error(400, "BadParameter", message, None)
}

/// For whatever the double has no reference for.
pub(super) fn not_implemented(what: &str) -> Response {
    let message = format!("{what} is not known to this double of Key Vault.");
    error(501, "NotImplemented", &message, None)
}

pub(super) fn method_not_allowed(allowed: &str) -> Response {
    let message = "The requested resource does not support the HTTP method.";
    error(405, "MethodNotAllowed", message, None).with("allow", allowed)
}

pub(super) fn forbidden(principal: &Principal, tenant: &str, action: Action, name: Option<&str>) -> Response {
    let vault = "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/keyfob/providers/microsoft.keyvault/\
                 vaults/double";
    let resource = name.map_or_else(|| vault.to_owned(), |name| format!("{vault}/secrets/{}", name.to_lowercase()));
    let lines = [
        "Caller is not authorized to perform action on resource.".to_owned(),
        "If role assignments, deny assignments or role definitions were changed recently, please observe propagation time."
            .to_owned(),
        format!(
            "Caller: appid={};oid={};iss={}",
            principal.client_id,
            principal.object_id,
            tokens::issuer(tenant)
        ),
        format!("Action: '{}'", action.name()),
        format!("Resource: '{resource}'"),
        "Assignment: (not found)".to_owned(),
        "DenyAssignmentId: null".to_owned(),
        "DecisionReason: 'DeniedWithNoValidRBAC' ".to_owned(),
        format!("Vault: double;location={REGION}"),
        String::new(),
    ];
    error(403, "Forbidden", &lines.join("\r\n"), Some("ForbiddenByRbac"))
}

/// An error that says nothing about the request: throttling, or a fault that was asked for.
pub(super) fn fault(status: u16, retry_after: Option<u32>) -> Response {
    let response = match status {
        429 => error(
            429,
            "Throttled",
            "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached",
            None,
        ),
        503 => error(503, "ServiceUnavailable", "The service is unavailable.", None),
        status => error(status, "InternalServerError", "An internal error occurred.", None),
    };
    match retry_after {
        None => response,
        Some(seconds) => response.with("retry-after", &seconds.to_string()),
    }
}

pub(super) fn wrong(wrong: &Wrong) -> Response {
    match wrong {
        Wrong::Parameter(message) => bad_parameter(message),
        Wrong::Unknown(field) => not_implemented(&format!("Field {field}")),
    }
}

pub(super) fn refusal(refusal: &Refusal) -> Response {
    let conflict = |message: &str, inner| error(409, "Conflict", message, Some(inner));
    match refusal {
        Refusal::NotFound(id) => {
            let message = format!(
                "A secret with (name/id) {id} was not found in this key vault. If you recently deleted this secret you may \
                 be able to recover it using the correct recovery command. For help resolving this issue, please see \
                 https://go.microsoft.com/fwlink/?linkid=2125182"
            );
            error(404, "SecretNotFound", &message, None)
        }
        Refusal::DeletedNotFound(name) => error(404, "SecretNotFound", &format!("Deleted Secret not found: {name}"), None),
        Refusal::Disabled => error(
            403,
            "Forbidden",
            "Operation get is not allowed on a disabled secret.",
            Some("SecretDisabled"),
        ),
        Refusal::NameBeingDeleted(name) => conflict(
            &format!("Secret {name} is currently being deleted and cannot be re-created; retry later."),
            "ObjectIsBeingDeleted",
        ),
        Refusal::BeingDeleted => conflict("Secret is currently being deleted.", "ObjectIsBeingDeleted"),
        Refusal::NameBeingRecovered(name) => conflict(
            &format!("Secret {name} is currently being recovered and cannot be re-created; retry later."),
            "ObjectIsBeingRecovered",
        ),
        Refusal::BeingRecovered => conflict("Secret is currently being recovered.", "ObjectIsBeingRecovered"),
        Refusal::NameDeleted(name) => conflict(
            &format!(
                "Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this \
                 state, the secret can only be recovered or purged."
            ),
            "ObjectIsDeletedButRecoverable",
        ),
        Refusal::Managed(operation) => error(
            403,
            "Forbidden",
            &format!("Operation \"{operation}\" is not allowed as this object's lifetime is managed by Key Vault."),
            Some("SecretManagedByKeyVault"),
        ),
        Refusal::PurgeProtected => error(
            403,
            "Forbidden",
            &format!(
                "Operation \"purge\" is not allowed because purge protection is enabled for this vault. Key Vault service \
                 will automatically purge it after the retention period has passed.\r\nVault: double;location={REGION}"
            ),
            None,
        ),
    }
}

/// The headers that every answer of the vault has.
pub(super) fn with_headers(response: Response, request_id: &str, client_request_id: Option<&str>) -> Response {
    let response = response
        .with("cache-control", "no-cache")
        .with("pragma", "no-cache")
        .with("expires", "-1")
        .with("x-ms-request-id", request_id)
        .with("x-ms-keyvault-region", REGION)
        .with("x-ms-keyvault-service-version", "0.0.0.0")
        .with(
            "x-ms-keyvault-network-info",
            "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;",
        )
        .with("x-content-type-options", "nosniff");
    match client_request_id {
        None => response,
        Some(id) => response.with("x-ms-client-request-id", id),
    }
}

/// The body of an answer, for tests.
#[cfg(test)]
pub(super) fn body(response: &Response) -> serde_json::Value {
    serde_json::from_slice(&response.body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_shape_of_the_reference() {
        let response = refusal(&Refusal::Disabled);
        let expected = json!({ "error": {
            "code": "Forbidden",
            "message": "Operation get is not allowed on a disabled secret.",
            "innererror": { "code": "SecretDisabled" },
        }});
        assert_eq!((response.status, body(&response)), (403, expected));
        let plain = refusal(&Refusal::DeletedNotFound("a".to_owned()));
        let expected = json!({ "error": { "code": "SecretNotFound", "message": "Deleted Secret not found: a" } });
        assert_eq!((plain.status, body(&plain)), (404, expected));
    }

    #[test]
    fn every_refusal_has_its_status_and_its_codes() {
        let name = || "a".to_owned();
        for (refused, expected) in [
            (Refusal::NotFound(name()), (404, "SecretNotFound", "")),
            (Refusal::DeletedNotFound(name()), (404, "SecretNotFound", "")),
            (Refusal::Disabled, (403, "Forbidden", "SecretDisabled")),
            (Refusal::NameBeingDeleted(name()), (409, "Conflict", "ObjectIsBeingDeleted")),
            (Refusal::BeingDeleted, (409, "Conflict", "ObjectIsBeingDeleted")),
            (
                Refusal::NameBeingRecovered(name()),
                (409, "Conflict", "ObjectIsBeingRecovered"),
            ),
            (Refusal::BeingRecovered, (409, "Conflict", "ObjectIsBeingRecovered")),
            (
                Refusal::NameDeleted(name()),
                (409, "Conflict", "ObjectIsDeletedButRecoverable"),
            ),
            (Refusal::Managed("set"), (403, "Forbidden", "SecretManagedByKeyVault")),
            (Refusal::PurgeProtected, (403, "Forbidden", "")),
        ] {
            let response = refusal(&refused);
            let error = &body(&response)["error"];
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let found = (response.status, text(&error["code"]), text(&error["innererror"]["code"]));
            let (status, code, inner) = expected;
            assert_eq!(found, (status, code.to_owned(), inner.to_owned()), "{refused:?}");
        }
    }

    #[test]
    fn the_challenge_has_the_form_that_clients_read() {
        let response = unauthorized("https://login", "tenant", "no");
        assert_eq!(
            response.header("www-authenticate"),
            Some(r#"Bearer authorization="https://login/tenant", resource="https://vault.azure.net""#)
        );
    }

    #[test]
    fn throttling_says_when_to_come_back() {
        let response = fault(429, Some(3));
        assert_eq!(response.header("retry-after"), Some("3"));
        assert_eq!(body(&response)["error"]["code"], "Throttled");
        assert_eq!(fault(503, None).header("retry-after"), None);
    }
}
