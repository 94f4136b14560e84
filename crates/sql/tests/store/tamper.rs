//! Changes to the file by somebody without the key: each is detected, and never gives a wrong value.

use crate::support::{Place, full_request, get, get_version, name, put};
use keyfob_core::{DeleteMode, DeleteOptions, ErrorKind, ListOptions, PutRequest, SecretStore};

/// A store with three secrets: `a` with two versions and all metadata, `b`, and `gone`, which is deleted.
async fn filled() -> Place {
    let place = Place::new();
    let store = place.create().await;
    put(&store, "a", "a one").await.unwrap();
    store.put(&name("a"), full_request("a two")).await.unwrap();
    put(&store, "b", "b one").await.unwrap();
    put(&store, "gone", "gone one").await.unwrap();
    let recoverable = DeleteOptions {
        mode: DeleteMode::Recoverable { window: None },
    };
    store.delete(&name("gone"), &recoverable).await.unwrap();
    place
}

/// What a user meets: every read that could be touched either fails or gives the true answer, and the full check
/// finds something. Returns the kinds of all errors.
async fn detect(place: &Place, what: &str) -> Vec<ErrorKind> {
    let store = match place.open().await {
        Ok(store) => store,
        Err(error) => return vec![error.kind()],
    };
    let mut kinds = Vec::new();
    for (secret, version, expected) in [("a", 1, "a one"), ("a", 2, "a two"), ("b", 1, "b one")] {
        match get_version(&store, secret, version).await {
            Ok(found) => assert_eq!(found.value.expose_str().unwrap(), expected, "{what}"),
            Err(error) => kinds.push(error.kind()),
        }
    }
    match get(&store, "gone").await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => kinds.push(error.kind()),
        Ok(_) => panic!("{what}: a deleted secret was handed out"),
    }
    match store.list(&ListOptions::default()).await {
        Ok(page) => assert_eq!(
            page.items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>(),
            ["a", "b"],
            "{what}"
        ),
        Err(error) => kinds.push(error.kind()),
    }
    match store.verify().await {
        Ok(report) => {
            assert!(!report.problems.is_empty(), "{what}: the full check found nothing");
            kinds.extend(report.problems.iter().map(keyfob_core::Error::kind));
        }
        Err(error) => kinds.push(error.kind()),
    }
    kinds
}

/// One statement of somebody without the key is found, as damage.
async fn assert_detected(sql: &str) {
    let place = filled().await;
    assert!(place.tamper(sql) > 0, "nothing was changed by: {sql}");
    let kinds = detect(&place, sql).await;
    assert!(kinds.contains(&ErrorKind::Corrupt), "{sql}: {kinds:?}");
    assert!(
        !kinds.contains(&ErrorKind::NotFound),
        "{sql}: a secret seems never to have been there: {kinds:?}"
    );
}

#[tokio::test]
async fn an_untouched_store_is_whole() {
    let place = filled().await;
    let store = place.open().await.unwrap();
    let report = store.verify().await.unwrap();
    assert_eq!((report.secrets, report.deleted, report.versions), (2, 1, 4));
    assert!(report.problems.is_empty(), "{report:?}");
}

#[tokio::test]
async fn every_column_of_the_versions_is_guarded() {
    for column in [
        "created = created + 1",
        "updated = updated - 1",
        "expires_at = expires_at + 1000000",
        "expires_at = NULL",
        "description = 'another description'",
        "description = NULL",
        "tags = '{\"team\": \"payments\"}'",
        "tags = '{}'",
        "ciphertext_digest = zeroblob(32)",
        "ciphertext_digest = x'00'",
        "wrapped_key = zeroblob(length(wrapped_key))",
        "wrapped_key = x''",
        "wrapped_key = substr(wrapped_key, 1, length(wrapped_key) - 1)",
        "wrapped_key = (SELECT wrapped_key FROM version WHERE name = 'a' AND number = 1)",
        "ciphertext = zeroblob(length(ciphertext))",
        "ciphertext = x''",
        "number = number + 10",
        "name = 'c'",
        "bucket = bucket + 1",
        "number = -1",
        "name = x'ff' || ''",
    ] {
        assert_detected(&format!("UPDATE version SET {column} WHERE name = 'a' AND number = 2")).await;
    }
}

#[tokio::test]
async fn every_column_of_the_secrets_is_guarded() {
    for column in [
        "last = last + 1",
        "last = 0",
        "last = -1",
        "deleted_at = NULL, purge_at = NULL",
        "deleted_at = NULL",
        "purge_at = NULL",
        "purge_at = 9000000000000000",
        "digest = zeroblob(32)",
        "history = zeroblob(length(history))",
        "history = x''",
        "history = substr(history, 1, 39)",
        "name = 'other'",
        "bucket = bucket + 1",
        "bucket = 5000",
    ] {
        assert_detected(&format!("UPDATE secret SET {column} WHERE name = 'gone'")).await;
    }
    assert_detected("UPDATE secret SET deleted_at = 1, purge_at = 1 WHERE name = 'b'").await;
    assert_detected("UPDATE secret SET history = substr(history, 1, 40) WHERE name = 'a'").await;
}

