//! What the audit layer is set to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result};

use super::AuditStore;

/// The settings of the audit layer. Without a sink (`directory`, `store`, `standard_error`, `memory`, or
/// [one of the application's own](crate::SecretManagerBuilder::audit_sink)) nothing is recorded.
///
/// In paths a leading `~/` is the home directory. Relative ones stand below the current directory, those of `keyfob.toml` below the
/// file's own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditSettings {
    /// The directory of the audit log: JSON lines in a hash chain, with signed checkpoints. Default none.
    pub directory: Option<PathBuf>,
    /// The database that keeps an audit log. Default none.
    pub store: Option<AuditStore>,
    /// The key that signs the log, which one in a database needs to be told. Default: the name of the directory with `.key` behind it.
    pub key_file: Option<PathBuf>,
    /// Whether no value is handed out before its record is on the disk. Else an access never waits, and records that can't be
    /// kept are lost and counted. Default no.
    pub durable: bool,
    /// After how many bytes the log in the directory begins a new file. Default 64 MiB.
    pub max_bytes: u64,
    /// After which time the log in the directory begins a new file. Default 31 days.
    pub max_age: Duration,
    /// For how many years the files in the directory are kept. Default for ever.
    pub keep_years: Option<u32>,
    /// Whether every access is written to standard error, as a line of JSON. Default no.
    pub standard_error: bool,
    /// How many records are kept in memory, for [`SecretManager::audit_records`](crate::SecretManager::audit_records). Default
    /// none.
    pub memory: usize,
    /// Whether accesses without a reason are refused. Default no.
    pub reason_required: bool,
    /// The key whose HMAC (SHA-256) stands in the place of names. Default: names are recorded as they are.
    pub name_key_file: Option<PathBuf>,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            directory: None,
            store: None,
            key_file: None,
            durable: false,
            max_bytes: 64 << 20,
            max_age: Duration::from_secs(31 * 86_400),
            keep_years: None,
            standard_error: false,
            memory: 0,
            reason_required: false,
            name_key_file: None,
        }
    }
}

impl AuditSettings {
    /// The file of the signing key: `key_file`, else the name of the directory with `.key` behind it. `None` without either.
    #[must_use]
    pub fn signing_key_file(&self) -> Option<PathBuf> {
        let beside = || self.directory.as_deref().map(|directory| with_ending(directory, ".key"));
        self.key_file.clone().or_else(beside)
    }

    /// Makes sure that the settings go together.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |setting: &str, problem: &str| {
            Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("`{setting}` of the audit log {problem}"),
            ))
        };
        let default = Self::default();
        if self.max_bytes < 4096 {
            return wrong("audit.max_bytes", "is less than 4096");
        }
        if self.max_age < Duration::from_secs(60) {
            return wrong("audit.max_age", "is less than a minute");
        }
        if self.keep_years == Some(0) {
            return wrong("audit.keep_years", "is zero: leave it out to keep the files for ever");
        }
        if self.store.is_some() && self.signing_key_file().is_none() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "`audit.store` is set, and `audit.key_file` does not name the key that signs the log",
            )
            .with_hint("`keyfob audit init --key-file FILE URL` makes both"));
        }
        if self.directory.is_some() {
            return Ok(());
        }
        const ANY: &str = "`audit.directory` or `audit.store`";
        const DIRECTORY: &str = "`audit.directory`";
        let without_log = [
            ("audit.key_file", self.key_file.is_some() && self.store.is_none(), ANY),
            ("audit.durable", self.durable && self.store.is_none(), ANY),
            ("audit.max_bytes", self.max_bytes != default.max_bytes, DIRECTORY),
            ("audit.max_age", self.max_age != default.max_age, DIRECTORY),
            ("audit.keep_years", self.keep_years.is_some(), DIRECTORY),
        ];
        match without_log.into_iter().find(|(_, is_set, _)| *is_set) {
            Some((setting, _, needed)) => Err(Error::new(
                ErrorKind::InvalidConfig,
                format!("`{setting}` is set, and there is no audit log that it could hold for"),
            )
            .with_hint(format!("set {needed} too, or leave `{setting}` out"))),
            None => Ok(()),
        }
    }
}

/// A neighbour of a file or directory that has its name and more.
pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    // By its components, so that a `/` at the end does not count.
    let mut name: OsString = path.components().as_path().as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stands_beside_the_log_unless_it_is_elsewhere() {
        let mut settings = AuditSettings::default();
        assert_eq!(settings.signing_key_file(), None);
        settings.directory = Some("/var/log/app/".into());
        assert_eq!(settings.signing_key_file(), Some("/var/log/app.key".into()));
        settings.key_file = Some("/etc/app/audit.key".into());
        assert_eq!(settings.signing_key_file(), Some("/etc/app/audit.key".into()));
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        type Set = fn(&mut AuditSettings);
        let wrong: [(&str, Set); 9] = [
            ("audit.key_file", |audit| audit.store = AuditStore::parse("sqlite:audit.db")),
            ("audit.key_file", |audit| audit.key_file = Some("k".into())),
            ("audit.durable", |audit| audit.durable = true),
            ("audit.max_bytes", |audit| audit.max_bytes = 8192),
            ("audit.max_bytes", |audit| audit.max_bytes = 1),
            ("audit.max_age", |audit| audit.max_age = Duration::from_secs(3600)),
            ("audit.max_age", |audit| audit.max_age = Duration::ZERO),
            ("audit.keep_years", |audit| audit.keep_years = Some(7)),
            ("audit.keep_years", |audit| audit.keep_years = Some(0)),
        ];
        for (setting, set) in wrong {
            let mut settings = AuditSettings::default();
            set(&mut settings);
            let error = settings.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.message().contains(setting), "{error}");
            // Either place would do for a key.
            let hint = error.hint().unwrap_or_default();
            assert!(
                !hint.contains("leave `audit.key_file`") || hint.contains("audit.store"),
                "{error:?}"
            );
        }
        let mut settings = AuditSettings::default();
        settings.check().unwrap();
        settings.directory = Some("audit".into());
        settings.durable = true;
        settings.keep_years = Some(7);
        settings.check().unwrap();
        let settings = AuditSettings {
            store: AuditStore::parse("postgres://audit@db.example/logs"),
            key_file: Some("audit.key".into()),
            durable: true,
            ..AuditSettings::default()
        };
        settings.check().unwrap();
        // They differ in what is not shown.
        let other = AuditStore::parse("postgres://other@db.example/logs");
        assert_ne!(other, settings.store);
        assert_eq!(other.unwrap().as_str(), "postgres://other@db.example/logs");
        for wrong in ["audit", "env:", "postgres://audit:secret@db.example/logs", "dotenv:a"] {
            assert_eq!(AuditStore::parse(wrong), None, "{wrong}");
        }
    }
}
