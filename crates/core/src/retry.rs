//! Retries, deadline and hedging: the only place that sends a request again.

mod budget;
mod call;
mod hedge;
mod meters;
mod options;
mod settle;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use self::budget::Budget;
use self::call::{Call, Doubt};
use self::hedge::{Answer as _, Times};
use self::meters::Meters;
pub use self::options::RetryOptions;
use crate::backend::BoxFuture;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::layer::Layer;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutMode, PutRequest};
use crate::random::Random;
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::sending::Sending;
use crate::store::{Health, SecretStore, StoreInfo};
use crate::verb::Verb;

/// Sends again what failed and may succeed later, within a deadline and a budget. Stands under the cache and above
/// failover.
///
/// # When
/// After `RateLimited`, `Unavailable` and `Timeout`, and only:
///
/// | verb | repeated after |
/// |---|---|
/// | `get`, `get_many`, `list`, `versions`, `health` | all three; of a batch only the requests that failed so |
/// | `restore` | all three: it is idempotent |
/// | `put` with `Create` or `Match` | all three: the precondition lets one attempt win |
/// | `put` with `Upsert`, `delete` | `RateLimited`, which means that it was not done. A second one could hit what another writer has made in between |
///
/// A repeated `Create` or `Match` that is refused because its own first attempt was done has succeeded. That is found out
/// by reading: the value and all metadata that was asked for must stand there, not older than the call, and directly after
/// the version that was to be matched, or as the first. Another writer that writes the very same at the same moment can't
/// be told apart, so don't use equal values as a lock. When another's value stands in that place the refusal holds.
/// Where writes [go to several stores](StoreInfo::replicates) reading proves nothing.
/// When nothing is proven after an attempt without an answer, the error is `Timeout`, and says that the outcome is unknown.
///
/// # How long
/// Before attempt *n* + 1 it waits a random time from zero to `base` · 2ⁿ⁻¹, at most `cap`, and at most half of the time
/// left. A store that says how long to wait is never asked sooner; when that lies beyond the deadline, its error is the
/// answer at once. The deadline holds for the call as a whole: when it passes in an attempt the error is `Timeout`, with the
/// last error as its source; of a write that still waits for a place of a [`LimitLayer`](crate::LimitLayer) it is
/// `RateLimited`, because it was not sent. The layers above keep to it as well ([`StoreInfo::deadline`]): what a cache asks a second time, and
/// the wait for an audit record, have what is left of it. There is no wait after the last attempt, and nothing happens after the caller has dropped the
/// call. A read that is answered at once needs no runtime; everything else needs a tokio runtime with time.
///
/// # How much
/// Every retry and every hedge takes a token from a bucket that holds ten. Each call pays in
/// [`budget`](RetryOptions::budget), each second [`budget_per_second`](RetryOptions::budget_per_second). Of *c* calls in *t*
/// seconds that all fail, no more than 10 + `budget` · *c* + `budget_per_second` · *t* are repeated. Whoever finds the
/// bucket empty gets the store's error at once. A batch counts as one.
///
/// # Hedging
/// With [`hedge`](RetryOptions::hedge), a read that takes longer than the 95th percentile of the last 128 of its verb (once
/// 16 are known) is sent a second time. The first answer that is no retryable error wins, the other request is dropped.
///
/// An error that ends a call says in its context how many `attempts` were made, unless the first answer was final. Each
/// retry is an event (`retry`, with `store`, `attempts`, `kind` and `pause`), and so is each hedge and each time that the budget
/// has nothing left, all of level debug with the target `keyfob`.
///
/// A value of this layer is one budget: its clones and all that it wraps share it and are counted together. Make one for
/// each store.
#[derive(Clone)]
pub struct RetryLayer {
    options: RetryOptions,
    clock: Arc<dyn Clock>,
    random: Arc<Random>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    budget: Budget,
    counters: Counters,
    times: [Times; Verb::ALL.len()],
}

