//! The three ports, request by request, without sockets.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::*;

const NOW: i64 = 1_000_000_000_000;
const VERSION: &str = "api-version=2025-07-01";

fn double() -> Double {
    double_with(Faults::new(None))
}

fn double_with(faults: Faults) -> Double {
    let rules = Rules {
        settle: 300,
        purge_protection: false,
        recoverable_days: 90,
    };
    Double {
        directory: directory::tests::directory(&Issuer::generate().unwrap()),
        tokens: Tokens::new(60).unwrap(),
        pages: Pages::new().unwrap(),
        vault: Mutex::new(Vault::new(rules)),
        faults: Mutex::new(faults),
        authority: "https://127.0.0.1:2".to_owned(),
        identity_header: "header".to_owned(),
    }
}

fn request(line: &str, headers: &[(&'static str, &str)], body: &str) -> Request {
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    Request {
        method: method.parse().unwrap(),
        path: path.to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: map,
        body: body.to_owned().into(),
    }
}

fn token(double: &Double, role: Role) -> String {
    let principal = double.directory.by_role(role).unwrap();
    let tenant = &double.directory.tenant;
    let issued = double.tokens.issue(tenant, principal, tokens::VAULT_RESOURCE, NOW / 1000);
    format!("Bearer {}", issued.token)
}

/// Asks the vault as the principal of a role.
fn ask(double: &Double, role: Role, line: &str, body: &str) -> (u16, Value) {
    let token = token(double, role);
    let headers = [
        ("host", "127.0.0.1:1"),
        ("authorization", token.as_str()),
        ("content-type", "application/json"),
    ];
    let response = service::handle(double, &request(line, &headers, body), NOW);
    (response.status, errors::body(&response))
}

fn put(double: &Double, name: &str) {
    let line = format!("PUT /secrets/{name}?{VERSION}");
    let (status, body) = ask(double, Role::All, &line, r#"{"value":"kfcanary-doubles01"}"#);
    assert_eq!(status, 200, "{body}");
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default())
}

#[test]
fn without_a_token_there_is_a_challenge_whatever_is_asked() {
    let double = double();
    for line in ["GET /secrets/a", "PUT /nowhere", "GET /secrets?api-version=1"] {
        let response = service::handle(&double, &request(line, &[("host", "localhost:1")], ""), NOW);
        assert_eq!(response.status, 401, "{line}");
        let challenge = response.header("www-authenticate").unwrap();
        let expected = format!("Bearer authorization=\"https://127.0.0.1:2/{}\"", double.directory.tenant);
        assert!(challenge.starts_with(&expected), "{challenge}");
        assert_eq!(errors::body(&response)["error"]["code"], "Unauthorized");
    }
}

#[test]
fn every_answer_has_the_headers_of_the_service() {
    let double = double();
    let headers = [("host", "localhost"), ("x-ms-client-request-id", "mine")];
    let response = service::handle(&double, &request("GET /secrets", &headers, ""), NOW);
    for (name, value) in [("x-ms-client-request-id", "mine"), ("x-ms-keyvault-region", errors::REGION)] {
        assert_eq!(response.header(name), Some(value));
    }
    assert_eq!(response.header("x-ms-request-id").unwrap().len(), 36);
    assert_eq!(response.header("content-type"), Some("application/json; charset=utf-8"));
}

#[test]
fn a_secret_is_written_and_read_back() {
    let double = double();
    put(&double, "Name");
    let (status, secret) = ask(&double, Role::ReadOnly, &format!("GET /secrets/nAME/?{VERSION}"), "");
    assert_eq!((status, &secret["value"]), (200, &json!("kfcanary-doubles01")));
    let id = secret["id"].as_str().unwrap();
    let version = id.strip_prefix("https://127.0.0.1:1/secrets/Name/").unwrap();
    assert!(routes::is_version(version), "{id}");
    let line = format!("PATCH /secrets/Name/{version}?{VERSION}");
    let (status, updated) = ask(&double, Role::All, &line, r#"{"attributes":{"enabled":false}}"#);
    assert_eq!((status, updated.get("value")), (200, None));
    let denied = ask(&double, Role::All, &format!("GET /secrets/Name/{version}?{VERSION}"), "");
    assert_eq!(denied.1["error"]["innererror"]["code"], "SecretDisabled");
}

#[test]
fn what_is_wrong_with_a_request_is_told_apart() {
    let double = double();
    for (line, body, expected) in [
        ("GET /secrets", "", (400, "BadParameter")),
        ("GET /secrets?api-version=2.0", "", (400, "BadParameter")),
        ("GET /secrets?api-version=7.6&maxresults=26", "", (400, "BadParameter")),
        ("GET /secrets?api-version=7.6&maxresults=0", "", (400, "BadParameter")),
        ("GET /secrets?api-version=7.6&$skiptoken=x", "", (400, "BadParameter")),
        ("GET /secrets?api-version=7.6&api-version=7.6", "", (400, "BadParameter")),
        ("GET /secrets?api-version=7.6&filter=x", "", (501, "NotImplemented")),
        ("GET /secrets/a?api-version=7.6&maxresults=5", "", (501, "NotImplemented")),
        ("GET /secrets/a_b?api-version=7.6", "", (400, "BadParameter")),
        ("GET /secrets/a/version?api-version=7.6", "", (400, "BadParameter")),
        ("GET /secrets/a?api-version=7.6", "", (404, "SecretNotFound")),
        ("POST /secrets/a?api-version=7.6", "", (405, "MethodNotAllowed")),
        ("GET /keys?api-version=7.6", "", (501, "NotImplemented")),
        ("POST /secrets/a/backup?api-version=7.6", "", (501, "NotImplemented")),
        ("PUT /secrets/a?api-version=7.6", "{}", (400, "BadParameter")),
        (
            "PUT /secrets/a?api-version=7.6",
            r#"{"value":"","x":1}"#,
            (501, "NotImplemented"),
        ),
    ] {
        let answer = ask(&double, Role::All, line, body);
        assert_eq!(code(&answer), expected, "{line} {body}");
    }
    let token = token(&double, Role::All);
    let headers = [("host", "localhost"), ("authorization", token.as_str())];
    let line = "PUT /secrets/a?api-version=7.6";
    let response = service::handle(&double, &request(line, &headers, r#"{"value":""}"#), NOW);
    assert_eq!(response.status, 415, "without a content type");
    let elsewhere = [("host", "example.com"), ("authorization", token.as_str())];
    let response = service::handle(&double, &request("GET /secrets?api-version=7.6", &elsewhere, ""), NOW);
    assert_eq!(response.status, 400, "another host");
}

#[test]
fn a_principal_can_do_what_its_role_allows_and_no_more() {
    let double = double();
    put(&double, "a");
    let get = format!("GET /secrets/a?{VERSION}");
    let list = format!("GET /secrets?{VERSION}");
    let set = format!("PUT /secrets/a?{VERSION}");
    let body = r#"{"value":""}"#;
    for (role, statuses) in [
        (Role::All, [200, 200, 200]),
        (Role::ReadOnly, [200, 200, 403]),
        (Role::GetOnly, [200, 403, 403]),
        (Role::ListOnly, [403, 200, 403]),
        (Role::Nothing, [403, 403, 403]),
    ] {
        let found = [
            ask(&double, role, &get, "").0,
            ask(&double, role, &list, "").0,
            ask(&double, role, &set, body).0,
        ];
        assert_eq!(found, statuses, "{role:?}");
    }
    let (_, denied) = ask(&double, Role::Nothing, &get, "");
    assert_eq!(denied["error"]["innererror"]["code"], "ForbiddenByRbac");
    let message = denied["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\n"),
        "{message}"
    );
}

#[test]
fn a_list_is_followed_by_its_links_to_the_end() {
    let double = double();
    for number in 0..60 {
        put(&double, &format!("n{number:02}"));
    }
    let mut line = format!("GET /secrets?{VERSION}&maxresults=25");
    let mut lengths = Vec::new();
    loop {
        let (status, page) = ask(&double, Role::ListOnly, &line, "");
        assert_eq!(status, 200, "{page}");
        lengths.push(page["value"].as_array().unwrap().len());
        let Some(next) = page["nextLink"].as_str() else { break };
        let next = next.strip_prefix("https://127.0.0.1:1").unwrap();
        assert!(next.contains("maxresults=25") && next.contains(VERSION), "{next}");
        line = format!("GET {next}");
    }
    assert_eq!(lengths, [25, 25, 10]);
    let elsewhere = line.replace("/secrets?", "/deletedsecrets?");
    assert_eq!(ask(&double, Role::ListOnly, &elsewhere, "").0, 400);
}

#[test]
fn a_fault_takes_the_place_of_the_answer_and_changes_nothing() {
    let double = double();
    put(&double, "a");
    let control = |line: &str, body: &str| control::handle(&double, &request(line, &[], body)).status;
    assert_eq!(control("POST /_double/faults", r#"{"route":"delete","status":503}"#), 204);
    assert_eq!(control("POST /_double/faults", r#"{"route":"delete","status":401}"#), 204);
    assert_eq!(control("POST /_double/faults", "{}"), 400);
    assert_eq!(control("GET /_double/nothing", ""), 404);
    let delete = format!("DELETE /secrets/a?{VERSION}");
    assert_eq!(code(&ask(&double, Role::All, &delete, "")), (503, "ServiceUnavailable"));
    assert_eq!(code(&ask(&double, Role::All, &delete, "")), (401, "Unauthorized"));
    assert_eq!(ask(&double, Role::All, &format!("GET /secrets/a?{VERSION}"), "").0, 200);
    assert_eq!(ask(&double, Role::All, &delete, "").0, 200);
    let counts = control::handle(&double, &request("GET /_double/counts", &[], ""));
    assert_eq!(errors::body(&counts), json!({ "delete": 3, "get": 1, "set": 1 }));
}

#[test]
fn a_fault_afterwards_loses_the_answer_of_what_was_done() {
    let double = double();
    let demand = r#"{"route":"set","status":503,"afterwards":true}"#;
    control::handle(&double, &request("POST /_double/faults", &[], demand));
    let body = r#"{"value":"kfcanary-doubles03"}"#;
    assert_eq!(ask(&double, Role::All, &format!("PUT /secrets/a?{VERSION}"), body).0, 503);
    assert_eq!(ask(&double, Role::All, &format!("GET /secrets/a?{VERSION}"), "").0, 200);
}

#[test]
fn more_requests_than_the_limit_are_throttled() {
    let double = double_with(Faults::new(Some(2)));
    let list = format!("GET /secrets?{VERSION}");
    let found = [(); 3].map(|()| ask(&double, Role::All, &list, "").0);
    assert_eq!(found, [200, 200, 429]);
}

fn sign_in(double: &Double, form: &[(&str, &str)]) -> (u16, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let line = format!("POST /{}/oauth2/v2.0/token", double.directory.tenant);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let response = login::handle(double, &request(&line, &headers, &body), NOW / 1000);
    (response.status, errors::body(&response))
}

#[test]
fn a_client_secret_gives_a_token_that_the_vault_takes() {
    let double = double();
    let me = double.directory.by_role(Role::All).unwrap();
    let form = |secret, scope| {
        [
            ("grant_type", "client_credentials"),
            ("client_id", me.client_id.as_str()),
            ("client_secret", secret),
            ("scope", scope),
        ]
    };
    let (status, answer) = sign_in(&double, &form(&me.secret, "https://vault.azure.net/.default"));
    assert_eq!((status, &answer["expires_in"]), (200, &json!(60)));
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    let principal = double.tokens.check(Some(&bearer), &double.directory, NOW / 1000).unwrap();
    assert_eq!(principal.client_id, me.client_id);

    for (secret, scope, expected) in [
        ("wrong", "https://vault.azure.net/.default", (401, 7_000_215)),
        (&me.secret, "https://vault.azure.net", (400, 1_002_012)),
        (&me.secret, "https://example.com/.default", (400, 500_011)),
        (&me.secret, "", (400, 70_011)),
    ] {
        let (status, answer) = sign_in(&double, &form(secret, scope));
        assert_eq!((status, answer["error_codes"][0].as_u64().unwrap()), expected, "{scope}");
    }
}

#[test]
fn who_can_not_sign_in_is_told_why_by_number() {
    let double = double();
    let me = double.directory.by_role(Role::All).unwrap().client_id.clone();
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    for (form, expected) in [
        (vec![], 900_144),
        (vec![("grant_type", "password")], 70_003),
        (vec![("grant_type", "client_credentials"), ("client_id", "nobody")], 700_016),
        (vec![("grant_type", "client_credentials"), ("client_id", &me)], 7_000_218),
        (
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", &me),
                ("client_assertion", "x"),
                ("client_assertion_type", kind),
            ],
            50_027,
        ),
    ] {
        let (_, answer) = sign_in(&double, &form);
        assert_eq!(answer["error_codes"][0], json!(expected), "{form:?}");
        let description = answer["error_description"].as_str().unwrap();
        assert!(description.starts_with(&format!("AADSTS{expected}: ")), "{description}");
    }
    let stranger = request("GET /tenant/v2.0/.well-known/openid-configuration", &[], "");
    let response = login::handle(&double, &stranger, 0);
    assert_eq!(errors::body(&response)["error_codes"][0], 90_002);
}

#[test]
fn a_fault_of_the_token_endpoint_is_an_error_of_oauth() {
    let double = double();
    let demand = r#"{"route":"token","status":503,"retry_after":2}"#;
    control::handle(&double, &request("POST /_double/faults", &[], demand));
    let (status, answer) = sign_in(&double, &[]);
    assert_eq!((status, &answer["error"]), (503, &json!("temporarily_unavailable")));
}

#[test]
fn imds_wants_its_header_and_writes_times_as_text() {
    let double = double();
    let query = "api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
    let ask = |query: &str, headers: &[(&'static str, &str)]| {
        let line = format!("GET {}?{query}", managed::IMDS_PATH);
        let response = metadata(&double, &request(&line, headers, ""), NOW);
        (response.status, errors::body(&response))
    };
    let metadata = [("metadata", "true")];
    let (status, token) = ask(query, &metadata);
    assert_eq!((status, &token["expires_on"]), (200, &json!((NOW / 1000 + 60).to_string())));
    assert_eq!(token["client_id"], double.directory.by_role(Role::All).unwrap().client_id);
    let reader = &double.directory.by_role(Role::ReadOnly).unwrap().client_id;
    assert_eq!(ask(&format!("{query}&client_id={reader}"), &metadata).1["client_id"], *reader);
    assert_eq!(ask(query, &[]).0, 400);
    assert_eq!(ask(query, &[("metadata", "true"), ("x-forwarded-for", "::1")]).0, 400);
    assert_eq!(ask(&format!("{query}&client_id=nobody"), &metadata).0, 400);
    assert_eq!(ask("resource=https%3A%2F%2Fvault.azure.net", &metadata).0, 400);
    assert_eq!(ask("api-version=2018-02-01", &metadata).0, 400);
    assert_eq!(ask(&format!("{query}&mi_res_id=x"), &metadata).0, 501);
}

#[test]
fn app_service_wants_its_secret_header() {
    let double = double();
    let query = "api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net";
    let ask = |query: &str, header: &str| {
        let line = format!("GET {}?{query}", managed::APP_SERVICE_PATH);
        let response = metadata(&double, &request(&line, &[("x-identity-header", header)], ""), NOW);
        (response.status, errors::body(&response))
    };
    let (status, token) = ask(query, "header");
    assert_eq!((status, &token["expires_on"]), (200, &json!((NOW / 1000 + 60).to_string())));
    assert_eq!(ask(query, "guess").0, 401);
    assert_eq!(ask("api-version=2017-09-01", "header").0, 400);
    assert_eq!(ask(&format!("{query}&client_id=nobody"), "header").0, 400);
}

#[test]
fn the_settings_are_read_from_the_command_line() {
    let parse = |line: &str| Settings::parse(Arguments::new(line.split(' ').map(str::to_owned).collect()));
    let line = "azure --directory /d --port 1 --settle-ms 5 --token-seconds 9 --requests-per-10s 7 --purge-protection";
    let settings = parse(line).unwrap();
    assert_eq!((settings.port, settings.rules.settle, settings.token_seconds), (1, 5, 9));
    assert_eq!((settings.requests_per_10s, settings.rules.purge_protection), (Some(7), true));
    assert!(parse("azure").is_err());
    assert!(parse("azure --directory /d --settle 5").is_err());
    assert!(parse("azure --directory /d --recoverable-days 6").is_err());
}
