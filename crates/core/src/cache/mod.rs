//! A layer that answers repeated reads from memory.

mod entry;
mod eviction;
mod flight;
mod follower;
mod ledger;
mod level;
mod meters;
mod shards;
mod shared;
mod store;
mod table;
mod timer;
mod times;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::cache::timer::Timer;
use crate::cache::times::Rules;
use crate::changes::ChangeSource;
use crate::clock::Clock;
use crate::layer::Layer;
use crate::store::SecretStore;

pub use ledger::CacheUsage;
pub use shared::{SharedAnswer, SharedCache, SharedEntry, SharedPermit, SharedRead, SharedSecret};
pub use store::CachedStore;
pub use times::{CacheNames, CacheTimes};

/// Answers a read from memory for as long as its time to live lasts.
///
/// - A hit says [`Freshness::Cache`](crate::Freshness::Cache) in its metadata, or
///   [`Freshness::Stale`](crate::Freshness::Stale) after its time to live; see [`CacheTimes`] for when that may be. The
///   hard maximum age counts from the moment at which the store was asked and is never exceeded. On Linux the
///   time in which the machine was suspended counts too, at the latest a quarter of a second after it woke up.
/// - [`GetOptions::max_age`](crate::GetOptions::max_age) shortens the time to live for one read; zero goes to the store
///   (and refreshes the entry).
/// - One call to the store however many callers wait for the same answer, also when the first of them is cancelled.
///   `get_many` asks the store for the misses only, in one call, and waits for what others are asking already. When what it
///   found in memory is too old by then, it asks for that in a second call, within what is left of the
///   [deadline](crate::StoreInfo::deadline).
/// - A write, delete or restore through this layer forgets all versions of the name, and a read that began before it was
///   over is not kept: it may be older than what was written. With [`follow`](Self::follow), what the store tells of is
///   forgotten at once, also what others write; otherwise that is seen when the time to live is over.
/// - An error is not kept, but that there is no such secret, briefly. An error that says more than "not now" (no such
///   secret, not permitted, damaged, ...) ends what was in memory.
/// - An expired secret is not handed out from memory, not even to those who ask for expired ones.
/// - What a layer below answers from a memory of its own is not kept again: ages would add up.
/// - It is bounded in entries and in bytes; what was not used for longest goes first. Values are wiped when the last
///   reader lets go of them.
/// - What a batch leaves out of description and tags ([`get_many`](SecretStore::get_many)), a hit leaves out as well.
///
/// ```
/// # use std::sync::Arc;
/// use std::time::Duration;
/// use keyfob_core::{CacheLayer, CacheNames, CacheTimes, MemoryStore};
///
/// let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
/// let store = CacheLayer::new(CacheTimes::new(minutes(5)).hard_max_age(minutes(60)))
///     .rule(CacheNames::Prefix("live/".into()), CacheTimes::NEVER)
///     .max_bytes(16 << 20)
///     .build(Arc::new(MemoryStore::new()));
/// store.clear_prefix("team/");
/// ```
#[derive(Debug, Clone)]
pub struct CacheLayer {
    rules: Rules,
    max_entries: usize,
    max_bytes: usize,
    max_absences: usize,
    jitter: f64,
    refresh_ahead: f64,
    pause_after_error: Duration,
    seed: Option<u64>,
    timer: Timer,
    changes: Option<Arc<dyn ChangeSource>>,
    shared: Option<Arc<dyn SharedCache>>,
}

impl CacheLayer {
    /// Keeps answers for these times, or for a [`Duration`] as the time to live; see [`CacheTimes::new`].
    #[must_use]
    pub fn new(times: impl Into<CacheTimes>) -> Self {
        Self {
            rules: Rules::new(times.into()),
            max_entries: 10_000,
            max_bytes: 64 << 20,
            max_absences: 1_000,
            jitter: 0.1,
            refresh_ahead: 0.8,
            pause_after_error: Duration::from_secs(5),
            seed: None,
            timer: Timer::machine(),
            changes: None,
            shared: None,
        }
    }

