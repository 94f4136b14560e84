//! What is kept of one answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::cache::table::Purpose;
use crate::cache::timer::{ROUGHLY, nanoseconds};
use crate::cache::times::CacheTimes;
use crate::error::{Error, Result};
use crate::options::GetOptions;
use crate::secret::{Freshness, Metadata, Secret};

/// An answer as it is handed out, and until when. What a hit looks at lies together, apart from the rest, because memory is
/// what a hit waits for.
#[derive(Debug)]
pub(super) struct Entry {
    /// Says `Freshness::Cache` already, so that a hit shares it as it is. The error is always `NotFound`.
    pub(super) answer: Result<Secret>,
    /// Until this moment, in nanoseconds of the timer, nothing needs to be looked at but the reader's own `max_age`, even if
    /// the time is only known roughly.
    plain_until: u64,
    /// Whether it was handed out since the eviction looked at it last.
    pub(super) used: AtomicBool,
    rest: Box<Rest>,
}

/// `fresh_until` ≤ `revalidate_until` ≤ `dead_at`: nothing is handed out from `dead_at` on.
#[derive(Debug)]
struct Rest {
    /// The place in the order of eviction.
    number: u64,
    bytes: usize,
    asked_at: Duration,
    /// The store is not asked behind a hit before this.
    refresh_at: Duration,
    fresh_until: Duration,
    revalidate_until: Duration,
    dead_at: Duration,
    expires_at: Option<SystemTime>,
    /// Whether the store is being asked behind the hits.
    refreshing: AtomicBool,
    /// The metadata as a stale answer has it, made when the first one is handed out.
    stale: OnceLock<Arc<Metadata>>,
}

/// What is in memory for a read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) answer: Result<Secret>,
    /// Whether the store should be asked behind this answer.
    pub(super) refresh: bool,
    /// How old it is, where its time to live is over.
    pub(super) stale_age: Option<Duration>,
}

/// When an answer was asked for and how long it lasts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    pub(super) asked_at: Duration,
    pub(super) times: CacheTimes,
    /// The time to live after jitter.
    pub(super) ttl: Duration,
    /// The age from which on the store is asked behind a hit.
    pub(super) refresh_after: Duration,
}

/// What an entry takes beside its texts and its value, about.
const OVERHEAD_BYTES: usize = 512;

impl Entry {
    pub(super) fn of_secret(secret: &Secret, life: Lifetime) -> Self {
        let mut secret = secret.clone();
        let metadata = secret.metadata_mut();
        metadata.origin.freshness = Freshness::Cache;
        let tags: usize = metadata.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        let texts = metadata.name.as_str().len() + metadata.description.as_ref().map_or(0, String::len) + tags;
        let expires_at = metadata.expires_at;
        let after = |time: Duration| life.asked_at.saturating_add(time);
        let dead_at = after(life.times.hard_max_age);
        let fresh_until = after(life.ttl).min(dead_at);
        let rest = Rest {
            number: 0,
            bytes: OVERHEAD_BYTES + texts + secret.value.len(),
            asked_at: life.asked_at,
            refresh_at: after(life.refresh_after),
            fresh_until,
            revalidate_until: fresh_until.saturating_add(life.times.stale_while_revalidate).min(dead_at),
            dead_at,
            expires_at,
            refreshing: AtomicBool::new(false),
            stale: OnceLock::new(),
        };
        Self::new(Ok(secret), rest)
    }

    /// That there is no such secret.
    pub(super) fn of_absence(error: &Error, life: Lifetime) -> Self {
        let until = life
            .asked_at
            .saturating_add(life.times.negative_ttl.min(life.times.hard_max_age));
        let rest = Rest {
            number: 0,
            bytes: OVERHEAD_BYTES,
            asked_at: life.asked_at,
            refresh_at: until,
            fresh_until: until,
            revalidate_until: until,
            dead_at: until,
            expires_at: None,
            refreshing: AtomicBool::new(false),
            stale: OnceLock::new(),
        };
        Self::new(Err(error.clone().with("freshness", "cache")), rest)
    }

    fn new(answer: Result<Secret>, rest: Rest) -> Self {
        Self {
            answer,
            plain_until: rest.plain_until(),
            used: AtomicBool::new(false),
            rest: Box::new(rest),
        }
    }

    /// Its place in the order of eviction.
    pub(super) fn number(&self) -> u64 {
        self.rest.number
    }

    /// Gives it a place in the order of eviction.
    pub(super) fn set_number(&mut self, number: u64) {
        self.rest.number = number;
    }

    /// What it takes.
    pub(super) fn bytes(&self) -> usize {
        self.rest.bytes
    }

    /// Whether nobody will get it any more.
    pub(super) fn is_dead(&self, now: Duration) -> bool {
        now >= self.rest.dead_at
    }

