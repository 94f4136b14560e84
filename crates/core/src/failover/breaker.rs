//! Whether a store may be asked: the circuit breaker.
//!
//! The states and their names are those of Michael T. Nygard, "Release It!", 2007, chapter "Stability Patterns".

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind};
use crate::failover::options::BreakerOptions;
use crate::random::Random;

/// Whether a store of a failover list is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is not, until its time is over.
    Open,
    /// One call is let through to see whether it can serve again; all others are not.
    HalfOpen,
}

impl BreakerState {
    /// The stable token of this state in JSON, events and metrics, for example `half_open`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What an answer says about the health of the store that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It serves, whatever it said.
    Well,
    /// It is ill; and how long it asked to be left alone, if it did.
    Ill(ErrorKind, Option<Duration>),
    /// Nothing: such an error can come without the service having been asked.
    Silent,
}

impl Verdict {
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            kind if kind.is_retryable() => Self::Ill(kind, error.retry_after()),
            ErrorKind::InvalidConfig | ErrorKind::InvalidInput | ErrorKind::NotText | ErrorKind::Unsupported => Self::Silent,
            _ => Self::Well,
        }
    }
}

/// Both clocks of the moment at which something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Duration,
    pub(super) day: SystemTime,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// 1 for the first one of this breaker.
    pub(super) number: u64,
    pub(super) from: BreakerState,
    pub(super) to: BreakerState,
    /// What opened it.
    pub(super) kind: Option<ErrorKind>,
    /// For how long it is open.
    pub(super) open_for: Option<Duration>,
}

/// Why a store may not be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: ErrorKind,
    /// When it may be; `None` while another call tries it.
    pub(super) wait: Option<Duration>,
}

/// What a breaker has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: BreakerState,
    pub(super) since: SystemTime,
    pub(super) wait: Option<Duration>,
    pub(super) last_kind: Option<ErrorKind>,
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) refused: u64,
    pub(super) opened: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    options: BreakerOptions,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    since: SystemTime,
    /// How often the state changed. A call that began before the last change says nothing about the state after it.
    changes: u64,
    consecutive: u32,
    last: Outcomes,
    /// How often it has opened since it was closed.
    level: u32,
    /// The store asked to be left alone until then.
    pause_until: Duration,
    last_kind: Option<ErrorKind>,
    asked: u64,
    answered: u64,
    failed: u64,
    refused: u64,
    opened: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open { until: Duration },
    HalfOpen { probing: bool },
}

/// Whether each of the last calls failed, the newest in the lowest bit.
#[derive(Debug, Clone, Copy, Default)]
struct Outcomes {
    bits: u64,
    len: u32,
}

impl Breaker {
    pub(super) fn new(options: BreakerOptions, day: SystemTime) -> Self {
        Self {
            options,
            inner: Mutex::new(Inner {
                state: State::Closed,
                since: day,
                changes: 0,
                consecutive: 0,
                last: Outcomes::default(),
                level: 0,
                pause_until: Duration::ZERO,
                last_kind: None,
                asked: 0,
                answered: 0,
                failed: 0,
                refused: 0,
                opened: 0,
            }),
        }
    }

    /// Asks to call the store. The change, if any, is that to half-open.
    pub(super) fn admit(&self, at: Moment) -> (Result<Permit<'_>, Refusal>, Option<Change>) {
        let mut inner = self.inner();
        if let Some(refusal) = inner.refusal(at.now) {
            inner.refused += 1;
            return (Err(refusal), None);
        }
        let change = match inner.state {
            State::Closed => None,
            State::Open { .. } => Some(inner.enter(State::HalfOpen { probing: true }, at.day)),
            State::HalfOpen { .. } => {
                inner.state = State::HalfOpen { probing: true };
                None
            }
        };
        inner.asked += 1;
        let permit = Permit {
            breaker: self,
            epoch: inner.changes,
        };
        (Ok(permit), change)
    }

    pub(super) fn seen(&self, now: Duration) -> Seen {
        let inner = self.inner();
        Seen {
            state: inner.state.public(),
            since: inner.since,
            wait: inner.refusal(now).and_then(|refusal| refusal.wait),
            last_kind: inner.last_kind,
            asked: inner.asked,
            answered: inner.answered,
            failed: inner.failed,
            refused: inner.refused,
            opened: inner.opened,
        }
    }

