//! How a SQLite store is opened: typed, from a URL, from the environment.

use std::path::PathBuf;
use std::time::Duration;

use keyfob_core::{Environment, Error, ErrorKind, Parameter, Result, StoreUrl};

use crate::key_config::{KEY_FILE, KEY_SOURCE, KeyConfig};
use crate::limits::{self, DAY, MAX_VERSIONS, RECOVERY_DAYS, VERSIONS};

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
    pub const MAX_VERSIONS: usize = MAX_VERSIONS;

    /// The parameters that a store's URL takes.
    pub const PARAMETERS: &'static [Parameter] = &[
        KEY_FILE,
        KEY_SOURCE,
        VERSIONS,
        RECOVERY_DAYS,
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
        let key = KeyConfig::from_url(url, key_file, key_source, environment)?;
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
        let directory = environment.base_directory("XDG_DATA_HOME", ".local/share")?;
        directory
            .map(|directory| directory.join("keyfob/secrets.db"))
            .ok_or_else(|| invalid("there is no home directory for the store's file").with_hint("name a file: `sqlite:FILE`"))
    }

    /// `$KEYFOB_STATE_DIR`, else `$XDG_STATE_HOME/keyfob`, by default below `~/.local/state`. `None` without a home.
    ///
    /// # Errors
    /// `InvalidConfig` when a variable is not text.
    pub fn default_state_dir(environment: &Environment) -> Result<Option<PathBuf>> {
        environment.state_directory()
    }

    pub(crate) fn check(&self) -> Result<()> {
        limits::check(self.keep_versions, self.recovery_window)?;
        if self.busy_timeout > Duration::from_secs(3600) {
            return Err(invalid("the longest time to wait for other processes is 3600 seconds"));
        }
        Ok(())
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
