//! What goes wrong between us and the API server, for reads and writes.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keyfob_core::{DeleteOptions, ErrorKind, GetOptions, GetRequest, ListOptions, PutRequest, SecretStore};

use crate::service::{Reply, Request, TOKEN, connect, json, metadata, partial, refusal, secret, service};
use crate::{CANARY, assert_harmless, name};

#[tokio::test]
async fn every_refusal_of_the_api_server_has_its_kind() {
    use ErrorKind::{
        Conflict, InvalidConfig, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout, Unauthenticated,
        Unavailable,
    };
    for (status, reason, kind) in [
        (400, "BadRequest", InvalidInput),
        (401, "Unauthorized", Unauthenticated),
        (403, "Forbidden", PermissionDenied),
        (404, "NotFound", NotFound),
        (405, "MethodNotAllowed", Other),
        (406, "NotAcceptable", Other),
        (409, "Conflict", Conflict),
        (413, "RequestEntityTooLarge", InvalidInput),
        (422, "Invalid", InvalidInput),
        (429, "TooManyRequests", RateLimited),
        (500, "InternalError", Unavailable),
        (500, "ServerTimeout", Timeout),
        (503, "ServiceUnavailable", Unavailable),
        (504, "Timeout", Timeout),
    ] {
        for url in ["k8s:", "k8s:///app"] {
            let (address, asked) = service(move |_| refusal(status, reason, CANARY));
            let store = connect(url, &address).await.store;
            let read = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
            assert_eq!(read.kind(), kind, "get, {status} {reason}: {read:?}");
            assert_harmless(&read);
            let deleted = store.delete(&name("a"), &DeleteOptions::default()).await.unwrap_err();
            assert_eq!(deleted.kind(), kind, "delete, {status} {reason}: {deleted:?}");
            assert_harmless(&deleted);
            if kind != NotFound {
                let facts: Vec<(&str, &str)> = read.context().collect();
                assert!(
                    facts.contains(&("status", &status.to_string())) && facts.contains(&("reason", reason)),
                    "{read:?}"
                );
                let listed = store.list(&ListOptions::default()).await.unwrap_err();
                assert_eq!(listed.kind(), kind, "list, {status} {reason}: {listed:?}");
                let written = store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap_err();
                assert_eq!(written.kind(), kind, "put, {status} {reason}: {written:?}");
                assert_harmless(&listed);
                assert_harmless(&written);
                // Nobody below the retry layer tries again.
                assert_eq!(asked.lock().unwrap().len(), 4, "{status} {reason}");
            }
        }
    }
    for (status, body, kind) in [
        (302, "", InvalidConfig),
        (401, "<html>", Unauthenticated),
        (403, "<html>", PermissionDenied),
        (404, "<html>", Other),
        (429, "", RateLimited),
        (502, "<html>", Unavailable),
        (504, "", Timeout),
        (200, "<html>", Other),
        (200, "", Other),
    ] {
        let (address, _) = service(move |_| Reply::Answer(status, "content-type: text/html\r\n".to_owned(), body.to_owned()));
        let store = connect("k8s:", &address).await.store;
        let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status} {body}: {error:?}");
    }
}

