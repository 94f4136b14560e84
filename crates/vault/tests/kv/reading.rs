//! Reads: which version the mount has, how many requests, what a map reads as, paths.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Deleted, ErrorKind, Field, GetOptions, GetRequest, ListOptions, PutRequest, SecretName,
    SecretStore, VersionSelector,
};
use keyfob_vault::{AuthConfig, KvVersion, VaultStore};
use serde_json::{Value, json};

use crate::mounts::{Mount, create, name};
use crate::support::{Proxy, StandIn, config, response};
use crate::{all, kind, read};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reads_and_the_look_up_are_on_their_way_at_the_same_time() {
    let waiting = (Mutex::new(0_usize), Condvar::new());
    let server = StandIn::answering(move |request, stream| {
        let (count, all_here) = &waiting;
        let mut here = count.lock().unwrap();
        *here += 1;
        all_here.notify_all();
        let (here, _) = all_here
            .wait_timeout_while(here, Duration::from_secs(8), |here| *here < 101)
            .unwrap();
        let (status, body) = match *here {
            101 if request.contains("/v1/sys/internal/") => ("200 OK", r#"{"data":{"type":"kv","options":{"version":"2"}}}"#),
            101 => (
                "200 OK",
                r#"{"data":{"data":{"value":"kfcanary-atonce123"},"metadata":{"version":1}}}"#,
            ),
            _ => ("500 Internal Server Error", "{}"),
        };
        let answer = response(status, "Content-Type: application/json\r\n", body);
        drop(stream.write_all(answer.as_bytes()));
    });
    let store = VaultStore::connect(&config(&server.url, AuthConfig::token("token")))
        .await
        .unwrap();
    let requests: Vec<GetRequest> = (0..100).map(|index| GetRequest::new(name(&format!("n{index}")))).collect();
    for answer in store.get_many(&requests).await {
        assert!(answer.unwrap().value.expose_str().unwrap() == "kfcanary-atonce123");
    }
    assert_eq!(server.requests().len(), 101);
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

#[tokio::test]
async fn a_namespace_that_is_not_there_is_told_when_the_mount_is_looked_up() {
    let Some(mount) = Mount::kv("a_namespace_that_is_not_there", KvVersion::V2).await else {
        return;
    };
    let mut config = mount.config(None);
    config.namespace = Some("kf-no-such-namespace".to_owned());
    let store = VaultStore::connect(&config).await.unwrap();
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error:?}");
    assert!(error.hint().unwrap().contains("VAULT_NAMESPACE"));
}
