//! Places for calls, first come, first served, as many as the law allows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::control::{Answered, Control, Verdict};
use super::meters::Meters;
use super::{LimitOptions, LimitStats};
use crate::clock::Clock;

/// Tokio's semaphore is fair, and a dropped waiter gives its turn on; the number of its permits follows the limit.
#[derive(Debug)]
pub(super) struct Gate {
    options: LimitOptions,
    semaphore: Semaphore,
    state: Mutex<State>,
    waiting: AtomicU64,
    throttled: AtomicU64,
    meters: OnceLock<Meters>,
}

#[derive(Debug)]
struct State {
    control: Control,
    /// All permits there are, taken or not. More than the limit while too many are taken.
    permits: usize,
}

impl Gate {
    pub(super) fn new(options: LimitOptions) -> Self {
        let control = Control::new(&options);
        Self {
            semaphore: Semaphore::new(control.limit()),
            state: Mutex::new(State {
                control,
                permits: control.limit(),
            }),
            options,
            waiting: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            meters: OnceLock::new(),
        }
    }

    /// Tells metrics of it, under this store.
    pub(super) fn measure(&self, store: &Arc<str>) {
        let limit = self.state().control.limit();
        self.meters.get_or_init(|| Meters::new(store, limit));
    }

    /// Waits for a place.
    pub(super) async fn enter<'a>(&'a self, clock: &'a dyn Clock) -> Place<'a> {
        let waiting = Waiting::begin(self);
        // It is never closed.
        let permit = self.semaphore.acquire().await.ok();
        drop(waiting);
        Place {
            gate: self,
            clock,
            permit,
            began: clock.now(),
            verdict: Verdict::Unknown,
        }
    }

    pub(super) fn stats(&self) -> LimitStats {
        let state = self.state();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        LimitStats {
            limit: count(state.control.limit()),
            in_flight: count(self.taken(&state)),
            waiting: self.waiting.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
        }
    }

    /// How many places are taken, those included that waiters have just got.
    fn taken(&self, state: &State) -> usize {
        state.permits.saturating_sub(self.semaphore.available_permits())
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.semaphore.available_permits()
    }

    /// Nothing is left half-changed when a holder panics, so a poisoned lock is still whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way. When it goes, its place is free.
#[derive(Debug)]
pub(super) struct Place<'a> {
    gate: &'a Gate,
    clock: &'a dyn Clock,
    permit: Option<SemaphorePermit<'a>>,
    began: Duration,
    verdict: Verdict,
}

impl Place<'_> {
    pub(super) fn answered(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let gate = self.gate;
        if self.verdict == Verdict::Throttled {
            gate.throttled.fetch_add(1, Ordering::Relaxed);
            if let Some(meters) = gate.meters.get() {
                meters.throttled.increment(1);
            }
        }
        let now = self.clock.now();
        let mut state = gate.state();
        let answer = Answered {
            began: self.began,
            now,
            in_flight: gate.taken(&state),
            verdict: self.verdict,
        };
        state.control.answered(&gate.options, answer);
        let limit = state.control.limit();
        if let Some(meters) = gate.meters.get() {
            meters.limit(limit);
        }
        if state.permits > limit
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.permits -= 1;
        }
        // What is free can go at once; what is taken goes when its call ends.
        if state.permits > limit {
            state.permits -= gate.semaphore.forget_permits(state.permits - limit);
        }
        if state.permits < limit {
            gate.semaphore.add_permits(limit - state.permits);
            state.permits = limit;
        }
    }
}

/// Counts a waiter for as long as it lives.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn begin(gate: &'a Gate) -> Self {
        gate.waiting.fetch_add(1, Ordering::Relaxed);
        if let Some(meters) = gate.meters.get() {
            meters.waiting.increment(1.0);
        }
        Self(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        if let Some(meters) = self.0.meters.get() {
            meters.waiting.decrement(1.0);
        }
    }
}
