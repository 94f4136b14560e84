//! The second level of the cache: what several machines share, how this one reaches it, and what the others do there.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use keyfob_core::{
    Clock as _, Freshness, Secret, SecretName, SharedAnswer, SharedCache, SharedEntry, SharedPermit, SharedRead, SharedSecret,
    VersionSelector, async_trait,
};

use crate::dice::Dice;
use crate::store::{Change, DAY, Shelf};
use crate::under_cache::{Key, UnderCache};
use crate::world::World;

/// The longest that anybody waits for the second level.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// After so long a write is over, whatever became of it.
const CLOSED: Duration = Duration::from_secs(300);

/// The place that the machines share. It follows the protocol of [`SharedCache`], and it may lose anything at any time.
#[derive(Debug)]
pub(crate) struct Place {
    world: Arc<World>,
    state: Mutex<State>,
    /// What this machine could not have forgotten yet.
    owed: Mutex<BTreeSet<SecretName>>,
    /// When the last write of this machine that was acknowledged began.
    written: Mutex<HashMap<SecretName, Duration>>,
}

#[derive(Debug, Default)]
struct State {
    names: HashMap<SecretName, Kept>,
    generations: u64,
}

#[derive(Debug)]
struct Kept {
    /// What a permit has to say; `None` while the name is being written, which ends at the moment beside it.
    generation: (Option<u64>, Duration),
    entries: HashMap<VersionSelector, Entry>,
}

#[derive(Debug)]
struct Entry {
    secret: Secret,
    asked_at: Duration,
    gone_at: Duration,
}

impl Place {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            state: Mutex::default(),
            owed: Mutex::default(),
            written: Mutex::default(),
        })
    }

    /// This machine has been told that its write is done.
    pub(crate) fn written(&self, name: &SecretName, began: Duration) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = written.entry(name.clone()).or_default();
        *latest = began.max(*latest);
    }

    /// What was written through any machine ends for all, unless that machine could not say so.
    fn check(&self, name: &SecretName, asked_at: Duration) {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let since = written.get(name).copied().unwrap_or_default();
        self.world.check(asked_at >= since || self.owed().contains(name), || {
            format!(
                "another machine finds `{name}` as it was {:?} before it was written here",
                since.saturating_sub(asked_at)
            )
        });
    }

    fn owed(&self) -> MutexGuard<'_, BTreeSet<SecretName>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, read: &SharedRead<'_>) -> SharedAnswer {
        let now = self.world.now();
        let mut state = self.state();
        if state.names.get(read.name).is_none_or(|kept| kept.generation.1 <= now) {
            state.generations += 1;
            let generation = (Some(state.generations), Duration::MAX);
            let entries = HashMap::new();
            state.names.insert(read.name.clone(), Kept { generation, entries });
        }
        let kept = &state.names[read.name];
        let found = kept.entries.get(read.version).filter(|entry| now < entry.gone_at);
        SharedAnswer {
            found: found.map(|entry| SharedSecret {
                secret: entry.secret.clone(),
                age: now - entry.asked_at,
            }),
            permit: kept.generation.0.map(|generation| permit(generation, now)),
        }
    }

    fn keep(&self, name: &SecretName, version: &VersionSelector, secret: &Secret, lifetime: Duration, permit: &SharedPermit) {
        let (generation, asked_at) = read_permit(permit);
        let mut state = self.state();
        let Some(kept) = state.names.get_mut(name) else { return };
        let known = kept.entries.get(version).map(|entry| entry.asked_at);
        if kept.generation.0 == Some(generation) && known.is_none_or(|known| known <= asked_at) {
            let entry = Entry {
                secret: secret.clone(),
                asked_at,
                gone_at: asked_at + lifetime,
            };
            kept.entries.insert(version.clone(), entry);
        }
    }

    fn close(&self, name: &SecretName) {
        let generation = (None, self.world.now() + CLOSED);
        let entries = HashMap::new();
        self.state().names.insert(name.clone(), Kept { generation, entries });
    }

    fn forget(&self, name: &SecretName) {
        self.state().names.remove(name);
    }

    /// Loses a name, or everything.
    fn lose(&self, name: Option<&SecretName>) {
        match name {
            Some(name) => self.forget(name),
            None => self.state().names.clear(),
        }
    }

    /// Another machine reads a secret of the first store, and keeps it here. It takes its time.
    pub(crate) async fn is_read_by_another(&self, shelf: &Shelf, dice: &Dice, name: &SecretName, max_age: Duration) {
        let version = VersionSelector::Current;
        let answer = self.find(&SharedRead::new(name, &version));
        let clock = self.world.clock;
        if let Some(found) = &answer.found {
            self.check(name, self.world.now() - found.age);
        }
        let pause = || dice.magnitude(Duration::from_millis(1), Duration::from_secs(20));
        clock.sleep(pause()).await;
        let Some(secret) = shelf.read(name).await else { return };
        clock.sleep(pause()).await;
        if let Some(permit) = answer.permit {
            self.keep(name, &version, &secret, max_age, &permit);
            self.world.event((10, name), || format!("   another machine keeps `{name}`"));
        }
    }

    /// Another machine writes a secret of the first store. Now and then it does not get to say that this is over.
    pub(crate) async fn is_written_by_another(&self, shelf: &Shelf, dice: &Dice, name: &SecretName, change: Change) {
        let pause = || dice.magnitude(Duration::from_millis(1), Duration::from_secs(5));
        let clock = self.world.clock;
        self.close(name);
        clock.sleep(pause()).await;
        // It may well be refused.
        let _ = shelf.change(name, change).await;
        clock.sleep(pause()).await;
        if dice.chance(0.9) {
            self.forget(name);
        }
    }
}

