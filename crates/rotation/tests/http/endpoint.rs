//! A server that is asked in the protocol of external rotators.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{ErrorKind, GetOptions, MemoryStore, PutRequest, SecretName, SecretStore, SecretValue};
use keyfob_rotation::{ExternalRotator, Outcome, Rotation, RotationEndpoint, RotationOptions, Rotator as _, StepContext};

use crate::server::{Reply, Server, answer};

fn name() -> SecretName {
    SecretName::new("service/key").unwrap()
}

fn step() -> StepContext<'static> {
    let value = |text: &str| Some(SecretValue::from(text));
    StepContext::detached(name(), "the-id", value("kfcanary-old0000001"), value("kfcanary-new0000001"))
}

fn endpoint(server: &Server) -> RotationEndpoint {
    let endpoint = RotationEndpoint::new(&format!("{}/rotate", server.url)).unwrap();
    endpoint
        .header("Authorization", &SecretValue::from("Bearer kfcanary-token00001"))
        .unwrap()
}

#[tokio::test]
async fn a_rotation_asks_every_step_once() {
    let server = Server::new(|request| {
        let question: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        match question["step"].as_str().unwrap() {
            "create" => answer(200, r#"{"value":"kfcanary-new0000001","notes":{"made":"7"}}"#),
            "test" if question["new"] != "kfcanary-new0000001" || question["notes"]["made"] != "7" => answer(500, ""),
            _ => answer(204, ""),
        }
    })
    .await;
    let store = Arc::new(MemoryStore::new());
    store.put(&name(), PutRequest::new("kfcanary-old0000001")).await.unwrap();
    let rotation = Rotation::new(Arc::clone(&store) as Arc<dyn SecretStore>).options(RotationOptions {
        grace: Duration::ZERO,
        ..RotationOptions::default()
    });
    let rotator = ExternalRotator::endpoint(endpoint(&server));
    assert!(!format!("{rotator:?}").contains("kfcanary"));
    let outcome = rotation.rotate(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }));
    let secret = store.get(&name(), &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_str().unwrap() == "kfcanary-new0000001");
    let seen = server.seen();
    let steps: Vec<String> = seen
        .iter()
        .map(|(request, _)| {
            serde_json::from_str::<serde_json::Value>(&request.body).unwrap()["step"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(steps, ["create", "set", "test", "finish", "revoke"]);
    for (request, _) in &seen {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/rotate"));
        assert!(request.headers["authorization"] == "Bearer kfcanary-token00001");
        assert_eq!(request.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn what_the_server_answers_says_what_comes_next() {
    let own = |status, text: &str| answer(status, text);
    for (reply, kind) in [
        (own(500, ""), ErrorKind::Unavailable),
        (own(500, r#"{"error":"full","kind":"conflict"}"#), ErrorKind::Conflict),
        (own(200, r#"{"error":"it was kfcanary-new0000001"}"#), ErrorKind::Other),
        (own(403, "<html>kfcanary-new0000001</html>"), ErrorKind::PermissionDenied),
        (own(200, "<html>kfcanary-new0000001</html>"), ErrorKind::InvalidInput),
        (own(200, &"x".repeat(2 << 20)), ErrorKind::InvalidInput),
        (
            Reply::Answer(307, "location: http://127.0.0.1:1/\r\n", String::new()),
            ErrorKind::InvalidConfig,
        ),
        (
            Reply::Answer(429, "retry-after: 9\r\n", String::new()),
            ErrorKind::RateLimited,
        ),
        (Reply::Lost, ErrorKind::Unavailable),
        (Reply::Hung, ErrorKind::Timeout),
    ] {
        let said = format!("{reply:.40?}");
        let server = Server::new(move |_| reply.clone()).await;
        let rotator = ExternalRotator::endpoint(endpoint(&server).limit(Duration::from_secs(1)));
        let error = rotator.set(&step()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary"), "{}", said.len());
        assert_eq!(error.retry_after().is_some(), kind == ErrorKind::RateLimited);
    }
    let nobody = RotationEndpoint::new("http://127.0.0.1:1/").unwrap();
    let error = ExternalRotator::endpoint(nobody).set(&step()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[test]
fn values_are_sent_over_tls_or_stay_on_this_machine() {
    for good in [
        "https://rotate.example/a",
        "http://localhost:8080/",
        "http://127.0.0.1/",
        "http://[::1]/",
    ] {
        RotationEndpoint::new(good).unwrap();
    }
    for bad in [
        "http://rotate.example/",
        "http://127.0.0.1.example/",
        "http://localhost.example/",
        "https://me:kfcanary-word00001@rotate.example/",
        "ftp://localhost/",
        "rotate.example",
        "",
    ] {
        let error = RotationEndpoint::new(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary"));
    }
    let endpoint = RotationEndpoint::new("https://rotate.example/").unwrap();
    let bad = SecretValue::from("kfcanary-line00001\n");
    assert_eq!(
        endpoint.clone().header("A", &bad).unwrap_err().kind(),
        ErrorKind::InvalidConfig
    );
    assert_eq!(
        endpoint.authorities(b"no certificate").unwrap_err().kind(),
        ErrorKind::InvalidConfig
    );
}

#[tokio::test]
async fn a_server_that_is_not_trusted_gets_no_value() {
    let test = "a_server_that_is_not_trusted_gets_no_value";
    let (Some(url), Some(authority)) = (
        keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TLS_URL"),
        keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TLS_CA"),
    ) else {
        return;
    };
    let endpoint = RotationEndpoint::new(&format!("{url}/v1/no/such/path")).unwrap();
    let error = ExternalRotator::endpoint(endpoint.clone()).set(&step()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(error.message().contains("certificate"), "{error:?}");
    let trusted = endpoint.authorities(&std::fs::read(authority).unwrap()).unwrap();
    let error = ExternalRotator::endpoint(trusted).set(&step()).await.unwrap_err();
    assert!(error.context().any(|(key, _)| key == "status"), "{error:?}");
}
