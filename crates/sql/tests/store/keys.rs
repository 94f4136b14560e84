//! Changing the key: stopped anywhere, taken up, replaced, with other handles open all the while.

use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result, SecretStore, SecretValue};
use keyfob_envelope::{Passphrase, PassphraseCost, RawKey};
use keyfob_sql::{KeyConfig, RotateStep, SqlStore};

use crate::support::{Place, put, text};

const SECRETS: usize = 25;

async fn filled(place: &Place) -> SqlStore {
    let store = place.create().await;
    for index in 0..SECRETS {
        put(&store, &format!("s{index}"), &format!("value {index}")).await.unwrap();
    }
    store
}

fn new_key(place: &Place, file: &str) -> KeyConfig {
    RawKey::create_file(place.path(file)).unwrap();
    KeyConfig::File(place.path(file))
}

async fn open_with(place: &Place, key: &KeyConfig) -> Result<SqlStore> {
    let mut config = place.config();
    config.key = key.clone();
    SqlStore::open(config).await
}

async fn assert_whole(store: &SqlStore) {
    for index in 0..SECRETS {
        assert_eq!(text(store, &format!("s{index}")).await, format!("value {index}"));
    }
    let report = store.verify().await.unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

fn stop() -> Error {
    Error::new(ErrorKind::Other, "stopped by the test")
}

async fn rotate(store: &SqlStore, key: &KeyConfig) -> Result<Vec<RotateStep>> {
    let mut steps = Vec::new();
    store
        .rotate_key(key.clone(), 10, &mut |step| {
            steps.push(step);
            Ok(())
        })
        .await?;
    Ok(steps)
}

#[tokio::test]
async fn only_the_new_key_opens_the_store_afterwards() {
    let place = Place::new();
    let store = filled(&place).await;
    let (old, new) = (place.key(), new_key(&place, "new"));
    let before = store.keys().await.unwrap();
    let steps = rotate(&store, &new).await.unwrap();
    assert_eq!(
        steps,
        [
            RotateStep::Begun { resumed: false },
            RotateStep::Wrapped(10),
            RotateStep::Wrapped(20),
            RotateStep::Wrapped(25),
            RotateStep::Ready,
            RotateStep::Finished
        ]
    );
    let after = store.keys().await.unwrap();
    assert_ne!(before.current, after.current);
    assert_eq!((after.retiring.len(), after.sources.len()), (0, 1));
    assert_whole(&store).await;
    assert_whole(&open_with(&place, &new).await.unwrap()).await;
    let error = open_with(&place, &old).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
}

#[tokio::test]
async fn stopped_at_every_step_both_keys_work_and_the_same_call_takes_it_up() {
    for stop_after in 0..5 {
        let place = Place::new();
        let store = filled(&place).await;
        let (old, new) = (place.key(), new_key(&place, "new"));
        let mut left = stop_after;
        let stopped = store
            .rotate_key(new.clone(), 10, &mut |_| {
                left -= 1;
                if left < 0 { Err(stop()) } else { Ok(()) }
            })
            .await;
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Other);
        drop(store);
        for key in [&old, &new] {
            let store = open_with(&place, key).await.unwrap();
            assert_whole(&store).await;
            let label = format!("written with {}", if std::ptr::eq(key, &old) { "old" } else { "new" });
            put(&store, "during", &label).await.unwrap();
            assert_eq!(text(&store, "during").await, label);
            let health = store.health().await.unwrap();
            assert!(
                health.warnings.iter().any(|warning| warning.contains("key rotate")),
                "{health:?}"
            );
        }
        // Whichever of the two keys it is taken up with.
        let key = if stop_after % 2 == 0 { &old } else { &new };
        let store = open_with(&place, key).await.unwrap();
        let steps = rotate(&store, &new).await.unwrap();
        assert_eq!(steps[0], RotateStep::Begun { resumed: true });
        assert_whole(&store).await;
        drop(store);
        assert_whole(&open_with(&place, &new).await.unwrap()).await;
        assert_eq!(open_with(&place, &old).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }
}

#[tokio::test]
async fn other_handles_read_and_write_before_during_and_after() {
    let place = Place::new();
    let store = filled(&place).await;
    let other = place.open().await.unwrap();
    let new = new_key(&place, "new");
    let mut count = 0;
    store
        .rotate_key(new.clone(), 10, &mut |_| {
            // A handle of another process, on a thread of its own.
            let other = other.clone();
            count += 1;
            let value = format!("round {count}");
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    assert_eq!(text(&other, "s3").await, "value 3");
                    put(&other, "other", &value).await.unwrap();
                    assert_eq!(text(&other, "other").await, value);
                    assert_whole(&other).await;
                });
            })
            .join()
            .unwrap();
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(text(&store, "other").await, format!("round {count}"));
    put(&other, "after", "still here").await.unwrap();
    assert_eq!(text(&store, "after").await, "still here");
}

#[tokio::test]
async fn a_handle_that_slept_through_it_reads_its_key_file_again() {
    let place = Place::new();
    let store = filled(&place).await;
    let sleeper = place.open().await.unwrap();
    let new = new_key(&place, "new");
    let (from, to) = (place.path("new"), place.path("key"));
    store
        .rotate_key(new, 100, &mut |step| {
            if step == RotateStep::Ready {
                std::fs::rename(&from, &to).unwrap();
            }
            Ok(())
        })
        .await
        .unwrap();
    assert_whole(&sleeper).await;
    assert_whole(&place.open().await.unwrap()).await;
}

