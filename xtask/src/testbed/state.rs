//! What runs: a directory with a record of each server, its log and its files.
//!
//! It is outside the repository, readable by its owner only, and named after the checkout, so that two checkouts never
//! get into each other's way.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::identity::{Process, Signal};
use crate::cache::{cache_dir, key, lock};
use crate::process::{Failure, Result, root};

/// The directory of the servers that one start made.
#[derive(Debug, Clone)]
pub(super) struct State {
    dir: PathBuf,
}

/// A server that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) server: String,
    pub(super) process: Process,
    pub(super) stop: Signal,
    pub(super) version: String,
    pub(super) program: PathBuf,
    pub(super) outside: Option<PathBuf>,
    /// For the tests.
    pub(super) variables: Vec<(String, String)>,
}

impl State {
    /// Of the servers that `testbed up` starts for this checkout.
    pub(super) fn of_checkout() -> Result<Self> {
        Ok(Self::at(parent()?.join("up")))
    }

    /// Of one run of the tests, a new one.
    pub(super) fn of_run() -> Result<Self> {
        Ok(Self::at(parent()?.join(format!("run-{}", std::process::id()))))
    }

    /// Of every run of the tests of this checkout, also of those that are over.
    pub(super) fn of_all_runs() -> Result<Vec<Self>> {
        let mut runs = Vec::new();
        match fs::read_dir(parent()?) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    if entry.file_name().to_string_lossy().starts_with("run-") && entry.path().is_dir() {
                        runs.push(Self::at(entry.path()));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io("list the runs of the test bed")(error)),
        }
        Ok(runs)
    }

    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn lock_path(&self) -> PathBuf {
        self.dir.with_extension("lock")
    }

    /// Waits until nobody else changes it.
    pub(super) fn lock(&self) -> Result<File> {
        let lock_path = self.lock_path();
        if let Some(parent) = lock_path.parent() {
            make_private(parent)?;
        }
        lock(&lock_path)
    }

    /// An empty directory for the files of `server`.
    pub(super) fn scratch(&self, server: &str) -> Result<PathBuf> {
        let scratch = self.dir.join(server);
        remove_dir(&scratch)?;
        make_private(&scratch)?;
        Ok(scratch)
    }

    pub(super) fn log(&self, server: &str) -> PathBuf {
        self.dir.join(format!("{server}.log"))
    }

    /// Of every server, sorted by name.
    pub(super) fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(records),
            Err(error) => return Err(Failure::io(format_args!("list `{}`", self.dir.display()))(error)),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "server") {
                let text = fs::read_to_string(&path).map_err(Failure::io(format_args!("read `{}`", path.display())))?;
                let record = Record::parse(&text);
                records.push(record.ok_or_else(|| Failure::failed(format!("`{}` can't be understood", path.display())))?);
            }
        }
        records.sort_by(|one, other| one.server.cmp(&other.server));
        Ok(records)
    }

    pub(super) fn save(&self, record: &Record) -> Result {
        let path = self.record_path(&record.server);
        let partial = path.with_extension("partial");
        create_private(&partial)
            .and_then(|mut file| file.write_all(record.to_string().as_bytes()))
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(Failure::io(format_args!("write `{}`", path.display())))
    }

    /// Stops the server of `record` and forgets it.
    pub(super) fn stop(&self, record: &Record) -> Result {
        record.process.stop(record.stop)?;
        if let Some(outside) = &record.outside {
            remove_dir(outside)?;
        }
        let path = self.record_path(&record.server);
        fs::remove_file(&path).map_err(Failure::io(format_args!("remove `{}`", path.display())))
    }

    /// Stops all servers and removes the directory.
    pub(super) fn stop_all(&self) -> Result<Vec<Record>> {
        let records = self.records()?;
        // All at once: each takes its time.
        let results: Vec<Result> = std::thread::scope(|scope| {
            let stopping: Vec<_> = records.iter().map(|record| scope.spawn(|| self.stop(record))).collect();
            let joined = stopping.into_iter().map(|thread| thread.join());
            joined
                .map(|result| result.unwrap_or_else(|_| Err(Failure::failed("stopping a server panicked"))))
                .collect()
        });
        results.into_iter().collect::<Result<Vec<()>>>()?;
        remove_dir(&self.dir)?;
        Ok(records)
    }

    fn record_path(&self, server: &str) -> PathBuf {
        self.dir.join(format!("{server}.server"))
    }
}

