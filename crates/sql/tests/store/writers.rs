//! Several writers and readers at once: nothing is lost, nothing is seen in half.

use keyfob_core::{ErrorKind, GetRequest, PutMode, PutRequest, SecretStore, Version};
use keyfob_sql::SqlStore;

use crate::support::{Place, name, put, text};

/// Runs `job` on threads of their own, each with a handle and a runtime of its own, as in processes.
fn at_once(place: &Place, threads: usize, job: impl Fn(usize, SqlStore) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let job = &job;
            scope.spawn(move || {
                let store = block_on(place.open()).unwrap();
                job(thread, store);
            });
        }
    });
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn eight_handles_that_write_at_once_lose_nothing() {
    let place = Place::new();
    drop(block_on(place.create()));
    at_once(&place, 8, |thread, store| {
        block_on(async {
            for index in 0..40 {
                put(&store, &format!("own/{thread}/{index}"), "value").await.unwrap();
                put(&store, "shared", &format!("{thread}/{index}")).await.unwrap();
            }
        });
    });
    let store = block_on(place.open()).unwrap();
    let report = block_on(store.verify()).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    assert_eq!(report.secrets, 8 * 40 + 1);
    let next = block_on(put(&store, "shared", "last")).unwrap();
    assert_eq!(
        next.as_str(),
        (8 * 40 + 1).to_string(),
        "every write made a version of its own"
    );
    // One generation for each write, and the first.
    assert_eq!(report.generation, 2 * 8 * 40 + 1);
}

#[test]
fn of_many_that_match_the_same_version_one_wins_each_round() {
    let place = Place::new();
    let store = block_on(place.create());
    block_on(put(&store, "counter", "0")).unwrap();
    at_once(&place, 6, |_, store| {
        block_on(async {
            for _ in 0..10 {
                loop {
                    let found = crate::support::get(&store, "counter").await.unwrap();
                    let count: u64 = found.value.expose_str().unwrap().parse().unwrap();
                    let mode = PutMode::Match(found.metadata.version.clone().unwrap());
                    let request = PutRequest::new((count + 1).to_string()).mode(mode);
                    match store.put(&name("counter"), request).await {
                        Ok(_) => break,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                }
            }
        });
    });
    assert_eq!(block_on(text(&store, "counter")), "60");
}

#[test]
fn readers_see_one_moment_while_others_write() {
    let place = Place::new();
    let store = block_on(place.create());
    for secret in ["left", "right"] {
        block_on(put(&store, secret, "value 1")).unwrap();
    }
    at_once(&place, 4, |thread, store| {
        block_on(async {
            for _ in 0..100 {
                if thread == 0 {
                    // One name after the other: never is `right` ahead of `left`.
                    for secret in ["left", "right"] {
                        let version = put(&store, secret, "value").await.unwrap();
                        assert!(version > Version::from(0));
                    }
                } else {
                    let requests = ["left", "right"].map(|text| GetRequest::new(name(text)));
                    let versions: Vec<u64> = store
                        .get_many(&requests)
                        .await
                        .into_iter()
                        .map(|answer| answer.unwrap().metadata.version.clone().unwrap().as_str().parse().unwrap())
                        .collect();
                    assert!(versions[0] == versions[1] || versions[0] == versions[1] + 1, "{versions:?}");
                }
            }
        });
    });
}

#[test]
fn a_writer_that_waits_too_long_is_told_so_and_nothing_is_changed() {
    let place = Place::new();
    drop(block_on(place.create()));
    let mut config = place.config();
    config.busy_timeout = std::time::Duration::from_millis(50);
    let store = block_on(SqlStore::open(config)).unwrap();
    let blocker = rusqlite::Connection::open(place.path("secrets.db")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = block_on(put(&store, "a", "value")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    blocker.execute_batch("ROLLBACK").unwrap();
    assert_eq!(
        block_on(crate::support::get(&store, "a")).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    block_on(put(&store, "a", "value")).unwrap();
}
