//! A log whose lines are kept in a table of a database.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use keyfob_core::{AuditReceipt, AuditRecord, AuditSink, Clock, Error, ErrorKind, Result, SystemClock};

use crate::chain::{Batch, Chain};
use crate::file::Durability;
use crate::keys::{SigningKey, log_id};
use crate::line::{Access, Event, FORMAT, Hash, Line};
use crate::queue::{Promise, Queue};
use crate::segment::{damaged, is_signed};
use crate::writer::{Kept, Writer};

/// A table of a database that keeps the lines of one log by their numbers, the first of which is 1. `keyfob-sql` has one in
/// SQLite and one in PostgreSQL.
///
/// Nothing in it is believed: the lines prove themselves.
pub trait LineTable: Send + 'static {
    /// Where it is, safe to show.
    fn place(&self) -> String;

    /// The number of the last line, 0 when there is none.
    ///
    /// # Errors
    /// What the database says.
    fn last(&mut self) -> Result<u64>;

    /// At most `most` lines from number `first` on, in order.
    ///
    /// # Errors
    /// What the database says.
    fn lines(&mut self, first: u64, most: u64) -> Result<Vec<(u64, String)>>;

    /// Adds lines with the numbers from `first` on, all or none. They are durable when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when there is a line with one of these numbers, because another writer was faster; and what the
    /// database says.
    fn add(&mut self, first: u64, lines: &[&str]) -> Result<()>;
}

/// Keeps records in a tamper-evident log in a [`LineTable`]: the lines of [`FileAudit`](crate::FileAudit), in one chain, as
/// those of one file that never ends.
///
/// Any number of processes and machines may write to one table: who comes second builds on what the first one added. They all have the
/// same signing key.
#[derive(Debug)]
pub struct TableAudit {
    queue: Queue,
}

impl TableAudit {
    /// Opens the log in a table, or begins one, and starts the thread that writes. Checkpoints are signed with `key`, after 1,000
    /// lines and after a minute at the latest.
    ///
    /// # Errors
    /// - `Corrupt`: the end of the log is not one that a writer could have left.
    /// - `Unsupported`: the log is of a newer format.
    /// - What the database says.
    pub fn open(table: Box<dyn LineTable>, key: SigningKey, durability: Durability) -> Result<Self> {
        let clock = Arc::new(SystemClock::new());
        let mut log = TableLog {
            table,
            key,
            chain: None,
            known: (0, Hash::NONE),
        };
        log.add(clock.system_now(), &|_| ())?;
        let is_durable = durability == Durability::Durable;
        let writer = Writer::new(log, clock, Duration::from_secs(60), is_durable);
        let promise = Promise {
            is_durable,
            most: 65_536,
        };
        let queue = Queue::start(writer, promise, "table")?;
        Ok(Self { queue })
    }

    /// How many records were lost so far: they came too fast, or the database did not take them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost_so_far()
    }

    /// Writes what there is, signs it, and ends the thread. Blocks for as long as the database takes. Records that come later are
    /// lost.
    ///
    /// # Errors
    /// What the database says; `Unavailable` when records were lost at last.
    pub fn close(&self) -> Result<()> {
        self.queue.close()
    }
}

impl AuditSink for TableAudit {
    fn record(&self, record: AuditRecord) -> AuditReceipt {
        self.queue.record(record)
    }

    fn ready(&self) -> Result<()> {
        self.queue.ready()
    }
}

/// How many other writers may be faster in a row.
const ATTEMPTS: u32 = 100;
/// At most this many lines come between two signatures.
const EVERY: u64 = 1000;

struct TableLog {
    table: Box<dyn LineTable>,
    key: SigningKey,
    /// `None` when it has to be found out anew where the log ends.
    chain: Option<Chain>,
    /// The number and hash of the last line that is known to have been there: it has to stay.
    known: (u64, Hash),
}

