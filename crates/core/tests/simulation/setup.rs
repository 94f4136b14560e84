//! How a day's stack is set up, drawn from the seed, and the stack itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyfob_core::{
    Actor, AuditLayer, BreakerOptions, CacheLayer, CacheNames, CacheTimes, CachedStore, Clock, Failover, FailoverOptions,
    FailoverStore, FailoverWrites, Layer, LimitLayer, LimitOptions, MetricsLayer, Result, RetryLayer, RetryOptions, SecretName,
    SecretStore, TraceLayer,
};

use crate::dice::Dice;
use crate::ledger::{Ledger, Meters};
use crate::level::{Place, Reached};
use crate::spy::{Level, Spy};
use crate::store::{SickStore, Stream};
use crate::under_cache::UnderCache;
use crate::under_failover::UnderFailover;
use crate::under_retry::UnderRetry;
use crate::world::World;

/// The labels of a failover list.
pub(crate) const LABELS: [&str; 3] = ["a", "b", "c"];

/// Names of which nothing is kept in memory begin so.
pub(crate) const LIVE: &str = "live/";

/// The settings of a day.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) members: usize,
    pub(crate) names: Vec<SecretName>,
    pub(crate) times: Times,
    pub(crate) jitter: f64,
    pub(crate) refresh_ahead: f64,
    pub(crate) pause_after_error: Duration,
    pub(crate) max_entries: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_absences: usize,
    /// Whether the first store tells of changes.
    pub(crate) follows: bool,
    pub(crate) retry: RetryOptions,
    pub(crate) limit: LimitOptions,
    pub(crate) failover: FailoverOptions,
    /// Whether machines share a second level of the cache.
    pub(crate) has_level: bool,
    /// How long the other stores take to have what is written to the first one; `None` when they never do.
    pub(crate) replication: Option<Duration>,
    /// When nothing works, if the stores are well at all other times.
    pub(crate) outage: Option<(Duration, Duration)>,
}

/// What [`CacheTimes`] was made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) ttl: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) max_age: Duration,
    pub(crate) negative_ttl: Duration,
}

impl Times {
    const NEVER: Self = Self {
        ttl: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        max_age: Duration::ZERO,
        negative_ttl: Duration::ZERO,
    };
}

