//! Keys of a provider.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{ErrorKind, GetOptions, MemoryStore, PutRequest, SecretName, SecretStore, SecretValue};
use keyfob_rotation::{ApiKeyRotator, ApiRequest, Outcome, Rotation, RotationOptions, Rotator as _, StepContext};

use crate::provider::{CREDENTIAL, FIRST, Provider};
use crate::server::{Reply, Request, Server, answer};

fn name() -> SecretName {
    SecretName::new("shop/stripe key").unwrap()
}

async fn store() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    store.put(&name(), PutRequest::new(FIRST)).await.unwrap();
    store
}

async fn value(store: &MemoryStore) -> String {
    let secret = store.get(&name(), &GetOptions::default()).await.unwrap();
    secret.value.expose_str().unwrap().to_owned()
}

fn rotation(store: &Arc<MemoryStore>, end_grace: bool) -> Rotation {
    Rotation::new(Arc::clone(store) as Arc<dyn SecretStore>).options(RotationOptions {
        end_grace,
        ..RotationOptions::default()
    })
}

/// What was said, with names in place of what is secret or differs from run to run.
fn transcript(seen: &[(Request, Reply)]) -> String {
    let mut text = String::new();
    let rotation = seen
        .iter()
        .find_map(|(request, _)| request.headers.get("idempotency-key"))
        .cloned()
        .unwrap();
    for (request, reply) in seen {
        text.push_str(&format!("{} {}\n", request.method, request.path));
        for name in ["authorization", "content-type", "idempotency-key"] {
            if let Some(value) = request.headers.get(name) {
                text.push_str(&format!("{name}: {value}\n"));
            }
        }
        if !request.body.is_empty() {
            text.push_str(&format!("\n{}\n", request.body));
        }
        let Reply::Answer(status, _, body) = reply else {
            panic!("an answer was lost");
        };
        text.push_str(&format!("\n{status}\n{body}\n\n"));
    }
    text.replace(CREDENTIAL, "<credential>")
        .replace(&rotation, "<rotation>")
        .replace("kfcanary-key00000", "<key> ")
        .trim_end()
        .to_owned()
        + "\n"
}

#[tokio::test]
async fn a_roll_with_overlap_says_what_was_recorded() {
    let (provider, store) = (Provider::new(0, 0).await, store().await);
    let rotator = provider.rotator();
    let outcome = rotation(&store, false).rotate(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Grace { .. }));
    let new = value(&store).await;
    assert!(new != FIRST && provider.keys() == [FIRST.to_owned(), new.clone()]);
    let outcome = rotation(&store, true).resume(&name(), &rotator).await.unwrap();
    assert!(matches!(outcome, Outcome::Completed { .. }));
    assert!(provider.keys() == [new]);
    let said = transcript(&provider.server.seen());
    assert_eq!(said, include_str!("api-key-roll.txt"));
}

