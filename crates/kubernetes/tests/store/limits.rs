//! What is too much, immutable, or in no namespace.

use keyfob_core::{Change, DeleteOptions, Error, ErrorKind, GetOptions, ListOptions, PutMode, PutRequest, StoreUrl};
use keyfob_kubernetes::BACKEND;
use serde_json::json;

use crate::cluster::{Namespace, environment};
use crate::{CANARY, name};

#[tokio::test]
async fn a_mebibyte_is_kept_and_more_is_refused_before_it_is_sent() {
    let Some(namespace) = Namespace::make("a_mebibyte_is_kept_and_more_is_refused").await else {
        return;
    };
    let most = vec![b'x'; 1 << 20];
    let objects = namespace.connect("").await;
    objects.put(&name("a"), PutRequest::new(most.clone())).await.unwrap();
    objects.put(&name("a"), PutRequest::new(most.clone())).await.unwrap();
    let error = objects
        .put(&name("a"), PutRequest::new(vec![b'x'; (1 << 20) + 1]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let keys = namespace.connect("/app").await;
    let written = keys.put(&name("a"), PutRequest::new(most.clone())).await.unwrap();
    // Compared on the server: the old value and the new one in one request.
    let mode = PutMode::Match(written.version.unwrap());
    keys.put(&name("a"), PutRequest::new(vec![b'y'; 1 << 20]).mode(mode))
        .await
        .unwrap();
    let error = keys.put(&name("b"), PutRequest::new("1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("1048577") && error.hint().is_some(), "{error}");
    keys.put(&name("a"), PutRequest::new(vec![b'x'; 1 << 19])).await.unwrap();
    keys.put(&name("b"), PutRequest::new(vec![b'x'; 1 << 19])).await.unwrap();
    assert_eq!(
        keys.get(&name("b"), &GetOptions::default()).await.unwrap().value.len(),
        1 << 19
    );
    namespace.remove().await;
}

#[tokio::test]
async fn too_much_said_about_a_secret_is_refused() {
    let Some(namespace) = Namespace::make("too_much_said_about_a_secret_is_refused").await else {
        return;
    };
    for object in ["", "/app"] {
        let store = namespace.connect(object).await;
        let described = |bytes: usize| PutRequest {
            description: Change::Set("d".repeat(bytes)),
            ..PutRequest::new("x")
        };
        store.put(&name("a"), described(200 << 10)).await.unwrap();
        let error = store.put(&name("a"), described(256 << 10)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
        assert!(error.to_string().contains("annotations"), "{error}");
    }
    namespace.remove().await;
}

#[tokio::test]
async fn an_immutable_object_says_so() {
    let Some(namespace) = Namespace::make("an_immutable_object_says_so").await else {
        return;
    };
    namespace
        .make_secret(&json!({"metadata": {"name": "fixed"}, "immutable": true, "stringData": {"value": CANARY}}))
        .await;
    let immutable = |error: &Error| error.kind() == ErrorKind::Conflict && error.message().contains("immutable");
    let objects = namespace.connect("").await;
    let error = objects.put(&name("fixed"), PutRequest::new("x")).await.unwrap_err();
    assert!(immutable(&error), "{error:?}");
    let keys = namespace.connect("/fixed").await;
    for text in ["value", "other"] {
        let error = keys.put(&name(text), PutRequest::new("x")).await.unwrap_err();
        assert!(immutable(&error), "{error:?}");
    }
    let error = keys.delete(&name("value"), &DeleteOptions::default()).await.unwrap_err();
    assert!(immutable(&error), "{error:?}");
    // There is no key to be deleted and written anew.
    assert!(error.hint().unwrap().contains("`kubectl delete secret"), "{error:?}");
    assert!(keys.get(&name("value"), &GetOptions::default()).await.is_ok());
    // What is said about it can change, and it can be deleted.
    let described = PutRequest {
        description: Change::Set("fixed".to_owned()),
        ..PutRequest::default()
    };
    objects.put(&name("fixed"), described).await.unwrap();
    objects.delete(&name("fixed"), &DeleteOptions::default()).await.unwrap();
    namespace.remove().await;
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_named() {
    let Some(namespace) = Namespace::make("a_namespace_that_is_not_there_is_named").await else {
        return;
    };
    let environment = environment(&namespace.kubeconfig);
    for url in ["k8s://kf-there-is-none", "k8s://kf-there-is-none/app"] {
        let connected = (BACKEND.connect)(StoreUrl::parse(url).unwrap(), &environment).await.unwrap();
        let store = connected.store;
        let error = store.put(&name("a"), PutRequest::new("x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(error.message().contains("namespace"));
        let error = store.health().await.unwrap_err();
        assert!(error.to_string().contains("kf-there-is-none"), "{error}");
        // The API server says the same of a secret that is missing.
        let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("kf-there-is-none"), "{error}");
        // An empty listing would say that there are no secrets in it.
        let error = store.list(&ListOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(error.to_string().contains("kf-there-is-none"), "{error}");
    }
    assert!(
        namespace
            .connect("")
            .await
            .list(&ListOptions::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let health = namespace.connect("").await.health().await.unwrap();
    assert!(health.warnings.is_empty(), "{health:?}");
    namespace.remove().await;
}
