//! A layer that answers repeated reads from memory.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use futures_util::StreamExt as _;

use crate::changes::{ChangeSource, ChangeStream, StoreChange};
use crate::error::Result;
use crate::layer::Layer;
use crate::name::SecretName;
use crate::options::{
    DeleteOptions, Expired, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest, VersionSelector,
};
use crate::secret::{Freshness, Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};

/// Answers a read from memory for as long as its time to live lasts.
///
/// - Only values are kept, never errors. A hit says [`Freshness::Cache`] in its metadata.
/// - [`GetOptions::max_age`] shortens the time to live for one read; zero goes to the store (and refreshes the entry).
/// - A write, delete or restore through this layer forgets the name, and a read that began before the write ended is
///   not kept: it may be older than what was written.
/// - What others write is seen when the time to live is over.
/// - `get_many` asks the store for the misses only, in one call.
/// - An expired secret is not handed out from memory either.
/// - With [`follow`](Self::follow), what the store tells of is forgotten at once, also what others write.
/// - At most `max_entries` values are kept; the oldest goes first. Values are wiped when they go.
#[derive(Debug, Clone)]
pub struct CacheLayer {
    ttl: Duration,
    max_entries: usize,
    now: fn() -> Instant,
    changes: Option<Arc<dyn ChangeSource>>,
}

impl CacheLayer {
    /// Keeps up to 10,000 values for `ttl`. A `ttl` of zero keeps nothing.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            max_entries: 10_000,
            now: Instant::now,
            changes: None,
        }
    }

    /// Forgets what `changes` tells of. It listens from the first read that is answered from memory on, on a task of the
    /// runtime: who reads once and goes does not pay for it. Where the source can't tell, the time to live alone holds.
    #[must_use]
    pub fn follow(mut self, changes: Arc<dyn ChangeSource>) -> Self {
        self.changes = Some(changes);
        self
    }

    /// Keeps up to this many values.
    #[must_use]
    pub fn max_entries(mut self, most: usize) -> Self {
        self.max_entries = most;
        self
    }
}

impl Layer for CacheLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        Arc::new(Cache {
            settings: self.clone(),
            inner,
            entries: Arc::default(),
            follower: OnceLock::new(),
        })
    }
}

struct Cache {
    settings: CacheLayer,
    inner: Arc<dyn SecretStore>,
    entries: Arc<Mutex<Entries>>,
    follower: OnceLock<Option<Follower>>,
}

type Key = (SecretName, VersionSelector);

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    /// Keys in the order in which they came, each with the number of its entry; may name entries that are gone.
    order: VecDeque<(u64, Key)>,
    /// Counts entries.
    count: u64,
    /// Counts the beginnings and ends of writes. A read keeps its answer only if it has not changed meanwhile.
    writes: u64,
}

struct Entry {
    number: u64,
    since: Instant,
    secret: Secret,
}

/// The task that listens. It holds the entries alone, so the cache can go while it waits, and ends with the cache.
#[derive(Debug)]
struct Follower(tokio::task::JoinHandle<()>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Nothing is left half-changed when a holder panics, so a poisoned lock is still whole.
fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Entries {
    fn forget(&mut self, name: &SecretName) {
        self.writes += 1;
        self.by_key.retain(|(known, _), _| known != name);
    }

    fn forget_all(&mut self) {
        self.writes += 1;
        self.by_key.clear();
        self.order.clear();
    }
}

async fn follow(mut changes: ChangeStream, entries: Arc<Mutex<Entries>>) {
    while let Some(change) = changes.next().await {
        let mut entries = lock(&entries);
        match change {
            StoreChange::Secret(name) => entries.forget(&name),
            StoreChange::Anything => entries.forget_all(),
        }
    }
}

impl Cache {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }

    /// Begins to listen, once, where there is something to listen to.
    fn listen(&self) {
        self.follower.get_or_init(|| {
            let changes = self.settings.changes.as_ref()?;
            // Without a runtime nothing can listen, and the time to live holds.
            let runtime = tokio::runtime::Handle::try_current().ok()?;
            Some(Follower(runtime.spawn(follow(changes.changes(), Arc::clone(&self.entries)))))
        });
    }

    fn hit(&self, name: &SecretName, options: &GetOptions) -> Option<Secret> {
        let max_age = options.max_age.map_or(self.settings.ttl, |age| age.min(self.settings.ttl));
        let entries = self.entries();
        let entry = entries.by_key.get(&(name.clone(), options.version.clone()))?;
        let age = (self.settings.now)().saturating_duration_since(entry.since);
        let expired = options.expired == Expired::Refuse && entry.secret.metadata.is_expired(SystemTime::now());
        if age >= max_age || expired {
            return None;
        }
        let mut secret = entry.secret.clone();
        drop(entries);
        self.listen();
        secret.metadata_mut().origin.freshness = Freshness::Cache;
        Some(secret)
    }

    fn writes(&self) -> u64 {
        self.entries().writes
    }

    fn keep(&self, key: Key, secret: &Secret, writes_before: u64, asked_at: Instant) {
        if self.settings.ttl.is_zero() || self.settings.max_entries == 0 {
            return;
        }
        let mut entries = self.entries();
        if entries.writes != writes_before {
            return;
        }
        entries.count += 1;
        let number = entries.count;
        entries.order.push_back((number, key.clone()));
        entries.by_key.insert(
            key,
            Entry {
                number,
                since: asked_at,
                secret: secret.clone(),
            },
        );
        while entries.by_key.len() > self.settings.max_entries || entries.order.len() > 2 * self.settings.max_entries {
            let Some((number, key)) = entries.order.pop_front() else {
                break;
            };
            if entries.by_key.get(&key).is_some_and(|entry| entry.number == number) {
                entries.by_key.remove(&key);
            }
        }
    }

    /// Forgets `name` now, and again when the write is over, however it ends: also when its future is dropped.
    fn writing<'a>(&'a self, name: &'a SecretName) -> Writing<'a> {
        self.forget(name);
        Writing { cache: self, name }
    }

    fn forget(&self, name: &SecretName) {
        self.entries().forget(name);
    }
}

