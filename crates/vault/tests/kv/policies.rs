//! The policies of the documentation, and health.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Change, DeleteMode, DeleteOptions, ErrorKind, GetOptions, ListOptions, PutRequest, SecretStore, VersionSelector,
};
use keyfob_vault::{KvVersion, VaultStore};

use crate::mounts::{Mount, create, name};
use crate::{all, kind, read};

const POLICIES: &str = include_str!("../../../../docs/src/stores/vault.md");

/// The documentation's own policy, for this mount.
fn policy(file: &str, mount: &Mount) -> String {
    let begin = format!("```hcl file={file}\n");
    let text = POLICIES.split_once(&begin).unwrap().1.split_once("```").unwrap().0;
    assert!(text.contains("secret/"));
    text.replace("\"secret/", &format!("\"{}/", mount.name))
}

async fn store_with(mount: &Mount, file: &str, version: Option<KvVersion>) -> VaultStore {
    let token = mount.token(&policy(file, mount)).await;
    VaultStore::connect(&mount.config_for(&token, version)).await.unwrap()
}

#[tokio::test]
async fn the_documented_policies_allow_what_they_say_and_no_more() {
    let Some(mount) = Mount::kv("the_documented_policies", KvVersion::V2).await else {
        return;
    };
    let admin = mount.store(None).await;
    admin
        .put(&name("other/a"), PutRequest::new("kfcanary-others12"))
        .await
        .unwrap();
    let (reader, writer) = (
        store_with(&mount, "read-only.hcl", None).await,
        store_with(&mount, "read-write.hcl", None).await,
    );
    let below = ListOptions {
        prefix: "app/".to_owned(),
        ..ListOptions::default()
    };
    let a = name("app/a");
    let tagged = PutRequest {
        tags: Change::Set(BTreeMap::from([("owner".to_owned(), "web".to_owned())])),
        expires_at: Change::Set(SystemTime::now() + Duration::from_secs(3600)),
        ..create("kfcanary-policy12")
    };
    writer.put(&a, tagged).await.unwrap();
    writer.put(&a, PutRequest::new("kfcanary-policy34")).await.unwrap();
    let described = PutRequest {
        description: Change::Set("new".to_owned()),
        ..PutRequest::default()
    };
    writer.put(&a, described).await.unwrap();
    writer.delete(&a, &DeleteOptions::default()).await.unwrap();
    writer.restore(&a).await.unwrap();
    writer.put(&name("app/gone"), create("kfcanary-policy56")).await.unwrap();
    let for_good = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    writer.delete(&name("app/gone"), &for_good).await.unwrap();

    for store in [&reader, &writer] {
        assert!(read(store, "app/a").await == "kfcanary-policy34");
        let previous = store.get(&a, &GetOptions::version(VersionSelector::Previous)).await.unwrap();
        assert_eq!(previous.metadata.tags["owner"], "web");
        assert_eq!(all(store, &below).await, ["app/a"]);
        assert_eq!(store.versions(&a, &Default::default()).await.unwrap().items.len(), 2);
        assert_eq!(kind(store, "app/missing").await, ErrorKind::NotFound);
        let denied = [
            store.get(&name("other/a"), &GetOptions::default()).await.err(),
            store.put(&name("other/a"), PutRequest::new("x")).await.err(),
            store.delete(&name("other/a"), &DeleteOptions::default()).await.err(),
            store.list(&ListOptions::default()).await.err(),
        ];
        for (index, error) in denied.into_iter().enumerate() {
            assert_eq!(error.unwrap().kind(), ErrorKind::PermissionDenied, "call {index}");
        }
    }
    let denied = [
        reader.put(&a, PutRequest::new("x")).await.err(),
        reader.put(&name("app/new"), create("x")).await.err(),
        reader.delete(&a, &DeleteOptions::default()).await.err(),
        reader.delete(&a, &for_good).await.err(),
    ];
    for (index, error) in denied.into_iter().enumerate() {
        assert_eq!(error.unwrap().kind(), ErrorKind::PermissionDenied, "call {index}");
    }
    assert!(read(&reader, "app/a").await == "kfcanary-policy34");
    assert!(read(&admin, "other/a").await == "kfcanary-others12");
}

#[tokio::test]
async fn health_says_which_server_it_is_and_needs_a_token_that_is_valid() {
    let Some(mount) = Mount::kv("health_says_which_server", KvVersion::V2).await else {
        return;
    };
    let health = mount.store(None).await.health().await.unwrap();
    assert!(
        health
            .details
            .iter()
            .any(|(key, value)| *key == "version" && !value.is_empty()),
        "{health:?}"
    );
    assert_eq!(health.warnings, Vec::<String>::new());
    let store = VaultStore::connect(&mount.config_for("s.kfcanarynotoken123", None))
        .await
        .unwrap();
    let error = Arc::new(store).health().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(!format!("{error:?}").contains("kfcanary"));
}
