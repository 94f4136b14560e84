//! Changing the key while others work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyfob_core::{ErrorKind, GetOptions, PutRequest, SecretName, SecretStore};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, PostgresStore, RotateStep};

use crate::support::Place;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

async fn write_all(store: &PostgresStore, value: &str) {
    for number in 0..40 {
        store.put(&name(&format!("s{number}")), PutRequest::new(value)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_changes_while_another_machine_writes() {
    let Some(place) = Place::new("the_key_changes_while_another_machine_writes") else {
        return;
    };
    let store = place.create().await;
    write_all(&store, "kfcanary-rotate01").await;
    let new = place.path("new-key");
    RawKey::create_file(&new).unwrap();
    // The other machine gets the new key while both open the store.
    let its_key = place.path("other-key");
    std::fs::copy(place.path("key"), &its_key).unwrap();
    let mut config = place.config_on("other");
    config.key = KeyConfig::File(its_key.clone());
    let other = PostgresStore::open(config).await.unwrap();
    let is_changed = Arc::new(AtomicBool::new(false));
    let (tell, begun) = tokio::sync::oneshot::channel();
    let writing = tokio::spawn({
        let is_changed = Arc::clone(&is_changed);
        async move {
            write_all(&other, "kfcanary-rotate01").await;
            tell.send(()).unwrap();
            loop {
                // The last round begins after the end.
                let is_last = is_changed.load(Ordering::SeqCst);
                write_all(&other, "kfcanary-rotate02").await;
                if is_last {
                    break;
                }
            }
        }
    });
    begun.await.unwrap();
    let before = store.keys().await.unwrap();
    let mut steps = 0;
    store
        .rotate_key(KeyConfig::File(new.clone()), 5, &mut |step| {
            steps += 1;
            if step == RotateStep::Ready {
                // In one step, as `mv` does.
                let fresh = place.path("fresh-key");
                std::fs::copy(&new, &fresh).unwrap();
                std::fs::rename(fresh, &its_key).unwrap();
            }
            Ok(())
        })
        .await
        .unwrap();
    assert!(steps > 3, "{steps}");
    is_changed.store(true, Ordering::SeqCst);
    writing.await.unwrap();
    let after = store.keys().await.unwrap();
    assert_ne!(before.current, after.current);
    assert!(after.retiring.is_empty());

    let error = PostgresStore::open(place.config()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unauthenticated,
        "the old key opens nothing any more: {error}"
    );
    let mut config = place.config();
    config.key = KeyConfig::File(new);
    let reopened = PostgresStore::open(config).await.unwrap();
    for number in 0..40 {
        let secret = reopened
            .get(&name(&format!("s{number}")), &GetOptions::default())
            .await
            .unwrap();
        assert!(secret.value.expose_secret() == b"kfcanary-rotate02");
    }
    assert!(reopened.verify().await.unwrap().problems.is_empty());
    place.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_stopped_is_taken_up() {
    let Some(place) = Place::new("a_change_that_stopped_is_taken_up") else {
        return;
    };
    let store = place.create().await;
    for number in 0..20 {
        store
            .put(&name(&format!("s{number}")), PutRequest::new("kfcanary-rotate03"))
            .await
            .unwrap();
    }
    let new = place.path("new-key");
    RawKey::create_file(&new).unwrap();
    let stopped = store
        .rotate_key(KeyConfig::File(new.clone()), 3, &mut |step| match step {
            RotateStep::Wrapped(count) if count > 5 => Err(keyfob_core::Error::new(ErrorKind::Other, "stopped")),
            _ => Ok(()),
        })
        .await;
    assert_eq!(stopped.unwrap_err().message(), "stopped");
    // Both keys open it, and it says that it is not done.
    let old = place.open().await;
    assert!(!old.keys().await.unwrap().retiring.is_empty());
    assert!(
        old.health()
            .await
            .unwrap()
            .warnings
            .iter()
            .any(|warning| warning.contains("key rotate"))
    );
    let mut config = place.config();
    config.key = KeyConfig::File(new.clone());
    PostgresStore::open(config).await.unwrap();

    let mut was_resumed = false;
    old.rotate_key(KeyConfig::File(new), 3, &mut |step| {
        was_resumed |= matches!(step, RotateStep::Begun { resumed: true });
        Ok(())
    })
    .await
    .unwrap();
    assert!(was_resumed);
    assert!(old.keys().await.unwrap().retiring.is_empty());
    assert!(old.verify().await.unwrap().problems.is_empty());
    place.remove().await;
}

/// A writer that was on its way with the old key would leave a value that nothing opens afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_does_not_begin_while_somebody_writes() {
    let Some(place) = Place::new("a_change_does_not_begin_while_somebody_writes") else {
        return;
    };
    let writer = place.create().await;
    writer.put(&name("a"), PutRequest::new("kfcanary-rotate04")).await.unwrap();
    let mut administrator = place.administrator().await;
    let holding = administrator.transaction().await.unwrap();
    let rows = format!("SELECT id FROM {}.bucket FOR UPDATE", place.schema);
    holding.query(&rows, &[]).await.unwrap();
    // It waits in the middle of its transaction.
    let writing = tokio::spawn(async move { writer.put(&name("a"), PutRequest::new("kfcanary-rotate05")).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keyfob' AND wait_event_type = 'Lock' \
                 AND query LIKE '%' || $1 || '%'";
    let observer = place.administrator().await;
    while observer.query_one(waits, &[&place.schema]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(!writing.is_finished(), "nothing kept the writer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut config = place.config();
    config.timeout = Duration::from_secs(1);
    let rotator = PostgresStore::open(config).await.unwrap();
    let new = place.path("new-key");
    RawKey::create_file(&new).unwrap();
    let error = rotator
        .rotate_key(KeyConfig::File(new), 5, &mut |_| Ok(()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    holding.rollback().await.unwrap();
    writing.await.unwrap().unwrap();
    assert!(rotator.keys().await.unwrap().retiring.is_empty(), "nothing was begun");
    place.remove().await;
}
