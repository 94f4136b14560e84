//! Reads a log line by line and knows what has to come next.

use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use keyfob_core::Result;

use super::{Checkpoint, Finding, Verification};
use crate::keys::PublicKey;
use crate::line::{Event, FORMAT, Hash, Line};
use crate::permissions::failed;
use crate::segment::{Found, MOST_UNFINISHED, is_unfinished, next_line, open_to_read, path_of};
use crate::table::{LineTable, no_log_in};

pub(super) struct Prover<'k> {
    keys: &'k [PublicKey],
    kept: &'k [Checkpoint],
    seen: Verification,
    log: Option<String>,
    every: u64,
    /// The number and the hash of the last line that is right.
    seq: u64,
    hash: Hash,
    /// The same of the line before the first that is there.
    origin: Option<(u64, Hash)>,
    /// The ends of deleted files: the file, the number and the hash of its last line.
    expired: Vec<(u64, u64, Hash)>,
    is_end: bool,
    at: Place,
}

/// How many lines of a table are read at once.
const PORTION: u64 = 1000;

struct Place {
    file: PathBuf,
    line: u64,
}

/// What is wrong at a place.
type Proven = Result<(), String>;

impl<'k> Prover<'k> {
    pub(super) fn new(keys: &'k [PublicKey], kept: &'k [Checkpoint]) -> Self {
        Self {
            keys,
            kept,
            seen: Verification::default(),
            log: None,
            every: 0,
            seq: 0,
            hash: Hash::NONE,
            origin: None,
            expired: Vec::new(),
            is_end: false,
            at: Place {
                file: PathBuf::new(),
                line: 1,
            },
        }
    }

    /// Proves the files with these numbers, each up to a length.
    pub(super) fn prove(mut self, directory: &Path, files: &[(u64, u64)]) -> Result<Verification> {
        let mut proven = Ok(());
        for (position, &(number, length)) in files.iter().enumerate() {
            self.at = Place {
                file: path_of(directory, number),
                line: 1,
            };
            proven = self.file(number, length, position + 1 == files.len())?;
            if proven.is_err() {
                break;
            }
        }
        if proven.is_ok() {
            proven = self.nothing_is_cut_off();
            self.seen.next_missing = files.last().filter(|_| self.is_end).map(|(number, _)| number + 1);
        }
        let mut seq = self.seq + 1;
        if proven.is_ok()
            && let Some(&(first, _)) = files.first()
        {
            proven = self.nothing_is_missing_before(first);
            if proven.is_err() {
                seq = self.origin.map_or(1, |(before, _)| before + 1);
                self.at = Place {
                    file: path_of(directory, first),
                    line: 1,
                };
            }
        }
        if let Err(problem) = proven {
            self.seen.finding = Some(Finding {
                file: self.at.file,
                line: self.at.line,
                seq,
                problem,
            });
        }
        Ok(self.seen)
    }

    /// Proves the lines of a table, which are those of one file.
    pub(super) fn prove_table(mut self, table: &mut dyn LineTable) -> Result<Verification> {
        let place = PathBuf::from(table.place());
        let last = table.last()?;
        if last == 0 {
            return Err(no_log_in(table));
        }
        self.seen.files = 1;
        let mut proven = Ok(());
        while proven.is_ok() && self.seq < last {
            let next = self.seq + 1;
            let lines = table.lines(next, PORTION.min(last - self.seq))?;
            if lines.is_empty() {
                proven = Err("the record is gone, and later ones are not".to_owned());
            }
            for (number, line) in lines {
                proven = if number == self.seq + 1 {
                    self.line(line.as_bytes(), 1, number == 1)
                } else {
                    Err(format!("the record that stands there has the number {number}"))
                };
                if proven.is_err() {
                    break;
                }
            }
        }
        if proven.is_ok() {
            proven = self.nothing_is_cut_off();
        }
        let seq = self.seq + 1;
        if let Err(problem) = proven {
            self.seen.finding = Some(Finding {
                file: place,
                line: seq,
                seq,
                problem,
            });
        }
        Ok(self.seen)
    }

