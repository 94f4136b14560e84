//! Backups, and the way back from every kind of damage.

use std::fs;

use keyfob_core::{DeleteMode, DeleteOptions, ErrorKind, SecretStore};
use keyfob_sql::SqlStore;

use crate::support::{Place, full_request, get, name, put, text};

#[tokio::test]
async fn a_backup_comes_back_with_a_word_about_what_is_lost() {
    let place = Place::new();
    let store = place.create().await;
    put(&store, "kept", "kept one").await.unwrap();
    put(&store, "dropped", "dropped one").await.unwrap();
    store.put(&name("changed"), full_request("changed one")).await.unwrap();
    let report = store.backup(place.path("backup.db")).await.unwrap();
    assert_eq!((report.secrets, report.versions), (3, 3));
    put(&store, "changed", "changed two").await.unwrap();
    put(&store, "new", "new one").await.unwrap();
    let permanent = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    store.delete(&name("dropped"), &permanent).await.unwrap();
    let generation = store.verify().await.unwrap().generation;

    let preview = SqlStore::preview_backup(place.config(), place.path("backup.db"))
        .await
        .unwrap();
    let shown = |list: &[keyfob_sql::VersionsOf]| -> Vec<String> {
        list.iter()
            .map(|of| {
                format!(
                    "{}@{}",
                    of.name,
                    of.versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
                )
            })
            .collect()
    };
    assert_eq!(shown(&preview.lost), ["changed@2", "new@1"]);
    assert_eq!(shown(&preview.back), ["dropped@1"]);
    assert_eq!(preview.changed.len(), 1);
    assert_eq!(preview.changed[0].name.as_str(), "changed");
    assert_eq!(preview.present_generation, Some(generation));
    assert_eq!(text(&store, "changed").await, "changed two", "a preview changes nothing");

    let done = SqlStore::restore_backup(place.config(), place.path("backup.db"))
        .await
        .unwrap();
    assert_eq!(shown(&done.lost), shown(&preview.lost));
    // The handle that was open all the while sees the content of the backup as the newest.
    assert_eq!(text(&store, "changed").await, "changed one");
    assert_eq!(text(&store, "dropped").await, "dropped one");
    assert_eq!(get(&store, "new").await.unwrap_err().kind(), ErrorKind::NotFound);
    let report = store.verify().await.unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    assert_eq!(report.generation, generation + 1);
    // The token of the lost version is not given again.
    assert_eq!(put(&store, "changed", "changed three").await.unwrap().as_str(), "3");
    assert_eq!(place.open().await.unwrap().verify().await.unwrap().problems.len(), 0);
}

#[tokio::test]
async fn a_backup_mends_a_store_that_was_rolled_back_damaged_or_lost() {
    for damage in ["rolled back", "tampered", "overwritten", "lost"] {
        let place = Place::new();
        let store = place.create().await;
        put(&store, "a", "one").await.unwrap();
        store.backup(place.path("backup.db")).await.unwrap();
        drop(store);
        place.copy("old");
        put(&place.open().await.unwrap(), "a", "two").await.unwrap();
        let newest = place.open().await.unwrap().verify().await.unwrap().generation;
        match damage {
            "rolled back" => place.put_back("old"),
            "tampered" => assert!(place.tamper("DELETE FROM secret") > 0),
            "overwritten" => {
                let mut bytes = fs::read(place.path("secrets.db")).unwrap();
                bytes[4096..].fill(0xaa);
                fs::write(place.path("secrets.db"), bytes).unwrap();
            }
            _ => fs::remove_file(place.path("secrets.db")).unwrap(),
        }
        let preview = SqlStore::preview_backup(place.config(), place.path("backup.db"))
            .await
            .unwrap();
        let is_unreadable = matches!(damage, "tampered" | "overwritten");
        assert_eq!(preview.present_problem.is_some(), is_unreadable, "{damage}: {preview:?}");
        SqlStore::restore_backup(place.config(), place.path("backup.db"))
            .await
            .unwrap();
        let store = place.open().await.unwrap();
        assert_eq!(text(&store, "a").await, "one", "{damage}");
        let report = store.verify().await.unwrap();
        assert!(
            report.problems.is_empty() && report.generation > newest,
            "{damage}: {report:?}"
        );
        let aside = place.path(&format!("secrets.db.damaged-{}", report.generation));
        assert_eq!(aside.exists(), damage == "overwritten", "{damage}");
    }
}

#[tokio::test]
async fn a_backup_from_before_a_key_change_is_wrapped_again() {
    let place = Place::new();
    let store = place.create().await;
    put(&store, "a", "one").await.unwrap();
    store.backup(place.path("backup.db")).await.unwrap();
    // Another key-encryption key under the same source: the backup's data keys are under the old one.
    store.rotate_key(place.key(), 10, &mut |_| Ok(())).await.unwrap();
    put(&store, "a", "two").await.unwrap();
    SqlStore::restore_backup(place.config(), place.path("backup.db"))
        .await
        .unwrap();
    assert_eq!(text(&store, "a").await, "one");
    let report = place.open().await.unwrap().verify().await.unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    assert!(store.keys().await.unwrap().retiring.is_empty());
}

#[tokio::test]
async fn a_backup_that_is_damaged_or_of_another_store_is_refused() {
    let place = Place::new();
    let store = place.create().await;
    put(&store, "a", "one").await.unwrap();
    store.backup(place.path("backup.db")).await.unwrap();
    let error = store.backup(place.path("backup.db")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let restore = |file: &str| SqlStore::restore_backup(place.config(), place.path(file));

    assert_eq!(restore("secrets.db").await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(restore("nothing.db").await.unwrap_err().kind(), ErrorKind::NotFound);

    fs::copy(place.path("backup.db"), place.path("bad.db")).unwrap();
    let bad = rusqlite::Connection::open(place.path("bad.db")).unwrap();
    bad.execute("UPDATE version SET ciphertext = zeroblob(40)", []).unwrap();
    drop(bad);
    let error = restore("bad.db").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.hint()),
        (ErrorKind::Corrupt, Some("this backup is damaged: take another"))
    );

    let mut elsewhere = place.config();
    elsewhere.path = place.path("other.db");
    let other = SqlStore::create(elsewhere).await.unwrap();
    other.backup(place.path("others.db")).await.unwrap();
    let error = restore("others.db").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::InvalidInput, "the backup belongs to another store")
    );
    assert_eq!(text(&store, "a").await, "one");
}

#[tokio::test]
async fn a_backup_can_be_looked_at_elsewhere_without_harm_to_the_store() {
    let place = Place::new();
    let store = place.create().await;
    put(&store, "a", "one").await.unwrap();
    store.backup(place.path("backup.db")).await.unwrap();
    put(&store, "a", "two").await.unwrap();
    let mut elsewhere = place.config();
    elsewhere.path = place.path("elsewhere.db");
    SqlStore::restore_backup(elsewhere.clone(), place.path("backup.db"))
        .await
        .unwrap();
    assert_eq!(text(&SqlStore::open(elsewhere).await.unwrap(), "a").await, "one");
    assert_eq!(text(&place.open().await.unwrap(), "a").await, "two");
}
