//! What concerns keyfob's own encrypted stores only: their keys, and the work that no other store has.

use std::fmt;
use std::io::{self, IsTerminal as _};

use keyfob::{Environment, Error, ErrorKind, Result, StoreUrl, key_sources};
use keyfob_sql::{KeyConfig, KeyStatus, PostgresConfig, PostgresStore, RotateStep, SqlConfig, SqlStore, VerifyReport};

use crate::context::Context;
use crate::prompt;

/// The scheme of the store in a file.
pub(crate) const SCHEME: &str = "sqlite";

/// How one of keyfob's own stores is opened.
#[derive(Debug, Clone)]
pub(crate) enum OwnConfig {
    File(SqlConfig),
    Postgres(PostgresConfig),
}

/// One of keyfob's own stores.
pub(crate) enum OwnStore {
    File(SqlStore),
    Postgres(PostgresStore),
}

/// Whether a URL names one of keyfob's own stores.
pub(crate) fn is_own(url: &StoreUrl) -> bool {
    matches!(url.scheme(), SCHEME | "postgres" | "postgresql")
}

impl OwnConfig {
    /// Reads the URL of one of keyfob's own stores.
    ///
    /// # Errors
    /// Those of [`SqlConfig::from_url`] and [`PostgresConfig::from_url`].
    pub(crate) fn from_url(url: &StoreUrl, environment: &Environment) -> Result<Self> {
        match url.scheme() {
            SCHEME => SqlConfig::from_url(url, environment).map(Self::File),
            _ => PostgresConfig::from_url(url, environment).map(Self::Postgres),
        }
    }

    pub(crate) fn key(&self) -> &KeyConfig {
        match self {
            Self::File(config) => &config.key,
            Self::Postgres(config) => &config.key,
        }
    }

    pub(crate) fn set_key(&mut self, key: KeyConfig) {
        match self {
            Self::File(config) => config.key = key,
            Self::Postgres(config) => config.key = key,
        }
    }

    /// Whether both mean the same store.
    pub(crate) fn is_same_store(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one.path == other.path,
            (Self::Postgres(_), Self::Postgres(_)) => self.to_string() == other.to_string(),
            _ => false,
        }
    }

    /// Makes the store. `AlreadyExists` when there is one.
    pub(crate) async fn create(mut self, environment: &Environment) -> Result<()> {
        self.set_key(key_sources::connected(self.key().clone(), environment).await?);
        match self {
            Self::File(config) => SqlStore::create(config).await.map(drop),
            Self::Postgres(config) => PostgresStore::create(config).await.map(drop),
        }
    }

    /// Opens the store.
    ///
    /// # Errors
    /// Those of [`key_sources::open`] and [`key_sources::open_postgres`].
    pub(crate) async fn open(self, environment: &Environment) -> Result<OwnStore> {
        match self {
            Self::File(config) => key_sources::open(config, environment).await.map(OwnStore::File),
            Self::Postgres(config) => key_sources::open_postgres(config, environment).await.map(OwnStore::Postgres),
        }
    }
}

/// Where it is.
impl fmt::Display for OwnConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(config) => write!(f, "{}", config.path.display()),
            Self::Postgres(config) => f.write_str(&config.location()),
        }
    }
}

impl OwnStore {
    pub(crate) async fn keys(&self) -> Result<KeyStatus> {
        match self {
            Self::File(store) => store.keys().await,
            Self::Postgres(store) => store.keys().await,
        }
    }

    pub(crate) async fn verify(&self) -> Result<VerifyReport> {
        match self {
            Self::File(store) => store.verify().await,
            Self::Postgres(store) => store.verify().await,
        }
    }

    pub(crate) async fn rotate_key(
        &self,
        new: KeyConfig,
        batch: usize,
        step: &mut (dyn FnMut(RotateStep) -> Result<()> + Send),
    ) -> Result<()> {
        match self {
            Self::File(store) => store.rotate_key(new, batch, step).await,
            Self::Postgres(store) => store.rotate_key(new, batch, step).await,
        }
    }
}

/// The configuration of the own store that is meant.
///
/// # Errors
/// `Unsupported` when another kind of store is meant; those of the selection and of [`OwnConfig::from_url`].
pub(crate) fn config(context: &Context) -> Result<OwnConfig> {
    let choice = context.selection()?.store?;
    if !is_own(&choice.url) {
        let message = "only keyfob's own encrypted store can do this";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with("store", choice.url.to_string())
            .with_hint("name one with `--store sqlite:FILE`, or make one with `keyfob init`"));
    }
    let environment = ask_for_missing_passphrase(context.environment(), &choice.url)?;
    OwnConfig::from_url(&choice.url, &environment)
}

/// The configuration of the store in a file that is meant, for what a server has tools of its own for.
///
/// # Errors
/// `Unsupported` when the store is not in a file; those of [`config`].
pub(crate) fn file_config(context: &Context) -> Result<SqlConfig> {
    match config(context)? {
        OwnConfig::File(config) => Ok(config),
        OwnConfig::Postgres(config) => Err(Error::new(
            ErrorKind::Unsupported,
            "keyfob makes and reads backups of a store in a file only",
        )
        .with("store", config.location())
        .with_hint("back up the database: `pg_dump --schema`; the values in the dump stay encrypted")),
    }
}

/// Opens the own store that is meant.
///
/// # Errors
/// Those of [`config`] and of [`OwnConfig::open`].
pub(crate) async fn open(context: &Context) -> Result<OwnStore> {
    let store = config(context)?.open(context.environment()).await;
    store.map_err(hint_at_init)
}

/// The configuration with its key source connected, if the key is in a service. Within the event loop that uses it: its
/// connections end with it.
///
/// # Errors
/// Those of [`key_sources::connect`].
pub(crate) async fn connected(mut config: SqlConfig, context: &Context) -> Result<SqlConfig> {
    config.key = key_sources::connected(config.key, context.environment()).await?;
    Ok(config)
}

/// Whether somebody is there to ask. What is piped into standard input does not matter: the terminal is asked.
pub(crate) fn can_ask() -> bool {
    io::stderr().is_terminal()
}

/// Asks for the passphrase of an own store for which there is no key: no variable is set and there is no key
/// file. Without a terminal nothing is asked, and opening the store says what is missing.
pub(crate) fn ask_for_missing_passphrase(environment: &Environment, url: &StoreUrl) -> Result<Environment> {
    if !is_own(url) || !can_ask() {
        return Ok(environment.clone());
    }
    // What is wrong with the URL is told when the store is opened.
    let Ok(config) = OwnConfig::from_url(url, environment) else {
        return Ok(environment.clone());
    };
    let has_no_key = match (config.key(), KeyConfig::default_file(environment)) {
        (KeyConfig::File(file), Ok(default)) => *file == default && environment.status(file).is_err(),
        _ => false,
    };
    let is_missing = matches!(&config, OwnConfig::File(config) if environment.status(&config.path).is_err());
    if !has_no_key || is_missing {
        return Ok(environment.clone());
    }
    let passphrase = prompt::secret(&format!("passphrase of `{config}`"))?;
    Ok(environment.with_var("KEYFOB_PASSPHRASE", passphrase))
}

/// Says how to make a store where there is none yet.
pub(crate) fn hint_at_init(error: Error) -> Error {
    if error.kind() == ErrorKind::NotFound && error.hint().is_none() {
        error.with_hint("`keyfob init` makes a store")
    } else {
        error
    }
}