#[tokio::test]
async fn what_is_not_the_answer_that_was_asked_for_is_an_error() {
    let of = |kind: &str, name: &str| {
        format!(
            r#"{{"kind":"{kind}","metadata":{},"data":{{"value":"eA=="}}}}"#,
            metadata(name, "1")
        )
    };
    for (body, kind) in [
        (format!(r#"{{"kind":"Secret","data":{{"value":"{CANARY}"#), ErrorKind::Other),
        ("{}".to_owned(), ErrorKind::Other),
        (of("ConfigMap", "a"), ErrorKind::Other),
        (of("Secret", "b"), ErrorKind::Corrupt),
        (of("Secret", "a").replace("\"n\"", "\"other\""), ErrorKind::Corrupt),
        (of("Secret", "a").replace("eA==", CANARY), ErrorKind::Other),
    ] {
        let (address, _) = service(move |_| json(body.clone()));
        let store = connect("k8s:", &address).await.store;
        let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_harmless(&error);
    }
}

#[tokio::test]
async fn a_hang_is_a_timeout_for_every_verb() {
    let (address, _) = service(|_| Reply::Hang);
    let begin = Instant::now();
    for url in ["k8s:", "k8s:///app"] {
        let store = connect(url, &address).await.store;
        let a = name("a");
        let timeout = |kind: ErrorKind| assert_eq!(kind, ErrorKind::Timeout);
        timeout(store.get(&a, &GetOptions::default()).await.unwrap_err().kind());
        for answer in store.get_many(&[GetRequest::new(a.clone())]).await {
            timeout(answer.unwrap_err().kind());
        }
        timeout(store.put(&a, PutRequest::new(CANARY)).await.unwrap_err().kind());
        timeout(store.delete(&a, &DeleteOptions::default()).await.unwrap_err().kind());
        timeout(store.list(&ListOptions::default()).await.unwrap_err().kind());
        timeout(store.health().await.unwrap_err().kind());
    }
    assert!(
        begin.elapsed() < Duration::from_secs(25),
        "twelve calls took {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_lost_answer_to_a_write_leaves_its_outcome_unknown() {
    let (address, asked) = service(|request| match request.method.as_str() {
        "GET" => refusal(404, "NotFound", "no"),
        _ => Reply::Cut,
    });
    for url in ["k8s:", "k8s:///app"] {
        let store = connect(url, &address).await.store;
        let error = store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("read the secret")));
    }
    let posts = asked
        .lock()
        .unwrap()
        .iter()
        .filter(|request| request.method == "POST")
        .count();
    assert_eq!(posts, 2, "a write was sent again");
}

#[tokio::test]
async fn answers_that_break_off_or_never_end_are_errors_and_no_memory() {
    let (address, _) = service(|_| Reply::Cut);
    let store = connect("k8s:", &address).await.store;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");

    for reply in [(|| Reply::Endless) as fn() -> Reply, || {
        Reply::Answer(200, "content-type: application/json\r\n".to_owned(), " ".repeat(33 << 20))
    }] {
        let (address, _) = service(move |_| reply());
        let environment = keyfob_core::Environment::fake()
            .file("~/.kube/config", crate::service::kubeconfig(&address, "{}"))
            .build();
        let url = keyfob_core::StoreUrl::parse("k8s:?timeout=60").unwrap();
        let store = (keyfob_kubernetes::BACKEND.connect)(url, &environment).await.unwrap().store;
        let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Other && error.message().contains("larger"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_for_reads_and_writes() {
    let store = connect("k8s:", "http://127.0.0.1:1").await.store;
    for error in [
        store.get(&name("a"), &GetOptions::default()).await.unwrap_err(),
        store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap_err(),
        store.health().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(
            error.context().any(|(key, text)| key == "cause" && text.contains("refused")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, asked_elsewhere) = service(|_| secret("a", "value", "eA=="));
    for status in [301, 302, 307, 308] {
        let location = format!("location: {elsewhere}/\r\n");
        let (address, _) = service(move |_| Reply::Answer(status, location.clone(), String::new()));
        let store = connect("k8s:", &address).await.store;
        let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    }
    assert!(asked_elsewhere.lock().unwrap().is_empty(), "the token went elsewhere");
}

#[tokio::test]
async fn names_are_listed_without_asking_for_values() {
    let table = |keys: u32| {
        let cells = format!(r#"["app","Opaque",{keys},"5s"]"#);
        let fields = r#""managedFields":[{"manager":"x","fieldsV1":{"f:data":{".":{},"f:a":{},"f:b":{}}}}]"#;
        let metadata = metadata("app", "7").replace('}', &format!(",{fields}}}"));
        format!(
            r#"{{"kind":"Table","columnDefinitions":[{{"name":"Name"}},{{"name":"Type"}},{{"name":"Data"}},{{"name":"Age"}}],"rows":[{{"cells":{cells},"object":{{"kind":"PartialObjectMetadata","metadata":{metadata}}}}}]}}"#
        )
    };
    for (keys, requests) in [(2, 1), (3, 2)] {
        let body = table(keys);
        let (address, asked) = service(move |request| match request.header("accept") {
            Some("application/json") => json(format!(
                r#"{{"kind":"Secret","metadata":{},"data":{{"a":"","b":"","c":""}}}}"#,
                metadata("app", "7")
            )),
            _ => json(body.clone()),
        });
        let store = connect("k8s:///app", &address).await.store;
        let listed = crate::listed(&*store).await;
        assert_eq!(listed.len(), keys as usize, "{listed:?}");
        assert_eq!(
            asked.lock().unwrap().len(),
            requests,
            "the object is read only where its metadata don't account for all"
        );
    }
}

#[tokio::test]
async fn a_listing_of_many_pages_is_whole_and_in_order() {
    let (address, asked) = service(|request| {
        let item = |name: &str| format!(r#"{{"metadata":{}}}"#, metadata(name, "1"));
        let (items, next) = match request.path.contains("continue=") {
            false => (format!("{},{}", item("a"), item("keyfob.a.b")), r#","continue":"x&y""#),
            true => (format!("{},{}", item("a-c"), item("b")), ""),
        };
        json(format!(
            r#"{{"kind":"PartialObjectMetadataList","metadata":{{"resourceVersion":"5"{next}}},"items":[{items}]}}"#
        ))
    });
    let store = connect("k8s:", &address).await.store;
    assert_eq!(crate::listed(&*store).await, ["a", "a-c", "a/b", "b"]);
    let asked = asked.lock().unwrap();
    assert!(asked[1].path.contains("continue=x%26y") && asked[0].path.contains("fieldSelector=type%21%3D"));
    for request in &*asked {
        assert!(request.header("accept").unwrap().contains("as=PartialObjectMetadataList"));
    }
}

#[tokio::test]
async fn a_trace_log_of_everything_holds_no_value_and_no_credential() {
    let logs = TraceLog::begin();
    let base64 = data_encoding::BASE64.encode(CANARY.as_bytes());
    let sent = base64.clone();
    let (address, asked) = service(
        move |request: &Request| match (request.method.as_str(), request.path.contains("/broken")) {
            ("GET", false) => secret("a", "value", &sent),
            ("GET", true) => json(format!(r#"{{"kind":"Secret","metadata":{{}},"data":{{"value":"{sent}""#)),
            ("DELETE", _) => refusal(422, "Invalid", CANARY),
            _ => partial("a"),
        },
    );
    let store: Arc<dyn SecretStore> = connect("k8s:", &address).await.store;
    store.get(&name("a"), &GetOptions::default()).await.unwrap();
    store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap();
    let _ = store.get(&name("broken"), &GetOptions::default()).await;
    let _ = store.delete(&name("a"), &DeleteOptions::default()).await;
    let _ = store.list(&ListOptions::default()).await;
    assert!(asked.lock().unwrap().iter().any(|request| request.body.contains(&base64)));
    let log = logs.text();
    assert!(
        log.contains("hyper_util"),
        "the trace log of the HTTP client was not captured"
    );
    for (what, secret) in [("the value", CANARY), ("the value in base64", &base64), ("the token", TOKEN)] {
        assert!(!log.contains(secret), "the log holds {what}");
    }
    let bytes: Vec<String> = CANARY.bytes().map(|byte| byte.to_string()).collect();
    assert!(!log.contains(&bytes.join(", ")), "the log holds the value as numbers");
}

#[tokio::test]
async fn over_tls_and_http2_too_the_log_holds_no_value_and_no_credential() {
    let test = "over_tls_and_http2_too_the_log_holds_no_value_and_no_credential";
    let Some(namespace) = crate::cluster::Namespace::make(test).await else {
        return;
    };
    let logs = TraceLog::begin();
    for object in ["", "/app"] {
        let store = namespace.connect(object).await;
        store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap();
        store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap();
        store.get(&name("a"), &GetOptions::default()).await.unwrap();
        store.list(&ListOptions::default()).await.unwrap();
    }
    let log = logs.text();
    let line = namespace
        .kubeconfig
        .lines()
        .find_map(|line| line.trim().strip_prefix("token:"));
    let token = line.unwrap().trim().trim_matches(['"', '\'']).to_owned();
    namespace.remove().await;
    assert!(log.contains("h2::"), "the trace log of HTTP/2 was not captured");
    let base64 = data_encoding::BASE64.encode(CANARY.as_bytes());
    for (what, secret) in [("the value", CANARY), ("the value in base64", &base64), ("the token", &token)] {
        assert!(secret.len() > 8 && !log.contains(secret), "the log holds {what}");
    }
}

/// Everything that this thread logs, down to `TRACE`, while it lives.
struct TraceLog {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl TraceLog {
    fn begin() -> Self {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Lines(Arc::clone(&writer)))
            .finish();
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.lock().unwrap()).into_owned()
    }
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
