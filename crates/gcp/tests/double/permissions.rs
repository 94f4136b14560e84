//! As whom the store asks, and what works with few permissions, against the strict double.

use std::time::SystemTime;

use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Environment, Error, ErrorKind, GetOptions, ListOptions, PageRequest, PutRequest,
    SecretStore as _,
};
use keyfob_gcp::{GcpConfig, GcpStore};

use crate::support::{Double, machine, name, put, read, version};

#[tokio::test]
async fn who_may_only_read_values_gets_values() {
    let Some(double) = Double::of_test("who_may_only_read_values_gets_values") else {
        return;
    };
    let admin = double.store().await;
    let expired = PutRequest {
        description: Change::Set("not for all eyes".to_owned()),
        expires_at: Change::Set(SystemTime::UNIX_EPOCH),
        ..put("kfcanary-expired1")
    };
    admin.put(&name("expired"), expired).await.unwrap();
    admin.put(&name("a/b"), put("kfcanary-nested01")).await.unwrap();
    let error = read(&admin, "expired", &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);

    let store = double.store_as("ya29.double-accessor").await;
    assert_eq!(
        read(&store, "a/b", &GetOptions::default()).await.unwrap(),
        b"kfcanary-nested01"
    );
    // What can't be known can't be obeyed: the page says so, and a warning.
    assert_eq!(
        read(&store, "expired", &GetOptions::default()).await.unwrap(),
        b"kfcanary-expired1"
    );
    assert!(
        store
            .get(&name("expired"), &GetOptions::default())
            .await
            .unwrap()
            .metadata
            .description
            .is_none()
    );
    assert_warnings(&store, &["secretmanager.secrets.list"]).await;
    assert_warnings(&admin, &[]).await;

    // What needs more says what.
    for (denied, needed) in [
        (read(&store, "a/b", &version("previous")).await.map(drop), "versions.list"),
        (
            store.put(&name("a/b"), put("kfcanary-denied01")).await.map(drop),
            "secrets.get",
        ),
        (
            store.versions(&name("a/b"), &PageRequest::default()).await.map(drop),
            "versions.list",
        ),
        (store.list(&ListOptions::default()).await.map(drop), "secrets.list"),
        (
            store
                .delete(
                    &name("a/b"),
                    &DeleteOptions {
                        mode: DeleteMode::Permanent,
                    },
                )
                .await,
            "secrets.delete",
        ),
    ] {
        assert_denied(&denied.unwrap_err(), needed);
    }
    double.set_state("a_x2Fb", 1, "disable").await;
    let error = read(&store, "a/b", &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(error.hint().unwrap().contains("secretmanager.versions.list"), "{error:?}");
}

#[tokio::test]
async fn who_may_read_no_values_gets_none() {
    let Some(double) = Double::of_test("who_may_read_no_values_gets_none") else {
        return;
    };
    double.store().await.put(&name("a"), put("kfcanary-viewed01")).await.unwrap();
    let viewer = double.store_as("ya29.double-viewer").await;
    assert_eq!(viewer.list(&ListOptions::default()).await.unwrap().items.len(), 1);
    assert_warnings(&viewer, &["secretmanager.versions.access"]).await;
    let nobody = double.store_as("ya29.double-nobody").await;
    assert_warnings(&nobody, &["secretmanager.versions.access", "secretmanager.secrets.list"]).await;
    for token in ["ya29.double-viewer", "ya29.double-nobody"] {
        let store = double.store_as(token).await;
        let error = read(&store, "a", &GetOptions::default()).await.unwrap_err();
        assert_denied(&error, "versions.access");
    }
    let store = double.store_as("ya29.double-expired").await;
    let error = read(&store, "a", &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(error.hint().unwrap().contains("gcloud auth"), "{error:?}");
}

/// Health warns of each permission that lacks, and of nothing else.
async fn assert_warnings(store: &GcpStore, lacking: &[&str]) {
    let warnings = store.health().await.unwrap().warnings;
    assert_eq!(warnings.len(), lacking.len(), "{warnings:?}");
    for (warning, lacking) in warnings.iter().zip(lacking) {
        assert!(warning.contains(lacking), "{warnings:?}");
    }
}

/// The hint names the permission that lacks.
fn assert_denied(error: &Error, needed: &str) {
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    let needed = format!("`secretmanager.{needed}`");
    assert!(error.hint().is_some_and(|hint| hint.contains(&needed)), "{error:?}");
}

#[tokio::test]
async fn application_default_credentials_are_found_and_used() {
    let Some(double) = Double::of_test("application_default_credentials_are_found_and_used") else {
        return;
    };
    double.store().await.put(&name("a"), put("kfcanary-default1")).await.unwrap();
    for kind in ["serviceAccount", "authorizedUser"] {
        let Some(file) = double.file(kind).await else {
            return keyfob_testkit::skip(
                "application_default_credentials_are_found_and_used",
                "the double has no `--directory`",
            );
        };
        let environment = Environment::fake()
            .host_files()
            .var("GOOGLE_APPLICATION_CREDENTIALS", file.as_str())
            .build();
        let store = double.connect("&credentials=default", &environment).await.unwrap();
        assert_eq!(
            read(&store, "a", &GetOptions::default()).await.unwrap(),
            b"kfcanary-default1",
            "{kind}"
        );
        let health = store.health().await.unwrap();
        assert!(health.details.iter().any(|(what, _)| *what == "credentials"), "{health:?}");
    }
}

#[tokio::test]
async fn a_log_in_that_was_revoked_says_so_and_quotes_nothing() {
    let Some(double) = Double::of_test("a_log_in_that_was_revoked_says_so_and_quotes_nothing") else {
        return;
    };
    let file = serde_json::json!({
        "type": "authorized_user", "client_id": "kfcanary-clientid01", "client_secret": "kfcanary-clientsec1",
        "refresh_token": "kfcanary-refresh001", "token_uri": format!("{}/token", double.url),
    });
    let environment = Environment::fake()
        .file("~/.config/gcloud/application_default_credentials.json", file.to_string())
        .build();
    let store = double.connect("&credentials=default", &environment).await.unwrap();
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(!format!("{error:?}").contains("kfcanary"));
}

#[tokio::test]
async fn the_machine_knows_the_project() {
    let environment = Environment::fake()
        .var("GCE_METADATA_HOST", machine("kfcanary-token0001").await)
        .build();
    let config = GcpConfig::from_url(&"gcp:".parse().unwrap(), &environment).unwrap();
    let store = GcpStore::connect(&config).await.unwrap();
    assert_eq!(store.info().location, "of-the-machine");

    let nobody = Environment::fake().var("GCE_METADATA_HOST", "127.0.0.1:1").build();
    let config = GcpConfig::from_url(&"gcp:".parse().unwrap(), &nobody).unwrap();
    let error = GcpStore::connect(&config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.hint().unwrap().contains("GCP_PROJECT_ID"), "{error:?}");
}
