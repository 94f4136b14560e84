//! A second request for a read that takes unusually long.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::Retrying;
use crate::backend::BoxFuture;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::verb::Verb;

/// An answer that may be worth another try.
pub(super) trait Answer {
    /// Whether it is the last word: a value, or an error that would come again.
    fn is_final(&self) -> bool;

    /// The same, asking for at least as long a pause as `other` does.
    #[must_use]
    fn waiting_for_both(self, other: &Self) -> Self;
}

impl<T> Answer for Result<T> {
    fn is_final(&self) -> bool {
        self.as_ref().err().is_none_or(|error| !error.kind().is_retryable())
    }

    fn waiting_for_both(self, other: &Self) -> Self {
        let wait = other.as_ref().err().and_then(Error::retry_after);
        self.map_err(|error| match wait.max(error.retry_after()) {
            Some(longest) if error.kind().is_retryable() => error.with_retry_after(longest),
            _ => error,
        })
    }
}

impl Answer for Vec<Result<Secret>> {
    fn is_final(&self) -> bool {
        self.iter().all(Answer::is_final)
    }

    fn waiting_for_both(self, other: &Self) -> Self {
        let pairs = self.into_iter().zip(other);
        pairs.map(|(answer, other)| answer.waiting_for_both(other)).collect()
    }
}

impl Retrying {
    /// Sends a read, and again when it has taken longer than most. The first final answer counts, the other request is
    /// dropped.
    pub(super) async fn hedged<'a, T: Answer>(&self, verb: Verb, send: &(impl Fn() -> BoxFuture<'a, T> + Sync)) -> T {
        if !self.layer.options.hedge {
            return send().await;
        }
        let (clock, times) = (&self.layer.clock, &self.layer.state.times[verb as usize]);
        let began = clock.now();
        let first = send();
        let answer = match times.p95() {
            None => first.await,
            Some(soon) => {
                let late = Box::pin(async { clock.sleep(soon).await });
                match select(first, late).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right((_, first)) => self.second(first, send).await,
                }
            }
        };
        if answer.is_final() {
            // For a read that was overtaken this is less than it would have taken, and more than is usual.
            times.record(clock.now().saturating_sub(began));
        }
        answer
    }

    async fn second<'a, T: Answer>(&self, first: BoxFuture<'a, T>, send: &(impl Fn() -> BoxFuture<'a, T> + Sync)) -> T {
        let (state, now) = (&self.layer.state, self.layer.clock.now());
        if !state.budget.take(&self.layer.options, now) {
            state.counters.refused.fetch_add(1, Ordering::Relaxed);
            self.meters.exhausted();
            return first.await;
        }
        state.counters.hedges.fetch_add(1, Ordering::Relaxed);
        state.counters.attempts.fetch_add(1, Ordering::Relaxed);
        self.meters.hedged();
        let (answer, other, won) = match select(first, send()).await {
            Either::Left((answer, second)) => (answer, second, false),
            Either::Right((answer, first)) => (answer, first, true),
        };
        let (answer, won) = match answer.is_final() {
            true => (answer, won),
            // Who was refused first may have asked for the longer pause.
            false => (other.await.waiting_for_both(&answer), !won),
        };
        if won && answer.is_final() {
            self.meters.hedge_won();
        }
        answer
    }
}

/// How long the latest reads took.
#[derive(Debug, Default)]
pub(super) struct Times(Mutex<Latest>);

#[derive(Debug, Default)]
struct Latest {
    times: Vec<Duration>,
    next: usize,
    p95: Option<Duration>,
}

impl Times {
    /// So many are looked at.
    const KEPT: usize = 128;
    /// After so many further ones they are looked at again; and before that, nothing is known.
    const STEP: usize = 16;
    /// Nothing is so fast that a hedge sooner than this would be worth it.
    const LEAST: Duration = Duration::from_millis(1);

    fn p95(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).p95
    }

    fn record(&self, time: Duration) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let index = latest.next % Self::KEPT;
        match latest.times.get_mut(index) {
            Some(oldest) => *oldest = time,
            None => latest.times.push(time),
        }
        latest.next += 1;
        if latest.next.is_multiple_of(Self::STEP) {
            let mut sorted = latest.times.clone();
            sorted.sort_unstable();
            latest.p95 = sorted.get(sorted.len() * 95 / 100).map(|time| (*time).max(Self::LEAST));
        }
    }
}
