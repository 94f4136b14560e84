//! Calls to the store that several readers wait for.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};

use crate::backend::BoxFuture;
use crate::cache::level::Level;
use crate::cache::shared::{SharedAnswer, SharedEntry, SharedPermit, SharedRead};
use crate::cache::table::{Purpose, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{GetRequest, VersionSelector};
use crate::secret::{Freshness, Secret};
use crate::store::SecretStore;

/// A call under way, with an answer for each of its reads.
///
/// Whoever waits for it drives it. When the first caller is cancelled the next one takes over; when all of them are,
/// the call ends.
pub(super) type Call = Shared<BoxFuture<'static, Answers>>;

/// One answer for each read of a call.
pub(super) type Answers = Arc<[Kept]>;

/// An answer, and from when on it may not be handed out: what is from memory, here or shared, grows old.
pub(super) type Kept = (Result<Secret>, Duration);

/// One read of a call.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) request: GetRequest,
    /// The flight that its answer belongs to; none when it is for the caller alone.
    pub(super) ticket: Option<Ticket>,
}

/// Names a flight.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) name: SecretName,
    pub(super) version: VersionSelector,
    pub(super) number: u64,
    pub(super) asked_at: Duration,
    /// How old an answer this read takes, out of the second level too.
    pub(super) most: Duration,
}

/// One read of a call that others may join.
pub(super) struct Flight {
    pub(super) number: u64,
    asked_at: Duration,
    most: Duration,
    call: WeakShared<BoxFuture<'static, Answers>>,
    place: usize,
}

impl Flight {
    pub(super) fn new(call: &Call, place: usize, ticket: &Ticket) -> Option<Self> {
        Some(Self {
            number: ticket.number,
            asked_at: ticket.asked_at,
            most: ticket.most,
            call: call.downgrade()?,
            place,
        })
    }

    /// The call and the place of the answer in it, unless it was asked longer ago than `most`, or takes older answers than
    /// that from `has_level`, a second level.
    pub(super) fn join(&self, now: Duration, most: Duration, has_level: bool) -> Option<(Call, usize)> {
        if now.saturating_sub(self.asked_at) >= most || has_level && self.most > most {
            return None;
        }
        Some((self.call.upgrade()?, self.place))
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("number", &self.number).finish_non_exhaustive()
    }
}

/// Which verb of the store a call uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// For one read.
    Get,
    /// For any number.
    GetMany,
}

/// Begins a call for these reads. Nothing happens before it is polled.
pub(super) fn take_off(
    inner: &Arc<dyn SecretStore>,
    table: &Arc<Table>,
    verb: Verb,
    purpose: Purpose,
    wanted: Vec<Wanted>,
) -> Call {
    let inner = Arc::clone(inner);
    let mut flying = Flying {
        table: Arc::clone(table),
        purpose,
        legs: wanted.into_iter().map(Leg::new).collect(),
    };
    let call = async move {
        // A panic of the store, or of the second level, leaves reads without an answer.
        let _ = AssertUnwindSafe(flying.fly(&*inner, verb)).catch_unwind().await;
        flying.arrive(|| unanswered(&*inner))
    };
    let call: BoxFuture<'static, Answers> = Box::pin(call);
    call.shared()
}

/// The reads of a call under way. Ends their flights also when it is dropped.
struct Flying {
    table: Arc<Table>,
    purpose: Purpose,
    legs: Vec<Leg>,
}

struct Leg {
    request: GetRequest,
    ticket: Option<Ticket>,
    answer: Option<Kept>,
    /// What the second level said of it.
    permit: Option<SharedPermit>,
    is_in_level: bool,
}

impl Leg {
    fn new(Wanted { request, ticket }: Wanted) -> Self {
        Self {
            request,
            ticket,
            answer: None,
            permit: None,
            is_in_level: false,
        }
    }

    fn read(&self) -> SharedRead<'_> {
        SharedRead::new(&self.request.name, &self.request.options.version)
    }
}

