//! What is particular to KV, on a real server.

mod mounts;
mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Deleted, ErrorKind, Field, GetOptions, GetRequest, ListOptions, PutMode, PutRequest,
    SecretName, SecretStore, Version, VersionSelector,
};
use keyfob_vault::{AuthConfig, KvVersion, VaultStore};
use serde_json::{Value, json};

use mounts::{Mount, create, name};
use support::{Proxy, StandIn, config, response};

const POLICIES: &str = include_str!("../../../docs/src/stores/vault.md");

async fn read(store: &VaultStore, secret: &str) -> String {
    let secret = store.get(&name(secret), &GetOptions::default()).await.unwrap();
    secret.value.expose_str().unwrap().to_owned()
}

async fn kind(store: &VaultStore, secret: &str) -> ErrorKind {
    store.get(&name(secret), &GetOptions::default()).await.unwrap_err().kind()
}

async fn all(store: &VaultStore, options: &ListOptions) -> Vec<String> {
    let (mut options, mut names) = (options.clone(), Vec::new());
    loop {
        let page = store.list(&options).await.unwrap();
        assert!(page.items.len() <= options.page.limit.unwrap_or(usize::MAX));
        names.extend(page.items.into_iter().map(|item| item.name.as_str().to_owned()));
        match page.next {
            Some(next) => options.page.token = Some(next),
            None => return names,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_read_of_a_hundred_is_a_hundred_requests_and_the_look_up_beside_them() {
    for version in [KvVersion::V2, KvVersion::V1] {
        let Some(mount) = Mount::kv("a_cold_read_of_a_hundred", version).await else {
            return;
        };
        let writer = mount.store(Some(version)).await;
        let names: Vec<SecretName> = (0..100).map(|index| name(&format!("kf/{index}"))).collect();
        let put = |name| {
            let writer = writer.clone();
            async move {
                writer
                    .put(name, PutRequest::new(format!("kfcanary-many1234 {name}")))
                    .await
                    .unwrap()
            }
        };
        join_all(names.iter().map(put)).await;
        let requests: Vec<GetRequest> = names.iter().cloned().map(GetRequest::new).collect();
        for (given, data, direct, look_ups) in match version {
            KvVersion::V2 => [(Some(version), 100, 0, 0), (None, 100, 0, 1)],
            // On trial as KV 2, then as what it is.
            KvVersion::V1 => [(Some(version), 0, 100, 0), (None, 100, 100, 1)],
        } {
            let proxy = Proxy::to(&mount.admin.url);
            let mut config = mount.config(given);
            config.address = proxy.url.parse().unwrap();
            let store = VaultStore::connect(&config).await.unwrap();
            for (answer, name) in store.get_many(&requests).await.into_iter().zip(&names) {
                assert!(answer.unwrap().value.expose_str().unwrap() == format!("kfcanary-many1234 {name}"));
            }
            let count = |endpoint: &str| -> usize {
                (0..100)
                    .map(|index| proxy.count(&mount.path(&format!("{endpoint}kf/{index}"))))
                    .sum()
            };
            assert_eq!((count("data/"), count("")), (data, direct), "KV {version}, given: {given:?}");
            assert_eq!(proxy.count(&format!("sys/internal/ui/mounts/{}", mount.name)), look_ups);
            // What was found out is kept.
            store.get(&names[0], &GetOptions::default()).await.unwrap();
            assert_eq!(proxy.count(&format!("sys/internal/ui/mounts/{}", mount.name)), look_ups);
        }
    }
}

#[tokio::test]
async fn a_secret_of_kv_1_at_data_is_not_handed_out_for_another_name() {
    let Some(mount) = Mount::kv("a_secret_of_kv_1_at_data", KvVersion::V1).await else {
        return;
    };
    let disguised = json!({
        "data": {"value": "kfcanary-disguised1"},
        "metadata": {"version": 1, "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "destroyed": false},
    });
    mount.admin.call("POST", &mount.path("data/x"), disguised).await;
    let store = mount.store(None).await;
    assert_eq!(kind(&store, "x").await, ErrorKind::NotFound);
}

#[tokio::test]
async fn nothing_is_handed_out_as_long_as_the_version_is_not_known() {
    let server = StandIn::answering(|request, stream| {
        let (status, body) = match request {
            _ if request.contains("/v1/sys/internal/ui/mounts/") => ("403 Forbidden", r#"{"errors":["denied"]}"#),
            _ if request.contains("/v1/auth/token/lookup-self") => ("200 OK", r#"{"data":{"ttl":0,"renewable":false}}"#),
            _ => (
                "200 OK",
                r#"{"data":{"data":{"value":"kfcanary-unknown12"},"metadata":{"version":1}}}"#,
            ),
        };
        let answer = response(status, "Content-Type: application/json\r\n", body);
        drop(stream.write_all(answer.as_bytes()));
    });
    let mut config = config(&server.url, AuthConfig::token("token"));
    let store = VaultStore::connect(&config).await.unwrap();
    let error = store.get(&name("x"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(
        error.hint().is_some_and(|hint| hint.contains("VAULT_KV_VERSION")),
        "{error:?}"
    );
    config.kv_version = Some(KvVersion::V2);
    let store = VaultStore::connect(&config).await.unwrap();
    assert!(read(&store, "x").await == "kfcanary-unknown12");
}

#[tokio::test]
async fn what_kv_1_lacks_is_unsupported_also_when_the_version_was_found_out() {
    let Some(mount) = Mount::kv("what_kv_1_lacks", KvVersion::V1).await else {
        return;
    };
    let store = mount.store(None).await;
    store.put(&name("a"), PutRequest::new("kfcanary-kvone1234")).await.unwrap();
    assert!(read(&store, "a").await == "kfcanary-kvone1234");
    assert_eq!(all(&store, &ListOptions::default()).await, ["a"]);
    let recoverable = DeleteOptions {
        mode: DeleteMode::Recoverable { window: None },
    };
    let only_deleted = ListOptions {
        deleted: Deleted::Only,
        ..ListOptions::default()
    };
    let tagged = PutRequest {
        tags: Change::Set(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        ..PutRequest::new("x")
    };
    let unsupported = [
        store.put(&name("a"), create("x")).await.err(),
        store.put(&name("a"), tagged).await.err(),
        store
            .get(&name("a"), &GetOptions::version(VersionSelector::Previous))
            .await
            .err(),
        store.versions(&name("a"), &Default::default()).await.err(),
        store.delete(&name("a"), &recoverable).await.err(),
        store.restore(&name("a")).await.err(),
        store.list(&only_deleted).await.err(),
    ];
    for (index, error) in unsupported.into_iter().enumerate() {
        assert_eq!(error.unwrap().kind(), ErrorKind::Unsupported, "call {index}");
    }
    assert!(read(&store, "a").await == "kfcanary-kvone1234");
    store.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(kind(&store, "a").await, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_mount_that_is_none_or_of_another_engine_is_said() {
    let settings = json!({"type": "transit"});
    let Some(mount) = Mount::of("a_mount_that_is_none", &settings).await else {
        return;
    };
    let store = mount.store(None).await;
    let error = store.get(&name("x"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    let mut config = mount.config(None);
    config.mount = "kf-no-such-mount".to_owned();
    let store = VaultStore::connect(&config).await.unwrap();
    let error = store.get(&name("x"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(format!("{error:?}").contains("VAULT_PATH"), "{error:?}");
}

#[tokio::test]
async fn a_map_of_others_is_its_document_and_has_fields() {
    let Some(mount) = Mount::kv("a_map_of_others", KvVersion::V2).await else {
        return;
    };
    let map = json!({"password": "kfcanary-foreign12", "user": "jo", "port": 5432});
    mount.admin.call("POST", &mount.path("data/db"), json!({ "data": map })).await;
    mount
        .admin
        .call("POST", &mount.path("data/number"), json!({"data": {"value": 1}}))
        .await;
    let store = mount.store(None).await;
    let secret = store.get(&name("db"), &GetOptions::default()).await.unwrap();
    let field = |field: &str| Field::parse(field).unwrap().pick(&secret.value).unwrap();
    assert!(field("user").expose_str().unwrap() == "jo");
    assert!(field("password").expose_str().unwrap() == "kfcanary-foreign12");
    assert!(field("port").expose_str().unwrap() == "5432");
    assert!(read(&store, "number").await == r#"{"value":1}"#);
    let written = PutRequest::new(secret.value.clone());
    store.put(&name("copy"), written).await.unwrap();
    let kept = mount.admin.call("GET", &mount.path("data/copy"), Value::Null).await;
    let kept = kept["data"]["data"].as_object().unwrap();
    assert!(kept.len() == 1 && kept["value"].as_str().map(str::as_bytes) == Some(secret.value.expose_secret()));
}

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
        kept.metadata.version.unwrap()
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
    let secret = name("a");
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
        let kept = stores[0]
            .get(&secret, &GetOptions::version(VersionSelector::Exact(version)))
            .await
            .unwrap();
        assert!(kept.value.expose_str().unwrap() == format!("kfcanary-upsert12 {index}"));
        if index.is_multiple_of(2) {
            assert_eq!(kept.metadata.description, Some(index.to_string()));
        }
    }
    let metadata = mount.admin.call("GET", &mount.path("metadata/a"), Value::Null).await;
    assert_eq!(metadata["data"]["current_version"], 6);
    let records = metadata["data"]["custom_metadata"].as_object().unwrap();
    assert_eq!(records.len(), 3, "records of writes that lost are left over: {records:?}");
}

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
    assert_eq!((secret.metadata.description, secret.metadata.expires_at), (None, None));
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
async fn a_name_with_a_slash_in_front_is_a_path_that_can_only_be_read() {
    let Some(mount) = Mount::kv("a_name_with_a_slash_in_front", KvVersion::V2).await else {
        return;
    };
    let store = mount.store(None).await;
    store.put(&name("a"), PutRequest::new("kfcanary-logical12")).await.unwrap();
    let path = name(&format!("/{}/data/a", mount.name));
    let secret = store.get(&path, &GetOptions::default()).await.unwrap();
    let inner = Field::parse("/data/value").unwrap().pick(&secret.value).unwrap();
    assert!(inner.expose_str().unwrap() == "kfcanary-logical12");
    assert_eq!(
        (secret.metadata.name.clone(), secret.metadata.expires_at),
        (path.clone(), None)
    );
    let refused = [
        store.put(&path, PutRequest::new("x")).await.err(),
        store.delete(&path, &DeleteOptions::default()).await.err(),
        store.restore(&path).await.err(),
        store.versions(&path, &Default::default()).await.err(),
        store.get(&path, &GetOptions::version(VersionSelector::Previous)).await.err(),
    ];
    for error in refused {
        assert_eq!(error.unwrap().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(kind(&store, &format!("/{}/data/none", mount.name)).await, ErrorKind::NotFound);
    assert!(read(&store, "a").await == "kfcanary-logical12");
}

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
