//! Which log is meant, and which keys prove it.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use keyfob::{AuditFilter, AuditSettings, AuditStore, Error, ErrorKind, Result, read_configuration};
use keyfob_audit::{AuditReader, Checkpoint, PublicKey, Verification, checkpoint, checkpoint_of_table, verify, verify_table};
use keyfob_sql::audit_table_to_read;

use crate::context::Context;
use crate::exit::Failure;

// The log on the command line. No documentation: the parser would take it for that of the command.
#[derive(Debug, Clone, Args)]
pub(super) struct LogArgs {
    /// The directory of the log, or the database that keeps it. Without it, the one in which accesses are recorded here; where they
    /// are recorded in both, `verify` proves both, and other commands take the directory and say so
    #[arg(value_name = "DIRECTORY|URL")]
    log: Option<String>,
}

/// A log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Log {
    Directory(PathBuf),
    Database(AuditStore),
}

// The keys that prove it.
#[derive(Debug, Clone, Args)]
pub(super) struct KeyArgs {
    /// A file with the public key of the log's writer; can be given several times
    ///
    /// Without it, the one that `keyfob audit init` made beside the signing key, which proves nothing to somebody who doubts
    /// whoever can write there
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
}

impl LogArgs {
    /// The log that is named, else all that are kept here: at least one.
    pub(super) fn logs(&self, context: &Context) -> Result<Vec<Log>, Failure> {
        if let Some(text) = &self.log {
            return Ok(vec![Log::named(text, context)?]);
        }
        let settings = settings(context)?;
        let directory = settings.directory.map(Log::Directory);
        let logs: Vec<Log> = directory.into_iter().chain(settings.store.map(Log::Database)).collect();
        if logs.is_empty() {
            return Err(Failure::usage(
                "no audit log is named, and none is kept here",
                "name its directory; `keyfob audit init DIRECTORY` makes one",
            ));
        }
        Ok(logs)
    }

    /// The one log that is meant. Of several that have the same records the first, and the others are told.
    pub(super) fn log(&self, context: &Context) -> Result<Log, Failure> {
        let mut logs = self.logs(context)?;
        let log = logs.remove(0);
        for other in logs {
            let note = format!("this is of the log in `{log}`; accesses are recorded in `{other}` too: name it to see that one");
            context.printer().note(note);
        }
        Ok(log)
    }
}

/// Where it is.
impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Database(store) => store.url().fmt(f),
        }
    }
}

impl Log {
    /// The log that `text` means.
    pub(super) fn named(text: &str, context: &Context) -> Result<Self, Failure> {
        let environment = context.environment();
        if text.is_empty() {
            return Err(Failure::usage("the name of the log is empty", "name its directory"));
        }
        match (AuditStore::parse(text), environment.current_dir()) {
            (Some(store), Some(directory)) => Ok(Self::Database(store.below(directory))),
            (Some(store), None) => Ok(Self::Database(store)),
            // Not repeated: it may hold a password.
            (None, _) if text.contains("://") => Err(Failure::usage(
                "this URL is none of a database that can keep an audit log, or it holds a password",
                "name `sqlite:FILE`, or `postgres://USER@HOST/DATABASE` with the password in `PGPASSWORD` or `~/.pgpass`",
            )),
            (None, _) => Ok(Self::Directory(environment.absolute(text))),
        }
    }

