//! From a request to a call, and from its result to an answer.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::callers::{Callers, PERMISSIONS, Rights, Unknown};
use super::credentials::Credentials;
use super::faults::{Faults, spoil};
use super::json::{Message, camel_case};
use super::methods::Method;
use super::names::{Place, SecretName, Target, VersionId, route};
use super::pages::Wanted;
use super::secret::{Fields, mask};
use super::status::Status;
use super::store::{Change, Store};
use crate::server::{Request, Response};

/// Parameters that every method of every Google API takes, as far as they change nothing here.
const SYSTEM_PARAMETERS: &[&str] = &["$prettyPrint", "key", "prettyPrint", "quotaUser"];

pub(super) struct Service {
    pub(super) store: Store,
    pub(super) callers: Callers,
    pub(super) credentials: Credentials,
    pub(super) faults: Faults,
    /// How far the clock was put forward.
    pub(super) ahead: SignedDuration,
    /// Who sends no token may do everything.
    pub(super) anonymous: bool,
}

/// A call that may be carried out.
struct Call<'a> {
    method: Method,
    target: Target,
    query: Vec<(String, &'a str)>,
    body: &'a [u8],
    rights: Rights,
    /// Enumerations are answered by number: `$alt=json;enum-encoding=int`.
    numbers: bool,
    now: Timestamp,
}

