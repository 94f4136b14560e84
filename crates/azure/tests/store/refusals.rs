//! What the vault refuses, and who may do what.

use std::time::Duration;

use keyfob_core::{Change, DeleteOptions, Error, ErrorKind, GetOptions, ListOptions, PageRequest, PutRequest, SecretStore};

use crate::support::{Double, name, permanent, unique};

const VALUE: &str = "kfcanary-refusedvalue1";

#[tokio::test]
async fn throttling_says_how_long_to_wait() {
    let Some(double) = Double::of("throttling_says_how_long_to_wait").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    store.put(&secret, PutRequest::new(VALUE)).await.unwrap();
    for (status, kind) in [
        (429, ErrorKind::RateLimited),
        (503, ErrorKind::Unavailable),
        (500, ErrorKind::Unavailable),
    ] {
        double.fault("get", status, Some(3), 1).await;
        let before = double.count("get").await;
        let error = store.get(&secret, &GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert!(
            error.context().any(|fact| fact == ("status", &status.to_string())),
            "{error:?}"
        );
        assert!(error.context().any(|(key, _)| key == "request_id"), "{error:?}");
        assert_eq!(
            double.count("get").await - before,
            1,
            "somebody below the retry layer tried again"
        );
    }
    store.delete(&secret, &permanent()).await.unwrap();
}

#[tokio::test]
async fn a_write_that_was_done_and_answered_with_a_failure_is_not_called_undone() {
    let Some(double) = Double::of("a_write_that_was_done_and_answered_with_a_failure_is_not_called_undone").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    for status in [500, 502, 503, 504] {
        let value = format!("{VALUE}-{status}");
        double.fault_afterwards("set", status).await;
        let error = store.put(&secret, PutRequest::new(value.as_str())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(error.message().contains("may have happened"), "{error:?}");
        assert!(error.hint().unwrap().contains("read the secret"), "{error:?}");
        assert!(
            error.context().any(|fact| fact == ("status", &status.to_string())),
            "{error:?}"
        );
        let written = store.get(&secret, &GetOptions::default()).await.unwrap();
        assert!(written.value.expose_secret() == value.as_bytes(), "{status}");
    }
    store.delete(&secret, &permanent()).await.unwrap();
}

#[tokio::test]
async fn who_may_read_only_reads() {
    let Some(double) = Double::of("who_may_read_only_reads").await else {
        return;
    };
    let (all, secret) = (double.store(), name(&unique()));
    all.put(&secret, PutRequest::new(VALUE)).await.unwrap();
    all.put(&secret, PutRequest::new(VALUE)).await.unwrap();

    let reader = double.connect(double.application("read-only"), "").await;
    assert!(reader.get(&secret, &GetOptions::default()).await.is_ok());
    assert_eq!(
        reader.versions(&secret, &PageRequest::default()).await.unwrap().items.len(),
        2
    );
    let metadata = PutRequest {
        description: Change::Set("mine".to_owned()),
        ..PutRequest::default()
    };
    let new = reader.put(&name(&unique()), PutRequest::new(VALUE)).await.unwrap_err();
    for (error, needed) in [
        (
            reader.put(&secret, PutRequest::new(VALUE)).await.unwrap_err(),
            "setSecret/action",
        ),
        (reader.put(&secret, metadata).await.unwrap_err(), "update/action"),
        (new, "setSecret/action"),
        (reader.delete(&secret, &DeleteOptions::default()).await.unwrap_err(), "delete"),
    ] {
        assert_denied(&error, needed);
        assert!(error.context().any(|fact| fact == ("code", "ForbiddenByRbac")), "{error:?}");
    }

    // By name, and nothing else.
    let getter = double.connect(double.application("get-only"), "").await;
    assert!(getter.get(&secret, &GetOptions::default()).await.is_ok());
    let missing = getter.get(&name(&unique()), &GetOptions::default()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    let unlisted = getter.list(&ListOptions::default()).await.unwrap_err();
    assert_denied(&unlisted, "readMetadata/action");
    assert_warnings(getter.as_ref(), &["readMetadata/action"]).await;
    assert_warnings(reader.as_ref(), &[]).await;

    // Everything but the values.
    let lister = double.connect(double.application("list-only"), "").await;
    assert_warnings(lister.as_ref(), &["getSecret/action"]).await;
    let unread = lister.get(&secret, &GetOptions::default()).await.unwrap_err();
    assert_denied(&unread, "getSecret/action");
    assert_eq!(
        lister.versions(&secret, &PageRequest::default()).await.unwrap().items.len(),
        2
    );

    let nobody = double.connect(double.application("nothing"), "").await;
    assert_warnings(nobody.as_ref(), &["getSecret/action", "readMetadata/action"]).await;
    assert_eq!(
        nobody.get(&secret, &GetOptions::default()).await.unwrap_err().kind(),
        ErrorKind::PermissionDenied
    );
    all.delete(&secret, &permanent()).await.unwrap();
}

/// Health warns of each data action that lacks, and of nothing else.
async fn assert_warnings(store: &dyn SecretStore, lacking: &[&str]) {
    let warnings = store.health().await.unwrap().warnings;
    assert_eq!(warnings.len(), lacking.len(), "{warnings:?}");
    for (warning, lacking) in warnings.iter().zip(lacking) {
        assert!(warning.contains(lacking), "{warnings:?}");
    }
}

/// The hint names the data action that lacks.
fn assert_denied(error: &Error, needed: &str) {
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let needed = format!("`Microsoft.KeyVault/vaults/secrets/{needed}`");
    assert!(error.hint().is_some_and(|hint| hint.contains(&needed)), "{error:?}");
}

#[tokio::test]
async fn a_page_token_of_another_listing_is_refused() {
    let Some(double) = Double::of("a_page_token_of_another_listing_is_refused").await else {
        return;
    };
    let (store, word) = (double.store(), unique());
    for index in 0..3 {
        store
            .put(&name(&format!("{word}/{index}")), PutRequest::new(VALUE))
            .await
            .unwrap();
    }
    let mut options = ListOptions::default();
    options.page.limit = Some(1);
    let next = store.list(&options).await.unwrap().next.unwrap();
    options.page.token = Some(next.clone());
    options.deleted = keyfob_core::Deleted::Only;
    assert_eq!(store.list(&options).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    options.deleted = keyfob_core::Deleted::Exclude;
    assert!(store.list(&options).await.is_ok());
    options.page.token = Some(keyfob_core::PageToken::new("secrets?$skiptoken=bm9uZQ"));
    assert_eq!(store.list(&options).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    for index in 0..3 {
        store.delete(&name(&format!("{word}/{index}")), &permanent()).await.unwrap();
    }
}

#[tokio::test]
async fn limits_are_told_before_anything_is_asked() {
    let Some(double) = Double::of("limits_are_told_before_anything_is_asked").await else {
        return;
    };
    let (store, secret) = (double.store(), name(&unique()));
    let (gets, sets) = (double.count("get").await, double.count("set").await);
    let tag = |key: &str, value: &str| Change::Set([(key.to_owned(), value.to_owned())].into());
    let long = "x".repeat(257);
    for request in [
        PutRequest::new("x".repeat(25_601)),
        PutRequest {
            description: Change::Set(long.clone()),
            ..PutRequest::new(VALUE)
        },
        PutRequest {
            tags: tag("keyfob-name", "other"),
            ..PutRequest::new(VALUE)
        },
        PutRequest {
            tags: tag(&long, "x"),
            ..PutRequest::new(VALUE)
        },
        PutRequest {
            tags: tag("x", &long),
            ..PutRequest::new(VALUE)
        },
    ] {
        let error = store.put(&secret, request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
    }
    assert_eq!((double.count("get").await, double.count("set").await), (gets, sets));
    store.put(&secret, PutRequest::new("x".repeat(25_600))).await.unwrap();
    store.delete(&secret, &permanent()).await.unwrap();
}

/// A vault that asks for a token of another domain than its own gets none.
#[tokio::test]
async fn a_challenge_for_another_domain_gets_no_token() {
    let Some(double) = Double::of("a_challenge_for_another_domain_gets_no_token").await else {
        return;
    };
    let tokens = double.count("token").await;
    let url = double.url("").to_string().replace("&challenge=unverified", "");
    let environment = double.application("all").build();
    let connected = (keyfob_azure::BACKEND.connect)(keyfob_core::StoreUrl::parse(&url).unwrap(), &environment).await;
    let error = connected.unwrap().store.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(error.message().contains("not for its own domain"), "{error:?}");
    assert_eq!(double.count("token").await, tokens);
}

#[tokio::test]
async fn a_vault_with_a_certificate_of_nobody_known_is_not_spoken_to() {
    let Some(double) = Double::of("a_vault_with_a_certificate_of_nobody_known_is_not_spoken_to").await else {
        return;
    };
    let host = double.text("/vault_url").strip_prefix("https://").unwrap();
    let url = keyfob_core::StoreUrl::parse(&format!("azure://{host}?challenge=unverified")).unwrap();
    let connected = (keyfob_azure::BACKEND.connect)(url, &double.application("all").build()).await;
    let error = connected.unwrap().store.health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.hint().unwrap().contains("ca=FILE"), "{error:?}");
}

#[tokio::test]
async fn a_file_of_authorities_that_is_none_is_told_when_connecting() {
    let environment = keyfob_core::Environment::fake()
        .file("/none.pem", "kfcanary-notaauthority")
        .build();
    for file in ["/none.pem", "/missing.pem"] {
        let url = keyfob_core::StoreUrl::parse(&format!("azure://team-vault?ca={file}")).unwrap();
        let error = (keyfob_azure::BACKEND.connect)(url, &environment).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
        assert!(error.context().any(|fact| fact == ("file", file)), "{error:?}");
        assert!(!format!("{error:?}").contains("kfcanary-"));
    }
}