    /// Other times for some names. Of the rules that fit a name the one that says most holds: its exact name, then the
    /// longest prefix. A second rule about the same names replaces the first.
    #[must_use]
    pub fn rule(mut self, names: CacheNames, times: CacheTimes) -> Self {
        self.rules.add(names, times);
        self
    }

    /// Keeps up to this many values; 10,000 unless told otherwise.
    #[must_use]
    pub fn max_entries(mut self, most: usize) -> Self {
        self.max_entries = most;
        self
    }

    /// Keeps up to this many bytes; 64 MiB unless told otherwise. Counted are the value, name, description and tags, and
    /// 512 bytes for the rest of an entry. What is larger than the bound on its own is not kept.
    #[must_use]
    pub fn max_bytes(mut self, most: usize) -> Self {
        self.max_bytes = most;
        self
    }

    /// Remembers of up to this many names and versions that they don't exist; 1,000 unless told otherwise.
    #[must_use]
    pub fn max_absences(mut self, most: usize) -> Self {
        self.max_absences = most;
        self
    }

    /// Shortens each time to live by a random part of up to this share of it, so that what was read together is not read
    /// again all at once. From 0 to 1, 0.1 unless told otherwise.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = part(share);
        self
    }

    /// Asks the store again behind a hit that comes after this share of the time to live, so that who reads often never
    /// waits. From 0 to 1, 0.8 unless told otherwise; 1 turns it off. Needs a tokio runtime.
    #[must_use]
    pub fn refresh_ahead(mut self, share: f64) -> Self {
        self.refresh_ahead = part(share);
        self
    }

    /// For how long the store is left alone about a secret that it could not give and that a stale answer covers: 5
    /// seconds unless told otherwise, or what the store asks for if that is longer.
    #[must_use]
    pub fn pause_after_error(mut self, pause: Duration) -> Self {
        self.pause_after_error = pause;
        self
    }

    /// Makes the jitter the same each time, for simulations.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Takes the time from this clock instead of the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.timer = Timer::Injected(clock);
        self
    }

    /// Forgets what `changes` tells of. It listens from the first read that is answered from memory on, on a task of the
    /// runtime: who reads once and goes does not pay for it. Where the source can't tell, the time to live alone holds.
    #[must_use]
    pub fn follow(mut self, changes: Arc<dyn ChangeSource>) -> Self {
        self.changes = Some(changes);
        self
    }

    /// Looks into this second level before the store is asked, and gives it what the store says. One look however many
    /// callers wait, and one for all of a batch.
    ///
    /// - It says how old its answers are, and the times to live and the hard maximum age hold over both levels. When the
    ///   store can't answer, an answer of the second level covers for it as one in memory does.
    /// - A write, delete or restore through this layer, [`CachedStore::clear`], and a change that is told of end what is in
    ///   both levels. What lies in the memory of other machines lives on for its time.
    /// - [`CachedStore::clear_prefix`] and [`CachedStore::clear_all`] take nothing away from the others: this layer no longer
    ///   believes what was kept before.
    /// - Only values are kept there, not that there is no such secret, nor what a layer below answered from a memory of its
    ///   own. A read with a `max_age` of zero is not answered from there, and what it brings is kept.
    #[must_use]
    pub fn shared(mut self, shared: Arc<dyn SharedCache>) -> Self {
        self.shared = Some(shared);
        self
    }

    /// Wraps `inner`, as [`layer`](Layer::layer) does, and keeps the handle.
    #[must_use]
    pub fn build(&self, inner: Arc<dyn SecretStore>) -> Arc<CachedStore> {
        Arc::new(CachedStore::new(self.clone(), inner))
    }
}

impl Layer for CacheLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        self.build(inner)
    }
}

/// A share between 0 and 1; what is no number is 1.
fn part(share: f64) -> f64 {
    if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) }
}
