//! Where the key of a store comes from, and the directories of the user.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keyfob_core::{Environment, Error, ErrorKind, Parameter, Result, SecretValue, StoreUrl};
use keyfob_envelope::{KeySource, Passphrase, RawKey};

use crate::key_source_name::KeySourceName;

/// The parameter of a store's URL that names a key file.
pub(crate) const KEY_FILE: Parameter = Parameter {
    name: "key-file",
    help: "the file with the store's key (default: `KEYFOB_KEY`, `KEYFOB_KEY_FILE`, `KEYFOB_PASSPHRASE`, \
           `KEYFOB_PASSPHRASE_FILE`, `KEYFOB_KEY_SOURCE`, `~/.config/keyfob/key`)",
};

/// The parameter of a store's URL that names a key in a service.
pub(crate) const KEY_SOURCE: Parameter = Parameter {
    name: "key-source",
    help: "the key in a service that protects the store, instead of a key file: `vault-transit:KEY@MOUNT` or \
           `aws-kms:KEY` (default: `KEYFOB_KEY_SOURCE`)",
};

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
    /// What the parameters `key-file` and `key-source` of a URL say, else the environment.
    pub(crate) fn from_url(
        url: &StoreUrl,
        key_file: Option<String>,
        key_source: Option<String>,
        environment: &Environment,
    ) -> Result<Self> {
        match (key_file, key_source) {
            (Some(_), Some(_)) => Err(invalid("a store has one key: the URL names a `key-file` and a `key-source`")),
            (None, Some(source)) => KeySourceName::parse(&source).map(Self::Named),
            (Some(file), None) if file.is_empty() => Err(invalid("the parameter `key-file` is empty")),
            (Some(file), None) => Ok(Self::File(environment.absolute(match url.base() {
                Some(base) if !file.starts_with("~/") => base.join(file),
                _ => PathBuf::from(file),
            }))),
            (None, None) => Self::from_environment(environment),
        }
    }

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
        let directory = environment.base_directory("XDG_CONFIG_HOME", ".config")?;
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

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}
