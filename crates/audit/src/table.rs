//! A log whose lines are kept in a table of a database.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use keyfob_core::{AuditReceipt, AuditRecord, AuditSink, BoxFuture, Error, ErrorKind, Result, SystemClock};

use crate::chain::{Batch, Chain};
use crate::file::Durability;
use crate::keys::{SigningKey, check_key, log_id};
use crate::line::{Access, Event, FORMAT, Hash, Line};
use crate::queue::{Place, Promise, Queue};
use crate::remembered::{Memory, Place as RememberedPlace, records, tell_missing};
use crate::segment::{damaged, is_signed};
use crate::verify::Checkpoint;
use crate::writer::{Kept, Writer};

/// A table of a database that keeps the lines of one log by their numbers, the first of which is 1. `keyfob-sql` has one in
/// SQLite and one in PostgreSQL.
///
/// Nothing in it is believed: the lines prove themselves.
pub trait LineTable: Send + 'static {
    /// Where it is, safe to show.
    fn place(&self) -> String;

    /// The number of the last line, 0 when there is none or there is no table yet.
    ///
    /// # Errors
    /// What the database says.
    fn last(&mut self) -> Result<u64>;

    /// At most `most` lines from number `first` on, in order.
    ///
    /// # Errors
    /// What the database says.
    fn lines(&mut self, first: u64, most: u64) -> Result<Vec<(u64, String)>>;

    /// Adds lines with the numbers from `first` on, all or none, and makes the table if it is missing. They are durable when this returns.
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

/// How a log in a table is kept, for [`TableAudit::open`]. Checkpoints are signed after 1,000 lines and after a minute at the latest.
#[derive(Debug)]
pub struct TableAuditOptions {
    table: Box<dyn LineTable>,
    key: SigningKey,
    durability: Durability,
    state_directory: Option<PathBuf>,
}

impl TableAuditOptions {
    /// A log in `table`, whose checkpoints `key` signs.
    #[must_use]
    pub fn new(table: Box<dyn LineTable>, key: SigningKey) -> Self {
        Self {
            table,
            key,
            durability: Durability::default(),
            state_directory: None,
        }
    }

    /// How much accesses wait. Default: best effort.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Remembers the last signed line of the log in this directory, as [`FileAuditOptions::remember_in`](crate::FileAuditOptions::remember_in)
    /// does. Default: nothing is remembered.
    #[must_use]
    pub fn remember_in(mut self, state_directory: impl Into<PathBuf>) -> Self {
        self.state_directory = Some(state_directory.into());
        self
    }
}

impl TableAudit {
    /// Lets a thread open the log in a table, or begin one, and waits until it has. Whatever is wrong with the log is an error, however much
    /// accesses wait for their records.
    ///
    /// # Errors
    /// - `Corrupt`: the end of the log is not one that a writer could have left; or, where accesses are durable, the log is not the one that was
    ///   [remembered](TableAuditOptions::remember_in).
    /// - `InvalidConfig`: where accesses are durable, the log is signed with another key.
    /// - `Unsupported`: the log is of a newer format.
    /// - What the database says.
    pub fn open(options: TableAuditOptions) -> Result<Self> {
        let audit = Self::start(options)?;
        audit.queue.wait_until_opened()?;
        Ok(audit)
    }

    /// The same, but does not wait for the database: of what it says [`opened`](Self::opened) tells. See
    /// [`FileAudit::start`](crate::FileAudit::start).
    ///
    /// # Errors
    /// `PermissionDenied` or `InvalidConfig` when what is remembered can't be read.
    pub fn start(options: TableAuditOptions) -> Result<Self> {
        let TableAuditOptions {
            table,
            key,
            durability,
            state_directory,
        } = options;
        let place = Place {
            name: table.place(),
            ..Place::default()
        };
        let memory_of = |state: &PathBuf| Memory::open(state, &RememberedPlace::of_table(&*table));
        let memory = state_directory.as_ref().map(memory_of).transpose()?;
        let is_durable = durability == Durability::Durable;
        let log = TableLog {
            table,
            key,
            is_durable,
            memory,
            lacking: None,
            chain: None,
            known: (0, Hash::NONE),
        };
        let writer = Writer::new(log, Arc::new(SystemClock::new()), Duration::from_secs(60), is_durable);
        let promise = Promise {
            is_durable,
            most: 65_536,
        };
        let queue = Queue::start(writer, promise, "table", place)?;
        Ok(Self { queue })
    }

    /// Waits until the log is open, or it is known that it can't be. Dropping the future gives up waiting and nothing else.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn opened(&self) -> BoxFuture<'static, Result<()>> {
        self.queue.opened()
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
        self.queue.close(None)
    }

    /// The same, but waits no longer than `patience`: for a process that is to end. Until it does, the thread goes on with what is left.
    ///
    /// # Errors
    /// Those of [`close`](Self::close); `Unavailable` when the log has not taken all by then, with how many records that are.
    pub fn close_within(&self, patience: Duration) -> Result<()> {
        self.queue.close(Some(patience))
    }
}

