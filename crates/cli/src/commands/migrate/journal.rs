//! Writing the report of a migration, as it goes.
//!
//! A report is a file of lines, each a JSON document, that only grows: who is killed leaves what was done until then. It holds names
//! and versions, no values. A line is in the file before the write that it announces is sent. The file is synced before the first
//! write, once a second, and at the end: after a power failure at most the last second of it is missing.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use keyfob::copy::{CopyEntry, CopyJournal, CopyOutcome, CopyReport, Undone};
use keyfob::{Error, ErrorKind, Result, Version};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::record::{About, Record};
use crate::time::rfc3339;

/// A line of a report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Event {
    /// A run begins.
    Run {
        format: u32,
        at: String,
        #[serde(flatten)]
        about: About,
        /// How many secrets the target had already.
        unchanged: usize,
    },
    /// A snapshot was made of what is about to be replaced.
    Backup(Backup),
    /// Nothing is written for a secret.
    Passed {
        name: String,
        outcome: String,
        why: Option<String>,
    },
    /// A secret is about to be written.
    Begun {
        name: String,
        /// Whether the target has something else, and not nothing.
        existed: bool,
        seen: Option<String>,
    },
    /// What was begun has ended.
    Ended {
        name: String,
        outcome: String,
        version: Option<String>,
        kind: Option<String>,
        why: Option<String>,
    },
    /// The run is over.
    Finished { at: String },
    /// Files are about to refer to what was migrated.
    Rewrite { files: Vec<PathBuf> },
    /// A secret was taken back.
    RolledBack {
        name: String,
        outcome: String,
        why: Option<String>,
    },
}

/// Where a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backup {
    pub(super) snapshot: String,
    pub(super) directory: PathBuf,
}

pub(super) const FORMAT: u32 = 1;

const SYNCED_EVERY: Duration = Duration::from_secs(1);

/// A report that is being written. Nobody else writes to it meanwhile.
pub(super) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    file: File,
    synced: Instant,
    /// Why a line could not be written: then nothing more is done.
    broken: Option<Error>,
}

impl Journal {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// `Conflict` when another process writes to it; those of the file system.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let cannot = |error: io::Error| failed("write the report", path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            // A link that somebody else put there must not choose which file grows.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(cannot)?;
        if !file.metadata().map_err(cannot)?.is_file() {
            return Err(cannot(io::ErrorKind::InvalidInput.into()));
        }
        if let Err(error) = file.try_lock() {
            return Err(match error {
                std::fs::TryLockError::WouldBlock => Error::new(ErrorKind::Conflict, "another migration writes this report")
                    .with("file", path.display().to_string())
                    .with_hint("wait until it is over, or name another report with `--report`"),
                std::fs::TryLockError::Error(error) => cannot(error),
            });
        }
        file.set_permissions(Permissions::from_mode(0o600)).map_err(cannot)?;
        cut_unfinished_line(&mut file).map_err(cannot)?;
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(State {
                file,
                synced: Instant::now(),
                broken: None,
            }),
        })
    }

    /// Begins a run, and says of what a run before it had begun whether it was written.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn begin(&self, about: &About, earlier: Option<&Record>, planned: &CopyReport) -> Result<()> {
        let is_unchanged = |entry: &&CopyEntry| matches!(entry.outcome, CopyOutcome::Unchanged);
        self.append(&Event::Run {
            format: FORMAT,
            at: rfc3339(SystemTime::now()),
            about: about.clone(),
            unchanged: planned.entries.iter().filter(is_unchanged).count(),
        })?;
        for entry in &planned.entries {
            let name = entry.name.to_string();
            let event = match &entry.outcome {
                CopyOutcome::Left(_) => Event::Passed {
                    name,
                    outcome: entry.outcome.as_str().to_owned(),
                    why: None,
                },
                CopyOutcome::Failed(error) => Event::Passed {
                    name,
                    outcome: entry.outcome.as_str().to_owned(),
                    why: Some(error.to_string()),
                },
                // A run that was killed wrote it, and could not say so any more.
                CopyOutcome::Unchanged => match earlier.and_then(|earlier| earlier.begun(&entry.name)) {
                    Some(outcome) => Event::Ended {
                        name,
                        outcome: outcome.to_owned(),
                        version: text(entry.seen.as_ref()),
                        kind: None,
                        why: None,
                    },
                    None => continue,
                },
                _ => continue,
            };
            self.append(&event)?;
        }
        self.sync()
    }

    /// Notes the snapshot, before anything is replaced.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn backed_up(&self, backup: &Backup) -> Result<()> {
        self.append(&Event::Backup(backup.clone()))?;
        self.sync()
    }

    /// Ends a run.
    ///
    /// # Errors
    /// Those of the file system, also of a line before.
    pub(super) fn finish(self) -> Result<()> {
        let at = rfc3339(SystemTime::now());
        self.append(&Event::Finished { at })?;
        self.sync()
    }

    /// Notes which files are about to be rewritten.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn rewrites(&self, files: Vec<PathBuf>) -> Result<()> {
        self.append(&Event::Rewrite { files })?;
        self.sync()
    }

    /// Notes what was taken back.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn rolled_back(&self, undone: &Undone) -> Result<()> {
        let why = match &undone.outcome {
            keyfob::copy::UndoOutcome::Failed(error) => Some(error.to_string()),
            _ => None,
        };
        self.append(&Event::RolledBack {
            name: undone.name.to_string(),
            outcome: undone.outcome.as_str().to_owned(),
            why,
        })
    }

    fn append(&self, event: &Event) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        let written = serde_json::to_vec(event).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            // One call for a whole line: a kill leaves no half of one.
            state.file.write_all(&line)?;
            if state.synced.elapsed() > SYNCED_EVERY {
                state.file.sync_data()?;
                state.synced = Instant::now();
            }
            Ok(())
        });
        written.map_err(|error| {
            let error = failed("write the report", &self.path, error).with_hint("nothing more was written to the target");
            state.broken = Some(error.clone());
            error
        })
    }

    fn sync(&self) -> Result<()> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .file
            .sync_data()
            .map_err(|error| failed("write the report", &self.path, error))
    }
}

impl CopyJournal for Journal {
    fn begins(&self, planned: &CopyEntry) -> Result<()> {
        self.append(&Event::Begun {
            name: planned.name.to_string(),
            existed: matches!(planned.outcome, CopyOutcome::Changed(_)),
            seen: text(planned.seen.as_ref()),
        })
    }

    fn ended(&self, entry: &CopyEntry) {
        let error = match &entry.outcome {
            CopyOutcome::Failed(error) => Some(error),
            _ => None,
        };
        // It is kept, and `finish` gives it.
        let _ = self.append(&Event::Ended {
            name: entry.name.to_string(),
            outcome: entry.outcome.as_str().to_owned(),
            version: text(entry.written.as_ref()),
            kind: error.map(|error| error.kind().as_str().to_owned()),
            why: error.map(ToString::to_string),
        });
    }
}

fn text(version: Option<&Version>) -> Option<String> {
    version.map(|version| version.as_str().to_owned())
}

/// What was killed in the middle of a line, or had no more room for one.
fn cut_unfinished_line(file: &mut File) -> io::Result<()> {
    let mut content = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut content)?;
    let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < content.len() {
        file.set_len(whole as u64)?;
    }
    Ok(())
}

pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
        _ => ErrorKind::Other,
    };
    Error::new(kind, format!("can't {what}"))
        .with("file", path.display().to_string())
        .with_source(error)
}
