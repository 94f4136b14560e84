//! The log in its directory, as its writer sees it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use keyfob_core::{AuditRecord, Result};

use crate::chain::{Batch, Chain};
use crate::keys::{SigningKey, check_key, log_id};
use crate::line::{Access, Event, Hash, Line};
use crate::permissions::{failed, prepare_directory};
use crate::remembered::{Memory, Place, records, tell_missing};
use crate::segment::{
    Ending, Found, Lock, MOST_UNFINISHED, Sought, beginning, damaged, ending, is_unfinished, next_line, numbers, open_to_append,
    open_to_read, path_of, predecessor, seek,
};
use crate::verify::Checkpoint;
use crate::writer::Kept;

/// How a log is kept.
pub(crate) struct Rules {
    pub(crate) directory: PathBuf,
    pub(crate) key: SigningKey,
    pub(crate) max_bytes: u64,
    pub(crate) max_age: Duration,
    pub(crate) keep: Option<Duration>,
    pub(crate) checkpoint_lines: u64,
    /// Whether a log that is not the one that was here is refused, or told and written on.
    pub(crate) is_durable: bool,
    /// Where it is remembered what was signed.
    pub(crate) state_directory: Option<PathBuf>,
}

/// A log to add to. Any number of processes may have one of the same directory: each takes the lock for each batch, and
/// looks at what the others added before it adds its own.
pub(crate) struct Log {
    rules: Rules,
    /// `None` before it could be opened.
    lock: Option<File>,
    is_held: Arc<AtomicBool>,
    memory: Option<Memory>,
    /// A signed line that should be there and is not, of which the log does not tell yet.
    lacking: Option<Checkpoint>,
    /// `None` when it has to be found out anew where the log ends.
    tail: Option<Tail>,
    /// The number and hash of the last line that is known to have been there: it has to stay.
    known: (u64, Hash),
}

/// The last file, and where the chain ends.
#[derive(Clone)]
struct Tail {
    number: u64,
    file: Arc<File>,
    length: u64,
    began: SystemTime,
    chain: Chain,
    is_end: bool,
}

impl Log {
    /// Opens nothing yet. Says in `is_held` when another process is at the log.
    pub(crate) fn new(rules: Rules, is_held: Arc<AtomicBool>) -> Self {
        Self {
            rules,
            lock: None,
            is_held,
            memory: None,
            lacking: None,
            tail: None,
            known: (0, Hash::NONE),
        }
    }

