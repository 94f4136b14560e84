//! The row that every adapter exports.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::changes::ChangeSource;
use crate::environment::Environment;
use crate::error::Result;
use crate::store::SecretStore;
use crate::url::StoreUrl;

/// A boxed future, as [`Backend::connect`] returns it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens a store.
pub type Connect = for<'a> fn(StoreUrl, &'a Environment) -> BoxFuture<'a, Result<Connected>>;

/// As whom a store would be asked and what made it so, in one line that is safe to show, for example
/// "workload identity `0b1c…` (the variable `AZURE_FEDERATED_TOKEN_FILE`)". Asks nobody and opens no connection, so that
/// `keyfob explain` can say it.
pub type Identity = fn(&StoreUrl, &Environment) -> Result<String>;

/// What of a store's place its URL leaves open and the environment says, and what made it so, in one line that is safe to
/// show, for example "project `web` (the variable `GCP_PROJECT_ID`)"; empty when the URL says all. Asks nobody and opens no
/// connection, so that `keyfob explain` can say it.
pub type Place = fn(&StoreUrl, &Environment) -> Result<String>;

/// A store that a backend has opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Connected {
    /// The store.
    pub store: Arc<dyn SecretStore>,
    /// What tells of changes, where the service does.
    pub changes: Option<Arc<dyn ChangeSource>>,
}

impl Connected {
    /// A store whose service does not tell of changes.
    #[must_use]
    pub fn new(store: impl SecretStore + 'static) -> Self {
        Self {
            store: Arc::new(store),
            changes: None,
        }
    }

    /// The same, and what tells of changes in it.
    #[must_use]
    pub fn with_changes(mut self, changes: impl ChangeSource + 'static) -> Self {
        self.changes = Some(Arc::new(changes));
        self
    }
}

/// One kind of store: its words for the user, and how to open it.
///
/// Every adapter exports one as a constant; the facade's table is made of them.
///
/// ```
/// use keyfob_core::{Backend, Connected, MemoryStore};
///
/// const BACKEND: Backend = Backend {
///     scheme: "memory",
///     aliases: &[],
///     summary: "secrets that last as long as the process",
///     url_help: "memory:",
///     parameters: &[],
///     identity: None,
///     place: None,
///     connect: |url, _env| Box::pin(async move {
///         url.parameters().finish()?;
///         Ok(Connected::new(MemoryStore::new()))
///     }),
/// };
/// assert!(BACKEND.answers_to("memory"));
/// ```
#[derive(Clone, Copy)]
pub struct Backend {
    /// The scheme of its URLs and the provider's name in references and in `SECRET_PROVIDER`.
    pub scheme: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// What it is, in one line.
    pub summary: &'static str,
    /// The shapes of its URL, for help and error messages, for example `sqlite:FILE`.
    pub url_help: &'static str,
    /// The parameters that its URL takes after `?`.
    pub parameters: &'static [Parameter],
    /// As whom the store would be asked, and why so. `None` where there is nobody to be, as in a file.
    pub identity: Option<Identity>,
    /// What the environment says of the place where the URL leaves it open. `None` where it never does.
    pub place: Option<Place>,
    /// Opens the store. Refuses what it does not understand as `InvalidConfig`, best before any I/O.
    pub connect: Connect,
}

impl Backend {
    /// Whether `name` is the scheme or an alias.
    #[must_use]
    pub fn answers_to(&self, name: &str) -> bool {
        self.scheme == name || self.aliases.contains(&name)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// A parameter of a store URL.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name, for example `key-file`.
    pub name: &'static str,
    /// What it means, its default, in one line.
    pub help: &'static str,
}
