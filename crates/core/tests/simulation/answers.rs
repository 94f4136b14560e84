//! Whether an answer may be what it is.

use std::time::Duration;

use keyfob_core::{ErrorKind, Expired, Freshness, GetRequest, Result, Secret, Version, VersionSelector};

use crate::setup::{LABELS, Stack};
use crate::under_cache::{Key, TICKS, describe_read};
use crate::world::{Made, Moment, State, World, read_value};

/// A read before it begins.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) request: GetRequest,
    /// What was before this point is forgotten, or disproved by a later answer.
    floor: Moment,
    /// Whether it has to be answered from memory at once.
    is_hit: bool,
}

impl Read {
    pub(crate) fn begins(stack: &Stack, request: GetRequest) -> Self {
        let (world, now) = (&stack.world, stack.world.moment());
        let key = (request.name.clone(), request.options.version.clone());
        let surely_fresh = world.setup.times(&request.name).ttl.mul_f64(1.0 - world.setup.jitter);
        stack.under_cache.is_read(&request);
        let entry = stack.under_cache.entry(&key);
        let is_hit = !world.setup.evicts()
            && request.options.max_age.is_none()
            && entry.is_some_and(|entry| !entry.expires && now.at - entry.asked_at < surely_fresh);
        Self {
            floor: world.floor(&request.name, now).max(stack.under_cache.disproved(&key)),
            request,
            is_hit,
        }
    }

    /// Checks what came of it.
    pub(crate) fn ends(&self, stack: &Stack, began: Moment, answered_at: Duration, answer: &Result<Secret>) {
        self.check_hit(stack, answer, answered_at == began.at);
        self.in_batch(stack, began, answered_at, answer);
        // While a record is kept the cache goes on, and so it does while a batch waits for what is not in memory.
        if stack.ledger.sync.is_none() {
            match answer {
                Ok(secret) if secret.metadata.origin.freshness == Freshness::Stale => self.check_stale(stack, answered_at),
                Err(error) if error.kind().is_retryable() => self.check_cover(stack, answered_at, error.kind()),
                _ => {}
            }
        }
    }

    /// Checks what came of it as one of a batch, which waits for the others.
    pub(crate) fn in_batch(&self, stack: &Stack, began: Moment, answered_at: Duration, answer: &Result<Secret>) {
        match answer {
            Ok(secret) => self.check_secret(stack, began, answered_at, secret),
            Err(error) if error.kind() == ErrorKind::NotFound => self.check_absence(stack, began, answered_at),
            Err(_) => {}
        }
    }

    fn check_hit(&self, stack: &Stack, answer: &Result<Secret>, at_once: bool) {
        let world = &stack.world;
        let is_from_memory = answer
            .as_ref()
            .is_ok_and(|secret| secret.metadata.origin.freshness == Freshness::Cache);
        world.check(!self.is_hit || (is_from_memory && at_once), || {
            format!(
                "{} is in memory and fresh, but was not answered from there at once",
                describe_read(&self.request)
            )
        });
    }

    /// How long before its own beginning a read may have been asked of a store: somebody else may have asked for it.
    fn joined(&self, world: &World) -> Duration {
        let times = world.setup.times(&self.request.name);
        if self.request.options.expired == Expired::Allow {
            return Duration::ZERO;
        }
        let most = self.request.options.max_age.map_or(times.ttl, |age| age.min(times.ttl));
        most.min(world.setup.retry.deadline + TICKS)
    }