fn permit(generation: u64, asked_at: Duration) -> SharedPermit {
    let asked_at = u64::try_from(asked_at.as_nanos()).unwrap_or(u64::MAX);
    SharedPermit::new([generation.to_be_bytes(), asked_at.to_be_bytes()].concat())
}

fn read_permit(permit: &SharedPermit) -> (u64, Duration) {
    let number = |at: usize| {
        let bytes = permit.as_bytes().get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        u64::from_be_bytes(bytes.unwrap_or_default())
    };
    (number(0), Duration::from_nanos(number(8)))
}

/// How the second level is for this machine.
#[derive(Debug, Clone, Copy)]
enum Ailment {
    /// Every answer takes up to so long; nobody waits longer than [`PATIENCE`].
    Slow(Duration),
    /// It can't be reached, which shows at once.
    Gone,
    /// It says nothing.
    Hangs,
    /// With every answer it may lose a name.
    Evicts,
}

/// The second level as this machine reaches it.
#[derive(Debug)]
pub(crate) struct Reached(Arc<Way>);

#[derive(Debug)]
struct Way {
    place: Arc<Place>,
    world: Arc<World>,
    under_cache: OnceLock<Arc<UnderCache>>,
    episodes: Vec<(Duration, Duration, Ailment)>,
    /// When the place starts anew, empty.
    restarts: Mutex<Vec<Duration>>,
    dice: Dice,
}

impl Reached {
    pub(crate) fn new(place: &Arc<Place>, dice: &Dice) -> Self {
        let episodes = (0..60).map(|_| {
            let from = dice.between(Duration::ZERO, DAY);
            let until = from + dice.magnitude(Duration::from_millis(500), Duration::from_secs(3600));
            let ailment = match dice.below(4) {
                0 => Ailment::Slow(dice.magnitude(Duration::from_millis(2), Duration::from_secs(1))),
                1 => Ailment::Gone,
                2 => Ailment::Hangs,
                _ => Ailment::Evicts,
            };
            (from, until, ailment)
        });
        let mut restarts: Vec<Duration> = (0..8).map(|_| dice.between(Duration::ZERO, DAY)).collect();
        restarts.sort();
        restarts.reverse();
        Self(Arc::new(Way {
            place: Arc::clone(place),
            world: Arc::clone(&place.world),
            under_cache: OnceLock::new(),
            episodes: episodes.collect(),
            restarts: Mutex::new(restarts),
            dice: dice.fork(),
        }))
    }

