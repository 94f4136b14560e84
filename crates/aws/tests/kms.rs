//! A KMS key as a key source, against LocalStack. It enforces the encryption context as AWS does, and no permissions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::types::KeyUsageType;
use keyfob_aws::KmsKeySource;
use keyfob_core::{Environment, Error, ErrorKind};
use keyfob_envelope::KeySource as _;

const KEY: [u8; 32] = *b"kfcanary-keybytes0123456789abcde";
const CONTEXT: &[u8] = b"keyfob key slot\0\x01 and \xff";

struct Kms {
    url: String,
    admin: Client,
}

impl Kms {
    fn of(test: &str) -> Option<Self> {
        let url = keyfob_testkit::server(test, "KEYFOB_TEST_LOCALSTACK_URL")?;
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(&url)
            .build();
        Some(Self {
            url,
            admin: Client::from_conf(config),
        })
    }

    /// The ARN of a new key.
    async fn key(&self) -> String {
        let made = self.admin.create_key().send().await.unwrap();
        made.key_metadata().unwrap().arn().unwrap().to_owned()
    }

    async fn remove(&self, key: &str) {
        self.admin
            .schedule_key_deletion()
            .key_id(key)
            .pending_window_in_days(7)
            .send()
            .await
            .unwrap();
    }

    async fn source(&self, key: &str) -> Result<KmsKeySource, Error> {
        KmsKeySource::connect(key, &environment(&self.url)).await
    }
}

fn environment(url: &str) -> Environment {
    Environment::fake()
        .var("AWS_ACCESS_KEY_ID", "test")
        .var("AWS_SECRET_ACCESS_KEY", "kfcanary-awssecret12")
        .var("AWS_REGION", "us-east-1")
        .var("AWS_ENDPOINT_URL", url)
        .build()
}

fn checked(error: Error) -> Error {
    assert!(!format!("{error:?}").contains("kfcanary-"), "the error tells a secret");
    error
}

