//! The proof that a log is as its writers left it.

mod prover;

use std::fmt;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use keyfob_core::{Error, ErrorKind, Result};

use crate::keys::PublicKey;
use crate::line::{Event, Hash, Line};
use crate::permissions::failed;
use crate::remembered::{Place, records};
use crate::segment::{Found, Sought, is_signed, next_line, open_to_read, path_of, seek, snapshot};
use crate::table::LineTable;
use prover::Prover;

/// A signed line of a log, to be kept where the log's writer can't reach it: whatever comes before it in the log can't be
/// changed, deleted or cut off any more without [`verify`] finding it.
///
/// `Display` and `FromStr` are one line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    seq: u64,
    line: String,
    log: String,
    hash: Hash,
}

impl Checkpoint {
    /// A signed line.
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        let parsed = Line::parse(line).ok()?;
        parsed.signed?;
        let log = match &parsed.event {
            Event::Begin { log, .. } | Event::Checkpoint { log, .. } | Event::Expired { log, .. } => log.clone().into_owned(),
            _ => return None,
        };
        Some(Self {
            seq: parsed.seq,
            line: std::str::from_utf8(line).ok()?.to_owned(),
            log,
            hash: parsed.hash,
        })
    }

    /// What keyfob remembers in `state_directory` of the log in `directory`: the last signed line that it has written there. `None` where
    /// it never has, or not on this machine and not for this user.
    ///
    /// # Errors
    /// `Corrupt` when the record is damaged, `PermissionDenied` or `InvalidConfig` when it can't be read.
    pub fn remembered(state_directory: &Path, directory: &Path) -> Result<Option<Self>> {
        Place::of_directory(directory).remembered(state_directory)
    }

    /// The same of the log in a table.
    ///
    /// # Errors
    /// Those of [`remembered`](Self::remembered).
    pub fn remembered_of_table(state_directory: &Path, table: &dyn LineTable) -> Result<Option<Self>> {
        Place::of_table(table).remembered(state_directory)
    }

    /// Makes sure that the log in `directory`, whose last checkpoint this is, still has an `earlier` one, without proving what is between them.
    ///
    /// # Errors
    /// `Corrupt` when it was cut off or replaced, and what the file system says.
    pub fn follows(&self, earlier: &Self, directory: &Path) -> Result<()> {
        self.still_has(earlier, &directory.display().to_string(), || seek(directory, earlier.seq))
    }

    /// The same of the log in a table.
    ///
    /// # Errors
    /// `Corrupt` when it was cut off or replaced, and what the database says.
    pub fn follows_in_table(&self, earlier: &Self, table: &mut dyn LineTable) -> Result<()> {
        self.still_has(earlier, &table.place(), || {
            let lines = table.lines(earlier.seq, 1)?;
            let line = lines.first().filter(|(number, _)| *number == earlier.seq);
            let line = line.and_then(|(_, line)| Line::parse(line.as_bytes()).ok());
            Ok(line.map_or(Sought::Missing, |line| Sought::There(line.hash)))
        })
    }

    fn still_has(&self, earlier: &Self, place: &str, seek: impl FnOnce() -> Result<Sought>) -> Result<()> {
        let seq = earlier.seq;
        let problem = if self.log != earlier.log {
            format!("another log is in the place of the one with {}", records(seq))
        } else if self.seq < seq {
            format!("it had {}, and its last signature is now record {}", records(seq), self.seq)
        } else {
            match seek()? {
                Sought::There(hash) if hash == earlier.hash => return Ok(()),
                // The files were old enough, as far as can be said in passing.
                Sought::Expired => return Ok(()),
                Sought::There(_) => format!("record {seq} is another than the one that was signed"),
                Sought::Missing => format!("record {seq} was signed, and is gone"),
            }
        };
        let error = Error::new(
            ErrorKind::Corrupt,
            format!("the audit log is not the one that was here: {problem}"),
        );
        let hint = "no checkpoint is worth keeping before `keyfob audit verify` has shown what is wrong";
        Err(error.with("log", place.to_owned()).with_hint(hint))
    }

    /// The random number of its log.
    pub(crate) fn log(&self) -> &str {
        &self.log
    }

    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// The number of the line.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl FromStr for Checkpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::of(text.trim().as_bytes()).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "this is not a checkpoint of an audit log")
                .with_hint("it is one line of JSON with a signature and a hash")
        })
    }
}

/// What [`verify`] found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
#[must_use = "a log that was read is not yet a log that is intact"]
pub struct Verification {
    /// What is wrong, at the first place where something is. `None`: the log is intact, up to what the fields below say.
    pub finding: Option<Finding>,
    /// The files that were read.
    pub files: u64,
    /// The lines that are right.
    pub lines: u64,
    /// The accesses among them.
    pub accesses: u64,
    /// The last signed line: worth keeping elsewhere.
    pub checkpoint: Option<Checkpoint>,
    /// How many lines come after it. Whoever can write to the files can change these and not be found out.
    pub unsigned: u64,
    /// How many bytes of an unfinished line stand at the end: a writer was killed there. The next writer cuts them off.
    pub unfinished: u64,
    /// How often a writer cut off an unfinished line.
    pub repairs: u64,
    /// How many accesses were not recorded, as the log's writers say themselves.
    pub lost: u64,
    /// How many files were deleted because they were old enough, as the log's writers say and have signed.
    pub expired: u64,
    /// How many of the kept checkpoints were in such a file, and so prove nothing any more.
    pub kept_expired: u64,
    /// The number of a file that the log says comes next and that is not there: it was deleted, or its writer was killed before it
    /// made it.
    pub next_missing: Option<u64>,
}