#[tokio::test]
async fn whichever_answer_is_lost_one_key_is_left_in_the_end() {
    for back in [false, true] {
        for loses in 1..20 {
            let (provider, store) = (Provider::new(loses, 0).await, store().await);
            let rotator = provider.rotator();
            let (first, ending) = (rotation(&store, false), rotation(&store, true));
            let mut answers = vec![first.rotate(&name(), &rotator).await];
            if answers[0].is_err() && back {
                answers.push(ending.rollback(&name(), &rotator).await);
            }
            for _ in 0..3 {
                answers.push(ending.resume(&name(), &rotator).await);
            }
            let failures = answers.iter().filter(|answer| answer.is_err()).count();
            assert!(failures <= 1, "{back} {loses}: {answers:?}");
            assert!(
                matches!(answers.last(), Some(Ok(Outcome::Nothing))),
                "{back} {loses}: {answers:?}"
            );
            assert!(provider.keys() == [value(&store).await], "{back} {loses}");
            if provider.requests() < loses {
                assert!(loses > 3, "no answer was lost");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_is_not_known_everywhere_yet_is_tried_again() {
    let (provider, store) = (Provider::new(0, 1).await, store().await);
    let rotator = provider.rotator();
    rotation(&store, false).rotate(&name(), &rotator).await.unwrap();
    assert_eq!(provider.requests(), 3);
    // One that is never accepted is taken back, and revoked.
    let (provider, store) = (Provider::new(0, 100).await, self::store().await);
    let rotator = provider.rotator().settles(Duration::ZERO);
    let error = rotation(&store, false).rotate(&name(), &rotator).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.context().any(|pair| pair == ("rolled_back", "yes")), "{error:?}");
    assert!(value(&store).await == FIRST && provider.keys() == [FIRST]);
}

#[tokio::test]
async fn an_old_value_that_could_not_be_revoked_is_refused_before_a_key_is_made() {
    let (provider, store) = (Provider::new(0, 0).await, store().await);
    for first in [
        "kfcanary-barekey001",
        r#"{"key":"kfcanary-barekey001"}"#,
        r#"{"id":"..","key":"kfcanary-barekey001"}"#,
    ] {
        store.put(&name(), PutRequest::new(first)).await.unwrap();
        let error = rotation(&store, false)
            .rotate(&name(), &provider.rotator())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary"));
        assert_eq!(provider.keys().len(), 1);
    }
}

#[tokio::test]
async fn a_key_whose_value_is_gone_is_revoked_by_its_id() {
    let provider = Provider::new(0, 0).await;
    let rotator = provider.rotator();
    let new = r#"{"id":"key_2","key":"kfcanary-key000002"}"#;
    let step = StepContext::detached(name(), "id", None, Some(SecretValue::from(new)));
    assert_eq!(rotator.revoke(&step).await.unwrap_err().kind(), ErrorKind::NotFound);
    let step = StepContext::detached(name(), "id", Some(SecretValue::from(FIRST)), None);
    rotator.create(&step).await.unwrap();
    let gone = StepContext::detached(name(), "id", None, Some(SecretValue::from(new)));
    for (note, text) in step.notes() {
        gone.save(&note, &text).await.unwrap();
    }
    rotator.revoke(&gone).await.unwrap();
    assert!(provider.keys() == [new]);
}

#[tokio::test]
async fn a_provider_without_ids_has_bare_keys_in_json() {
    let server = Server::new(|request| match request.path.as_str() {
        "/make" => {
            let asked: serde_json::Value = serde_json::from_str(&request.body).unwrap();
            assert!(asked["old"] == "kfcanary-\"bare\"001" && asked["tries"] == 3);
            answer(201, r#"{"data":[{"token":"kfcanary-bare00002"}]}"#)
        }
        "/drop?key=kfcanary-%22bare%22001" | "/try" => answer(204, ""),
        _ => answer(400, ""),
    })
    .await;
    let url = |path: &str| format!("{}{path}", server.url);
    let create = ApiRequest::new("POST", &url("/make"));
    let create = create.json(serde_json::json!({"old": "{key}", "once": "{rotation}", "tries": 3}));
    let test = ApiRequest::new("HEAD", &url("/try")).header("X-Key", "{key}");
    let revoke = ApiRequest::new("GET", &url("/drop?key={key}"));
    let rotator = ApiKeyRotator::new(create, test, revoke, "/data/0/token").unwrap();
    let store = store().await;
    store.put(&name(), PutRequest::new("kfcanary-\"bare\"001")).await.unwrap();
    rotation(&store, false).rotate(&name(), &rotator).await.unwrap();
    assert!(value(&store).await == "kfcanary-bare00002");
    rotation(&store, true).resume(&name(), &rotator).await.unwrap();
    assert!(server.seen()[1].0.headers["x-key"] == "kfcanary-bare00002");
}

#[tokio::test]
async fn statuses_say_what_comes_next_and_errors_have_no_key() {
    for (status, kind) in [
        (302, ErrorKind::InvalidConfig),
        (400, ErrorKind::InvalidInput),
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::PermissionDenied),
        (404, ErrorKind::NotFound),
        (409, ErrorKind::Conflict),
        (429, ErrorKind::RateLimited),
        (503, ErrorKind::Unavailable),
        (200, ErrorKind::InvalidInput),
    ] {
        let body = r#"{"message":"kfcanary-inside001"}"#.to_owned();
        let server = Server::new(move |_| Reply::Answer(status, "retry-after: 7\r\nlocation: /a\r\n", body.clone())).await;
        let url = format!("{}/{{key}}", server.url);
        let create = ApiRequest::new("POST", &url).header("Idempotency-Key", "{rotation}");
        let test = ApiRequest::new("GET", &url);
        let rotator = ApiKeyRotator::new(create, test.clone(), test, "/key").unwrap();
        let step = StepContext::detached(name(), "id", Some(SecretValue::from("kfcanary-oldkey0001")), None);
        let error = rotator.create(&step).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let wait = kind.is_retryable().then_some(Duration::from_secs(7));
        assert_eq!(error.retry_after(), wait, "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary"));
    }
}

#[test]
fn requests_that_could_not_work_are_refused() {
    let request = |method: &str, url: &str| ApiRequest::new(method, url);
    let create = request("POST", "https://api.example/{rotation}");
    let good = request("GET", "https://api.example/{key}");
    let made = |create: &ApiRequest, test: &ApiRequest, revoke: &ApiRequest, key: &str| {
        ApiKeyRotator::new(create.clone(), test.clone(), revoke.clone(), key).map(|_| ())
    };
    made(&create, &good, &good, "/a").unwrap();
    assert!(made(&good, &good, &good, "/a").is_err() && made(&create, &create, &good, "/a").is_err());
    assert!(made(&create, &good, &create, "/a").is_err() && made(&create, &good, &good, "a").is_err());
    for bad in [
        request("GET", "http://api.example/{key}"),
        request("GET", "https://{key}/"),
        request("GET", "https://api.example{key}/"),
        request("GET", "https://api.example:{key}/"),
        request("GET", "https://{name}@api.example/{key}"),
        request("GET", "https://me:word@api.example/{key}"),
        request("GET", "{key}"),
        request("GET", "ftp://api.example/{key}"),
        request("GET", "https://api.example/{key}{other}"),
        request("NO WAY", "https://api.example/{key}"),
        good.clone().header("a b", "c"),
        good.clone().header("a", "b\nc"),
        good.clone().form([("a", "{")]),
        good.clone().json(serde_json::json!({"a": ["{b}"]})),
    ] {
        assert_eq!(
            made(&create, &bad, &good, "/a").unwrap_err().kind(),
            ErrorKind::InvalidConfig,
            "{bad:?}"
        );
    }
}
