//! Calls to the store that several readers wait for.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{Shared, WeakShared};

use crate::backend::BoxFuture;
use crate::cache::table::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{GetRequest, VersionSelector};
use crate::secret::Secret;
use crate::store::SecretStore;

/// A call under way, with an answer for each of its reads.
///
/// Whoever waits for it drives it. When the first caller is cancelled the next one takes over; when all of them are,
/// the call ends.
pub(super) type Call = Shared<BoxFuture<'static, Answers>>;

/// One answer for each read of a call.
pub(super) type Answers = Arc<[Result<Secret>]>;

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
}

/// One read of a call that others may join.
pub(super) struct Flight {
    pub(super) number: u64,
    asked_at: Duration,
    call: WeakShared<BoxFuture<'static, Answers>>,
    place: usize,
}

impl Flight {
    pub(super) fn new(call: &Call, place: usize, ticket: &Ticket) -> Option<Self> {
        Some(Self {
            number: ticket.number,
            asked_at: ticket.asked_at,
            call: call.downgrade()?,
            place,
        })
    }

    /// The call and the place of the answer in it, unless it was asked longer ago than `most`.
    pub(super) fn join(&self, now: Duration, most: Duration) -> Option<(Call, usize)> {
        if now.saturating_sub(self.asked_at) >= most {
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
pub(super) fn take_off(inner: &Arc<dyn SecretStore>, table: &Arc<Table>, verb: Verb, wanted: Vec<Wanted>) -> Call {
    let inner = Arc::clone(inner);
    let mut landing = Landing {
        table: Arc::clone(table),
        tickets: Vec::with_capacity(wanted.len()),
    };
    let mut requests = Vec::with_capacity(wanted.len());
    for Wanted { request, ticket } in wanted {
        requests.push(request);
        landing.tickets.push(ticket);
    }
    let call = async move {
        let asked = AssertUnwindSafe(ask(&*inner, verb, &requests)).catch_unwind().await;
        let mut answers = asked.unwrap_or_default();
        answers.resize_with(requests.len(), || Err(unanswered(&*inner)));
        landing.land(&answers);
        Answers::from(answers)
    };
    let call: BoxFuture<'static, Answers> = Box::pin(call);
    call.shared()
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

/// Ends the flights of a call, also when it is dropped on the way.
struct Landing {
    table: Arc<Table>,
    tickets: Vec<Option<Ticket>>,
}

impl Landing {
    fn land(&mut self, answers: &[Result<Secret>]) {
        for (ticket, answer) in self.tickets.iter_mut().zip(answers) {
            if let Some(ticket) = ticket.take() {
                self.table.land(&ticket, answer);
            }
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        for ticket in self.tickets.iter().flatten() {
            self.table.abandon(ticket);
        }
    }
}
