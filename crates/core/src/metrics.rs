//! What is counted and measured, and the layer that does it for every call.

mod kinds;
#[cfg(test)]
mod recorded;
mod share;
pub(crate) mod table;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use async_trait::async_trait;
use futures_util::poll;
pub(crate) use kinds::ByKind;
pub(crate) use share::Share;

use crate::clock::{Clock, SystemClock};
use crate::error::{ErrorKind, Result};
use crate::layer::Layer;
use crate::maybe_ready::MaybeReady;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};
use crate::verb::Verb;

/// Tells the recorder of the [`metrics`](https://docs.rs/metrics) facade what is asked and how it ends: how many calls, how
/// long they took, how many are under way. Never a name, never a value. Where the numbers go (a Prometheus endpoint,
/// OpenTelemetry, ...) is the application's choice.
///
/// It stands in two places. Outermost (the default) it tells what the application sees: `keyfob_requests_total`,
/// `keyfob_request_duration_seconds` and `keyfob_in_flight`. [Directly over a store](Self::of_store) it tells what the store
/// does: the same with `keyfob_store_` in front. The layers between tell of themselves, without being told to: what the cache
/// had, what was sent again, which breaker is open. `docs/src/metrics.md` has every metric with its labels and its unit, and
/// the alerts that they are good for.
///
/// Every layer looks the recorder up when it is laid: install it before the stores are opened. What was opened before stays
/// silent, in whole or in part. Without a recorder this layer costs two looks at the clock for each call.
#[derive(Debug, Clone)]
pub struct MetricsLayer {
    clock: Arc<dyn Clock>,
    /// What the store is called, when it lies directly below.
    store: Option<Arc<str>>,
}

impl Default for MetricsLayer {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            store: None,
        }
    }
}

impl MetricsLayer {
    /// For the place directly over a store, below every other layer. `label` is what metrics and spans call it, also those of
    /// the layers above: see [`StoreInfo::label`].
    #[must_use]
    pub fn of_store(label: impl Into<Arc<str>>) -> Self {
        Self {
            store: Some(label.into()),
            ..Self::default()
        }
    }