    fn check_secret(&self, stack: &Stack, began: Moment, answered_at: Duration, secret: &Secret) {
        let world = &stack.world;
        let (name, options) = (&self.request.name, &self.request.options);
        let metadata = &secret.metadata;
        let what = || describe_read(&self.request);
        let Some((write, of)) = read_value(secret) else {
            world.violation(format_args!("{}: a value that nobody wrote", what()));
            return;
        };
        world.check(of == name.as_str() && metadata.name == *name, || {
            format!("{}: the value of `{of}` under the name `{}`", what(), metadata.name)
        });
        let Some((rank, version)) = self.place(world, secret) else {
            return;
        };
        let made = world.made(rank, name, &version);
        let lives: Vec<u64> = made.iter().filter(|made| made.write == write).map(|made| made.life).collect();
        world.check(!lives.is_empty(), || {
            format!("{}: write {write} as version {version} of store {rank}", what())
        });
        let times = world.setup.times(name);
        let within = |most: Duration| options.max_age.map_or(most, |age| age.min(most));
        let freshness = metadata.origin.freshness;
        let from = match freshness {
            Freshness::Store => began.at.saturating_sub(self.joined(world)),
            // It was fresh when it was found, and is handed out before it is too old.
            Freshness::Cache => {
                // In the second level it may have been found by another before, who waits for more.
                let joined = if world.setup.has_level {
                    self.joined(world)
                } else {
                    Duration::ZERO
                };
                let fresh = began.at.saturating_sub(within(times.ttl) + joined);
                fresh.max(answered_at.saturating_sub(within(times.max_age)))
            }
            _ => answered_at.saturating_sub(within(times.max_age)),
        };
        world.check(freshness == Freshness::Store || !within(times.ttl).is_zero(), || {
            format!("{}: from memory", what())
        });
        let since = Moment { at: from, step: 0 }.max(self.floor);
        let was_there = |state: &State| {
            let of_write = |kept: &Option<crate::world::Kept>| kept.as_ref().is_some_and(|kept| kept.write == write);
            match &options.version {
                VersionSelector::Current => of_write(&state.current),
                VersionSelector::Previous => of_write(&state.previous),
                VersionSelector::Exact(_) => state.current.is_some() && lives.contains(&state.life),
            }
        };
        world.check(world.held(rank, name, since, was_there), || {
            format!(
                "{}: write {write} of store {rank}, {freshness:?}, was not there since {:?} ago (floor {:?} ago)",
                what(),
                answered_at.saturating_sub(from),
                answered_at.saturating_sub(self.floor.at)
            )
        });
        // What a store hands out had not expired when it was asked, by whoever asked.
        let at = if freshness == Freshness::Store { from } else { answered_at };
        let is_expired = metadata.is_expired(world.day_of(at));
        world.check(options.expired == Expired::Allow || !is_expired, || {
            format!("{}: it has expired", what())
        });
        self.check_trail(world, rank, secret);
    }

    /// The store that an answer is from, and its own name for the version.
    fn place(&self, world: &World, secret: &Secret) -> Option<(usize, Version)> {
        let metadata = &secret.metadata;
        let handed_out = metadata.version.as_ref()?;
        let rank = match &metadata.origin.member {
            None => 0,
            Some(member) => LABELS.iter().position(|label| *label == &**member)?,
        };
        if let VersionSelector::Exact(asked) = &self.request.options.version {
            world.check(asked == handed_out, || {
                format!("{}: version {handed_out}", describe_read(&self.request))
            });
        }
        Some((rank, own_version(rank, handed_out)?))
    }

    /// A stale answer is one that was fresh once, and is only handed out while it is renewed or can't be.
    fn check_stale(&self, stack: &Stack, answered_at: Duration) {
        let world = &stack.world;
        let key: Key = (self.request.name.clone(), self.request.options.version.clone());
        let Some(entry) = stack.under_cache.entry(&key) else {
            return;
        };
        let times = world.setup.times(&self.request.name);
        let age = answered_at - entry.asked_at;
        world.check(age >= times.ttl.mul_f64(1.0 - world.setup.jitter), || {
            format!("{}: stale at the age of {age:?}", describe_read(&self.request))
        });
        let in_window = answered_at - entry.asked_by < times.ttl + times.stale_while_revalidate;
        world.check(in_window || stack.under_cache.is_left_alone(&key), || {
            format!("{}: {age:?} old, though the store is well", describe_read(&self.request))
        });
    }

