//! The sink that keeps records in a log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{AuditReceipt, AuditRecord, AuditSink, BoxFuture, Clock, Error, ErrorKind, Result, SystemClock};

use crate::keys::SigningKey;
use crate::log::{Log, Rules};
use crate::queue::{Place, Promise, Queue};
use crate::writer::Writer;

/// Keeps records in a tamper-evident log: files of JSON lines in a directory of its own. FORMAT.md describes them.
///
/// A thread writes; accesses hand their records to it. How much they wait for it is up to [`Durability`].
///
/// Any number of processes of one user may write to the same log at once: they take turns by the batch, and the chain goes
/// over all of them. A process that was killed in the middle of a line leaves that one line unfinished; the next writer cuts
/// it off and says so in the log.
///
/// Records are not lost when this is dropped: dropping waits until all that came before are written and signed, as
/// [`close`](Self::close) does, but nobody hears if that fails. A process that ends otherwise (`exec`, `exit`) has to call
/// `close` itself.
#[derive(Debug)]
pub struct FileAudit {
    queue: Queue,
}

/// How much accesses wait for their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// An access waits until its record is on the disk (`fdatasync`), and fails as
    /// [`Unavailable`](keyfob_core::ErrorKind::Unavailable) when it can't be brought there; so do all accesses while the log is known not
    /// to be writable, until a record gets through again. Many records share one sync.
    Durable,
    /// An access never waits, and never fails because of the log. Records that come faster than they can be written, those that the disk does not take, and those that come
    /// while the log can't be opened, are lost and counted; a line in the log says how many. When the process is killed, the records of the last 25 milliseconds
    /// are lost and nothing says so; when the machine dies, those that the disk did not have.
    #[default]
    BestEffort,
}

/// How a log is kept, for [`FileAudit::open`].
#[derive(Debug)]
pub struct FileAuditOptions {
    directory: PathBuf,
    key: SigningKey,
    durability: Durability,
    max_bytes: u64,
    max_age: Duration,
    keep_years: Option<u32>,
    checkpoint_lines: u64,
    checkpoint_interval: Duration,
    queue: usize,
    state_directory: Option<PathBuf>,
    clock: Arc<dyn Clock>,
}