impl Verification {
    /// Whether nothing was changed.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.finding.is_none()
    }
}

/// The first place in a log that is not as its writers left it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: u64,
    /// The number that the record there should have.
    pub seq: u64,
    /// What is wrong with it, in words.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            seq,
            problem,
        } = self;
        write!(f, "{}:{line}: record {seq}: {problem}", file.display())
    }
}

/// Reads the log in `directory` and proves every line.
///
/// A signature is right if one of `keys` made it; they must not come from where the log comes from. Every checkpoint in
/// `kept` has to be in the log, or in a file that was deleted lawfully. Without one, what was cut off the log's end is not
/// missed.
///
/// Writers may go on meanwhile: what they add after the start is not looked at.
///
/// # Errors
/// `NotFound` when there is no log, `InvalidInput` without keys, and what the file system says. What is wrong with the log
/// is no error but [`Verification::finding`].
pub fn verify(directory: impl AsRef<Path>, keys: &[PublicKey], kept: &[Checkpoint]) -> Result<Verification> {
    check_keys(keys)?;
    let directory = directory.as_ref();
    Prover::new(keys, kept).prove(directory, &snapshot(directory)?)
}

/// The same for a log in a table of a database.
///
/// # Errors
/// `NotFound` when there is no log, `InvalidInput` without keys, and what the database says.
pub fn verify_table(table: &mut dyn LineTable, keys: &[PublicKey], kept: &[Checkpoint]) -> Result<Verification> {
    check_keys(keys)?;
    Prover::new(keys, kept).prove_table(table)
}

fn check_keys(keys: &[PublicKey]) -> Result<()> {
    if keys.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "a log can't be verified without the public key of its writer",
        ));
    }
    Ok(())
}

/// The last signed line of the log in `directory`, to be kept elsewhere. Proves no more than that one of `keys` made the
/// signature.
///
/// # Errors
/// `NotFound` when there is no log or no signature in it, `Corrupt` when the signature is none of `keys`, and what the file
/// system says.
pub fn checkpoint(directory: impl AsRef<Path>, keys: &[PublicKey]) -> Result<Checkpoint> {
    let directory = directory.as_ref();
    for (number, length) in snapshot(directory)?.into_iter().rev() {
        let path = path_of(directory, number);
        let read = |source| failed("read the audit log", &path, source);
        let mut reader = BufReader::new(open_to_read(&path)?);
        let (mut left, mut line, mut last) = (length, Vec::new(), None);
        while let Found::Line(_) = next_line(&mut reader, &mut left, &mut line).map_err(read)? {
            if is_signed(&line) {
                last = Some(std::mem::take(&mut line));
            }
        }
        if let Some(last) = last {
            return proven(last, keys, path.display().to_string());
        }
    }
    Err(Error::new(ErrorKind::NotFound, "the audit log has no checkpoint"))
}

/// The last signed line of the log in a table, as [`checkpoint`] gives it.
///
/// # Errors
/// `NotFound` when there is no log or no signature in it, `Corrupt` when the signature is none of `keys`, and what the database says.
pub fn checkpoint_of_table(table: &mut dyn LineTable, keys: &[PublicKey]) -> Result<Checkpoint> {
    const PORTION: u64 = 1000;
    let mut end = table.last()?;
    while end > 0 {
        let first = end.saturating_sub(PORTION) + 1;
        let lines = table.lines(first, end - first + 1)?;
        if let Some((_, last)) = lines.into_iter().rfind(|(_, line)| is_signed(line.as_bytes())) {
            return proven(last.into_bytes(), keys, table.place());
        }
        end = first - 1;
    }
    Err(Error::new(ErrorKind::NotFound, "the audit log has no checkpoint"))
}

/// A signed line as a checkpoint, if one of `keys` has signed it.
fn proven(line: Vec<u8>, keys: &[PublicKey], place: String) -> Result<Checkpoint> {
    let is_proven = Line::parse(&line)
        .ok()
        .and_then(|line| line.signed)
        .is_some_and(|(body, signature)| keys.iter().any(|key| key.proves(body, signature)));
    match String::from_utf8(line) {
        Ok(text) if is_proven => text.parse(),
        _ => Err(Error::new(
            ErrorKind::Corrupt,
            "the last checkpoint of the audit log is not signed by a known key",
        )
        .with("file", place)
        .with_hint("`keyfob audit verify` shows what is wrong")),
    }
}
