//! What only a service with a memory can show: on LocalStack (once moto), with a second client that writes as other tools do.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_secretsmanager::primitives::Blob;
use futures_util::future::join_all;
use keyfob_aws::{AwsStore, Rotation};
use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Deleted, ErrorKind, GetOptions, GetRequest, ListOptions, PageRequest, PutMode, PutRequest,
    SecretName, SecretStore, Version, VersionSelector,
};

use crate::support::{assert_harmless, connect, name};

/// A store in a namespace of its own, and another tool's client. `clean` takes away what a test wrote.
struct Live {
    store: AwsStore,
    other: Client,
    prefix: String,
}

async fn live(test: &str) -> Option<Live> {
    live_on("KEYFOB_TEST_LOCALSTACK_URL", test).await
}

async fn live_on(variable: &str, test: &str) -> Option<Live> {
    let endpoint = keyfob_testkit::server(test, variable)?;
    let mut random = [0; 5];
    getrandom::fill(&mut random).unwrap();
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let prefix = format!("kfl-{random}/");
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(&endpoint)
        .build();
    Some(Live {
        store: connect(&format!("aws://us-east-1?endpoint={endpoint}&prefix={prefix}")).await,
        other: Client::from_conf(config),
        prefix,
    })
}

impl Live {
    async fn put(&self, text: &str, value: &str) -> Version {
        self.store
            .put(&name(text), PutRequest::new(value))
            .await
            .unwrap()
            .version
            .unwrap()
    }

    async fn value(&self, name: &SecretName) -> Vec<u8> {
        self.store
            .get(name, &GetOptions::default())
            .await
            .unwrap()
            .value
            .expose_secret()
            .to_vec()
    }

    /// All labels of all versions.
    async fn labels(&self, text: &str) -> Vec<String> {
        let id = format!("{}{text}", self.prefix);
        let described = self.other.describe_secret().secret_id(id).send().await.unwrap();
        let stages = described.version_ids_to_stages().cloned().unwrap_or_default();
        stages.into_values().flatten().collect()
    }

    async fn clean(&self, names: &[&str]) {
        let options = DeleteOptions {
            mode: DeleteMode::Permanent,
        };
        for text in names {
            let _ = self.store.delete(&name(text), &options).await;
        }
    }
}

#[tokio::test]
async fn text_is_kept_as_text_and_bytes_as_bytes() {
    let Some(live) = live("text_is_kept_as_text_and_bytes_as_bytes").await else {
        return;
    };
    live.put("text", "kfcanary-text0001 ü").await;
    let bytes = [b"kfcanary-bytes001".as_slice(), &[0, 255, 254]].concat();
    live.store.put(&name("bytes"), PutRequest::new(bytes.clone())).await.unwrap();
    let read = |text: &str| {
        live.other
            .get_secret_value()
            .secret_id(format!("{}{text}", live.prefix))
            .send()
    };
    assert!(read("text").await.unwrap().secret_string() == Some("kfcanary-text0001 ü"));
    assert!(read("bytes").await.unwrap().secret_binary() == Some(&Blob::new(bytes.clone())));
    let both = live
        .store
        .get_many(&[GetRequest::new(name("bytes")), GetRequest::new(name("text"))])
        .await;
    assert!(both[0].as_ref().unwrap().value.expose_secret() == bytes);
    assert!(both[1].as_ref().unwrap().value.expose_secret() == "kfcanary-text0001 ü".as_bytes());
    live.clean(&["text", "bytes"]).await;
}

#[tokio::test]
async fn names_of_aws_and_arns_are_read_and_not_written() {
    // LocalStack makes no secret with a `!` in its name, which AWS does for its own.
    let test = "names_of_aws_and_arns_are_read_and_not_written";
    let Some(live) = live_on("KEYFOB_TEST_MOTO_URL", test).await else {
        return;
    };
    let given = format!("rds!{}", live.prefix.trim_end_matches('/'));
    let create = live.other.create_secret().name(&given).secret_string("kfcanary-given001");
    let arn = create.send().await.unwrap().arn.unwrap();
    let (given, arn) = (name(&given), name(&arn));
    live.put("own", "kfcanary-own00001").await;
    assert!(live.value(&given).await == b"kfcanary-given001");
    assert!(live.value(&arn).await == b"kfcanary-given001");
    let batch = [
        GetRequest::new(name("own")),
        GetRequest::new(arn.clone()),
        GetRequest::new(given.clone()),
    ];
    let answers = live.store.get_many(&batch).await;
    for (answer, request) in answers.iter().zip(&batch) {
        let secret = answer.as_ref().unwrap();
        assert_eq!(secret.metadata.name, request.name);
        assert!(secret.value.expose_secret().starts_with(if request.name == name("own") {
            b"kfcanary-own"
        } else {
            b"kfcanary-giv"
        }));
    }
    assert_eq!(
        live.store.versions(&arn, &PageRequest::default()).await.unwrap().items.len(),
        1
    );
    for refused in [&given, &arn] {
        let written = live
            .store
            .put(refused, PutRequest::new("kfcanary-refused1"))
            .await
            .unwrap_err();
        assert_eq!(written.kind(), ErrorKind::Unsupported);
        let deleted = live.store.delete(refused, &DeleteOptions::default()).await.unwrap_err();
        assert_eq!(deleted.kind(), ErrorKind::Unsupported);
    }
    live.other
        .delete_secret()
        .secret_id(arn.as_str())
        .force_delete_without_recovery(true)
        .send()
        .await
        .unwrap();
    live.clean(&["own"]).await;
}

