//! What goes wrong between us and the service, for reads and writes.

use std::time::{Duration, Instant};

use crate::support::{
    Reply, Request, SECRET_KEY, SESSION_TOKEN, TraceLog, assert_harmless, count, entry, json, name, refusal, service, store,
    written,
};
use keyfob_core::{
    Change, DeleteOptions, ErrorKind, GetOptions, GetRequest, ListOptions, PageRequest, PutMode, PutRequest, SecretStore,
};

const CANARY: &str = "kfcanary-faults0001";

#[tokio::test]
async fn every_refusal_of_the_service_has_its_kind() {
    use ErrorKind::{
        AlreadyExists, InvalidInput, NotFound, Other, PermissionDenied, RateLimited, Timeout, Unauthenticated, Unavailable,
    };
    for (status, code, kind) in [
        (400, "AccessDeniedException", PermissionDenied),
        (400, "ThrottlingException", RateLimited),
        (400, "TooManyRequestsException", RateLimited),
        (400, "ExpiredTokenException", Unauthenticated),
        (400, "ExpiredToken", Unauthenticated),
        (400, "UnrecognizedClientException", Unauthenticated),
        (403, "InvalidSignatureException", Unauthenticated),
        (400, "InvalidClientTokenId", Unauthenticated),
        (400, "ResourceNotFoundException", NotFound),
        (400, "ResourceExistsException", AlreadyExists),
        (400, "InvalidParameterException", InvalidInput),
        (400, "DecryptionFailure", PermissionDenied),
        (400, "LimitExceededException", Other),
        (400, "SomethingNewException", Other),
        (408, "RequestTimeout", Timeout),
        (500, "InternalServiceError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (429, "", RateLimited),
        (502, "", Unavailable),
        (403, "", PermissionDenied),
    ] {
        let (address, asked) = service(move |_| refusal(status, code, CANARY));
        let store = store(&address).await;
        let read = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
        assert_eq!(read.kind(), kind, "get, {status} {code}: {read:?}");
        let listed = store.list(&ListOptions::default()).await.unwrap_err();
        assert_eq!(listed.kind(), kind, "list, {status} {code}: {listed:?}");
        let written = store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap_err();
        assert_eq!(written.kind(), kind, "put, {status} {code}: {written:?}");
        for error in [&read, &listed, &written] {
            assert_harmless(error);
            let context: Vec<(&str, &str)> = error.context().collect();
            assert!(context.contains(&("status", &status.to_string())), "{error:?}");
            assert!(context.contains(&("request_id", "0f3e6c1a-1111")), "{error:?}");
            assert!(code.is_empty() || context.contains(&("code", code)), "{error:?}");
        }
        // Nobody below the retry layer tries again: Get and Describe, List, Describe, and Create where there is nothing.
        let creates = usize::from(kind == NotFound);
        assert_eq!(asked.lock().unwrap().len(), 4 + creates, "{status} {code}");
    }
}

#[tokio::test]
async fn what_is_not_the_services_answer_is_an_error() {
    let html = || ("content-type: text/html\r\n".to_owned(), format!("<html>{CANARY}</html>"));
    let bodies = [
        (
            200,
            String::new(),
            format!("{{\"SecretString\":\"{CANARY}\""),
            ErrorKind::Other,
        ),
        (200, html().0, html().1, ErrorKind::Other),
        (200, String::new(), String::new(), ErrorKind::Corrupt),
        (
            200,
            String::new(),
            format!("{{\"Name\":\"other\",\"SecretString\":\"{CANARY}\"}}"),
            ErrorKind::Corrupt,
        ),
        (
            200,
            String::new(),
            format!("{{\"Name\":\"a\",\"SecretString\":\"{CANARY}\"}}"),
            ErrorKind::Other,
        ),
        (
            200,
            String::new(),
            "{\"Name\":\"a\",\"VersionId\":\"1\"}".to_owned(),
            ErrorKind::Other,
        ),
        (503, html().0, html().1, ErrorKind::Unavailable),
        (404, html().0, html().1, ErrorKind::Other),
        (401, html().0, html().1, ErrorKind::Unauthenticated),
    ];
    for (status, headers, body, kind) in bodies {
        let (address, _) = service({
            let body = body.clone();
            move |_| Reply::Answer(status, headers.clone(), body.clone())
        });
        let error = store(&address)
            .await
            .get(&name("a"), &GetOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{status}, {} bytes: {error:?}", body.len());
        assert_harmless(&error);
    }
}

#[tokio::test]
async fn a_hang_is_a_timeout_for_every_verb() {
    let (address, _) = service(|_| Reply::Hang);
    let store = store(&address).await;
    let begin = Instant::now();
    let a = name("a");
    assert_eq!(
        store.get(&a, &GetOptions::default()).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    let batch = store
        .get_many(&[GetRequest::new(name("b")), GetRequest::new(name("c"))])
        .await;
    assert!(
        batch
            .iter()
            .all(|answer| answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout))
    );
    assert_eq!(
        store.put(&a, PutRequest::new(CANARY)).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!(
        store.list(&ListOptions::default()).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "five calls of a second each took {:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn a_body_without_an_end_is_an_error_not_memory() {
    let (address, _) = service(|_| Reply::Endless);
    let url = format!("aws://us-east-1?endpoint={address}&timeout=60");
    let error = crate::support::connect(&url).await.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other, "{error:?}");
    assert!(error.message().contains("larger"), "{error:?}");

    let (address, _) = service(|_| Reply::Answer(200, "content-length: 99999999999\r\n".to_owned(), String::new()));
    assert!(store(&address).await.health().await.is_err());
}

#[tokio::test]
async fn a_connection_that_breaks_is_unavailable() {
    let (address, _) = service(|_| Reply::Cut);
    let error = store(&address)
        .await
        .get(&name("a"), &GetOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = store(&format!("http://{free}")).await.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("refused"), "{error:?}");
}

#[tokio::test]
async fn a_write_is_done_when_the_answer_says_so() {
    let tagged = || PutRequest {
        tags: Change::Set([("team".to_owned(), "db".to_owned())].into()),
        ..PutRequest::default()
    };
    let version = "0f3e6c1a-2222-4444-8888-000000000000";
    for body in [
        "{}",
        "<html>welcome</html>",
        "[1]",
        "{",
        r#"{"Name":"other","VersionId":"other"}"#,
    ] {
        let (address, _) = service(move |request| match request.action.as_str() {
            "DescribeSecret" => json(format!(
                r#"{{"Name":"a","VersionIdsToStages":{{"{version}":["AWSCURRENT"]}}}}"#
            )),
            _ => json(body),
        });
        let store = store(&address).await;
        let create = PutRequest::new(CANARY).mode(PutMode::Create);
        for (what, written) in [
            ("upsert", store.put(&name("a"), PutRequest::new(CANARY)).await.err()),
            ("create", store.put(&name("a"), create).await.err()),
            ("delete", store.delete(&name("a"), &DeleteOptions::default()).await.err()),
            ("restore", store.restore(&name("a")).await.err()),
            ("list", store.list(&ListOptions::default()).await.err()),
            ("versions", store.versions(&name("a"), &PageRequest::default()).await.err()),
            (
                "tags",
                if body == "{}" {
                    None
                } else {
                    store.put(&name("a"), tagged()).await.err()
                },
            ),
        ] {
            // What adds tags answers with nothing when it is done.
            if (what, body) != ("tags", "{}") {
                assert_eq!(written.map(|error| error.kind()), Some(ErrorKind::Other), "{what}, {body}");
            }
        }
    }
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_of_unknown_outcome() {
    let (address, _) = service(|request| match request.action.as_str() {
        "DescribeSecret" => refusal(400, "ResourceNotFoundException", "no"),
        _ => Reply::Cut,
    });
    let error = store(&address)
        .await
        .put(&name("a"), PutRequest::new(CANARY))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let create = PutRequest::new(CANARY).mode(PutMode::Create);
    let error = store(&format!("http://{free}"))
        .await
        .put(&name("a"), create)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "nothing was sent: {error:?}");
}

#[tokio::test]
async fn a_compare_and_set_of_unknown_outcome_keeps_the_expiry() {
    let version = "0f3e6c1a-2222-4444-8888-000000000000";
    for (reply, kind, removed) in [
        (None, ErrorKind::Timeout, vec!["keyfob-pending"]),
        (
            Some("InvalidParameterException"),
            ErrorKind::Conflict,
            vec!["keyfob-pending", "keyfob-expires-"],
        ),
    ] {
        let (address, asked) = service(move |request| match request.action.as_str() {
            "DescribeSecret" => json(format!(
                r#"{{"Name":"a","VersionIdsToStages":{{"{version}":["AWSCURRENT"]}}}}"#
            )),
            "UpdateSecretVersionStage" if request.body.contains("AWSCURRENT") => match reply {
                None => Reply::Cut,
                Some(code) => refusal(400, code, "no"),
            },
            _ => written(request, "a"),
        });
        let request = PutRequest {
            expires_at: Change::Set(std::time::SystemTime::now() + Duration::from_secs(86_400)),
            ..PutRequest::new(CANARY)
        };
        let mode = PutMode::Match(keyfob_core::Version::new(version).unwrap());
        let error = store(&address).await.put(&name("a"), request.mode(mode)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let asked = asked.lock().unwrap();
        let taken: Vec<&Request> = asked
            .iter()
            .filter(|request| request.body.contains("RemoveFromVersionId"))
            .collect();
        // The first is the move itself.
        assert_eq!(taken.len(), removed.len() + 1, "{kind}");
        for (request, label) in taken[1..].iter().zip(removed) {
            assert!(request.body.contains(label), "{kind}: {label}");
        }
    }
}

#[tokio::test]
async fn a_value_never_stands_without_its_expiry() {
    let (address, asked) = service(move |request| written(request, "a"));
    let request = PutRequest {
        expires_at: Change::Set(std::time::SystemTime::now() + Duration::from_secs(86_400)),
        ..PutRequest::new(CANARY).mode(PutMode::Create)
    };
    store(&address).await.put(&name("a"), request).await.unwrap();
    let asked = asked.lock().unwrap();
    let sends_value = |request: &&Request| request.body.contains(CANARY);
    assert!(asked[0].action == "CreateSecret" && !sends_value(&&asked[0]));
    let with_value: Vec<&Request> = asked.iter().filter(sends_value).collect();
    assert_eq!(with_value.len(), 1);
    assert!(with_value[0].action == "PutSecretValue" && with_value[0].body.contains("keyfob-expires-"));
}

#[tokio::test]
async fn a_secret_that_has_had_no_value_for_long_is_completed_by_a_create() {
    let (address, asked) = service(move |request| match request.action.as_str() {
        "CreateSecret" => refusal(400, "ResourceExistsException", "no"),
        "DescribeSecret" => json(r#"{"Name":"a","CreatedDate":1700000000.0}"#.to_owned()),
        _ => written(request, "a"),
    });
    let create = PutRequest::new(CANARY).mode(PutMode::Create);
    store(&address).await.put(&name("a"), create).await.unwrap();
    assert!(count(&asked, "PutSecretValue") == 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, asked_elsewhere) = service(|_| json(entry("a", CANARY)));
    for status in [301, 302, 307, 308] {
        let location = format!("location: {elsewhere}/\r\n");
        let (address, _) = service(move |_| Reply::Answer(status, location.clone(), String::new()));
        let error = store(&address)
            .await
            .get(&name("a"), &GetOptions::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    }
    assert!(asked_elsewhere.lock().unwrap().is_empty(), "credentials went elsewhere");
}

#[tokio::test]
async fn who_may_only_read_values_gets_values() {
    let (address, asked) = service(|request| match request.action.as_str() {
        "GetSecretValue" => json(entry("a", CANARY)),
        _ => refusal(400, "AccessDeniedException", "no"),
    });
    let store = store(&address).await;
    let secret = store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_secret() == CANARY.as_bytes());
    assert_eq!(secret.metadata.description, None);
    assert_eq!(count(&asked, "DescribeSecret"), 1);
    let health = store.health().await.unwrap();
    assert!(health.warnings.iter().any(|warning| warning.contains("ListSecrets")));
}

#[tokio::test]
async fn a_write_that_fails_after_the_value_says_so() {
    let (address, asked) = service(|request| match request.action.as_str() {
        "DescribeSecret" => json(r#"{"Name":"a","VersionIdsToStages":{"0f3e6c1a-2222-4444-8888-000000000000":["AWSCURRENT"]}}"#),
        "TagResource" => refusal(400, "ThrottlingException", "slow down"),
        _ => written(request, "a"),
    });
    let request = PutRequest {
        tags: Change::Set([("team".to_owned(), "db".to_owned())].into()),
        ..PutRequest::new(CANARY)
    };
    let error = store(&address).await.put(&name("a"), request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.to_string().contains("the value was written"), "{error}");
    assert_harmless(&error);
    let actions: Vec<String> = asked.lock().unwrap().iter().map(|request| request.action.clone()).collect();
    assert_eq!(actions, ["DescribeSecret", "PutSecretValue", "TagResource"]);
}

#[tokio::test]
async fn a_trace_log_of_everything_holds_no_value_and_no_credential() {
    let logs = TraceLog::begin();
    let answer = |request: &Request| match request.action.as_str() {
        "GetSecretValue" => json(entry("a", CANARY)),
        "BatchGetSecretValue" => json(format!(r#"{{"SecretValues":[{}],"Errors":[]}}"#, entry("a", CANARY))),
        "DescribeSecret" => refusal(400, "ResourceNotFoundException", "no"),
        "CreateSecret" => refusal(500, "InternalServiceError", "no"),
        _ => json("{}"),
    };
    let (address, asked) = service(answer);
    let store = store(&address).await;
    let _ = store.get(&name("a"), &GetOptions::default()).await;
    let _ = store
        .get_many(&[GetRequest::new(name("a")), GetRequest::new(name("b"))])
        .await;
    let _ = store.put(&name("a"), PutRequest::new(CANARY)).await;
    let _ = store.health().await;
    assert!(count(&asked, "CreateSecret") == 1 && count(&asked, "BatchGetSecretValue") == 1);
    let log = logs.text();
    assert!(
        log.contains("transmitting request"),
        "the trace log of the SDK was not captured"
    );
    for (what, secret) in [
        ("the value", CANARY),
        ("the secret key", SECRET_KEY),
        ("the session token", SESSION_TOKEN),
    ] {
        assert!(!log.contains(secret), "the log holds {what}");
    }
    let bytes: Vec<String> = CANARY.bytes().map(|byte| byte.to_string()).collect();
    assert!(!log.contains(&bytes.join(", ")), "the log holds the value as numbers");
}
