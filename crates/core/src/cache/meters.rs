//! What metrics and events say of a cache.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram};
use tracing::warn;

use crate::cache::entry::Found;
use crate::error::{ErrorKind, Result};
use crate::metrics::{Share, table};
use crate::secret::Secret;

/// The handles, fetched once: a hit costs one of them.
#[derive(Debug)]
pub(super) struct Meters {
    store: Arc<str>,
    hits: Counter,
    stale: Counter,
    absent: Counter,
    joined: Counter,
    misses: Counter,
    bypasses: Counter,
    /// Of the second level, where there is one.
    shared: OnceLock<[Counter; 2]>,
    stale_age: Histogram,
    refreshes: Counter,
    stale_if_error: Counter,
    /// No warning before this.
    quiet_until: Mutex<Duration>,
}

/// So often a warning that a store can't answer is enough.
const QUIET: Duration = Duration::from_secs(60);

impl Meters {
    pub(super) fn new(store: &Arc<str>) -> Self {
        let reads = |result| table::cache_reads_total(Arc::clone(store), result);
        Self {
            store: Arc::clone(store),
            hits: reads("hit"),
            stale: reads("stale"),
            absent: reads("absent"),
            joined: reads("joined"),
            misses: reads("miss"),
            bypasses: reads("bypass"),
            shared: OnceLock::new(),
            stale_age: table::cache_stale_age_seconds(Arc::clone(store)),
            refreshes: table::cache_refreshes_total(Arc::clone(store)),
            stale_if_error: table::cache_stale_if_error_total(Arc::clone(store)),
            quiet_until: Mutex::default(),
        }
    }

    /// A read was answered from memory.
    pub(super) fn found(&self, found: &Found) {
        match found.stale_age {
            Some(age) => {
                self.stale.increment(1);
                self.stale_age.record(age);
            }
            None => self.found_plainly(&found.answer),
        }
    }

    /// The same within its time to live.
    pub(super) fn found_plainly(&self, answer: &Result<Secret>) {
        let counter = if answer.is_ok() { &self.hits } else { &self.absent };
        counter.increment(1);
    }

    /// A read waits for the call of another one.
    pub(super) fn joined(&self) {
        self.joined.increment(1);
    }

    /// A read has to ask the store; `kept` says whether its answer can stay.
    pub(super) fn asked(&self, kept: bool) {
        let counter = if kept { &self.misses } else { &self.bypasses };
        counter.increment(1);
    }

    /// The second level was asked; `answered` says whether its answer could be used.
    pub(super) fn shared(&self, answered: bool) {
        let make = |result| table::cache_shared_reads_total(Arc::clone(&self.store), result);
        let [hits, misses] = self.shared.get_or_init(|| ["hit", "miss"].map(make));
        let counter = if answered { hits } else { misses };
        counter.increment(1);
    }

    /// The store is asked behind an answer.
    pub(super) fn refreshed(&self) {
        self.refreshes.increment(1);
    }

    /// The store failed like this, and an answer stands in. It has an age where it is stale.
    pub(super) fn covered(&self, kind: ErrorKind, stale_age: Option<Duration>, now: Duration) {
        self.stale_if_error.increment(1);
        let Some(age) = stale_age else { return };
        self.stale_age.record(age);
        let mut quiet_until = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *quiet_until {
            *quiet_until = now.saturating_add(QUIET);
            warn!(target: "keyfob", store = &*self.store, kind = kind.as_str(), ?age, "stale answers stand in");
        }
    }
}

/// What metrics say of one bounded part of a cache.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) entries: Share,
    pub(super) bytes: Option<Share>,
    pub(super) evictions: Counter,
}

impl Fill {
    pub(super) fn of_values(store: &Arc<str>) -> Self {
        Self {
            bytes: Some(Share::new(table::cache_bytes(Arc::clone(store)))),
            ..Self::of(store, "value")
        }
    }

    pub(super) fn of_absences(store: &Arc<str>) -> Self {
        Self::of(store, "absence")
    }

    fn of(store: &Arc<str>, kind: &'static str) -> Self {
        Self {
            entries: Share::new(table::cache_entries(Arc::clone(store), kind)),
            bytes: None,
            evictions: table::cache_evictions_total(Arc::clone(store), kind),
        }
    }

    pub(super) fn set(&mut self, entries: usize, bytes: usize) {
        self.entries.set(entries);
        if let Some(share) = &mut self.bytes {
            share.set(bytes);
        }
    }
}
