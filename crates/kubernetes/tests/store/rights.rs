//! Accounts with all rights, with few, and with none. The refusals are the API server's own.

use std::time::Duration;

use futures_util::StreamExt as _;
use keyfob_core::{
    DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, ListOptions, PutMode, PutRequest, Result, SecretStore, StoreChange,
};

use crate::cluster::Namespace;
use crate::{CANARY, listed, name};

fn denied<T>(result: Result<T>) -> bool {
    lacks(result).is_some()
}

/// The verb that a Role would need, when something was denied.
fn lacks<T>(result: Result<T>) -> Option<String> {
    let denied = |error: &Error| error.kind() == ErrorKind::PermissionDenied && error.hint().is_some();
    let error = result.err().filter(denied)?;
    let verb = error.context().find(|(key, _)| *key == "verb");
    verb.map(|(_, verb)| verb.to_owned())
}

/// A namespace with the secret `a` in both shapes.
async fn prepared(test: &str) -> Option<Namespace> {
    let namespace = Namespace::make(test).await?;
    for object in ["", "/app"] {
        let store = namespace.connect(object).await;
        store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap();
    }
    Some(namespace)
}

async fn reads(store: &dyn SecretStore) -> bool {
    let secret = store.get(&name("a"), &GetOptions::default()).await;
    let many = store.get_many(&[GetRequest::new(name("a"))]).await;
    let is_value = |value: &[u8]| value == CANARY.as_bytes();
    secret.is_ok_and(|secret| is_value(secret.value.expose_secret()))
        && many
            .iter()
            .all(|answer| answer.as_ref().is_ok_and(|secret| is_value(secret.value.expose_secret())))
}

#[tokio::test]
async fn who_may_read_reads_and_who_may_write_writes() {
    let Some(namespace) = prepared("who_may_read_reads_and_who_may_write_writes").await else {
        return;
    };
    let readers = namespace.account("reader", &[(&["get", "list"], &[])]).await;
    let writers = namespace
        .account("writer", &[(&["get", "list", "create", "patch", "delete"], &[])])
        .await;
    for object in ["", "/app"] {
        let reader = namespace.connect_as(&readers, object).await.store;
        assert!(reads(&*reader).await);
        assert!(listed(&*reader).await.contains(&"a".to_owned()));
        assert!(reader.health().await.unwrap().warnings.is_empty());
        let (make, delete) = if object.is_empty() {
            ("create", "delete")
        } else {
            ("patch", "patch")
        };
        for (text, verb) in [("a", "patch"), ("b", make)] {
            let written = reader.put(&name(text), PutRequest::new("x")).await;
            assert_eq!(lacks(written).as_deref(), Some(verb), "{text}");
        }
        let deleted = reader.delete(&name("a"), &DeleteOptions::default()).await;
        assert_eq!(lacks(deleted).as_deref(), Some(delete));

        let writer = namespace.connect_as(&writers, object).await.store;
        let made = writer
            .put(&name("w"), PutRequest::new("1").mode(PutMode::Create))
            .await
            .unwrap();
        let mode = PutMode::Match(made.version.unwrap());
        writer.put(&name("w"), PutRequest::new("2").mode(mode)).await.unwrap();
        writer.delete(&name("w"), &DeleteOptions::default()).await.unwrap();
    }
    namespace.remove().await;
}

#[tokio::test]
async fn who_may_only_get_one_secret_by_its_name_gets_it() {
    let Some(namespace) = prepared("who_may_only_get_one_secret_by_its_name_gets_it").await else {
        return;
    };
    let account = namespace.account("one", &[(&["get"], &["a", "app"])]).await;
    let objects = namespace.connect_as(&account, "").await.store;
    assert!(reads(&*objects).await);
    assert!(denied(objects.get(&name("b"), &GetOptions::default()).await));
    assert!(denied(objects.list(&ListOptions::default()).await));
    let health = objects.health().await.unwrap();
    assert!(health.warnings.iter().any(|warning| warning.contains("list")), "{health:?}");
    // One of a batch that is denied leaves the others.
    let answers = objects
        .get_many(&[GetRequest::new(name("b")), GetRequest::new(name("a"))])
        .await;
    assert!(answers[0].is_err() && answers[1].is_ok());

    // Of one object, that is the right to read and list all that keyfob keeps there.
    let keys = namespace.connect_as(&account, "/app").await.store;
    assert!(reads(&*keys).await);
    assert_eq!(listed(&*keys).await, ["a"]);
    assert!(keys.health().await.unwrap().warnings.is_empty());
    assert!(denied(keys.put(&name("a"), PutRequest::new("x")).await));
    namespace.remove().await;
}

