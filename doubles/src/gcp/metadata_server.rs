//! The metadata server of a virtual machine, as far as credentials need it:
//! <https://cloud.google.com/compute/docs/metadata/overview>.

use serde_json::json;

use super::callers::TOKEN_SECONDS;
use super::credentials::{PROJECT, SCOPE, SERVICE_ACCOUNT};
use super::names::project_number;
use super::service::Service;
use crate::server::{Request, Response};

const ACCOUNT: &str = "/computeMetadata/v1/instance/service-accounts/default/";

/// The answer to a request for what a machine knows of itself, or `None` when the path is no such thing.
pub(super) fn answer(service: &mut Service, request: &Request) -> Option<Response> {
    // A client finds out so whether there is a metadata server at all.
    let probe = request.path == "/" || request.path == "/computeMetadata/" || request.path == "/computeMetadata";
    if !probe && !request.path.starts_with("/computeMetadata/v1/") {
        return None;
    }
    let answer = answer_with_flavor(service, request, probe);
    Some(
        answer
            .with("metadata-flavor", "Google")
            .with("server", "Metadata Server for VM"),
    )
}

fn answer_with_flavor(service: &mut Service, request: &Request, probe: bool) -> Response {
    if request.method != hyper::Method::GET {
        return text(405, "Method Not Allowed");
    }
    if probe {
        return text(200, "computeMetadata/\n");
    }
    // So that no page in a browser can ask for a token.
    if request.header("metadata-flavor") != Some("Google") || request.header("x-forwarded-for").is_some() {
        return text(403, "Missing Metadata-Flavor:Google header.");
    }
    if let Some(rest) = request.path.strip_prefix(ACCOUNT) {
        return match rest {
            "" if request.parameter("recursive") == Some("true") => Response::json(
                200,
                &json!({ "aliases": ["default"], "email": SERVICE_ACCOUNT, "scopes": [SCOPE] }),
            ),
            "email" => text(200, SERVICE_ACCOUNT),
            "scopes" => text(200, &format!("{SCOPE}\n")),
            "token" => {
                let now = service.now();
                let token = service.callers.issue(now);
                Response::json(
                    200,
                    &json!({ "access_token": token, "expires_in": TOKEN_SECONDS, "token_type": "Bearer" }),
                )
            }
            _ => text(404, "Not Found"),
        };
    }
    match request.path.as_str() {
        "/computeMetadata/v1/project/project-id" => text(200, PROJECT),
        "/computeMetadata/v1/project/numeric-project-id" => text(
            200,
            &project_number(PROJECT).map(|number| number.to_string()).unwrap_or_default(),
        ),
        "/computeMetadata/v1/universe/universe-domain" => text(200, "googleapis.com"),
        _ => text(404, "Not Found"),
    }
}

fn text(status: u16, text: &str) -> Response {
    let mut response = Response::empty(status).with("content-type", "application/text");
    response.body = text.as_bytes().to_vec();
    response
}