impl AuditSink for TableAudit {
    fn record(&self, record: AuditRecord) -> AuditReceipt {
        self.queue.record(record)
    }

    fn ready(&self) -> Result<()> {
        self.queue.ready()
    }

    fn delay(&self) -> Option<Error> {
        self.queue.delay()
    }
}

/// How many other writers may be faster in a row.
const ATTEMPTS: u32 = 100;
/// At most this many lines come between two signatures.
const EVERY: u64 = 1000;

struct TableLog {
    table: Box<dyn LineTable>,
    key: SigningKey,
    /// Whether a log that is not the one that was here is refused, or told and written on.
    is_durable: bool,
    memory: Option<Memory>,
    /// A signed line that should be there and is not, of which the log does not tell yet.
    lacking: Option<Checkpoint>,
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
            let mut batch = Batch::new(&self.key, now, chain);
            if first == 1 {
                batch.begin(1);
            }
            if let Some(lacking) = &self.lacking {
                batch.missing(lacking);
                batch.checkpoint();
            }
            fill(&mut batch);
            let (chain, text, signed) = (batch.chain, batch.text, batch.signed);
            let added = match std::str::from_utf8(&text) {
                Ok("") => Ok(()),
                Ok(text) => self.table.add(first, &text.lines().collect::<Vec<_>>()),
                Err(_) => Err(Error::new(ErrorKind::Other, "a record is not UTF-8")),
            };
            match added {
                Ok(()) => {
                    self.known = (chain.seq, chain.hash);
                    self.chain = Some(chain);
                    self.remember(signed.as_ref());
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

    /// Remembers what was signed. After a mark that is the log that is here now.
    fn remember(&mut self, signed: Option<&Checkpoint>) {
        let had_to_be_marked = self.lacking.take().is_some();
        if let (Some(memory), Some(signed)) = (&self.memory, signed) {
            if had_to_be_marked {
                memory.replace(signed);
            } else {
                memory.remember(signed);
            }
        }
    }

    /// What the log with this end lacks of what is remembered of it.
    fn lack(&mut self, remembered: &Checkpoint, log: &str, last: u64) -> Result<Option<String>> {
        let seq = remembered.seq();
        if log != remembered.log() {
            return Ok(Some(format!("another log is in the place of the one with {}", records(seq))));
        }
        if last < seq {
            return Ok(Some(format!("it had {}, and ends after {last}", records(seq))));
        }
        let lines = self.table.lines(seq, 1)?;
        let found = lines.first().and_then(|(_, line)| Line::parse(line.as_bytes()).ok());
        let is_there = found.is_some_and(|line| line.seq == seq && line.hash == remembered.hash());
        Ok((!is_there).then(|| format!("record {seq} is another than the one that was signed")))
    }

    /// The log lacks what is remembered of it: that is refused, or told and marked.
    fn lacks(&mut self, lacking: Checkpoint, problem: &str) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let error = memory.contradicts(&self.table.place(), problem);
        if self.is_durable {
            return Err(error);
        }
        tell_missing(&error);
        self.lacking = Some(lacking);
        Ok(())
    }

    /// Finds the end of the log.
    fn find(&mut self) -> Result<Chain> {
        let place = self.table.place();
        let wrong = |problem: &str| damaged(Path::new(&place), problem);
        // Before the log, which is never the older one then.
        let remembered = match &self.memory {
            Some(memory) => memory.read_or_tell(self.is_durable)?,
            None => None,
        };
        self.lacking = None;
        let last = self.table.last()?;
        let (seq, hash) = self.known;
        if last < seq {
            return Err(wrong("records are gone that were there"));
        }
        if last == 0 {
            if let Some(remembered) = remembered {
                let problem = format!("it had {}, and there is none", records(remembered.seq()));
                self.lacks(remembered, &problem)?;
            }
            return Ok(Chain {
                log: log_id()?.into(),
                every: EVERY,
                seq: 0,
                hash: Hash::NONE,
                unsigned: 0,
            });
        }
        let first = self.table.lines(1, 1)?;
        let (log, every): (Arc<str>, u64) = match first.first().map(|(_, line)| Line::parse(line.as_bytes())) {
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
        let signed = |(_, line): &&(u64, String)| is_signed(line.as_bytes());
        if let Some(remembered) = remembered
            && let Some(problem) = self.lack(&remembered, &log, last)?
        {
            self.lacks(remembered, &problem)?;
        }
        if let Some((_, signed)) = end.iter().rev().find(signed).or(first.first())
            && check_key(signed.as_bytes(), &self.key, &place, self.is_durable)?
            && let (None, Some(memory), Some(signed)) = (&self.lacking, &self.memory, Checkpoint::of(signed.as_bytes()))
        {
            memory.remember(&signed);
        }
        let unsigned = end.iter().rev().position(|line| signed(&line));
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
    fn open(&mut self, now: SystemTime) -> Result<()> {
        self.add(now, &|_| ())
    }

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
