//! What somebody with all rights in the database can't do unnoticed.

use keyfob_core::{ErrorKind, GetOptions, ListOptions, PutRequest, SecretName, SecretStore};
use keyfob_sql::{PostgresConfig, PostgresStore};

use crate::support::Place;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// A change from outside, and whether it is found by reading `a` already; the check of everything finds each.
const CHANGES: &[(&str, &str, bool)] = &[
    (
        "values of two secrets are swapped",
        "UPDATE S.version AS v SET ciphertext = o.ciphertext, wrapped_key = o.wrapped_key, ciphertext_digest = o.ciphertext_digest \
         FROM S.version AS o WHERE v.name = 'a' AND o.name = 'b' AND v.number = 1 AND o.number = 1",
        true,
    ),
    (
        "one bit of a value",
        "UPDATE S.version SET ciphertext = set_bit(ciphertext, 3, 1 - get_bit(ciphertext, 3)) WHERE name = 'a'",
        true,
    ),
    (
        "an older version as the newest",
        "DELETE FROM S.version WHERE name = 'c' AND number = 2; UPDATE S.version SET number = 2 WHERE name = 'c'",
        false,
    ),
    ("a later expiry", "UPDATE S.version SET expires_at = 1 WHERE name = 'a'", true),
    (
        "a tag",
        "UPDATE S.version SET tags = '{\"owner\":\"eve\"}' WHERE name = 'a'",
        true,
    ),
    (
        "a secret is gone",
        "DELETE FROM S.secret WHERE name = 'a'; DELETE FROM S.version WHERE name = 'a'",
        true,
    ),
    ("a version is gone", "DELETE FROM S.version WHERE name = 'a'", true),
    ("a secret is renamed", "UPDATE S.secret SET name = 'z' WHERE name = 'a'", true),
    (
        "a secret is deleted by its mark",
        "UPDATE S.secret SET deleted_at = 1, purge_at = 9999999999999 WHERE name = 'a'",
        true,
    ),
    ("a bucket's record is gone", "DELETE FROM S.bucket", true),
    (
        "a bucket's generation",
        "UPDATE S.bucket SET generation = generation + 1",
        true,
    ),
    (
        "a bucket's digest",
        "UPDATE S.bucket SET digest = decode(repeat('00', 32), 'hex')",
        true,
    ),
    (
        "the head's generation",
        "UPDATE S.store SET generation = generation + 1",
        true,
    ),
    ("a key slot is gone", "DELETE FROM S.key_slot", true),
    (
        "a key slot too many",
        "INSERT INTO S.key_slot SELECT kek, 'file:other', wrapped FROM S.key_slot",
        true,
    ),
    (
        "the store's id",
        "UPDATE S.store SET store_id = decode(repeat('07', 16), 'hex')",
        true,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_from_outside_is_noticed() {
    let test = "every_change_from_outside_is_noticed";
    for (what, sql, is_read) in CHANGES {
        let Some(place) = Place::new(test) else { return };
        let store = filled(&place).await;
        place.tamper(sql).await;
        if *is_read {
            let read = store.get(&name("a"), &GetOptions::default()).await;
            let error = read.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: read");
            let hint = error.hint().unwrap_or_default();
            assert!(
                !hint.contains("keyfob backup"),
                "{what}: keyfob makes no backups of a database: {hint}"
            );
        }
        let is_found = match store.verify().await {
            Ok(report) => !report.problems.is_empty(),
            Err(error) => error.kind() == ErrorKind::Corrupt,
        };
        assert!(is_found, "{what}: the check of everything");
        place.remove().await;
    }
}

async fn filled(place: &Place) -> PostgresStore {
    let store = place.create().await;
    for (secret, value) in [
        ("a", "kfcanary-tamper01"),
        ("b", "kfcanary-tamper02"),
        ("c", "kfcanary-tamper03"),
        ("c", "kfcanary-tamper04"),
    ] {
        store.put(&name(secret), PutRequest::new(value)).await.unwrap();
    }
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_holds_no_value_in_clear() {
    let Some(place) = Place::new("the_database_holds_no_value_in_clear") else {
        return;
    };
    filled(&place).await;
    let sql = format!(
        "SELECT count(*) FROM {}.version AS v WHERE position('kfcanary'::bytea IN ciphertext) > 0 OR v::text LIKE '%kfcanary%'",
        place.schema
    );
    let row = place.administrator().await.query_one(&sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    place.remove().await;
}

/// The rows of all tables as they are now, put back later.
async fn with_older_rows(place: &Place, between: impl AsyncFnOnce()) {
    let tables = ["store", "key_slot", "bucket", "secret", "version"];
    for table in tables {
        place
            .tamper(&format!("CREATE TABLE S.old_{table} AS SELECT * FROM S.{table}"))
            .await;
    }
    between().await;
    for table in tables {
        place
            .tamper(&format!(
                "DELETE FROM S.{table}; INSERT INTO S.{table} SELECT * FROM S.old_{table}"
            ))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_rows_are_noticed_by_everybody_who_saw_newer_ones() {
    let Some(place) = Place::new("older_rows_are_noticed_by_everybody_who_saw_newer_ones") else {
        return;
    };
    let store = filled(&place).await;
    let reader = PostgresStore::open(place.config_on("reader")).await.unwrap();
    with_older_rows(&place, async || {
        store.put(&name("a"), PutRequest::new("kfcanary-tamper05")).await.unwrap();
        reader.get(&name("a"), &GetOptions::default()).await.unwrap();
    })
    .await;
    for (who, store) in [
        ("the writer", &store),
        ("a reader", &reader),
        ("a new process on the writer's machine", &place.open().await),
    ] {
        let read = store.get(&name("a"), &GetOptions::default()).await;
        assert_eq!(read.err().map(|error| error.kind()), Some(ErrorKind::Corrupt), "{who} reads");
        let list = store.list(&ListOptions::default()).await;
        assert_eq!(list.err().map(|error| error.kind()), Some(ErrorKind::Corrupt), "{who} lists");
        let written = store.put(&name("a"), PutRequest::new("kfcanary-tamper06")).await;
        assert_eq!(
            written.err().map(|error| error.kind()),
            Some(ErrorKind::Corrupt),
            "{who} writes"
        );
    }
    // What only the rows say, a machine that saw nothing else has to believe.
    let stranger = PostgresStore::open(place.config_on("stranger")).await.unwrap();
    assert!(stranger.get(&name("a"), &GetOptions::default()).await.is_ok());
    place.remove().await;
}

/// Each is authentic in itself, and the same key opens both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_store_of_the_same_key_is_not_taken_for_the_one_that_was_there() {
    let Some(place) = Place::new("another_store_of_the_same_key_is_not_taken_for_the_one_that_was_there") else {
        return;
    };
    let store = place.create().await;
    store.put(&name("a"), PutRequest::new("kfcanary-tamper08")).await.unwrap();
    let mut config = place.config();
    config.schema = format!("{}_other", place.schema);
    let other = PostgresStore::create(config.clone()).await.unwrap();
    other.put(&name("a"), PutRequest::new("kfcanary-tamper09")).await.unwrap();
    let exchange = format!(
        "ALTER SCHEMA {0} RENAME TO {0}_aside; ALTER SCHEMA {0}_other RENAME TO {0}; ALTER SCHEMA {0}_aside RENAME TO {0}_other",
        place.schema
    );
    place.tamper(&exchange).await;
    let read = store.get(&name("a"), &GetOptions::default()).await;
    assert_eq!(
        read.err().map(|error| error.kind()),
        Some(ErrorKind::Corrupt),
        "a running process"
    );
    for config in [place.config(), config.clone()] {
        let error = PostgresStore::open(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.hint().unwrap().contains(".store"), "{error:?}");
    }
    // Who has never been here can't know; another key does not open it.
    PostgresStore::open(place.config_on("stranger")).await.unwrap();
    place.tamper(&exchange).await;
    place.open().await.get(&name("a"), &GetOptions::default()).await.unwrap();

    // Made anew on purpose.
    place.tamper(&format!("DROP SCHEMA {} CASCADE", place.schema)).await;
    place.create().await;
    place.open().await;
    place
        .remove_with(async |place| place.tamper(&format!("DROP SCHEMA {}_other CASCADE", place.schema)).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_place_is_remembered_without_a_state_directory_too() {
    let Some(place) = Place::new("one_place_is_remembered_without_a_state_directory_too") else {
        return;
    };
    place.create().await;
    let mut config: PostgresConfig = place.config();
    config.state_dir = None;
    let store = PostgresStore::open(config).await.unwrap();
    let health = store.health().await.unwrap();
    assert!(!health.warnings.is_empty(), "that nothing is remembered is said");
    with_older_rows(&place, async || {
        store.put(&name("a"), PutRequest::new("kfcanary-tamper07")).await.unwrap();
    })
    .await;
    let read = store.get(&name("a"), &GetOptions::default()).await;
    assert_eq!(read.err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    place.remove().await;
}
