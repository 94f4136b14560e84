//! How a store is opened: typed, from a URL, from the environment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Environment, Error, ErrorKind, Parameter, Result, SecretValue, StoreUrl};
use keyfob_envelope::{KeySource, Passphrase, RawKey};

use crate::key_source_name::KeySourceName;

/// How to open a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SqlConfig {
    /// The SQLite file.
    pub path: PathBuf,
    /// The key that protects it.
    pub key: KeyConfig,
    /// The directory in which the newest generation is remembered, so that an older copy of the whole file is
    /// noticed. Without one that can't be noticed, and `health` says so.
    pub state_dir: Option<PathBuf>,
    /// How many versions of a secret are kept, 1 to [`MAX_VERSIONS`](Self::MAX_VERSIONS). A put removes older ones.
    pub keep_versions: usize,
    /// How long a deleted secret can be restored when the caller does not ask for another time.
    pub recovery_window: Duration,
    /// How long to wait for other processes that write.
    pub busy_timeout: Duration,
}

impl SqlConfig {
    /// The most versions of a secret that can be kept.
    pub const MAX_VERSIONS: usize = 1000;

    /// The parameters that a store's URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[
        Parameter {
            name: "key-file",
            help: "the file with the store's key (default: `KEYFOB_KEY`, `KEYFOB_KEY_FILE`, `KEYFOB_PASSPHRASE`, \
                   `KEYFOB_PASSPHRASE_FILE`, `KEYFOB_KEY_SOURCE`, `~/.config/keyfob/key`)",
        },
        Parameter {
            name: "key-source",
            help: "the key in a service that protects the store, instead of a key file: `vault-transit:KEY@MOUNT` or \
                   `aws-kms:KEY` (default: `KEYFOB_KEY_SOURCE`)",
        },
        Parameter {
            name: "versions",
            help: "how many versions of a secret are kept, 1 to 1000 (default 10)",
        },
        Parameter {
            name: "recovery-days",
            help: "for how many days a deleted secret can be restored, 1 to 3650 (default 30)",
        },
        Parameter {
            name: "busy-timeout",
            help: "how many seconds to wait for other processes that write, 0 to 3600 (default 10)",
        },
    ];

    /// Opens the file at `path` with `key`, everything else by default, without a state directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, key: KeyConfig) -> Self {
        Self {
            path: path.into(),
            key,
            state_dir: None,
            keep_versions: 10,
            recovery_window: 30 * DAY,
            busy_timeout: Duration::from_secs(10),
        }
    }

    /// Remembers the newest generation in `directory`.
    #[must_use]
    pub fn with_state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// Reads a URL such as `sqlite:secrets.db?versions=20`; what it leaves open comes from the environment.
    ///
    /// # Errors
    /// `InvalidConfig` for an unknown parameter, a wrong value, or when a path or a key is missing.
    pub fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        let path = match url.file_path(environment)? {
            Some(path) => path,
            None => Self::default_path(environment)?,
        };
        let mut parameters = url.parameters();
        let key_file = parameters.take("key-file");
        let key_source = parameters.take("key-source");
        let versions = parameters.take_parsed::<usize>("versions", "a number from 1 to 1000")?;
        let days = parameters.take_parsed::<u32>("recovery-days", "a number from 1 to 3650")?;
        let seconds = parameters.take_parsed::<u32>("busy-timeout", "a number of seconds from 0 to 3600")?;
        parameters.finish()?;
        let key = match (key_file, key_source) {
            (Some(_), Some(_)) => {
                return Err(invalid("a store has one key: the URL names a `key-file` and a `key-source`"));
            }
            (None, Some(source)) => KeyConfig::Named(KeySourceName::parse(&source)?),
            (Some(file), None) if file.is_empty() => return Err(invalid("the parameter `key-file` is empty")),
            (Some(file), None) => KeyConfig::File(environment.absolute(match url.base() {
                Some(base) if !file.starts_with("~/") => base.join(file),
                _ => PathBuf::from(file),
            })),
            (None, None) => KeyConfig::from_environment(environment)?,
        };
        let mut config = Self::new(path, key);
        config.state_dir = Self::default_state_dir(environment)?;
        config.keep_versions = versions.unwrap_or(config.keep_versions);
        config.recovery_window = days.map_or(config.recovery_window, |days| days * DAY);
        config.busy_timeout = seconds.map_or(config.busy_timeout, |seconds| Duration::from_secs(seconds.into()));
        config.check()?;
        Ok(config)
    }

    /// `$XDG_DATA_HOME/keyfob/secrets.db`, by default below `~/.local/share`.
    ///
    /// # Errors
    /// `InvalidConfig` when there is no home directory either, or the variable is not text.
    pub fn default_path(environment: &Environment) -> Result<PathBuf> {
        let directory = base_directory(environment, "XDG_DATA_HOME", ".local/share")?;
        directory
            .map(|directory| directory.join("keyfob/secrets.db"))
            .ok_or_else(|| invalid("there is no home directory for the store's file").with_hint("name a file: `sqlite:FILE`"))
    }

    /// `$KEYFOB_STATE_DIR`, else `$XDG_STATE_HOME/keyfob`, by default below `~/.local/state`. `None` without a home.
    ///
    /// # Errors
    /// `InvalidConfig` when a variable is not text.
    pub fn default_state_dir(environment: &Environment) -> Result<Option<PathBuf>> {
        if let Some(directory) = environment.var("KEYFOB_STATE_DIR")? {
            return Ok(Some(environment.absolute(directory)));
        }
        let directory = base_directory(environment, "XDG_STATE_HOME", ".local/state")?;
        Ok(directory.map(|directory| directory.join("keyfob")))
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !(1..=Self::MAX_VERSIONS).contains(&self.keep_versions) {
            return Err(invalid("the number of versions to keep must be 1 to 1000"));
        }
        if self.recovery_window < DAY || self.recovery_window > 3650 * DAY {
            return Err(invalid("deleted secrets can be kept for 1 to 3650 days"));
        }
        if self.busy_timeout > Duration::from_secs(3600) {
            return Err(invalid("the longest time to wait for other processes is 3600 seconds"));
        }
        Ok(())
    }
}

