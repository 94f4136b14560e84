//! Stores that fall ill, over memory, and what they tell of changes.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::stream;
use keyfob_core::{
    ChangeSource, ChangeStream, Clock as _, DeleteMode, DeleteOptions, Error, ErrorKind, Expired, GetOptions, GetRequest, Health,
    LimitLayer, ListOptions, MemoryStore, Metadata, Page, PageRequest, PutRequest, Result, Secret, SecretName, SecretStore,
    StoreChange, StoreInfo, VersionInfo, VersionSelector, async_trait,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::dice::Dice;
use crate::illness::{Course, Illness, Record};
use crate::world::{World, read_value};

/// How long a day is.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// A store of a day.
#[derive(Debug)]
pub(crate) struct SickStore {
    shelf: Arc<Shelf>,
    pub(crate) record: Record,
    limit: LimitLayer,
    dice: Dice,
    load: Mutex<Load>,
}

/// What is kept in it, which works on while the service is ill.
#[derive(Debug)]
pub(crate) struct Shelf {
    world: Arc<World>,
    rank: usize,
    memory: MemoryStore,
    /// Who is told of changes, after a while.
    listener: OnceLock<(Arc<Stream>, Duration)>,
    /// What has the same a while later.
    copies: OnceLock<(Vec<Arc<Self>>, Duration)>,
}

#[derive(Debug, Default)]
struct Load {
    in_flight: usize,
    requests: u64,
    /// The highest limit at this time: whoever got a place just before the limit fell keeps it.
    limit: (Duration, usize),
}

/// A change to what is kept.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Put(PutRequest),
    Delete(DeleteOptions),
    Restore,
}

impl SickStore {
    pub(crate) fn new(world: &Arc<World>, rank: usize, limit: LimitLayer, dice: &Dice) -> Self {
        let memory = MemoryStore::new().clock(Arc::new(world.clock));
        Self {
            shelf: Arc::new(Shelf {
                world: Arc::clone(world),
                rank,
                memory,
                listener: OnceLock::new(),
                copies: OnceLock::new(),
            }),
            record: match world.setup.outage {
                Some(outage) => Record::outage(outage),
                None => Record::draw(dice, DAY, &world.setup.names),
            },
            limit,
            dice: dice.fork(),
            load: Mutex::default(),
        }
    }

