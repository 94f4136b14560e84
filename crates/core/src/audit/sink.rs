//! Where records go.

use std::fmt;

use super::record::AuditRecord;
use crate::backend::BoxFuture;
use crate::error::{Error, Result};

/// Keeps audit records.
pub trait AuditSink: Send + Sync + fmt::Debug {
    /// Takes a record over. Never blocks: it is called also when an access is dropped. Records that one thread gives are kept
    /// in that order.
    ///
    /// The record is taken over when this returns, whether or not the receipt is waited for.
    fn record(&self, record: AuditRecord) -> AuditReceipt;

    /// Whether records can be kept now, as far as is known without trying. Asked before an access, so that nothing is done
    /// that could not be recorded.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) from a sink without which nothing may be accessed.
    fn ready(&self) -> Result<()>;

    /// What keeps it from keeping what it was given, as far as it knows: which log it is and what is wrong there. An access that can't wait
    /// any longer for a [`Pending`](AuditReceipt::Pending) receipt tells it. A sink that is never waited for has nothing to say.
    fn delay(&self) -> Option<Error> {
        None
    }
}

/// What a sink says of a record that it was given.
#[must_use = "a durable sink has kept nothing before the receipt is waited for"]
pub enum AuditReceipt {
    /// The sink has done all that it promises, or accesses need not wait for it.
    Taken,
    /// The access has to wait for this, and to fail if it fails: it is done once the record is where nothing but the loss of
    /// the disk can take it away.
    Pending(BoxFuture<'static, Result<()>>),
}

impl fmt::Debug for AuditReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "Taken",
            Self::Pending(_) => "Pending",
        })
    }
}
