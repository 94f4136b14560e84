//! Both endpoints of managed identities: that of virtual machines (IMDS) and that of App Service and Functions.

use hyper::Method;
use serde_json::json;

use super::directory::Principal;
use super::permissions::Role;
use super::tokens::Issued;
use super::{Double, errors, lock, login};
use crate::server::{Request, Response};

pub(super) const IMDS_PATH: &str = "/metadata/identity/oauth2/token";
pub(super) const APP_SERVICE_PATH: &str = "/msi/token";

/// `now` in seconds since 1970.
pub(super) fn imds(double: &Double, request: &Request, now: i64) -> Response {
    let refuse =
        |status, message: &str| Response::json(status, &json!({ "error": "invalid_request", "error_description": message }));
    if request.method != Method::GET {
        return refuse(405, "Method not allowed").with("allow", "GET");
    }
    if !request
        .header("metadata")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    {
        return refuse(400, "Required metadata header not specified");
    }
    if request.headers.contains_key("x-forwarded-for") {
        return refuse(400, "Forwarded requests are not allowed");
    }
    if let Some(fault) = lock(&double.faults).other("managed-identity") {
        return errors::fault(fault.status, fault.retry_after);
    }
    if !matches!(
        request.parameter("api-version"),
        Some("2018-02-01" | "2019-08-01" | "2019-11-01" | "2021-02-01")
    ) {
        return refuse(
            400,
            "Bad request. api-version is invalid or was not specified in the request.",
        );
    }
    let known = ["api-version", "resource", "client_id", "object_id"];
    if let Some((name, _)) = request.query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return refuse(501, &format!("{name} is not known to this double"));
    }
    let Some(resource) = request.parameter("resource") else {
        return refuse(400, "Required query variable 'resource' is missing");
    };
    let Some(resource) = login::known_resource(resource) else {
        let message = format!("AADSTS500011: The resource principal named {resource} was not found in the tenant.");
        return Response::json(400, &json!({ "error": "invalid_resource", "error_description": message }));
    };
    let Some(principal) = identity(double, request) else {
        return refuse(400, "Identity not found");
    };
    let issued = double.tokens.issue(&double.directory.tenant, principal, resource, now);
    let Issued { token, starts, expires } = &issued;
    let lifetime = issued.lifetime().to_string();
    Response::json(
        200,
        &json!({
            "access_token": token,
            "client_id": principal.client_id,
            "expires_in": lifetime,
            "expires_on": expires.to_string(),
            "ext_expires_in": lifetime,
            "not_before": starts.to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }),
    )
}

/// `now` in seconds since 1970.
pub(super) fn app_service(double: &Double, request: &Request, now: i64) -> Response {
    let refuse = |status: u16, message: &str| {
        Response::json(
            status,
            &json!({ "statusCode": status, "message": message, "correlationId": "" }),
        )
    };
    if request.method != Method::GET {
        return refuse(405, "Method not allowed").with("allow", "GET");
    }
    // The header keeps requests out that an application was tricked into.
    if request.header("x-identity-header") != Some(&double.identity_header) {
        return refuse(401, "Invalid X-IDENTITY-HEADER");
    }
    if let Some(fault) = lock(&double.faults).other("managed-identity") {
        return errors::fault(fault.status, fault.retry_after);
    }
    if request.parameter("api-version") != Some("2019-08-01") {
        return refuse(400, "The api-version is invalid or was not specified");
    }
    let known = ["api-version", "resource", "client_id", "principal_id"];
    if let Some((name, _)) = request.query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        return refuse(501, &format!("{name} is not known to this double"));
    }
    let Some(resource) = request.parameter("resource").and_then(login::known_resource) else {
        return refuse(400, "The resource is unknown or was not specified");
    };
    let Some(principal) = identity(double, request) else {
        return refuse(
            400,
            "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.",
        );
    };
    let issued = double.tokens.issue(&double.directory.tenant, principal, resource, now);
    Response::json(
        200,
        &json!({
            "access_token": issued.token,
            "client_id": principal.client_id,
            "expires_on": issued.expires.to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }),
    )
}

/// Who is asked for; without a name it is the identity of the machine, which has all rights.
fn identity<'a>(double: &'a Double, request: &Request) -> Option<&'a Principal> {
    let directory = &double.directory;
    let object_id = request.parameter("object_id").or(request.parameter("principal_id"));
    match (request.parameter("client_id"), object_id) {
        (None, None) => directory.by_role(Role::All),
        (Some(client_id), None) => directory.by_client_id(client_id),
        (None, Some(object_id)) => directory.by_object_id(object_id),
        (Some(_), Some(_)) => None,
    }
}
