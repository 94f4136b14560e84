//! A layer that counts and measures.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::clock::{Clock, SystemClock};
use crate::error::{ErrorKind, Result};
use crate::layer::Layer;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Freshness, Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};
use crate::verb::Verb;

/// Tells the recorder of the [`metrics`](https://docs.rs/metrics) facade what is asked of a store. Never a name, never a
/// value. Where the numbers go (a Prometheus endpoint, OpenTelemetry, ...) is the application's choice.
///
/// | metric | kind | labels | what |
/// |---|---|---|---|
/// | `keyfob_requests_total` | counter | `store`, `verb`, `outcome` | calls by outcome: `ok`, the [kind](ErrorKind::as_str) of the error, or `cancelled`. A batch counts once for each secret |
/// | `keyfob_request_duration_seconds` | histogram | `store`, `verb` | how long a call took, a batch as a whole; not of those that were cancelled |
/// | `keyfob_answers_total` | counter | `store`, `freshness` | secrets handed out: by the `store` itself, from the `cache`, or `stale` |
/// | `keyfob_in_flight` | gauge | `store` | calls under way |
///
/// The hit ratio is `keyfob_answers_total{freshness!="store"}` divided by all of them.
///
/// The recorder is looked up once, when the layer is laid: install it before the stores are opened. Without a recorder it
/// costs two looks at the clock for each call.
#[derive(Debug, Clone)]
pub struct MetricsLayer {
    /// What measures.
    pub clock: Arc<dyn Clock>,
}

impl Default for MetricsLayer {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
        }
    }
}

impl Layer for MetricsLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        let store = &inner.info().scheme;
        Arc::new(Measured {
            verbs: Verb::ALL.map(|verb| Meters::new(store, verb)),
            answers: FRESHNESS.map(|token| counter!("keyfob_answers_total", "store" => Arc::clone(store), "freshness" => token)),
            in_flight: gauge!("keyfob_in_flight", "store" => Arc::clone(store)),
            clock: self.clock.clone(),
            inner,
        })
    }
}

const FRESHNESS: [&str; 3] = ["store", "cache", "stale"];
const OUTCOMES: usize = ErrorKind::ALL.len() + 2;
const OK: usize = ErrorKind::ALL.len();
const CANCELLED: usize = OK + 1;

#[derive(Debug)]
struct Measured {
    inner: Arc<dyn SecretStore>,
    clock: Arc<dyn Clock>,
    /// In the order of [`Verb::ALL`].
    verbs: [Meters; Verb::ALL.len()],
    /// In the order of [`FRESHNESS`].
    answers: [Counter; FRESHNESS.len()],
    in_flight: Gauge,
}

/// What is kept of one verb.
#[derive(Debug)]
struct Meters {
    store: Arc<str>,
    verb: Verb,
    duration: Histogram,
    /// By outcome, made when the outcome is first met: most never are.
    outcomes: [OnceLock<Counter>; OUTCOMES],
}

impl Meters {
    fn new(store: &Arc<str>, verb: Verb) -> Self {
        Self {
            store: Arc::clone(store),
            verb,
            duration: histogram!("keyfob_request_duration_seconds", "store" => Arc::clone(store), "verb" => verb.as_str()),
            outcomes: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    fn count(&self, outcome: usize, times: u64) {
        let counter = self.outcomes[outcome].get_or_init(|| {
            let token = match outcome {
                OK => "ok",
                CANCELLED => "cancelled",
                kind => ErrorKind::ALL[kind].as_str(),
            };
            counter!("keyfob_requests_total", "store" => Arc::clone(&self.store), "verb" => self.verb.as_str(), "outcome" => token)
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
    ended: bool,
}

impl Measured {
    fn call(&self, verb: Verb, asked: usize) -> Call<'_> {
        self.in_flight.increment(1.0);
        Call {
            measured: self,
            meters: &self.verbs[verb as usize],
            since: self.clock.now(),
            asked: asked as u64,
            ended: false,
        }
    }

    fn answered(&self, secret: &Secret) {
        let index = match secret.metadata.origin.freshness {
            Freshness::Store => 0,
            Freshness::Cache => 1,
            Freshness::Stale => 2,
        };
        self.answers[index].increment(1);
    }
}

impl Call<'_> {
    fn took(&mut self) {
        self.ended = true;
        let took = self.measured.clock.now().saturating_sub(self.since);
        self.meters.duration.record(took);
    }

    fn ended<T>(mut self, result: Result<T>) -> Result<T> {
        self.took();
        self.meters.count(outcome(&result), 1);
        result
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.measured.in_flight.decrement(1.0);
        if !self.ended {
            self.meters.count(CANCELLED, self.asked);
        }
    }
}

#[async_trait]
impl SecretStore for Measured {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let call = self.call(Verb::Get, 1);
        let answer = call.ended(self.inner.get(name, options).await);
        if let Ok(secret) = &answer {
            self.answered(secret);
        }
        answer
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut call = self.call(Verb::GetMany, requests.len());
        let answers = self.inner.get_many(requests).await;
        call.took();
        for answer in &answers {
            call.meters.count(outcome(answer), 1);
            if let Ok(secret) = answer {
                self.answered(secret);
            }
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let call = self.call(Verb::Put, 1);
        call.ended(self.inner.put(name, request).await)
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        let call = self.call(Verb::Delete, 1);
        call.ended(self.inner.delete(name, options).await)
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let call = self.call(Verb::Restore, 1);
        call.ended(self.inner.restore(name).await)
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let call = self.call(Verb::List, 1);
        call.ended(self.inner.list(options).await)
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let call = self.call(Verb::Versions, 1);
        call.ended(self.inner.versions(name, page).await)
    }

    async fn health(&self) -> Result<Health> {
        let call = self.call(Verb::Health, 1);
        call.ended(self.inner.health().await)
    }
}

#[cfg(test)]
mod tests;