    /// From when on it is too old, for the cache or for this read.
    fn dead_at(&self, options: &GetOptions) -> Duration {
        let own = options
            .max_age
            .map_or(Duration::MAX, |most| self.rest.asked_at.saturating_add(most));
        own.min(self.rest.dead_at)
    }

    /// The same for somebody who waits meanwhile: also from when on it has expired.
    pub(super) fn gone_at(&self, options: &GetOptions, now: Duration, of_day: impl FnOnce() -> SystemTime) -> Duration {
        let left = |expires: SystemTime| expires.duration_since(of_day()).unwrap_or_default();
        let expires = self
            .rest
            .expires_at
            .map_or(Duration::MAX, |expires| now.saturating_add(left(expires)));
        expires.min(self.dead_at(options))
    }

    /// Whether it may be handed out at all: not too old and not expired. An expired secret is the store's to hand out,
    /// even to those who ask for one.
    fn is_alive(&self, options: &GetOptions, now: Duration, of_day: impl FnOnce() -> SystemTime) -> bool {
        now < self.dead_at(options) && self.rest.expires_at.is_none_or(|expires| of_day() < expires)
    }

    /// The answer to a read where it's so fresh that a rough time shows it, [`Timer::roughly`](super::timer::Timer).
    pub(super) fn found_plainly(&self, options: &GetOptions, roughly: u64) -> Option<Result<Secret>> {
        if options.max_age.is_some() || roughly >= self.plain_until {
            return None;
        }
        self.touch();
        Some(self.answer.clone())
    }

    /// The answer to a read without waiting for the store, if there is one.
    pub(super) fn found(&self, options: &GetOptions, now: Duration, of_day: impl FnOnce() -> SystemTime) -> Option<Found> {
        if !self.is_alive(options, now, of_day) {
            return None;
        }
        let due = now >= self.rest.refresh_at;
        if now < self.rest.fresh_until {
            return Some(Found {
                answer: self.answer.clone(),
                refresh: due,
                stale_age: None,
            });
        }
        // Not due although it is stale: the store has failed just now.
        if due && now >= self.rest.revalidate_until {
            return None;
        }
        Some(Found {
            answer: Ok(self.stale()?),
            refresh: due,
            stale_age: Some(self.age(now)),
        })
    }

    /// The answer to a read that the store could not give, and how old it is where its time to live is over.
    pub(super) fn cover(
        &self,
        options: &GetOptions,
        now: Duration,
        of_day: impl FnOnce() -> SystemTime,
    ) -> Option<(Secret, Option<Duration>)> {
        if !self.is_alive(options, now, of_day) {
            None
        } else if now < self.rest.fresh_until {
            Some((self.answer.clone().ok()?, None))
        } else {
            Some((self.stale()?, Some(self.age(now))))
        }
    }

    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.rest.asked_at)
    }

    /// The answer to a read that found it in the second level: only while it is fresh, and for a read that is to bring a
    /// newer answer only while it need not be refreshed itself.
    pub(super) fn serves(
        &self,
        options: &GetOptions,
        purpose: Purpose,
        now: Duration,
        of_day: impl FnOnce() -> SystemTime,
    ) -> Option<Secret> {
        let until = match purpose {
            Purpose::Answer => self.rest.fresh_until,
            Purpose::Refresh => self.rest.fresh_until.min(self.rest.refresh_at),
        };
        if now < until && self.is_alive(options, now, of_day) {
            self.answer.clone().ok()
        } else {
            None
        }
    }

    /// When the store was asked.
    pub(super) fn asked_at(&self) -> Duration {
        self.rest.asked_at
    }

    /// Marks it as used; cheap when it is marked already.
    pub(super) fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the caller is the one who asks the store.
    pub(super) fn begin_refresh(&self) -> bool {
        !self.rest.refreshing.swap(true, Ordering::Relaxed)
    }

    /// Nobody asks the store any more, and it stays in use as it is. The next one asks from `next` on.
    pub(super) fn end_refresh(&mut self, next: Option<Duration>) {
        *self.rest.refreshing.get_mut() = false;
        if let Some(next) = next {
            self.rest.refresh_at = next;
            self.plain_until = self.rest.plain_until();
        }
    }

    fn stale(&self) -> Option<Secret> {
        let secret = self.answer.as_ref().ok()?;
        let metadata = self.rest.stale.get_or_init(|| {
            let mut metadata = Metadata::clone(&secret.metadata);
            metadata.origin.freshness = Freshness::Stale;
            Arc::new(metadata)
        });
        Some(Secret::new(secret.value.clone(), Arc::clone(metadata)))
    }
}

impl Rest {
    /// An expiry is a time of day and has to be looked at each time.
    fn plain_until(&self) -> u64 {
        if self.expires_at.is_some() {
            return 0;
        }
        nanoseconds(self.refresh_at.min(self.fresh_until).saturating_sub(ROUGHLY))
    }
}
