//! What a second level of the cache must keep: no older answer comes back, in whatever order machines go about it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use keyfob_core::{
    CacheLayer, CachedStore, DeleteOptions, ErrorKind, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page,
    PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, SharedAnswer, SharedCache, SharedEntry, SharedPermit,
    SharedRead, SharedSecret, StoreInfo, VersionInfo, VersionSelector,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::canary::random_text;

/// How many orders there were, and what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Orders {
    /// All orders of the steps.
    pub all: usize,
    /// After so many of them the second level had an answer.
    pub kept: usize,
}

/// What the machines do at once, each of them one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// Reads the secret.
    Read,
    /// Writes a new value.
    Put,
    /// Deletes the secret.
    Delete,
    /// Writes a new value, and can't reach the second level.
    PutAlone,
    /// Writes a new value, and dies before it can say that this is over.
    PutAndDie,
}

/// Has machines do these things at once, over one store and this second level, in every order of their steps. A step is one
/// call of the store or of the second level. When all are done, no machine that wrote, and no machine that comes new, may
/// read anything but what the store says; the latter only when all writers could reach the second level.
///
/// # Errors
/// The order in which an old value came back.
pub async fn every_order(cache: &Arc<dyn SharedCache>, acts: &[Act]) -> Result<Orders, String> {
    let mut orders = Orders::default();
    let mut order: Vec<Choice> = Vec::new();
    loop {
        let name = SecretName::new(format!("kf-{}/{}", random_text(10), orders.all)).map_err(|error| error.to_string())?;
        let kept = one_order(cache, acts, &name, &mut order).await.map_err(|problem| {
            let steps: Vec<String> = order
                .iter()
                .map(|choice| format!("{:?} {}", choice.act, choice.step))
                .collect();
            format!("{problem}, in the order {}", steps.join(", "))
        })?;
        orders.all += 1;
        orders.kept += usize::from(kept);
        // The next order differs in the last choice that had another possibility.
        while order.last().is_some_and(|choice| choice.index + 1 == choice.of) {
            order.pop();
        }
        match order.last_mut() {
            Some(choice) => choice.index += 1,
            None => return Ok(orders),
        }
    }
}

/// Which of the machines that could go on did so.
#[derive(Debug, Clone)]
struct Choice {
    index: usize,
    of: usize,
    act: Act,
    step: &'static str,
}

/// Goes through one order, begun as `order` says, which is completed.
async fn one_order(
    cache: &Arc<dyn SharedCache>,
    acts: &[Act],
    name: &SecretName,
    order: &mut Vec<Choice>,
) -> Result<bool, String> {
    let store: Arc<dyn SecretStore> = Arc::new(MemoryStore::new());
    let old = PutRequest::new("kfcanary-oldvalue");
    store.put(name, old).await.map_err(|error| error.to_string())?;
    let (events, mut happened) = mpsc::unbounded_channel();
    let mut machines = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for (number, act) in acts.iter().copied().enumerate() {
        let gate = Gate {
            number,
            events: Some(events.clone()),
        };
        let machine = machine(&store, cache, gate.clone(), act);
        machines.push(Arc::clone(&machine));
        let name = name.clone();
        tasks.spawn(async move {
            act.happen(&machine, &name, number).await;
            gate.tell(Event::Finished);
        });
    }
    // Where each machine stands; those that are done are gone.
    let mut waiting: HashMap<usize, (&'static str, oneshot::Sender<()>)> = HashMap::new();
    let mut going: usize = acts.len();
    let mut depth = 0;
    loop {
        while waiting.len() < going {
            match happened.recv().await {
                Some(Event::Waits(number, step, go)) => drop(waiting.insert(number, (step, go))),
                Some(Event::Finished) => going -= 1,
                None => return Err("the machines are gone".to_owned()),
            }
        }
        if going == 0 {
            break;
        }
        let mut able: Vec<usize> = waiting.keys().copied().collect();
        able.sort_unstable();
        let index = order.get(depth).map_or(0, |choice| choice.index);
        let number = able[index];
        let Some((step, go)) = waiting.remove(&number) else {
            return Err("the machine is gone".to_owned());
        };
        let choice = Choice {
            index,
            of: able.len(),
            act: acts[number],
            step,
        };
        match order.get_mut(depth) {
            Some(known) => *known = choice,
            None => order.push(choice),
        }
        depth += 1;
        let _ = go.send(());
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|_| "a machine panicked".to_owned())?;
    }
    // From here on nobody listens, and all gates are open.
    drop(happened);
    let found = cache.find(&[SharedRead::new(name, &VersionSelector::Current)]).await;
    let is_kept = found.into_iter().any(|answer| answer.found.is_some());
    let now = value(&*store, name).await;
    // First, because what the others read now is kept.
    if !acts.contains(&Act::PutAlone) {
        let gate = Gate { number: 0, events: None };
        let newcomer = machine(&store, cache, gate, Act::Read);
        if value(&*newcomer, name).await != now {
            return Err("a new machine reads an old value".to_owned());
        }
    }
    for (act, machine) in acts.iter().zip(&machines) {
        if *act != Act::Read && value(&**machine, name).await != now {
            return Err("a machine that wrote reads an old value".to_owned());
        }
    }
    cache.forget(name).await;
    Ok(is_kept)
}