    /// # Errors
    /// [`Failure::NoLog`] when there is none, and those of reading it.
    pub(super) fn reader(&self, filter: AuditFilter, context: &Context) -> Result<AuditReader, Failure> {
        let reader = match self {
            Self::Directory(directory) => AuditReader::open(directory, filter),
            Self::Database(store) => {
                audit_table_to_read(store.url(), context.environment()).and_then(|table| AuditReader::of_table(table, filter))
            }
        };
        reader.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::NoLog(error),
            _ => Failure::Error(error),
        })
    }

    /// The last signature that keyfob has made here, as this machine and user remember it.
    pub(super) fn remembered(&self, context: &Context) -> Result<Option<Checkpoint>> {
        let environment = context.environment();
        let Some(state) = environment.state_directory()? else {
            return Ok(None);
        };
        match self {
            Self::Directory(directory) => Checkpoint::remembered(&state, directory),
            Self::Database(store) => Checkpoint::remembered_of_table(&state, &*audit_table_to_read(store.url(), environment)?),
        }
    }

    /// The same; a record that is damaged is told and counts as none.
    pub(super) fn remembered_or_told(&self, context: &Context) -> Result<Option<Checkpoint>> {
        match self.remembered(context) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                context.printer().warning(&error.to_string());
                Ok(None)
            }
            remembered => remembered,
        }
    }

    /// Makes sure that there is one, and says what was there if there is none any more.
    ///
    /// # Errors
    /// Those of [`reader`](Self::reader).
    pub(super) fn still_exists(&self, remembered: Option<&Checkpoint>, context: &Context) -> Result<(), Failure> {
        let exists = self.reader(AuditFilter::default(), context).map(drop);
        exists.map_err(|failure| match (failure, remembered) {
            (Failure::NoLog(_), Some(remembered)) => Failure::NoLog(gone(self, remembered)),
            (failure, _) => failure,
        })
    }

    /// Makes sure that the log, whose last checkpoint is `last`, is the one that is remembered.
    pub(super) fn still_has(&self, remembered: &Checkpoint, last: &Checkpoint, context: &Context) -> Result<()> {
        match self {
            Self::Directory(directory) => last.follows(remembered, directory),
            Self::Database(store) => {
                last.follows_in_table(remembered, &mut *audit_table_to_read(store.url(), context.environment())?)
            }
        }
    }

    pub(super) fn verify(&self, keys: &[PublicKey], kept: &[Checkpoint], context: &Context) -> Result<Verification> {
        match self {
            Self::Directory(directory) => verify(directory, keys, kept),
            Self::Database(store) => verify_table(&mut *audit_table_to_read(store.url(), context.environment())?, keys, kept),
        }
    }

    pub(super) fn checkpoint(&self, keys: &[PublicKey], context: &Context) -> Result<Checkpoint> {
        match self {
            Self::Directory(directory) => checkpoint(directory, keys),
            Self::Database(store) => checkpoint_of_table(&mut *audit_table_to_read(store.url(), context.environment())?, keys),
        }
    }
}

/// Where there is no log any more.
fn gone(log: &Log, remembered: &Checkpoint) -> Error {
    let problem = format!(
        "the audit log is gone: up to record {} it was signed on this machine",
        remembered.seq()
    );
    Error::new(ErrorKind::NotFound, problem)
        .with("log", log.to_string())
        .with_hint("bring it back, from a backup for example, or find out who took it away")
}

impl KeyArgs {
    /// The keys that prove `log`.
    pub(super) fn keys(&self, log: &Log, context: &Context) -> Result<Vec<PublicKey>, Failure> {
        if !self.public_key.is_empty() {
            return Ok(self.public_key.iter().map(|file| public_key(file)).collect::<Result<_>>()?);
        }
        let mut settings = settings(context)?;
        // The key that is set is that of the log that is set.
        if let Log::Directory(directory) = log
            && settings.directory.as_ref() != Some(directory)
        {
            settings.directory = Some(directory.clone());
            settings.key_file = None;
        }
        let beside = settings.signing_key_file().map(|file| public_key_file(&file));
        match beside.filter(|file| file.exists()) {
            Some(file) => Ok(vec![public_key(&file)?]),
            None => Err(Failure::Error(
                Error::new(
                    ErrorKind::NotFound,
                    "the log can't be proven without the public key of its writer",
                )
                .with("log", log.to_string())
                .with_hint("give `--public-key FILE`, the file that `keyfob audit init` made beside the signing key"),
            )),
        }
    }
}

/// What is set for this directory and user, with absolute paths.
pub(super) fn settings(context: &Context) -> Result<AuditSettings> {
    let environment = context.environment();
    let mut settings = context.selection()?.layers.audit;
    for path in [&mut settings.directory, &mut settings.key_file, &mut settings.name_key_file] {
        *path = path.take().map(|path| environment.absolute(path));
    }
    Ok(settings)
}

/// Where the public half of a signing key stands.
pub(super) fn public_key_file(signing_key: &Path) -> PathBuf {
    signing_key.with_extension("pub")
}

fn public_key(file: &Path) -> Result<PublicKey> {
    let wrong = |error: Error| error.with("file", file.display().to_string());
    read_configuration(file)?.parse().map_err(wrong)
}

/// The lines of a text file that are not empty.
pub(super) fn lines(file: &Path) -> Result<Vec<String>> {
    let text = read_configuration(file)?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the file is empty").with("file", file.display().to_string()));
    }
    Ok(lines)
}