/// Where the key of a store comes from. `Debug` shows no key.
#[derive(Clone)]
#[non_exhaustive]
pub enum KeyConfig {
    /// A key file. It is read again when the store turns out to have another key, so that a running process
    /// survives a change of the key.
    File(PathBuf),
    /// 64 hexadecimal digits or 44 characters of base64.
    Raw(SecretValue),
    /// A passphrase; every byte counts.
    Passphrase(SecretValue),
    /// A key in a service, not connected yet. Whoever opens the store puts a [`Source`](Self::Source) in its place
    /// first: this crate knows no service. `keyfob::key_sources` does.
    Named(KeySourceName),
    /// Anything else that wraps keys.
    Source(Arc<dyn KeySource>),
}

impl KeyConfig {
    /// The first of `KEYFOB_KEY`, `KEYFOB_KEY_FILE`, `KEYFOB_PASSPHRASE`, `KEYFOB_PASSPHRASE_FILE`,
    /// `KEYFOB_KEY_SOURCE`, and the [default key file](Self::default_file).
    ///
    /// # Errors
    /// `InvalidConfig` when a variable or file is not text or there is nowhere to look.
    pub fn from_environment(environment: &Environment) -> Result<Self> {
        let secret = |name: &str| environment.secret_var(name).filter(|value| !value.is_empty());
        if let Some(key) = secret("KEYFOB_KEY") {
            return Ok(Self::Raw(key));
        }
        if let Some(file) = environment.var("KEYFOB_KEY_FILE")? {
            return Ok(Self::File(environment.absolute(file)));
        }
        if let Some(passphrase) = secret("KEYFOB_PASSPHRASE") {
            return Ok(Self::Passphrase(passphrase));
        }
        if let Some(file) = environment.var("KEYFOB_PASSPHRASE_FILE")? {
            return passphrase_file(environment, Path::new(file));
        }
        if let Some(source) = environment.var("KEYFOB_KEY_SOURCE")? {
            let source = KeySourceName::parse(source.trim()).map_err(|error| error.with("variable", "KEYFOB_KEY_SOURCE"))?;
            return Ok(Self::Named(source));
        }
        Self::default_file(environment).map(Self::File)
    }

