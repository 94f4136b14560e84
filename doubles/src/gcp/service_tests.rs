//! Requests and their answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderName, HeaderValue};

use super::*;

struct World {
    service: Service,
}

impl World {
    fn new() -> Self {
        let credentials = Credentials::new("http://127.0.0.1:1").unwrap();
        Self {
            service: super::super::service(credentials, false, 100),
        }
    }

    fn send(&mut self, request: &Request) -> (u16, Value) {
        let answer = super::super::answer(&mut self.service, &json!({}), request);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    /// As the administrator.
    #[expect(clippy::needless_pass_by_value, reason = "bodies are written where they are sent")]
    fn call(&mut self, method: &str, uri: &str, body: Value) -> (u16, Value) {
        self.send(&request(method, uri, "ya29.double-admin", &body))
    }

    fn secret(&mut self, id: &str) {
        let body = json!({ "replication": { "automatic": {} } });
        let (http, _) = self.call("POST", &format!("/v1/projects/my-project/secrets?secretId={id}"), body);
        assert_eq!(http, 200);
        let body = json!({ "payload": { "data": STANDARD.encode("kfcanary-ofthedouble") } });
        let (http, _) = self.call("POST", &format!("/v1/projects/my-project/secrets/{id}:addVersion"), body);
        assert_eq!(http, 200);
    }
}

fn request(method: &str, uri: &str, token: &str, body: &Value) -> Request {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut request = Request {
        method: method.parse().unwrap(),
        path: path.to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: hyper::HeaderMap::new(),
        body: if body.is_null() {
            hyper::body::Bytes::new()
        } else {
            body.to_string().into()
        },
    };
    let mut header = |name: &'static str, value: &str| {
        request
            .headers
            .insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    };
    header("content-type", "application/json; charset=utf-8");
    if !token.is_empty() {
        header("authorization", &format!("Bearer {token}"));
    }
    request
}

fn reason(body: &Value) -> (&str, &str) {
    let error = &body["error"];
    (
        error["status"].as_str().unwrap_or_default(),
        error["details"][0]["reason"].as_str().unwrap_or_default(),
    )
}

