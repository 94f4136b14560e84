//! Putting back what a snapshot has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyfob_core::copy::{self, CopyReport};
use keyfob_core::{
    Capabilities, Change, DeleteOptions, ErrorKind, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page,
    PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, SystemClock, VersionInfo, async_trait,
};
use keyfob_snapshot::{CreateOptions, RestoreOptions, RestorePlan, Restored, Snapshot};

use crate::world::{World, canary, name};

/// A target that counts writes, and takes no more than so many: the next waits for ever.
#[derive(Debug)]
struct Target {
    right: Arc<MemoryStore>,
    info: StoreInfo,
    writes: AtomicUsize,
    most: usize,
}

impl Target {
    fn of(right: &Arc<MemoryStore>) -> Arc<Self> {
        Self::with(right, usize::MAX, |_| {})
    }

    fn with(right: &Arc<MemoryStore>, most: usize, restrict: impl FnOnce(&mut Capabilities)) -> Arc<Self> {
        let mut info = right.info().clone();
        restrict(&mut info.capabilities);
        Arc::new(Self {
            right: Arc::clone(right),
            info,
            writes: AtomicUsize::new(0),
            most,
        })
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl SecretStore for Target {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.right.get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.right.get_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        if self.writes.fetch_add(1, Ordering::SeqCst) >= self.most {
            std::future::pending::<()>().await;
        }
        self.right.put(name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.right.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.right.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.right.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.right.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.right.health().await
    }
}

async fn plan(snapshot: &Snapshot, target: &Arc<Target>) -> RestorePlan {
    snapshot
        .plan_restore(target.clone(), &RestoreOptions::default(), |_| {})
        .await
        .unwrap()
}

async fn restored(world: &World, snapshot: &Snapshot, target: &Arc<Target>) -> Restored {
    plan(snapshot, target)
        .await
        .carry_out(&world.directory, &world.key, |_| {})
        .await
        .unwrap()
}

fn words(report: &CopyReport) -> Vec<String> {
    let words = report
        .entries
        .iter()
        .map(|entry| format!("{} {}", entry.name, entry.outcome.as_str()));
    words.collect()
}

/// Changes a secret, deletes one, adds one.
async fn spoil(world: &World) {
    world.put("db/password", canary("spoilt")).await;
    world.put("later", canary("later")).await;
    world.store.delete(&name("bytes"), &DeleteOptions::default()).await.unwrap();
    let metadata = PutRequest {
        tags: Change::Clear,
        ..PutRequest::default()
    };
    world.store.put(&name("api/key"), metadata).await.unwrap();
}

const SPOILT: [&str; 5] = [
    "api/key changed",
    "bytes created",
    "db/password changed",
    "empty unchanged",
    "expired unchanged",
];

async fn value_is(world: &World, secret: &str, value: &[u8]) -> bool {
    world.read(&name(secret)).await.value.expose_secret() == value
}

#[tokio::test]
async fn a_restore_brings_back_what_was_and_leaves_the_rest() {
    let world = World::small().await;
    let snapshot = world.open(&world.snapshot().await).await;
    spoil(&world).await;
    let target = Target::of(&world.store);
    let plan = plan(&snapshot, &target).await;
    assert_eq!(words(&plan.report()), SPOILT);
    assert_eq!(target.writes(), 0, "a plan changes nothing");
    assert_eq!(world.directory.list().await.unwrap().len(), 1);

    let done = plan.carry_out(&world.directory, &world.key, |_| {}).await.unwrap();
    assert_eq!(words(&done.report), SPOILT);
    assert!(value_is(&world, "db/password", canary("second").as_bytes()).await);
    assert!(value_is(&world, "bytes", &[0, 255, 128]).await);
    assert!(value_is(&world, "later", canary("later").as_bytes()).await);
    assert_eq!(world.read(&name("api/key")).await.metadata.tags["team"], "payments");

    let before = done.before.unwrap();
    assert_eq!(before.summary.note, Some(format!("before {} was restored", snapshot.id())));
    let names: Vec<&str> = before.secrets.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!((names, before.summary.whole), (vec!["api/key", "db/password"], false));

    // Once more: nothing to do, and nothing is done.
    let writes = target.writes();
    let again = restored(&world, &snapshot, &target).await;
    assert!(again.before.is_none());
    assert!(words(&again.report).iter().all(|word| word.ends_with(" unchanged")));
    assert_eq!(target.writes(), writes);

    // And back again.
    let before = world.open(&before).await.store(None, Arc::new(SystemClock::new())).unwrap();
    let undone = copy::undo(target, Some(Arc::new(before)), &done.wrote, 4, false).await;
    let undone: Vec<_> = undone
        .iter()
        .map(|undone| (undone.name.as_str(), undone.outcome.as_str()))
        .collect();
    assert_eq!(
        undone,
        [("api/key", "put_back"), ("bytes", "deleted"), ("db/password", "put_back")]
    );
    assert!(value_is(&world, "db/password", canary("spoilt").as_bytes()).await);
    assert!(world.read(&name("api/key")).await.metadata.tags.is_empty());
    let deleted = world.store.get(&name("bytes"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(deleted.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn another_store_gets_all_or_what_is_named() {
    let world = World::small().await;
    world.snapshot().await;
    world.put("db/password", canary("third")).await;
    let snapshot = world.open(&world.snapshot().await).await;
    let other = World::empty();
    let target = Target::of(&other.store);
    let mut options = RestoreOptions::default();
    options.names = Some(BTreeSet::from([name("empty")]));
    let plan = snapshot.plan_restore(target.clone(), &options, |_| {}).await.unwrap();
    let done = plan.carry_out(&other.directory, &other.key, |_| {}).await.unwrap();
    assert_eq!(words(&done.report), ["empty created"]);
    assert!(done.before.is_none(), "nothing that was there was changed");

    let done = restored(&world, &snapshot, &target).await;
    assert_eq!(
        words(&done.report),
        [
            "api/key created",
            "bytes created",
            "db/password created",
            "empty unchanged",
            "expired created"
        ]
    );
    for secret in ["api/key", "bytes", "db/password", "empty", "expired"] {
        let (one, two) = (world.read(&name(secret)).await, other.read(&name(secret)).await);
        assert!(one.value.expose_secret() == two.value.expose_secret(), "{secret}");
        let (one, two) = (&one.metadata, &two.metadata);
        assert_eq!(
            (&one.description, &one.tags, one.expires_at),
            (&two.description, &two.tags, two.expires_at)
        );
    }
    options.names = Some(BTreeSet::from([name("no/such")]));
    let missing = snapshot.plan_restore(target, &options, |_| {}).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_the_target_cannot_hold_is_said_before() {
    let world = World::small().await;
    let snapshot = world.open(&world.snapshot().await).await;
    let other = World::empty();
    let target = Target::with(&other.store, usize::MAX, |can| {
        can.binary = false;
        can.tags = false;
        can.max_value_bytes = 500;
    });
    let mut options = RestoreOptions::default();
    options.drop_metadata = true;
    for (drop_metadata, key) in [(false, ErrorKind::Unsupported), (true, ErrorKind::InvalidInput)] {
        options.drop_metadata = drop_metadata;
        let plan = snapshot.plan_restore(target.clone(), &options, |_| {}).await.unwrap();
        let report = plan.report();
        let failures: Vec<_> = report.failures().map(|(name, error)| (name.as_str(), error.kind())).collect();
        assert_eq!(failures, [("api/key", key), ("bytes", ErrorKind::NotText)]);
    }
    assert_eq!(target.writes(), 0);
    let read_only = Target::with(&other.store, 0, |can| can.put = false);
    let refused = snapshot.plan_restore(read_only, &options, |_| {}).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn what_the_first_store_could_not_know_is_left_alone() {
    let world = World::small().await;
    let poor = Target::with(&world.store, 0, |can| {
        (can.description, can.tags, can.expiry) = (false, true, false);
    });
    let made = world
        .directory
        .create(&*poor, &world.key, &CreateOptions::default(), |_| {})
        .await
        .unwrap();
    let keeps = made.summary.keeps;
    assert_eq!((keeps.description, keeps.tags, keeps.expiry), (false, true, false));
    let snapshot = world.open(&made).await;
    let metadata = PutRequest {
        description: Change::Set("noted later".to_owned()),
        tags: Change::Set([("noted".to_owned(), "later".to_owned())].into()),
        ..PutRequest::default()
    };
    world.store.put(&name("empty"), metadata).await.unwrap();
    restored(&world, &snapshot, &Target::of(&world.store)).await;
    let now = world.read(&name("empty")).await.metadata;
    assert_eq!((now.description.as_deref(), now.tags.len()), (Some("noted later"), 0));
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_restore_goes_on() {
    let world = World::empty();
    for number in 0..40 {
        world.put(format!("secret-{number:02}"), canary(number)).await;
    }
    let snapshot = world.open(&world.snapshot().await).await;
    for number in 0..40 {
        world.put(format!("secret-{number:02}"), canary("spoilt")).await;
    }
    let mut befores = 0;
    for most in [3, 10, 0, 15] {
        let target = Target::with(&world.store, most, |_| {});
        let plan = plan(&snapshot, &target).await;
        let carried = plan.carry_out(&world.directory, &world.key, |_| {});
        let stopped = tokio::time::timeout(Duration::from_secs(3600), carried).await;
        assert!(stopped.is_err(), "it ended after {most} writes");
        befores += 1;
    }
    let target = Target::of(&world.store);
    let done = restored(&world, &snapshot, &target).await;
    let changed = words(&done.report).iter().filter(|word| word.ends_with(" changed")).count();
    assert_eq!((changed, target.writes()), (12, 12), "28 were written before");
    for number in 0..40 {
        let secret = name(format!("secret-{number:02}"));
        assert!(world.read(&secret).await.value.expose_secret() == canary(number).as_bytes());
        let versions = world.store.versions(&secret, &PageRequest::default()).await.unwrap();
        assert_eq!(versions.items.len(), 3, "nothing was written twice");
    }
    // The first of them has everything as it was before the first attempt.
    assert_eq!(world.directory.list().await.unwrap().len(), 1 + befores + 1);
}

#[tokio::test]
async fn what_somebody_else_changed_since_the_plan_is_left_to_them() {
    let world = World::small().await;
    let snapshot = world.open(&world.snapshot().await).await;
    spoil(&world).await;
    let target = Target::of(&world.store);
    let plan = plan(&snapshot, &target).await;
    world.put("db/password", canary("theirs")).await;
    let done = plan.carry_out(&world.directory, &world.key, |_| {}).await.unwrap();
    let failures: Vec<_> = done
        .report
        .failures()
        .map(|(name, error)| (name.as_str(), error.kind()))
        .collect();
    assert_eq!(failures, [("db/password", ErrorKind::Conflict)]);
    assert!(value_is(&world, "db/password", canary("theirs").as_bytes()).await);
}

#[tokio::test]
async fn nothing_is_written_when_the_state_before_cannot_be_kept() {
    let world = World::small().await;
    let snapshot = world.open(&world.snapshot().await).await;
    spoil(&world).await;
    let target = Target::of(&world.store);
    let plan = plan(&snapshot, &target).await;
    let nowhere = keyfob_snapshot::SnapshotDirectory::new("/dev/null/snapshots");
    plan.carry_out(&nowhere, &world.key, |_| {}).await.unwrap_err();
    assert_eq!(target.writes(), 0);
}

#[tokio::test]
async fn no_changed_byte_lets_anything_be_restored() {
    nothing_of_a_changed_file_is_restored(false).await;
}

#[tokio::test]
async fn no_changed_byte_of_what_it_builds_on_lets_anything_be_restored() {
    nothing_of_a_changed_file_is_restored(true).await;
}

/// Flips a bit of each byte once, and cuts the file at each byte once.
async fn nothing_of_a_changed_file_is_restored(of_parent: bool) {
    let world = World::empty();
    world.put("a", canary("a")).await;
    world.put("b", canary("b")).await;
    let parent = world.snapshot().await;
    world.put("b", canary("c")).await;
    let child = world.snapshot().await;
    let empty = Arc::new(MemoryStore::new());
    let target = Target::of(&empty);
    let restore = async || {
        let snapshot = world.directory.open_snapshot(child.summary.id, &world.key).await?;
        let plan = snapshot
            .plan_restore(target.clone(), &RestoreOptions::default(), |_| {})
            .await?;
        plan.carry_out(&world.directory, &world.key, |_| {}).await
    };
    let changed = if of_parent { &parent } else { &child };
    let path = world.path(changed);
    let good = std::fs::read(&path).unwrap();
    for place in 0..good.len() {
        let mut bad = good.clone();
        // Another bit at every place.
        bad[place] ^= 1 << (place % 8);
        std::fs::write(&path, bad).unwrap();
        let noticed = restore().await.unwrap_err().kind();
        // What names the key in the slots is not known to be wrong before a key was tried.
        let is_right = matches!(noticed, ErrorKind::Corrupt | ErrorKind::Unauthenticated);
        assert!(is_right, "byte {place} is another: {noticed}");
        std::fs::write(&path, &good[..place]).unwrap();
        assert_eq!(restore().await.unwrap_err().kind(), ErrorKind::Corrupt, "cut at {place}");
    }
    std::fs::write(&path, good).unwrap();
    assert_eq!(target.writes(), 0);
    assert_eq!(words(&restore().await.unwrap().report), ["a created", "b created"]);
}