impl Flying {
    async fn fly(&mut self, inner: &dyn SecretStore, verb: Verb) {
        let table = Arc::clone(&self.table);
        let end = table.end_of_call();
        if let Some(level) = table.level() {
            table.until(end, self.look(level)).await;
        }
        let missing: Vec<usize> = (0..self.legs.len()).filter(|leg| self.legs[*leg].answer.is_none()).collect();
        if missing.is_empty() {
            return;
        }
        let requests: Vec<GetRequest> = missing.iter().map(|leg| self.legs[*leg].request.clone()).collect();
        let answers = table.within(end, ask(inner, verb, &requests)).await;
        let mut kept = Vec::new();
        for (leg, answer) in missing.into_iter().zip(answers) {
            let answered = &mut self.legs[leg];
            let ticket = answered.ticket.take();
            let (answer, _) = answered.answer.insert((answer, Duration::MAX));
            if ticket.is_some_and(|ticket| table.land(&ticket, answer)) {
                kept.push(leg);
            }
        }
        if let Some(level) = table.level() {
            table.until(end, self.tell(level, kept)).await;
        }
    }

    /// Takes what the second level has.
    async fn look(&mut self, level: &Level) {
        let shared: Vec<usize> = (0..self.legs.len()).filter(|leg| self.legs[*leg].ticket.is_some()).collect();
        if shared.is_empty() {
            return;
        }
        let begun = self.table.now();
        let reads: Vec<SharedRead<'_>> = shared.iter().map(|leg| self.legs[*leg].read()).collect();
        let answers = level.cache.find(&reads).await;
        for (leg, SharedAnswer { found, permit }) in shared.iter().zip(answers) {
            let leg = &mut self.legs[*leg];
            leg.permit = permit;
            leg.is_in_level = found.is_some();
            // What is older than the timer's moments reach is too old for anybody.
            let found = found.and_then(|found| Some((found.secret, begun.checked_sub(found.age)?)));
            let (Some((secret, asked_at)), Some(ticket)) = (found, &leg.ticket) else {
                continue;
            };
            if !level.believes(&leg.request.name, asked_at) {
                continue;
            }
            let answer = self
                .table
                .land_shared(ticket, &leg.request.options, self.purpose, &secret, asked_at);
            if let Some((secret, until)) = answer {
                leg.ticket = None;
                leg.answer = Some((Ok(secret), until));
            }
        }
        for leg in shared {
            self.table.meters().shared(self.legs[leg].answer.is_some());
        }
    }

    /// Tells the second level what the store said, of the flights that were not forgotten meanwhile.
    async fn tell(&self, level: &Level, kept: Vec<usize>) {
        let mut entries = Vec::new();
        for leg in kept.into_iter().map(|leg| &self.legs[leg]) {
            match (&leg.answer, &leg.permit) {
                (Some((Ok(secret), _)), Some(permit)) if secret.metadata.origin.freshness == Freshness::Store => {
                    let lifetime = self.table.times(&leg.request.name).hard_max_age;
                    entries.push(SharedEntry::new(leg.read(), secret, lifetime, permit.clone()));
                }
                (Some((Err(error), _)), _) if leg.is_in_level && !error.kind().is_retryable() => {
                    level.cache.forget(&leg.request.name).await;
                }
                _ => {}
            }
        }
        if !entries.is_empty() {
            level.cache.keep(entries).await;
        }
    }

    /// One answer for each read.
    fn arrive(&mut self, unanswered: impl Fn() -> Error) -> Answers {
        let table = &self.table;
        let answers = self.legs.iter_mut().map(|leg| {
            let kept = leg.answer.take().unwrap_or_else(|| (Err(unanswered()), Duration::MAX));
            if let Some(ticket) = leg.ticket.take() {
                table.land(&ticket, &kept.0);
            }
            kept
        });
        answers.collect()
    }
}

impl Drop for Flying {
    fn drop(&mut self) {
        for ticket in self.legs.iter().filter_map(|leg| leg.ticket.as_ref()) {
            self.table.abandon(ticket);
        }
    }
}

async fn ask(inner: &dyn SecretStore, verb: Verb, requests: &[GetRequest]) -> Vec<Result<Secret>> {
    match (verb, requests) {
        (Verb::Get, [request]) => vec![inner.get(&request.name, &request.options).await],
        _ => inner.get_many(requests).await,
    }
}

/// A store that panics or leaves answers out breaks its contract, and those who wait must hear of it.
fn unanswered(inner: &dyn SecretStore) -> Error {
    Error::new(ErrorKind::Other, "the store panicked or gave no answer")
        .with("store", &*inner.info().scheme)
        .with_hint("this is a mistake in the store: please report it")
}