    fn file(&mut self, number: u64, length: u64, is_last: bool) -> Result<Proven> {
        let path = self.at.file.clone();
        let read = |source| failed("read the audit log", &path, source);
        if self.origin.is_some() && !self.is_end {
            return Ok(Err("the file before this one was cut off, it has no last line".to_owned()));
        }
        self.is_end = false;
        self.seen.files += 1;
        let mut reader = BufReader::with_capacity(1 << 18, open_to_read(&path)?);
        let (mut left, mut line) = (length, Vec::new());
        let mut is_first = true;
        loop {
            match next_line(&mut reader, &mut left, &mut line).map_err(read)? {
                Found::Line(_) => {
                    if let Err(problem) = self.line(&line, number, is_first) {
                        return Ok(Err(problem));
                    }
                    is_first = false;
                    self.at.line += 1;
                }
                Found::Nothing if is_first => return Ok(Err("the file is empty".to_owned())),
                Found::Nothing => return Ok(Ok(())),
                found @ (Found::Unfinished | Found::TooLong) => {
                    let may_be_unfinished = is_last && !is_first && !self.is_end && left + line.len() as u64 <= MOST_UNFINISHED;
                    if may_be_unfinished {
                        // All of it, which is not longer than that.
                        let end = io::Read::take(&mut reader, left).read_to_end(&mut line);
                        end.map_err(read)?;
                        if !line.contains(&b'\n') && is_unfinished(&line) {
                            self.seen.unfinished = line.len() as u64;
                            return Ok(Ok(()));
                        }
                    }
                    let problem = match found {
                        Found::TooLong => "it is longer than any line",
                        _ => "it does not end as a line does",
                    };
                    return Ok(Err(problem.to_owned()));
                }
            }
        }
    }

    fn line(&mut self, text: &[u8], number: u64, is_first: bool) -> Proven {
        let line = Line::parse(text)?;
        if self.is_end {
            return Err("it comes after the last line of the file".to_owned());
        }
        if is_first && self.origin.is_none() {
            self.begin(&line, number)?;
        }
        if line.seq != self.seq + 1 {
            return Err(format!("the record that stands there has the number {}", line.seq));
        }
        if Hash::of(self.hash, line.body) != line.hash {
            return Err("the record was changed or is not the one that was there, its hash is another".to_owned());
        }
        self.event(&line, number, is_first)?;
        if let Some(kept) = self.kept.iter().find(|kept| kept.seq == line.seq)
            && kept.line.as_bytes() != text
        {
            return Err("the kept checkpoint of this number is another: the log was written anew".to_owned());
        }
        if line.signed.is_some() {
            self.seen.unsigned = 0;
            self.seen.checkpoint = Checkpoint::of(text);
        } else {
            self.seen.unsigned += 1;
            if self.seen.unsigned > self.every {
                return Err(format!(
                    "a signature is missing, there has to be one after {} lines",
                    self.every
                ));
            }
        }
        self.seq = line.seq;
        self.hash = line.hash;
        self.seen.lines += 1;
        Ok(())
    }

    /// Takes the first line of all. What came before it was deleted, lawfully or not: that is known at the end.
    fn begin(&mut self, line: &Line<'_>, number: u64) -> Proven {
        let Event::Begin { head, .. } = &line.event else {
            return Err("the file does not begin as a file does".to_owned());
        };
        self.hash = Hash::from_hex(head.as_bytes()).ok_or("it names no hash before it")?;
        self.seq = line.seq.checked_sub(1).ok_or("its number can't be zero")?;
        if number == 1 && (self.seq, self.hash) != (0, Hash::NONE) {
            return Err("the first file does not begin with the first record".to_owned());
        }
        self.origin = Some((self.seq, self.hash));
        Ok(())
    }