    /// Whoever has to know what memory may have from here.
    pub(crate) fn tells(&self, under_cache: &Arc<UnderCache>) {
        self.0.under_cache.get_or_init(|| Arc::clone(under_cache));
    }
}

impl Way {
    fn ailment(&self) -> Option<Ailment> {
        let now = self.world.now();
        let mut now_ill = self.episodes.iter().filter(|(from, until, _)| (*from..*until).contains(&now));
        now_ill.next().map(|(_, _, ailment)| *ailment)
    }

    /// Whether it answers in time. What is owed is paid first.
    async fn reach(&self) -> bool {
        let ailment = self.ailment();
        let time = match ailment {
            Some(Ailment::Gone) => return false,
            Some(Ailment::Hangs) => Duration::MAX,
            Some(Ailment::Slow(most)) => self.dice.between(Duration::from_millis(1), most),
            Some(Ailment::Evicts) | None => self.dice.between(Duration::ZERO, Duration::from_millis(2)),
        };
        self.world.clock.sleep(time.min(PATIENCE)).await;
        if time > PATIENCE {
            return false;
        }
        let now = self.world.now();
        let mut restarts = self.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        while restarts.pop_if(|restart| *restart <= now).is_some() {
            self.place.lose(None);
        }
        drop(restarts);
        if matches!(ailment, Some(Ailment::Evicts)) && self.dice.chance(0.3) {
            let names = &self.world.setup.names;
            self.place.lose(Some(&names[self.dice.popular(names.len())]));
        }
        let owed = std::mem::take(&mut *self.place.owed());
        owed.iter().for_each(|name| self.place.forget(name));
        true
    }

    /// Does this there, or has the name forgotten as soon as that can be, whether or not anybody waits.
    async fn see_to(self: &Arc<Self>, name: &SecretName, act: fn(&Place, &SecretName)) {
        self.place.owed().insert(name.clone());
        let (way, name) = (Arc::clone(self), name.clone());
        let done = tokio::spawn(async move {
            if way.reach().await {
                act(&way.place, &name);
            }
        });
        self.world.check(done.await.is_ok(), || "a task panicked");
    }
}

#[async_trait]
impl SharedCache for Reached {
    async fn find(&self, reads: &[SharedRead<'_>]) -> Vec<SharedAnswer> {
        let way = &self.0;
        if !way.reach().await {
            return Vec::new();
        }
        let now = way.world.now();
        let answers = reads.iter().map(|read| {
            let answer = way.place.find(read);
            if let (Some(found), Some(under_cache)) = (&answer.found, way.under_cache.get()) {
                let key: Key = (read.name.clone(), read.version.clone());
                under_cache.may_have_newer(&key, now - found.age);
            }
            answer
        });
        let answers: Vec<SharedAnswer> = answers.collect();
        // On its way back it may get lost.
        match way.dice.chance(0.01) {
            true => Vec::new(),
            false => answers,
        }
    }

    async fn keep(&self, entries: Vec<SharedEntry<'_>>) {
        let way = &self.0;
        for entry in &entries {
            let is_of_store = entry.secret.metadata.origin.freshness == Freshness::Store;
            way.world.check(is_of_store, || {
                format!("`{}` is kept in the second level, out of a memory", entry.read.name)
            });
        }
        let keep = |way: &Way, entry: &SharedEntry<'_>| {
            let SharedRead { name, version, .. } = entry.read;
            way.place.keep(name, version, entry.secret, entry.lifetime, &entry.permit);
        };
        if way.reach().await {
            entries.iter().for_each(|entry| keep(way, entry));
        }
    }

    async fn close(&self, name: &SecretName) {
        self.0.see_to(name, Place::close).await;
    }

    async fn forget(&self, name: &SecretName) {
        self.0.see_to(name, Place::forget).await;
    }
}