impl FileAuditOptions {
    /// A log in `directory`, whose checkpoints `key` signs. The directory is made if it is missing. It is refused if others
    /// than its owner may write to it or to its files, or could replace it.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, key: SigningKey) -> Self {
        Self {
            directory: directory.into(),
            key,
            durability: Durability::default(),
            max_bytes: 64 << 20,
            max_age: Duration::from_secs(31 * 86_400),
            keep_years: None,
            checkpoint_lines: 1000,
            checkpoint_interval: Duration::from_secs(60),
            queue: 65_536,
            state_directory: None,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// How much accesses wait. Default: best effort.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// A new file is begun after this many bytes. Default: 64 MiB. A batch is never split, so a file may be larger by one.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// A new file is begun when the last one was begun so long ago. Default: 31 days.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// A file is deleted, when a new one is begun, if its last line is older than so many years of 365.25 days. The log says
    /// so. Default: files are kept for ever.
    #[must_use]
    pub fn keep_years(mut self, years: u32) -> Self {
        self.keep_years = Some(years);
        self
    }

    /// At most this many lines come between two signatures; at least 1. Default: 1000. It holds for files that are begun from
    /// now on, and every file says its number.
    #[must_use]
    pub fn checkpoint_lines(mut self, lines: u64) -> Self {
        self.checkpoint_lines = lines.max(1);
        self
    }

    /// What was written is signed after this time at the latest, give or take a second. Default: a minute.
    #[must_use]
    pub fn checkpoint_interval(mut self, time: Duration) -> Self {
        self.checkpoint_interval = time;
        self
    }

    /// At most this many records wait to be written, each of a few hundred bytes. Default: 65,536. In durable mode an access
    /// fails when there are more.
    #[must_use]
    pub fn queue(mut self, records: usize) -> Self {
        self.queue = records;
        self
    }

    /// Remembers the last signed line of the log in this directory, outside of it, and looks for that line when the log is opened. Default:
    /// nothing is remembered.
    ///
    /// A log that is gone, or ends before that line, or has another in its place, is refused as `Corrupt` where accesses are durable.
    /// Else it is told (`tracing`), and the log goes on or begins anew with a line that says so, which [`verify`](crate::verify) finds.
    /// Files that were deleted because they were old enough are not missed. A directory that can't be made remembers nothing.
    #[must_use]
    pub fn remember_in(mut self, state_directory: impl Into<PathBuf>) -> Self {
        self.state_directory = Some(state_directory.into());
        self
    }

    /// Takes the time of the log's own lines from `clock`, and the time between checkpoints.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl FileAudit {
    /// Lets a thread open a log, or begin one, and waits until it has. Mends the log's end if a writer was killed. Whatever is wrong with the
    /// log is an error, however much accesses wait for their records.
    ///
    /// # Errors
    /// - `InvalidConfig`: others may write to the directory or a file in it; or, where accesses are durable, the log is signed with another key.
    /// - `Corrupt`: the end of the log is not one that a writer could have left, killed or not; or, where accesses are durable, the log is not
    ///   the one that was [remembered](FileAuditOptions::remember_in).
    /// - `Unavailable`: another process holds the log's lock for more than ten seconds.
    /// - `Unsupported`: the log is of a newer format.
    /// - What the file system says.
    pub fn open(options: FileAuditOptions) -> Result<Self> {
        let audit = Self::start(options)?;
        audit.queue.wait_until_opened()?;
        Ok(audit)
    }

    /// The same, but waits for nobody: neither for another process nor for the end of the log to be found. Errors are only those that
    /// waiting does not mend; of the others [`opened`](Self::opened) tells.
    ///
    /// Records are taken from now on. In best effort those that come while the log can't be opened are lost and counted when its thread has
    /// given up, after ten seconds. In durable mode accesses fail as long as it is known that it can't be; who wants nothing to be done before
    /// the log is open waits for [`opened`](Self::opened) first.
    ///
    /// # Errors
    /// - `InvalidConfig`: others may write to the directory or a file in it, or it is something else than a directory.
    /// - `NotFound`, `PermissionDenied`: the directory can't be made or read.
    pub fn start(options: FileAuditOptions) -> Result<Self> {
        let keep = options
            .keep_years
            .map(|years| Duration::from_secs(u64::from(years) * 31_557_600));
        let is_durable = options.durability == Durability::Durable;
        let rules = Rules {
            directory: options.directory,
            key: options.key,
            max_bytes: options.max_bytes,
            max_age: options.max_age,
            keep,
            checkpoint_lines: options.checkpoint_lines,
            is_durable,
            state_directory: options.state_directory,
        };
        let place = Place {
            name: rules.directory.display().to_string(),
            ..Place::default()
        };
        let mut log = Log::new(rules, Arc::clone(&place.is_held));
        match log.prepare() {
            // A full disk, for example, or a log that is gone: the thread tries it anew.
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupt) => {}
            prepared => prepared?,
        }
        let writer = Writer::new(log, options.clock, options.checkpoint_interval, is_durable);
        let promise = Promise {
            is_durable,
            most: options.queue,
        };
        let queue = Queue::start(writer, promise, "file", place)?;
        Ok(Self { queue })
    }

    /// Waits until the log is open, or it is known that it can't be. Dropping the future gives up waiting and nothing else.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn opened(&self) -> BoxFuture<'static, Result<()>> {
        self.queue.opened()
    }

    /// How many records were lost so far: they came too fast, or the disk did not take them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.queue.lost_so_far()
    }

    /// Writes what there is, signs it, waits until it is on the disk, and ends the thread. Blocks for as long as the disk
    /// takes. Records that come later are lost.
    ///
    /// # Errors
    /// What the file system says; `Unavailable` when records were lost at last.
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

impl AuditSink for FileAudit {
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
