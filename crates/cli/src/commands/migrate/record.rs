//! Reading the report of a migration.
//!
//! What several runs wrote to one secret counts as one, as long as each found what the one before had written: then it is taken back to
//! what was there before the first. Where somebody else changed it in between, what they wrote is what was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use keyfob::{Error, ErrorKind, Result, SecretName, StoreUrl, Version};
use serde::{Deserialize, Serialize};

use super::journal::{Backup, Event, FORMAT, failed};
use crate::transfer::Opened;

/// The stores of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) from: Place,
    pub(super) to: Place,
}

/// A store of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// What the command line said; `None` when it held a secret.
    pub(super) store: Option<String>,
    /// Which place that was, safe to show.
    pub(super) place: String,
}

impl Place {
    pub(super) fn of(text: &str, opened: &Opened) -> Self {
        let info = opened.store.info();
        let place = match info.location.strip_prefix('/') {
            Some(_) => format!("{}:{}", info.scheme, canonical(Path::new(&info.location)).display()),
            None if opened.place.contains(info.location.as_str()) => opened.place.clone(),
            None => format!("{} ({})", opened.place, info.location),
        };
        let urls = text.split(',').map(str::trim).filter(|text| text.contains(':'));
        let holds_secret = urls
            .into_iter()
            .any(|url| StoreUrl::parse(url).map_or(true, |url| url.text().is_none() || url.to_string().contains("***")));
        Self {
            store: (!holds_secret).then(|| text.to_owned()),
            place,
        }
    }
}

/// The path of a file, which need not be there, however it was written.
fn canonical(path: &Path) -> PathBuf {
    let directory = path.parent().and_then(|parent| parent.canonicalize().ok());
    let by_directory = || Some(directory?.join(path.file_name()?));
    path.canonicalize()
        .ok()
        .or_else(by_directory)
        .unwrap_or_else(|| path.to_owned())
}

/// What a report says.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) about: About,
    pub(super) runs: Vec<Run>,
    pub(super) entries: BTreeMap<SecretName, Entry>,
    /// The files that were made to refer to them.
    pub(super) files: BTreeSet<PathBuf>,
}

/// One call of `keyfob migrate`.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) begun: String,
    /// `None` when it was killed, or runs.
    pub(super) finished: Option<String>,
    pub(super) unchanged: usize,
    pub(super) backup: Option<Backup>,
}

/// What a report says of a secret.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// The last that was said; empty for what was begun and not ended.
    pub(super) outcome: String,
    pub(super) why: Option<String>,
    pub(super) rolled_back: Option<String>,
    pub(super) wrote: Option<Written>,
    /// What holds if the write that was begun has not happened.
    before_begun: Option<Written>,
}

/// What was written to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    /// Whether there was something before.
    pub(super) existed: bool,
    /// The run that found it so.
    pub(super) run: usize,
    /// The last version that was made; `None` when none is known, or the store gives none.
    pub(super) version: Option<Version>,
    /// Whether nobody knows if the last write happened.
    pub(super) open: bool,
}

