//! What everybody in a simulated day shares: time, what really was in the stores, and what went wrong.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use keyfob_core::{Clock, ErrorKind, Secret, SecretName, Version, VirtualClock};

use crate::setup::Setup;

/// A point in the order of everything. What happens at the same time still happens one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Moment {
    pub(crate) at: Duration,
    pub(crate) step: u64,
}

/// What stands in a store about one version of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The number of the write that made it.
    pub(crate) write: u64,
    pub(crate) version: Version,
    pub(crate) expires_at: Option<SystemTime>,
}

/// What a name was in a store from a moment on, until the next one.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) since: Moment,
    /// `None` when there is no such secret, or it is deleted.
    pub(crate) current: Option<Kept>,
    pub(crate) previous: Option<Kept>,
    /// How often the name was deleted for good before. Versions are numbered anew after that.
    pub(crate) life: u64,
}

/// So many of the last events are told of a day that is replayed.
const EVENTS_TOLD: usize = 400;
const MOST_VIOLATIONS: usize = 8;

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) clock: VirtualClock,
    tells: bool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    step: u64,
    next: u64,
    digest: DefaultHasher,
    events: VecDeque<String>,
    violations: Vec<String>,
    history: HashMap<(usize, SecretName), Vec<State>>,
    versions: HashMap<(usize, SecretName, Version), Vec<Made>>,
    applied: BTreeMap<u64, Vec<(usize, Version)>>,
    refused: Vec<(u64, ErrorKind)>,
    arrived: HashSet<u64>,
    forgotten: HashMap<SecretName, Moment>,
    all_forgotten: Moment,
    told: HashMap<SecretName, Moment>,
    all_told: Moment,
    checks: u64,
}

/// What made a version: a write, in a life of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) write: u64,
    pub(crate) life: u64,
    pub(crate) since: Moment,
}

impl World {
    pub(crate) fn new(setup: Setup, clock: VirtualClock, tells: bool) -> Self {
        Self {
            setup,
            clock,
            tells,
            inner: Mutex::default(),
        }
    }

    /// A violation is noted, not thrown: a panic inside a layer would change what is observed.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// The time of day.
    pub(crate) fn day_of(&self, at: Duration) -> SystemTime {
        self.clock.system_now() - self.now() + at
    }

    /// The next point in the order.
    pub(crate) fn moment(&self) -> Moment {
        let mut inner = self.inner();
        inner.step += 1;
        Moment {
            at: self.clock.now(),
            step: inner.step,
        }
    }

    /// A number that nothing else has.
    pub(crate) fn number(&self) -> u64 {
        let mut inner = self.inner();
        inner.next += 1;
        inner.next
    }

    /// Something happened. It is part of the day's fingerprint, and told when the day is replayed.
    pub(crate) fn event(&self, what: impl Hash, tell: impl FnOnce() -> String) {
        let now = self.now();
        let mut inner = self.inner();
        (now, what).hash(&mut inner.digest);
        if self.tells && inner.violations.is_empty() {
            if inner.events.len() == EVENTS_TOLD {
                inner.events.pop_front();
            }
            inner.events.push_back(format!("{} {}", Time(now), tell()));
        }
    }

    pub(crate) fn violation(&self, what: impl fmt::Display) {
        let now = self.now();
        let mut inner = self.inner();
        if inner.violations.len() < MOST_VIOLATIONS {
            inner.violations.push(format!("{} {what}", Time(now)));
        }
    }

    /// Checks that `holds`.
    pub(crate) fn check<D: fmt::Display>(&self, holds: bool, what: impl FnOnce() -> D) {
        self.inner().checks += 1;
        if !holds {
            self.violation(what());
        }
    }

    /// Writes down what a store has of a name now. `applied` is the number of the write that was done, `is_for_good` whether the
    /// name was deleted so that nothing brings it back.
    pub(crate) fn changed(
        &self,
        rank: usize,
        name: &SecretName,
        applied: Option<u64>,
        is_for_good: bool,
        now: [Option<Secret>; 2],
    ) {
        let since = self.moment();
        let [current, previous] = now.map(|secret| secret.and_then(|secret| self.kept(name, &secret)));
        let life = self.life(rank, name) + u64::from(is_for_good);
        let mut inner = self.inner();
        if let Some(kept) = &current {
            let made = inner.versions.entry((rank, name.clone(), kept.version.clone())).or_default();
            if made.last().is_none_or(|last| (last.write, last.life) != (kept.write, life)) {
                let write = kept.write;
                made.push(Made { write, life, since });
            }
        }
        if let (Some(write), Some(kept)) = (applied, &current) {
            inner.applied.entry(write).or_default().push((rank, kept.version.clone()));
        }
        let state = State {
            since,
            current,
            previous,
            life,
        };
        inner.history.entry((rank, name.clone())).or_default().push(state);
    }

    fn kept(&self, name: &SecretName, secret: &Secret) -> Option<Kept> {
        let (write, of) = read_value(secret)?;
        self.check(of == name.as_str(), || {
            format!("`{name}` in memory holds a value of another name")
        });
        Some(Kept {
            write,
            version: secret.metadata.version.clone()?,
            expires_at: secret.metadata.expires_at,
        })
    }

    /// Whether `is` held of what a store had of a name at some point since `since`.
    pub(crate) fn held(&self, rank: usize, name: &SecretName, since: Moment, is: impl Fn(&State) -> bool) -> bool {
        let inner = self.inner();
        let states = inner.history.get(&(rank, name.clone())).map_or(&[][..], Vec::as_slice);
        for state in states.iter().rev() {
            if is(state) {
                return true;
            }
            if state.since.at < since.at || (state.since.at == since.at && state.since.step <= since.step) {
                return false;
            }
        }
        // Before the first state there was nothing.
        is(&State::default())
    }

