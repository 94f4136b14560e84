//! A server that is away, does not answer, or goes in the middle.

use std::time::{Duration, Instant};

use keyfob_core::{ErrorKind, GetOptions, ListOptions, PutRequest, SecretName, SecretStore};
use keyfob_sql::PostgresStore;

use crate::proxy::{Loss, Proxy};
use crate::support::Place;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

#[tokio::test]
async fn a_dead_port_and_a_server_that_never_answers_fail_in_time() {
    let Some(place) = Place::new("a_dead_port_and_a_server_that_never_answers_fail_in_time") else {
        return;
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let attempt = async |kind| {
        let mut config = place.config();
        config.port = port;
        config.timeout = Duration::from_secs(1);
        let begin = Instant::now();
        let error = PostgresStore::open(config).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    };
    // It takes connections and says nothing.
    attempt(ErrorKind::Timeout).await;
    drop(listener);
    attempt(ErrorKind::Unavailable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_were_closed_are_replaced() {
    let Some(place) = Place::new("connections_that_were_closed_are_replaced") else {
        return;
    };
    let store = place.create().await;
    store.put(&name("a"), PutRequest::new("kfcanary-faults01")).await.unwrap();
    for round in 0..5 {
        end_connections(&place).await;
        store.get(&name("a"), &GetOptions::default()).await.unwrap();
        end_connections(&place).await;
        let written = name(&format!("b{round}"));
        store.put(&written, PutRequest::new("kfcanary-faults02")).await.unwrap();
    }
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_locked_is_given_up_and_nothing_has_changed() {
    let Some(place) = Place::new("a_table_that_is_locked_is_given_up_and_nothing_has_changed") else {
        return;
    };
    place.create().await;
    let mut config = place.config();
    config.timeout = Duration::from_secs(2);
    let store = PostgresStore::open(config).await.unwrap();
    store.put(&name("a"), PutRequest::new("kfcanary-faults03")).await.unwrap();
    let mut other = place.administrator().await;
    let transaction = other.transaction().await.unwrap();
    let lock = format!("LOCK TABLE {}.version IN ACCESS EXCLUSIVE MODE", place.schema);
    transaction.batch_execute(&lock).await.unwrap();
    let begin = Instant::now();
    let read = store.get(&name("a"), &GetOptions::default()).await;
    assert_eq!(read.err().map(|error| error.kind()), Some(ErrorKind::Timeout));
    let listed = store.list(&ListOptions::default()).await;
    assert_eq!(listed.err().map(|error| error.kind()), Some(ErrorKind::Timeout));
    // It is certain that nothing came of it, so it is no timeout.
    let written = store.put(&name("a"), PutRequest::new("kfcanary-faults04")).await;
    assert_eq!(written.err().map(|error| error.kind()), Some(ErrorKind::Unavailable));
    assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    transaction.rollback().await.unwrap();
    let secret = store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert!(secret.value.expose_secret() == b"kfcanary-faults03");
    place.remove().await;
}

/// Nobody knows what became of such a write: it is told as that, not as failed, and reading settles it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_told_as_unknown() {
    for loss in [Loss::Closed, Loss::Hung] {
        let Some(place) = Place::new("a_commit_without_an_answer_is_told_as_unknown") else {
            return;
        };
        place.create().await;
        let mut config = place.config();
        let proxy = Proxy::to(config.port, loss).await;
        config.port = proxy.port;
        config.timeout = Duration::from_secs(4);
        let store = PostgresStore::open(config).await.unwrap();
        store.put(&name("a"), PutRequest::new("kfcanary-faults06")).await.unwrap();
        proxy.lose_next_commit();
        let error = store.put(&name("a"), PutRequest::new("kfcanary-faults07")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let secret = store.get(&name("a"), &GetOptions::default()).await.unwrap();
        assert!(secret.value.expose_secret() == b"kfcanary-faults07", "it was written, once");
        assert_eq!(secret.metadata.version, Some(2.into()));
        assert!(store.verify().await.unwrap().problems.is_empty());
        place.remove().await;
    }
}

/// Every connection is cut again and again while four tasks write: what was confirmed is there, what was not is there as a
/// whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_are_cut_off_happen_as_a_whole_or_not_at_all() {
    let Some(place) = Place::new("writes_that_are_cut_off_happen_as_a_whole_or_not_at_all") else {
        return;
    };
    let store = place.create().await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut confirmed, mut failed) = (Vec::new(), 0);
                let begin = Instant::now();
                let mut round = 0;
                while begin.elapsed() < Duration::from_secs(3) {
                    let written = name(&format!("w{writer}/{round}"));
                    match store.put(&written, PutRequest::new("kfcanary-faults05")).await {
                        Ok(_) => confirmed.push(written),
                        Err(error) => {
                            let kind = error.kind();
                            assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
                            failed += 1;
                        }
                    }
                    round += 1;
                }
                (confirmed, failed)
            })
        })
        .collect();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        end_connections(&place).await;
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    let (mut confirmed, mut failed) = (0, 0);
    for writer in writers {
        let (names, lost) = writer.await.unwrap();
        for name in &names {
            store.get(name, &GetOptions::default()).await.unwrap();
        }
        confirmed += names.len();
        failed += lost;
    }
    assert!(
        confirmed > 0 && failed > 0,
        "{confirmed} confirmed, {failed} cut off: the test cuts nothing"
    );
    let report = store.verify().await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    place.remove().await;
}

/// Ends every connection of keyfob's that has to do with this place.
async fn end_connections(place: &Place) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name = 'keyfob' AND query LIKE '%' || $1 || '%' AND pid <> pg_backend_pid()";
    place.administrator().await.query(sql, &[&place.schema]).await.unwrap();
}