    /// `$XDG_CONFIG_HOME/keyfob/key`, by default below `~/.config`.
    ///
    /// # Errors
    /// `InvalidConfig` when there is no home directory either, or the variable is not text.
    pub fn default_file(environment: &Environment) -> Result<PathBuf> {
        let directory = base_directory(environment, "XDG_CONFIG_HOME", ".config")?;
        directory
            .map(|directory| directory.join("keyfob/key"))
            .ok_or_else(|| invalid("no key for the store is given").with_hint("set `KEYFOB_KEY_FILE` or `KEYFOB_KEY`"))
    }

    /// Opens the source. A file is read here.
    ///
    /// # Errors
    /// Those of [`RawKey`] and [`Passphrase`]; `InvalidConfig` for a key in a service that is not connected.
    pub fn source(&self) -> Result<Arc<dyn KeySource>> {
        Ok(match self {
            Self::File(path) => Arc::new(RawKey::from_file(path).map_err(|error| match error.kind() {
                ErrorKind::NotFound => error.with_hint(
                    "without its key nothing opens the store: put the key file back, or name another with `KEYFOB_KEY_FILE`",
                ),
                _ => error,
            })?),
            Self::Raw(text) => Arc::new(RawKey::parse(
                text.expose_str().map_err(|_| invalid("the store's key is not text"))?,
            )?),
            Self::Passphrase(passphrase) => Arc::new(Passphrase::new(passphrase.clone())?),
            Self::Named(name) => {
                return Err(invalid("the key source is not connected").with("key_source", name.to_string()));
            }
            Self::Source(source) => Arc::clone(source),
        })
    }
}

impl fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Raw(_) => f.write_str("Raw([REDACTED])"),
            Self::Passphrase(_) => f.write_str("Passphrase([REDACTED])"),
            Self::Named(name) => write!(f, "Named({name})"),
            Self::Source(source) => f.debug_tuple("Source").field(source.id()).finish(),
        }
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A passphrase is one line; the end of the line is not part of it.
fn passphrase_file(environment: &Environment, path: &Path) -> Result<KeyConfig> {
    const MAX_BYTES: usize = Passphrase::MAX_BYTES + 2;
    let bytes = environment.read(path, MAX_BYTES).map_err(|error| {
        invalid("the file that `KEYFOB_PASSPHRASE_FILE` names can't be read")
            .with("file", path.display().to_string())
            .with_source(error)
    })?;
    let whole = SecretValue::new(bytes);
    let line = whole.expose_secret();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(KeyConfig::Passphrase(SecretValue::from(line)))
}