#[tokio::test]
async fn a_name_that_ends_like_an_arn_is_a_name() {
    let Some(live) = live("a_name_that_ends_like_an_arn_is_a_name").await else {
        return;
    };
    live.put("app", "kfcanary-app00001").await;
    live.put("app-config", "kfcanary-config01").await;
    assert!(live.value(&name("app")).await == b"kfcanary-app00001");
    assert!(live.value(&name("app-config")).await == b"kfcanary-config01");
    live.clean(&["app", "app-config"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_match_one_version_one_wins_and_no_label_is_left() {
    let Some(live) = live("of_many_that_match_one_version_one_wins_and_no_label_is_left").await else {
        return;
    };
    let endpoint = std::env::var("KEYFOB_TEST_LOCALSTACK_URL").unwrap();
    let url = format!("aws://us-east-1?endpoint={endpoint}&prefix={}", live.prefix);
    // Stores of their own: nothing in this process keeps them apart.
    let stores = join_all((0..16).map(|_| connect(&url))).await;
    let a = name("a");
    let expiry = Change::Set(SystemTime::now() + Duration::from_secs(86_400));
    for expires_at in [Change::Keep, Change::Keep, Change::Keep, expiry] {
        let version = live.put("a", "kfcanary-before01").await;
        let writes = stores.iter().enumerate().map(|(index, store)| {
            let request = PutRequest {
                expires_at: expires_at.clone(),
                ..PutRequest::new(format!("kfcanary-writer{index:02}"))
            };
            store.put(&a, request.mode(PutMode::Match(version.clone())))
        });
        let results = join_all(writes).await;
        let winners: Vec<usize> = results
            .iter()
            .enumerate()
            .filter(|(_, result)| result.is_ok())
            .map(|(index, _)| index)
            .collect();
        assert_eq!(winners.len(), 1, "so many won");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
            assert_harmless(error);
        }
        assert!(live.value(&a).await == format!("kfcanary-writer{:02}", winners[0]).as_bytes());
        let labels = live.labels("a").await;
        let (expiries, mut others): (Vec<_>, Vec<_>) = labels.into_iter().partition(|label| label.starts_with("keyfob-expires-"));
        others.sort();
        assert_eq!(others, ["AWSCURRENT", "AWSPREVIOUS"]);
        let kept = usize::from(!expires_at.is_keep());
        assert_eq!(expiries.len(), kept, "only the winner's expiry is left");
    }
    live.clean(&["a"]).await;
}

#[tokio::test]
async fn what_a_broken_off_write_left_without_a_value_is_completed() {
    let Some(live) = live("what_a_broken_off_write_left_without_a_value_is_completed").await else {
        return;
    };
    let secret_id = format!("{}a", live.prefix);
    live.other.create_secret().name(&secret_id).send().await.unwrap();
    let a = name("a");
    let error = live.store.get(&a, &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // So young, it could be a write that goes on.
    let create = PutRequest::new("kfcanary-completed1").mode(PutMode::Create);
    let error = live.store.put(&a, create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.hint().unwrap().contains("in a minute"));
    let expires_at = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    let upsert = PutRequest {
        expires_at: Change::Set(expires_at),
        ..PutRequest::new("kfcanary-completed2")
    };
    live.store.put(&a, upsert).await.unwrap();
    let secret = live.store.get(&a, &GetOptions::default()).await.unwrap();
    assert_eq!(secret.metadata.expires_at, Some(expires_at));
    assert!(live.value(&a).await == b"kfcanary-completed2");
    live.clean(&["a"]).await;
}

#[tokio::test]
async fn labels_never_add_up() {
    let Some(live) = live("labels_never_add_up").await else {
        return;
    };
    let a = name("a");
    let mut version = None;
    for index in 0..24 {
        let request = PutRequest {
            expires_at: Change::Set(SystemTime::now() + Duration::from_secs(86_400 + index)),
            ..PutRequest::new(format!("kfcanary-labels{index:02}"))
        };
        let mode = version.map_or(PutMode::Upsert, PutMode::Match);
        version = live.store.put(&a, request.mode(mode)).await.unwrap().version;
        let labels = live.labels("a").await;
        assert!(labels.len() <= 20, "{} labels after {index} writes", labels.len());
        assert!(
            !labels.iter().any(|label| label.starts_with("keyfob-pending")),
            "after {index} writes"
        );
    }
    live.clean(&["a"]).await;
}

#[tokio::test]
async fn what_killed_writes_left_goes_with_the_next_write() {
    let Some(live) = live("what_killed_writes_left_goes_with_the_next_write").await else {
        return;
    };
    let first = live.put("a", "kfcanary-killed0001").await;
    let (id, written) = (
        format!("{}a", live.prefix),
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH),
    );
    let label = |nonce: &str| format!("keyfob-pending-{}-{nonce}", written.clone().unwrap().as_millis());
    // Killed before its value was current, and killed after that.
    let waiting = live
        .other
        .put_secret_value()
        .secret_id(&id)
        .secret_string("kfcanary-killed0002");
    waiting.version_stages(label("before")).send().await.unwrap();
    let done = live
        .other
        .update_secret_version_stage()
        .secret_id(&id)
        .version_stage(label("after"));
    done.move_to_version_id(first.as_str()).send().await.unwrap();
    assert_eq!(live.labels("a").await.len(), 3);
    let next = PutRequest::new("kfcanary-killed0003").mode(PutMode::Match(first));
    let version = live.store.put(&name("a"), next).await.unwrap().version.unwrap();
    let mut labels = live.labels("a").await;
    labels.sort_unstable();
    assert_eq!(labels, ["AWSCURRENT", "AWSPREVIOUS"]);
    // Not only with a precondition.
    let done = live
        .other
        .update_secret_version_stage()
        .secret_id(&id)
        .version_stage(label("again"));
    done.move_to_version_id(version.as_str()).send().await.unwrap();
    live.put("a", "kfcanary-killed0004").await;
    assert_eq!(live.labels("a").await.len(), 2);
    live.clean(&["a"]).await;
}

#[tokio::test]
async fn an_expiry_that_changes_alone_counts_at_once_in_a_batch_too() {
    let Some(live) = live("an_expiry_that_changes_alone_counts_at_once_in_a_batch_too").await else {
        return;
    };
    live.put("a", "kfcanary-expiry01").await;
    live.put("b", "kfcanary-expiry02").await;
    let change = |expires_at| PutRequest {
        expires_at,
        ..PutRequest::default()
    };
    let both = [GetRequest::new(name("a")), GetRequest::new(name("b"))];
    for (expires_at, kind) in [
        (Change::Set(SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)), None),
        (
            Change::Set(SystemTime::UNIX_EPOCH + Duration::from_secs(1)),
            Some(ErrorKind::Expired),
        ),
        (Change::Clear, None),
    ] {
        live.store.put(&name("a"), change(expires_at)).await.unwrap();
        let answers = live.store.get_many(&both).await;
        assert_eq!(answers[0].as_ref().err().map(keyfob_core::Error::kind), kind);
        assert!(answers[1].is_ok());
    }
    assert_eq!(live.labels("a").await, ["AWSCURRENT"]);
    live.clean(&["a", "b"]).await;
}

#[tokio::test]
async fn a_secret_without_a_value_is_missing_and_hides_no_other() {
    let Some(live) = live("a_secret_without_a_value_is_missing_and_hides_no_other").await else {
        return;
    };
    live.other
        .create_secret()
        .name(format!("{}empty", live.prefix))
        .send()
        .await
        .unwrap();
    live.put("full", "kfcanary-full0001").await;
    let error = live.store.get(&name("empty"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains("no value"), "{error:?}");
    let answers = live
        .store
        .get_many(&[GetRequest::new(name("empty")), GetRequest::new(name("full"))])
        .await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(answers[1].is_ok());
    let create = PutRequest::new("kfcanary-create01").mode(PutMode::Create);
    assert_eq!(
        live.store.put(&name("empty"), create).await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    live.put("empty", "kfcanary-filled01").await;
    assert!(live.value(&name("empty")).await == b"kfcanary-filled01");
    live.clean(&["empty", "full"]).await;
}

#[tokio::test]
async fn own_labels_are_shown_and_can_be_read() {
    let Some(live) = live("own_labels_are_shown_and_can_be_read").await else {
        return;
    };
    let first = live.put("a", "kfcanary-first001").await;
    let id = format!("{}a", live.prefix);
    let put = live
        .other
        .put_secret_value()
        .secret_id(&id)
        .secret_string("kfcanary-staged01")
        .version_stages("blue");
    put.send().await.unwrap();
    assert!(live.value(&name("a")).await == b"kfcanary-first001");
    let blue = GetOptions::version(VersionSelector::Exact(Version::new("blue").unwrap()));
    assert!(live.store.get(&name("a"), &blue).await.unwrap().value.expose_secret() == b"kfcanary-staged01");
    let versions = live.store.versions(&name("a"), &PageRequest::default()).await.unwrap().items;
    assert!(versions.iter().any(|info| info.labels == ["blue"] && !info.current));
    assert!(versions.iter().any(|info| info.version == first && info.current));
    live.clean(&["a"]).await;
}

#[tokio::test]
async fn tags_of_aws_stay_and_are_not_shown() {
    let Some(live) = live("tags_of_aws_stay_and_are_not_shown").await else {
        return;
    };
    live.put("a", "kfcanary-tags0001").await;
    for (key, value) in [("aws:x", "1"), ("a\u{7}", "1"), ("", "1")] {
        let request = PutRequest {
            tags: Change::Set(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..PutRequest::new("kfcanary-tags0002")
        };
        let error = live.store.put(&name("a"), request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{key:?}");
    }
    let long = PutRequest {
        description: Change::Set("x".repeat(2049)),
        ..PutRequest::new("kfcanary-tags0002")
    };
    assert_eq!(
        live.store.put(&name("a"), long).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert!(
        live.value(&name("a")).await == b"kfcanary-tags0001",
        "a refused write wrote the value"
    );
    live.clean(&["a"]).await;
}

#[tokio::test]
async fn the_recovery_window_is_the_one_asked_for_else_the_configured_one() {
    let Some(live) = live("the_recovery_window_is_the_one_asked_for_else_the_configured_one").await else {
        return;
    };
    let day = Duration::from_secs(86_400);
    for (window, days) in [(None, 30), (Some(day * 7), 7), (Some(day * 12 + Duration::from_secs(1)), 13)] {
        live.put("a", "kfcanary-window01").await;
        let options = DeleteOptions {
            mode: DeleteMode::Recoverable { window },
        };
        live.store.delete(&name("a"), &options).await.unwrap();
        let listed = ListOptions {
            deleted: Deleted::Only,
            ..ListOptions::default()
        };
        let listed = live.store.list(&listed).await.unwrap().items;
        // LocalStack says when it will be gone.
        let gone = listed[0].deleted_at.unwrap().duration_since(SystemTime::now()).unwrap();
        assert_eq!((gone.as_secs_f64() / 86_400.0).round() as u64, days);
        live.clean(&["a"]).await;
    }
}

#[tokio::test]
async fn what_aws_adds_works() {
    let Some(live) = live("what_aws_adds_works").await else {
        return;
    };
    let a = name("a");
    live.put("a", "kfcanary-extras01").await;
    assert_eq!(live.store.resource_policy(&a).await.unwrap(), None);
    let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
    let id = format!("{}a", live.prefix);
    live.other
        .put_resource_policy()
        .secret_id(&id)
        .resource_policy(policy)
        .send()
        .await
        .unwrap();
    assert_eq!(live.store.resource_policy(&a).await.unwrap().as_deref(), Some(policy));
    let error = live.store.rotate(&a, &Rotation::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    let replicas = live.store.replicate(&a, &["eu-west-1".to_owned()]).await.unwrap();
    assert_eq!(
        (replicas.len(), replicas[0].region.as_str(), replicas[0].status.as_str()),
        (1, "eu-west-1", "InSync")
    );
    assert_eq!(
        live.store.replicate(&a, &[]).await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    for missing in [
        live.store.resource_policy(&name("missing")).await.err(),
        live.store.rotate(&name("missing"), &Rotation::default()).await.err(),
        live.store.replicate(&name("missing"), &["eu-west-1".to_owned()]).await.err(),
    ] {
        assert_eq!(missing.unwrap().kind(), ErrorKind::NotFound);
    }
    let remove = live
        .other
        .remove_regions_from_replication()
        .secret_id(&id)
        .remove_replica_regions("eu-west-1");
    remove.send().await.unwrap();
    live.clean(&["a"]).await;
}
