//! The token endpoint of Microsoft Entra, for applications: client secrets and assertions.

use std::collections::BTreeMap;

use hyper::Method;
use jiff::Timestamp;
use serde_json::json;

use super::directory::{Doubt, Principal};
use super::tokens::{MANAGEMENT_RESOURCE, VAULT_RESOURCE};
use super::{Double, lock, random};
use crate::server::{Request, Response};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Answers one request. `now` in seconds since 1970.
pub(super) fn handle(double: &Double, request: &Request, now: i64) -> Response {
    let parts: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    match parts[..] {
        ["common", "discovery", "instance"] if request.method == Method::GET => instance(double),
        [tenant, "v2.0", ".well-known", "openid-configuration"] if request.method == Method::GET => {
            configuration(double, tenant).unwrap_or_else(Denial::response)
        }
        [tenant, "oauth2", "v2.0", "token"] if request.method == Method::POST => {
            if let Some(fault) = lock(&double.faults).other("token") {
                return Denial::temporary(fault.status).response_after(fault.retry_after);
            }
            token(double, request, tenant, now).unwrap_or_else(Denial::response)
        }
        _ => Response::json(
            501,
            &json!({ "error": "not_implemented", "error_description": "not known to this double" }),
        ),
    }
}

/// An error of OAuth 2.0 with Microsoft's number.
struct Denial {
    status: u16,
    error: &'static str,
    code: u32,
    message: String,
}

impl Denial {
    fn new(status: u16, error: &'static str, code: u32, message: impl Into<String>) -> Self {
        Self {
            status,
            error,
            code,
            message: message.into(),
        }
    }

    fn temporary(status: u16) -> Self {
        Self::new(
            status,
            "temporarily_unavailable",
            90_033,
            "A transient error has occurred. Please try again.",
        )
    }

    fn response(self) -> Response {
        let uuid = || random::uuid().unwrap_or_default();
        let time = Timestamp::now().strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        let (trace, correlation) = (uuid(), uuid());
        let description = format!(
            "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {time}",
            self.code, self.message
        );
        let body = json!({
            "error": self.error,
            "error_description": description,
            "error_codes": [self.code],
            "timestamp": time,
            "trace_id": trace,
            "correlation_id": correlation,
            "error_uri": format!("https://login.microsoftonline.com/error?code={}", self.code),
        });
        Response::json(self.status, &body)
            .with("cache-control", "no-store, no-cache")
            .with("x-ms-request-id", &trace)
    }

    fn response_after(self, seconds: Option<u32>) -> Response {
        match seconds {
            None => self.response(),
            Some(seconds) => self.response().with("retry-after", &seconds.to_string()),
        }
    }
}

/// What clients ask to find out whether they can trust an authority. They ask a host of Microsoft's unless they are told
/// not to, so for an address of one's own this has to be turned off there.
fn instance(double: &Double) -> Response {
    let host = double.authority.trim_start_matches("https://");
    let tenant = &double.directory.tenant;
    let body = json!({
        "tenant_discovery_endpoint": format!("{}/{tenant}/v2.0/.well-known/openid-configuration", double.authority),
        "api-version": "1.1",
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
    });
    Response::json(200, &body)
}

fn configuration(double: &Double, tenant: &str) -> Result<Response, Denial> {
    check_tenant(double, tenant)?;
    let base = format!("{}/{}", double.authority, double.directory.tenant);
    let body = json!({
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{base}/v2.0"),
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
    });
    Ok(Response::json(200, &body))
}

