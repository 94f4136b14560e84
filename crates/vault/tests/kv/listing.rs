//! Listings, and what others deleted.

use std::time::Duration;

use futures_util::future::join_all;
use keyfob_core::{
    DeleteOptions, Deleted, ErrorKind, GetOptions, ListOptions, PutRequest, SecretName, SecretStore, VersionSelector,
};
use keyfob_vault::{KvVersion, VaultStore};
use serde_json::{Value, json};

use crate::mounts::{Mount, name};
use crate::{all, kind, read};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_names_in_nested_folders_come_in_pages() {
    let Some(mount) = Mount::kv("five_hundred_names", KvVersion::V2).await else {
        return;
    };
    let store = mount.store(Some(KvVersion::V2)).await;
    let mut names: Vec<String> = (0..500)
        .map(|index| match index % 5 {
            0 => format!("n{index}"),
            1 => format!("a/{}/n{index}", index % 7),
            2 => format!("a-b/{}/{}/n{index}", index % 11, index % 3),
            3 => format!("a.c/n{index}"),
            _ => format!("a/{}", index % 500),
        })
        .collect();
    let put = |name: SecretName| {
        let store = store.clone();
        async move { store.put(&name, PutRequest::new("kfcanary-walk1234")).await.unwrap() }
    };
    for names in names.chunks(50) {
        join_all(names.iter().map(|text| put(name(text)))).await;
    }
    names.sort();
    for limit in [None, Some(7), Some(100), Some(499), Some(500)] {
        let mut options = ListOptions::default();
        options.page.limit = limit;
        assert!(all(&store, &options).await == names, "in pages of {limit:?}");
        options.prefix = "a/1".to_owned();
        let expected: Vec<&String> = names.iter().filter(|name| name.starts_with("a/1")).collect();
        assert!(
            all(&store, &options).await.iter().eq(expected),
            "below a prefix, in pages of {limit:?}"
        );
    }
}

#[tokio::test]
async fn what_others_deleted_is_deleted_and_comes_back() {
    let Some(mount) = Mount::kv("what_others_deleted", KvVersion::V2).await else {
        return;
    };
    let store = mount.store(None).await;
    for value in ["kfcanary-first123", "kfcanary-second12", "kfcanary-third123"] {
        store.put(&name("a"), PutRequest::new(value)).await.unwrap();
    }
    store.put(&name("b"), PutRequest::new("kfcanary-other123")).await.unwrap();
    // The second version long ago, the newest now.
    mount
        .admin
        .call("POST", &mount.path("delete/a"), json!({"versions": [2]}))
        .await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    mount.admin.call("DELETE", &mount.path("data/a"), Value::Null).await;
    assert_eq!(kind(&store, "a").await, ErrorKind::NotFound);
    let only_deleted = ListOptions {
        deleted: Deleted::Only,
        ..ListOptions::default()
    };
    assert_eq!(all(&store, &ListOptions::default()).await, ["b"]);
    assert_eq!(all(&store, &only_deleted).await, ["a"]);
    store.restore(&name("a")).await.unwrap();
    assert!(read(&store, "a").await == "kfcanary-third123");
    let numbers = |page: keyfob_core::Page<keyfob_core::VersionInfo>| -> Vec<String> {
        page.items.iter().map(|info| info.version.as_str().to_owned()).collect()
    };
    assert_eq!(
        numbers(store.versions(&name("a"), &Default::default()).await.unwrap()),
        ["3", "1"]
    );
    let previous = store
        .get(&name("a"), &GetOptions::version(VersionSelector::Previous))
        .await
        .unwrap();
    assert!(previous.value.expose_str().unwrap() == "kfcanary-first123");
    // The same when keyfob deletes all: what was deleted before stays so.
    store.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
    store.restore(&name("a")).await.unwrap();
    assert_eq!(
        numbers(store.versions(&name("a"), &Default::default()).await.unwrap()),
        ["3", "1"]
    );
    mount
        .admin
        .call("POST", &mount.path("destroy/a"), json!({"versions": [3]}))
        .await;
    assert_eq!(kind(&store, "a").await, ErrorKind::NotFound);
    assert_eq!(store.restore(&name("a")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn names_that_only_others_can_write_are_not_listed() {
    for version in [KvVersion::V2, KvVersion::V1] {
        let Some(mount) = Mount::kv("names_that_only_others", version).await else {
            return;
        };
        let endpoint = if version == KvVersion::V2 { "data/" } else { "" };
        for path in [" front", "end%20", "sp%20/x", "ok"] {
            mount
                .admin
                .call(
                    "POST",
                    &mount.path(&format!("{endpoint}{}", path.replace(' ', "%20"))),
                    json!({"data": {"value": "x"}}),
                )
                .await;
        }
        let store = mount.store(Some(version)).await;
        for limit in [None, Some(1)] {
            let mut options = ListOptions::default();
            options.page.limit = limit;
            assert_eq!(all(&store, &options).await, ["ok", "sp /x"], "KV {version}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_listed_by_its_name_and_hides_nothing_else() {
    let Some(mount) = Mount::kv("what_cannot_be_looked_at", KvVersion::V2).await else {
        return;
    };
    let store = mount.store(Some(KvVersion::V2)).await;
    for secret in ["a", "closed", "damaged", "z"] {
        store.put(&name(secret), PutRequest::new("kfcanary-listed01")).await.unwrap();
    }
    mount
        .patch("metadata/damaged", json!({"custom_metadata": {"keyfob-junk": "x"}}))
        .await;
    let policy = format!(
        "path \"{0}/metadata/*\" {{ capabilities = [\"read\", \"list\"] }}\npath \"{0}/metadata/closed\" {{ capabilities = [\"deny\"] }}",
        mount.name
    );
    let token = mount.token(&policy).await;
    let reader = VaultStore::connect(&mount.config_for(&token, Some(KvVersion::V2)))
        .await
        .unwrap();
    assert_eq!(all(&reader, &ListOptions::default()).await, ["a", "closed", "damaged", "z"]);
}
