//! The last signed line of a log, remembered outside of it.
//!
//! A log that was begun anew, or cut off at its end, is intact in itself. What tells it apart is this record in the user's state
//! directory: the line itself, which is a kept checkpoint that nobody has to keep. It is written after the line is on the disk of the log, and
//! only ever forward, so that a kill leaves it behind and never ahead. Each place of a log has a record of its own: a copy of a log at another
//! place is no replacement of it.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use keyfob_core::adapter::{OpenedRecord, Remembering};
use keyfob_core::{Error, ErrorKind, Result};

use crate::line::MAX_LINE;
use crate::table::LineTable;
use crate::verify::Checkpoint;

const RECORD: Remembering = Remembering {
    record: "the record of the audit log's last checkpoint",
    unnoticed: "it would not be noticed if the audit log was deleted or cut off",
    trusted: "the audit log",
};

/// The record of one log.
pub(crate) struct Memory {
    path: PathBuf,
    /// `None` when it can't be made.
    file: Option<File>,
    is_writable: bool,
}

impl Memory {
    /// Opens or makes the record of the log at `place`. That it can't be made is no error.
    ///
    /// # Errors
    /// `PermissionDenied` or `InvalidConfig` when there is a directory or a record that can't be read.
    pub(crate) fn open(directory: &Path, place: &Place) -> Result<Self> {
        let path = directory.join(place.file_name());
        let (file, is_writable) = match RECORD.open(&path)? {
            OpenedRecord::Writable(file) => (Some(file), true),
            OpenedRecord::ReadOnly(file, why) => {
                tracing::info!(target: "keyfob", "{why}");
                (Some(file), false)
            }
            OpenedRecord::Unmade(why) => {
                tracing::info!(target: "keyfob", "{why}: {}", RECORD.unnoticed);
                (None, false)
            }
        };
        Ok(Self { path, file, is_writable })
    }

    /// What is remembered, if anything is.
    ///
    /// # Errors
    /// `Corrupt` when it is no signed line.
    pub(crate) fn read(&self) -> Result<Option<Checkpoint>> {
        let Some(file) = &self.file else { return Ok(None) };
        // A write by another process may have been seen in half.
        let again = |_| {
            let _lock = RECORD.lock_shared(file)?;
            read(file)
        };
        read(file).or_else(again).map_err(|error| {
            let path = self.path.display();
            let hint = format!("this says nothing about the log itself; once `keyfob audit verify` finds that intact, best with a kept checkpoint, remove `{path}`: it is made anew");
            error.with("file", path.to_string()).with_hint(hint)
        })
    }

    /// The same, but where accesses need not be durable a damaged record is told and made anew with the next signature.
    pub(crate) fn read_or_tell(&self, is_durable: bool) -> Result<Option<Checkpoint>> {
        match self.read() {
            Err(error) if error.kind() == ErrorKind::Corrupt && !is_durable => {
                tracing::warn!(target: "keyfob", %error, "it can't be said whether the audit log is the one that was here");
                Ok(None)
            }
            read => read,
        }
    }

    /// Remembers a signed line that is on the disk, unless a later one of its log or one of another log is remembered. The log is
    /// as it should be, so a failure is not the caller's: it is told, and the record stays behind.
    pub(crate) fn remember(&self, signed: &Checkpoint) {
        self.write(signed, |present| {
            present.log() == signed.log() && present.seq() < signed.seq()
        });
    }

    /// The same, whatever is remembered.
    pub(crate) fn replace(&self, signed: &Checkpoint) {
        self.write(signed, |_| true);
    }

    fn write(&self, signed: &Checkpoint, may_replace: impl FnOnce(&Checkpoint) -> bool) {
        let Some(file) = self.file.as_ref().filter(|_| self.is_writable) else {
            return;
        };
        let write = || -> Result<()> {
            let _lock = RECORD.lock_exclusive(file)?;
            if let Ok(Some(present)) = read(file)
                && !may_replace(&present)
            {
                return Ok(());
            }
            let text = format!("{signed}\n");
            // In one go, in place; what is left of a longer one comes after the end of the line.
            let written = file
                .write_all_at(text.as_bytes(), 0)
                .and_then(|()| file.set_len(text.len() as u64));
            written.map_err(|error| RECORD.unusable(error, "written"))
        };
        if let Err(error) = write() {
            tracing::warn!(target: "keyfob", %error, "the checkpoint of the audit log can't be remembered");
        }
    }

    /// An error about a log that is not the one that was remembered.
    pub(crate) fn contradicts(&self, place: &str, problem: &str) -> Error {
        let error = Error::new(
            ErrorKind::Corrupt,
            format!("the audit log is not the one that was here: {problem}"),
        );
        let record = self.path.display().to_string();
        let hint = format!(
            "bring the log back, or keep what is there as evidence and begin a log elsewhere; if it was taken away on purpose, remove `{record}`"
        );
        error.with("log", place.to_owned()).with("record", record).with_hint(hint)
    }
}

