//! Writes beside those of others, and deletion that can be undone, against the strict double.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Deleted, ErrorKind, GetOptions, ListOptions, PutMode, PutRequest, SecretStore as _,
    Version,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Double, OTHERS, name, put, read, version};

fn recoverable() -> DeleteOptions {
    DeleteOptions {
        mode: DeleteMode::Recoverable { window: None },
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test]
async fn what_others_noted_stays() {
    let Some(double) = Double::of_test("what_others_noted_stays") else {
        return;
    };
    let body = json!({
        "replication": {"automatic": {}}, "labels": {"env": "prod"}, "annotations": {"team": "payments"},
    });
    double.ask(Method::POST, "?secretId=a", body).await;
    let store = double.store().await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains("there is a secret of that name"), "{error:?}");

    // A secret that was made without a value, as by Terraform, gets its first.
    let request = PutRequest {
        description: Change::Set("mine".to_owned()),
        expires_at: Change::Set(at(4_102_444_800)),
        ..put("kfcanary-first001")
    };
    let written = store.put(&name("a"), request).await.unwrap();
    assert_eq!(written.version.unwrap().as_str(), "1");
    store.delete(&name("a"), &recoverable()).await.unwrap();
    store.restore(&name("a")).await.unwrap();
    let secret = store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert_eq!(secret.metadata.expires_at, Some(at(4_102_444_800)));
    let raw = double.ask(Method::GET, "/a", Value::Null).await;
    assert_eq!(
        (&raw["labels"]["env"], &raw["annotations"]["team"]),
        (&json!("prod"), &json!("payments"))
    );
    assert!(raw.get("expireTime").is_none() && raw.get("ttl").is_none(), "{raw}");

    let clear = PutRequest {
        description: Change::Clear,
        expires_at: Change::Clear,
        ..PutRequest::default()
    };
    store.put(&name("a"), clear).await.unwrap();
    let raw = double.ask(Method::GET, "/a", Value::Null).await;
    assert_eq!(raw["labels"], json!({"env": "prod"}));
}

