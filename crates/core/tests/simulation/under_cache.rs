//! What the cache asks: one call at a time for each answer, each within its deadline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyfob_core::{Expired, GetRequest, SecretName, VersionSelector};

use crate::level::PATIENCE;
use crate::spy::{Answered, Asked, Ending, Watch};
use crate::under_retry::UnderRetry;
use crate::world::{Moment, World};

/// Timers go by whole milliseconds, and a call waits for two of them at most.
pub(crate) const TICKS: Duration = Duration::from_millis(2);

/// Between a read that found nothing and the call that it begins lies a look into the second level.
fn look(world: &World) -> Duration {
    if world.setup.has_level {
        PATIENCE + TICKS
    } else {
        Duration::ZERO
    }
}

/// What an answer is kept under.
pub(crate) type Key = (SecretName, VersionSelector);

/// Watches what the cache asks.
#[derive(Debug)]
pub(crate) struct UnderCache {
    world: Arc<World>,
    under_retry: Arc<UnderRetry>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u64, Moment>,
    /// The call under way that readers of a key join.
    flights: HashMap<Key, Flight>,
    /// What the cache must have, if nothing was evicted.
    kept: HashMap<Key, Entry>,
    /// When the store was asked for what disproved everything before.
    disproved: HashMap<Key, Moment>,
    /// When a read began that does not take any age.
    choosy: HashMap<Key, Duration>,
    /// Until when the store may be left alone about a key.
    left_alone: HashMap<Key, Duration>,
}

/// One read of a call under way.
#[derive(Debug, Clone, Copy)]
struct Flight {
    call: u64,
    began: Moment,
    /// How old an answer its reader takes.
    most: Duration,
    /// Whether its reader takes any age that the cache does.
    takes_any_age: bool,
    /// Whether nobody can say from here which of two that began at once the cache has.
    is_doubtful: bool,
}

/// An answer that the cache has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// When the store was asked for it, at the earliest.
    pub(crate) asked_at: Duration,
    /// The same, at the latest.
    pub(crate) asked_by: Duration,
    pub(crate) expires: bool,
}

impl UnderCache {
    pub(crate) fn new(world: &Arc<World>, under_retry: Arc<UnderRetry>) -> Self {
        Self {
            world: Arc::clone(world),
            under_retry,
            state: Mutex::default(),
        }
    }

    /// What the cache has under a key, unless it was evicted.
    pub(crate) fn entry(&self, key: &Key) -> Option<Entry> {
        let entry = self.state().kept.get(key).copied()?;
        (self.world.last_forgotten(&key.0).at < entry.asked_at).then_some(entry)
    }

    /// Somebody begins to read.
    pub(crate) fn is_read(&self, read: &GetRequest) {
        if let Some(key) = self.shared(read).filter(|_| read.options.max_age.is_some()) {
            self.state().choosy.insert(key, self.world.now());
        }
    }

    /// Whether a later call may have taken the place of one that began at this moment.
    pub(crate) fn may_be_replaced(&self, key: &Key, began: Duration) -> bool {
        let state = self.state();
        let choosy = state.choosy.get(key).is_some_and(|at| *at >= began);
        choosy || state.flights.contains_key(key)
    }

    /// The second level has had an answer that was asked for at this moment. Where it is the newer one memory has it, or not: it
    /// may expire.
    pub(crate) fn may_have_newer(&self, key: &Key, asked_at: Duration) {
        let mut state = self.state();
        if state.kept.get(key).is_some_and(|kept| kept.asked_at < asked_at) {
            state.kept.remove(key);
        }
    }

    /// When the store was asked last for what ended in an error that says more than "not now".
    pub(crate) fn disproved(&self, key: &Key) -> Moment {
        self.state().disproved.get(key).copied().unwrap_or_default()
    }