    /// Takes the time from here; the default is [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl Layer for MetricsLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        let mut info = inner.info().clone();
        let place = match &self.store {
            Some(label) => {
                info.label = Arc::clone(label);
                Place::Store
            }
            None => Place::Outermost,
        };
        let store = &info.label;
        Arc::new(Measured {
            verbs: Verb::ALL.map(|verb| Meters::new(place, store, verb)),
            in_flight: match place {
                Place::Outermost => table::in_flight(Arc::clone(store)),
                Place::Store => table::store_in_flight(Arc::clone(store)),
            },
            clock: self.clock.clone(),
            info,
            inner,
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Outermost,
    Store,
}

const OUTCOMES: usize = ErrorKind::ALL.len() + 2;
const OK: usize = ErrorKind::ALL.len();
const CANCELLED: usize = OK + 1;

#[derive(Debug)]
struct Measured {
    inner: Arc<dyn SecretStore>,
    info: StoreInfo,
    clock: Arc<dyn Clock>,
    /// In the order of [`Verb::ALL`].
    verbs: [Meters; Verb::ALL.len()],
    in_flight: Gauge,
}

/// What is kept of one verb.
#[derive(Debug)]
struct Meters {
    place: Place,
    store: Arc<str>,
    verb: Verb,
    duration: Histogram,
    /// By outcome, made when the outcome is first met: most never are.
    outcomes: [OnceLock<Counter>; OUTCOMES],
}

impl Meters {
    fn new(place: Place, store: &Arc<str>, verb: Verb) -> Self {
        Self {
            place,
            store: Arc::clone(store),
            verb,
            duration: match place {
                Place::Outermost => table::request_duration_seconds(Arc::clone(store), verb.as_str()),
                Place::Store => table::store_request_duration_seconds(Arc::clone(store), verb.as_str()),
            },
            outcomes: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    fn count(&self, outcome: usize, times: u64) {
        let counter = self.outcomes[outcome].get_or_init(|| {
            let (store, verb) = (Arc::clone(&self.store), self.verb.as_str());
            let token = match outcome {
                OK => "ok",
                CANCELLED => "cancelled",
                kind => ErrorKind::ALL[kind].as_str(),
            };
            match self.place {
                Place::Outermost => table::requests_total(store, verb, token),
                Place::Store => table::store_requests_total(store, verb, token),
            }
        });
        counter.increment(times);
    }
}

fn outcome<T>(result: &Result<T>) -> usize {
    match result {
        Ok(_) => OK,
        Err(error) => ErrorKind::ALL
            .iter()
            .position(|kind| *kind == error.kind())
            .unwrap_or(ErrorKind::ALL.len() - 1),
    }
}

/// A call under way. Dropped before it ended, it was cancelled.
struct Call<'a> {
    measured: &'a Measured,
    meters: &'a Meters,
    since: Duration,
    /// How many secrets are asked for.
    asked: u64,
    /// Whether it had to wait, and so counts as under way.
    waits: bool,
    ended: bool,
}

impl Measured {
    fn call(&self, verb: Verb, asked: usize) -> Call<'_> {
        Call {
            measured: self,
            meters: &self.verbs[verb as usize],
            since: self.clock.now(),
            asked: asked as u64,
            waits: false,
            ended: false,
        }
    }

    async fn measure<T>(&self, verb: Verb, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut call = self.call(verb, 1);
        let result = call.run(work).await;
        call.ended(result)
    }
}

impl Call<'_> {
    /// Nobody could have seen under way what is answered at once, from memory, and a gauge that all threads write to is dear
    /// beside that: it tells of what has to wait.
    async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Poll::Ready(result) = poll!(work.as_mut()) {
            return result;
        }
        self.waits = true;
        self.measured.in_flight.increment(1.0);
        work.await
    }

    fn so_far(&self) -> Duration {
        self.measured.clock.now().saturating_sub(self.since)
    }

    fn took(&mut self, time: Duration) {
        self.ended = true;
        self.meters.duration.record(time);
    }

    fn ended<T>(mut self, result: Result<T>) -> Result<T> {
        self.took(self.so_far());
        self.meters.count(outcome(&result), 1);
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.waits {
            self.measured.in_flight.decrement(1.0);
        }
        if !self.ended {
            self.meters.count(CANCELLED, self.asked);
        }
    }
}

#[async_trait]
impl SecretStore for Measured {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.get_maybe_ready(name, options).answer().await
    }

    fn get_maybe_ready<'f>(&'f self, name: &'f SecretName, options: &'f GetOptions) -> MaybeReady<'f> {
        let mut call = self.call(Verb::Get, 1);
        match self.inner.get_maybe_ready(name, options) {
            MaybeReady::Ready { answer, took } => {
                let took = took.unwrap_or_else(|| call.so_far());
                call.took(took);
                call.meters.count(outcome(&answer), 1);
                MaybeReady::Ready {
                    answer,
                    took: Some(took),
                }
            }
            MaybeReady::Pending(work) => MaybeReady::Pending(Box::pin(async move {
                let answer = call.run(work).await;
                call.ended(answer)
            })),
        }
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut call = self.call(Verb::GetMany, requests.len());
        let answers = call.run(self.inner.get_many(requests)).await;
        call.took(call.so_far());
        for answer in &answers {
            call.meters.count(outcome(answer), 1);
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.measure(Verb::Put, self.inner.put(name, request)).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.measure(Verb::Delete, self.inner.delete(name, options)).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.measure(Verb::Restore, self.inner.restore(name)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.measure(Verb::List, self.inner.list(options)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.measure(Verb::Versions, self.inner.versions(name, page)).await
    }

    async fn health(&self) -> Result<Health> {
        self.measure(Verb::Health, self.inner.health()).await
    }
}

#[cfg(test)]
mod tests;
