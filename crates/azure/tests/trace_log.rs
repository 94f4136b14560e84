//! A log of everything, from every crate down to `TRACE`, holds no value, no credential and no token.
//!
//! This test is alone in its program: what it captures is the log of the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::sync::{Arc, Mutex};

use keyfob_azure::BACKEND;
use keyfob_core::{
    Change, DeleteMode, DeleteOptions, Environment, GetOptions, GetRequest, ListOptions, PageRequest, PutRequest, SecretName,
    SecretStore, StoreUrl, VersionSelector,
};
use keyfob_testkit::server;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

const VALUE: &str = "kfcanary-tracevalue7731";
const CHANGED: &str = "kfcanary-tracechange9942";
const WRONG: &str = "kf-client-secret-that-is-none-5d41402a";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_log_of_everything_holds_no_value_and_no_credential() {
    let test = "a_trace_log_of_everything_holds_no_value_and_no_credential";
    let variables = ["URL", "CA", "AUTHORITY", "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"];
    let mut values = Vec::new();
    for variable in variables {
        let Some(value) = server(test, &format!("KEYFOB_TEST_AZURE_{variable}")) else {
            return;
        };
        values.push(value);
    }
    let [url, ca, authority, tenant, client, secret] = values.try_into().unwrap();
    let host = url.strip_prefix("https://").unwrap().to_owned();
    let log = Log::install();
    let url = |host: &str| {
        let url = format!(
            "azure://{host}?ca={ca}&challenge=unverified&prefix=trace{}/",
            std::process::id()
        );
        StoreUrl::parse(&url).unwrap()
    };
    let application = Environment::fake()
        .host_files()
        .var("AZURE_AUTHORITY_HOST", authority)
        .var("AZURE_TENANT_ID", tenant)
        .var("AZURE_CLIENT_ID", client);
    let right = application.clone().var("AZURE_CLIENT_SECRET", secret.as_str()).build();
    let wrong = application.var("AZURE_CLIENT_SECRET", WRONG).build();
    let open = |environment: Environment, host: String| {
        let url = url(&host);
        async move { (BACKEND.connect)(url, &environment).await.unwrap().store }
    };
    whole_run(&*open(right.clone(), host.clone()).await).await;

    // What goes wrong is logged in other places than what goes well.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fails(&*open(wrong, host).await).await;
    fails(&*open(right, free.to_string()).await).await;

    let log = log.take();
    assert!(log.len() > 20_000, "only {} bytes were logged", log.len());
    for target in ["typespec_client_core", "azure_identity", "hyper_util"] {
        assert!(log.contains(target), "the log of {target} was not captured");
    }
    // Every token begins so: `{"` in Base64.
    for (what, text) in [
        ("a value", VALUE),
        ("a changed value", CHANGED),
        ("the client secret", secret.as_str()),
        ("a wrong client secret", WRONG),
        ("a token", "eyJ"),
    ] {
        let found: Vec<String> = log.lines().filter(|line| holds(line, text)).map(place).collect();
        assert!(found.is_empty(), "{what} stands in the log of: {found:?}");
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