#[derive(Debug, Default)]
struct Counters {
    attempts: AtomicU64,
    retries: AtomicU64,
    hedges: AtomicU64,
    refused: AtomicU64,
    settled: AtomicU64,
    in_flight: AtomicU64,
}

/// What a [`RetryLayer`] has done since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStats {
    /// Requests that were sent to the store, retries and hedges included.
    pub attempts: u64,
    /// Requests that were sent again after an error.
    pub retries: u64,
    /// Second requests for reads that took long.
    pub hedges: u64,
    /// Retries and hedges that were not sent because the budget was spent.
    pub budget_refusals: u64,
    /// Writes whose repetition was refused and that were found done by their own first attempt.
    pub settled: u64,
    /// Calls whose attempt is under way now.
    pub in_flight: u64,
}

impl RetryLayer {
    /// Retries like this.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when an option is out of its bounds.
    pub fn new(options: RetryOptions) -> Result<Self> {
        options.check()?;
        Ok(Self {
            options,
            ..Self::default()
        })
    }

    /// Takes the time from here; the default is [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With these random numbers, for the pauses.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = Arc::new(random);
        self
    }

    /// The numbers so far.
    #[must_use]
    pub fn stats(&self) -> RetryStats {
        let counters = &self.state.counters;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        RetryStats {
            attempts: read(&counters.attempts),
            retries: read(&counters.retries),
            hedges: read(&counters.hedges),
            budget_refusals: read(&counters.refused),
            settled: read(&counters.settled),
            in_flight: read(&counters.in_flight),
        }
    }
}

impl Default for RetryLayer {
    fn default() -> Self {
        Self {
            options: RetryOptions::default(),
            clock: Arc::new(SystemClock::new()),
            random: Arc::default(),
            state: Arc::default(),
        }
    }
}

impl fmt::Debug for RetryLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer")
            .field("options", &self.options)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Layer for RetryLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        let mut info = inner.info().clone();
        info.deadline = Some(self.options.deadline);
        Arc::new(Retrying {
            layer: self.clone(),
            meters: Meters::new(&info.label),
            info,
            inner,
        })
    }
}

#[derive(Debug)]
struct Retrying {
    layer: RetryLayer,
    meters: Meters,
    info: StoreInfo,
    inner: Arc<dyn SecretStore>,
}

/// Which errors a write without a precondition may be repeated after.
fn was_not_done(kind: ErrorKind) -> bool {
    kind == ErrorKind::RateLimited
}

impl Retrying {
    fn begin<'a>(&'a self, name: Option<&'a SecretName>) -> Call<'a> {
        Call::begin(&self.layer, &self.meters, &self.info.label, name)
    }

    async fn read<'a, T>(
        &self,
        call: &mut Call<'_>,
        verb: Verb,
        send: &(impl Fn() -> BoxFuture<'a, Result<T>> + Sync),
    ) -> Result<T> {
        let mut last = None;
        loop {
            let error = match call.attempt(self.hedged(verb, send)).await {
                None => return Err(call.too_late(last)),
                Some(Err(error)) if error.kind().is_retryable() => error,
                Some(answer) => return answer.map_err(|error| call.ended_by(error)),
            };
            if !call.pause(error.kind(), error.retry_after()).await {
                return Err(call.ended_by(error));
            }
            last = Some(error);
        }
    }

    /// Repeats a write after the kinds for which `repeats` says so. An error that is not retryable is as the store said it.
    async fn write<'a, T>(
        &self,
        call: &mut Call<'_>,
        repeats: fn(ErrorKind) -> bool,
        send: &(impl Fn() -> BoxFuture<'a, Result<T>> + Sync),
    ) -> Result<T> {
        let mut last = None;
        loop {
            let sending = Sending::new();
            let error = match call.attempt(sending.run(send())).await {
                None if sending.is_unsent() => return Err(call.write_ended_by(call.too_late_to_send(last))),
                None => return Err(call.too_late_to_know(last)),
                Some(Err(error)) if error.kind().is_retryable() => error,
                Some(answer) => return answer,
            };
            call.doubt = call.doubt.max(Doubt::after(error.kind()));
            if !repeats(error.kind()) || !call.pause(error.kind(), error.retry_after()).await {
                return Err(call.write_ended_by(error));
            }
            last = Some(error);
        }
    }
}

