//! A layer that writes down who accessed what.

mod access;
mod filter;
mod intent;
mod memory;
mod receipts;
mod record;
mod sink;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;

pub use filter::AuditFilter;
pub use intent::Intent;
pub use memory::MemoryAudit;
pub use record::{Actor, AuditOutcome, AuditRecord, AuditedStore, Reason, with_reason};
pub use sink::{AuditReceipt, AuditSink};

use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::layer::Layer;
use crate::metrics::table;
use crate::store::SecretStore;

/// Writes a record of every access to every one of its sinks, before the answer is handed out. It belongs outermost, so
/// that it sees the accesses that a cache answers too.
///
/// - Every `get`, `put`, `delete`, `restore`, `versions` and page of a `list` makes exactly one [`AuditRecord`], and so does
///   every request of a `get_many`: whether it succeeds, fails, is refused, or is dropped by its caller before the answer
///   came. `health` touches no secret and makes none.
/// - A store that can't even be opened is asked nothing. So whoever opens one does it [here](Self::opening) and says what for:
///   the record is that of the access.
/// - A record never holds a value, nor what an error says.
/// - With [`require_reason`](Self::require_reason), an access without a [`Reason`] is refused as
///   [`InvalidInput`](crate::ErrorKind::InvalidInput) before it reaches the store, and recorded as that.
/// - A sink that promises to keep records for good (a *durable* one) makes the caller wait until it has; the value is
///   dropped and the access fails as [`Unavailable`](crate::ErrorKind::Unavailable) when it can't. A write whose record can't be
///   kept has been done all the same: it fails as [`Timeout`](crate::ErrorKind::Timeout), the kind whose outcome is to be settled
///   by reading. While a sink knows that it can't keep records, accesses are refused before they reach the store.
/// - That wait is part of the access and within its [deadline](crate::StoreInfo::deadline), where the store has one. When it passes
///   the access fails as [`Timeout`](crate::ErrorKind::Timeout) and nothing is handed out; the record may still be kept later, with
///   the answer of the store.
/// - An answer whose caller goes away while the sink is still busy has its record: it says how the store answered.
///
/// ```
/// use std::sync::Arc;
/// use keyfob_core::{Actor, AuditFilter, AuditLayer, Environment, GetOptions, Layer, MemoryAudit, MemoryStore, SecretName};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let seen = Arc::new(MemoryAudit::new(1000));
/// let actor = Actor::of_process(&Environment::from_process());
/// let store = AuditLayer::new(actor).sink(seen.clone()).layer(Arc::new(MemoryStore::new()));
///
/// let missing = store.get(&SecretName::new("db/password")?, &GetOptions::default()).await;
/// assert!(missing.is_err());
/// let records = seen.records(&AuditFilter::default());
/// assert_eq!(records[0].name.as_deref(), Some("db/password"));
/// assert_eq!(records[0].error.unwrap().as_str(), "not_found");
/// # Ok::<(), keyfob_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AuditLayer {
    actor: Arc<Actor>,
    /// As whom it acts at the stores of a list, by their labels.
    workloads: BTreeMap<String, String>,
    sinks: Vec<Arc<dyn AuditSink>>,
    reason: Option<Reason>,
    reason_required: bool,
    mask: Option<Arc<MaskName>>,
    clock: Arc<dyn Clock>,
    /// That of the store below, once it is open.
    deadline: Option<Duration>,
    /// How long the first access to the store below has waited for it to be opened.
    opened_in: Duration,
    withheld: Counter,
}

/// What a record says in a name's place.
type MaskName = dyn Fn(&str) -> String + Send + Sync;

impl AuditLayer {
    /// Records that `actor` accesses secrets, so far in no sink.
    #[must_use]
    pub fn new(actor: Actor) -> Self {
        Self {
            actor: Arc::new(actor),
            workloads: BTreeMap::new(),
            sinks: Vec::new(),
            reason: None,
            reason_required: false,
            mask: None,
            clock: Arc::new(SystemClock::new()),
            deadline: None,
            opened_in: Duration::ZERO,
            withheld: table::audit_withheld_total(),
        }
    }

    /// Adds a sink. Every record goes to all of them.
    #[must_use]
    pub fn sink(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// The reason of every access for which [`with_reason`] gives no other.
    #[must_use]
    pub fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Refuses accesses without a reason.
    #[must_use]
    pub fn require_reason(mut self) -> Self {
        self.reason_required = true;
        self
    }

    /// Puts what `mask` makes of a name in its place, for example an HMAC of it. The prefix of a listing is masked too.
    #[must_use]
    pub fn mask_names(mut self, mask: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        self.mask = Some(Arc::new(mask));
        self
    }

    /// Takes time from `clock` instead of the machine.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same for a store at which the process acts as somebody: see [`Actor::workload`].
    #[must_use]
    pub fn workload(mut self, identity: impl Into<String>) -> Self {
        self.actor = Arc::new(Actor::clone(&self.actor).workload(identity));
        self
    }

    /// The same for a store of a failover list, by its label: records of what that store answered name this identity, and those of other
    /// stores of the list none.
    #[must_use]
    pub fn workload_at(mut self, label: impl Into<String>, identity: impl Into<String>) -> Self {
        self.workloads.insert(label.into(), identity.into());
        self
    }

    /// How long an access may wait for its record when its store [can't be opened](Self::opening). One to an open store has the
    /// [deadline](crate::StoreInfo::deadline) of that. Default: without an end.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The same for a store that was opened for an access and took `time` to be: the first access that is made has waited for
    /// that too, and its record says so.
    #[must_use]
    pub fn opened_in(mut self, time: Duration) -> Self {
        self.opened_in = time;
        self
    }

    /// Runs `open`, which opens `store` for what is intended, unless that would be refused. When it is refused, when the store
    /// can't be opened, and when the caller goes away before it is, each access that was intended has its record now: the
    /// verb, the name, how long it took. Otherwise it has one when it is made.
    ///
    /// # Errors
    /// Those with which the access is refused, and those of `open`; or the error of a sink that can't keep the record.
    pub async fn opening<T>(&self, store: AuditedStore, intent: &Intent, open: impl Future<Output = Result<T>>) -> Result<T> {
        access::opening(self, store, intent, open).await
    }
}

impl fmt::Debug for AuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLayer")
            .field("actor", &self.actor)
            .field("sinks", &self.sinks)
            .field("reason", &self.reason)
            .field("reason_required", &self.reason_required)
            .field("masks_names", &self.mask.is_some())
            .finish_non_exhaustive()
    }
}

impl Layer for AuditLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        access::audited(self.clone(), inner)
    }
}
