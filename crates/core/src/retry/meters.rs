//! What metrics and events say of retries.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::Counter;
use tracing::debug;

use crate::error::ErrorKind;
use crate::metrics::{ByKind, table};

#[derive(Debug)]
pub(super) struct Meters {
    store: Arc<str>,
    retries: ByKind,
    exhausted: Counter,
    hedges: Counter,
    hedges_won: Counter,
    settled: OnceLock<Counter>,
}

impl Meters {
    pub(super) fn new(store: &Arc<str>) -> Self {
        Self {
            store: Arc::clone(store),
            retries: ByKind::default(),
            exhausted: table::retry_budget_exhausted_total(Arc::clone(store)),
            hedges: table::hedges_total(Arc::clone(store)),
            hedges_won: table::hedges_won_total(Arc::clone(store)),
            settled: OnceLock::new(),
        }
    }

    /// The request is sent again after a pause.
    pub(super) fn retried(&self, attempts: u32, after: ErrorKind, pause: Duration) {
        let counter = |kind: ErrorKind| table::retries_total(Arc::clone(&self.store), kind.as_str());
        self.retries.count(after, counter);
        debug!(target: "keyfob", store = &*self.store, attempts, kind = after.as_str(), ?pause, "retry");
    }

    /// The budget has nothing left for a retry or a hedge.
    pub(super) fn exhausted(&self) {
        self.exhausted.increment(1);
        debug!(target: "keyfob", store = &*self.store, "retry budget exhausted");
    }

    /// A read takes long and is sent a second time.
    pub(super) fn hedged(&self) {
        self.hedges.increment(1);
        debug!(target: "keyfob", store = &*self.store, "hedge");
    }

    /// The second request answered first.
    pub(super) fn hedge_won(&self) {
        self.hedges_won.increment(1);
    }

    /// A refused repetition met its own first attempt.
    pub(super) fn settled(&self) {
        let counter = || table::writes_settled_total(Arc::clone(&self.store));
        self.settled.get_or_init(counter).increment(1);
    }
}