#[tokio::test]
async fn a_key_comes_back_in_its_context_and_from_its_key_alone() {
    let Some(kms) = Kms::of("a_key_comes_back_in_its_context") else {
        return;
    };
    let (key, other) = (kms.key().await, kms.key().await);
    let source = kms.source(&key).await.unwrap();
    assert_eq!(source.id().as_str(), format!("aws-kms:{key}"));
    let wrapped = source.wrap(CONTEXT, &KEY).await.unwrap();
    assert!(wrapped.starts_with(&[1, 4]));
    assert!(!wrapped.windows(9).any(|window| window == b"kfcanary-"));
    assert!(!format!("{source:?}").contains("kfcanary-"));
    assert!(*source.unwrap(CONTEXT, &wrapped).await.unwrap() == KEY);
    for context in [&b""[..], b"another", &[CONTEXT, b"\0"].concat()] {
        let error = checked(source.unwrap(context, &wrapped).await.unwrap_err());
        assert_eq!(
            error.kind(),
            ErrorKind::Unauthenticated,
            "the server does not bind the context"
        );
    }
    let error = checked(kms.source(&other).await.unwrap().unwrap(CONTEXT, &wrapped).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let mut changed = wrapped.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(
        checked(source.unwrap(CONTEXT, &changed).await.unwrap_err()).kind(),
        ErrorKind::Unauthenticated
    );
    assert_eq!(
        checked(source.unwrap(CONTEXT, &wrapped[1..]).await.unwrap_err()).kind(),
        ErrorKind::Corrupt
    );
    kms.remove(&key).await;
    kms.remove(&other).await;
}

#[tokio::test]
async fn an_alias_means_the_key_that_it_points_at() {
    let Some(kms) = Kms::of("an_alias_means_the_key_that_it_points_at") else {
        return;
    };
    let (key, other) = (kms.key().await, kms.key().await);
    let alias = format!("alias/kf-{}", key.rsplit('/').next().unwrap());
    kms.admin
        .create_alias()
        .alias_name(&alias)
        .target_key_id(&key)
        .send()
        .await
        .unwrap();
    let by_alias = kms.source(&alias).await.unwrap();
    let by_id = kms.source(key.rsplit('/').next().unwrap()).await.unwrap();
    assert_eq!(by_alias.id().as_str(), format!("aws-kms:{key}"));
    assert_eq!(by_id.id(), by_alias.id());
    let wrapped = by_alias.wrap(CONTEXT, &KEY).await.unwrap();
    assert!(*by_id.unwrap(CONTEXT, &wrapped).await.unwrap() == KEY);

    // By the id: LocalStack loses an alias that is pointed at an ARN.
    let other_id = other.rsplit('/').next().unwrap();
    kms.admin
        .update_alias()
        .alias_name(&alias)
        .target_key_id(other_id)
        .send()
        .await
        .unwrap();
    let moved = kms.source(&alias).await.unwrap();
    assert!(
        !moved.fits(by_alias.id().as_str()),
        "what the first key protected is not asked of the second"
    );
    kms.admin.delete_alias().alias_name(&alias).send().await.unwrap();
    kms.remove(&key).await;
    kms.remove(&other).await;
}

#[tokio::test]
async fn a_key_that_is_missing_or_of_another_kind_is_a_wrong_configuration() {
    let Some(kms) = Kms::of("a_key_that_is_missing_or_of_another_kind") else {
        return;
    };
    let missing = checked(kms.source("alias/kf-there-is-none").await.unwrap_err());
    assert_eq!(missing.kind(), ErrorKind::InvalidConfig);
    assert!(missing.hint().is_some());
    let hmac = kms.admin.create_key().key_usage(KeyUsageType::GenerateVerifyMac);
    let hmac = hmac.key_spec(aws_sdk_kms::types::KeySpec::Hmac256).send().await.unwrap();
    let hmac = hmac.key_metadata().unwrap().key_id().to_owned();
    let unfit = checked(kms.source(&hmac).await.unwrap_err());
    assert_eq!(
        (unfit.kind(), unfit.message()),
        (ErrorKind::InvalidConfig, "this KMS key can't protect a store")
    );
    kms.remove(&hmac).await;
}

#[tokio::test]
async fn a_disabled_key_is_unavailable_and_works_again_when_enabled() {
    let Some(kms) = Kms::of("a_disabled_key_is_unavailable") else {
        return;
    };
    let key = kms.key().await;
    let source = kms.source(&key).await.unwrap();
    let wrapped = source.wrap(CONTEXT, &KEY).await.unwrap();
    kms.admin.disable_key().key_id(&key).send().await.unwrap();
    let error = checked(source.unwrap(CONTEXT, &wrapped).await.unwrap_err());
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Unavailable, "the KMS key is disabled")
    );
    kms.admin.enable_key().key_id(&key).send().await.unwrap();
    assert!(*source.unwrap(CONTEXT, &wrapped).await.unwrap() == KEY);
    kms.remove(&key).await;
    let error = checked(source.unwrap(CONTEXT, &wrapped).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Unavailable, "scheduled for deletion");
}

#[tokio::test]
async fn a_service_that_is_down_is_unavailable_within_the_deadline() {
    let key = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let environment = environment("http://127.0.0.1:1");
    // The ARN of a key needs no look-up.
    let source = KmsKeySource::connect(key, &environment).await.unwrap();
    let begin = Instant::now();
    for error in [
        source.wrap(CONTEXT, &KEY).await.unwrap_err(),
        source.unwrap(CONTEXT, &[1, 4, 0]).await.unwrap_err(),
        KmsKeySource::connect("alias/x", &environment).await.unwrap_err(),
    ] {
        assert_eq!(checked(error).kind(), ErrorKind::Unavailable);
    }
    assert!(begin.elapsed() < Duration::from_secs(15));
}
