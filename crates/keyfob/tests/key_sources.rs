//! The embedded store with its key in a service, against real servers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(all(feature = "sqlite", feature = "aws", feature = "vault"))]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keyfob::{Environment, ErrorKind, GetOptions, PutRequest, Result, SecretName, SecretStore as _, StoreUrl, key_sources};
use keyfob_sql::{KeyConfig, KeySourceName, SqlConfig, SqlStore};
use serde_json::{Value, json};

const VALUE: &str = "kfcanary-storedvalue12";

/// A directory for a store, a transit mount with the key `app`, and a KMS key.
struct Bed {
    directory: tempfile::TempDir,
    openbao: (String, String),
    mount: String,
    localstack: String,
    kms_key: String,
}

impl Bed {
    fn new(test: &str) -> Option<Self> {
        let openbao = (
            keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_URL")?,
            keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TOKEN")?,
        );
        let localstack = keyfob_testkit::server(test, "KEYFOB_TEST_LOCALSTACK_URL")?;
        let mut bed = Self {
            directory: tempfile::tempdir().unwrap(),
            openbao,
            mount: format!("kf-store-{:016x}", RandomState::new().hash_one(test)),
            localstack,
            kms_key: String::new(),
        };
        bed.bao("POST", &format!("sys/mounts/{}", bed.mount), &json!({"type": "transit"}));
        bed.bao("POST", &format!("{}/keys/app", bed.mount), &json!({}));
        let made = bed.kms("CreateKey", &json!({}));
        bed.kms_key = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
        Some(bed)
    }

    fn bao(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}/v1/{path}", self.openbao.0);
        curl(
            &["-X", method, "-H", &format!("X-Vault-Token: {}", self.openbao.1), &url],
            body,
        )
    }

    fn kms(&self, action: &str, body: &Value) -> Value {
        let target = format!("X-Amz-Target: TrentService.{action}");
        let credential = "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kms/aws4_request, \
                          SignedHeaders=host, Signature=x";
        let kind = "Content-Type: application/x-amz-json-1.1";
        curl(&["-H", &target, "-H", credential, "-H", kind, &self.localstack], body)
    }

    fn environment(&self) -> Environment {
        Environment::fake()
            .home(self.directory.path())
            .host_files()
            .var("VAULT_ADDR", self.openbao.0.as_str())
            .var("VAULT_TOKEN", self.openbao.1.as_str())
            .var("AWS_ACCESS_KEY_ID", "test")
            .var("AWS_SECRET_ACCESS_KEY", "test")
            .var("AWS_REGION", "us-east-1")
            .var("AWS_ENDPOINT_URL", self.localstack.as_str())
            .build()
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("secrets.db")
    }

    fn vault_source(&self) -> String {
        format!("vault-transit:app@{}", self.mount)
    }

    fn kms_source(&self) -> String {
        format!("aws-kms:{}", self.kms_key)
    }

    fn key_file(&self) -> String {
        let file = self.directory.path().join("key");
        if !file.exists() {
            keyfob_envelope::RawKey::create_file(&file).unwrap();
        }
        file.display().to_string()
    }

    fn config(&self, parameter: &str) -> SqlConfig {
        let url = format!("sqlite:{}?{parameter}", self.path().display());
        SqlConfig::from_url(&StoreUrl::parse(&url).unwrap(), &self.environment()).unwrap()
    }

    async fn create(&self, parameter: &str) -> Result<SqlStore> {
        let mut config = self.config(parameter);
        config.key = key_sources::connected(config.key, &self.environment()).await?;
        SqlStore::create(config).await
    }

    async fn open(&self, parameter: &str) -> Result<SqlStore> {
        key_sources::open(self.config(parameter), &self.environment()).await
    }

    async fn named(&self, source: &str) -> KeyConfig {
        let name = KeyConfig::Named(KeySourceName::parse(source).unwrap());
        key_sources::connected(name, &self.environment()).await.unwrap()
    }

    fn remove(self) {
        self.bao("DELETE", &format!("sys/mounts/{}", self.mount), &json!({}));
        self.kms(
            "ScheduleKeyDeletion",
            &json!({"KeyId": self.kms_key, "PendingWindowInDays": 7}),
        );
    }
}

