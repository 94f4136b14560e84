//! The token endpoint, and what only tests ask for.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::callers::TOKEN_SECONDS;
use super::credentials::{Refusal, SCOPE};
use super::json::Message;
use super::service::Service;
use super::status::Status;
use crate::server::{Request, Response};

/// `None` for a path that is neither.
pub(super) fn answer(service: &mut Service, line: &Value, request: &Request) -> Option<Response> {
    let result = match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/token") => return Some(token(service, request)),
        ("GET", "/_double") => Ok(line.clone()),
        ("POST", "/_double/faults") => body(request).and_then(|body| service.faults.plan(body)).map(|()| json!({})),
        ("DELETE", "/_double/faults") => {
            service.faults.clear();
            Ok(json!({}))
        }
        ("POST", "/_double/clock") => body(request).and_then(|body| advance(service, body)),
        _ => return None,
    };
    Some(match result {
        Ok(body) => Response::json(200, &body),
        Err(status) => {
            let (http, body) = status.answer();
            Response::json(http, &body)
        }
    })
}

fn advance(service: &mut Service, body: Value) -> Result<Value, Status> {
    let seconds = Message::read(body, "", &["advanceSeconds"])?.integer("advanceSeconds")?;
    let ahead = seconds
        .filter(|seconds| *seconds >= 0)
        .map(|seconds| service.ahead.saturating_add(SignedDuration::from_secs(seconds)))
        // Times are to stay within those that can be written.
        .filter(|ahead| ahead.as_hours() <= 1_000_000);
    service.ahead = ahead.ok_or_else(|| Status::invalid("`advanceSeconds` is missing or out of range."))?;
    Ok(json!({ "now": service.now().to_string() }))
}

fn body(request: &Request) -> Result<Value, Status> {
    serde_json::from_slice(&request.body).map_err(|_| Status::invalid("The body is not JSON."))
}

/// The token endpoint of OAuth 2. Parameters come as a form, or as JSON from Google's own clients.
fn token(service: &mut Service, request: &Request) -> Response {
    let json: Option<Value> = serde_json::from_slice(&request.body).ok();
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let parameter = |name: &str| match &json {
        Some(json) => json[name].as_str().unwrap_or_default().to_owned(),
        None => {
            let found = form.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        }
    };
    let now = service.now();
    match service.credentials.check_grant(&parameter, now) {
        Ok(()) => {
            let token = service.callers.issue(now);
            let body = json!({
                "access_token": token,
                "expires_in": TOKEN_SECONDS,
                "scope": SCOPE,
                "token_type": "Bearer",
            });
            Response::json(200, &body)
        }
        Err(Refusal(http, error, description)) => {
            Response::json(http, &json!({ "error": error, "error_description": description }))
        }
    }
}