    pub(crate) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.load.lock().unwrap_or_else(PoisonError::into_inner).in_flight
    }

    /// How many requests have arrived.
    pub(crate) fn requests(&self) -> u64 {
        self.load.lock().unwrap_or_else(PoisonError::into_inner).requests
    }

    fn world(&self) -> &World {
        &self.shelf.world
    }

    fn now(&self) -> Duration {
        self.shelf.world.now()
    }

    /// A request arrives.
    fn arrive(&self) -> Served<'_> {
        let (world, now, limit) = (self.world(), self.now(), self.limit());
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.in_flight += 1;
        load.requests += 1;
        let at_once = load.in_flight;
        let allowed = if load.limit.0 == now { load.limit.1.max(limit) } else { limit };
        drop(load);
        world.check(at_once <= allowed && at_once <= world.setup.limit.most, || {
            format!(
                "store {} serves {at_once} requests at once with a limit of {allowed}",
                self.shelf.rank
            )
        });
        Served { store: self, at_once }
    }

    fn limit(&self) -> usize {
        usize::try_from(self.limit.stats().limit).unwrap_or(usize::MAX)
    }

    async fn course(&self, served: &Served<'_>, is_write: bool) -> Course {
        let illness = self.record.at(self.now());
        let course = illness.map_or(Course::Served, |illness| illness.course(&self.dice, is_write, served.at_once));
        self.wait(Illness::delay(illness, &self.dice)).await;
        course
    }

    async fn wait(&self, time: Duration) {
        self.world().clock.sleep(time).await;
    }

    fn failure(&self, kind: ErrorKind, pause: Option<Duration>) -> Error {
        let error = Error::new(kind, "the store is ill").with("store", "memory");
        match pause {
            Some(pause) => error.with_retry_after(pause),
            None => error,
        }
    }

    async fn read<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let served = self.arrive();
        match self.course(&served, false).await {
            Course::Fails(kind, pause) => Err(self.failure(kind, pause)),
            Course::Hangs => pending().await,
            Course::Served | Course::Lost { .. } | Course::Late(_) => {
                let answer = work.await;
                // What was read is on its way.
                self.wait(Illness::delay(None, &self.dice)).await;
                answer
            }
        }
    }

    async fn write(&self, name: &SecretName, change: Change) -> Result<Option<Metadata>> {
        let served = self.arrive();
        if let Some(write) = change.write(name) {
            self.world().arrived(write);
        }
        match self.course(&served, true).await {
            Course::Fails(kind, pause) => Err(self.failure(kind, pause)),
            Course::Hangs => pending().await,
            Course::Served => {
                let answer = self.shelf.change(name, change).await;
                self.wait(Illness::delay(None, &self.dice)).await;
                answer
            }
            Course::Lost { silently } => {
                self.shelf.change(name, change).await.map(drop).unwrap_or_default();
                if silently {
                    return pending().await;
                }
                Err(self.failure(ErrorKind::Timeout, None))
            }
            Course::Late(delay) => {
                let (shelf, name) = (Arc::clone(&self.shelf), name.clone());
                tokio::spawn(async move {
                    shelf.world.clock.sleep(delay).await;
                    shelf.change(&name, change).await.map(drop).unwrap_or_default();
                });
                if self.dice.chance(0.5) {
                    return pending().await;
                }
                Err(self.failure(ErrorKind::Timeout, None))
            }
        }
    }

    fn denied(&self, name: &SecretName) -> Result<()> {
        if self.record.denies(name, self.now()) {
            return Err(self.failure(ErrorKind::PermissionDenied, None).with("name", name.as_str()));
        }
        Ok(())
    }

    async fn one(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.denied(name)?;
        self.shelf.memory.get(name, options).await
    }
}

/// A request that is being served.
struct Served<'a> {
    store: &'a SickStore,
    at_once: usize,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let (now, limit) = (self.store.now(), self.store.limit());
        let mut load = self.store.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.in_flight -= 1;
        load.limit = if load.limit.0 == now {
            (now, load.limit.1.max(limit))
        } else {
            (now, limit)
        };
    }
}

impl Shelf {
    pub(crate) fn listen(&self, stream: &Arc<Stream>, delay: Duration) {
        self.listener.get_or_init(|| (Arc::clone(stream), delay));
    }

    pub(crate) fn copy_to(&self, others: Vec<Arc<Self>>, delay: Duration) {
        self.copies.get_or_init(|| (others, delay));
    }

    /// The current version, as everybody sees it now.
    pub(crate) async fn read(&self, name: &SecretName) -> Option<Secret> {
        self.memory.get(name, &GetOptions::default()).await.ok()
    }

    /// Changes what is kept, as everybody sees from now on, and lets others know.
    pub(crate) async fn change(&self, name: &SecretName, change: Change) -> Result<Option<Metadata>> {
        let done = self.apply(name, change.clone()).await?;
        if let Some((others, delay)) = self.copies.get() {
            for other in others {
                let other = Arc::clone(other);
                let (name, change, delay, clock) = (name.clone(), change.clone().upsert(), *delay, self.world.clock);
                tokio::spawn(async move {
                    clock.sleep(delay).await;
                    other.apply(&name, change).await.map(drop).unwrap_or_default();
                });
            }
        }
        if let Some((stream, delay)) = self.listener.get() {
            let (stream, name, delay, clock) = (Arc::clone(stream), name.clone(), *delay, self.world.clock);
            tokio::spawn(async move {
                clock.sleep(delay).await;
                stream.tell(&name);
            });
        }
        Ok(done)
    }

