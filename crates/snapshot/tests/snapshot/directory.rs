//! The directory of snapshots.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, Health, ListOptions, Metadata, Page, PageRequest, PutRequest,
    Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, VirtualClock, async_trait,
};
use keyfob_snapshot::{CreateOptions, Parent, Retention, SnapshotDirectory};

use crate::world::{World, canary, name};

#[tokio::test]
async fn a_directory_that_is_not_there_has_no_snapshots() {
    let world = World::empty();
    assert!(world.directory.list().await.unwrap().is_empty());
    assert_eq!(world.directory.find("latest").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_directory_that_others_may_write_to_is_refused() {
    let world = World::small().await;
    std::fs::create_dir(world.directory.path()).unwrap();
    std::fs::set_permissions(world.directory.path(), std::fs::Permissions::from_mode(0o770)).unwrap();
    let refused = world
        .directory
        .create(&*world.store, &world.key, &CreateOptions::default(), |_| {})
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidConfig);
    assert!(refused.hint().unwrap().contains("chmod go-w"));
}

#[tokio::test]
async fn snapshots_are_found_by_the_beginning_of_their_id() {
    let world = World::small().await;
    let first = world.snapshot().await.summary.id;
    let second = world.snapshot().await.summary.id;
    let found = async |selector: &str| world.directory.find(selector).await.map_err(|error| error.kind());
    assert_eq!(found("latest").await, Ok(second));
    assert_eq!(found(&first.to_string()).await, Ok(first));
    assert_eq!(found(&first.to_string()[..24].to_uppercase()).await, Ok(first));
    assert_eq!(found(&"0".repeat(32)).await, Err(ErrorKind::NotFound));
    for wrong in ["", "../x", "newest", "\n"] {
        assert_eq!(found(wrong).await, Err(ErrorKind::InvalidInput), "{wrong:?}");
    }
}

#[tokio::test]
async fn what_is_no_snapshot_is_not_listed_and_a_damaged_one_says_why() {
    let world = World::small().await;
    let manifest = world.snapshot().await;
    let directory = world.directory.path();
    for other in ["README", "a.snapshot", ".keyfob-snapshot-x"] {
        std::fs::write(directory.join(other), "x").unwrap();
    }
    std::fs::write(directory.join(format!("{}.snapshot", "ab".repeat(16))), "not a snapshot").unwrap();
    let listed = world.directory.list().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0].summary.as_ref().unwrap(), &manifest.summary);
    assert_eq!(listed[1].summary.as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    let refused = world
        .directory
        .delete(&BTreeSet::from([manifest.summary.id]))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "the damaged one may build on it");
    world
        .directory
        .delete(&BTreeSet::from([manifest.summary.id, listed[1].id]))
        .await
        .unwrap();
    assert!(world.directory.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_killed_writer_left_is_removed_and_what_another_writes_is_not() {
    let world = World::small().await;
    world.snapshot().await;
    let left = world.directory.path().join(".keyfob-snapshot-left");
    let written = world.directory.path().join(".keyfob-snapshot-written");
    std::fs::write(&left, "x").unwrap();
    let holder = std::fs::File::create(&written).unwrap();
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    world.snapshot().await;
    assert!(!left.exists() && written.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_all_succeed() {
    let world = Arc::new(World::small().await);
    let makers = (0..8).map(|_| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            for _ in 0..5 {
                world.snapshot().await;
            }
        })
    });
    for maker in makers.collect::<Vec<_>>() {
        maker.await.unwrap();
    }
    let listed = world.directory.list().await.unwrap();
    assert_eq!(listed.len(), 40);
    for listed in listed {
        let snapshot = world.directory.open_snapshot(listed.id, &world.key).await.unwrap();
        snapshot.verify().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn retention_deletes_what_no_rule_keeps() {
    let world = World::small().await;
    let clock = VirtualClock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let directory = SnapshotDirectory::new(world.directory.path()).clock(Arc::new(clock));
    let mut options = CreateOptions::default();
    options.parent = Parent::None;
    for _ in 0..10 {
        directory.create(&*world.store, &world.key, &options, |_| {}).await.unwrap();
        tokio::time::advance(Duration::from_secs(12 * 3600)).await;
    }
    let summaries = async || -> Vec<_> {
        let listed = directory.list().await.unwrap();
        listed.into_iter().map(|listed| listed.summary.unwrap()).collect()
    };
    let retention = Retention {
        last: 1,
        daily: 3,
        ..Retention::default()
    };
    let decisions = retention.decide(&summaries().await).unwrap();
    let lost = decisions
        .iter()
        .filter(|decision| decision.keep.is_empty())
        .map(|decision| decision.id);
    directory.delete(&lost.collect()).await.unwrap();
    assert_eq!(summaries().await.len(), 3);
}

/// Fails to read one of its secrets.
#[derive(Debug)]
struct Forbidding<'a>(&'a keyfob_core::MemoryStore);

#[async_trait]
impl SecretStore for Forbidding<'_> {
    fn info(&self) -> &StoreInfo {
        self.0.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        if name.as_str() == "db/password" {
            return Err(Error::new(ErrorKind::PermissionDenied, "not for you"));
        }
        self.0.get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.0.get_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.0.put(name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.0.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.0.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.0.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.0.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.0.health().await
    }
}

#[tokio::test]
async fn a_store_that_hides_one_secret_gives_no_snapshot_at_all() {
    let world = World::small().await;
    let store = Forbidding(&world.store);
    let refused = world
        .directory
        .create(&store, &world.key, &CreateOptions::default(), |_| {})
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert!(refused.to_string().contains("db/password"));
    let left: Vec<_> = std::fs::read_dir(world.directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_snapshot_that_is_deleted_can_be_read_to_the_end() {
    let world = World::small().await;
    let manifest = world.snapshot().await;
    let snapshot = world.open(&manifest).await;
    world.directory.delete(&BTreeSet::from([manifest.summary.id])).await.unwrap();
    snapshot.verify().await.unwrap();
    assert!(
        snapshot
            .secret(&name("db/password"))
            .await
            .unwrap()
            .value
            .expose_str()
            .unwrap()
            == canary("second")
    );
}
