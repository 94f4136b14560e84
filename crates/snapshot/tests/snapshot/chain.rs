//! Snapshots that build on others.

use std::collections::BTreeSet;

use keyfob_core::{ErrorKind, PutRequest, SecretStore as _};
use keyfob_envelope::RawKey;
use keyfob_snapshot::{CreateOptions, Parent};

use crate::world::{World, canary, name};

async fn hundred() -> World {
    let world = World::empty();
    for number in 0..100 {
        world.put(format!("secret-{number:03}"), canary(number).repeat(100)).await;
    }
    world
}

fn names(numbers: usize) -> Vec<String> {
    (0..numbers).map(|number| format!("secret-{number:03}")).collect()
}

async fn expect(world: &World, manifest: &keyfob_snapshot::Manifest) {
    let names = names(manifest.secrets.len());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.expect_same(&world.open(manifest).await, &names).await;
}

#[tokio::test]
async fn what_did_not_change_is_not_written_again() {
    let world = hundred().await;
    let mut options = CreateOptions::default();
    options.compress = false;
    let first = world.create(&options).await;
    world.put("secret-042", canary("changed")).await;
    world.put("secret-100", canary("new")).await;
    let second = world.create(&options).await;
    assert_eq!((second.summary.secrets, second.summary.own), (101, 2));
    assert_eq!(second.summary.bases.len(), 1);
    assert_eq!(second.summary.bases[0].id, first.summary.id);
    assert!(
        second.summary.bytes * 8 < first.summary.bytes,
        "{} of {}",
        second.summary.bytes,
        first.summary.bytes
    );
    expect(&world, &second).await;
    let verified = world.open(&second).await.verify().await.unwrap();
    assert_eq!((verified.secrets, verified.files), (101, 2));

    // Another build on both, and one more on the same two although it lies four deep.
    world.put("secret-007", canary("changed")).await;
    let third = world.create(&options).await;
    let fourth = world.create(&options).await;
    assert_eq!((third.summary.own, third.summary.bases.len()), (1, 2));
    assert_eq!((fourth.summary.own, fourth.summary.bases.len()), (0, 3));
    for manifest in [&third, &fourth] {
        expect(&world, manifest).await;
        world.open(manifest).await.verify().await.unwrap();
    }
}

#[tokio::test]
async fn a_value_that_was_written_again_is_not_but_its_new_version_shows() {
    let world = hundred().await;
    world.snapshot().await;
    let value = world.read(&name("secret-000")).await.value;
    world.store.put(&name("secret-000"), PutRequest::new(value)).await.unwrap();
    let second = world.snapshot().await;
    assert_eq!(second.summary.own, 0);
    assert_eq!(second.secrets[0].version.as_ref().unwrap().as_str(), "2");
    expect(&world, &second).await;
}

#[tokio::test]
async fn a_base_of_which_nothing_is_used_is_not_named() {
    let world = World::empty();
    world.put("secret-000", canary("one")).await;
    world.snapshot().await;
    world.put("secret-000", canary("two")).await;
    let second = world.snapshot().await;
    assert_eq!((second.summary.own, second.summary.bases.len()), (1, 0));
}

#[tokio::test]
async fn another_prefix_key_or_wish_stands_alone() {
    let world = hundred().await;
    let first = world.snapshot().await;
    let mut options = CreateOptions::default();
    options.prefix = "secret-00".to_owned();
    assert_eq!(world.create(&options).await.summary.bases, []);
    options.parent = Parent::Of(first.summary.id);
    assert_eq!(world.create(&options).await.summary.bases.len(), 1);
    options = CreateOptions::default();
    options.parent = Parent::None;
    assert_eq!(world.create(&options).await.summary.bases, []);

    let other = RawKey::new(&[9; 32]);
    options.parent = Parent::Newest;
    let made = world.directory.create(&*world.store, &other, &options, |_| {}).await.unwrap();
    assert_eq!(made.summary.bases, []);
    options.parent = Parent::Of(first.summary.id);
    let refused = world
        .directory
        .create(&*world.store, &other, &options, |_| {})
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_chain_does_not_grow_without_end() {
    let world = World::empty();
    world.put("secret-000", canary("stays")).await;
    let mut longest = 0;
    for number in 0..35 {
        world.put(format!("secret-{:03}", number + 1), canary(number)).await;
        let manifest = world.snapshot().await;
        longest = longest.max(manifest.summary.bases.len());
        expect(&world, &manifest).await;
    }
    assert_eq!(longest, 30);
}

#[tokio::test]
async fn a_base_that_is_gone_damaged_or_another_is_noticed() {
    let world = hundred().await;
    let first = world.snapshot().await;
    let second = world.snapshot().await;
    let path = world.path(&first);
    let good = std::fs::read(&path).unwrap();
    let open = async || {
        let opened = world.directory.open_snapshot(second.summary.id, &world.key).await;
        match opened {
            Ok(snapshot) => snapshot.verify().await.map(|_| ()),
            Err(error) => Err(error),
        }
        .map_err(|error| error.kind())
    };
    open().await.unwrap();

    // Only the value: neither manifest notices.
    let mut damaged = good.clone();
    damaged[2000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert_eq!(open().await, Err(ErrorKind::Corrupt));
    let mut of_first = CreateOptions::default();
    of_first.parent = Parent::Of(first.summary.id);
    let refused = world
        .directory
        .create(&*world.store, &world.key, &of_first, |_| {})
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert_eq!(world.snapshot().await.summary.bases, [], "what is damaged is not built on");

    // A genuine snapshot of the same key in its place.
    let mut options = CreateOptions::default();
    options.parent = Parent::None;
    let other = world.create(&options).await;
    std::fs::copy(world.path(&other), &path).unwrap();
    assert_eq!(open().await, Err(ErrorKind::Corrupt));

    std::fs::remove_file(&path).unwrap();
    assert_eq!(open().await, Err(ErrorKind::NotFound));
    std::fs::write(&path, good).unwrap();
    open().await.unwrap();
}

#[tokio::test]
async fn what_others_build_on_is_not_deleted_before_them() {
    let world = hundred().await;
    let first = world.snapshot().await.summary.id;
    let second = world.snapshot().await.summary.id;
    let refused = world.directory.delete(&BTreeSet::from([first])).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert_eq!(world.directory.list().await.unwrap().len(), 2);
    world.directory.delete(&BTreeSet::from([first, second])).await.unwrap();
    assert!(world.directory.list().await.unwrap().is_empty());
    let gone = world.directory.delete(&BTreeSet::from([first])).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}