    async fn apply(&self, name: &SecretName, change: Change) -> Result<Option<Metadata>> {
        let write = change.write(name);
        let is_for_good = matches!(&change, Change::Delete(options) if options.mode == DeleteMode::Permanent);
        let done = match change {
            Change::Put(request) => self.memory.put(name, request).await.map(Some),
            Change::Delete(options) => self.memory.delete(name, &options).await.map(|()| None),
            Change::Restore => self.memory.restore(name).await.map(Some),
        }?;
        let [current, previous] = [VersionSelector::Current, VersionSelector::Previous].map(|version| GetOptions {
            version,
            max_age: None,
            expired: Expired::Allow,
        });
        let now = [
            self.memory.get(name, &current).await.ok(),
            self.memory.get(name, &previous).await.ok(),
        ];
        self.world.changed(self.rank, name, write, is_for_good, now);
        self.world.event((self.rank, name, write), || {
            format!("    store {}: `{name}` changed, write {write:?}", self.rank)
        });
        Ok(done)
    }
}

impl Change {
    /// The number of the write.
    fn write(&self, name: &SecretName) -> Option<u64> {
        let Self::Put(request) = self else { return None };
        let secret = Secret::new(request.value.clone()?, Metadata::new(name.clone(), "memory"));
        read_value(&secret).map(|(write, _)| write)
    }

    fn upsert(self) -> Self {
        match self {
            Self::Put(mut request) => {
                request.mode = keyfob_core::PutMode::Upsert;
                Self::Put(request)
            }
            other => other,
        }
    }
}

#[async_trait]
impl SecretStore for SickStore {
    fn info(&self) -> &StoreInfo {
        self.shelf.memory.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.read(self.one(name, options)).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let answers = self.read(async {
            let mut answers = Vec::with_capacity(requests.len());
            for request in requests {
                // Now and then a single one fails.
                let answer = match self.dice.chance(0.02) {
                    true => Err(self.failure(ErrorKind::Unavailable, None)),
                    false => self.one(&request.name, &request.options).await,
                };
                answers.push(answer);
            }
            Ok(answers)
        });
        let answers = answers.await;
        answers.unwrap_or_else(|error| requests.iter().map(|_| Err(error.clone())).collect())
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let written = self.write(name, Change::Put(request)).await?;
        written.ok_or_else(|| self.failure(ErrorKind::Other, None))
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.write(name, Change::Delete(*options)).await.map(drop)
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let restored = self.write(name, Change::Restore).await?;
        restored.ok_or_else(|| self.failure(ErrorKind::Other, None))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.read(self.shelf.memory.list(options)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.read(self.shelf.memory.versions(name, page)).await
    }

    async fn health(&self) -> Result<Health> {
        self.read(self.shelf.memory.health()).await
    }
}

/// Tells of changes, unless it is interrupted.
pub(crate) struct Stream {
    world: Arc<World>,
    state: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    listeners: BTreeMap<u64, UnboundedSender<StoreChange>>,
    is_interrupted: bool,
}

impl Stream {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            state: Mutex::default(),
        }
    }

    fn tell(&self, name: &SecretName) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_interrupted && state.send(&StoreChange::Secret(name.clone())) {
            self.world.told(Some(name));
        }
    }

    /// What changes while it is interrupted is not told of; afterwards it says that anything may have.
    pub(crate) fn interrupt(&self, is_interrupted: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_interrupted = is_interrupted;
        if !is_interrupted && state.send(&StoreChange::Anything) {
            self.world.told(None);
        }
    }
}

impl Told {
    /// Whether anybody heard it.
    fn send(&mut self, change: &StoreChange) -> bool {
        self.listeners.retain(|_, listener| listener.send(change.clone()).is_ok());
        !self.listeners.is_empty()
    }
}

impl ChangeSource for Stream {
    fn changes(&self) -> ChangeStream {
        let (sender, receiver) = unbounded_channel();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.listeners.insert(self.world.number(), sender);
        if !state.is_interrupted && state.send(&StoreChange::Anything) {
            self.world.told(None);
        }
        Box::pin(stream::unfold(receiver, |mut receiver| async move {
            let change = receiver.recv().await?;
            Some((change, receiver))
        }))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
