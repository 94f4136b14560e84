//! Files of snapshots in a store.

use std::sync::Arc;

use keyfob_core::{DeleteMode, DeleteOptions, ErrorKind, ListOptions, MemoryStore, PutRequest, SecretStore as _};
use keyfob_snapshot::{Manifest, SnapshotDepot, SnapshotDirectory};

use crate::world::{World, canary, name};

/// Two snapshots, of which the second builds on the first, and a place for them.
async fn two() -> (World, Arc<MemoryStore>, SnapshotDepot, [Manifest; 2]) {
    let world = World::small().await;
    world.put("large", canary("large").repeat(8000)).await;
    let first = world.snapshot().await;
    world.put("db/password", canary("changed")).await;
    let second = world.snapshot().await;
    assert_eq!(second.summary.bases.len(), 1);
    let store = Arc::new(MemoryStore::new());
    let depot = SnapshotDepot::new(store.clone(), name("backup/snapshots"));
    (world, store, depot, [first, second])
}

async fn names(store: &MemoryStore) -> Vec<String> {
    let page = store.list(&ListOptions::default()).await.unwrap();
    page.items.iter().map(|metadata| metadata.name.to_string()).collect()
}

#[tokio::test]
async fn what_was_sent_comes_back_byte_for_byte_with_what_it_builds_on() {
    let (world, store, depot, [first, second]) = two().await;
    depot.send(&world.directory, second.summary.id).await.unwrap();
    let mut sent = vec![first.summary.id, second.summary.id];
    sent.sort();
    assert_eq!(depot.list().await.unwrap(), sent);
    let before = names(&store).await;
    assert!(before.len() >= 2 + 2);
    for name in &before {
        assert!(name.starts_with("backup/snapshots/"));
        let versions = store.versions(&crate::world::name(name), &Default::default()).await.unwrap();
        assert_eq!(versions.items.len(), 1);
    }
    // Again: nothing to do.
    depot.send(&world.directory, second.summary.id).await.unwrap();
    assert_eq!(names(&store).await, before);

    let other = SnapshotDirectory::new(world.directory.path().join("other"));
    depot.fetch(&other, second.summary.id).await.unwrap();
    for manifest in [&first, &second] {
        let (one, two) = (world.path(manifest), other.path_of(manifest.summary.id));
        assert!(std::fs::read(one).unwrap() == std::fs::read(two).unwrap());
    }
    let opened = other.open_snapshot(second.summary.id, &world.key).await.unwrap();
    opened.verify().await.unwrap();
    depot.fetch(&other, second.summary.id).await.unwrap();
}

#[tokio::test]
async fn an_interrupted_sending_goes_on_and_is_no_snapshot_before() {
    let (world, store, depot, [first, _]) = two().await;
    depot.send(&world.directory, first.summary.id).await.unwrap();
    let all = names(&store).await;
    let gone = DeleteOptions {
        mode: DeleteMode::Permanent,
    };
    for lost in ["head", "000000"] {
        store
            .delete(&name(format!("backup/snapshots/{}/{lost}", first.summary.id)), &gone)
            .await
            .unwrap();
    }
    assert!(depot.list().await.unwrap().is_empty());
    let other = SnapshotDirectory::new(world.directory.path().join("other"));
    let missing = depot.fetch(&other, first.summary.id).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    depot.send(&world.directory, first.summary.id).await.unwrap();
    assert_eq!(names(&store).await, all);
    depot.fetch(&other, first.summary.id).await.unwrap();
}

#[tokio::test]
async fn what_is_not_as_it_was_sent_is_not_fetched() {
    let (world, store, depot, [first, _]) = two().await;
    depot.send(&world.directory, first.summary.id).await.unwrap();
    let other = SnapshotDirectory::new(world.directory.path().join("other"));
    for piece in names(&store).await {
        let piece = name(piece);
        let good = store.get(&piece, &Default::default()).await.unwrap().value;
        let mut text = good.expose_str().unwrap().to_owned();
        // Another character of base64, and in the head another digit.
        let place = text.find("digest").map_or(10, |place| place + 12);
        let changed = if &text[place..=place] == "0" { "1" } else { "0" };
        text.replace_range(place..=place, changed);
        let cut = text[..text.len() - 4].to_owned();
        for bad in [text, cut, "{}".to_owned()] {
            store.put(&piece, PutRequest::new(bad)).await.unwrap();
            let refused = depot.fetch(&other, first.summary.id).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{piece}: {refused:?}");
        }
        store.put(&piece, PutRequest::new(good)).await.unwrap();
    }
    assert!(other.list().await.unwrap().is_empty());
    depot.fetch(&other, first.summary.id).await.unwrap();
}

#[tokio::test]
async fn what_another_builds_on_stays() {
    let (world, store, depot, [first, second]) = two().await;
    depot.send(&world.directory, second.summary.id).await.unwrap();
    let refused = depot.delete(first.summary.id).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    depot.delete(second.summary.id).await.unwrap();
    assert_eq!(depot.list().await.unwrap(), [first.summary.id]);
    depot.delete(first.summary.id).await.unwrap();
    assert!(names(&store).await.is_empty());
    assert_eq!(depot.delete(first.summary.id).await.unwrap_err().kind(), ErrorKind::NotFound);
}