#[test]
fn a_secret_goes_through_its_life() {
    let mut world = World::new();
    world.secret("s");
    let (_, body) = world.call("GET", "/v1/projects/my-project/secrets/s/versions/latest:access", Value::Null);
    assert_eq!(body["payload"]["data"], STANDARD.encode("kfcanary-ofthedouble"));
    // By number, whatever the request names it by.
    let number = super::super::names::project_number("my-project").unwrap();
    assert_eq!(body["name"], format!("projects/{number}/secrets/s/versions/1"));
    let by_number = format!("/v1/projects/{number}/secrets/s?$alt=json;enum-encoding=int");
    let (http, secret) = world.call("GET", &by_number, Value::Null);
    assert_eq!(http, 200);
    let labels = json!({ "labels": { "a": "b" }, "etag": secret["etag"] });
    let (_, body) = world.call("PATCH", "/v1/projects/my-project/secrets/s?updateMask=labels", labels.clone());
    assert_eq!(body["labels"], json!({ "a": "b" }));
    let (http, body) = world.call("PATCH", "/v1/projects/my-project/secrets/s?update_mask=labels", labels);
    assert_eq!((http, reason(&body).0), (400, "FAILED_PRECONDITION"));
    let version = "/v1/projects/my-project/secrets/s/versions/1";
    let (_, body) = world.call("POST", &format!("{version}:disable?$alt=json;enum-encoding=int"), json!({}));
    assert_eq!(body["state"], 2);
    let (http, body) = world.call("GET", &format!("{version}:access"), Value::Null);
    assert_eq!((http, reason(&body).0), (400, "FAILED_PRECONDITION"));
    let (_, body) = world.call("POST", &format!("{version}:enable"), Value::Null);
    assert_eq!(body["state"], "ENABLED");
    let (_, body) = world.call("GET", "/v1/projects/my-project/secrets/s/versions?pageSize=5", Value::Null);
    assert_eq!(
        (&body["totalSize"], body["versions"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    let (http, body) = world.call("DELETE", "/v1/projects/my-project/secrets/s", Value::Null);
    assert_eq!((http, body), (200, json!({})));
    let (http, body) = world.call("GET", &format!("{version}:access"), Value::Null);
    assert_eq!((http, reason(&body).0), (404, "NOT_FOUND"));
}

#[test]
fn who_has_no_right_learns_nothing() {
    let mut world = World::new();
    world.secret("s");
    let version = "/v1/projects/my-project/secrets/s/versions/latest";
    let mut ask = |token: &str, method: &str, uri: &str| world.send(&request(method, uri, token, &Value::Null));
    let (http, body) = ask("", "GET", version);
    assert_eq!((http, reason(&body)), (401, ("UNAUTHENTICATED", "CREDENTIALS_MISSING")));
    let (http, body) = ask("ya29.double-expired", "GET", version);
    assert_eq!((http, reason(&body)), (401, ("UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED")));
    assert_eq!(ask("ya29.invented", "GET", version).0, 401);
    let access = format!("{version}:access");
    assert_eq!(ask("ya29.double-accessor", "GET", &access).0, 200);
    assert_eq!(ask("ya29.double-viewer", "GET", version).0, 200);
    for (token, uri, permission, resource) in [
        (
            "ya29.double-viewer",
            access.as_str(),
            "secretmanager.versions.access",
            "projects/my-project/secrets/s/versions/latest",
        ),
        (
            "ya29.double-accessor",
            version,
            "secretmanager.versions.get",
            "projects/my-project/secrets/s/versions/latest",
        ),
        (
            "ya29.double-accessor",
            "/v1/projects/my-project/secrets",
            "secretmanager.secrets.list",
            "projects/my-project",
        ),
        // The same as for one that is there.
        (
            "ya29.double-nobody",
            "/v1/projects/my-project/secrets/none",
            "secretmanager.secrets.get",
            "projects/my-project/secrets/none",
        ),
    ] {
        let (http, body) = ask(token, "GET", uri);
        assert_eq!((http, reason(&body)), (403, ("PERMISSION_DENIED", "IAM_PERMISSION_DENIED")));
        let metadata = json!({ "permission": permission, "resource": resource });
        assert_eq!(body["error"]["details"][0]["metadata"], metadata);
    }
}

#[test]
fn permissions_are_told_to_everybody_who_has_them() {
    let mut world = World::new();
    world.secret("s");
    let all = ["secretmanager.versions.access", "secretmanager.secrets.delete"];
    let mut test = |token: &str, id: &str, permissions: &[&str]| {
        let uri = format!("/v1/projects/my-project/secrets/{id}:testIamPermissions");
        world.send(&request("POST", &uri, token, &json!({ "permissions": permissions })))
    };
    assert_eq!(test("ya29.double-admin", "s", &all).1, json!({ "permissions": all }));
    assert_eq!(test("ya29.double-accessor", "s", &all).1, json!({ "permissions": [all[0]] }));
    assert_eq!(test("ya29.double-nobody", "s", &all), (200, json!({})));
    assert_eq!(test("ya29.double-admin", "none", &all), (200, json!({})));
    assert_eq!(test("ya29.double-admin", "s", &["storage.buckets.get"]).0, 400);
}

#[test]
fn what_the_request_should_not_have_is_refused() {
    let mut world = World::new();
    world.secret("s");
    let secret = "/v1/projects/my-project/secrets/s";
    let replication = json!({ "replication": { "automatic": {} } });
    for (method, uri, body) in [
        ("POST", "/v1/projects/my-project/secrets".to_owned(), replication.clone()),
        (
            "POST",
            "/v1/projects/my-project/secrets?secretId=a.b".to_owned(),
            replication.clone(),
        ),
        (
            "POST",
            "/v1/projects/my-project/secrets?secretId=a&x=1".to_owned(),
            replication.clone(),
        ),
        (
            "POST",
            "/v1/projects/my-project/secrets?secretId=a&secret_id=b".to_owned(),
            replication,
        ),
        (
            "POST",
            "/v1/projects/my-project/secrets?secretId=a".to_owned(),
            json!({ "replicaton": {} }),
        ),
        ("POST", format!("{secret}:addVersion"), json!({})),
        (
            "POST",
            format!("{secret}:addVersion"),
            json!({ "payload": { "data": "YQ==", "dataCrc32c": "1" } }),
        ),
        (
            "POST",
            format!("{secret}:addVersion"),
            json!({ "payload": { "data": "YQ==", "crc32c": "1" } }),
        ),
        ("PATCH", secret.to_owned(), json!({ "labels": {} })),
        ("PATCH", format!("{secret}?updateMask=replication"), json!({})),
        ("GET", format!("{secret}/versions?pageSize=x"), Value::Null),
        ("GET", format!("{secret}/versions?pageToken=x"), Value::Null),
        ("GET", format!("{secret}/versions?filter=x"), Value::Null),
        ("GET", format!("{secret}/versions/0"), Value::Null),
        ("GET", secret.to_owned(), json!({})),
        ("POST", format!("{secret}/versions/latest:destroy"), json!({})),
        ("POST", format!("{secret}/versions/1:destroy"), json!({ "force": true })),
        ("POST", format!("{secret}/versions/1:destroy"), json!([])),
    ] {
        let (http, answer) = world.call(method, &uri, body);
        assert_eq!((http, reason(&answer).0), (400, "INVALID_ARGUMENT"), "{method} {uri}");
    }
    let mut form = request("POST", &format!("{secret}:addVersion"), "ya29.double-admin", &json!({}));
    form.headers.insert("content-type", HeaderValue::from_static("text/plain"));
    assert_eq!(world.send(&form).0, 400);
    // Nothing of that has changed anything.
    assert_eq!(
        world.call("GET", &format!("{secret}/versions/latest:access"), Value::Null).0,
        200
    );
}

#[test]
fn unknown_paths_are_pages_and_what_is_left_out_says_so() {
    let mut world = World::new();
    for (method, uri) in [
        ("GET", "/v1/projects/my-project"),
        ("GET", "/v2/projects/my-project/secrets"),
        ("PUT", "/v1/projects/my-project/secrets/s"),
        ("GET", "/v1/projects/my-project/secrets/s:addVersion"),
        ("POST", "/v1/projects/my-project/secrets/s/versions/1:forget"),
    ] {
        assert_eq!(world.call(method, uri, Value::Null), (404, Value::Null), "{method} {uri}");
    }
    for (method, uri) in [
        ("GET", "/v1/projects/my-project/secrets/s:getIamPolicy"),
        ("POST", "/v1/projects/my-project/secrets/s:rotateSecret"),
        ("GET", "/v1/projects/my-project/locations"),
        ("GET", "/v1/projects/my-project/secrets?alt=media"),
    ] {
        let (http, body) = world.call(method, uri, Value::Null);
        assert_eq!((http, reason(&body).0), (501, "UNIMPLEMENTED"), "{method} {uri}");
    }
}

#[test]
fn planned_faults_happen_before_or_after_the_call() {
    let mut world = World::new();
    world.secret("s");
    let access = "/v1/projects/my-project/secrets/s/versions/1:access";
    let plan = json!({ "fault": "RESOURCE_EXHAUSTED", "method": "AccessSecretVersion", "retryDelay": "3s" });
    assert_eq!(world.call("POST", "/_double/faults", plan).0, 200);
    let (http, body) = world.call("GET", access, Value::Null);
    assert_eq!((http, reason(&body)), (429, ("RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED")));
    assert_eq!(body["error"]["details"][1]["retryDelay"], "3s");
    let (_, right) = world.call("GET", access, Value::Null);

    world.call("POST", "/_double/faults", json!({ "fault": "WRONG_CHECKSUM" }));
    let (http, wrong) = world.call("GET", access, Value::Null);
    assert_eq!(http, 200);
    assert_ne!(wrong["payload"]["dataCrc32c"], right["payload"]["dataCrc32c"]);
    assert_eq!(wrong["payload"]["data"], right["payload"]["data"]);

    let plan = json!({ "fault": "UNAVAILABLE", "method": "DeleteSecret", "afterwards": true });
    world.call("POST", "/_double/faults", plan);
    let (http, _) = world.call("DELETE", "/v1/projects/my-project/secrets/s", Value::Null);
    assert_eq!(http, 503);
    assert_eq!(world.call("GET", access, Value::Null).0, 404);

    world.call(
        "POST",
        "/_double/faults",
        json!({ "fault": "SERVICE_DISABLED", "count": 100 }),
    );
    let (http, body) = world.call("GET", access, Value::Null);
    assert_eq!(
        (http, body["error"]["details"][1]["reason"].as_str()),
        (403, Some("SERVICE_DISABLED"))
    );
    world.call("DELETE", "/_double/faults", Value::Null);
    assert_eq!(world.call("GET", access, Value::Null).0, 404);
}

#[test]
fn the_clock_can_be_put_forward() {
    let mut world = World::new();
    world.secret("s");
    let uri = "/v1/projects/my-project/secrets/s";
    let (http, _) = world.call("PATCH", &format!("{uri}?updateMask=ttl"), json!({ "ttl": "60s" }));
    assert_eq!(http, 200);
    assert_eq!(world.call("POST", "/_double/clock", json!({ "advanceSeconds": 61 })).0, 200);
    assert_eq!(world.call("GET", uri, Value::Null).0, 404);
    for seconds in [-1, i64::MAX] {
        assert_eq!(
            world.call("POST", "/_double/clock", json!({ "advanceSeconds": seconds })).0,
            400
        );
    }
}

#[test]
fn a_machine_gets_its_token_only_with_the_header() {
    let mut world = World::new();
    let uri = "/computeMetadata/v1/instance/service-accounts/default/token";
    let mut ask = request("GET", uri, "", &Value::Null);
    assert_eq!(world.send(&ask).0, 403);
    ask.headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
    let (http, body) = world.send(&ask);
    assert_eq!((http, &body["token_type"]), (200, &json!("Bearer")));
    let token = body["access_token"].as_str().unwrap();
    let (http, _) = world.send(&request("GET", "/v1/projects/my-project/secrets", token, &Value::Null));
    assert_eq!(http, 200);
    world.call("POST", "/_double/clock", json!({ "advanceSeconds": 3600 }));
    let (http, _) = world.send(&request("GET", "/v1/projects/my-project/secrets", token, &Value::Null));
    assert_eq!(http, 401);
}