    /// Only stores that could not answer are passed over.
    fn check_trail(&self, world: &World, rank: usize, secret: &Secret) {
        let setup = &world.setup;
        let passed = &secret.metadata.origin.passed_over;
        let is_pinned = matches!(self.request.options.version, VersionSelector::Exact(_));
        let expected = if is_pinned { 0 } else { rank };
        let may_be =
            |kind: ErrorKind| kind.is_retryable() || (kind == ErrorKind::NotFound && setup.failover.not_found_falls_through);
        let is_right = passed.len() == expected
            && passed
                .iter()
                .enumerate()
                .all(|(place, passed)| &*passed.member == LABELS[place] && may_be(passed.kind));
        world.check(is_right, || {
            format!(
                "{}: store {rank} answered, passed over: {passed:?}",
                describe_read(&self.request)
            )
        });
    }

    /// What is not found was not there.
    fn check_absence(&self, stack: &Stack, began: Moment, answered_at: Duration) {
        let world = &stack.world;
        let setup = &world.setup;
        let (name, options) = (&self.request.name, &self.request.options);
        let times = setup.times(name);
        let negative = options.max_age.map_or(times.negative_ttl, |age| age.min(times.negative_ttl));
        let joined = began.at.saturating_sub(self.joined(world));
        let from = joined.min(answered_at.saturating_sub(negative));
        let since = Moment { at: from, step: 0 }.max(self.floor);
        // A version may be of another life of the name.
        let made = |rank: usize| match &options.version {
            VersionSelector::Exact(version) => own_version(rank, version).map(|version| world.made(rank, name, &version)),
            _ => None,
        };
        let absent = |rank: usize| {
            let made = made(rank).unwrap_or_default();
            world.held(rank, name, since, |state| match &options.version {
                VersionSelector::Current => state.current.is_none(),
                VersionSelector::Previous => state.previous.is_none() || state.current.is_none(),
                VersionSelector::Exact(_) => {
                    let is_made = |made: &Made| made.life == state.life && made.since <= state.since;
                    state.current.is_none() || !made.iter().any(is_made)
                }
            })
        };
        let mut ranks = 0..setup.members;
        let asked = match &options.version {
            VersionSelector::Exact(version) => ranks.clone().rfind(|rank| own_version(*rank, version).is_some()),
            _ => None,
        };
        let holds = match (setup.failover.not_found_falls_through, setup.failover.believe_not_found) {
            _ if asked.is_some() => asked.is_some_and(absent),
            (_, true) => ranks.any(absent),
            (true, false) => ranks.all(absent),
            (false, false) => absent(0),
        };
        world.check(holds, || {
            format!("{}: not found, but it was there", describe_read(&self.request))
        });
    }

    /// What is in memory covers a store that can't answer.
    fn check_cover(&self, stack: &Stack, answered_at: Duration, kind: ErrorKind) {
        let (world, options) = (&stack.world, &self.request.options);
        if world.setup.evicts() || options.max_age.is_some() || options.expired == Expired::Allow {
            return;
        }
        let max_age = world.setup.times(&self.request.name).max_age;
        let entry = stack.under_cache.entry(&(self.request.name.clone(), options.version.clone()));
        let covers = entry.is_some_and(|entry| !entry.expires && answered_at - entry.asked_at < max_age);
        world.check(!covers, || {
            format!("{}: {kind}, but memory could have covered it", describe_read(&self.request))
        });
    }
}

/// What a store itself calls a version that is handed out as its own.
fn own_version(rank: usize, version: &Version) -> Option<Version> {
    if rank == 0 {
        return Some(version.clone());
    }
    let own = version.as_str().strip_prefix(LABELS[rank])?.strip_prefix(':')?;
    Version::new(own).ok()
}
