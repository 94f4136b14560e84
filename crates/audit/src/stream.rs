//! The sink that writes records to a stream.

use std::io::Write;
use std::time::{Duration, SystemTime};

use keyfob_core::{AuditReceipt, AuditRecord, AuditSink, Error, ErrorKind, Result};
use serde::Serialize;

use crate::line::{Access, Event, rfc3339};
use crate::queue::{Keeper, Place, Promise, Queue};

/// Writes records as JSON lines to standard error or another stream, for whatever collects it: the lines of a log
/// without number, hash and signature.
///
/// An access never waits. Records that come faster than the stream takes them are lost and counted, and a line of the kind
/// `gap` says how many. Dropping it waits until the stream has taken what there is.
#[derive(Debug)]
pub struct StreamAudit {
    queue: Queue,
}

impl StreamAudit {
    /// Writes to standard error.
    ///
    /// # Errors
    /// `Other` when the system gives no thread.
    pub fn stderr() -> Result<Self> {
        Self::new(std::io::stderr())
    }

    /// Writes to `stream`, from a thread of its own.
    ///
    /// # Errors
    /// `Other` when the system gives no thread.
    pub fn new(stream: impl Write + Send + 'static) -> Result<Self> {
        let promise = Promise {
            is_durable: false,
            most: 16_384,
        };
        let place = Place {
            name: "a stream".to_owned(),
            ..Place::default()
        };
        let queue = Queue::start(Stream(stream), promise, "stream", place)?;
        Ok(Self { queue })
    }

    /// How many records were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost_so_far()
    }

    /// Writes what there is and ends the thread. Records that come later are lost.
    ///
    /// # Errors
    /// `Unavailable` when the stream does not take what there is.
    pub fn close(&self) -> Result<()> {
        self.queue.close(None)
    }

    /// The same, but waits no longer than `patience`.
    ///
    /// # Errors
    /// Those of [`close`](Self::close); `Unavailable` when the stream has not taken all by then.
    pub fn close_within(&self, patience: Duration) -> Result<()> {
        self.queue.close(Some(patience))
    }
}

impl AuditSink for StreamAudit {
    fn record(&self, record: AuditRecord) -> AuditReceipt {
        self.queue.record(record)
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }
}

struct Stream<W>(W);

#[derive(Serialize)]
struct Plain<'a> {
    time: String,
    #[serde(flatten)]
    event: Event<'a>,
}

impl<W: Write + Send + 'static> Keeper for Stream<W> {
    fn open(&mut self) -> Result<()> {
        Ok(())
    }

    fn keep(&mut self, records: &[AuditRecord], lost: u64) -> Result<()> {
        let gap = (lost > 0).then(|| Plain {
            time: rfc3339(SystemTime::now()),
            event: Event::Gap { dropped: lost },
        });
        let accesses = records.iter().map(|record| Plain {
            time: rfc3339(record.time),
            event: Event::Access(Box::new(Access::of(record))),
        });
        let mut text = Vec::new();
        for plain in gap.into_iter().chain(accesses) {
            let written = serde_json::to_writer(&mut text, &plain);
            debug_assert!(written.is_ok(), "text and numbers are always written");
            text.push(b'\n');
        }
        let write = self.0.write_all(&text).and_then(|()| self.0.flush());
        write.map_err(|source| Error::new(ErrorKind::Unavailable, "can't write audit records to the stream").with_source(source))
    }

    fn tick(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
