//! A sink in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::filter::AuditFilter;
use super::record::AuditRecord;
use super::sink::{AuditReceipt, AuditSink};
use crate::error::Result;

/// Keeps the last records for as long as the process lives.
#[derive(Debug)]
pub struct MemoryAudit {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    records: VecDeque<Arc<AuditRecord>>,
    total: u64,
}

impl MemoryAudit {
    /// Keeps up to `most` records; the oldest goes first.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            kept: Mutex::default(),
        }
    }

    /// The records that are kept and that `filter` lets through, oldest first.
    #[must_use]
    pub fn records(&self, filter: &AuditFilter) -> Vec<Arc<AuditRecord>> {
        let kept = self.kept();
        kept.records.iter().filter(|record| filter.matches(record)).cloned().collect()
    }

    /// How many records there were, also those that are gone.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kept().total
    }

    /// Nothing is left half-changed when a holder panics, so a poisoned lock is still whole.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditSink for MemoryAudit {
    fn record(&self, record: AuditRecord) -> AuditReceipt {
        let mut kept = self.kept();
        kept.total += 1;
        if kept.records.len() == self.most {
            kept.records.pop_front();
        }
        if self.most > 0 {
            kept.records.push_back(Arc::new(record));
        }
        AuditReceipt::Taken
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }
}
