//! What the libraries below say when everything is logged.

use std::sync::{Mutex, PoisonError};

use keyfob_core::{Change, GetOptions, PutRequest, SecretName, SecretStore};
use keyfob_sql::PostgresStore;
use log::{LevelFilter, Log, Metadata, Record};

use crate::support::Place;

/// Keeps every record.
struct Everything(Mutex<String>);

static EVERYTHING: Everything = Everything(Mutex::new(String::new()));

impl Log for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}\n", record.target(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
    }

    fn flush(&self) {}
}

/// `tokio_postgres` writes down every statement with its parameters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_and_no_password_is_in_what_the_libraries_log() {
    let Some(place) = Place::new("no_value_and_no_password_is_in_what_the_libraries_log") else {
        return;
    };
    log::set_logger(&EVERYTHING).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let store = place.create().await;
    let name = SecretName::new("logged/name").unwrap();
    let mut request = PutRequest::new("kfcanary-LoggedValue1");
    request.description = Change::Set("a description".to_owned());
    store.put(&name, request).await.unwrap();
    store.get(&name, &GetOptions::default()).await.unwrap();
    let mut config = place.config();
    config.password = Some("kfcanary-LoggedWord1".into());
    let error = PostgresStore::open(config).await.unwrap_err();
    log::set_max_level(LevelFilter::Off);

    let logged = EVERYTHING.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(
        logged.contains("tokio_postgres") && logged.contains("logged/name"),
        "the statements are logged"
    );
    // A parameter of bytes is written as numbers.
    let as_numbers: Vec<String> = b"kfcanary-Logged".iter().map(u8::to_string).collect();
    for what in ["kfcanary-Logged", &as_numbers.join(", ")] {
        assert!(!logged.contains(what), "the log shows a secret");
        assert!(!format!("{error:?} {error}").contains(what), "the error shows a secret");
    }
    place.remove().await;
}
