//! `keyfob.toml`: what a project says about its stores.

mod parse;
#[cfg(test)]
mod tests;
pub(crate) mod trust;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use keyfob_core::{CacheNames, CacheTimes, Environment, Error, ErrorKind, Result, StoreUrl, nearest};

use crate::layers::Given;
use crate::variables;

/// The name of the file.
pub const FILE_NAME: &str = "keyfob.toml";

/// A `keyfob.toml` that was found, believed and understood.
///
/// It holds no secrets. Relative paths in its store URLs stand below its own directory.
///
/// ```toml
/// default = "team"                        # the store of `${secret:…}`: a store, an alias or a provider; an
///                                         # array of them is a failover list
///
/// [stores.team]
/// url = "sqlite:secrets.db"
///
/// [aliases]
/// db = "team"                             # `${db:…}` is `${team:…}`
///
/// [cache]
/// ttl = "5m"                              # a number and `ms`, `s`, `m`, `h` or `d`
/// max_age = "1h"                          # while the store can't answer; no answer is ever older
///
/// [cache.names]                           # other times for some names
/// "live/*" = { ttl = "0s" }
///
/// [retry]
/// deadline = "10s"
///
/// [references]
/// allow = ["secret", "env"]               # all others are refused
///
/// [env.production]                        # with `--env production` or `KEYFOB_ENV=production`
/// default = "env"
/// ```
#[derive(Debug, Clone)]
pub struct Project {
    path: PathBuf,
    base: parse::Draft,
    environments: BTreeMap<String, parse::Draft>,
}

/// What a [`Project`] says in one environment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The store of `${secret:…}`: a store, an alias or a provider; or several, for failover. Empty when the file does
    /// not say.
    pub default: Vec<String>,
    /// Stores by name.
    pub stores: BTreeMap<String, StoreUrl>,
    /// Other names of stores and providers.
    pub aliases: BTreeMap<String, String>,
    /// What the layers over every store are set to, one setting after the other.
    pub(crate) layers: Vec<Given>,
    /// Other times in the cache for some names.
    pub(crate) cache_rules: Vec<(CacheNames, CacheTimes)>,
    /// The schemes that references may use; `None` is all.
    pub allow: Option<BTreeSet<String>>,
}

impl Project {
    /// Finds the project's file: `KEYFOB_CONFIG`, else by walking up from the current directory to the repository's
    /// root (where `.git` stands) or the home directory, whichever comes first. `None` when there is none.
    ///
    /// # Errors
    /// See [`load`](Self::load). A file that is found is believed or an error, never passed over: going on without
    /// it could read or send secrets elsewhere than the project says.
    pub fn find(env: &Environment) -> Result<Option<Self>> {
        match env.var(variables::KEYFOB_CONFIG.name)? {
            Some("none") => return Ok(None),
            Some(path) => {
                let loaded = Self::load(env, path);
                return loaded
                    .map(Some)
                    .map_err(|error| error.with("variable", variables::KEYFOB_CONFIG.name));
            }
            None => {}
        }
        // Directories are compared as the kernel sees them: a home that is a link is still the home.
        let home = env.home().and_then(|home| env.real_path(home).ok());
        let Some(start) = env.current_dir() else { return Ok(None) };
        for directory in start.ancestors() {
            let candidate = directory.join(FILE_NAME);
            match env.status(&candidate) {
                Ok(_) => return Self::load(env, candidate).map(Some),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unreadable(&candidate, error)),
            }
            let is_root_of_repository = env.status(directory.join(".git")).is_ok();
            if is_root_of_repository || home.as_deref() == Some(directory) {
                break;
            }
        }
        Ok(None)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// - `NotFound`, `PermissionDenied`: it can't be read.
    /// - `InvalidConfig`: it is not believed, because somebody other than the user and root could have written it or
    ///   put it there; or it is wrong, with line and column.
    pub fn load(env: &Environment, path: impl AsRef<Path>) -> Result<Self> {
        const MAX_BYTES: usize = 256 * 1024;
        let path = env.absolute(path);
        let real = trust::believed(env, &path)?;
        let bytes = env.read(&real, MAX_BYTES).map_err(|error| unreadable(&path, error))?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::new(ErrorKind::InvalidConfig, "the file is not UTF-8 text").with("file", path.display().to_string())
        })?;
        // Where the file really stands is where its neighbours are.
        let directory = real.parent().unwrap_or(&real);
        parse::parse(&text, &path, directory)
    }

    /// Understands the text of a file that stands at `path`, without looking whether it can be believed.
    ///
    /// # Errors
    /// `InvalidConfig` with line and column.
    pub fn parse(text: &str, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        parse::parse(text, path, path.parent().unwrap_or(path))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the environments.
    pub fn environments(&self) -> impl Iterator<Item = &str> {
        self.environments.keys().map(String::as_str)
    }

    /// What holds in `environment`, or in none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfig`] when there is no such environment, with the nearest one that there is.
    pub fn settings(&self, environment: Option<&str>) -> Result<Settings> {
        let Some(name) = environment else {
            return self.base.clone().check();
        };
        match self.environments.get(name) {
            Some(overlay) => self.base.clone().overlaid(overlay).check(),
            None => Err(self.no_such_environment(name)),
        }
    }

    fn no_such_environment(&self, name: &str) -> Error {
        let error = Error::new(
            ErrorKind::InvalidConfig,
            format!("there is no environment `{}`", name.escape_debug()),
        )
        .with("file", self.path.display().to_string());
        let known: Vec<&str> = self.environments().collect();
        match nearest(name, known.iter().copied()).first() {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => error.with_hint(format!("add a table `[env.{}]`", name.escape_debug())),
            None => error.with_hint(format!("known are: `{}`", known.join("`, `"))),
        }
    }
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let (kind, problem) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::NotFound, "the file is not there"),
        io::ErrorKind::PermissionDenied => (ErrorKind::PermissionDenied, "the file can't be read"),
        io::ErrorKind::FileTooLarge => (ErrorKind::InvalidConfig, "the file is too large"),
        _ => (ErrorKind::InvalidConfig, "the file can't be read"),
    };
    Error::new(kind, problem)
        .with("file", path.display().to_string())
        .with_hint("`KEYFOB_CONFIG=none` goes on without a project file")
        .with_source(error)
}