impl Service {
    pub(super) fn now(&self) -> Timestamp {
        // Microseconds, as the service has them.
        let now = Timestamp::now() + self.ahead;
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    /// Answers a request to the API, `path` being what follows `/v1/`.
    pub(super) fn answer(&mut self, path: &str, request: &Request) -> Response {
        let result = match route(path) {
            None => return no_such_page(&request.path),
            Some(Err(status)) => Err(status),
            Some(Ok((target, custom))) => match Method::of(&request.method, &target, custom) {
                None => return no_such_page(&request.path),
                Some(Err(status)) => Err(status),
                Some(Ok(method)) => self.permitted(method, target, path, request),
            },
        };
        match result {
            Ok(body) => Response::json(200, &body),
            Err(status) => {
                let (http, body) = status.answer();
                let response = Response::json(http, &body);
                let realm = r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#;
                if http == 401 {
                    response.with("www-authenticate", realm)
                } else {
                    response
                }
            }
        }
    }

    fn permitted(&mut self, method: Method, target: Target, path: &str, request: &Request) -> Result<Value, Status> {
        let now = self.now();
        let rights = self.rights(method, request, now)?;
        // As it stands in the request, without the verb.
        let resource = path
            .rsplit_once(':')
            .map_or(path, |(before, verb)| if verb.contains('/') { path } else { before });
        if let Some(permission) = method.permission().filter(|permission| !rights.allow(permission)) {
            let resource = match method {
                Method::ListSecrets | Method::CreateSecret => resource.trim_end_matches("/secrets"),
                Method::ListSecretVersions => resource.trim_end_matches("/versions"),
                _ => resource,
            };
            return Err(Status::denied(permission, resource));
        }
        let call = Call {
            query: query(method, request)?,
            numbers: numbers(request)?,
            body: body(request)?,
            method,
            target,
            rights,
            now,
        };
        let fate = self.faults.fate(method.name(), resource, place(&call.target));
        match fate.status {
            Some(status) if !fate.afterwards => return Err(status),
            Some(status) => {
                self.carry_out(&call)?;
                return Err(status);
            }
            None => {}
        }
        let mut body = self.carry_out(&call)?;
        if fate.wrong_checksum {
            spoil(&mut body);
        }
        Ok(body)
    }

    fn rights(&self, method: Method, request: &Request, now: Timestamp) -> Result<Rights, Status> {
        let method = method.name();
        let Some(header) = request.header("authorization") else {
            return if self.anonymous {
                Ok(Rights::All)
            } else {
                Err(Status::missing_token(method))
            };
        };
        let token = header.strip_prefix("Bearer ").unwrap_or_default();
        if self.credentials.is_self_signed(token, now) {
            return Ok(Rights::All);
        }
        self.callers.rights(token, now).map_err(|unknown| match unknown {
            Unknown::Expired => Status::bad_token("ACCESS_TOKEN_EXPIRED", method),
            Unknown::NoToken => Status::bad_token("ACCESS_TOKEN_TYPE_UNSUPPORTED", method),
        })
    }

    fn carry_out(&mut self, call: &Call<'_>) -> Result<Value, Status> {
        self.store.settle(call.now);
        let now = call.now;
        match &call.target {
            Target::Secrets(place) => match call.method {
                Method::CreateSecret => {
                    let id = call.parameter("secretId");
                    self.store.create(place, id, Fields::read(call.json()?)?, now)
                }
                _ => self.store.secrets(place, &call.wanted()?),
            },
            Target::Secret(name) => self.on_secret(call, name),
            Target::Versions(name) => self.store.versions(name, &call.wanted()?, call.numbers),
            Target::Version(name, id) => self.on_version(call, name, id),
            // No method leads there.
            Target::Locations => Err(Status::not_doubled("a list of locations")),
        }
    }

    fn on_secret(&mut self, call: &Call<'_>, name: &SecretName) -> Result<Value, Status> {
        match call.method {
            Method::UpdateSecret => {
                let parts = mask(call.parameter("updateMask"))?;
                self.store.update(name, Fields::read(call.json()?)?, &parts, call.now)
            }
            Method::DeleteSecret => self.store.delete(name, call.parameter("etag")),
            Method::AddSecretVersion => {
                let mut message = Message::read(call.json()?, "", &["parent", "payload"])?;
                let payload = message.message("payload", &["data", "dataCrc32c"])?;
                let mut payload = payload.ok_or_else(|| Status::invalid("Field [payload] is required."))?;
                let checksum = payload.integer("dataCrc32c")?;
                let data = payload.bytes("data")?;
                self.store.add(name, data, checksum, call.now, call.numbers)
            }
            Method::TestIamPermissions => {
                let mut message = Message::read(call.json()?, "", &["permissions", "resource"])?;
                let permissions = message.texts("permissions")?;
                if let Some(unknown) = permissions.iter().find(|asked| !PERMISSIONS.contains(&asked.as_str())) {
                    return Err(Status::invalid(format!(
                        "Permission {unknown} is not valid for this resource."
                    )));
                }
                // By the reference a secret that is not there has no permissions, and is no error.
                let there = self.store.contains(name);
                let held: Vec<_> = permissions.iter().filter(|asked| there && call.rights.allow(asked)).collect();
                Ok(if held.is_empty() {
                    json!({})
                } else {
                    json!({ "permissions": held })
                })
            }
            _ => self.store.secret(name),
        }
    }

    fn on_version(&mut self, call: &Call<'_>, name: &SecretName, id: &VersionId) -> Result<Value, Status> {
        let change = match call.method {
            Method::EnableSecretVersion => Change::Enable,
            Method::DisableSecretVersion => Change::Disable,
            Method::DestroySecretVersion => Change::Destroy,
            Method::AccessSecretVersion => return self.store.access(name, id),
            _ => return self.store.version(name, id, call.numbers),
        };
        let mut message = Message::read(call.json()?, "", &["etag", "name"])?;
        self.store
            .change(name, id, change, &message.text("etag")?, call.now, call.numbers)
    }
}

impl Call<'_> {
    fn parameter(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    fn json(&self) -> Result<Value, Status> {
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        let parsed = serde_json::from_slice(self.body);
        parsed.map_err(|_| Status::field("", "Invalid JSON payload received. It can't be parsed."))
    }

    fn wanted(&self) -> Result<Wanted, Status> {
        let size = self.parameter("pageSize");
        let wrong = |_| Status::field("page_size", format!("Invalid value at 'page_size' (TYPE_INT32), \"{size}\""));
        Ok(Wanted {
            size: if size.is_empty() { 0 } else { size.parse().map_err(wrong)? },
            token: self.parameter("pageToken").to_owned(),
            filter: self.parameter("filter").to_owned(),
        })
    }
}

fn place(target: &Target) -> &Place {
    /// For what has no project here.
    static NOWHERE: Place = Place {
        project: 0,
        location: None,
    };
    match target {
        Target::Secrets(place) => place,
        Target::Secret(name) | Target::Versions(name) | Target::Version(name, _) => &name.place,
        Target::Locations => &NOWHERE,
    }
}

/// The parameters that the method has, in `camelCase`; others are errors.
fn query(method: Method, request: &Request) -> Result<Vec<(String, &str)>, Status> {
    let mut query: Vec<(String, &str)> = Vec::new();
    for (name, value) in &request.query {
        if SYSTEM_PARAMETERS.contains(&name.as_str()) || ["$alt", "alt"].contains(&name.as_str()) {
            continue;
        }
        let camel = camel_case(name);
        if !method.parameters().contains(&camel.as_str()) {
            let message = format!(
                "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' could \
                 not be found in request message."
            );
            return Err(Status::field("", message));
        }
        if query.iter().any(|(known, _)| *known == camel) {
            let message = format!("Invalid value: the query parameter '{name}' is set more than once.");
            return Err(Status::field("", message));
        }
        query.push((camel, value));
    }
    Ok(query)
}

fn numbers(request: &Request) -> Result<bool, Status> {
    match request.parameter("$alt").or_else(|| request.parameter("alt")) {
        None | Some("json") => Ok(false),
        Some("json;enum-encoding=int") => Ok(true),
        Some(_) => Err(Status::not_doubled("answers in other forms than JSON")),
    }
}

fn body(request: &Request) -> Result<&[u8], Status> {
    let body: &[u8] = &request.body;
    if body.is_empty() {
        return Ok(body);
    }
    if !["PATCH", "POST"].contains(&request.method.as_str()) {
        return Err(Status::field("", "The request has a body, which this method does not take."));
    }
    let kind = request.header("content-type").unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Status::field("", "The body is not of the type application/json."));
    }
    Ok(body)
}

/// What Google's front end answers for a path that no service has: a page, no JSON.
pub(super) fn no_such_page(path: &str) -> Response {
    let mut response = Response::empty(404).with("content-type", "text/html; charset=UTF-8");
    let shown: String = path.chars().filter(|letter| !"<>&\"".contains(*letter)).collect();
    response.body = format!(
        "<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n\
         <p><b>404.</b> <ins>That’s an error.</ins>\n\
         <p>The requested URL <code>{shown}</code> was not found on this server. <ins>That’s all we know.</ins>\n"
    )
    .into_bytes();
    response
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