    /// Whether `is` held of what a store had of a name at every point since `since`.
    pub(crate) fn held_always(&self, rank: usize, name: &SecretName, since: Moment, is: impl Fn(&State) -> bool) -> bool {
        !self.held(rank, name, since, |state| !is(state))
    }

    /// Every name that a store ever had.
    pub(crate) fn names(&self, rank: usize) -> Vec<SecretName> {
        let inner = self.inner();
        let mut names: Vec<SecretName> = inner
            .history
            .keys()
            .filter(|(of, _)| *of == rank)
            .map(|(_, name)| name.clone())
            .collect();
        names.sort();
        names
    }

    /// How often a name was deleted for good.
    pub(crate) fn life(&self, rank: usize, name: &SecretName) -> u64 {
        let inner = self.inner();
        let states = inner.history.get(&(rank, name.clone()));
        states.and_then(|states| states.last()).map_or(0, |state| state.life)
    }

    /// The writes that made this version, one in each life of the name.
    pub(crate) fn made(&self, rank: usize, name: &SecretName, version: &Version) -> Vec<Made> {
        let place = (rank, name.clone(), version.clone());
        self.inner().versions.get(&place).cloned().unwrap_or_default()
    }

    /// The versions that a write made, and of which store.
    pub(crate) fn applied(&self, write: u64) -> Vec<(usize, Version)> {
        self.inner().applied.get(&write).cloned().unwrap_or_default()
    }

    /// A store was asked to do a write.
    pub(crate) fn arrived(&self, write: u64) {
        self.inner().arrived.insert(write);
    }

    /// Whether any store was ever asked to do a write.
    pub(crate) fn has_arrived(&self, write: u64) -> bool {
        self.inner().arrived.contains(&write)
    }

    /// The caller of a write was told that it was not done.
    pub(crate) fn refused(&self, write: u64, kind: ErrorKind) {
        self.inner().refused.push((write, kind));
    }

    /// No write was done twice, and none of which it was said that it was not done.
    pub(crate) fn check_writes(&self) {
        let (applied, refused) = {
            let inner = self.inner();
            (inner.applied.clone(), inner.refused.clone())
        };
        for (write, places) in &applied {
            let times = places.iter().filter(|(rank, _)| *rank == 0).count();
            self.check(times <= 1, || format!("write {write} was done {times} times"));
        }
        for (write, kind) in refused {
            self.check(!applied.contains_key(&write), || {
                format!("write {write} ended with `{kind}`, which says that it was not done, but it was")
            });
        }
    }

    /// What a cache knew of a name before is forgotten.
    pub(crate) fn forgotten(&self, name: Option<&SecretName>) {
        let moment = self.moment();
        let mut inner = self.inner();
        match name {
            Some(name) => drop(inner.forgotten.insert(name.clone(), moment)),
            None => inner.all_forgotten = moment,
        }
    }

    /// A change stream has told of a name. Whoever listens acts on it before the time goes on.
    pub(crate) fn told(&self, name: Option<&SecretName>) {
        let moment = self.moment();
        let mut inner = self.inner();
        match name {
            Some(name) => drop(inner.told.insert(name.clone(), moment)),
            None => inner.all_told = moment,
        }
    }

    /// When a name was forgotten last, as far as a read that begins at `began` may rely on it.
    pub(crate) fn floor(&self, name: &SecretName, began: Moment) -> Moment {
        let inner = self.inner();
        let told = [inner.told.get(name).copied().unwrap_or_default(), inner.all_told];
        let told = told
            .into_iter()
            .filter(|moment| moment.at < began.at)
            .max()
            .unwrap_or_default();
        let forgotten = inner.forgotten.get(name).copied().unwrap_or_default();
        told.max(forgotten).max(inner.all_forgotten)
    }

    /// When a name was forgotten or told of last.
    pub(crate) fn last_forgotten(&self, name: &SecretName) -> Moment {
        let end = Moment {
            at: Duration::MAX,
            step: u64::MAX,
        };
        self.floor(name, end)
    }

    pub(crate) fn is_broken(&self) -> bool {
        !self.inner().violations.is_empty()
    }

    /// What happened, as one number, how much was checked, what was violated, and the last events before.
    pub(crate) fn outcome(&self) -> Outcome {
        let inner = self.inner();
        Outcome {
            fingerprint: inner.digest.finish(),
            checks: inner.checks,
            violations: inner.violations.clone(),
            events: inner.events.iter().cloned().collect(),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// How a day ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) fingerprint: u64,
    pub(crate) checks: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) events: Vec<String>,
}

impl Outcome {
    /// Something panicked, and has said why.
    pub(crate) fn panicked(mut self) -> Self {
        self.violations.push("a panic, see above".to_owned());
        self
    }
}

/// The time of a day.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        write!(f, "{hours:02}:{minutes:02}:{:02}.{:06}", seconds % 60, self.0.subsec_micros())
    }
}

/// The value that a write leaves: it tells which write, and of which name.
pub(crate) fn value(name: &SecretName, write: u64) -> String {
    format!("kfcanary-{write:08}-{name}")
}

/// The write and the name that a value tells of.
pub(crate) fn read_value(secret: &Secret) -> Option<(u64, &str)> {
    let text = secret.value.expose_str().ok()?;
    let (write, name) = text.strip_prefix("kfcanary-")?.split_once('-')?;
    Some((write.parse().ok()?, name))
}