fn curl(arguments: &[&str], body: &Value) -> Value {
    let body = body.to_string();
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--fail-with-body", "-d", &body])
        .args(arguments)
        .stderr(Stdio::inherit());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn names() -> impl Iterator<Item = SecretName> {
    (0..5).map(|number| SecretName::new(format!("app/{number}")).unwrap())
}

async fn fill(store: &SqlStore) {
    for name in names() {
        store.put(&name, PutRequest::new(VALUE)).await.unwrap();
    }
}

async fn assert_whole(store: &SqlStore) {
    for name in names() {
        let secret = store.get(&name, &GetOptions::default()).await.unwrap();
        assert!(secret.value.expose_secret() == VALUE.as_bytes(), "{name}");
    }
    assert!(store.verify().await.unwrap().problems.is_empty());
}

#[tokio::test]
async fn a_store_with_its_key_in_a_service_is_made_opened_and_read() {
    let Some(bed) = Bed::new("a_store_with_its_key_in_a_service") else {
        return;
    };
    for source in [bed.vault_source(), bed.kms_source()] {
        let parameter = format!("key-source={source}");
        fill(&bed.create(&parameter).await.unwrap()).await;
        let store = bed.open(&parameter).await.unwrap();
        assert_whole(&store).await;
        assert_eq!(store.keys().await.unwrap().sources.len(), 1);
        // As an application does: by the URL, through the table of backends.
        let url = StoreUrl::parse(&format!("sqlite:{}?{parameter}", bed.path().display())).unwrap();
        let backend = keyfob::backends::find("sqlite").unwrap();
        let store = (backend.connect)(url, &bed.environment()).await.unwrap().store;
        let secret = store.get(&names().next().unwrap(), &GetOptions::default()).await.unwrap();
        assert!(secret.value.expose_secret() == VALUE.as_bytes());
        std::fs::remove_dir_all(bed.directory.path().join(".local")).ok();
        for end in ["", "-wal", "-shm"] {
            std::fs::remove_file(format!("{}{end}", bed.path().display())).ok();
        }
    }
    bed.remove();
}

#[tokio::test]
async fn the_key_moves_from_file_to_transit_to_kms_and_back_and_the_old_source_opens_nothing() {
    let Some(bed) = Bed::new("the_key_moves_from_file_to_transit") else {
        return;
    };
    let file = format!("key-file={}", bed.key_file());
    let (vault, kms) = (
        format!("key-source={}", bed.vault_source()),
        format!("key-source={}", bed.kms_source()),
    );
    fill(&bed.create(&file).await.unwrap()).await;
    let steps = [
        (&file, &vault, bed.named(&bed.vault_source()).await),
        (&vault, &kms, bed.named(&bed.kms_source()).await),
        (&kms, &file, KeyConfig::File(bed.key_file().into())),
    ];
    for (old, new, key) in steps {
        let store = bed.open(old).await.unwrap();
        store.rotate_key(key, 2, &mut |_| Ok(())).await.unwrap();
        assert_whole(&store).await;
        assert_whole(&bed.open(new).await.unwrap()).await;
        let error = bed.open(old).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{old}: {error}");
    }
    bed.remove();
}

#[tokio::test]
async fn a_transit_key_that_is_rotated_on_the_server_opens_and_is_followed_by_a_change_of_the_key() {
    let Some(bed) = Bed::new("a_transit_key_that_is_rotated_on_the_server") else {
        return;
    };
    let parameter = format!("key-source={}", bed.vault_source());
    fill(&bed.create(&parameter).await.unwrap()).await;
    bed.bao("POST", &format!("{}/keys/app/rotate", bed.mount), &json!({}));
    let store = bed.open(&parameter).await.unwrap();
    // The same source again: a new key, wrapped by the newest version.
    store
        .rotate_key(bed.named(&bed.vault_source()).await, 100, &mut |_| Ok(()))
        .await
        .unwrap();
    bed.bao(
        "POST",
        &format!("{}/keys/app/config", bed.mount),
        &json!({"min_decryption_version": 2}),
    );
    assert_whole(&bed.open(&parameter).await.unwrap()).await;

    bed.bao("POST", &format!("{}/keys/app/rotate", bed.mount), &json!({}));
    bed.bao(
        "POST",
        &format!("{}/keys/app/config", bed.mount),
        &json!({"min_decryption_version": 3}),
    );
    let error = bed.open(&parameter).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.hint().unwrap().contains("min_decryption_version"));
    bed.remove();
}

#[tokio::test]
async fn a_service_that_is_down_is_told_in_time_and_the_store_stays_whole() {
    let Some(bed) = Bed::new("a_service_that_is_down_is_told_in_time") else {
        return;
    };
    let down = |variable: &str| bed.environment().with_var(variable, "http://127.0.0.1:1");
    let file = format!("key-file={}", bed.key_file());
    let store = bed.create(&file).await.unwrap();
    fill(&store).await;
    let sources = store.keys().await.unwrap().sources;
    for (source, variable) in [(bed.vault_source(), "VAULT_ADDR"), (bed.kms_source(), "AWS_ENDPOINT_URL")] {
        let begin = Instant::now();
        let name = KeyConfig::Named(KeySourceName::parse(&source).unwrap());
        let key = key_sources::connected(name, &down(variable)).await.unwrap();
        let error = store.rotate_key(key, 100, &mut |_| Ok(())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{source}: {error}");
        assert!(begin.elapsed() < Duration::from_secs(15));
        assert_eq!(store.keys().await.unwrap().sources, sources, "nothing was begun");
        assert_whole(&store).await;
    }
    for (source, variable) in [(bed.vault_source(), "VAULT_ADDR"), (bed.kms_source(), "AWS_ENDPOINT_URL")] {
        store
            .rotate_key(bed.named(&source).await, 100, &mut |_| Ok(()))
            .await
            .unwrap();
        let parameter = format!("key-source={source}");
        let begin = Instant::now();
        let error = key_sources::open(bed.config(&parameter), &down(variable)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{source}: {error}");
        assert!(begin.elapsed() < Duration::from_secs(15));
        // What is open goes on, and what is closed opens again.
        assert_whole(&store).await;
        assert_whole(&bed.open(&parameter).await.unwrap()).await;
    }
    bed.remove();
}

#[tokio::test]
async fn another_servers_key_of_the_same_name_does_not_fit_and_the_reason_is_kept() {
    let Some(bed) = Bed::new("another_servers_key_of_the_same_name") else {
        return;
    };
    let parameter = format!("key-source={}", bed.vault_source());
    fill(&bed.create(&parameter).await.unwrap()).await;
    bed.bao(
        "POST",
        &format!("{}/keys/app/config", bed.mount),
        &json!({"deletion_allowed": true}),
    );
    bed.bao("DELETE", &format!("{}/keys/app", bed.mount), &json!({}));
    let gone = bed.open(&parameter).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::InvalidConfig, "{gone}");
    bed.bao("POST", &format!("{}/keys/app", bed.mount), &json!({}));
    let error = bed.open(&parameter).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(format!("{error:?}").contains("has another key of this name"), "{error:?}");
    bed.remove();
}
