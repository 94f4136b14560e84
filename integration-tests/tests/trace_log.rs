//! A log of everything, from every crate down to `TRACE`, of a whole run holds no value and no credential.
//!
//! This test is alone in its program: what it captures is the log of the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use keyfob_core::{
    Backend, Change, DeleteMode, DeleteOptions, Environment, GetOptions, GetRequest, ListOptions, PageRequest, PutMode,
    PutRequest, SecretName, SecretStore, StoreUrl,
};
use keyfob_integration_tests::fault_proxy::{Answer, FaultProxy, Rule};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

const VALUE: &str = "kfcanary-tracevalue7731";
const CHANGED: &str = "kfcanary-tracechange9942";
const KEY: &str = "kf-secret-access-key-77de68daecd8";
const SESSION: &str = "kf-session-token-2c6ee24b09816a6f";
const ROLE_SECRET: &str = "kf-approle-secret-id-13b5bfe96f3e";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_log_of_everything_holds_no_value_and_no_credential() {
    let test = "a_trace_log_of_everything_holds_no_value_and_no_credential";
    let Some(localstack) = keyfob_testkit::server(test, "KEYFOB_TEST_LOCALSTACK_URL") else {
        return;
    };
    let Some(openbao) = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_URL") else {
        return;
    };
    let Some(token) = keyfob_testkit::server(test, "KEYFOB_TEST_OPENBAO_TOKEN") else {
        return;
    };
    let log = Log::install();
    let prefix = format!("keyfob-trace-{}/", std::process::id());
    let aws = Environment::fake()
        .var("AWS_ACCESS_KEY_ID", "test")
        .var("AWS_SECRET_ACCESS_KEY", KEY)
        .var("AWS_SESSION_TOKEN", SESSION)
        .var("AWS_EC2_METADATA_DISABLED", "true")
        .build();
    let vault = Environment::fake().var("VAULT_TOKEN", token.as_str()).build();
    let role = Environment::fake()
        .var("VAULT_ROLE_ID", "role")
        .var("VAULT_SECRET_ID", ROLE_SECRET)
        .build();
    let aws_url = |address: &str| format!("aws://us-east-1?endpoint={address}&prefix={prefix}&timeout=2");
    let vault_url = |address: &str| format!("vault:secret?address={address}&prefix={prefix}&timeout=2");

    whole_run(&*open(&keyfob_aws::BACKEND, &aws_url(&localstack), &aws).await).await;
    whole_run(&*open(&keyfob_vault::BACKEND, &vault_url(&openbao), &vault).await).await;

    // What goes wrong is logged in other places than what goes well.
    let proxy = FaultProxy::alone().start().unwrap();
    for status in [200, 400, 403, 500] {
        proxy.clear();
        // To other requests AWS has no value to say, so its SDK logs the answers.
        let without_value = Answer::new(status).body("{\"__type\":\"InternalServiceError\"}");
        proxy.add(Rule::new(without_value).when(|request| {
            let target = request.header("x-amz-target");
            target.is_some_and(|target| !target.ends_with("GetSecretValue"))
        }));
        let body = format!("{{\"__type\":\"{VALUE}\",\"errors\":[\"{VALUE}\"],\"SecretString\":\"{VALUE}\",\"data\":\"{VALUE}\"");
        proxy.add(Rule::new(
            Answer::new(status).header("content-type", "application/json").body(body),
        ));
        fails(&*open(&keyfob_aws::BACKEND, &aws_url(&proxy.url()), &aws).await).await;
        fails(&*open(&keyfob_vault::BACKEND, &vault_url(&proxy.url()), &vault).await).await;
        fails(&*open(&keyfob_vault::BACKEND, &vault_url(&proxy.url()), &role).await).await;
    }
    proxy.refuse();
    fails(&*open(&keyfob_aws::BACKEND, &aws_url(&proxy.url()), &aws).await).await;
    fails(&*open(&keyfob_vault::BACKEND, &vault_url(&proxy.url()), &vault).await).await;

    let log = log.take();
    assert!(log.len() > 20_000, "only {} bytes were logged", log.len());
    assert!(
        log.lines().any(|line| line.starts_with("log ")),
        "the older log was not captured"
    );
    for (what, secret) in [
        ("a value", VALUE),
        ("a changed value", CHANGED),
        ("the AWS secret access key", KEY),
        ("the AWS session token", SESSION),
        ("the Vault token", token.as_str()),
        ("the AppRole's secret id", ROLE_SECRET),
    ] {
        let found: Vec<String> = log.lines().filter(|line| holds(line, secret)).map(place).collect();
        assert!(found.is_empty(), "{what} stands in the log of: {found:?}");
    }
}