    fn event(&mut self, line: &Line<'_>, number: u64, is_first: bool) -> Proven {
        if matches!(line.event, Event::Begin { .. }) != is_first {
            return Err("it belongs at the beginning of a file, or something else does".to_owned());
        }
        match &line.event {
            Event::Begin {
                format,
                log,
                file,
                every,
                head,
                ..
            } => {
                if *format != FORMAT {
                    return Err(format!("the file is of format {format}, this program knows format {FORMAT}"));
                }
                if *file != number {
                    return Err(format!("the file was number {file} and was given another name"));
                }
                if self.log.get_or_insert_with(|| log.clone().into_owned()) != log {
                    return Err("the file is of another log".to_owned());
                }
                self.every = *every;
                self.signed(line, head)
            }
            Event::Checkpoint { log, head, .. } => {
                if self.log.as_deref() != Some(log) {
                    return Err("the checkpoint is of another log".to_owned());
                }
                self.signed(line, head)
            }
            Event::Expired {
                log,
                file,
                last,
                last_hash,
                head,
                ..
            } => {
                if self.log.as_deref() != Some(log) {
                    return Err("it is of another log".to_owned());
                }
                self.signed(line, head)?;
                let last_hash = Hash::from_hex(last_hash.as_bytes()).ok_or("it names no hash")?;
                self.expired.push((*file, *last, last_hash));
                Ok(())
            }
            _ if line.signed.is_some() => Err("it is signed, and records of its kind are not".to_owned()),
            Event::Access(access) => {
                if access.to_record(line.time).is_none() {
                    return Err("it says something that this program does not know".to_owned());
                }
                self.seen.accesses += 1;
                Ok(())
            }
            Event::Gap { dropped } => {
                self.seen.lost = self.seen.lost.saturating_add(*dropped);
                Ok(())
            }
            Event::Repair { .. } => {
                self.seen.repairs += 1;
                Ok(())
            }
            Event::Missing { last, .. } => Err(format!(
                "here the writer missed record {last}, which it had signed: the log that was there before was taken away, cut off or replaced"
            )),
            Event::End { next } => {
                if *next != number + 1 {
                    return Err(format!("it says that file {next} comes next"));
                }
                self.is_end = true;
                Ok(())
            }
        }
    }

    fn signed(&self, line: &Line<'_>, head: &str) -> Proven {
        if head != self.hash.to_hex() {
            return Err("it is signed for another place".to_owned());
        }
        let Some((body, signature)) = line.signed else {
            return Err("its signature is missing".to_owned());
        };
        if self.keys.iter().any(|key| key.proves(body, signature)) {
            return Ok(());
        }
        Err(
            "its signature is not of a known key; if the key was changed on purpose, the public keys of both prove the log"
                .to_owned(),
        )
    }

    fn nothing_is_missing_before(&mut self, first: u64) -> Proven {
        let Some((seq, hash)) = self.origin.filter(|_| first > 1) else {
            return Ok(());
        };
        // A writer that is killed while it deletes leaves some of the files.
        let is_lawful =
            |&(file, last, last_hash): &(u64, u64, Hash)| file >= first || (file, last, last_hash) == (first - 1, seq, hash);
        if !self.expired.iter().any(is_lawful) {
            return Err("the files before this one are missing, and the log does not say that they were old enough".to_owned());
        }
        if self
            .kept
            .iter()
            .any(|kept| kept.seq <= seq && self.log.as_deref() != Some(kept.log()))
        {
            return Err("a kept checkpoint is of another log: this one was begun anew".to_owned());
        }
        self.seen.expired = first - 1;
        self.seen.kept_expired = self.kept.iter().filter(|kept| kept.seq <= seq).count() as u64;
        Ok(())
    }

    fn nothing_is_cut_off(&self) -> Proven {
        match self.kept.iter().map(|kept| kept.seq).find(|&kept| kept > self.seq) {
            Some(kept) => Err(format!("the log was cut off here: it had record {kept} when that was signed")),
            None => Ok(()),
        }
    }
}
