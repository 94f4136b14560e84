//! Stores that let a value be seen. A leak fails every case in which it happens, so a row names one of them, and where
//! the value must be said to have leaked; no case may fail for another reason.

use std::fmt;
use std::sync::Mutex;

use data_encoding::{BASE64, HEXUPPER};
use keyfob_core::{
    Error, ErrorKind, Expired, GetOptions, GetRequest, Health, MemoryStore, Metadata, Page, PageRequest, PutRequest, Result,
    Secret, SecretName, SecretStore, SecretValue, VersionInfo, VersionSelector, async_trait,
};
use keyfob_testkit::{CapturedLogs, RunOptions, run};

use crate::flaw::{Flaw, Wrong};

/// Cases that are named by a test below and in no row elsewhere.
pub(crate) const CAUGHT_BY: [&str; 4] = [
    "get::returns_what_was_put",
    "secrecy::answers_do_not_show_the_value",
    "secrecy::failed_reads_do_not_show_the_value",
    "secrecy::refused_writes_do_not_show_the_value",
];

#[tokio::test]
async fn a_taken_name_quotes_the_value() {
    leaks(
        QuotesWhatIsTaken,
        "error of `put`",
        "put::create_on_a_taken_name_already_exists",
    )
    .await;
}

#[tokio::test]
async fn a_conflict_hints_at_the_beginning_of_the_value() {
    leaks(
        HintsAtTheNewValue,
        "error of `put`",
        "put::match_after_anothers_write_is_conflict",
    )
    .await;
}

#[tokio::test]
async fn an_error_carries_the_value_in_hexadecimal() {
    leaks(
        CarriesTheValue,
        "error of `put`",
        "secrecy::refused_writes_do_not_show_the_value",
    )
    .await;
}

#[tokio::test]
async fn the_source_of_an_error_shows_the_value() {
    leaks(
        SourceShowsTheValue,
        "error of `get`",
        "secrecy::failed_reads_do_not_show_the_value",
    )
    .await;
}

#[tokio::test]
async fn one_answer_of_a_batch_shows_the_value_of_another() {
    leaks(
        BatchErrorShowsAnother,
        "error of `get_many`",
        "get_many::one_failure_does_not_touch_the_others",
    )
    .await;
}

#[tokio::test]
async fn labels_of_versions_show_the_value_in_base64() {
    leaks(
        LabelsShowTheValue,
        "Debug of the answer of `versions`",
        "versions::come_newest_first",
    )
    .await;
}

#[tokio::test]
async fn health_shows_the_last_value() {
    leaks(
        HealthShowsTheLastValue::default(),
        "Debug of the answer of `health`",
        "secrecy::answers_do_not_show_the_value",
    )
    .await;
}

#[tokio::test]
async fn debug_of_the_store_shows_the_last_value() {
    leaks(
        DebugShowsTheLastValue::default(),
        "Debug of the store",
        "get::returns_what_was_put",
    )
    .await;
}

#[tokio::test]
async fn a_trace_log_lists_the_bytes() {
    leaks(LogsBytes, "logs, as a list of bytes", "get::returns_what_was_put").await;
}

#[tokio::test]
async fn another_thread_logs_the_value() {
    leaks(LogsOnAThread, "logs of other threads, as it is", "get::returns_what_was_put").await;
}

#[tokio::test]
async fn a_panic_shows_the_value() {
    let report = run(std::sync::Arc::new(Wrong::new(PanicsWithTheValue)), RunOptions::new()).await;
    let failed: Vec<_> = report.failures().collect();
    let names: Vec<&str> = failed.iter().map(|(case, _)| case.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "get::unknown_version_is_not_found",
            "secrecy::failed_reads_do_not_show_the_value"
        ]
    );
    for (_, failure) in failed {
        // The message itself is withheld.
        assert_eq!(failure.message, "(a message that contains the value)");
        assert_eq!(failure.leaks, ["panic or failure, as it is"]);
    }
}

async fn leaks(flaw: impl Flaw, place: &str, case: &str) {
    let logs = CapturedLogs::install_global().unwrap();
    let report = run(std::sync::Arc::new(Wrong::new(flaw)), RunOptions::new().logs(logs)).await;
    assert!(
        report.failures().any(|(failed, _)| failed.name == case),
        "`{case}` did not see it\n{report}"
    );
    for (failed, failure) in report.failures() {
        assert!(failure.message.is_empty(), "{}: {failure}", failed.name);
        assert!(
            failure.leaks.iter().all(|leak| leak.starts_with(place)),
            "{}: {failure}",
            failed.name
        );
    }
}

