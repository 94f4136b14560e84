//! What metrics say of a limit.

use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, Gauge};

use crate::metrics::{Share, table};

#[derive(Debug)]
pub(super) struct Meters {
    limit: Mutex<Share>,
    pub(super) waiting: Gauge,
    pub(super) throttled: Counter,
}

impl Meters {
    pub(super) fn new(store: &Arc<str>, limit: usize) -> Self {
        let meters = Self {
            limit: Mutex::new(Share::new(table::concurrency_limit(Arc::clone(store)))),
            waiting: table::concurrency_waiting(Arc::clone(store)),
            throttled: table::throttled_total(Arc::clone(store)),
        };
        meters.limit(limit);
        meters
    }

    /// The limit is this now. Called in the order of its changes.
    pub(super) fn limit(&self, limit: usize) {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner).set(limit);
    }
}
