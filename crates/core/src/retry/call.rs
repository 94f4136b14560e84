//! One call: its attempts, its pauses and its end.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};

use super::RetryLayer;
use super::meters::Meters;
use crate::deadline::left_of;
use crate::error::{Error, ErrorKind};
use crate::name::SecretName;
use crate::sending::not_sent;

/// What is known of a write that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// It was not done.
    None,
    /// The store says that it could not serve; a service that fails in the middle may still have done it.
    Some,
    /// No answer came.
    Unsettled,
}

impl Doubt {
    pub(super) fn after(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Timeout => Self::Unsettled,
            ErrorKind::Unavailable => Self::Some,
            _ => Self::None,
        }
    }
}

pub(super) const SETTLE: &str = "read the secret to see whether it was written";

/// A call under way.
#[derive(Debug)]
pub(super) struct Call<'a> {
    layer: &'a RetryLayer,
    meters: &'a Meters,
    store: &'a str,
    name: Option<&'a SecretName>,
    until: Duration,
    attempts: u32,
    /// The worst of the attempts so far, when this is a write.
    pub(super) doubt: Doubt,
}

impl<'a> Call<'a> {
    /// Begins to count attempts and time.
    pub(super) fn begin(layer: &'a RetryLayer, meters: &'a Meters, store: &'a str, name: Option<&'a SecretName>) -> Self {
        let now = layer.clock.now();
        layer.state.budget.pay_in(&layer.options, now);
        Self {
            layer,
            meters,
            store,
            name,
            until: now.saturating_add(left_of(layer.options.deadline)),
            attempts: 0,
            doubt: Doubt::None,
        }
    }

    /// A call that serves this one, within what is left of its time.
    pub(super) fn within(&self) -> Self {
        Self {
            layer: self.layer,
            meters: self.meters,
            store: self.store,
            name: self.name,
            until: self.until,
            attempts: 0,
            doubt: Doubt::None,
        }
    }

    pub(super) fn left(&self) -> Duration {
        self.until.saturating_sub(self.layer.clock.now())
    }

    /// Runs one attempt; `None` when the deadline passes first.
    pub(super) async fn attempt<T>(&mut self, attempt: impl Future<Output = T>) -> Option<T> {
        self.attempts += 1;
        let counters = &self.layer.state.counters;
        if self.attempts > 1 {
            counters.retries.fetch_add(1, Ordering::Relaxed);
        }
        counters.attempts.fetch_add(1, Ordering::Relaxed);
        let _in_flight = Counted::one(&counters.in_flight);
        // The attempt is polled first: one that is answered at once needs no timer.
        let deadline = async { self.layer.clock.sleep(self.left()).await };
        match select(pin!(attempt), pin!(deadline)).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        }
    }

    /// Waits before the next attempt, after an error of this kind. `false`, at once: there is to be none, because there were enough, the store wants a
    /// longer pause than the deadline leaves, or the budget is spent.
    pub(super) async fn pause(&self, after: ErrorKind, retry_after: Option<Duration>) -> bool {
        let RetryLayer {
            options, clock, state, ..
        } = self.layer;
        let asked = retry_after.unwrap_or_default();
        let left = self.left();
        if self.attempts >= options.attempts || asked >= left {
            return false;
        }
        if !state.budget.take(options, clock.now()) {
            state.counters.refused.fetch_add(1, Ordering::Relaxed);
            self.meters.exhausted();
            return false;
        }
        let pause = asked + self.jitter(left - asked);
        self.meters.retried(self.attempts, after, pause);
        clock.sleep(pause).await;
        true
    }

    /// Full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): from zero to what doubles with
    /// each attempt. No more than half of the time that is left, so that the attempt has the rest.
    fn jitter(&self, left: Duration) -> Duration {
        let options = &self.layer.options;
        let doubled = options
            .base
            .saturating_mul(1_u32.checked_shl(self.attempts - 1).unwrap_or(u32::MAX));
        self.layer.random.up_to(doubled.min(options.cap).min(left / 2))
    }

    /// `error` as it ends the call.
    pub(super) fn ended_by(&self, error: Error) -> Error {
        match self.attempts > 1 || error.kind().is_retryable() {
            true => error.with("attempts", self.attempts.to_string()),
            false => error,
        }
    }

    /// The deadline passed in an attempt of a read.
    pub(super) fn too_late(&self, last: Option<Error>) -> Error {
        let message = format!("no answer within {:?}, retries included", self.layer.options.deadline);
        let error = Error::new(ErrorKind::Timeout, message).with("store", self.store);
        let error = self.ended_by(match self.name {
            Some(name) => error.with("name", name.as_str()),
            None => error,
        });
        match last {
            Some(last) => error.with_source(last),
            None => error,
        }
    }

    /// The same of a write: nobody knows whether the attempt was done.
    pub(super) fn too_late_to_know(&self, last: Option<Error>) -> Error {
        self.too_late(last).with_hint(SETTLE)
    }

    /// The deadline passed before the attempt of a write was sent.
    pub(super) fn too_late_to_send(&self, last: Option<Error>) -> Error {
        let error = not_sent(self.layer.options.deadline);
        match last {
            Some(last) => error.with_source(last),
            None => error,
        }
    }

    /// `error` as it ends a write, of which an earlier attempt may have been done.
    pub(super) fn write_ended_by(&self, error: Error) -> Error {
        if self.doubt < Doubt::Unsettled {
            return self.ended_by(error);
        }
        if error.kind() == ErrorKind::Timeout {
            let error = self.ended_by(error);
            return match error.hint() {
                Some(_) => error,
                None => error.with_hint(SETTLE),
            };
        }
        let message = "an attempt to write got no answer, and it is unknown whether it was done";
        self.ended_by(Error::new(ErrorKind::Timeout, message))
            .with_hint(SETTLE)
            .with_source(error)
    }
}

/// Adds one for as long as it lives.
pub(super) struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn one(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