    /// No code that can panic runs under it, so a poisoned lock is still whole.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave for one call. Dropped without an outcome, as when the call is cancelled, it has no effect: a probe's place is free
/// for the next call.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    epoch: u64,
}

impl Permit<'_> {
    /// The call has ended.
    pub(super) fn settle(self, verdict: Verdict, at: Moment, random: &Random) -> Option<Change> {
        let options = self.breaker.options;
        let mut inner = self.breaker.inner();
        match verdict {
            Verdict::Ill(kind, wait) => {
                inner.failed += 1;
                inner.last_kind = Some(kind);
                if kind == ErrorKind::RateLimited
                    && let Some(wait) = wait
                {
                    let until = at.now + wait.min(options.longest_open);
                    inner.pause_until = inner.pause_until.max(until);
                }
            }
            Verdict::Well | Verdict::Silent => inner.answered += 1,
        }
        if inner.changes != self.epoch {
            return None;
        }
        let probes = matches!(inner.state, State::HalfOpen { .. });
        match verdict {
            Verdict::Silent => None,
            Verdict::Well if probes => Some(inner.close(at)),
            Verdict::Well => {
                inner.consecutive = 0;
                inner.last.push(false, options.window);
                None
            }
            Verdict::Ill(kind, wait) => {
                inner.consecutive = inner.consecutive.saturating_add(1);
                inner.last.push(true, options.window);
                let trips = probes || inner.consecutive >= options.failures || inner.last.reaches(options.share, options.window);
                trips.then(|| inner.open(kind, wait, at, &options, random))
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut inner = self.breaker.inner();
        if inner.changes == self.epoch
            && let State::HalfOpen { probing } = &mut inner.state
        {
            *probing = false;
        }
    }
}

impl Inner {
    fn refusal(&self, now: Duration) -> Option<Refusal> {
        match self.state {
            State::Open { until } if now < until => Some(Refusal {
                kind: ErrorKind::Unavailable,
                wait: Some(until - now),
            }),
            State::HalfOpen { probing: true } => Some(Refusal {
                kind: ErrorKind::Unavailable,
                wait: None,
            }),
            _ if now < self.pause_until => Some(Refusal {
                kind: ErrorKind::RateLimited,
                wait: Some(self.pause_until - now),
            }),
            _ => None,
        }
    }

    fn open(&mut self, kind: ErrorKind, wait: Option<Duration>, at: Moment, options: &BreakerOptions, random: &Random) -> Change {
        let longest = options
            .first_open
            .saturating_mul(1_u32.checked_shl(self.level).unwrap_or(u32::MAX))
            .min(options.longest_open);
        // Half of it stays: a store that has just failed is not asked again at once.
        let half = longest / 2;
        let open_for = (half + random.up_to(longest - half)).max(wait.unwrap_or_default().min(options.longest_open));
        let until = at.now + open_for;
        self.level = self.level.saturating_add(1);
        self.opened += 1;
        Change {
            kind: Some(kind),
            open_for: Some(open_for),
            ..self.enter(State::Open { until }, at.day)
        }
    }

    fn close(&mut self, at: Moment) -> Change {
        self.level = 0;
        self.enter(State::Closed, at.day)
    }

    fn enter(&mut self, state: State, day: SystemTime) -> Change {
        let from = self.state.public();
        self.state = state;
        self.since = day;
        self.changes += 1;
        self.consecutive = 0;
        self.last = Outcomes::default();
        Change {
            number: self.changes,
            from,
            to: state.public(),
            kind: None,
            open_for: None,
        }
    }
}

impl State {
    fn public(self) -> BreakerState {
        match self {
            Self::Closed => BreakerState::Closed,
            Self::Open { .. } => BreakerState::Open,
            Self::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Outcomes {
    fn push(&mut self, failed: bool, window: u32) {
        self.bits = (self.bits << 1) | u64::from(failed);
        self.len = (self.len + 1).min(window);
    }

    /// Whether at least this share of a whole window failed.
    fn reaches(self, share: f64, window: u32) -> bool {
        let mask = u64::MAX.checked_shr(u64::BITS - window).unwrap_or_default();
        let failed = (self.bits & mask).count_ones();
        window > 0 && self.len == window && f64::from(failed) >= share * f64::from(window)
    }
}

#[cfg(test)]
mod tests;