impl Act {
    async fn happen(self, machine: &CachedStore, name: &SecretName, number: usize) {
        match self {
            Self::Read => drop(machine.get(name, &GetOptions::default()).await),
            Self::Put | Self::PutAlone | Self::PutAndDie => {
                drop(machine.put(name, PutRequest::new(format!("kfcanary-newvalue{number}"))).await);
            }
            Self::Delete => drop(machine.delete(name, &DeleteOptions::default()).await),
        }
    }
}

/// A value to compare, never to show.
async fn value(store: &dyn SecretStore, name: &SecretName) -> Result<Vec<u8>, ErrorKind> {
    let secret = store.get(name, &GetOptions::default()).await;
    secret
        .map(|secret| secret.value.expose_secret().to_vec())
        .map_err(|error| error.kind())
}

fn machine(store: &Arc<dyn SecretStore>, cache: &Arc<dyn SharedCache>, gate: Gate, act: Act) -> Arc<CachedStore> {
    let shared = Arc::new(GatedCache {
        inner: Arc::clone(cache),
        gate: gate.clone(),
        closes: act != Act::PutAlone,
        forgets: !matches!(act, Act::PutAlone | Act::PutAndDie),
    });
    let store = Arc::new(GatedStore {
        inner: Arc::clone(store),
        gate,
    });
    CacheLayer::new(Duration::from_secs(300))
        .jitter(0.0)
        .shared(shared)
        .build(store)
}

/// Where a machine waits before each step, until it is its turn.
#[derive(Debug, Clone)]
struct Gate {
    number: usize,
    events: Option<mpsc::UnboundedSender<Event>>,
}

#[derive(Debug)]
enum Event {
    Waits(usize, &'static str, oneshot::Sender<()>),
    Finished,
}

impl Gate {
    async fn pass(&self, step: &'static str) {
        let (go, gone) = oneshot::channel();
        self.tell(Event::Waits(self.number, step, go));
        // When nobody listens the way is free.
        let _ = gone.await;
    }