struct Writing<'a> {
    cache: &'a Cache,
    name: &'a SecretName,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.cache.forget(self.name);
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("settings", &self.settings)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for Cache {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        if let Some(secret) = self.hit(name, options) {
            return Ok(secret);
        }
        let (writes, asked_at) = (self.writes(), (self.settings.now)());
        let secret = self.inner.get(name, options).await?;
        self.keep((name.clone(), options.version.clone()), &secret, writes, asked_at);
        Ok(secret)
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut answers: Vec<Option<Result<Secret>>> = requests
            .iter()
            .map(|request| self.hit(&request.name, &request.options).map(Ok))
            .collect();
        let misses: Vec<usize> = (0..requests.len()).filter(|index| answers[*index].is_none()).collect();
        if !misses.is_empty() {
            let (writes, asked_at) = (self.writes(), (self.settings.now)());
            let asked: Vec<GetRequest> = misses.iter().map(|index| requests[*index].clone()).collect();
            let fresh = self.inner.get_many(&asked).await;
            for ((index, request), answer) in misses.into_iter().zip(asked).zip(fresh) {
                if let Ok(secret) = &answer {
                    self.keep((request.name, request.options.version), secret, writes, asked_at);
                }
                answers[index] = Some(answer);
            }
        }
        answers.into_iter().flatten().collect()
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let _writing = self.writing(name);
        self.inner.put(name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        let _writing = self.writing(name);
        self.inner.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let _writing = self.writing(name);
        self.inner.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.inner.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.inner.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryStore;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Milliseconds that the tests' clock shows; each test uses a thread, and so a clock, of its own.
    fn clock() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_millis(MILLISECONDS.with(|now| now.load(Ordering::Relaxed)))
    }
    thread_local!(static MILLISECONDS: AtomicU64 = const { AtomicU64::new(0) });

    fn advance(milliseconds: u64) {
        MILLISECONDS.with(|now| now.fetch_add(milliseconds, Ordering::Relaxed));
    }

    fn cached(store: &Arc<MemoryStore>, max_entries: usize) -> Arc<dyn SecretStore> {
        CacheLayer {
            ttl: Duration::from_millis(100),
            max_entries,
            now: clock,
            changes: None,
        }
        .layer(store.clone())
    }

    fn name(name: &str) -> SecretName {
        SecretName::new(name).unwrap()
    }

    async fn read(store: &Arc<dyn SecretStore>, key: &str, max_age: Option<u64>) -> (String, Freshness) {
        let options = GetOptions {
            max_age: max_age.map(Duration::from_millis),
            ..GetOptions::default()
        };
        let secret = store.get(&name(key), &options).await.unwrap();
        (
            secret.value.expose_str().unwrap().to_owned(),
            secret.metadata.origin.freshness,
        )
    }

    #[tokio::test]
    async fn a_value_is_kept_for_its_time_to_live_and_no_longer() {
        let memory = Arc::new(MemoryStore::new());
        let store = cached(&memory, 10);
        memory.put(&name("a"), PutRequest::new("1")).await.unwrap();
        assert_eq!(read(&store, "a", None).await, ("1".into(), Freshness::Store));
        memory.put(&name("a"), PutRequest::new("2")).await.unwrap();
        advance(99);
        assert_eq!(read(&store, "a", None).await, ("1".into(), Freshness::Cache));
        assert_eq!(read(&store, "a", Some(50)).await, ("2".into(), Freshness::Store));
        advance(100);
        assert_eq!(read(&store, "a", None).await, ("2".into(), Freshness::Store));
        assert_eq!(read(&store, "a", Some(0)).await, ("2".into(), Freshness::Store));
    }

    #[tokio::test]
    async fn a_write_is_seen_at_once_and_a_batch_asks_for_misses() {
        let memory = Arc::new(MemoryStore::new());
        let store = cached(&memory, 10);
        store.put(&name("a"), PutRequest::new("1")).await.unwrap();
        read(&store, "a", None).await;
        store.put(&name("a"), PutRequest::new("2")).await.unwrap();
        assert_eq!(read(&store, "a", None).await, ("2".into(), Freshness::Store));
        memory.put(&name("b"), PutRequest::new("b")).await.unwrap();
        let answers = store
            .get_many(&["b", "none", "a"].map(|key| GetRequest::new(name(key))))
            .await;
        let freshness = |index: usize| answers[index].as_ref().map(|secret| secret.metadata.origin.freshness).ok();
        assert_eq!(
            [freshness(0), freshness(1), freshness(2)],
            [Some(Freshness::Store), None, Some(Freshness::Cache)]
        );
    }

    #[tokio::test]
    async fn a_read_that_began_before_a_write_ended_is_not_kept() {
        let memory = Arc::new(MemoryStore::new());
        memory.put(&name("a"), PutRequest::new("1")).await.unwrap();
        let cache = Cache {
            settings: CacheLayer {
                ttl: Duration::from_secs(1),
                max_entries: 10,
                now: clock,
                changes: None,
            },
            inner: memory.clone(),
            entries: Arc::default(),
            follower: OnceLock::new(),
        };
        let (writes, asked_at) = (cache.writes(), clock());
        let old = memory.get(&name("a"), &GetOptions::default()).await.unwrap();
        cache.put(&name("a"), PutRequest::new("2")).await.unwrap();
        cache.keep((name("a"), VersionSelector::Current), &old, writes, asked_at);
        assert!(cache.hit(&name("a"), &GetOptions::default()).is_none());
        let during = cache.writes();
        drop(cache.writing(&name("a")));
        assert_eq!(cache.writes(), during + 2);
    }

    #[tokio::test]
    async fn the_oldest_goes_when_there_are_too_many() {
        let memory = Arc::new(MemoryStore::new());
        let store = cached(&memory, 2);
        for key in ["a", "b", "c"] {
            memory.put(&name(key), PutRequest::new(key)).await.unwrap();
            read(&store, key, None).await;
        }
        assert_eq!(read(&store, "c", None).await.1, Freshness::Cache);
        assert_eq!(read(&store, "a", None).await.1, Freshness::Store);
        for _ in 0..100 {
            read(&store, "a", Some(0)).await;
        }
        assert_eq!(read(&store, "a", None).await.1, Freshness::Cache);
    }

    /// Tells what the test sends, and counts who listens.
    #[derive(Debug)]
    struct Told {
        sender: tokio::sync::broadcast::Sender<StoreChange>,
    }

    impl ChangeSource for Told {
        fn changes(&self) -> ChangeStream {
            let receiver = self.sender.subscribe();
            let next = |mut receiver: tokio::sync::broadcast::Receiver<StoreChange>| async move {
                Some((receiver.recv().await.ok()?, receiver))
            };
            Box::pin(futures_util::stream::unfold(receiver, next))
        }
    }

    /// Lets the task that listens take what was told.
    async fn told() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_the_store_tells_of_is_forgotten_and_nobody_listens_before_or_after() {
        let memory = Arc::new(MemoryStore::new());
        for key in ["a", "b"] {
            memory.put(&name(key), PutRequest::new("1")).await.unwrap();
        }
        let source = Arc::new(Told {
            sender: tokio::sync::broadcast::channel(10).0,
        });
        let store = CacheLayer::new(Duration::from_secs(1000))
            .follow(source.clone())
            .layer(memory.clone());
        for key in ["a", "b"] {
            read(&store, key, None).await;
        }
        assert_eq!(source.sender.receiver_count(), 0);
        assert_eq!(read(&store, "a", None).await.1, Freshness::Cache);
        assert_eq!(source.sender.receiver_count(), 1);

        memory.put(&name("a"), PutRequest::new("2")).await.unwrap();
        source.sender.send(StoreChange::Secret(name("a"))).unwrap();
        told().await;
        assert_eq!(read(&store, "a", None).await, ("2".into(), Freshness::Store));
        assert_eq!(read(&store, "b", None).await.1, Freshness::Cache);

        source.sender.send(StoreChange::Anything).unwrap();
        told().await;
        assert_eq!(read(&store, "b", None).await.1, Freshness::Store);

        drop(store);
        told().await;
        assert_eq!(source.sender.receiver_count(), 0);
    }
}
