//! Soft delete: it takes its time, and some vaults forbid what comes after it.

use std::time::Duration;

use keyfob_core::{Change, DeleteOptions, ErrorKind, GetOptions, PutRequest, SecretStore as _, Version, VersionSelector};
use reqwest::Method;
use serde_json::json;

use crate::support::{Double, name, permanent, unique};

const VALUE: &str = "kfcanary-softdelete01";

#[tokio::test]
async fn a_name_that_is_just_being_deleted_is_a_conflict_with_a_hint() {
    let Some(double) = Double::of("a_name_that_is_just_being_deleted_is_a_conflict_with_a_hint").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    store.put(&secret, PutRequest::new(VALUE)).await.unwrap();
    let (status, _) = double.raw(Method::DELETE, &format!("/secrets/{secret}"), None).await;
    assert_eq!(status, 200);
    let error = store.put(&secret, PutRequest::new(VALUE)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
    let error = store.get(&secret, &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let error = store.put(&secret, PutRequest::new(VALUE)).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Conflict && error.hint().unwrap().contains("restore it"),
        "{error:?}"
    );
    let error = store.get(&secret, &GetOptions::default()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("can be restored"), "{error:?}");
    store.delete(&secret, &permanent()).await.unwrap();
}

#[tokio::test]
async fn a_delete_goes_on_when_looking_whether_it_is_done_fails() {
    let Some(double) = Double::of("a_delete_goes_on_when_looking_whether_it_is_done_fails").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    store.put(&secret, PutRequest::new(VALUE)).await.unwrap();
    double.fault("get-deleted", 503, None, 2).await;
    store.delete(&secret, &DeleteOptions::default()).await.unwrap();
    double.fault("get-deleted", 429, Some(1), 1).await;
    // The look at what is deleted comes before anything is done.
    assert_eq!(store.restore(&secret).await.unwrap_err().kind(), ErrorKind::RateLimited);
    store.restore(&secret).await.unwrap();
    store.delete(&secret, &permanent()).await.unwrap();
}

#[tokio::test]
async fn what_takes_longer_than_it_may_is_a_timeout_that_says_it_goes_on() {
    let Some(double) = Double::of("what_takes_longer_than_it_may_is_a_timeout_that_says_it_goes_on").await else {
        return;
    };
    let store = double.connect(double.application("all"), "&recovery-timeout=1").await;
    let secret = name(&unique());
    store.put(&secret, PutRequest::new(VALUE)).await.unwrap();
    double.fault("get-deleted", 503, None, 30).await;
    let error = store.delete(&secret, &DeleteOptions::default()).await.unwrap_err();
    double.forget_faults().await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(error.hint().unwrap().contains("goes on by itself"), "{error:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    store.delete(&secret, &permanent()).await.unwrap();
}

#[tokio::test]
async fn a_disabled_version_says_how_to_enable_it_and_can_be_written_over() {
    let Some(double) = Double::of("a_disabled_version_says_how_to_enable_it_and_can_be_written_over").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    let tagged = PutRequest {
        tags: Change::Set([("team".to_owned(), "db".to_owned())].into()),
        ..PutRequest::new(VALUE)
    };
    let version = store.put(&secret, tagged).await.unwrap().version.unwrap();
    let disable = json!({ "attributes": { "enabled": false } });
    let (status, _) = double
        .raw(Method::PATCH, &format!("/secrets/{secret}/{version}"), Some(disable))
        .await;
    assert_eq!(status, 200);
    for options in [GetOptions::default(), GetOptions::version(VersionSelector::Exact(version))] {
        let error = store.get(&secret, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert!(error.hint().unwrap().contains("--enabled true"), "{error:?}");
    }
    let written = store.put(&secret, PutRequest::new("kfcanary-writtenover1")).await.unwrap();
    assert_eq!(written.tags.len(), 1, "the tags of a disabled version are lost");
    assert!(store.get(&secret, &GetOptions::default()).await.is_ok());
    let previous = store.get(&secret, &GetOptions::version(VersionSelector::Previous)).await;
    assert_eq!(previous.unwrap_err().kind(), ErrorKind::PermissionDenied);
    store.delete(&secret, &permanent()).await.unwrap();
}

#[tokio::test]
async fn an_expiry_is_taken_away_without_a_new_version() {
    let Some(double) = Double::of("an_expiry_is_taken_away_without_a_new_version").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    let passing = PutRequest {
        expires_at: Change::Set(std::time::SystemTime::now() + Duration::from_secs(3600)),
        ..PutRequest::new(VALUE)
    };
    let version = store.put(&secret, passing).await.unwrap().version;
    let clear = PutRequest {
        expires_at: Change::Clear,
        ..PutRequest::default()
    };
    let cleared = store.put(&secret, clear).await.unwrap();
    assert_eq!((cleared.version, cleared.expires_at), (version, None));
    let read = store.get(&secret, &GetOptions::default()).await.unwrap().metadata;
    assert_eq!(read.expires_at, None);
    store.delete(&secret, &permanent()).await.unwrap();
}

#[tokio::test]
async fn versions_of_one_second_keep_their_order() {
    let Some(double) = Double::of("versions_of_one_second_keep_their_order").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    let mut written: Vec<Version> = Vec::new();
    for _ in 0..30 {
        written.push(store.put(&secret, PutRequest::new(VALUE)).await.unwrap().version.unwrap());
    }
    let page = store.versions(&secret, &Default::default()).await.unwrap();
    let listed: Vec<Version> = page.items.into_iter().map(|info| info.version).rev().collect();
    assert_eq!(listed, written);
    let previous = store
        .get(&secret, &GetOptions::version(VersionSelector::Previous))
        .await
        .unwrap();
    assert_eq!(previous.metadata.version.as_ref(), written.get(28));
    store.delete(&secret, &permanent()).await.unwrap();
}