    /// Makes sure of all that waiting does not mend: where the log is, and whose it is. Waits for nobody.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        let directory = &self.rules.directory;
        // A log that is refused is left as it is, and one that is gone is not begun.
        if let (true, Some(state), Ok(false)) = (self.rules.is_durable, &self.rules.state_directory, directory.try_exists())
            && let Some(memory) = Place::of_directory(directory).memory(state)?
            && let Some(remembered) = memory.read()?
        {
            let place = directory.display().to_string();
            return Err(memory.contradicts(&place, &format!("it had {}, and is gone", records(remembered.seq()))));
        }
        prepare_directory(directory)?;
        let lock = Lock::open(directory)?;
        if let Some(&last) = numbers(directory)?.last() {
            open_to_append(&path_of(directory, last))?;
        }
        if let Some(state) = &self.rules.state_directory {
            self.memory = Some(Memory::open(state, &Place::of_directory(directory))?);
        }
        self.lock = Some(lock);
        Ok(())
    }

    /// Does something while no other process touches the log. After a failure the end is looked for anew.
    fn locked(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if self.lock.is_none() {
            self.prepare()?;
        }
        let directory = &self.rules.directory;
        let lock = self.lock.as_ref().map(File::try_clone).transpose();
        let lock = lock.map_err(|source| failed("lock the audit log", directory, source))?;
        let take = |file| Lock::take(file, directory, false, &self.is_held);
        let _lock = lock.as_ref().map(take).transpose()?;
        let done = act(self);
        match &self.tail {
            Some(tail) if done.is_ok() => self.known = (tail.chain.seq, tail.chain.hash),
            _ => self.tail = None,
        }
        done
    }

    fn batch(&self, tail: &Tail, now: SystemTime) -> Batch<'_> {
        Batch::new(&self.rules.key, now, tail.chain.clone())
    }

    /// Adds lines to the last file. `tail` is the state before.
    fn write(&self, mut tail: Tail, batch: Batch<'_>, sync: bool) -> Result<Tail> {
        let before = tail.length;
        let write = || -> io::Result<()> {
            (&*tail.file).write_all(&batch.text)?;
            if sync {
                tail.file.sync_data()?;
            }
            Ok(())
        };
        if let Err(source) = write() {
            // What may be there in part must not stay: the records count as lost. A failed sync says that nobody knows what
            // the disk has, so the bytes are taken back too and written anew by the next attempt.
            let _ = tail.file.set_len(before);
            let path = path_of(&self.rules.directory, tail.number);
            return Err(failed("write to the audit log", &path, source)
                .with_hint("see to the disk: while the log can't be written, accesses that need a record fail"));
        }
        tail.length += batch.text.len() as u64;
        tail.chain = batch.chain;
        // What the disk may still lose must not be missed.
        if let (true, Some(memory), Some(signed)) = (sync, &self.memory, &batch.signed) {
            memory.remember(signed);
        }
        Ok(tail)
    }

    /// Where the log ends now.
    fn tail_now(&mut self, now: SystemTime) -> Result<Tail> {
        let mut tail = match self.tail.take() {
            Some(tail) => self.follow(tail, now)?,
            None => self.find(now)?,
        };
        if tail.is_end {
            // Whoever ended the file was killed before the next one began.
            tail = self.begin_file(tail.chain, tail.number + 1, now)?;
        }
        match self.lacking.take() {
            Some(lacking) => self.mark(tail, &lacking, now),
            None => Ok(tail),
        }
    }

    /// Says in the log that it is not the one that was here. From now on it is.
    fn mark(&self, tail: Tail, lacking: &Checkpoint, now: SystemTime) -> Result<Tail> {
        let mut batch = self.batch(&tail, now);
        batch.missing(lacking);
        batch.checkpoint();
        let signed = batch.signed.clone();
        let tail = self.write(tail, batch, true)?;
        if let (Some(memory), Some(signed)) = (&self.memory, &signed) {
            memory.replace(signed);
        }
        Ok(tail)
    }

    /// The log lacks what is remembered of it: that is refused, or told and marked.
    fn lacks(&mut self, lacking: Checkpoint, problem: &str) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let error = memory.contradicts(&self.rules.directory.display().to_string(), problem);
        if self.rules.is_durable {
            return Err(error);
        }
        tell_missing(&error);
        self.lacking = Some(lacking);
        Ok(())
    }

    /// Finds the end of the log in its directory.
    fn find(&mut self, now: SystemTime) -> Result<Tail> {
        let directory = self.rules.directory.clone();
        let directory = directory.as_path();
        let remembered = match &self.memory {
            Some(memory) => memory.read_or_tell(self.rules.is_durable)?,
            None => None,
        };
        let remembered_up_to = remembered.as_ref().map_or(0, Checkpoint::seq);
        self.lacking = None;
        let Some(&number) = numbers(directory)?.last() else {
            if self.known.0 > 0 {
                return Err(damaged(directory, "all its files are gone"));
            }
            if let Some(remembered) = remembered {
                let problem = format!("it had {}, and there is none", records(remembered.seq()));
                self.lacks(remembered, &problem)?;
            }
            let chain = Chain {
                log: log_id()?.into(),
                every: self.rules.checkpoint_lines,
                seq: 0,
                hash: Hash::NONE,
                unsigned: 0,
            };
            return self.begin_file(chain, 1, now);
        };
        let path = path_of(directory, number);
        let file = open_to_append(&path)?;
        let first = beginning(&file, &path)?;
        let end = ending(&file, &path, remembered.as_ref().map(Checkpoint::seq))?;
        // What is here is the end only if it is not before what was seen already.
        let (seq, hash) = self.known;
        if end.seq < seq || (end.seq == seq && end.hash != hash) {
            return Err(damaged(&path, "records are gone that were there"));
        }
        if let Some(remembered) = remembered
            && let Some(problem) = lack(&remembered, &first.log, &end, directory)?
        {
            self.lacks(remembered, &problem)?;
        }
        let signed = end.signed.as_ref().unwrap_or(&first.line);
        let is_own = check_key(signed, &self.rules.key, &path.display().to_string(), self.rules.is_durable)?;
        if let (true, None, Some(memory)) = (is_own, &self.lacking, &self.memory)
            && let Some(signed) = Checkpoint::of(signed).filter(|signed| remembered_up_to < signed.seq())
            // What the disk may still lose must not be missed.
            && file.sync_data().is_ok()
        {
            memory.remember(&signed);
        }
        let tail = Tail {
            number,
            file: Arc::new(file),
            length: end.whole,
            began: first.time,
            chain: Chain {
                log: first.log.into(),
                every: first.every,
                seq: end.seq,
                hash: end.hash,
                unsigned: end.unsigned.unwrap_or(first.every),
            },
            is_end: end.is_end,
        };
        self.mend(tail, &end.unfinished, now)
    }

    /// Reads what other processes added since.
    fn follow(&mut self, mut tail: Tail, now: SystemTime) -> Result<Tail> {
        let path = path_of(&self.rules.directory, tail.number);
        let read = |source| failed("read the audit log", &path, source);
        let facts = tail.file.metadata().map_err(read)?;
        if facts.nlink() == 0 {
            return Err(damaged(&path, "the file is gone"));
        }
        if facts.len() < tail.length {
            return Err(damaged(&path, "the file has become shorter"));
        }
        if facts.len() == tail.length {
            return Ok(tail);
        }
        let mut file = open_to_read(&path)?;
        file.seek(SeekFrom::Start(tail.length)).map_err(read)?;
        let (mut reader, mut left, mut line) = (BufReader::new(file), facts.len() - tail.length, Vec::new());
        loop {
            match next_line(&mut reader, &mut left, &mut line).map_err(read)? {
                Found::Line(length) => {
                    let parsed = Line::parse(&line).map_err(|problem| damaged(&path, problem))?;
                    let chain = &mut tail.chain;
                    if parsed.seq != chain.seq + 1 || Hash::of(chain.hash, parsed.body) != parsed.hash {
                        return Err(damaged(&path, "a new line does not continue the chain"));
                    }
                    chain.seq = parsed.seq;
                    chain.hash = parsed.hash;
                    tail.length += length;
                    chain.unsigned = if parsed.signed.is_some() { 0 } else { chain.unsigned + 1 };
                    tail.is_end = matches!(parsed.event, Event::End { .. });
                }
                Found::Nothing if tail.is_end => return self.find(now),
                Found::Nothing => return Ok(tail),
                Found::Unfinished => return self.mend(tail, &line, now),
                Found::TooLong => return Err(damaged(&path, "a line is too long")),
            }
        }
    }

    /// Cuts off what a killed writer left unfinished, and says so in the log.
    fn mend(&self, tail: Tail, unfinished: &[u8], now: SystemTime) -> Result<Tail> {
        if unfinished.is_empty() {
            return Ok(tail);
        }
        let path = path_of(&self.rules.directory, tail.number);
        // What a proof would not forgive is evidence.
        if tail.is_end || unfinished.len() as u64 > MOST_UNFINISHED || !is_unfinished(unfinished) {
            return Err(damaged(&path, "what stands behind its last line was not left by a writer"));
        }
        tail.file
            .set_len(tail.length)
            .map_err(|source| failed("mend the audit log", &path, source))?;
        let mut batch = self.batch(&tail, now);
        batch.add(
            now,
            &Event::Repair {
                bytes: unfinished.len() as u64,
                sha256: HEXLOWER.encode(digest(&SHA256, unfinished).as_ref()).into(),
            },
        );
        self.write(tail, batch, true)
    }

    fn rotate_if_due(&self, tail: Tail, now: SystemTime) -> Result<Tail> {
        let age = now.duration_since(tail.began).unwrap_or_default();
        if tail.length < self.rules.max_bytes && age < self.rules.max_age {
            return Ok(tail);
        }
        let mut batch = self.batch(&tail, now);
        batch.checkpoint();
        let next = tail.number + 1;
        batch.add(now, &Event::End { next });
        let tail = self.write(tail, batch, true)?;
        let tail = self.begin_file(tail.chain, next, now)?;
        self.expire(tail, now)
    }

    /// Makes a file that appears with its first line or not at all.
    fn begin_file(&self, chain: Chain, number: u64, now: SystemTime) -> Result<Tail> {
        let path = path_of(&self.rules.directory, number);
        let chain = Chain {
            every: self.rules.checkpoint_lines,
            ..chain
        };
        let mut batch = Batch::new(&self.rules.key, now, chain);
        batch.begin(number);
        let make = || -> io::Result<File> {
            let unborn = self.rules.directory.join(".audit-next");
            // Left over from a writer that was killed; the lock is ours.
            match fs::remove_file(&unborn) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                .mode(0o600)
                .open(&unborn)?;
            file.write_all(&batch.text)?;
            file.sync_all()?;
            fs::rename(&unborn, &path)?;
            sync_directory(&self.rules.directory)?;
            Ok(file)
        };
        let file = make().map_err(|source| failed("begin a file of the audit log", &path, source))?;
        if let (Some(memory), Some(signed)) = (&self.memory, &batch.signed) {
            memory.remember(signed);
        }
        Ok(Tail {
            number,
            file: Arc::new(file),
            length: batch.text.len() as u64,
            began: now,
            chain: batch.chain,
            is_end: false,
        })
    }

    /// Deletes the files that had ended long enough ago, after the log says so. How long ago that was is what the next file
    /// says under our own signature: no other time would hold against whoever can write to the files.
    fn expire(&self, tail: Tail, now: SystemTime) -> Result<Tail> {
        let Some(limit) = self.rules.keep.and_then(|keep| now.checked_sub(keep)) else {
            return Ok(tail);
        };
        let directory = &self.rules.directory;
        let mut old = Vec::new();
        let mut last = None;
        for pair in numbers(directory)?.windows(2) {
            let &[number, next] = pair else { break };
            if next != number + 1 || next > tail.number {
                break;
            }
            let path = path_of(directory, next);
            let key = self.rules.key.public_key();
            match predecessor(&open_to_read(&path)?, &path, next, &tail.chain.log, key)? {
                Some(before) if before.ended <= limit => last = Some((number, before)),
                _ => break,
            }
            old.push(path_of(directory, number));
        }
        let Some((number, before)) = last else {
            return Ok(tail);
        };
        let mut batch = self.batch(&tail, now);
        batch.expired(number, before.last, before.last_hash);
        let tail = self.write(tail, batch, true)?;
        for path in old {
            fs::remove_file(&path).map_err(|source| failed("delete an old file of the audit log", &path, source))?;
        }
        sync_directory(directory).map_err(|source| failed("delete old files of the audit log", directory, source))?;
        Ok(tail)
    }
}