fn token(double: &Double, request: &Request, tenant: &str, now: i64) -> Result<Response, Denial> {
    check_tenant(double, tenant)?;
    let content_type = request.header("content-type").unwrap_or_default();
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        let message = "The request body must be of type application/x-www-form-urlencoded.";
        return Err(Denial::new(400, "invalid_request", 900_144, message));
    }
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let field = |name: &str| {
        form.get(name).map(String::as_str).ok_or_else(|| {
            let message = format!("The request body must contain the following parameter: '{name}'.");
            Denial::new(400, "invalid_request", 900_144, message)
        })
    };
    if field("grant_type")? != "client_credentials" {
        let message = "The app requested an unsupported grant type.";
        return Err(Denial::new(400, "unsupported_grant_type", 70_003, message));
    }
    let client_id = field("client_id")?;
    let principal = double.directory.by_client_id(client_id).ok_or_else(|| {
        let message = format!("Application with identifier '{client_id}' was not found in the directory '{tenant}'.");
        Denial::new(400, "unauthorized_client", 700_016, message)
    })?;
    prove(double, principal, &form, now)?;
    let resource = resource(field("scope")?)?;
    let issued = double.tokens.issue(&double.directory.tenant, principal, resource, now);
    let body = json!({
        "token_type": "Bearer",
        "expires_in": issued.lifetime(),
        "ext_expires_in": issued.lifetime(),
        "access_token": issued.token,
    });
    Ok(Response::json(200, &body)
        .with("cache-control", "no-store, no-cache")
        .with("pragma", "no-cache"))
}

fn check_tenant(double: &Double, tenant: &str) -> Result<(), Denial> {
    if tenant.eq_ignore_ascii_case(&double.directory.tenant) {
        return Ok(());
    }
    let message = format!("Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.");
    Err(Denial::new(400, "invalid_request", 90_002, message))
}

fn prove(double: &Double, principal: &Principal, form: &BTreeMap<String, String>, now: i64) -> Result<(), Denial> {
    let invalid = |code, message: &str| Denial::new(401, "invalid_client", code, message);
    if let Some(secret) = form.get("client_secret") {
        return if *secret == principal.secret {
            Ok(())
        } else {
            Err(invalid(
                7_000_215,
                "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, \
                 not the client secret ID.",
            ))
        };
    }
    let Some(assertion) = form.get("client_assertion") else {
        let message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
        return Err(invalid(7_000_218, message));
    };
    if form.get("client_assertion_type").is_none_or(|kind| kind != ASSERTION_TYPE) {
        let message = "The request has an unsupported value of 'client_assertion_type'.";
        return Err(Denial::new(400, "invalid_request", 900_144, message));
    }
    let endpoint = format!("{}/{}/oauth2/v2.0/token", double.authority, double.directory.tenant);
    let verified = double.directory.verify_assertion(principal, assertion, &endpoint, now);
    verified.map_err(|doubt| match doubt {
        Doubt::NoToken => invalid(50_027, "JWT token is invalid or malformed."),
        Doubt::UnknownCertificate => invalid(
            700_027,
            "The certificate with identifier used to sign the client assertion is not registered on application.",
        ),
        Doubt::Signature => invalid(700_027, "Client assertion failed signature validation."),
        Doubt::Time => invalid(700_024, "Client assertion is not within its valid time range."),
        Doubt::Audience => invalid(
            700_212,
            "No matching federated identity record found for presented assertion audience.",
        ),
        Doubt::Identity => invalid(
            700_213,
            "No matching federated identity record found for presented assertion subject.",
        ),
    })
}

/// The resource of a scope like `https://vault.azure.net/.default`; what OpenID Connect adds is left out.
fn resource(scope: &str) -> Result<&'static str, Denial> {
    let mut scopes = scope
        .split_whitespace()
        .filter(|scope| !matches!(*scope, "openid" | "profile" | "offline_access"));
    let (Some(scope), None) = (scopes.next(), scopes.next()) else {
        let message = "The provided value for the input parameter 'scope' is not valid.";
        return Err(Denial::new(400, "invalid_scope", 70_011, message));
    };
    let Some(resource) = scope.strip_suffix("/.default") else {
        let message = format!(
            "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with \
             /.default suffixed to the resource identifier (application ID URI)."
        );
        return Err(Denial::new(400, "invalid_scope", 1_002_012, message));
    };
    known_resource(resource).ok_or_else(|| {
        let message = format!("The resource principal named {resource} was not found in the tenant.");
        Denial::new(400, "invalid_resource", 500_011, message)
    })
}

/// The resources that there are tokens for.
pub(super) fn known_resource(resource: &str) -> Option<&'static str> {
    let resource = resource.trim_end_matches('/');
    [VAULT_RESOURCE, MANAGEMENT_RESOURCE]
        .into_iter()
        .find(|known| *known == resource)
}
