//! Whatever is changed in a file is noticed. That no changed byte lets anything be restored is shown where restores are.

use keyfob_core::{ErrorKind, Result};
use keyfob_snapshot::{CreateOptions, Snapshot};
use proptest::prelude::*;

use crate::world::{World, canary};

/// Opens the snapshot and reads all of it, as a restore does before it writes anything.
async fn whole(world: &World, id: keyfob_snapshot::SnapshotId) -> Result<Snapshot> {
    let snapshot = world.directory.open_snapshot(id, &world.key).await?;
    snapshot.verify().await?;
    Ok(snapshot)
}

/// One with a value in its own file and one in its parent's.
async fn two() -> (World, keyfob_snapshot::Manifest, keyfob_snapshot::Manifest) {
    let world = World::empty();
    world.put("a", canary("a")).await;
    world.put("b", canary("b")).await;
    let parent = world.snapshot().await;
    world.put("b", canary("c")).await;
    let child = world.snapshot().await;
    assert_eq!((child.summary.own, child.summary.bases.len()), (1, 1));
    (world, parent, child)
}

#[tokio::test]
async fn a_longer_file_is_noticed() {
    let (world, parent, child) = two().await;
    for changed in [&child, &parent] {
        let path = world.path(changed);
        let good = std::fs::read(&path).unwrap();
        for longer in [&[0][..], &good] {
            std::fs::write(&path, [&good, longer].concat()).unwrap();
            assert_eq!(whole(&world, child.summary.id).await.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        std::fs::write(&path, good).unwrap();
    }
    whole(&world, child.summary.id).await.unwrap();
}

#[tokio::test]
async fn a_byte_taken_out_anywhere_is_noticed() {
    let (world, _, child) = two().await;
    let path = world.path(&child);
    let good = std::fs::read(&path).unwrap();
    for place in (0..good.len()).step_by(3) {
        let mut bad = good.clone();
        bad.remove(place);
        std::fs::write(&path, bad).unwrap();
        let noticed = whole(&world, child.summary.id).await.unwrap_err();
        let is_right = matches!(noticed.kind(), ErrorKind::Corrupt | ErrorKind::Unauthenticated);
        assert!(is_right, "byte {place}: {noticed:?}");
    }
}

#[tokio::test]
async fn damage_is_found_without_the_key_too() {
    let world = World::small().await;
    let manifest = world.snapshot().await;
    let (path, id) = (world.path(&manifest), manifest.summary.id);
    world.directory.check(id).await.unwrap();
    let good = std::fs::read(&path).unwrap();
    for place in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        std::fs::write(&path, bad).unwrap();
        assert_eq!(
            world.directory.check(id).await.unwrap_err().kind(),
            ErrorKind::Corrupt,
            "byte {place}"
        );
    }
}

#[tokio::test]
async fn a_file_under_the_name_of_another_is_noticed() {
    let world = World::small().await;
    let first = world.snapshot().await;
    let mut options = CreateOptions::default();
    options.parent = keyfob_snapshot::Parent::None;
    let second = world.create(&options).await;
    std::fs::copy(world.path(&second), world.path(&first)).unwrap();
    let opened = world.directory.open_snapshot(first.summary.id, &world.key).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Corrupt);
    let listed = world.directory.list().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(
        listed[0].summary.is_ok() && listed[1].summary.is_err(),
        "what can't be read stands last"
    );
    assert_eq!(listed[1].id, first.summary.id);
}

#[tokio::test]
async fn blocks_that_change_places_are_noticed() {
    let world = World::empty();
    // Two blocks of the same length.
    world.put("a", canary("a").repeat(3000)).await;
    world.put("b", canary("b").repeat(3000)).await;
    let mut options = CreateOptions::default();
    options.compress = false;
    let manifest = world.create(&options).await;
    let path = world.path(&manifest);
    let mut bytes = std::fs::read(&path).unwrap();
    let length = (canary("a").len() * 3000 + 12).next_multiple_of(4096) + 106;
    let (first, second) = bytes[33..].split_at_mut(length);
    first.swap_with_slice(&mut second[..length]);
    std::fs::write(&path, &bytes).unwrap();
    let opened = world.open(&manifest).await;
    let noticed = opened.secret(&crate::world::name("a")).await.unwrap_err();
    assert_eq!(noticed.kind(), ErrorKind::Corrupt);
    assert_eq!(opened.verify().await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn arbitrary_bytes_are_no_snapshot_and_do_no_harm() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let world = World::empty();
    let id: keyfob_snapshot::SnapshotId = "00112233445566778899aabbccddeeff".parse().unwrap();
    std::fs::create_dir(world.directory.path()).unwrap();
    // The beginning and the lengths at the end are right, so that something is read of what is between.
    let file = |index: u64, manifest: u64, middle: &[u8]| {
        let lengths = [index.to_be_bytes(), manifest.to_be_bytes()].concat();
        [b"keyfob-snapshot\n\x01", &id.as_bytes()[..], middle, &lengths, &[0; 32]].concat()
    };
    proptest!(|(middle in prop::collection::vec(any::<u8>(), 0..300), manifest in 0_u64..400, index: u64, first in 0_u8..3)| {
        let mut middle = middle;
        let begin = middle.len().saturating_sub(usize::try_from(manifest).unwrap());
        if let Some(byte) = middle.get_mut(begin) {
            *byte = first;
        }
        for index in [index, middle.len() as u64 - (manifest.min(middle.len() as u64))] {
            std::fs::write(world.directory.path_of(id), file(index, manifest, &middle)).unwrap();
            let refused = runtime.block_on(world.directory.manifest(id)).unwrap_err();
            prop_assert_eq!(refused.kind(), ErrorKind::Corrupt);
        }
    });
}
