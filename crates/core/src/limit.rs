//! As many requests at once as the store can take.

mod control;
mod gate;
mod meters;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::control::Verdict;
use self::gate::Gate;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::Layer;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::sending;
use crate::store::{Health, SecretStore, StoreInfo};

/// The bounds of a [`LimitLayer`], in calls at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitOptions {
    /// How many at first. From `least` to `most`. Default 16.
    pub first: usize,
    /// The limit never falls below this. At least 1. Default 1.
    pub least: usize,
    /// The limit never grows beyond this. At most 10,000. Default 256.
    pub most: usize,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            first: 16,
            least: 1,
            most: 256,
        }
    }
}

impl LimitOptions {
    /// Whether a layer can be set up like that.
    ///
    /// # Errors
    /// `InvalidConfig`, saying which option can't be.
    pub fn check(&self) -> Result<()> {
        let problem = if self.least == 0 {
            "`least` must be at least 1"
        } else if self.most > 10_000 {
            "`most` must be at most 10,000"
        } else if !(self.least..=self.most).contains(&self.first) {
            "`first` must be from `least` to `most`"
        } else {
            return Ok(());
        };
        Err(Error::new(
            ErrorKind::InvalidConfig,
            format!("calls can't be limited like that: {problem}"),
        ))
    }
}

/// Lets as many calls through at once as the store seems to be able to take. Stands directly on each store, below failover
/// and retry.
///
/// - The limit grows by one with each round of answers (at least 20) while it is used, and falls by a fifth, once a round,
///   when the store throttles: it says `RateLimited`, or gives up with `Timeout`. Until that happens for the first time, it doubles with each
///   round. An error that is `Unavailable`, or that may have come without a request, changes nothing, nor does a call that
///   its caller dropped.
/// - Whoever finds no place waits, and gets one in the order of coming. A dropped call gives its place, or its turn, on.
/// - A batch counts as one. How many requests an adapter makes of it is the adapter's own affair.
/// - It waits without an end: the deadline is the retry layer's. That knows whether a write has had a place: one whose time
///   is over before fails as `RateLimited`, because it was not sent.
///
/// # Why this law
/// Additive increase and multiplicative decrease (Chiu and Jain, 1989) was chosen over the "gradient" law (Netflix's
/// concurrency-limits: less when answers take longer than usual) by measurement. `limit/simulation.rs` runs both over
/// stores with a hidden capacity in virtual time, callers always wanting more:
///
/// | store | served per second: this, gradient, no limit | throttled: this, gradient, no limit |
/// |---|---|---|
/// | 16 servers, 0.5 ms away, 2 ms of work | 8008, 8007, 8011 | 0.1 %, 0.1 %, 30 % |
/// | 16 servers, 40 ms away, 5 ms of work | 3137, 3027, 3192 | 0.1 %, 0.1 %, 22 % |
/// | a rate of 1,000 per second, 20 ms away | 1003, 1003, 1003 | 3.1 %, 2.3 %, 77 % |
/// | a rate of 100 per second, 10 ms away | 100, 96, 100 | 11 %, 5 %, 91 % |
/// | 64 servers, 16 of them for 7 of 20 seconds | 9215, 9027, 9432 | 0.2 %, 0.2 %, 20 % |
/// | 64 servers, 40 ms away, the first second | 4786, 4786, 5524 | 0, 0, 0 |
///
/// It serves at least as much everywhere, needs no idea of what is usual, and where it is throttled more, the limit is
/// near 1 and can't do what a rate asks for: there the retry layer's pauses have to.
///
/// A value of this layer is one limit: its clones and all that it wraps share it and are counted together, in metrics under
/// the first store that it wraps. Make one for each store.
#[derive(Clone)]
pub struct LimitLayer {
    clock: Arc<dyn Clock>,
    gate: Arc<Gate>,
}

/// What a [`LimitLayer`] does now, and what it has seen since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStats {
    /// How many calls may be under way at once.
    pub limit: u64,
    /// How many are.
    pub in_flight: u64,
    /// How many wait for a place.
    pub waiting: u64,
    /// How many answers said that the store can't take so much.
    pub throttled: u64,
}

impl LimitLayer {
    /// Keeps within these bounds.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when they can't be.
    pub fn new(options: LimitOptions) -> Result<Self> {
        options.check()?;
        Ok(Self::checked(options))
    }

    fn checked(options: LimitOptions) -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            gate: Arc::new(Gate::new(options)),
        }
    }

    /// Takes the time from here; the default is [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The numbers now.
    #[must_use]
    pub fn stats(&self) -> LimitStats {
        self.gate.stats()
    }
}

impl Default for LimitLayer {
    fn default() -> Self {
        Self::checked(LimitOptions::default())
    }
}

impl fmt::Debug for LimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitLayer")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Layer for LimitLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        self.gate.measure(&inner.info().label);
        Arc::new(Limited {
            layer: self.clone(),
            inner,
        })
    }
}

#[derive(Debug)]
struct Limited {
    layer: LimitLayer,
    inner: Arc<dyn SecretStore>,
}

impl Limited {
    /// Waits for a place and calls.
    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        sending::waits();
        let place = self.layer.gate.enter(&*self.layer.clock).await;
        sending::is_sent();
        let answer = call.await;
        place.answered(verdict(&answer));
        answer
    }
}

/// What an answer says about the load.
fn verdict<T>(answer: &Result<T>) -> Verdict {
    match answer.as_ref().map_err(Error::kind) {
        Err(ErrorKind::RateLimited | ErrorKind::Timeout) => Verdict::Throttled,
        // Nothing was served, and perhaps nothing was sent.
        Err(
            ErrorKind::Unavailable
            | ErrorKind::Unsupported
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidConfig
            | ErrorKind::NotText
            | ErrorKind::Other,
        ) => Verdict::Unknown,
        _ => Verdict::Served,
    }
}

#[async_trait]
impl SecretStore for Limited {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.call(self.inner.get(name, options)).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        if requests.is_empty() {
            return Vec::new();
        }
        let place = self.layer.gate.enter(&*self.layer.clock).await;
        let answers = self.inner.get_many(requests).await;
        // The worst of all: one that was throttled counts more than many that were served.
        place.answered(answers.iter().map(verdict).max().unwrap_or(Verdict::Unknown));
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.call(self.inner.put(name, request)).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.call(self.inner.delete(name, options)).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.call(self.inner.restore(name)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.call(self.inner.list(options)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.call(self.inner.versions(name, page)).await
    }

    async fn health(&self) -> Result<Health> {
        self.call(self.inner.health()).await
    }
}
