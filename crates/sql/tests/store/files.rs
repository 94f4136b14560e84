//! Files: making, opening, permissions, damage, backups, and the way back.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Place, get, get_version, name, put};
use keyfob_core::{ErrorKind, PutRequest, SecretStore};
use keyfob_sql::{SqlConfig, SqlStore};

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: impl AsRef<std::path::Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn everything_that_is_made_is_for_its_owner_only() {
    let place = Place::new();
    let mut config = place.config();
    config.path = place.path("deep/er/secrets.db");
    let store = SqlStore::create(config).await.unwrap();
    put(&store, "a", "value").await.unwrap();
    assert_eq!(mode(place.path("deep")), 0o700);
    for file in ["secrets.db", "secrets.db-wal", "secrets.db-shm"] {
        assert_eq!(mode(place.path("deep/er").join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(place.path("state")), 0o700);
    for entry in fs::read_dir(place.path("state")).unwrap() {
        assert_eq!(mode(entry.unwrap().path()), 0o600);
    }
    store.backup(place.path("backup.db")).await.unwrap();
    assert_eq!(mode(place.path("backup.db")), 0o600);
    drop(store);
    let left: Vec<_> = fs::read_dir(place.path("deep/er"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["secrets.db"], "nothing temporary stays behind");
}

#[tokio::test]
async fn no_value_stands_in_any_file() {
    let place = Place::new();
    let store = place.create().await;
    put(&store, "a", "canary-1234567890").await.unwrap();
    store.backup(place.path("backup.db")).await.unwrap();
    for file in ["secrets.db", "secrets.db-wal", "backup.db"] {
        let bytes = fs::read(place.path(file)).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "{file}");
    }
}

#[tokio::test]
async fn making_a_store_never_touches_what_is_there() {
    let place = Place::new();
    fs::write(place.path("secrets.db"), "mine").unwrap();
    let error = SqlStore::create(place.config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(place.path("secrets.db")).unwrap(), b"mine");
}

#[tokio::test]
async fn opening_never_makes_a_store() {
    let place = Place::new();
    let error = place.open().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.hint()),
        (ErrorKind::NotFound, Some("make one with `keyfob init`"))
    );
    assert!(!place.path("secrets.db").exists());
}

#[tokio::test]
async fn a_file_that_is_not_ours_says_so() {
    let place = Place::new();
    let path = place.path("secrets.db");
    for contents in [&b""[..], b"x", &b"not a database at all ".repeat(500)] {
        fs::write(&path, contents).unwrap();
        set_mode(&path, 0o600);
        let error = place.open().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::InvalidConfig, "the file is not a keyfob store"),
            "{error:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), contents, "it is left alone");
    }
    fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    drop(other);
    set_mode(&path, 0o600);
    let error = place.open().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::InvalidConfig, "the file is not a keyfob store"),
        "{error:?}"
    );

    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(place.open().await.unwrap_err().message(), "the store is not a regular file");
}

#[tokio::test]
async fn a_newer_format_says_so() {
    let place = Place::new();
    drop(place.create().await);
    let connection = rusqlite::Connection::open(place.path("secrets.db")).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    let error = place.open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert_eq!(error.message(), "the store has format 2, this keyfob knows 1");
}

