//! The vault over HTTP: who asks, what for, whether they may, and the answer.

use std::sync::Mutex;

use serde_json::{Value, json};

use super::bodies::{self, Set};
use super::directory::Principal;
use super::faults::Fault;
use super::pages;
use super::permissions::Action;
use super::routes::{self, NoRoute, Route};
use super::secret::Form;
use super::vault::{Page, Refusal, Span, Vault};
use super::{Double, errors, lock, random};
use crate::server::{Request, Response};

/// Answers one request. `now` in milliseconds since 1970.
pub(super) fn handle(double: &Double, request: &Request, now: i64) -> Response {
    let response = answer(double, request, now).unwrap_or_else(|refused| refused);
    let id = random::uuid().unwrap_or_default();
    errors::with_headers(response, &id, request.header("x-ms-client-request-id"))
}

/// An answer that is an error ends the work early.
fn answer(double: &Double, request: &Request, now: i64) -> Result<Response, Response> {
    let vault_url = vault_url(request)?;
    let unauthorized = |message: &str| errors::unauthorized(&double.authority, &double.directory.tenant, message);
    let authorization = request.header("authorization");
    let principal = double
        .tokens
        .check(authorization, &double.directory, now / 1000)
        .map_err(|message| unauthorized(&message))?;
    let route = Route::of(request).map_err(|no_route| match no_route {
        NoRoute::Method(allowed) => errors::method_not_allowed(allowed),
        NoRoute::Unknown => errors::not_implemented("The path"),
    })?;
    let fault = lock(&double.faults).vault(route.name(), now);
    let failed = |fault: Fault| match fault.status {
        401 => unauthorized("[TokenExpired] Error validating token: 'S2S12086'."),
        status => errors::fault(status, fault.retry_after),
    };
    if let Some(fault) = fault.filter(|fault| !fault.afterwards) {
        return Err(failed(fault));
    }
    check_parameters(request, &route)?;
    check_names(&route)?;
    check_permission(double, principal, route.action(), route.secret())?;
    if route.has_body() {
        check_content_type(request)?;
    }
    let performed = perform(double, request, &vault_url, route, now)?;
    Ok(fault.map_or(performed, failed))
}

/// The addresses in an answer begin with the one that the client used. The service knows its vaults by `Host`, so a name
/// that is not this machine's is no vault.
fn vault_url(request: &Request) -> Result<String, Response> {
    let host = request.header("host").unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "127.0.0.1" | "localhost") {
        Ok(format!("https://{host}"))
    } else {
        Err(errors::bad_parameter("There is no vault of this name."))
    }
}

fn check_parameters(request: &Request, route: &Route) -> Result<(), Response> {
    match request.parameter("api-version") {
        None => return Err(errors::bad_parameter("api-version must be specified")),
        Some(version) if routes::API_VERSIONS.contains(&version) => {}
        Some(version) => {
            return Err(errors::bad_parameter(&format!(
                "The specified version ({version}) is not recognized. Consider using the latest supported version ({}).",
                routes::API_VERSIONS[routes::API_VERSIONS.len() - 1]
            )));
        }
    }
    for (at, (name, _)) in request.query.iter().enumerate() {
        let known = name == "api-version" || route.is_list() && matches!(name.as_str(), "maxresults" | "$skiptoken");
        if !known {
            return Err(errors::not_implemented(&format!("Parameter {name}")));
        }
        if request.query[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(errors::bad_parameter(&format!("Parameter {name} is given twice.")));
        }
    }
    Ok(())
}

fn check_names(route: &Route) -> Result<(), Response> {
    if let Some(name) = route.secret().filter(|name| !routes::is_name(name)) {
        let message = format!("The request URI contains an invalid name: {name}");
        return Err(errors::bad_parameter(&message));
    }
    if let Some(version) = route.version().filter(|version| !routes::is_version(version)) {
        let message = format!("The request URI contains an invalid version: {version}");
        return Err(errors::bad_parameter(&message));
    }
    Ok(())
}

