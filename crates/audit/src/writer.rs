//! What writes a log, on the queue's thread.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_core::{AuditRecord, Clock, Error, ErrorKind, Result};

use crate::queue::Keeper;

/// A log that lines can be added to.
pub(crate) trait Kept: Send + 'static {
    /// Finds its end, or begins it. Adding tries it anew if it failed.
    fn open(&mut self, now: SystemTime) -> Result<()>;

    /// Adds a gap if records were lost, then the records, and with `sync` waits until nothing but the loss of the disk can take
    /// them away. If it fails, nothing was added.
    fn append(&mut self, records: &[AuditRecord], lost: u64, now: SystemTime, sync: bool) -> Result<()>;

    /// Signs what was added since the last signature, if there is anything, and waits in the same way.
    fn checkpoint(&mut self, now: SystemTime) -> Result<()>;

    /// How many lines there are after the last signature, as far as is known here.
    fn unsigned(&self) -> u64;
}

pub(crate) struct Writer<L> {
    log: L,
    clock: Arc<dyn Clock>,
    interval: Duration,
    /// When the last signature was made, as far as is known here.
    signed_at: Duration,
    is_durable: bool,
}

impl<L: Kept> Writer<L> {
    /// Signs after `interval` at the latest.
    pub(crate) fn new(log: L, clock: Arc<dyn Clock>, interval: Duration, is_durable: bool) -> Self {
        Self {
            log,
            signed_at: clock.now(),
            clock,
            interval,
            is_durable,
        }
    }
}

impl<L: Kept> Keeper for Writer<L> {
    fn open(&mut self) -> Result<()> {
        self.log.open(self.clock.system_now())
    }

    fn keep(&mut self, records: &[AuditRecord], lost: u64) -> Result<()> {
        let now = self.clock.system_now();
        self.log.append(records, lost, now, self.is_durable).map_err(unavailable)
    }

    fn tick(&mut self) -> Result<()> {
        let now = self.clock.now();
        if self.log.unsigned() == 0 {
            self.signed_at = now;
        } else if now.saturating_sub(self.signed_at) >= self.interval {
            // Also when it fails, so that it is not tried again with every batch.
            self.signed_at = now;
            self.log.checkpoint(self.clock.system_now())?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.log.checkpoint(self.clock.system_now())
    }
}

/// Whatever is wrong with the log: to accesses it is not there.
pub(crate) fn unavailable(error: Error) -> Error {
    if error.kind() == ErrorKind::Unavailable {
        return error;
    }
    let hint = error.hint().unwrap_or("see to where the audit log is kept").to_owned();
    Error::new(ErrorKind::Unavailable, "the audit log can't be written to")
        .with_hint(hint)
        .with_source(error)
}