const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Setup {
    pub(crate) fn draw(dice: &Dice) -> Self {
        let ttl = dice.pick(&[seconds(2), seconds(30), seconds(300)]);
        let few = dice.chance(0.3);
        let most = dice.pick(&[4, 16, 256]);
        let names = (0..4 + dice.below(40)).map(|index| {
            let prefix = if index % 9 == 5 { LIVE } else { "team/" };
            SecretName::new(format!("{prefix}s{index:02}"))
        });
        let mut setup = Self {
            members: dice.pick(&[1, 2, 2, 3]),
            names: names.flatten().collect(),
            times: Times {
                ttl,
                stale_while_revalidate: dice.pick(&[Duration::ZERO, seconds(10), seconds(60), seconds(600)]),
                max_age: ttl * dice.pick(&[1, 4, 12]),
                negative_ttl: dice.pick(&[Duration::ZERO, seconds(1), seconds(5)]),
            },
            jitter: dice.pick(&[0.0, 0.1, 0.5]),
            refresh_ahead: dice.pick(&[0.5, 0.8, 1.0]),
            pause_after_error: dice.pick(&[seconds(1), seconds(5)]),
            max_entries: if few { 3 } else { 10_000 },
            max_bytes: if few { 4 << 10 } else { 64 << 20 },
            max_absences: if few { 2 } else { 1_000 },
            follows: dice.chance(0.5),
            retry: RetryOptions {
                attempts: dice.pick(&[1, 2, 4, 6]),
                base: dice.pick(&[milliseconds(10), milliseconds(100), seconds(1)]),
                cap: seconds(5),
                deadline: dice.pick(&[seconds(2), seconds(10), seconds(30)]),
                budget: dice.pick(&[0.0, 0.1, 0.5]),
                budget_per_second: dice.pick(&[0.0, 0.2, 1.0]),
                hedge: dice.chance(0.5),
            },
            limit: LimitOptions {
                first: dice.pick(&[1, 2, 4]),
                least: dice.pick(&[1, 1, 2]),
                most,
            },
            failover: FailoverOptions {
                deadline: None,
                read_timeout: dice.pick(&[milliseconds(500), seconds(2), seconds(5)]),
                write_timeout: dice.pick(&[seconds(1), seconds(5), seconds(15)]),
                not_found_falls_through: dice.chance(0.3),
                believe_not_found: dice.chance(0.3),
                writes: if dice.chance(0.2) {
                    FailoverWrites::Replicate
                } else {
                    FailoverWrites::First
                },
                breaker: BreakerOptions {
                    failures: dice.pick(&[1, 3, 5]),
                    share: dice.pick(&[0.5, 0.9]),
                    window: dice.pick(&[0, 10, 20]),
                    first_open: dice.pick(&[milliseconds(500), seconds(1), seconds(5)]),
                    longest_open: dice.pick(&[seconds(10), seconds(60)]),
                },
            },
            replication: dice.pick(&[None, Some(milliseconds(200)), Some(seconds(20))]),
            has_level: dice.chance(0.5),
            outage: None,
        };
        setup.limit.first = setup.limit.first.max(setup.limit.least);
        // As the facade sets it, on about half of the days.
        setup.failover.deadline = setup.has_level.then_some(setup.retry.deadline);
        setup
    }

    pub(crate) fn is_replicated(&self) -> bool {
        self.members > 1 && self.failover.writes == FailoverWrites::Replicate
    }

    /// How long answers for `name` are kept.
    pub(crate) fn times(&self, name: &SecretName) -> Times {
        if name.as_str().starts_with(LIVE) {
            Times::NEVER
        } else {
            self.times
        }
    }

    /// Whether the bounds of the cache can be reached.
    pub(crate) fn evicts(&self) -> bool {
        self.max_entries < 10_000
    }

    fn cache(&self, seed: u64, clock: Arc<dyn Clock>) -> CacheLayer {
        let times = CacheTimes::new(self.times.ttl)
            .stale_while_revalidate(self.times.stale_while_revalidate)
            .hard_max_age(self.times.max_age)
            .negative_ttl(self.times.negative_ttl);
        CacheLayer::new(times)
            .rule(CacheNames::Prefix(LIVE.into()), CacheTimes::NEVER)
            .max_entries(self.max_entries)
            .max_bytes(self.max_bytes)
            .max_absences(self.max_absences)
            .jitter(self.jitter)
            .refresh_ahead(self.refresh_ahead)
            .pause_after_error(self.pause_after_error)
            .seed(seed)
            .clock(clock)
    }
}

/// All layers over the stores of a day, in the order that the facade lays them, with a spy wherever one calls another.
pub(crate) struct Stack {
    pub(crate) world: Arc<World>,
    pub(crate) store: Arc<dyn SecretStore>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) cache: Arc<CachedStore>,
    pub(crate) retry: RetryLayer,
    pub(crate) limits: Vec<LimitLayer>,
    pub(crate) failover: Option<FailoverStore>,
    pub(crate) under_cache: Arc<UnderCache>,
    pub(crate) under_retry: Arc<UnderRetry>,
    /// How often somebody asked about health, which is no access.
    pub(crate) healths: AtomicU64,
    pub(crate) stores: Vec<Arc<SickStore>>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) place: Arc<Place>,
}