fn check_permission(double: &Double, principal: &Principal, action: Action, name: Option<&str>) -> Result<(), Response> {
    if principal.role.allows(action) {
        Ok(())
    } else {
        Err(errors::forbidden(principal, &double.directory.tenant, action, name))
    }
}

fn check_content_type(request: &Request) -> Result<(), Response> {
    let content_type = request.header("content-type").unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        let message = "The request entity's media type is not supported for this resource.";
        Err(errors::error(415, "UnsupportedMediaType", message, None))
    }
}

fn perform(double: &Double, request: &Request, url: &str, route: Route, now: i64) -> Result<Response, Response> {
    let refused = |refusal: Refusal| errors::refusal(&refusal);
    let wrong = |wrong: bodies::Wrong| errors::wrong(&wrong);
    let vault: &Mutex<Vault> = &double.vault;
    let ok = |body: Value| Response::json(200, &body);
    Ok(match route {
        Route::Set(name) => {
            let set = Set::parse(&request.body).map_err(wrong)?;
            let id = random::version().map_err(|_| errors::fault(500, None))?;
            let written = lock(vault).set(&name, id, set.value, set.properties, now).map_err(refused)?;
            ok(written.json(url, Form::Value))
        }
        Route::Get(name, version) => {
            let secret = lock(vault).get(&name, lower(version).as_deref(), now).map_err(refused)?;
            ok(secret.json(url, Form::Value))
        }
        Route::Update(name, version) => {
            let properties = bodies::parse_update(&request.body).map_err(wrong)?;
            let version = lower(version);
            let secret = lock(vault)
                .update(&name, version.as_deref(), properties, now)
                .map_err(refused)?;
            ok(secret.json(url, Form::Properties))
        }
        Route::Delete(name) => ok(lock(vault).delete(&name, now).map_err(refused)?.json(url, Form::Properties)),
        Route::GetDeleted(name) => {
            let secret = lock(vault).get_deleted(&name, now).map_err(refused)?;
            ok(secret.json(url, Form::Properties))
        }
        Route::Recover(name) => ok(lock(vault).recover(&name, now).map_err(refused)?.json(url, Form::Properties)),
        Route::Purge(name) => {
            lock(vault).purge(&name, now).map_err(refused)?;
            Response::empty(204)
        }
        Route::List => list(double, request, url, Form::Item, |span| Ok(lock(vault).list(span, now)))?,
        Route::ListDeleted => list(double, request, url, Form::Item, |span| {
            Ok(lock(vault).list_deleted(span, now))
        })?,
        Route::ListVersions(name) => list(double, request, url, Form::VersionItem, |span| {
            lock(vault).list_versions(&name, span, now)
        })?,
    })
}

fn list(
    double: &Double,
    request: &Request,
    url: &str,
    form: Form,
    page: impl FnOnce(Span<'_>) -> Result<Page, Refusal>,
) -> Result<Response, Response> {
    let path = &request.path;
    let maximum = request.parameter("maxresults");
    let length = pages::length(maximum).ok_or_else(|| {
        let message = format!("The value of maxresults must be between 1 and {}.", pages::LENGTH);
        errors::bad_parameter(&message)
    })?;
    let after = match request.parameter("$skiptoken") {
        None => None,
        Some(token) => {
            let after = double.pages.last(path, token);
            Some(after.ok_or_else(|| errors::bad_parameter("The value of $skiptoken is invalid."))?)
        }
    };
    let span = Span {
        after: after.as_deref(),
        length,
    };
    let page = page(span).map_err(|refusal| errors::refusal(&refusal))?;
    let next = page.last.map(|last| {
        let version = request.parameter("api-version").unwrap_or_default();
        let token = double.pages.token(path, &last);
        let maximum = maximum.map(|maximum| format!("&maxresults={maximum}")).unwrap_or_default();
        format!("{url}{path}?api-version={version}&$skiptoken={token}{maximum}")
    });
    let items: Vec<Value> = page.items.iter().map(|item| item.json(url, form)).collect();
    Ok(Response::json(200, &json!({ "value": items, "nextLink": next })))
}

fn lower(version: Option<String>) -> Option<String> {
    version.map(|version| version.to_ascii_lowercase())
}
