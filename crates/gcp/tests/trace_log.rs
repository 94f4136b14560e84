//! A log of everything, from every crate down to `TRACE`, holds no value, no credential and no token, even where the
//! variable is set that makes Google's SDK log requests and answers.
//!
//! This test is alone in its program: what it captures is the log of the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex};

use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Environment, GetOptions, GetRequest, ListOptions, PageRequest, PutRequest, SecretName,
    SecretStore, StoreUrl, VersionSelector,
};
use keyfob_gcp::BACKEND;
use keyfob_testkit::{server, skip};
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

const TEST: &str = "a_trace_log_of_everything_holds_no_value_and_no_credential";
/// Read by the SDK from the process.
const SDK_LOGS: &str = "GOOGLE_CLOUD_RUST_LOGGING";
const VALUE: &str = "kfcanary-tracevalue7731";
const CHANGED: &str = "kfcanary-tracechange9942";

#[test]
fn a_trace_log_of_everything_holds_no_value_and_no_credential() {
    let Some(url) = server(TEST, "KEYFOB_TEST_GCP_DOUBLE_URL") else {
        return;
    };
    if std::env::var_os(SDK_LOGS).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let status = again.args([TEST, "--exact"]).env(SDK_LOGS, "true").status().unwrap();
        assert!(status.success(), "with `{SDK_LOGS}` set");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(logged(&url));
}

async fn logged(double: &str) {
    let log = Log::install();
    let line = reqwest::get(format!("{double}/_double")).await.unwrap().text().await.unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let mut secrets = Vec::new();
    for kind in ["serviceAccount", "authorizedUser"] {
        let Some(file) = line["files"][kind].as_str() else {
            return skip(TEST, "the double has no `--directory`");
        };
        let document: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let texts = ["private_key", "client_secret", "refresh_token"].map(|key| document[key].as_str().unwrap_or_default());
        // A line of the key in the middle: the first and the last say what it is.
        secrets.extend(
            texts
                .iter()
                .filter_map(|text| text.lines().nth(text.lines().count() / 2))
                .map(str::to_owned),
        );
        let environment = Environment::fake()
            .host_files()
            .var("GOOGLE_APPLICATION_CREDENTIALS", file)
            .build();
        let open = |address: &str| {
            let url = format!(
                "gcp://keyfob-trace?endpoint={address}&credentials=default&prefix=t{}/",
                std::process::id()
            );
            let (url, environment) = (StoreUrl::parse(&url).unwrap(), environment.clone());
            async move { (BACKEND.connect)(url, &environment).await.unwrap().store }
        };
        whole_run(&*open(double).await).await;
        // What goes wrong is logged in other places than what goes well.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        fails(&*open(&format!("http://{free}")).await).await;
    }
    assert_eq!(secrets.len(), 3);

    let log = log.take();
    assert!(log.len() > 20_000, "only {} bytes were logged", log.len());
    assert!(log.contains("hyper_util"), "the log of `hyper_util` was not captured");
    secrets.extend([VALUE, CHANGED].map(str::to_owned));
    // Every token of the double begins with the one, every signed one with the other: `{"` in Base64.
    secrets.extend(["ya29.", "eyJ"].map(str::to_owned));
    for (number, text) in secrets.iter().enumerate() {
        let found: Vec<String> = log.lines().filter(|line| holds(line, text)).map(place).collect();
        assert!(found.is_empty(), "secret {number} stands in the log of: {found:?}");
    }
}

/// Every verb once.
async fn whole_run(store: &dyn SecretStore) {
    let name = SecretName::new("a/secret").unwrap();
    store.health().await.unwrap();
    let create = PutRequest {
        tags: Change::Set([("tag".to_owned(), "text".to_owned())].into()),
        description: Change::Set("a description".to_owned()),
        ..PutRequest::new(VALUE)
    };
    store.put(&name, create).await.unwrap();
    store.put(&name, PutRequest::new(CHANGED)).await.unwrap();
    let metadata = PutRequest {
        description: Change::Clear,
        ..PutRequest::default()
    };
    store.put(&name, metadata).await.unwrap();
    let secret = store.get(&name, &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_secret() == CHANGED.as_bytes());
    let previous = GetOptions::version(VersionSelector::Previous);
    assert!(store.get(&name, &previous).await.unwrap().value.expose_secret() == VALUE.as_bytes());
    let missing = SecretName::new("none").unwrap();
    let answers = store
        .get_many(&[GetRequest::new(name.clone()), GetRequest::new(missing)])
        .await;
    assert!(answers[0].is_ok() && answers[1].is_err());
    store.versions(&name, &PageRequest::default()).await.unwrap();
    store.list(&ListOptions::default()).await.unwrap();
    store.delete(&name, &DeleteOptions::default()).await.unwrap();
    assert!(store.get(&name, &GetOptions::default()).await.is_err());
    store.restore(&name).await.unwrap();
    let mode = DeleteMode::Permanent;
    store.delete(&name, &DeleteOptions { mode }).await.unwrap();
}

async fn fails(store: &dyn SecretStore) {
    let name = SecretName::new("a/secret").unwrap();
    assert!(store.get(&name, &GetOptions::default()).await.is_err());
    assert!(store.get_many(&[GetRequest::new(name.clone())]).await[0].is_err());
    assert!(store.put(&name, PutRequest::new(CHANGED)).await.is_err());
}

/// Whether a line holds a text, as it is or as Rust prints bytes.
fn holds(line: &str, text: &str) -> bool {
    let bytes = |separator: &str| text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(separator);
    line.contains(text) || text.len() > 8 && (line.contains(&bytes(", ")) || line.contains(&bytes(",")))
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

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
