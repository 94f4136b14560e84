//! What is remembered outside the store's file: no way around it, and never in silence.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use keyfob_core::{ErrorKind, SecretStore};
use keyfob_sql::{SqlConfig, SqlStore};

use crate::support::{Place, get, put, text};

/// A store with `a`, of which `old/` has a copy from before its second version.
async fn with_an_older_copy() -> Place {
    let place = Place::new();
    put(&place.create().await, "a", "one").await.unwrap();
    place.copy("old");
    put(&place.open().await.unwrap(), "a", "two").await.unwrap();
    place
}

fn record(place: &Place) -> PathBuf {
    let mut records = fs::read_dir(place.path("state")).unwrap();
    records.next().unwrap().unwrap().path()
}

fn set_mode(path: impl AsRef<std::path::Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_link_to_an_older_copy_in_the_place_of_the_file_is_refused() {
    let place = with_an_older_copy().await;
    fs::rename(place.path("secrets.db"), place.path("newer.db")).unwrap();
    symlink("old/secrets.db", place.path("secrets.db")).unwrap();
    let error = place.open().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Corrupt, "an older copy of the store's file was put in its place")
    );
    // A link to the newest is the store.
    fs::remove_file(place.path("secrets.db")).unwrap();
    symlink("newer.db", place.path("secrets.db")).unwrap();
    assert_eq!(text(&place.open().await.unwrap(), "a").await, "two");
}

#[tokio::test]
async fn a_link_on_the_way_to_the_file_is_no_other_path() {
    let place = with_an_older_copy().await;
    symlink(".", place.path("linked")).unwrap();
    let mut linked = place.config();
    linked.path = place.path("linked/secrets.db");
    drop(SqlStore::open(linked.clone()).await.unwrap());
    assert_eq!(fs::read_dir(place.path("state")).unwrap().count(), 1);
    place.put_back("old");
    assert_eq!(SqlStore::open(linked).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn health_warns_of_an_older_copy_at_another_path() {
    let place = with_an_older_copy().await;
    let mut elsewhere = place.config();
    elsewhere.path = place.path("old/secrets.db");
    let older = SqlStore::open(elsewhere).await.unwrap();
    let warnings = older.health().await.unwrap().warnings;
    assert!(
        matches!(warnings.as_slice(), [warning] if warning.contains("this is an older copy: generation 3")),
        "{warnings:?}"
    );
    let newest = place.open().await.unwrap().health().await.unwrap();
    assert_eq!(newest.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_every_use() {
    // Modes do not bind root; what is no file stops everybody.
    let is_root = {
        let place = Place::new();
        fs::write(place.path("probe"), "").unwrap();
        set_mode(place.path("probe"), 0o000);
        fs::read(place.path("probe")).is_ok()
    };
    for obstacle in [
        "directory for record",
        "dangling link for record",
        "link for record",
        "file for directory",
        "dangling link for directory",
        "mode of record",
        "mode of directory",
    ] {
        let place = with_an_older_copy().await;
        let (state, record) = (place.path("state"), record(&place));
        match obstacle {
            "directory for record" => {
                fs::remove_file(&record).unwrap();
                fs::create_dir(&record).unwrap();
            }
            "dangling link for record" => {
                fs::remove_file(&record).unwrap();
                symlink(place.path("nothing"), &record).unwrap();
            }
            "link for record" => {
                fs::rename(&record, place.path("moved")).unwrap();
                symlink(place.path("moved"), &record).unwrap();
            }
            "file for directory" => {
                fs::rename(&state, place.path("moved")).unwrap();
                fs::write(&state, "").unwrap();
            }
            "dangling link for directory" => {
                fs::rename(&state, place.path("moved")).unwrap();
                symlink("nothing", &state).unwrap();
            }
            "mode of record" => set_mode(&record, 0o000),
            _ => set_mode(&state, 0o000),
        }
        place.put_back("old");
        let opened = place.open().await;
        let restored = SqlStore::preview_backup(place.config(), place.path("old/secrets.db")).await;
        if obstacle == "mode of directory" {
            set_mode(&state, 0o700);
        }
        let error = opened.unwrap_err();
        if obstacle.starts_with("mode") {
            let expected = if is_root {
                ErrorKind::Corrupt
            } else {
                ErrorKind::PermissionDenied
            };
            assert_eq!(error.kind(), expected, "{obstacle}: {error:?}");
            assert!(is_root || error.hint().unwrap().contains("chmod"), "{error:?}");
        } else {
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{obstacle}: {error:?}");
            assert!(error.to_string().contains("state"), "it names the path: {error}");
            assert_eq!(restored.unwrap_err().kind(), ErrorKind::InvalidConfig, "{obstacle}");
        }
        assert!(!place.path("nothing").exists(), "{obstacle}: nothing is made through a link");
    }
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_made_is_a_warning() {
    let place = with_an_older_copy().await;
    let config = place.config().with_state_dir("/dev/null/state");
    let store = SqlStore::open(config).await.unwrap();
    put(&store, "a", "three").await.unwrap();
    let warnings = store.health().await.unwrap().warnings;
    assert!(
        matches!(warnings.as_slice(), [warning] if warning.contains("can't be made") && warning.contains("older copy")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_record_that_can_only_be_read_still_counts() {
    let place = with_an_older_copy().await;
    set_mode(record(&place), 0o400);
    let is_bound = fs::OpenOptions::new().write(true).open(record(&place)).is_err();
    let health = place.open().await.unwrap().health().await.unwrap();
    assert_eq!(
        health.warnings.iter().any(|warning| warning.contains("can't be written")),
        is_bound,
        "{health:?}"
    );
    place.put_back("old");
    assert_eq!(place.open().await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_preview_says_which_generations_are_in_neither_file() {
    let place = Place::new();
    let store = place.create().await;
    put(&store, "a", "one").await.unwrap();
    store.backup(place.path("backup.db")).await.unwrap();
    drop(store);
    place.copy("old");
    let store = place.open().await.unwrap();
    put(&store, "a", "two").await.unwrap();
    put(&store, "b", "one").await.unwrap();
    drop(store);
    let preview = || SqlStore::preview_backup(place.config(), place.path("backup.db"));
    assert_eq!(
        preview().await.unwrap().missing_generations,
        None,
        "the present file is the newest"
    );

    place.put_back("old");
    let found = preview().await.unwrap();
    assert_eq!((found.present_generation, found.backup_generation), (Some(2), 2));
    assert!(found.lost.is_empty() && found.changed.is_empty(), "{found:?}");
    assert_eq!(found.missing_generations, Some((3, 4)));

    fs::remove_file(place.path("secrets.db")).unwrap();
    assert_eq!(preview().await.unwrap().missing_generations, Some((3, 4)));
    let done = SqlStore::restore_backup(place.config(), place.path("backup.db"))
        .await
        .unwrap();
    assert_eq!(done.missing_generations, Some((3, 4)));
    let store = place.open().await.unwrap();
    assert_eq!(text(&store, "a").await, "one");
    assert_eq!(get(&store, "b").await.unwrap_err().kind(), ErrorKind::NotFound);
    let config: SqlConfig = place.config();
    assert_eq!(
        SqlStore::preview_backup(config, place.path("backup.db"))
            .await
            .unwrap()
            .missing_generations,
        None
    );
}
