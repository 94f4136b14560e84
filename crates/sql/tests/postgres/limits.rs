//! What is given up, by whom, and after how long.

use std::time::{Duration, Instant};

use keyfob_core::{ErrorKind, GetOptions, PutRequest, SecretName, SecretStore};
use keyfob_sql::PostgresStore;

use crate::support::Place;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// A client that gives up closes its connection, and a server that is at work does not notice that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_gives_up_too_what_takes_too_long() {
    let Some(place) = Place::new("the_server_gives_up_too_what_takes_too_long") else {
        return;
    };
    place.create().await;
    let mut config = place.config();
    config.timeout = Duration::from_secs(3);
    let store = PostgresStore::open(config).await.unwrap();
    place
        .tamper(
            "ALTER TABLE S.secret RENAME TO real_secret; \
             CREATE VIEW S.secret AS SELECT s.* FROM pg_sleep(60) LEFT JOIN S.real_secret AS s ON true",
        )
        .await;
    let begin = Instant::now();
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    let administrator = place.administrator().await;
    let sql =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND position($1 IN query) > 0";
    loop {
        let working: i64 = administrator.query_one(sql, &[&place.schema]).await.unwrap().get(0);
        if working == 0 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(15), "the server goes on and on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_without_a_free_connection_says_so_in_time() {
    let Some(place) = Place::new("a_pool_without_a_free_connection_says_so_in_time") else {
        return;
    };
    place.create().await;
    let mut config = place.config();
    config.timeout = Duration::from_secs(4);
    config.max_connections = 1;
    let store = PostgresStore::open(config).await.unwrap();
    store.put(&name("a"), PutRequest::new("kfcanary-limits01")).await.unwrap();
    // The only connection waits for what never comes.
    place
        .tamper(
            "ALTER TABLE S.secret RENAME TO real_secret; \
             CREATE VIEW S.secret AS SELECT s.* FROM pg_sleep(60) LEFT JOIN S.real_secret AS s ON true",
        )
        .await;
    let first = tokio::spawn({
        let store = store.clone();
        async move { store.get(&name("a"), &GetOptions::default()).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("busy"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(first.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    // The connection that did not answer was not put back.
    place
        .tamper("DROP VIEW S.secret; ALTER TABLE S.real_secret RENAME TO secret")
        .await;
    store.get(&name("a"), &GetOptions::default()).await.unwrap();
    place.remove().await;
}

/// Without the third, a writer that is suspended in the middle keeps others waiting for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transaction_has_limits_that_the_server_holds() {
    let Some(place) = Place::new("every_transaction_has_limits_that_the_server_holds") else {
        return;
    };
    place.create().await;
    let administrator = place.administrator().await;
    // What a role's own defaults say does not matter.
    place
        .tamper(
            "CREATE TABLE S.seen (name text, setting text); \
             CREATE FUNCTION S.look() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN INSERT INTO S.seen SELECT name, setting FROM pg_settings; RETURN NEW; END'; \
             CREATE TRIGGER look BEFORE UPDATE ON S.bucket FOR EACH ROW EXECUTE FUNCTION S.look()",
        )
        .await;
    let mut config = place.config();
    config.timeout = Duration::from_secs(3);
    let store = PostgresStore::open(config).await.unwrap();
    store.put(&name("a"), PutRequest::new("kfcanary-limits02")).await.unwrap();
    let sql = format!("SELECT setting FROM {}.seen WHERE name = $1", place.schema);
    for (setting, expected) in [
        ("statement_timeout", "3000"),
        ("lock_timeout", "1500"),
        ("idle_in_transaction_session_timeout", "6000"),
        ("search_path", "pg_catalog"),
        ("synchronous_commit", "on"),
        ("application_name", "keyfob"),
    ] {
        let found: String = administrator.query_one(&sql, &[&setting]).await.unwrap().get(0);
        assert_eq!(found, expected, "{setting}");
    }
    place.remove().await;
}
