//! What metrics say of a sink of audit records.

use metrics::Counter;

use crate::metrics::table;

/// Counts, for metrics, what an [`AuditSink`](crate::AuditSink) has kept and lost. Looks the recorder up when it is made.
#[derive(Debug)]
pub struct SinkMeter {
    kept: Counter,
    lost: Counter,
}

impl SinkMeter {
    /// For a sink of this kind, such as `file`.
    #[must_use]
    pub fn new(sink: &'static str) -> Self {
        Self {
            kept: table::audit_records_total(sink, "kept"),
            lost: table::audit_records_total(sink, "lost"),
        }
    }

    /// So many records are where they were to go.
    pub fn kept(&self, records: u64) {
        self.kept.increment(records);
    }

    /// So many never will be.
    pub fn lost(&self, records: u64) {
        self.lost.increment(records);
    }
}