#[async_trait]
impl SecretStore for Retrying {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let mut call = self.begin(Some(name));
        self.read(&mut call, Verb::Get, &|| self.inner.get(name, options)).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut answers: Vec<Option<Result<Secret>>> = requests.iter().map(|_| None).collect();
        // The requests that are not settled yet, and where their answers belong.
        let mut open: Vec<usize> = (0..requests.len()).collect();
        let mut asked = Cow::Borrowed(requests);
        let mut call = self.begin(None);
        while !open.is_empty() {
            let Some(fresh) = call
                .attempt(self.hedged(Verb::GetMany, &|| self.inner.get_many(&asked)))
                .await
            else {
                for index in open {
                    let last = answers[index].take().and_then(Result::err);
                    answers[index] = Some(Err(call.too_late(last).with("name", requests[index].name.as_str())));
                }
                break;
            };
            for (index, answer) in open.iter().zip(fresh) {
                answers[*index] = Some(answer);
            }
            let (again, ended): (Vec<usize>, Vec<usize>) = open.into_iter().partition(|index| {
                let answer = answers[*index].as_ref();
                answer.is_some_and(|answer| !answer.is_final()) && wait_of(answer) < call.left()
            });
            let longest = again.iter().map(|index| wait_of(answers[*index].as_ref())).max();
            let kind = again
                .iter()
                .find_map(|index| answers[*index].as_ref()?.as_ref().err().map(Error::kind));
            let goes_on = match kind {
                Some(kind) => call.pause(kind, longest).await,
                None => false,
            };
            open = if goes_on { again.clone() } else { Vec::new() };
            let ended = if goes_on { ended } else { [ended, again].concat() };
            for index in ended {
                answers[index] = answers[index]
                    .take()
                    .map(|answer| answer.map_err(|error| call.ended_by(error)));
            }
            asked = open.iter().map(|index| requests[*index].clone()).collect();
        }
        answers.into_iter().flatten().collect()
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let mut call = self.begin(Some(name));
        let began = self.layer.clock.system_now();
        let repeats = match request.mode {
            PutMode::Upsert => was_not_done,
            PutMode::Create | PutMode::Match(_) => ErrorKind::is_retryable,
        };
        let send = || self.inner.put(name, request.clone());
        match self.write(&mut call, repeats, &send).await {
            Err(error) if error.kind().is_retryable() => Err(error),
            Err(refusal) if call.doubt == Doubt::None => Err(call.ended_by(refusal)),
            Err(refusal) => self.settle(&call, name, &request, began, refusal).await,
            written => written,
        }
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        let mut call = self.begin(Some(name));
        let send = || self.inner.delete(name, options);
        let deleted = self.write(&mut call, was_not_done, &send).await;
        deleted.map_err(|error| call.ended_by(error))
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let mut call = self.begin(Some(name));
        let restored = self
            .write(&mut call, ErrorKind::is_retryable, &|| self.inner.restore(name))
            .await;
        restored.map_err(|error| call.ended_by(error))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let mut call = self.begin(None);
        self.read(&mut call, Verb::List, &|| self.inner.list(options)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let mut call = self.begin(Some(name));
        self.read(&mut call, Verb::Versions, &|| self.inner.versions(name, page))
            .await
    }

    async fn health(&self) -> Result<Health> {
        let mut call = self.begin(None);
        self.read(&mut call, Verb::Health, &|| self.inner.health()).await
    }
}

/// How long the store wants to be left alone.
fn wait_of(answer: Option<&Result<Secret>>) -> Duration {
    answer
        .and_then(|answer| answer.as_ref().err())
        .and_then(Error::retry_after)
        .unwrap_or_default()
}