    fn tell(&self, event: Event) {
        if let Some(events) = &self.events {
            let _ = events.send(event);
        }
    }
}

#[derive(Debug)]
struct GatedCache {
    inner: Arc<dyn SharedCache>,
    gate: Gate,
    closes: bool,
    forgets: bool,
}

#[async_trait]
impl SharedCache for GatedCache {
    async fn find(&self, reads: &[SharedRead<'_>]) -> Vec<SharedAnswer> {
        self.gate.pass("find").await;
        self.inner.find(reads).await
    }

    async fn keep(&self, entries: Vec<SharedEntry<'_>>) {
        self.gate.pass("keep").await;
        self.inner.keep(entries).await;
    }

    async fn close(&self, name: &SecretName) {
        self.gate.pass("close").await;
        if self.closes {
            self.inner.close(name).await;
        }
    }

    async fn forget(&self, name: &SecretName) {
        self.gate.pass("forget").await;
        if self.forgets {
            self.inner.forget(name).await;
        }
    }
}

#[derive(Debug)]
struct GatedStore {
    inner: Arc<dyn SecretStore>,
    gate: Gate,
}

#[async_trait]
impl SecretStore for GatedStore {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.gate.pass("get").await;
        self.inner.get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.inner.get_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.gate.pass("put").await;
        self.inner.put(name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.gate.pass("delete").await;
        self.inner.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
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

/// A second level in this process, for tests: nothing is encrypted, nothing is bounded.
#[derive(Default)]
pub struct ModelCache {
    names: Mutex<HashMap<SecretName, Kept>>,
    flaw: Option<ModelFlaw>,
}

/// What a wrong [`ModelCache`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelFlaw {
    /// Keeps what comes, whatever the permit says.
    KeepsWithoutPermit,
    /// Gives permits while a name is written.
    StaysOpen,
    /// A write ends no permits.
    ForgetsEntriesOnly,
}

#[derive(Default)]
struct Kept {
    generation: u64,
    is_closed: bool,
    entries: HashMap<VersionSelector, (Secret, Instant)>,
}

impl ModelCache {
    /// One that is wrong.
    #[must_use]
    pub fn flawed(flaw: ModelFlaw) -> Self {
        Self {
            flaw: Some(flaw),
            ..Self::default()
        }
    }

    fn change(&self, name: &SecretName, change: impl FnOnce(&mut Kept)) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        change(names.entry(name.clone()).or_default());
    }

    fn end(&self, name: &SecretName, is_closed: bool) {
        self.change(name, |kept| {
            kept.entries.clear();
            if self.flaw != Some(ModelFlaw::ForgetsEntriesOnly) {
                kept.generation += 1;
            }
            kept.is_closed = is_closed && self.flaw != Some(ModelFlaw::StaysOpen);
        });
    }
}

#[async_trait]
impl SharedCache for ModelCache {
    async fn find(&self, reads: &[SharedRead<'_>]) -> Vec<SharedAnswer> {
        let now = Instant::now();
        let mut answers = Vec::new();
        for read in reads {
            self.change(read.name, |kept| {
                let found = kept.entries.get(read.version);
                let found = found.map(|(secret, asked_at)| SharedSecret {
                    secret: secret.clone(),
                    age: now.saturating_duration_since(*asked_at),
                });
                // The moment of asking goes along, as far as this process can say it.
                let permit = [kept.generation.to_be_bytes(), micros(now).to_be_bytes()].concat();
                let permit = (!kept.is_closed).then(|| SharedPermit::new(permit));
                answers.push(SharedAnswer { found, permit });
            });
        }
        answers
    }

    async fn keep(&self, entries: Vec<SharedEntry<'_>>) {
        for entry in entries {
            let Some((generation, rest)) = entry.permit.as_bytes().split_first_chunk() else {
                continue;
            };
            let Some((asked, _)) = rest.split_first_chunk() else {
                continue;
            };
            let asked_at = *EPOCH + Duration::from_micros(u64::from_be_bytes(*asked));
            self.change(entry.read.name, |kept| {
                let holds = !kept.is_closed && kept.generation == u64::from_be_bytes(*generation);
                let newer = kept
                    .entries
                    .get(entry.read.version)
                    .is_none_or(|(_, known)| *known <= asked_at);
                if newer && (holds || self.flaw == Some(ModelFlaw::KeepsWithoutPermit)) {
                    kept.entries
                        .insert(entry.read.version.clone(), (entry.secret.clone(), asked_at));
                }
            });
        }
    }

    async fn close(&self, name: &SecretName) {
        self.end(name, true);
    }

    async fn forget(&self, name: &SecretName) {
        self.end(name, false);
    }
}

static EPOCH: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn micros(now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(*EPOCH).as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Debug for ModelCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelCache").field("flaw", &self.flaw).finish_non_exhaustive()
    }
}
