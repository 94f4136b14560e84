//! Objects that other tools made, and those that are not keyfob's to change.

use data_encoding::BASE64;
use keyfob_core::{Change, DeleteOptions, ErrorKind, Expired, Field, GetOptions, PutMode, PutRequest};
use serde_json::json;

use crate::cluster::Namespace;
use crate::{CANARY, assert_harmless, listed, name};

#[tokio::test]
async fn a_map_of_another_tool_is_read_as_its_document_and_not_written() {
    let Some(namespace) = Namespace::make("a_map_of_another_tool_is_read_as_its_document").await else {
        return;
    };
    namespace
        .make_secret(&json!({
            "metadata": {"name": "db.main"}, "type": "kubernetes.io/basic-auth",
            "stringData": {"username": "jo", "password": CANARY},
        }))
        .await;
    let store = namespace.connect("").await;
    let secret = store.get(&name("db.main"), &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_str().unwrap() == format!(r#"{{"password":"{CANARY}","username":"jo"}}"#));
    let error = store.put(&name("db.main"), PutRequest::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert!(error.hint().is_some());

    // What is said about it is no value.
    let described = PutRequest {
        description: Change::Set("the main database".to_owned()),
        ..PutRequest::default()
    };
    store.put(&name("db.main"), described).await.unwrap();
    let object = namespace.secret("db.main").await.unwrap();
    assert_eq!(object["type"], "kubernetes.io/basic-auth");
    assert_eq!(object["data"].as_object().unwrap().len(), 2);
    assert_eq!(
        object["metadata"]["annotations"]["keyfob.dev/description"],
        "the main database"
    );
    assert!(object["metadata"]["labels"].is_null(), "it is not keyfob's");
    assert_eq!(listed(&*store).await, ["db.main"]);
    store.delete(&name("db.main"), &DeleteOptions::default()).await.unwrap();
    assert!(namespace.secret("db.main").await.is_none());
    namespace.remove().await;
}

#[tokio::test]
async fn bytes_in_a_map_hide_no_text_and_alone_are_bytes() {
    let Some(namespace) = Namespace::make("bytes_in_a_map_hide_no_text_and_alone_are_bytes").await else {
        return;
    };
    let bytes = [b"\xff\xfe".as_slice(), CANARY.as_bytes()].concat();
    namespace
        .make_secret(&json!({
            "metadata": {"name": "stores"}, "data": {"a.jks": BASE64.encode(&bytes), "password": "eA=="},
        }))
        .await;
    let document = namespace
        .connect("")
        .await
        .get(&name("stores"), &GetOptions::default())
        .await
        .unwrap();
    let field = |text: &str| Field::parse(text).unwrap().pick(&document.value).unwrap();
    assert!(field("password").expose_secret() == b"x");
    assert!(field("/a.jks/base64").expose_secret() == BASE64.encode(&bytes).as_bytes());
    let secret = namespace
        .connect("/stores")
        .await
        .get(&name("a.jks"), &GetOptions::default())
        .await
        .unwrap();
    assert!(secret.value.expose_secret() == bytes);
    namespace.remove().await;
}

#[tokio::test]
async fn a_single_value_of_another_tool_is_written_and_stays_that_tools() {
    let Some(namespace) = Namespace::make("a_single_value_of_another_tool_is_written").await else {
        return;
    };
    namespace
        .make_secret(&json!({
            "metadata": {"name": "token", "labels": {"app.kubernetes.io/managed-by": "Helm", "x": "y"},
                         "annotations": {"a": "b"}},
            "stringData": {"value": "old"},
        }))
        .await;
    let store = namespace.connect("").await;
    let first = store.get(&name("token"), &GetOptions::default()).await.unwrap();
    assert_eq!(first.value.expose_str().unwrap(), "old");
    let matched = PutRequest::new(CANARY).mode(PutMode::Match(first.metadata.version.clone().unwrap()));
    store.put(&name("token"), matched.clone()).await.unwrap();
    let late = store.put(&name("token"), matched).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    let object = namespace.secret("token").await.unwrap();
    assert_eq!(
        object["metadata"]["labels"],
        json!({"app.kubernetes.io/managed-by": "Helm", "x": "y"})
    );
    assert_eq!(
        object["metadata"]["annotations"],
        json!({"a": "b", "keyfob.dev/name": "token"})
    );
    let managers = object["metadata"]["managedFields"].as_array().unwrap();
    assert!(managers.iter().any(|entry| entry["manager"] == "keyfob"));

    // What keyfob makes can be found.
    store.put(&name("Team/DB"), PutRequest::new("x")).await.unwrap();
    let object = namespace.secret("keyfob.zutzleam.zudb").await.unwrap();
    assert_eq!(
        object["metadata"]["labels"],
        json!({"app.kubernetes.io/managed-by": "keyfob"})
    );
    assert_eq!(object["metadata"]["annotations"]["keyfob.dev/name"], "Team/DB");
    assert_eq!(object["type"], "Opaque");
    assert_eq!(object["data"], json!({"value": "eA=="}));
    namespace.remove().await;
}

#[tokio::test]
async fn a_copy_under_another_name_is_not_taken_for_that_name() {
    let Some(namespace) = Namespace::make("a_copy_under_another_name_is_not_taken_for_that_name").await else {
        return;
    };
    let store = namespace.connect("").await;
    store.put(&name("one"), PutRequest::new(CANARY)).await.unwrap();
    let mut copy = namespace.secret("one").await.unwrap();
    copy["metadata"] = json!({"name": "two", "annotations": copy["metadata"]["annotations"]});
    namespace.make_secret(&copy).await;
    let two = name("two");
    for error in [
        store.get(&two, &GetOptions::default()).await.unwrap_err(),
        store.put(&two, PutRequest::new("x")).await.unwrap_err(),
        store.delete(&two, &DeleteOptions::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert_harmless(&error);
    }
    assert_eq!(listed(&*store).await, ["one"]);
    namespace
        .patch_secret("two", &json!({"metadata": {"annotations": {"keyfob.dev/name": null}}}))
        .await;
    assert!(store.get(&two, &GetOptions::default()).await.is_ok());
    namespace.remove().await;
}

#[tokio::test]
async fn what_belongs_to_another_program_is_read_and_nothing_else() {
    let Some(namespace) = Namespace::make("what_belongs_to_another_program_is_read_and_nothing_else").await else {
        return;
    };
    namespace
        .make_secret(&json!({
            "metadata": {"name": "sh.helm.release.v1.app.v1"}, "type": "helm.sh/release.v1", "stringData": {"release": "H4s"},
        }))
        .await;
    namespace
        .make_secret(&json!({
            "metadata": {"name": "bootstrap"}, "type": "bootstrap.kubernetes.io/token", "stringData": {"value": "x"},
        }))
        .await;
    let store = namespace.connect("").await;
    assert_eq!(listed(&*store).await, Vec::<String>::new());
    for text in ["sh.helm.release.v1.app.v1", "bootstrap"] {
        let name = name(text);
        assert!(store.get(&name, &GetOptions::default()).await.is_ok());
        let written = store.put(&name, PutRequest::new("y")).await.unwrap_err();
        let deleted = store.delete(&name, &DeleteOptions::default()).await.unwrap_err();
        assert_eq!(
            (written.kind(), deleted.kind()),
            (ErrorKind::Conflict, ErrorKind::Conflict),
            "{text}"
        );
        let keys = namespace.connect(&format!("/{text}")).await;
        let written = keys.put(&name_of_new_key(), PutRequest::new("y")).await.unwrap_err();
        assert_eq!(written.kind(), ErrorKind::Conflict);
    }
    namespace.remove().await;
}

fn name_of_new_key() -> keyfob_core::SecretName {
    name("new")
}

#[tokio::test]
async fn an_expiry_that_somebody_spoiled_is_not_taken_for_none() {
    let Some(namespace) = Namespace::make("an_expiry_that_somebody_spoiled_is_not_taken_for_none").await else {
        return;
    };
    let store = namespace.connect("").await;
    store.put(&name("a"), PutRequest::new(CANARY)).await.unwrap();
    namespace
        .patch_secret(
            "a",
            &json!({"metadata": {"annotations": {"keyfob.dev/expires-at": "tomorrow"}}}),
        )
        .await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let all_the_same = GetOptions {
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    assert!(store.get(&name("a"), &all_the_same).await.is_ok());
    let mend = PutRequest {
        expires_at: Change::Clear,
        ..PutRequest::default()
    };
    store.put(&name("a"), mend).await.unwrap();
    assert!(store.get(&name("a"), &GetOptions::default()).await.is_ok());
    namespace.remove().await;
}

#[tokio::test]
async fn what_a_finalizer_holds_is_gone_for_readers_and_not_free_for_writers() {
    let Some(namespace) = Namespace::make("what_a_finalizer_holds_is_gone_for_readers").await else {
        return;
    };
    let store = namespace.connect("").await;
    let held = name("held");
    store.put(&held, PutRequest::new(CANARY)).await.unwrap();
    namespace
        .patch_secret("held", &json!({"metadata": {"finalizers": ["example.org/hold"]}}))
        .await;
    store.delete(&held, &DeleteOptions::default()).await.unwrap();
    assert_eq!(
        store.get(&held, &GetOptions::default()).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        store.delete(&held, &DeleteOptions::default()).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let written = store.put(&held, PutRequest::new("x")).await.unwrap_err();
    assert_eq!(written.kind(), ErrorKind::Conflict, "{written:?}");
    assert_eq!(listed(&*store).await, Vec::<String>::new());
    namespace
        .patch_secret("held", &json!({"metadata": {"finalizers": null}}))
        .await;
    store.put(&held, PutRequest::new("x")).await.unwrap();
    namespace.remove().await;
}