impl Record {
    /// Reads a report. A last line that is not whole is none.
    ///
    /// # Errors
    /// `NotFound` and others of the file system; `Corrupt` when it is no report.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|error| failed("read the report", path, error))?;
        let corrupt = |line: usize| {
            Error::new(ErrorKind::Corrupt, "this is no report of a migration")
                .with("file", path.display().to_string())
                .with("line", line.to_string())
        };
        let mut lines = text
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.ends_with(b"\n"));
        let mut record: Option<Self> = None;
        for (number, line) in lines.by_ref().enumerate() {
            let event: Event = serde_json::from_slice(line).map_err(|_| corrupt(number + 1))?;
            match (&mut record, event) {
                (
                    record,
                    Event::Run {
                        format,
                        at,
                        about,
                        unchanged,
                    },
                ) => {
                    if format != FORMAT {
                        let error = Error::new(ErrorKind::Unsupported, "a newer keyfob wrote this report");
                        return Err(error.with("file", path.display().to_string()));
                    }
                    let run = Run {
                        begun: at,
                        finished: None,
                        unchanged,
                        backup: None,
                    };
                    let record = record.get_or_insert_with(|| Self {
                        about,
                        runs: Vec::new(),
                        entries: BTreeMap::new(),
                        files: BTreeSet::new(),
                    });
                    record.runs.push(run);
                }
                (Some(record), event) => record.take(event).ok_or_else(|| corrupt(number + 1))?,
                (None, _) => return Err(corrupt(number + 1)),
            }
        }
        record.ok_or_else(|| corrupt(1))
    }

    /// The same; `None` when there is no such file, or an empty one.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub(super) fn read_if_there(path: &Path) -> Result<Option<Self>> {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(facts) if facts.is_file() && facts.len() == 0 => Ok(None),
            _ => Self::read(path).map(Some),
        }
    }

    /// Whether it is of these stores.
    ///
    /// # Errors
    /// `Conflict` when it is not.
    pub(super) fn check(&self, path: &Path, about: &About) -> Result<()> {
        if (&self.about.from.place, &self.about.to.place) == (&about.from.place, &about.to.place) {
            return Ok(());
        }
        let problem = format!(
            "the report is of another migration, from {} to {}",
            self.about.from.place, self.about.to.place
        );
        Err(Error::new(ErrorKind::Conflict, problem)
            .with("file", path.display().to_string())
            .with_hint("name another report with `--report`"))
    }

    /// What would have become of a secret whose write was begun, and not ended.
    pub(super) fn begun(&self, name: &SecretName) -> Option<&'static str> {
        let wrote = self.entries.get(name)?.wrote.as_ref().filter(|wrote| wrote.open)?;
        Some(if wrote.existed { "changed" } else { "created" })
    }

    fn take(&mut self, event: Event) -> Option<()> {
        let run = self.runs.len() - 1;
        match event {
            Event::Run { .. } => return None,
            Event::Backup(backup) => self.runs.last_mut()?.backup = Some(backup),
            Event::Finished { at } => self.runs.last_mut()?.finished = Some(at),
            Event::Rewrite { files } => self.files.extend(files),
            Event::Passed { name, outcome, why } => {
                let entry = self.entry(&name)?;
                (entry.outcome, entry.why) = (outcome, why);
            }
            Event::Begun { name, existed, seen } => {
                let entry = self.entry(&name)?;
                let seen = seen.map(Version::new).transpose().ok()?;
                entry.before_begun = entry.wrote.take();
                let goes_on = entry
                    .before_begun
                    .clone()
                    .filter(|wrote| seen.is_some() && wrote.version == seen);
                let anew = Written {
                    existed,
                    run,
                    version: None,
                    open: true,
                };
                entry.wrote = Some(goes_on.map_or(anew, |wrote| Written { open: true, ..wrote }));
                (entry.outcome, entry.why, entry.rolled_back) = (String::new(), None, None);
            }
            Event::Ended {
                name,
                outcome,
                version,
                kind,
                why,
            } => {
                let entry = self.entry(&name)?;
                let version = version.map(Version::new).transpose().ok()?;
                let is_unknown = kind.as_deref() == Some(ErrorKind::Timeout.as_str());
                let is_written = matches!(outcome.as_str(), "created" | "changed");
                let begun = entry.wrote.take();
                entry.wrote = match version {
                    Some(version) => begun.map(|wrote| Written {
                        version: Some(version),
                        open: false,
                        ..wrote
                    }),
                    // Of a store that gives no versions.
                    None if is_written => begun.map(|wrote| Written {
                        version: None,
                        open: false,
                        ..wrote
                    }),
                    None if is_unknown => begun,
                    None => entry.before_begun.take(),
                };
                (entry.outcome, entry.why) = (outcome, why);
            }
            Event::RolledBack { name, outcome, why } => {
                let entry = self.entry(&name)?;
                (entry.rolled_back, entry.why) = (Some(outcome), why);
            }
        }
        Some(())
    }

    fn entry(&mut self, name: &str) -> Option<&mut Entry> {
        Some(self.entries.entry(SecretName::new(name).ok()?).or_default())
    }
}