#[tokio::test]
async fn every_column_of_the_buckets_is_guarded() {
    for sql in [
        "UPDATE bucket SET digest = zeroblob(32)",
        "UPDATE bucket SET digest = x'00'",
        "UPDATE bucket SET id = id + 1 WHERE id = (SELECT max(id) FROM bucket)",
        "UPDATE bucket SET id = 4711 WHERE id = (SELECT max(id) FROM bucket)",
        "UPDATE bucket SET id = -1 WHERE id = (SELECT max(id) FROM bucket)",
        "DELETE FROM bucket",
        "DELETE FROM bucket WHERE id = (SELECT bucket FROM secret WHERE name = 'b')",
        "INSERT OR REPLACE INTO bucket SELECT min(id) + 1, digest FROM bucket",
    ] {
        assert_detected(sql).await;
    }
}

#[tokio::test]
async fn every_column_of_the_head_and_of_the_slots_is_guarded() {
    // Without the right store id or slot the key does not fit, and nobody can say whether key or file is the wrong one.
    for (sql, expected) in [
        ("UPDATE store SET format = 2", ErrorKind::InvalidConfig),
        ("UPDATE store SET store_id = zeroblob(16)", ErrorKind::Corrupt),
        ("UPDATE store SET store_id = x'00'", ErrorKind::Corrupt),
        ("UPDATE store SET kek = zeroblob(16)", ErrorKind::Corrupt),
        ("UPDATE store SET generation = generation + 1", ErrorKind::Corrupt),
        ("UPDATE store SET generation = generation - 1", ErrorKind::Corrupt),
        ("UPDATE store SET generation = -1", ErrorKind::Corrupt),
        ("UPDATE store SET next_purge = NULL", ErrorKind::Corrupt),
        ("UPDATE store SET next_purge = 0", ErrorKind::Corrupt),
        ("UPDATE store SET mac = zeroblob(32)", ErrorKind::Corrupt),
        ("DELETE FROM store", ErrorKind::Corrupt),
        ("UPDATE key_slot SET kek = zeroblob(16)", ErrorKind::Corrupt),
        (
            "UPDATE key_slot SET source = 'key:0000000000000000'",
            ErrorKind::Unauthenticated,
        ),
        ("UPDATE key_slot SET wrapped = zeroblob(length(wrapped))", ErrorKind::Corrupt),
        ("UPDATE key_slot SET wrapped = x''", ErrorKind::Corrupt),
        ("DELETE FROM key_slot", ErrorKind::Unauthenticated),
        (
            "INSERT INTO key_slot VALUES (zeroblob(16), 'key:1', zeroblob(60))",
            ErrorKind::Corrupt,
        ),
    ] {
        let place = filled().await;
        assert!(place.tamper(sql) > 0, "{sql}");
        let error = place.open().await.unwrap_err();
        assert_eq!(error.kind(), expected, "{sql}: {error:?}");
        assert!(error.hint().is_some(), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn rows_that_are_deleted_swapped_copied_or_added_are_noticed() {
    for sql in [
        "DELETE FROM secret WHERE name = 'b'",
        "DELETE FROM secret",
        "DELETE FROM version WHERE name = 'b'",
        "DELETE FROM version WHERE name = 'a' AND number = 1",
        "DELETE FROM version",
        // Another version's value under this version.
        "UPDATE version SET (wrapped_key, ciphertext, ciphertext_digest) = \
         (SELECT wrapped_key, ciphertext, ciphertext_digest FROM version WHERE name = 'a' AND number = 1) \
         WHERE name = 'a' AND number = 2",
        // Another secret's value under this name, with everything that belongs to it.
        "UPDATE version SET (created, updated, expires_at, description, tags, wrapped_key, ciphertext, ciphertext_digest) = \
         (SELECT created, updated, expires_at, description, tags, wrapped_key, ciphertext, ciphertext_digest \
          FROM version WHERE name = 'a' AND number = 1) WHERE name = 'b'",
        "UPDATE secret SET (last, digest, history) = (SELECT last, digest, history FROM secret WHERE name = 'b') WHERE name = 'a'",
        // A copy under another name.
        "INSERT INTO secret SELECT bucket, 'copy', last, deleted_at, purge_at, digest, history FROM secret WHERE name = 'b'",
        "INSERT INTO version SELECT bucket, 'copy', number, created, updated, expires_at, description, tags, ciphertext_digest, \
         wrapped_key, ciphertext FROM version WHERE name = 'b'",
        "INSERT INTO version SELECT bucket, name, 7, created, updated, expires_at, description, tags, ciphertext_digest, \
         wrapped_key, ciphertext FROM version WHERE name = 'b'",
    ] {
        assert_detected(sql).await;
    }
}

/// Copies rows of an older copy of the file into the present one: every combination of tables, all consistent among
/// themselves.
#[tokio::test]
async fn older_rows_are_noticed_in_every_consistent_combination() {
    let tables = ["version", "secret", "bucket", "store", "key_slot"];
    for choice in 1_u32..(1 << tables.len()) {
        let chosen: Vec<&str> = (0..tables.len())
            .filter(|bit| choice & (1 << bit) != 0)
            .map(|bit| tables[bit])
            .collect();
        // The slots have not changed in between: alone they are no change.
        if chosen == ["key_slot"] {
            continue;
        }
        let place = filled().await;
        place.copy("old");
        let store = place.open().await.unwrap();
        put(&store, "a", "a three").await.unwrap();
        put(&store, "b", "b two").await.unwrap();
        drop(store);
        let connection = rusqlite::Connection::open(place.path("secrets.db")).unwrap();
        let old = place.path("old/secrets.db");
        connection.execute("ATTACH ?1 AS old", [old.to_str().unwrap()]).unwrap();
        for table in &chosen {
            connection
                .execute_batch(&format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM old.{table}"))
                .unwrap();
        }
        drop(connection);
        let Ok(store) = place.open().await else { continue };
        let report = store.verify().await.unwrap();
        assert!(!report.problems.is_empty(), "{chosen:?}");
        for (secret, current) in [("a", "a three"), ("b", "b two")] {
            match get(&store, secret).await {
                Ok(found) => assert_eq!(found.value.expose_str().unwrap(), current, "{chosen:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{chosen:?} {error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn an_older_copy_of_the_whole_file_is_refused() {
    let place = filled().await;
    place.copy("old");
    let store = place.open().await.unwrap();
    put(&store, "b", "b two").await.unwrap();
    drop(store);
    place.copy("new");
    place.put_back("old");
    let error = place.open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.message(), "an older copy of the store's file was put in its place");
    assert!(error.hint().unwrap().contains("keyfob backup restore"), "{error:?}");
    // The newest copy is the store.
    place.put_back("new");
    assert_eq!(crate::support::text(&place.open().await.unwrap(), "b").await, "b two");
}

#[tokio::test]
async fn a_fork_of_the_same_age_is_refused() {
    let place = filled().await;
    place.copy("old");
    put(&place.open().await.unwrap(), "b", "the one branch").await.unwrap();
    place.put_back("old");
    let elsewhere = place.config().with_state_dir(place.path("another machine"));
    let other = keyfob_sql::SqlStore::open(elsewhere).await.unwrap();
    put(&other, "b", "the other branch").await.unwrap();
    drop(other);
    let error = place.open().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (
            ErrorKind::Corrupt,
            "another copy of the store was put in the place of its file"
        )
    );
}

#[tokio::test]
async fn a_handle_that_is_open_notices_too() {
    let place = filled().await;
    let store = place.open().await.unwrap();
    assert_eq!(crate::support::text(&store, "a").await, "a two");
    for sql in [
        "UPDATE version SET tags = '{}' WHERE name = 'a' AND number = 2",
        "DELETE FROM secret WHERE name = 'a'",
        "UPDATE store SET generation = generation - 1",
    ] {
        assert!(place.tamper(sql) > 0);
        assert_eq!(get(&store, "a").await.unwrap_err().kind(), ErrorKind::Corrupt, "{sql}");
    }
    let error = store.put(&name("a"), PutRequest::new("new")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn damage_to_one_secret_leaves_the_others_readable() {
    let place = filled().await;
    place.tamper("UPDATE version SET ciphertext = zeroblob(40) WHERE name = 'a'");
    let store = place.open().await.unwrap();
    let requests = ["a", "b"].map(|text| keyfob_core::GetRequest::new(name(text)));
    let answers = store.get_many(&requests).await;
    let error = answers[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("name `a`"), "{error}");
    assert_eq!(answers[1].as_ref().unwrap().value.expose_secret(), b"b one");
}

#[tokio::test]
async fn every_flipped_byte_of_the_file_is_noticed_or_harmless() {
    let place = filled().await;
    place.copy("good");
    let good = std::fs::read(place.path("good/secrets.db")).unwrap();
    // A prime stride meets every kind of place in the pages.
    for offset in (0..good.len()).step_by(37) {
        let mut bad = good.clone();
        bad[offset] ^= 0x55;
        place.put_back("good");
        std::fs::write(place.path("secrets.db"), bad).unwrap();
        let Ok(store) = place.open().await else { continue };
        for (secret, expected) in [("a", "a two"), ("b", "b one")] {
            match get(&store, secret).await {
                Ok(found) => assert_eq!(found.value.expose_str().unwrap(), expected, "byte {offset}"),
                Err(error) => assert_ne!(error.kind(), ErrorKind::NotFound, "byte {offset}: {error:?}"),
            }
        }
        assert!(get(&store, "gone").await.is_err(), "byte {offset}");
    }
}