/// So many records, in words.
pub(crate) fn records(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} record{plural}")
}

/// Tells of a log that is not the one that was remembered, where that is not refused.
pub(crate) fn tell_missing(error: &Error) {
    tracing::warn!(target: "keyfob", %error, "audit records are gone, and the log goes on with a mark");
}

/// Where a log is.
pub(crate) struct Place(Vec<u8>);

impl Place {
    /// Of a log in a directory: the real one, wherever links lead.
    pub(crate) fn of_directory(directory: &Path) -> Self {
        let in_real_directory = || {
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = fs::canonicalize(parent.unwrap_or(Path::new("."))).ok()?;
            Some(parent.join(directory.file_name()?))
        };
        let path = fs::canonicalize(directory)
            .ok()
            .or_else(in_real_directory)
            .or_else(|| std::path::absolute(directory).ok())
            .unwrap_or_else(|| directory.to_owned());
        Self([b"directory:", path.as_os_str().as_bytes()].concat())
    }

    pub(crate) fn of_table(table: &dyn LineTable) -> Self {
        Self(format!("table:{}", table.place()).into_bytes())
    }

    /// `PLACE.audit`, with eight bytes of its digest.
    fn file_name(&self) -> String {
        format!("{}.audit", HEXLOWER.encode(&digest(&SHA256, &self.0).as_ref()[..8]))
    }

    /// What is remembered of it in a state directory, in which nothing is made.
    pub(crate) fn remembered(&self, directory: &Path) -> Result<Option<Checkpoint>> {
        match self.memory(directory)? {
            Some(memory) => memory.read(),
            None => Ok(None),
        }
    }

    /// The record of it in a state directory, to be read, if there is one.
    pub(crate) fn memory(&self, directory: &Path) -> Result<Option<Memory>> {
        let path = directory.join(self.file_name());
        let file = RECORD.open_existing(&path)?;
        Ok(file.map(|file| Memory {
            path,
            file: Some(file),
            is_writable: false,
        }))
    }
}

fn read(file: &File) -> Result<Option<Checkpoint>> {
    let mut bytes = vec![0; MAX_LINE];
    let filled = RECORD.read(file, &mut bytes)?;
    if filled == 0 {
        return Ok(None);
    }
    let line = bytes[..filled].split(|&byte| byte == b'\n').next().unwrap_or_default();
    let checkpoint = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
    checkpoint.map(Some).ok_or_else(|| {
        let problem = "the record of the audit log's last checkpoint is damaged";
        Error::new(ErrorKind::Corrupt, problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Batch, Chain};
    use crate::keys::SigningKey;
    use crate::line::Hash;

    /// A signed line of a log.
    fn signed(log: &str, seq: u64) -> Checkpoint {
        let chain = Chain {
            log: log.into(),
            every: 10,
            seq: seq - 1,
            hash: Hash::NONE,
            unsigned: 1,
        };
        let key = SigningKey::generate().unwrap();
        let mut batch = Batch::new(&key, std::time::UNIX_EPOCH, chain);
        batch.checkpoint();
        batch.signed.unwrap()
    }

    #[test]
    fn it_goes_forward_in_its_log_and_never_back() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::of_directory(Path::new("/log"));
        let memory = Memory::open(directory.path(), &place).unwrap();
        assert_eq!(memory.read().unwrap(), None);
        for (log, write, expected) in [("a", 1_000_000, 1_000_000), ("a", 9, 1_000_000), ("b", 2_000_000, 1_000_000)] {
            memory.remember(&signed(log, write));
            let told = place.remembered(directory.path()).unwrap().unwrap();
            assert_eq!((told.log(), told.seq()), ("a", expected));
        }
        // A shorter line leaves nothing of the longer one.
        memory.replace(&signed("b", 2));
        memory.remember(&signed("b", 3));
        let told = place.remembered(directory.path()).unwrap().unwrap();
        assert_eq!((told.log(), told.seq()), ("b", 3));
        let other = Place::of_directory(Path::new("/log2"));
        assert_eq!(other.remembered(directory.path()).unwrap(), None);
    }

    #[test]
    fn what_is_damaged_is_told_and_no_directory_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::of_directory(Path::new("/log"));
        let memory = Memory::open(directory.path(), &place).unwrap();
        fs::write(&memory.path, "{}\n").unwrap();
        let error = memory.read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.hint().unwrap().contains(".audit"), "{error:?}");
        let nowhere = Memory::open(Path::new("/dev/null/x"), &place).unwrap();
        nowhere.remember(&signed("a", 1));
        assert_eq!(nowhere.read().unwrap(), None);
        assert_eq!(place.remembered(Path::new("/dev/null/x")).unwrap(), None);
    }
}