#[tokio::test]
async fn create_leaves_a_secret_that_somebody_has_just_begun() {
    let Some(double) = Double::of_test("create_leaves_a_secret_that_somebody_has_just_begun") else {
        return;
    };
    double.make("a").await;
    let store = double.store().await;
    let create = || put("kfcanary-create01").mode(PutMode::Create);
    let error = store.put(&name("a"), create()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.hint().unwrap().contains("in a minute"), "{error:?}");
    double.add("a").await;
    double.set_state("a", 1, "disable").await;
    let error = store.put(&name("a"), create()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(double.states("a").await, ["DISABLED"]);
}

#[tokio::test]
async fn a_compare_and_set_is_refused_and_not_pretended() {
    let Some(double) = Double::of_test("a_compare_and_set_is_refused_and_not_pretended") else {
        return;
    };
    let store = double.store().await;
    let written = store.put(&name("a"), put("kfcanary-before01")).await.unwrap();
    let request = put("kfcanary-after001").mode(PutMode::Match(written.version.unwrap()));
    assert_eq!(
        store.put(&name("a"), request).await.unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    assert_eq!(double.states("a").await.len(), 1);
}

#[tokio::test]
async fn an_update_that_was_overtaken_begins_again() {
    let Some(double) = Double::of_test("an_update_that_was_overtaken_begins_again") else {
        return;
    };
    let store = double.store().await;
    store.put(&name("a"), put("kfcanary-one00001")).await.unwrap();
    let tagged = || PutRequest {
        tags: Change::Set(BTreeMap::from([("k".to_owned(), "v".to_owned())])),
        ..put("kfcanary-two00001")
    };
    double.fault("ABORTED", "UpdateSecret", 2).await;
    let written = store.put(&name("a"), tagged()).await.unwrap();
    assert_eq!(written.version, Some(Version::from(2)));
    double.fault("ABORTED", "UpdateSecret", 100).await;
    let request = PutRequest {
        tags: Change::Clear,
        ..PutRequest::default()
    };
    let error = store.put(&name("a"), request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    let secret = store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert_eq!(secret.metadata.tags.len(), 1);
}

/// Handles that share no lock, as processes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_writers_keeps_the_expiry_of_its_own_version() {
    const WRITERS: u64 = 6;
    let Some(double) = Double::of_test("each_of_many_writers_keeps_the_expiry_of_its_own_version") else {
        return;
    };
    for round in 0..5 {
        let text = format!("a{round}");
        double
            .store()
            .await
            .put(&name(&text), put("kfcanary-zero0001"))
            .await
            .unwrap();
        let mut writers = Vec::new();
        for index in 0..WRITERS {
            let (store, name) = (double.store().await, name(&text));
            writers.push(tokio::spawn(async move {
                let request = PutRequest {
                    expires_at: Change::Set(at(4_102_444_800 + index)),
                    ..put("kfcanary-writer01")
                };
                (
                    store.put(&name, request).await.unwrap().version.unwrap(),
                    at(4_102_444_800 + index),
                )
            }));
        }
        let store = double.store().await;
        for writer in writers {
            let (number, expires_at) = writer.await.unwrap();
            let secret = store.get(&name(&text), &version(number.as_str())).await.unwrap();
            assert_eq!(secret.metadata.expires_at, Some(expires_at), "version {number}");
        }
        assert_eq!(double.states(&text).await.len() as u64, WRITERS + 1);
    }
}

#[tokio::test]
async fn restoring_brings_back_exactly_the_states_from_before() {
    let Some(double) = Double::of_test("restoring_brings_back_exactly_the_states_from_before") else {
        return;
    };
    let store = double.store().await;
    for value in [
        "kfcanary-one00001",
        "kfcanary-two00001",
        "kfcanary-three001",
        "kfcanary-four0001",
    ] {
        store.put(&name("a"), put(value)).await.unwrap();
    }
    double.set_state("a", 1, "destroy").await;
    double.set_state("a", 2, "disable").await;
    let before = double.states("a").await;
    assert_eq!(before, ["DESTROYED", "DISABLED", "ENABLED", "ENABLED"]);

    let start = SystemTime::now() - Duration::from_secs(2);
    store.delete(&name("a"), &recoverable()).await.unwrap();
    assert_eq!(double.states("a").await, ["DESTROYED", "DISABLED", "DISABLED", "DISABLED"]);
    let error = read(&store, "a", &GetOptions::default()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("restored"), "{error:?}");
    let error = read(&store, "a", &version("3")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let deleted = ListOptions {
        deleted: Deleted::Only,
        ..ListOptions::default()
    };
    let listed = store.list(&deleted).await.unwrap().items;
    assert!(listed[0].deleted_at.unwrap() >= start, "{listed:?}");

    let restored = store.restore(&name("a")).await.unwrap();
    assert_eq!(restored.version, Some(Version::from(4)));
    assert_eq!(double.states("a").await, before);
    assert_eq!(read(&store, "a", &version("previous")).await.unwrap(), b"kfcanary-three001");
    let raw = double.ask(Method::GET, "/a", Value::Null).await;
    assert!(raw.get("labels").is_none() && raw.get("annotations").is_none(), "{raw}");
}

/// What a process leaves that is killed while it deletes.
#[tokio::test]
async fn half_a_deletion_hands_out_no_old_value_and_can_be_ended() {
    let Some(double) = Double::of_test("half_a_deletion_hands_out_no_old_value_and_can_be_ended") else {
        return;
    };
    let store = double.store().await;
    for value in ["kfcanary-one00001", "kfcanary-two00001", "kfcanary-three001"] {
        store.put(&name("a"), put(value)).await.unwrap();
    }
    let body = json!({"labels": {"keyfob": "check"}, "annotations": {"keyfob.deleted": "1700000000 1-3"}});
    double.ask(Method::PATCH, "/a?updateMask=labels,annotations", body).await;
    double.set_state("a", 3, "disable").await;
    for token in ["current", "previous", "1", "3"] {
        let error = read(&store, "a", &version(token)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{token}: {error:?}");
    }
    store.delete(&name("a"), &recoverable()).await.unwrap();
    assert_eq!(double.states("a").await, ["DISABLED"; 3]);
    let error = store.delete(&name("a"), &recoverable()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    store.restore(&name("a")).await.unwrap();
    assert_eq!(double.states("a").await, ["ENABLED"; 3]);
}

#[tokio::test]
async fn a_deletion_that_fails_in_the_middle_is_undone() {
    let Some(double) = Double::of_test("a_deletion_that_fails_in_the_middle_is_undone") else {
        return;
    };
    let store = double.store().await;
    for value in ["kfcanary-one00001", "kfcanary-two00001"] {
        store.put(&name("a"), put(value)).await.unwrap();
    }
    for (fault, kind) in [
        ("RESOURCE_EXHAUSTED", ErrorKind::RateLimited),
        ("UNAVAILABLE", ErrorKind::Timeout),
    ] {
        double.fault(fault, "DisableSecretVersion", 1).await;
        let error = store.delete(&name("a"), &recoverable()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(double.states("a").await, ["ENABLED", "ENABLED"]);
        assert_eq!(read(&store, "a", &GetOptions::default()).await.unwrap(), b"kfcanary-two00001");
    }
}

#[tokio::test]
async fn a_write_that_was_done_and_answered_with_a_failure_is_not_called_undone() {
    let Some(double) = Double::of_test("a_write_that_was_done_and_answered_with_a_failure_is_not_called_undone") else {
        return;
    };
    let store = double.store().await;
    store.put(&name("a"), put("kfcanary-one00001")).await.unwrap();
    for (fault, value) in [("UNAVAILABLE", "kfcanary-two00001"), ("INTERNAL", "kfcanary-three001")] {
        double.fault_afterwards(fault, "AddSecretVersion").await;
        let error = store.put(&name("a"), put(value)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(error.message().contains("may have happened"), "{error:?}");
        assert_eq!(read(&store, "a", &GetOptions::default()).await.unwrap(), value.as_bytes());
    }
}

#[tokio::test]
async fn a_value_that_another_tool_adds_to_what_is_deleted_does_not_undo_the_deletion() {
    let test = "a_value_that_another_tool_adds_to_what_is_deleted_does_not_undo_the_deletion";
    let Some(double) = Double::of_test(test) else {
        return;
    };
    let store = double.store().await;
    store.put(&name("a"), put("kfcanary-one00001")).await.unwrap();
    store.delete(&name("a"), &recoverable()).await.unwrap();
    double.add("a").await;
    let error = read(&store, "a", &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = store.put(&name("a"), put("kfcanary-two00001")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    store.restore(&name("a")).await.unwrap();
    assert_eq!(read(&store, "a", &GetOptions::default()).await.unwrap(), OTHERS);
    assert_eq!(read(&store, "a", &version("previous")).await.unwrap(), b"kfcanary-one00001");
}

#[tokio::test]
async fn what_does_not_fit_into_annotations_is_refused_before_anything_is_written() {
    let Some(double) = Double::of_test("what_does_not_fit_into_annotations_is_refused_before_anything_is_written") else {
        return;
    };
    let store = double.store().await;
    let large = || PutRequest {
        description: Change::Set("x".repeat(16 << 10)),
        ..put("kfcanary-large001")
    };
    let error = store.put(&name("a"), large()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert!(store.list(&ListOptions::default()).await.unwrap().items.is_empty());
    // Together with what others noted.
    let body = json!({"replication": {"automatic": {}}, "annotations": {"theirs": "x".repeat(8 << 10)}});
    double.ask(Method::POST, "?secretId=a", body).await;
    let request = PutRequest {
        description: Change::Set("x".repeat(8 << 10)),
        ..put("kfcanary-large001")
    };
    let error = store.put(&name("a"), request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    assert!(double.states("a").await.is_empty());
}