async fn present(right: &MemoryStore, name: &SecretName) -> SecretValue {
    let options = GetOptions {
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    right
        .get(name, &options)
        .await
        .map_or_else(|_| "".into(), |secret| secret.value)
}

fn text(value: &SecretValue) -> String {
    String::from_utf8_lossy(value.expose_secret()).into_owned()
}

/// Changes the error of one verb.
macro_rules! put_error {
    ($flaw:ident, |$right:ident, $name:ident, $value:ident, $error:ident| $body:expr) => {
        struct $flaw;
        #[async_trait]
        impl Flaw for $flaw {
            async fn put(&self, $right: &MemoryStore, $name: &SecretName, request: PutRequest) -> Result<Metadata> {
                let $value = request.value.clone().unwrap_or_else(|| "".into());
                match $right.put($name, request).await {
                    Err($error) => Err($body),
                    written => written,
                }
            }
        }
    };
}

put_error!(QuotesWhatIsTaken, |right, name, _value, error| match error.kind() {
    ErrorKind::AlreadyExists => Error::new(
        ErrorKind::AlreadyExists,
        format!("`{name}` is taken by `{}`", text(&present(right, name).await)),
    ),
    _ => error,
});

put_error!(HintsAtTheNewValue, |_right, _name, value, error| match error.kind() {
    ErrorKind::Conflict => error.with_hint(text(&value).chars().take(18).collect::<String>()),
    _ => error,
});

put_error!(CarriesTheValue, |_right, _name, value, error| match error.kind() {
    ErrorKind::InvalidInput if value.len() > 1 << 20 => error.with("value", HEXUPPER.encode(&value.expose_secret()[..40])),
    _ => error,
});

struct SourceShowsTheValue;
#[async_trait]
impl Flaw for SourceShowsTheValue {
    async fn get(&self, right: &MemoryStore, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        match right.get(name, options).await {
            Err(error) if error.kind() == ErrorKind::Expired => {
                Err(error.with_source(std::io::Error::other(text(&present(right, name).await))))
            }
            answer => answer,
        }
    }
}

struct BatchErrorShowsAnother;
#[async_trait]
impl Flaw for BatchErrorShowsAnother {
    async fn get_many(&self, right: &MemoryStore, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let answers = right.get_many(requests).await;
        let seen: Vec<String> = answers
            .iter()
            .filter_map(|answer| answer.as_ref().ok().map(|secret| text(&secret.value)))
            .collect();
        answers
            .into_iter()
            .map(|answer| answer.map_err(|error| error.with("response", seen.join(" "))))
            .collect()
    }
}

struct LabelsShowTheValue;
#[async_trait]
impl Flaw for LabelsShowTheValue {
    async fn versions(&self, right: &MemoryStore, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let mut answer = right.versions(name, page).await?;
        let label = format!("x{}", BASE64.encode(present(right, name).await.expose_secret()));
        for info in &mut answer.items {
            info.labels.push(label.clone());
        }
        Ok(answer)
    }
}

/// Remembers what was written last.
#[derive(Default)]
struct Last(Mutex<String>);

impl Last {
    fn remember(&self, request: &PutRequest) {
        if let Some(value) = &request.value {
            *self.0.lock().unwrap() = text(value).chars().take(100).collect();
        }
    }

    fn shown(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

#[derive(Default)]
struct HealthShowsTheLastValue(Last);
#[async_trait]
impl Flaw for HealthShowsTheLastValue {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.0.remember(&request);
        right.put(name, request).await
    }

    async fn health(&self, right: &MemoryStore) -> Result<Health> {
        let mut health = right.health().await?;
        health.details.push(("last", self.0.shown()));
        Ok(health)
    }
}

#[derive(Default)]
struct DebugShowsTheLastValue(Last);
#[async_trait]
impl Flaw for DebugShowsTheLastValue {
    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("last", &self.0.shown()).finish()
    }

    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.0.remember(&request);
        right.put(name, request).await
    }
}

struct LogsBytes;
#[async_trait]
impl Flaw for LogsBytes {
    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if let Some(value) = &request.value {
            let body = &value.expose_secret()[..value.len().min(100)];
            tracing::trace!(?body, "request");
        }
        right.put(name, request).await
    }
}

struct LogsOnAThread;
#[async_trait]
impl Flaw for LogsOnAThread {
    async fn get(&self, right: &MemoryStore, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let secret = right.get(name, options).await?;
        let shown: String = text(&secret.value).chars().take(100).collect();
        std::thread::spawn(move || tracing::debug!("answer: {shown}")).join().unwrap();
        Ok(secret)
    }
}

struct PanicsWithTheValue;
#[async_trait]
impl Flaw for PanicsWithTheValue {
    async fn get(&self, right: &MemoryStore, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let answer = right.get(name, options).await;
        if answer.is_err() && matches!(options.version, VersionSelector::Exact(_)) {
            let value = present(right, name).await;
            assert!(value.is_empty(), "no such version of `{}`", text(&value));
        }
        answer
    }
}