    /// Whether the store could not give an answer for this key now, or so shortly before that it is left alone.
    pub(crate) fn is_left_alone(&self, key: &Key) -> bool {
        self.state()
            .left_alone
            .get(key)
            .is_some_and(|until| self.world.now() <= *until)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.state().calls.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key under which others share the answer, if they do.
    fn shared(&self, read: &GetRequest) -> Option<Key> {
        let keeps = !self.world.setup.times(&read.name).ttl.is_zero();
        (keeps && read.options.expired == Expired::Refuse).then(|| (read.name.clone(), read.options.version.clone()))
    }

    /// Of several reads of one key in a batch only one is kept, and a batch asks for what has to be newer before what is asked
    /// for behind its hits at the same moment is sent.
    fn doubtful(&self, read: &GetRequest, all: &[GetRequest], now: Moment) -> Option<Key> {
        let key = self.shared(read)?;
        let same = all.iter().filter(|other| self.shared(other).as_ref() == Some(&key));
        if same.count() > 1 {
            return Some(key);
        }
        let flight = self.state().flights.get(&key).copied()?;
        let is_plain = flight.takes_any_age && read.options.max_age.is_none();
        (now.at - flight.began.at <= look(&self.world) && !is_plain).then_some(key)
    }

    /// How old an answer this read takes.
    fn most(&self, read: &GetRequest) -> Duration {
        let ttl = self.world.setup.times(&read.name).ttl;
        read.options.max_age.map_or(ttl, |age| age.min(ttl))
    }

    fn begin_flight(&self, read: &GetRequest, now: Moment, is_doubtful: bool) {
        let Some(key) = self.shared(read) else { return };
        let (flight, choosy) = {
            let state = self.state();
            (state.flights.get(&key).copied(), state.choosy.get(&key).copied())
        };
        let Some(flight) = flight.filter(|flight| !flight.is_doubtful) else {
            return;
        };
        let (began, look) = (flight.began, look(&self.world));
        if is_doubtful {
            return;
        }
        let most = self.most(read);
        let is_known = self.world.last_forgotten(&read.name).at + look < began.at;
        // Whoever takes less has a flight of their own, which replaces the one before and may be gone before it asks.
        let is_alone = choosy.is_none_or(|at| at + look < began.at);
        let is_no_older = !self.world.setup.has_level || (flight.most <= most && is_alone);
        let may_join = now.at - began.at + look < most && is_known && is_no_older;
        self.world.check(!may_join, || {
            format!(
                "a second call for `{}` begins while one of {:?} ago is under way",
                read.name,
                now.at - began.at
            )
        });
    }

    fn end_flight(&self, number: u64, read: &GetRequest, answer: Option<&Answered>) {
        let now = self.world.now();
        let mut state = self.state();
        if let Some(answer) = answer.filter(|answer| answer.is_ill()) {
            let pause = self.world.setup.pause_after_error.max(answer.retry_after.unwrap_or_default());
            let key = (read.name.clone(), read.options.version.clone());
            let until = state.left_alone.entry(key).or_default();
            *until = (*until).max(now + pause);
        }
        let Some(key) = self.shared(read) else { return };
        let Some(Flight {
            call,
            began,
            is_doubtful,
            ..
        }) = state.flights.get(&key).copied()
        else {
            return;
        };
        if call != number {
            return;
        }
        state.flights.remove(&key);
        let look = look(&self.world);
        // Whoever takes less replaces the call before, and is not seen here while it looks into the second level.
        let is_replaced = self.world.setup.has_level && state.choosy.get(&key).is_some_and(|at| *at + look >= began.at);
        if is_doubtful || is_replaced || self.world.last_forgotten(&read.name).at + look >= began.at {
            state.kept.remove(&key);
            return;
        }
        match answer {
            Some(Answered {
                error: None, expires, ..
            }) => {
                let entry = Entry {
                    asked_at: began.at.saturating_sub(look),
                    asked_by: began.at,
                    expires: *expires,
                };
                state.kept.insert(key, entry);
            }
            Some(answer) if !answer.is_ill() => {
                state.kept.remove(&key);
                state.disproved.insert(key, began);
            }
            _ => {}
        }
    }
}

impl Watch for UnderCache {
    fn begins(&self, asked: &Asked) -> u64 {
        let (number, now) = (self.world.number(), self.world.moment());
        self.world.event((1, asked.verb, asked.reads.len()), || {
            format!(" call {number}: {}", describe(asked))
        });
        let doubtful: Vec<Key> = asked
            .reads
            .iter()
            .filter_map(|read| self.doubtful(read, &asked.reads, now))
            .collect();
        for read in &asked.reads {
            let is_doubtful = self.shared(read).is_some_and(|key| doubtful.contains(&key));
            self.begin_flight(read, now, is_doubtful);
        }
        let flights = asked.reads.iter().filter_map(|read| {
            let flight = Flight {
                call: number,
                began: now,
                most: self.most(read),
                takes_any_age: read.options.max_age.is_none(),
                is_doubtful: doubtful.contains(&self.shared(read)?),
            };
            Some((self.shared(read)?, flight))
        });
        let mut state = self.state();
        state.kept.retain(|key, _| !doubtful.contains(key));
        state.calls.insert(number, now);
        state.flights.extend(flights);
        drop(state);
        self.under_retry.call_begins(number, asked);
        number
    }

    fn ends(&self, number: u64, asked: &Asked, ending: &Ending) {
        let began = self.state().calls.remove(&number).unwrap_or_default();
        let took = self.world.now() - began.at;
        self.world.event((2, describe_ending(ending)), || {
            format!(" call {number} ended: {}", describe_ending(ending))
        });
        self.world.check(took <= self.world.setup.retry.deadline + TICKS, || {
            format!(
                "{} took {took:?}, deadline {:?}",
                asked.verb.as_str(),
                self.world.setup.retry.deadline
            )
        });
        for (index, read) in asked.reads.iter().enumerate() {
            let answer = match ending {
                Ending::Answered(answers) => answers.get(index),
                Ending::Dropped => None,
            };
            self.end_flight(number, read, answer);
        }
        if asked.verb.is_write()
            && let Some(name) = &asked.name
        {
            self.world.forgotten(Some(name));
        }
        self.under_retry.call_ends(number);
    }
}

/// What is asked, for whoever replays a day.
pub(crate) fn describe(asked: &Asked) -> String {
    let reads: Vec<String> = asked.reads.iter().map(describe_read).collect();
    let name = asked.name.as_ref().map(ToString::to_string).unwrap_or_default();
    let mode = asked.mode.as_ref().map(|mode| format!(" {mode:?}")).unwrap_or_default();
    format!("{} {}{name}{mode}", asked.verb.as_str(), reads.join(", "))
}

pub(crate) fn describe_read(read: &GetRequest) -> String {
    let options = &read.options;
    let age = options.max_age.map(|age| format!(" max_age {age:?}")).unwrap_or_default();
    let expired = if options.expired == Expired::Allow { " expired" } else { "" };
    format!("{}@{}{age}{expired}", read.name, options.version)
}

pub(crate) fn describe_ending(ending: &Ending) -> String {
    let Ending::Answered(answers) = ending else {
        return "dropped".to_owned();
    };
    let tell = |answer: &Answered| match (answer.error, answer.retry_after) {
        (None, _) => "ok".to_owned(),
        (Some(kind), None) => kind.to_string(),
        (Some(kind), Some(wait)) => format!("{kind} for {wait:?}"),
    };
    let answers: Vec<String> = answers.iter().map(tell).collect();
    answers.join(", ")
}