impl Kept for Log {
    fn open(&mut self, now: SystemTime) -> Result<()> {
        self.locked(|log| {
            let tail = log.tail_now(now)?;
            let tail = log.rotate_if_due(tail, now)?;
            log.tail = Some(tail);
            Ok(())
        })
    }

    fn append(&mut self, records: &[AuditRecord], lost: u64, now: SystemTime, sync: bool) -> Result<()> {
        self.locked(|log| {
            let tail = log.tail_now(now)?;
            let tail = log.rotate_if_due(tail, now)?;
            let mut batch = log.batch(&tail, now);
            if lost > 0 {
                batch.add(now, &Event::Gap { dropped: lost });
            }
            for record in records {
                batch.add(record.time, &Event::Access(Box::new(Access::of(record))));
            }
            log.tail = Some(log.write(tail, batch, sync)?);
            Ok(())
        })
    }

    fn checkpoint(&mut self, now: SystemTime) -> Result<()> {
        self.locked(|log| {
            let tail = log.tail_now(now)?;
            let mut batch = log.batch(&tail, now);
            if batch.chain.unsigned > 0 {
                batch.checkpoint();
            }
            log.tail = Some(log.write(tail, batch, true)?);
            Ok(())
        })
    }

    fn unsigned(&self) -> u64 {
        self.tail.as_ref().map_or(0, |tail| tail.chain.unsigned)
    }
}

/// What a log with this end lacks of what is remembered of it. Files that are not there any more were old enough, as far as a writer can say
/// in passing: a proof finds out.
fn lack(remembered: &Checkpoint, log: &str, end: &Ending, directory: &Path) -> Result<Option<String>> {
    let seq = remembered.seq();
    if log != remembered.log() {
        return Ok(Some(format!("another log is in the place of the one with {}", records(seq))));
    }
    if end.seq < seq {
        return Ok(Some(format!("it had {}, and ends after {}", records(seq), end.seq)));
    }
    let found = match end.sought {
        Some(hash) => Sought::There(hash),
        None => seek(directory, seq)?,
    };
    Ok(match found {
        Sought::There(hash) if hash == remembered.hash() => None,
        Sought::There(_) => Some(format!("record {seq} is another than the one that was signed")),
        Sought::Missing => Some(format!("record {seq} was signed, and is gone")),
        Sought::Expired => None,
    })
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