#[tokio::test]
async fn a_file_that_others_may_write_is_refused_and_one_they_may_read_is_warned_about() {
    let place = Place::new();
    drop(place.create().await);
    for open_to in [0o620, 0o602] {
        set_mode(place.path("secrets.db"), open_to);
        let error = place.open().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.hint().unwrap().contains("chmod 600"), "{error:?}");
    }
    set_mode(place.path("secrets.db"), 0o644);
    let health = place.open().await.unwrap().health().await.unwrap();
    assert!(health.warnings[0].contains("may read"), "{health:?}");
    set_mode(place.path("secrets.db"), 0o600);
    let health = place.open().await.unwrap().health().await.unwrap();
    assert_eq!(health.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn without_a_state_directory_it_works_and_says_what_is_missing() {
    let place = Place::new();
    let config = SqlConfig::new(place.path("secrets.db"), place.key());
    let store = SqlStore::create(config.clone()).await.unwrap();
    put(&store, "a", "one").await.unwrap();
    let health = store.health().await.unwrap();
    assert!(health.warnings[0].contains("older copy"), "{health:?}");
    // What this process saw counts all the same.
    drop(store);
    place.copy("old");
    let store = SqlStore::open(config).await.unwrap();
    put(&store, "a", "two").await.unwrap();
    place.tamper("UPDATE store SET generation = generation - 1");
    assert_eq!(get(&store, "a").await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_truncated_file_is_damaged_wherever_it_ends() {
    let place = Place::new();
    let store = place.create().await;
    for index in 0..40 {
        put(&store, &format!("s{index}"), "value").await.unwrap();
    }
    drop(store);
    let whole = fs::read(place.path("secrets.db")).unwrap();
    for length in (100..whole.len()).step_by(whole.len() / 40) {
        fs::write(place.path("secrets.db"), &whole[..length]).unwrap();
        let error = match place.open().await {
            Err(error) => error,
            Ok(store) => store
                .verify()
                .await
                .map_or_else(|error| error, |report| report.problems[0].clone()),
        };
        assert!(
            matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::InvalidConfig),
            "{length}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_read_only_directory_says_that_reading_makes_files_too() {
    let place = Place::new();
    let mut config = place.config();
    config.path = place.path("ro/secrets.db");
    drop(SqlStore::create(config.clone()).await.unwrap());
    set_mode(place.path("ro"), 0o500);
    let opened = SqlStore::open(config).await;
    let is_root = fs::write(place.path("ro/probe"), "").is_ok();
    set_mode(place.path("ro"), 0o700);
    match opened {
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
            assert!(error.message().contains("must make files beside it"), "{error:?}");
            assert!(std::error::Error::source(&error).is_none(), "no code: {error:?}");
        }
        // Permissions do not bind root.
        Ok(_) => assert!(is_root),
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_a_warning_and_leaves_nothing_that_forbids_writing_later() {
    let place = Place::new();
    let store = place.create().await;
    put(&store, "a", "one").await.unwrap();
    drop(store);
    set_mode(place.path("secrets.db"), 0o400);
    let is_bound = fs::OpenOptions::new().write(true).open(place.path("secrets.db")).is_err();
    let store = place.open().await.unwrap();
    assert_eq!(get(&store, "a").await.unwrap().value.expose_secret(), b"one");
    let health = store.health().await.unwrap();
    assert_eq!(
        health.warnings.iter().any(|warning| warning.contains("can't be written to")),
        is_bound,
        "{health:?}"
    );
    if is_bound {
        assert_eq!(put(&store, "a", "two").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
    drop(store);
    // What such a reader leaves behind, whoever runs this test.
    for file in ["secrets.db-wal", "secrets.db-shm"] {
        if !place.path(file).exists() {
            fs::write(place.path(file), "").unwrap();
        }
        set_mode(place.path(file), 0o400);
    }
    set_mode(place.path("secrets.db"), 0o600);
    let store = place.open().await.unwrap();
    put(&store, "a", "two").await.unwrap();
    for file in ["secrets.db-wal", "secrets.db-shm"] {
        assert_eq!(mode(place.path(file)), 0o600, "{file}");
    }
    assert_eq!(store.health().await.unwrap().warnings, Vec::<String>::new());
}

#[tokio::test]
async fn versions_beyond_the_limit_go_and_numbers_are_never_given_twice() {
    let place = Place::new();
    let mut config = place.config();
    config.keep_versions = 3;
    let store = SqlStore::create(config).await.unwrap();
    for number in 1..=7 {
        let version = put(&store, "a", &format!("value {number}")).await.unwrap();
        assert_eq!(version.as_str(), number.to_string());
    }
    for (number, expected) in [(4, None), (5, Some("value 5")), (7, Some("value 7"))] {
        let found = get_version(&store, "a", number).await;
        assert_eq!(
            found
                .ok()
                .map(|secret| secret.value.expose_str().unwrap().to_owned())
                .as_deref(),
            expected
        );
    }
    assert_eq!(store.verify().await.unwrap().versions, 3);
}

#[tokio::test]
async fn limits_are_errors_with_numbers() {
    let place = Place::new();
    let store = place.create().await;
    let mut request = PutRequest::new("value");
    request.description = keyfob_core::Change::Set("x".repeat(20_000));
    let error = store.put(&name("a"), request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.message(), "the description has 20000 bytes, this store takes 16384");
    let largest = PutRequest::new(vec![7; 1 << 20]);
    store.put(&name("a"), largest).await.unwrap();
    assert_eq!(get(&store, "a").await.unwrap().value.len(), 1 << 20);
    assert_eq!(
        store
            .put(&name("a"), PutRequest::new(vec![7; (1 << 20) + 1]))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::InvalidInput
    );
}