#[tokio::test]
async fn another_target_replaces_a_change_that_was_begun() {
    let place = Place::new();
    let store = filled(&place).await;
    let (old, abandoned, new) = (place.key(), new_key(&place, "abandoned"), new_key(&place, "new"));
    let mut calls = 0;
    let stopped = store
        .rotate_key(abandoned.clone(), 10, &mut |_| {
            calls += 1;
            if calls == 2 { Err(stop()) } else { Ok(()) }
        })
        .await;
    assert!(stopped.is_err());
    let again = open_with(&place, &old).await.unwrap();
    let mut seen_in_between = None;
    again
        .rotate_key(new.clone(), 10, &mut |step| {
            if let RotateStep::Begun { resumed } = step {
                assert!(!resumed);
                // The abandoned key stops at once, the old one does not.
                let place = &place;
                let keys = [&old, &abandoned, &new];
                let results = std::thread::scope(|scope| {
                    let handle = scope.spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                        runtime.block_on(async {
                            let mut works = Vec::new();
                            for key in keys {
                                works.push(open_with(place, key).await.is_ok());
                            }
                            works
                        })
                    });
                    handle.join().unwrap()
                });
                seen_in_between = Some(results);
            }
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(seen_in_between, Some(vec![true, false, true]));
    assert_whole(&open_with(&place, &new).await.unwrap()).await;
    for key in [&old, &abandoned] {
        assert_eq!(open_with(&place, key).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }
}

#[tokio::test]
async fn the_key_encryption_key_can_change_under_the_same_source() {
    let place = Place::new();
    let store = filled(&place).await;
    let before = store.keys().await.unwrap();
    rotate(&store, &place.key()).await.unwrap();
    let after = store.keys().await.unwrap();
    assert_ne!(before.current, after.current);
    assert_eq!(before.sources, after.sources);
    assert_whole(&place.open().await.unwrap()).await;
}

#[tokio::test]
async fn from_a_key_file_to_a_passphrase_and_to_another() {
    let place = Place::new();
    let store = filled(&place).await;
    // The cheapest cost, to be quick.
    let passphrase = |text: &str| KeyConfig::Source(Arc::new(Passphrase::with_cost(text, PassphraseCost::LEAST).unwrap()));
    rotate(&store, &passphrase("first")).await.unwrap();
    let store = open_with(&place, &passphrase("first")).await.unwrap();
    let mut calls = 0;
    let stopped = store
        .rotate_key(passphrase("second"), 10, &mut |_| {
            calls += 1;
            if calls == 3 { Err(stop()) } else { Ok(()) }
        })
        .await;
    assert!(stopped.is_err());
    for text in ["first", "second"] {
        assert_whole(&open_with(&place, &passphrase(text)).await.unwrap()).await;
    }
    let store = open_with(&place, &passphrase("first")).await.unwrap();
    let steps = rotate(&store, &passphrase("second")).await.unwrap();
    assert_eq!(steps[0], RotateStep::Begun { resumed: true });
    assert_whole(&open_with(&place, &passphrase("second")).await.unwrap()).await;
    let error = open_with(&place, &passphrase("first")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_wrong_key_is_refused_without_a_word_about_values() {
    let place = Place::new();
    let store = filled(&place).await;
    drop(store);
    let other = new_key(&place, "other");
    let error = open_with(&place, &other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.hint().is_some());
    for text in ["", "canary", &"canary".repeat(40)] {
        let error = open_with(&place, &KeyConfig::Raw(SecretValue::from(text))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(!format!("{error:?}").contains("canary"));
    }
}

#[tokio::test]
async fn the_file_from_before_a_key_change_is_an_older_copy() {
    let place = Place::new();
    drop(filled(&place).await);
    place.copy("old");
    let store = place.open().await.unwrap();
    rotate(&store, &place.key()).await.unwrap();
    drop(store);
    place.put_back("old");
    let error = place.open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
}

#[test]
fn writers_and_readers_are_not_troubled_by_changes_that_follow_each_other() {
    let place = Place::new();
    let block_on = |future: std::pin::Pin<Box<dyn Future<Output = ()> + '_>>| {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future);
    };
    block_on(Box::pin(async {
        filled(&place).await;
    }));
    std::thread::scope(|scope| {
        let place = &place;
        scope.spawn(move || {
            block_on(Box::pin(async {
                let store = place.open().await.unwrap();
                for _ in 0..30 {
                    rotate(&store, &place.key()).await.unwrap();
                }
            }));
        });
        for thread in 0..2 {
            scope.spawn(move || {
                block_on(Box::pin(async {
                    let store = place.open().await.unwrap();
                    for index in 0..60 {
                        let (secret, value) = (format!("own{thread}"), index.to_string());
                        put(&store, &secret, &value).await.unwrap();
                        assert_eq!(text(&store, &secret).await, value);
                        assert_eq!(text(&store, "s7").await, "value 7");
                    }
                }));
            });
        }
    });
    block_on(Box::pin(async {
        assert_whole(&place.open().await.unwrap()).await;
    }));
}