/// Every verb once, as an application and a rotation would.
async fn whole_run(store: &dyn SecretStore) {
    let name = SecretName::new("a/secret").unwrap();
    store.health().await.unwrap();
    let mut create = PutRequest::new(VALUE).mode(PutMode::Create);
    create.tags = Change::Set(BTreeMap::from([("tag".to_owned(), "text".to_owned())]));
    create.description = Change::Set("a description".to_owned());
    let made = store.put(&name, create).await.unwrap();
    assert!(store.put(&name, PutRequest::new(VALUE).mode(PutMode::Create)).await.is_err());
    store
        .put(&name, PutRequest::new(CHANGED).mode(PutMode::Match(made.version.unwrap())))
        .await
        .unwrap();
    store.put(&name, PutRequest::new(VALUE)).await.unwrap();
    let secret = store.get(&name, &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_secret() == VALUE.as_bytes());
    let missing = SecretName::new("none").unwrap();
    let answers = store
        .get_many(&[GetRequest::new(name.clone()), GetRequest::new(missing)])
        .await;
    assert!(answers[0].is_ok() && answers[1].is_err());
    store.versions(&name, &PageRequest::default()).await.unwrap();
    store.list(&ListOptions::default()).await.unwrap();
    let recoverable = DeleteMode::Recoverable { window: None };
    store.delete(&name, &DeleteOptions { mode: recoverable }).await.unwrap();
    assert!(store.get(&name, &GetOptions::default()).await.is_err());
    store.restore(&name).await.unwrap();
    let permanent = DeleteMode::Permanent;
    store.delete(&name, &DeleteOptions { mode: permanent }).await.unwrap();
}

async fn fails(store: &dyn SecretStore) {
    let name = SecretName::new("a/secret").unwrap();
    assert!(store.get(&name, &GetOptions::default()).await.is_err());
    assert!(store.get_many(&[GetRequest::new(name.clone())]).await[0].is_err());
    assert!(store.put(&name, PutRequest::new(CHANGED)).await.is_err());
}

async fn open(backend: &Backend, url: &str, environment: &Environment) -> Arc<dyn SecretStore> {
    (backend.connect)(StoreUrl::parse(url).unwrap(), environment)
        .await
        .unwrap()
        .store
}

/// Whether a line holds a text, as it is or as Rust prints bytes.
fn holds(line: &str, text: &str) -> bool {
    let bytes = |separator: &str| text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(separator);
    line.contains(text) || line.contains(&bytes(", ")) || line.contains(&bytes(","))
}

/// Level and target of a line; the rest may hold what it must not.
fn place(line: &str) -> String {
    line.split_whitespace().skip(1).take(2).collect::<Vec<_>>().join(" ")
}

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn install() -> Self {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        // Some crates, the HTTP client for Vault among them, speak to the older of the two logs.
        log::set_boxed_logger(Box::new(log.clone())).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        log
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("log {} {}: {}\n", record.level(), record.target(), record.args());
        self.0.lock().unwrap().extend_from_slice(line.as_bytes());
    }

    fn flush(&self) {}
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
