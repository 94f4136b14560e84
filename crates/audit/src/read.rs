//! Reading the accesses of a log.

use std::collections::VecDeque;
use std::io::BufReader;
use std::path::PathBuf;

use keyfob_core::{AuditFilter, AuditRecord, Result};

use crate::line::{Event, Line};
use crate::permissions::failed;
use crate::segment::{Found, damaged, existing_numbers, next_line, numbers, open_to_read, path_of};
use crate::table::{LineTable, no_log_in};

/// Reads the accesses of a log one after the other, without proving anything: that is up to [`verify`](crate::verify).
///
/// At the end of the log it says `None`, and later, when more was written, it goes on: asked again and again it follows the
/// log.
#[derive(Debug)]
pub struct AuditReader {
    source: Source,
    filter: AuditFilter,
}

#[derive(Debug)]
enum Source {
    Files(Files),
    Table(Rows),
}

#[derive(Debug)]
struct Files {
    directory: PathBuf,
    /// The file that is read; 0 before the first.
    number: u64,
    reader: Option<BufReader<std::fs::File>>,
    /// The beginning of a line whose end is not written yet.
    line: Vec<u8>,
    is_end: bool,
}

#[derive(Debug)]
struct Rows {
    table: Box<dyn LineTable>,
    /// The number of the next line.
    next: u64,
    /// What was read already.
    ahead: VecDeque<(u64, String)>,
}

/// An access as a log has it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Logged {
    /// Its number in the log.
    pub seq: u64,
    /// The access.
    pub record: AuditRecord,
    /// The line itself, a JSON object without the newline.
    pub line: String,
}

impl AuditReader {
    /// Reads what `filter` lets through, from the oldest file on.
    ///
    /// # Errors
    /// `NotFound` when there is no log in `directory`, and what the file system says.
    pub fn open(directory: impl Into<PathBuf>, filter: AuditFilter) -> Result<Self> {
        let directory = directory.into();
        existing_numbers(&directory)?;
        Ok(Self {
            source: Source::Files(Files {
                directory,
                number: 0,
                reader: None,
                line: Vec::new(),
                is_end: false,
            }),
            filter,
        })
    }

    /// Reads what `filter` lets through from a table, from the first line on.
    ///
    /// # Errors
    /// `NotFound` when there is no log in the table, and what the database says.
    pub fn of_table(mut table: Box<dyn LineTable>, filter: AuditFilter) -> Result<Self> {
        if table.last()? == 0 {
            return Err(no_log_in(&*table));
        }
        let rows = Rows {
            table,
            next: 1,
            ahead: VecDeque::new(),
        };
        Ok(Self {
            source: Source::Table(rows),
            filter,
        })
    }

    /// The next access, or `None` when there is none yet.
    ///
    /// # Errors
    /// `Corrupt` for a line that is none of this format; reading goes on after it. And what the file system or the database says.
    #[expect(clippy::should_implement_trait, reason = "it goes on after `None`, which no iterator does")]
    pub fn next(&mut self) -> Result<Option<Logged>> {
        loop {
            let line = match &mut self.source {
                Source::Files(files) => files.next()?,
                Source::Table(rows) => rows.next()?,
            };
            let Some(line) = line else {
                return Ok(None);
            };
            let place = match &self.source {
                Source::Files(files) => path_of(&files.directory, files.number),
                Source::Table(rows) => rows.table.place().into(),
            };
            let parsed = Line::parse(&line).map_err(|problem| damaged(&place, problem))?;
            match &parsed.event {
                Event::End { .. } => {
                    if let Source::Files(files) = &mut self.source {
                        files.is_end = true;
                    }
                }
                Event::Access(access) => {
                    let Some(record) = access.to_record(parsed.time) else {
                        return Err(damaged(&place, "a record says something that this program does not know"));
                    };
                    if self.filter.matches(&record) {
                        let seq = parsed.seq;
                        let line = String::from_utf8(line).map_err(|_| damaged(&place, "a line is not UTF-8"))?;
                        return Ok(Some(Logged { seq, record, line }));
                    }
                }
                _ => {}
            }
        }
    }
}

/// How many lines of a table are read at once.
const PORTION: u64 = 1000;

impl Rows {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.ahead.is_empty() {
            self.ahead = self.table.lines(self.next, PORTION)?.into();
        }
        let Some((number, line)) = self.ahead.pop_front() else {
            return Ok(None);
        };
        self.next = number + 1;
        Ok(Some(line.into_bytes()))
    }
}

impl Files {
    /// The next line of the log.
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if self.reader.is_none() && !self.open_next()? {
                return Ok(None);
            }
            match self.next_line()? {
                Some(line) => return Ok(Some(line)),
                None if !self.is_end => return Ok(None),
                None => {
                    self.reader = None;
                    self.is_end = false;
                }
            }
        }
    }

    fn open_next(&mut self) -> Result<bool> {
        let next = numbers(&self.directory)?.into_iter().find(|&number| number > self.number);
        let Some(next) = next else {
            return Ok(false);
        };
        self.reader = Some(BufReader::new(open_to_read(&path_of(&self.directory, next))?));
        self.number = next;
        self.line.clear();
        Ok(true)
    }

    /// The next whole line; what there is of an unfinished one is kept for the next time.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>> {
        let path = path_of(&self.directory, self.number);
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let (mut part, mut unlimited) = (Vec::new(), u64::MAX);
        let found = next_line(reader, &mut unlimited, &mut part).map_err(|source| failed("read the audit log", &path, source))?;
        self.line.append(&mut part);
        match found {
            Found::Line(_) => Ok(Some(std::mem::take(&mut self.line))),
            Found::TooLong if self.line.len() >= crate::line::MAX_LINE => {
                self.line.clear();
                Err(damaged(&path, "a line is too long"))
            }
            Found::TooLong | Found::Unfinished | Found::Nothing => Ok(None),
        }
    }
}
