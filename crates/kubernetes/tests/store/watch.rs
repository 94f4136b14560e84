//! What the API server tells of changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use keyfob_core::{CacheLayer, ChangeStream, DeleteOptions, GetOptions, Layer as _, PutRequest, SecretStore, StoreChange};
use serde_json::json;

use crate::cluster::Namespace;
use crate::{CANARY, name};

async fn next(changes: &mut ChangeStream) -> Option<StoreChange> {
    tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_objects_come_by_name_whoever_makes_them() {
    let Some(namespace) = Namespace::make("changes_of_objects_come_by_name").await else {
        return;
    };
    let connected = namespace.connect_as(&namespace.kubeconfig, "").await;
    connected.store.put(&name("before"), PutRequest::new(CANARY)).await.unwrap();
    let mut changes = connected.changes.unwrap().changes();
    assert_eq!(next(&mut changes).await, Some(StoreChange::Anything));
    let other = namespace.connect("").await;
    other.put(&name("Team/db"), PutRequest::new(CANARY)).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(StoreChange::Secret(name("Team/db"))));
    namespace
        .make_secret(&json!({"metadata": {"name": "by-kubectl"}, "stringData": {"x": "y"}}))
        .await;
    assert_eq!(next(&mut changes).await, Some(StoreChange::Secret(name("by-kubectl"))));
    other.delete(&name("Team/db"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(next(&mut changes).await, Some(StoreChange::Secret(name("Team/db"))));
    namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_watch_one_object_hears_of_it_and_of_no_other() {
    let Some(namespace) = Namespace::make("who_may_watch_one_object_hears_of_it").await else {
        return;
    };
    let admin = namespace.connect("/app").await;
    let others = namespace.connect("").await;
    let accounts = [
        namespace.account("watcher", &[(&["list", "watch"], &["app"])]).await,
        namespace.account("looker", &[(&["get", "watch"], &["app"])]).await,
    ];
    for (round, account) in accounts.iter().enumerate() {
        admin.put(&name("a"), PutRequest::new("1")).await.unwrap();
        let connected = namespace.connect_as(account, "/app").await;
        let mut changes = connected.changes.unwrap().changes();
        assert_eq!(next(&mut changes).await, Some(StoreChange::Anything));
        others
            .put(&name(&format!("other-{round}")), PutRequest::new("1"))
            .await
            .unwrap();
        let silence = tokio::time::timeout(Duration::from_secs(1), changes.next()).await;
        assert!(silence.is_err(), "{silence:?}");
        admin.put(&name("a"), PutRequest::new("2")).await.unwrap();
        assert_eq!(next(&mut changes).await, Some(StoreChange::Anything));
        namespace.delete_secret("app").await;
        assert_eq!(next(&mut changes).await, Some(StoreChange::Anything));
    }
    namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_watch_hears_the_end() {
    let Some(namespace) = Namespace::make("who_may_not_watch_hears_the_end").await else {
        return;
    };
    let account = namespace.account("reader", &[(&["get", "list"], &[])]).await;
    for object in ["", "/app"] {
        let connected = namespace.connect_as(&account, object).await;
        let mut changes = connected.changes.unwrap().changes();
        assert_eq!(next(&mut changes).await, None);
        assert_eq!(next(&mut changes).await, None);
    }
    namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_forgets_what_somebody_else_changed() {
    let Some(namespace) = Namespace::make("a_cache_forgets_what_somebody_else_changed").await else {
        return;
    };
    for object in ["", "/app"] {
        let connected = namespace.connect_as(&namespace.kubeconfig, object).await;
        let other = namespace.connect(object).await;
        other.put(&name("a"), PutRequest::new("old")).await.unwrap();
        let cache = CacheLayer::new(Duration::from_secs(600)).follow(connected.changes.unwrap());
        let cached: Arc<dyn SecretStore> = cache.layer(connected.store);
        let read = || async {
            let secret = cached.get(&name("a"), &GetOptions::default()).await.unwrap();
            secret.value.expose_str().unwrap().to_owned()
        };
        assert_eq!(read().await, "old");
        other.put(&name("a"), PutRequest::new("new")).await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while read().await != "new" {
            assert!(tokio::time::Instant::now() < deadline, "the cache was never told");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    namespace.remove().await;
}
