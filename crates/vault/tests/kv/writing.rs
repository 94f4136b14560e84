//! Writes: conditions, races, what is broken off or damaged.

use std::time::SystemTime;

use futures_util::future::join_all;
use keyfob_core::{
    Change, DeleteMode, DeleteOptions, ErrorKind, GetOptions, PutMode, PutRequest, SecretStore, Version, VersionSelector,
};
use keyfob_vault::{KvVersion, VaultStore};
use serde_json::{Value, json};

use crate::mounts::{Mount, create, name};
use crate::{kind, read};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_parallel_writes_under_one_condition_exactly_one_wins_across_connections() {
    let Some(mount) = Mount::kv("of_parallel_writes", KvVersion::V2).await else {
        return;
    };
    let mut stores = Vec::new();
    for _ in 0..8 {
        stores.push(mount.store(Some(KvVersion::V2)).await);
    }
    let race = async |secret: &str, mode: PutMode, described: bool| {
        let secret = name(secret);
        let writes = stores.iter().enumerate().map(|(index, store)| {
            let mut request = PutRequest::new(format!("kfcanary-race1234 {index}")).mode(mode.clone());
            if described {
                request.description = Change::Set(index.to_string());
            }
            store.put(&secret, request)
        });
        let written = join_all(writes).await;
        let winners: Vec<usize> = (0..8).filter(|index| written[*index].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{written:?}");
        let lost = if mode == PutMode::Create {
            ErrorKind::AlreadyExists
        } else {
            ErrorKind::Conflict
        };
        assert!(
            written
                .iter()
                .flat_map(|written| written.as_ref().err())
                .all(|error| error.kind() == lost),
            "{written:?}"
        );
        let kept = stores[0].get(&secret, &GetOptions::default()).await.unwrap();
        assert!(kept.value.expose_str().unwrap() == format!("kfcanary-race1234 {}", winners[0]));
        if described {
            assert_eq!(kept.metadata.description, Some(winners[0].to_string()));
        }
        kept.metadata.version.clone().unwrap()
    };
    for round in 0..4 {
        let secret = format!("round-{round}");
        for described in [false, true] {
            let secret = format!("{secret}-{described}");
            let version = race(&secret, PutMode::Create, described).await;
            race(&secret, PutMode::Match(version), described).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_writes_of_metadata_across_connections_end_with_the_winners_own() {
    let Some(mount) = Mount::kv("parallel_writes_of_metadata", KvVersion::V2).await else {
        return;
    };
    let mut stores = Vec::new();
    for _ in 0..6 {
        stores.push(mount.store(Some(KvVersion::V2)).await);
    }
    for round in 0..5 {
        let secret = name(&format!("round-{round}"));
        let writes = stores.iter().enumerate().map(|(index, store)| {
            let mut request = PutRequest::new(format!("kfcanary-upsert12 {index}"));
            if index.is_multiple_of(2) {
                request.description = Change::Set(index.to_string());
            }
            store.put(&secret, request)
        });
        let written = join_all(writes).await;
        for (index, metadata) in written.into_iter().enumerate() {
            let version = metadata.unwrap().version.unwrap();
            let options = GetOptions::version(VersionSelector::Exact(version));
            let kept = stores[0].get(&secret, &options).await.unwrap();
            assert!(kept.value.expose_str().unwrap() == format!("kfcanary-upsert12 {index}"));
            if index.is_multiple_of(2) {
                assert_eq!(kept.metadata.description, Some(index.to_string()));
            }
        }
        let path = mount.path(&format!("metadata/{secret}"));
        let metadata = mount.admin.call("GET", &path, Value::Null).await;
        assert_eq!(metadata["data"]["current_version"], 6);
        let records = metadata["data"]["custom_metadata"].as_object().unwrap();
        assert_eq!(records.len(), 3, "records of writes that lost are left over: {records:?}");
    }
}

#[tokio::test]
async fn a_new_secret_after_a_deleted_one_begins_without_its_metadata() {
    let Some(mount) = Mount::kv("a_new_secret_after_a_deleted_one", KvVersion::V2).await else {
        return;
    };
    let store = mount.store(None).await;
    let described = |value: &str| PutRequest {
        description: Change::Set("old".to_owned()),
        expires_at: Change::Set(SystemTime::UNIX_EPOCH),
        ..PutRequest::new(value)
    };
    store.put(&name("a"), described("kfcanary-old12345")).await.unwrap();
    store.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
    let written = store.put(&name("a"), create("kfcanary-new12345")).await.unwrap();
    assert_eq!(written.version, Some(Version::from(2)));
    let secret = store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert_eq!(
        (secret.metadata.description.as_deref(), secret.metadata.expires_at),
        (None, None)
    );
    let previous = store.get(&name("a"), &GetOptions::version(VersionSelector::Previous)).await;
    assert_eq!(previous.unwrap_err().kind(), ErrorKind::NotFound);
    // But one that came back goes on with it.
    store.put(&name("b"), described("kfcanary-old12345")).await.unwrap();
    store.delete(&name("b"), &DeleteOptions::default()).await.unwrap();
    store.restore(&name("b")).await.unwrap();
    store.put(&name("b"), PutRequest::new("kfcanary-new12345")).await.unwrap();
    assert_eq!(kind(&store, "b").await, ErrorKind::Expired);
}

#[tokio::test]
async fn a_record_of_a_write_that_was_broken_off_does_not_fall_to_the_next() {
    let Some(mount) = Mount::kv("a_record_of_a_write", KvVersion::V2).await else {
        return;
    };
    let store = mount.store(None).await;
    store.put(&name("a"), PutRequest::new("kfcanary-whole123")).await.unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let record = json!({"description": "broken off", "expires": "2020-01-01T00:00:00Z", "made": now}).to_string();
    let patch = json!({"custom_metadata": {"keyfob-2-0badf00d-1-1": record, "owner": "web"}});
    mount.patch("metadata/a", patch).await;
    assert!(read(&store, "a").await == "kfcanary-whole123");
    let written = store.put(&name("a"), PutRequest::new("kfcanary-next1234")).await.unwrap();
    assert_eq!((written.description, written.expires_at), (None, None));
    assert!(read(&store, "a").await == "kfcanary-next1234");
    let metadata = mount.admin.call("GET", &mount.path("metadata/a"), Value::Null).await;
    assert_eq!(metadata["data"]["custom_metadata"], json!({"owner": "web"}));
}

#[tokio::test]
async fn damaged_records_are_corrupt_and_can_be_deleted_for_good() {
    let Some(mount) = Mount::kv("damaged_records", KvVersion::V2).await else {
        return;
    };
    let store = mount.store(None).await;
    store.put(&name("a"), PutRequest::new("kfcanary-damaged1")).await.unwrap();
    mount
        .patch("metadata/a", json!({"custom_metadata": {"keyfob-1-x-1-2": "{}"}}))
        .await;
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(!format!("{error:?}").contains("kfcanary-"));
    let for_good = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    store.delete(&name("a"), &for_good).await.unwrap();
    store.put(&name("a"), create("kfcanary-mended12")).await.unwrap();
    assert!(read(&store, "a").await == "kfcanary-mended12");
}

#[tokio::test]
async fn where_the_server_requires_a_condition_an_upsert_names_one() {
    let Some(mount) = Mount::kv("where_the_server_requires", KvVersion::V2).await else {
        return;
    };
    mount
        .admin
        .call("POST", &mount.path("config"), json!({"cas_required": true}))
        .await;
    let store = mount.store(None).await;
    for value in ["kfcanary-casone12", "kfcanary-castwo12"] {
        store.put(&name("a"), PutRequest::new(value)).await.unwrap();
        assert!(read(&store, "a").await == value);
    }
}

#[tokio::test]
async fn a_write_that_reaches_no_mount_is_an_error() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let Some(mount) = Mount::kv("a_write_that_reaches_no_mount", version).await else {
            return;
        };
        let mut config = mount.config(Some(version));
        config.mount = format!("{}-none", mount.name);
        let store = VaultStore::connect(&config).await.unwrap();
        for request in [
            PutRequest::new("kfcanary-nowhere01"),
            PutRequest::new("kfcanary-nowhere02").mode(PutMode::Create),
        ] {
            if version == KvVersion::V1 && request.mode == PutMode::Create {
                continue;
            }
            let error = store.put(&name("a"), request).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
            assert!(error.hint().unwrap().contains("VAULT_PATH"));
        }
    }
}