impl Record {
    /// Its address without user and password.
    pub(super) fn address(&self) -> String {
        let address = self.variables.first().map_or("", |(_, value)| value.as_str());
        without_user(address)
    }

    pub(super) fn variable(&self, name: &str) -> Result<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| Failure::failed(format!("the record of `{}` has no `{name}`", self.server)))
    }

    /// What the tests read: its variables, and its program, for those that need a server that they may stop.
    pub(super) fn exports(&self) -> Vec<(String, String)> {
        let name = self.server.to_uppercase().replace('-', "_");
        let program = (format!("KEYFOB_TEST_{name}_PROGRAM"), self.program.display().to_string());
        self.variables.iter().cloned().chain([program]).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .map(str::to_owned)
        };
        let variables = text.lines().filter_map(|line| line.strip_prefix("variable "));
        Some(Self {
            server: field("server")?,
            process: Process {
                pid: field("pid")?.parse().ok()?,
                started: field("started")?,
            },
            stop: Signal::from_name(&field("stop")?)?,
            version: field("version")?,
            program: field("program")?.into(),
            outside: field("outside").map(PathBuf::from),
            variables: variables
                .map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
                .collect::<Option<_>>()?,
        })
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "server {}", self.server)?;
        writeln!(f, "pid {}", self.process.pid)?;
        writeln!(f, "started {}", self.process.started)?;
        writeln!(f, "stop {}", self.stop.name())?;
        writeln!(f, "version {}", self.version)?;
        writeln!(f, "program {}", self.program.display())?;
        if let Some(outside) = &self.outside {
            writeln!(f, "outside {}", outside.display())?;
        }
        for (name, value) in &self.variables {
            writeln!(f, "variable {name}={value}")?;
        }
        Ok(())
    }
}

/// `url` as it may be shown.
pub(super) fn without_user(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    }
}

/// Makes the directory `dir` and those above; `dir` itself is for its owner only.
pub(super) fn make_private(dir: &Path) -> Result {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(Failure::io(format_args!("make `{}`", dir.display())))
}

/// A new, empty file for its owner only.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn remove_dir(dir: &Path) -> Result {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::io(format_args!("remove `{}`", dir.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Where this checkout's states are.
fn parent() -> Result<PathBuf> {
    Ok(cache_dir()?.join("testbed").join(key(root())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn record() -> Record {
        Record {
            server: "openbao".to_owned(),
            process: Process {
                pid: 42,
                started: "4711 0b-1".to_owned(),
            },
            stop: Signal::Terminate,
            version: "2.7.2".to_owned(),
            program: "/a directory/bao".into(),
            outside: Some("/tmp/elsewhere".into()),
            variables: vec![
                ("KEYFOB_TEST_A_URL".to_owned(), "postgres://u:p=w@127.0.0.1:1/x".to_owned()),
                ("KEYFOB_TEST_A_TOKEN".to_owned(), "a=b c".to_owned()),
            ],
        }
    }

    #[test]
    fn a_record_is_read_as_it_is_written() {
        for outside in [Some(PathBuf::from("/tmp/elsewhere")), None] {
            let record = Record { outside, ..record() };
            assert_eq!(Record::parse(&record.to_string()), Some(record));
        }
        assert_eq!(Record::parse("server a\npid x\n"), None);
        assert_eq!(Record::parse(""), None);
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(record().address(), "postgres://127.0.0.1:1/x");
        assert_eq!(without_user("http://127.0.0.1:1"), "http://127.0.0.1:1");
        assert_eq!(without_user("postgres://u:p@w@h:1/x"), "postgres://h:1/x");
    }

    #[test]
    fn what_is_kept_is_for_its_owner_only_and_is_gone_afterwards() {
        let above = std::env::temp_dir().join(format!("keyfob-xtask-state-{}", std::process::id()));
        let state = State::at(above.join("up"));
        let _lock = state.lock().unwrap();
        let scratch = state.scratch("openbao").unwrap();
        // The process that it names is not the one that it was.
        let record = Record {
            outside: None,
            ..record()
        };
        state.save(&record).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&scratch), 0o700);
        assert_eq!(mode(&state.record_path("openbao")), 0o600);
        assert_eq!(state.records().unwrap(), std::slice::from_ref(&record));
        assert_eq!(state.stop_all().unwrap(), [record]);
        assert!(!state.dir().exists());
        assert!(state.records().unwrap().is_empty());
        fs::remove_dir_all(above).unwrap();
    }
}