/// A directory of the XDG base directory specification, by which a relative path in the variable is ignored.
fn base_directory(environment: &Environment, variable: &str, below_home: &str) -> Result<Option<PathBuf>> {
    let from_variable = environment
        .var(variable)?
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    Ok(from_variable.or_else(|| environment.home().map(|home| home.join(below_home))))
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyfob_core::FakeEnvironment;

    fn config(url: &str, environment: FakeEnvironment) -> Result<SqlConfig> {
        SqlConfig::from_url(&StoreUrl::parse(url)?, &environment.build())
    }

    #[test]
    fn a_bare_url_takes_the_users_directories() {
        let found = config("sqlite:", Environment::fake()).unwrap();
        assert_eq!(found.path, Path::new("/home/user/.local/share/keyfob/secrets.db"));
        assert_eq!(found.state_dir.as_deref(), Some(Path::new("/home/user/.local/state/keyfob")));
        assert!(matches!(found.key, KeyConfig::File(path) if path == Path::new("/home/user/.config/keyfob/key")));
        assert_eq!((found.keep_versions, found.recovery_window), (10, 30 * DAY));

        let environment = Environment::fake()
            .var("XDG_DATA_HOME", "/d")
            .var("XDG_STATE_HOME", "relative is ignored")
            .var("XDG_CONFIG_HOME", "/c");
        let found = config("sqlite:", environment).unwrap();
        assert_eq!(found.path, Path::new("/d/keyfob/secrets.db"));
        assert_eq!(found.state_dir.as_deref(), Some(Path::new("/home/user/.local/state/keyfob")));
        assert!(matches!(found.key, KeyConfig::File(path) if path == Path::new("/c/keyfob/key")));
    }

    #[test]
    fn the_key_comes_from_the_first_place_that_has_one() {
        let key = |url: &str, environment: &FakeEnvironment| config(url, environment.clone()).unwrap().key;
        let mut environment = Environment::fake().var("KEYFOB_KEY_SOURCE", " aws-kms:alias/app ");
        assert!(matches!(key("sqlite:x", &environment), KeyConfig::Named(name) if name.to_string() == "aws-kms:alias/app"));
        environment = environment.file("/p", "word\r\n").var("KEYFOB_PASSPHRASE_FILE", "/p");
        assert!(matches!(key("sqlite:x", &environment), KeyConfig::Passphrase(word) if word.expose_secret() == b"word"));
        environment = environment.var("KEYFOB_PASSPHRASE", "canary");
        let passphrase = key("sqlite:x", &environment);
        assert_eq!(format!("{passphrase:?}"), "Passphrase([REDACTED])");
        assert!(matches!(passphrase, KeyConfig::Passphrase(word) if word.expose_secret() == b"canary"));
        environment = environment.var("KEYFOB_KEY_FILE", "k");
        assert!(matches!(key("sqlite:x", &environment), KeyConfig::File(path) if path == Path::new("/home/user/project/k")));
        environment = environment.var("KEYFOB_KEY", "canary");
        assert!(matches!(key("sqlite:x", &environment), KeyConfig::Raw(_)));
        assert!(matches!(key("sqlite:x?key-source=a:b@c/d", &environment), KeyConfig::Named(name) if name.which() == "b@c/d"));
        assert!(matches!(key("sqlite:x?key-file=~/k", &environment), KeyConfig::File(path) if path == Path::new("/home/user/k")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, expected) in [
            ("sqlite:x?versions=0", "the number of versions to keep must be 1 to 1000"),
            ("sqlite:x?versions=1001", "the number of versions to keep must be 1 to 1000"),
            (
                "sqlite:x?versions=many",
                "the parameter `versions` is not a number from 1 to 1000",
            ),
            ("sqlite:x?recovery-days=0", "deleted secrets can be kept for 1 to 3650 days"),
            (
                "sqlite:x?busy-timeout=3601",
                "the longest time to wait for other processes is 3600 seconds",
            ),
            ("sqlite:x?key-file=", "the parameter `key-file` is empty"),
            ("sqlite:x?key-source=app", "the key source is not of the form `KIND:KEY`"),
            (
                "sqlite:x?key-source=a:b&key-file=k",
                "a store has one key: the URL names a `key-file` and a `key-source`",
            ),
            ("sqlite:x?keyfile=k", "unknown parameter `keyfile`"),
            (
                "sqlite://x",
                "invalid store URL: what follows `//` is a host, and a file has none",
            ),
        ] {
            let error = config(url, Environment::fake()).unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidConfig, expected), "{url}");
        }
        let homeless = Environment::fake().no_home();
        let error = config("sqlite:", homeless.clone()).unwrap_err();
        assert_eq!(error.hint(), Some("name a file: `sqlite:FILE`"));
        let found = config("sqlite:/x?key-file=/k", homeless).unwrap();
        assert_eq!(found.state_dir, None);
    }
}
