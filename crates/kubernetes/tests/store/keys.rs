//! The keys of one object, beside writers who know nothing of keyfob.

use futures_util::future::join_all;
use keyfob_core::{
    Change, DeleteOptions, ErrorKind, GetOptions, GetRequest, ListOptions, PutMode, PutRequest, SecretStore, Version,
};
use serde_json::json;

use crate::cluster::Namespace;
use crate::{CANARY, listed, name};

async fn version(store: &dyn SecretStore, text: &str) -> Version {
    let secret = store.get(&name(text), &GetOptions::default()).await.unwrap();
    secret.metadata.version.clone().unwrap()
}

#[tokio::test]
async fn keys_of_another_tool_are_read_listed_matched_and_kept() {
    let Some(namespace) = Namespace::make("keys_of_another_tool_are_read_listed_matched_and_kept").await else {
        return;
    };
    namespace
        .make_secret(&json!({
            "metadata": {"name": "app"}, "type": "example.org/own",
            "stringData": {"DATABASE_URL": "old", "tls.crt": "x", "keyfob.a.b": "y"},
        }))
        .await;
    let store = namespace.connect("/app").await;
    assert_eq!(listed(&*store).await, ["DATABASE_URL", "a/b", "tls.crt"]);
    let before = version(&*store, "DATABASE_URL").await;
    // Of what another tool made the version is that of the object: it is also another when another key is.
    store.put(&name("new"), PutRequest::new("1")).await.unwrap();
    let error = store
        .put(&name("DATABASE_URL"), PutRequest::new(CANARY).mode(PutMode::Match(before)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let now = version(&*store, "DATABASE_URL").await;
    let written = store
        .put(&name("DATABASE_URL"), PutRequest::new(CANARY).mode(PutMode::Match(now)))
        .await
        .unwrap();
    // Of what keyfob wrote it is the key's own.
    store.put(&name("new"), PutRequest::new("2")).await.unwrap();
    assert_eq!(Some(version(&*store, "DATABASE_URL").await), written.version);
    // Whoever changes the value changes the version.
    namespace
        .patch_secret("app", &json!({"stringData": {"DATABASE_URL": "from kubectl"}}))
        .await;
    assert_ne!(Some(version(&*store, "DATABASE_URL").await), written.version);
    let object = namespace.secret("app").await.unwrap();
    assert_eq!(object["type"], "example.org/own");
    assert_eq!(object["data"].as_object().unwrap().len(), 4);
    store.delete(&name("DATABASE_URL"), &DeleteOptions::default()).await.unwrap();
    let object = namespace.secret("app").await.unwrap();
    assert!(object["data"]["DATABASE_URL"].is_null() && object["data"]["tls.crt"].is_string());
    let annotations = object["metadata"]["annotations"].as_object().unwrap();
    assert!(
        annotations.keys().all(|annotation| !annotation.contains("DATABASE_URL")),
        "{annotations:?}"
    );
    namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_of_different_keys_do_not_stand_in_each_others_way() {
    let Some(namespace) = Namespace::make("many_writers_of_different_keys").await else {
        return;
    };
    let stores = [namespace.connect("/app").await, namespace.connect("/app").await];
    let creates = (0..40).map(|index| {
        let store = &stores[index % 2];
        async move {
            let request = PutRequest {
                tags: Change::Set([("index".to_owned(), index.to_string())].into()),
                ..PutRequest::new(format!("{CANARY}-{index}")).mode(PutMode::Create)
            };
            store.put(&name(&format!("key/{index}")), request).await
        }
    });
    for made in join_all(creates).await {
        made.unwrap();
    }
    let requests: Vec<GetRequest> = (0..40).map(|index| GetRequest::new(name(&format!("key/{index}")))).collect();
    for (index, answer) in stores[0].get_many(&requests).await.into_iter().enumerate() {
        let secret = answer.unwrap();
        assert!(secret.value.expose_secret() == format!("{CANARY}-{index}").as_bytes());
        assert_eq!(secret.metadata.tags["index"], index.to_string());
    }
    assert_eq!(listed(&*stores[1]).await.len(), 40);
    namespace.remove().await;
}

#[tokio::test]
async fn names_are_listed_although_nobody_recorded_who_wrote_them() {
    let Some(namespace) = Namespace::make("names_are_listed_although_nobody_recorded_who_wrote_them").await else {
        return;
    };
    let store = namespace.connect("/app").await;
    assert_eq!(listed(&*store).await, Vec::<String>::new(), "of an object that is not there");
    let request = PutRequest {
        description: Change::Set("mine".to_owned()),
        ..PutRequest::new(CANARY)
    };
    store.put(&name("one"), request).await.unwrap();
    namespace
        .patch_secret("app", &json!({"metadata": {"managedFields": [{}]}}))
        .await;
    let object = namespace.secret("app").await.unwrap();
    let records = object["metadata"]["managedFields"].to_string();
    assert!(!records.contains("f:one"), "the record is there, so nothing is proven");
    store.put(&name("two"), PutRequest::new(CANARY)).await.unwrap();
    let page = store.list(&ListOptions::default()).await.unwrap();
    let names: Vec<&str> = page.items.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(page.items[0].description.as_deref(), Some("mine"));
    namespace.remove().await;
}

#[tokio::test]
async fn what_was_said_of_a_key_that_somebody_took_away_says_nothing_of_a_new_one() {
    let Some(namespace) = Namespace::make("what_was_said_of_a_key_that_somebody_took_away").await else {
        return;
    };
    let store = namespace.connect("/app").await;
    for mode in [PutMode::Upsert, PutMode::Create] {
        let expired = PutRequest {
            expires_at: Change::Set(std::time::SystemTime::UNIX_EPOCH),
            description: Change::Set("old".to_owned()),
            ..PutRequest::new("old")
        };
        store.put(&name("a"), expired).await.unwrap();
        namespace.patch_secret("app", &json!({"data": {"a": null}})).await;
        let request = PutRequest::new(CANARY).mode(mode.clone());
        store.put(&name("a"), request).await.unwrap();
        let secret = store.get(&name("a"), &GetOptions::default()).await.unwrap();
        assert!(
            secret.value.expose_secret() == CANARY.as_bytes() && secret.metadata.description.is_none(),
            "{mode:?}"
        );
    }
    namespace.remove().await;
}

#[tokio::test]
async fn an_empty_object_takes_its_first_key() {
    let Some(namespace) = Namespace::make("an_empty_object_takes_its_first_key").await else {
        return;
    };
    namespace.make_secret(&json!({"metadata": {"name": "app"}})).await;
    let store = namespace.connect("/app").await;
    assert_eq!(
        store.get(&name("a"), &GetOptions::default()).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    store
        .put(&name("a"), PutRequest::new(CANARY).mode(PutMode::Create))
        .await
        .unwrap();
    assert_eq!(listed(&*store).await, ["a"]);
    store.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(
        store.delete(&name("a"), &DeleteOptions::default()).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(namespace.secret("app").await.is_some(), "the object stays: it may be mounted");
    // Made new by somebody meanwhile.
    namespace.delete_secret("app").await;
    store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap();
    namespace.remove().await;
}