#[tokio::test]
async fn who_may_patch_one_secret_by_its_name_writes_it() {
    let Some(namespace) = prepared("who_may_patch_one_secret_by_its_name_writes_it").await else {
        return;
    };
    let account = namespace.account("one", &[(&["get", "patch"], &["a", "app"])]).await;
    for object in ["", "/app"] {
        let store = namespace.connect_as(&account, object).await.store;
        let written = store.put(&name("a"), PutRequest::new("1")).await.unwrap();
        let mode = PutMode::Match(written.version.unwrap());
        store.put(&name("a"), PutRequest::new("2").mode(mode)).await.unwrap();
    }
    let keys = namespace.connect_as(&account, "/app").await.store;
    keys.put(&name("new"), PutRequest::new("1").mode(PutMode::Create))
        .await
        .unwrap();
    keys.delete(&name("new"), &DeleteOptions::default()).await.unwrap();
    namespace.remove().await;
}

#[tokio::test]
async fn who_has_no_rights_is_told_so_and_who_is_unknown_too() {
    let Some(namespace) = prepared("who_has_no_rights_is_told_so_and_who_is_unknown_too").await else {
        return;
    };
    let nobody = namespace.account("nobody", &[]).await;
    let stranger = namespace.kubeconfig_with("kfcanary-strangers-token");
    for object in ["", "/app"] {
        let store = namespace.connect_as(&nobody, object).await.store;
        assert!(denied(store.get(&name("a"), &GetOptions::default()).await));
        assert!(denied(store.put(&name("a"), PutRequest::new("x")).await));
        assert!(denied(store.delete(&name("a"), &DeleteOptions::default()).await));
        let list = if object.is_empty() { "list" } else { "get" };
        assert_eq!(lacks(store.list(&ListOptions::default()).await).as_deref(), Some(list));
        match store.health().await {
            // Single secrets may be allowed, and only a read shows that.
            Ok(health) => assert!(object.is_empty() && !health.warnings.is_empty(), "{health:?}"),
            Err(error) => assert!(!object.is_empty() && error.kind() == ErrorKind::PermissionDenied, "{error:?}"),
        }

        let store = namespace.connect_as(&stranger, object).await.store;
        for error in [
            store.get(&name("a"), &GetOptions::default()).await.unwrap_err(),
            store.list(&ListOptions::default()).await.unwrap_err(),
            store.health().await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
            crate::assert_harmless(&error);
        }
    }
    namespace.remove().await;
}

/// The API server closes a connection after it refused who asks, while other requests are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_unknown_is_told_so_however_many_ask_at_once() {
    let Some(namespace) = prepared("who_is_unknown_is_told_so_however_many_ask_at_once").await else {
        return;
    };
    let stranger = namespace.kubeconfig_with("kfcanary-strangers-token");
    let store = &namespace.connect_as(&stranger, "").await.store;
    for _ in 0..20 {
        let asked = (0..20).map(|_| async { store.get(&name("a"), &GetOptions::default()).await });
        for answer in futures_util::future::join_all(asked).await {
            let error = answer.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
        }
    }
    namespace.remove().await;
}

/// The YAML of the page about Kubernetes.
fn page() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/stores/kubernetes.md");
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text
        .split("```yaml file=")
        .skip(1)
        .map(|block| block.split_once('\n').unwrap().1);
    let blocks: Vec<String> = blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect();
    assert_eq!(blocks.len(), 3);
    blocks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_of_the_page_can_be_applied_and_are_enough_for_what_they_are_for() {
    let Some(namespace) = prepared("the_roles_of_the_page_can_be_applied").await else {
        return;
    };
    for block in page() {
        for document in block.split("---\n") {
            let document = document.replace("namespace: production", &format!("namespace: {}", namespace.name));
            namespace.apply(&document).await;
        }
    }
    let reader = namespace.connect_as(&namespace.new_account("app").await, "/app").await.store;
    assert!(reads(&*reader).await);
    assert_eq!(listed(&*reader).await, ["a"]);
    assert!(denied(reader.put(&name("a"), PutRequest::new("x")).await));
    assert!(denied(reader.delete(&name("a"), &DeleteOptions::default()).await));

    let writer = namespace
        .connect_as(&namespace.new_account("deploy").await, "/app")
        .await
        .store;
    let made = writer
        .put(&name("w"), PutRequest::new("1").mode(PutMode::Create))
        .await
        .unwrap();
    let mode = PutMode::Match(made.version.unwrap());
    writer.put(&name("w"), PutRequest::new("2").mode(mode)).await.unwrap();
    writer.put(&name("w"), PutRequest::new("3")).await.unwrap();
    assert_eq!(listed(&*writer).await, ["a", "w"]);
    writer.delete(&name("w"), &DeleteOptions::default()).await.unwrap();

    let manager = namespace.connect_as(&namespace.new_account("secrets-admin").await, "").await;
    let mut changes = manager.changes.unwrap().changes();
    let begun = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap();
    assert_eq!(begun, Some(StoreChange::Anything));
    let manager = manager.store;
    let made = manager
        .put(&name("m/n"), PutRequest::new("1").mode(PutMode::Create))
        .await
        .unwrap();
    let mode = PutMode::Match(made.version.unwrap());
    manager.put(&name("m/n"), PutRequest::new("2").mode(mode)).await.unwrap();
    assert_eq!(listed(&*manager).await, ["a", "app", "m/n"]);
    manager.delete(&name("m/n"), &DeleteOptions::default()).await.unwrap();
    namespace.remove().await;
}