impl Stack {
    pub(crate) fn new(world: &Arc<World>, dice: &Dice, meters: Arc<Meters>) -> Result<Self> {
        let setup = &world.setup;
        let clock: Arc<dyn Clock> = Arc::new(world.clock);
        let mut stores = Vec::new();
        let mut limits = Vec::new();
        let mut watches = Vec::new();
        let mut members: Vec<(&str, Arc<dyn SecretStore>)> = Vec::new();
        for (rank, label) in LABELS.into_iter().enumerate().take(setup.members) {
            let limit = LimitLayer::new(setup.limit.clone())?.clock(Arc::clone(&clock));
            let store = Arc::new(SickStore::new(world, rank, limit.clone(), dice));
            let watch = Arc::new(UnderFailover::new(world, rank));
            members.push((
                label,
                Spy::over(limit.layer(Arc::clone(&store) as _), Arc::clone(&watch) as _, Level::Member),
            ));
            limits.push(limit);
            watches.push(watch);
            stores.push(store);
        }
        let under_retry = Arc::new(UnderRetry::new(world));
        for watch in &watches {
            watch.under(&under_retry);
        }
        let (below, failover) = if setup.members == 1 {
            (members.remove(0).1, None)
        } else {
            let failover = Failover::new(setup.failover.clone())
                .clock(Arc::clone(&clock))
                .random(dice.random())
                .on_transition(move |transition| {
                    let rank = LABELS.iter().position(|label| *label == &*transition.label);
                    if let Some(watch) = rank.and_then(|rank| watches.get(rank)) {
                        watch.transition(transition);
                    }
                })
                .over(members)?;
            (Arc::new(failover.clone()) as _, Some(failover))
        };
        let retry = RetryLayer::new(setup.retry.clone())?
            .clock(Arc::clone(&clock))
            .random(dice.random());
        let retried = retry.layer(Spy::over(below, Arc::clone(&under_retry) as _, Level::Attempt));
        let under_cache = Arc::new(UnderCache::new(world, Arc::clone(&under_retry)));
        let stream = Arc::new(Stream::new(world));
        let mut cache = setup.cache(dice.seed(), Arc::clone(&clock));
        if setup.follows {
            cache = cache.follow(Arc::clone(&stream) as _);
        }
        let place = Place::new(world);
        if setup.has_level {
            let level = Reached::new(&place, &dice.fork());
            level.tells(&under_cache);
            cache = cache.shared(Arc::new(level));
        }
        let cache = cache.build(Spy::over(retried, Arc::clone(&under_cache) as _, Level::Call));
        let metrics = MetricsLayer::default().clock(Arc::clone(&clock));
        let measured = metrics.layer(Arc::clone(&cache) as _);
        let ledger = Arc::new(Ledger::new(world, dice));
        let store = AuditLayer::new(Actor::default())
            .sink(Arc::clone(&ledger) as _)
            .clock(clock)
            .layer(TraceLayer::default().layer(measured));
        Ok(Self {
            world: Arc::clone(world),
            store,
            ledger,
            meters,
            cache,
            retry,
            limits,
            failover,
            under_cache,
            under_retry,
            healths: AtomicU64::new(0),
            stores,
            stream,
            place,
        })
    }

    /// When nobody asks any more, nothing is under way, and the numbers are those of the day.
    pub(crate) fn check_evening(&self) {
        let world = &self.world;
        world.check_writes();
        self.under_retry.check_budget();
        let left = self.ledger.left();
        world.check(left.is_empty(), || format!("records of {left:?} that nobody expected"));
        let (retry, counts) = (self.retry.stats(), self.under_retry.counts());
        let in_flight = [
            self.under_cache.in_flight(),
            usize::try_from(retry.in_flight).unwrap_or(usize::MAX),
            self.limits
                .iter()
                .map(|limit| limit.stats())
                .map(|stats| stats.in_flight + stats.waiting)
                .sum::<u64>() as usize,
            self.stores.iter().map(|store| store.in_flight()).sum(),
            self.meters.in_flight() as usize,
        ];
        world.check(in_flight == [0; 5], || {
            format!("under way after the last access (calls, attempts, places, requests, metered): {in_flight:?}")
        });
        for member in self.failover.iter().flat_map(FailoverStore::status) {
            let ended = member.answered + member.failed;
            world.check(ended <= member.asked, || format!("{ended} calls have ended of {member:?}"));
        }
        self.cache.clear_all();
        let usage = self.cache.usage();
        let is_empty = (usage.entries, usage.bytes, usage.absences) == (0, 0, 0);
        world.check(is_empty, || format!("an emptied cache holds {usage:?}"));
        world.check(
            retry.attempts == counts.attempts && retry.retries + retry.hedges == counts.repeated,
            || format!("{counts:?} were seen, but {retry:?}"),
        );
        let requests = self.meters.requests();
        let healths = self.healths.load(Ordering::Relaxed);
        world.check(requests == self.ledger.total() + healths, || {
            format!(
                "{requests} requests metered, {} recorded, {healths} about health",
                self.ledger.total()
            )
        });
    }
}