impl TableLog {
    /// Adds what `fill` says, after what others have added meanwhile.
    fn add(&mut self, now: SystemTime, fill: &dyn Fn(&mut Batch<'_>)) -> Result<()> {
        let mut pause = Duration::from_micros(200);
        for _ in 0..ATTEMPTS {
            let chain = match self.chain.take() {
                Some(chain) => chain,
                None => self.find()?,
            };
            let first = chain.seq + 1;
            let mut batch = Batch {
                key: &self.key,
                now,
                chain,
                text: Vec::new(),
            };
            if first == 1 {
                batch.begin(1);
            }
            fill(&mut batch);
            let (chain, text) = (batch.chain, batch.text);
            let added = match std::str::from_utf8(&text) {
                Ok("") => Ok(()),
                Ok(text) => self.table.add(first, &text.lines().collect::<Vec<_>>()),
                Err(_) => Err(Error::new(ErrorKind::Other, "a record is not UTF-8")),
            };
            match added {
                Ok(()) => {
                    self.known = (chain.seq, chain.hash);
                    self.chain = Some(chain);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "other writers of the audit log were faster again and again",
        )
        .with("store", self.table.place()))
    }

    /// Finds the end of the log.
    fn find(&mut self) -> Result<Chain> {
        let place = self.table.place();
        let wrong = |problem: &str| damaged(Path::new(&place), problem);
        let last = self.table.last()?;
        let (seq, hash) = self.known;
        if last < seq {
            return Err(wrong("records are gone that were there"));
        }
        if last == 0 {
            return Ok(Chain {
                log: log_id()?.into(),
                every: EVERY,
                seq: 0,
                hash: Hash::NONE,
                unsigned: 0,
            });
        }
        let first = self.table.lines(1, 1)?;
        let (log, every) = match first.first().map(|(_, line)| Line::parse(line.as_bytes())) {
            Some(Ok(Line {
                event: Event::Begin { log, every, format, .. },
                ..
            })) if format == FORMAT => (Arc::from(&*log), every.max(1)),
            Some(Ok(Line {
                event: Event::Begin { format, .. },
                ..
            })) => {
                let problem = format!("the audit log is of format {format}, this program knows format {FORMAT}");
                return Err(Error::new(ErrorKind::Unsupported, problem).with("store", place));
            }
            _ => return Err(wrong("its first line does not begin a log")),
        };
        let end = self.table.lines(last.saturating_sub(every) + 1, every)?;
        let Some((number, line)) = end.last() else {
            return Err(wrong("its last line is gone"));
        };
        let parsed = Line::parse(line.as_bytes()).map_err(|problem| wrong(&format!("its last line is damaged: {problem}")))?;
        if parsed.seq != *number {
            return Err(wrong("its last line is one of another number"));
        }
        if parsed.seq == seq && parsed.hash != hash {
            return Err(wrong("its last line is another"));
        }
        let unsigned = end.iter().rev().position(|(_, line)| is_signed(line.as_bytes()));
        Ok(Chain {
            log,
            every,
            seq: parsed.seq,
            hash: parsed.hash,
            unsigned: unsigned.and_then(|lines| u64::try_from(lines).ok()).unwrap_or(every),
        })
    }
}

impl Kept for TableLog {
    fn append(&mut self, records: &[AuditRecord], lost: u64, now: SystemTime, _: bool) -> Result<()> {
        self.add(now, &|batch| {
            if lost > 0 {
                batch.add(now, &Event::Gap { dropped: lost });
            }
            for record in records {
                batch.add(record.time, &Event::Access(Box::new(Access::of(record))));
            }
        })
    }

    fn checkpoint(&mut self, now: SystemTime) -> Result<()> {
        self.add(now, &|batch| {
            if batch.chain.unsigned > 0 {
                batch.checkpoint();
            }
        })
    }

    fn unsigned(&self) -> u64 {
        self.chain.as_ref().map_or(0, |chain| chain.unsigned)
    }
}

pub(crate) fn no_log_in(table: &dyn LineTable) -> Error {
    Error::new(ErrorKind::NotFound, "there is no audit log in the table").with("store", table.place())
}

impl fmt::Debug for dyn LineTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LineTable").field(&self.place()).finish()
    }
}
