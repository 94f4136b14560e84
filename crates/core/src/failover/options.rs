//! How a failover list behaves.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// How a [`FailoverStore`](super::FailoverStore) behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct FailoverOptions {
    /// How long one store has for a read before the next one is asked; a batch has as much again for each further 20
    /// names. More than zero. Default 5 s.
    pub read_timeout: Duration,
    /// How long a call has in all, where a layer above sees to that. Of a read no store has more of it than its share, so that a
    /// silent one leaves time for the next. Default `None`: without an end.
    pub deadline: Option<Duration>,
    /// How long one store has for a write, whose outcome is unknown afterwards. More than zero. Default 15 s.
    pub write_timeout: Duration,
    /// Whether the next store is asked when one says that there is no such secret. Default no: what was deleted in the first
    /// store is not found again in an old copy.
    pub not_found_falls_through: bool,
    /// Whether *not found* is the answer when one store says so and another could not answer. Default no: the error is that
    /// of the store that could not, because it may have the secret. Yes where every store has every secret: another region,
    /// a standby.
    pub believe_not_found: bool,
    /// Where writes go. Default to the first store only.
    pub writes: FailoverWrites,
    /// When a store is left alone.
    pub breaker: BreakerOptions,
}

/// Where the writes to a failover list go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FailoverWrites {
    /// To the first store.
    #[default]
    First,
    /// To the first store and, once it has them, to all others at once.
    ///
    /// When the first store gives no answer, the others are not asked, although it may have the write: it is a `Timeout`, to
    /// be settled by reading the first store and writing again.
    Replicate,
}

/// When a store of a failover list is left alone, and for how long.
///
/// Only *unavailable*, *timeout* and *rate limited* count as failures; any other error is an answer of a store that works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerOptions {
    /// After so many failures in a row. At least 1. Default 5.
    pub failures: u32,
    /// Or when this share of the last [`window`](Self::window) calls failed, more than 0, at most 1. Default 0.5.
    pub share: f64,
    /// How many calls the share is of, at most 64; it is not looked at before there were so many. Zero never looks at it.
    /// Default 20.
    pub window: u32,
    /// How long it is left alone at first, at most: it is a random time from half of this on. Then one call tries it, and
    /// each time that fails it is left alone for twice as long. More than zero. Default 1 s.
    pub first_open: Duration,
    /// How long it is left alone at most, also when it asks for a longer pause. Default 60 s.
    pub longest_open: Duration,
}

impl Default for FailoverOptions {
    fn default() -> Self {
        Self {
            read_timeout: Duration::from_secs(5),
            deadline: None,
            write_timeout: Duration::from_secs(15),
            not_found_falls_through: false,
            believe_not_found: false,
            writes: FailoverWrites::First,
            breaker: BreakerOptions::default(),
        }
    }
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failures: 5,
            share: 0.5,
            window: 20,
            first_open: Duration::from_secs(1),
            longest_open: Duration::from_secs(60),
        }
    }
}

/// For how many names of a batch a store has the time of one read.
const NAMES_PER_READ: usize = 20;

impl FailoverOptions {
    /// How long one of so many stores has for a read of so many names.
    #[must_use]
    pub fn read_limit(&self, stores: usize, names: usize) -> Duration {
        let number = |count: usize| u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let reads = number(names.div_ceil(NAMES_PER_READ));
        let share = self.deadline.map_or(Duration::MAX, |deadline| deadline / number(stores));
        self.read_timeout.saturating_mul(reads).min(share)
    }

    /// Whether a layer can be set up like that.
    ///
    /// # Errors
    /// `InvalidConfig`, saying which option can't be.
    pub fn check(&self) -> Result<()> {
        let breaker = &self.breaker;
        let problem = if self.read_timeout.is_zero() {
            "`read_timeout` must be longer than nothing"
        } else if self.write_timeout.is_zero() {
            "`write_timeout` must be longer than nothing"
        } else if breaker.failures == 0 {
            "`failures` must be at least 1"
        } else if !(breaker.share > 0.0 && breaker.share <= 1.0) {
            "`share` must be more than 0 and at most 1"
        } else if breaker.window > u64::BITS {
            "`window` must be at most 64"
        } else if breaker.first_open.is_zero() {
            "`first_open` must be longer than nothing"
        } else if breaker.first_open > breaker.longest_open {
            "`first_open` must not be longer than `longest_open`"
        } else {
            return Ok(());
        };
        Err(wrong(problem))
    }
}

/// A failover list that can't be.
pub(super) fn wrong(problem: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::InvalidConfig,
        format!("failover can't be set up like that: {problem}"),
    )
}
