//! What a caller asks of a verb: structs, not flags.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::secret::Version;
use crate::value::SecretValue;

/// Which version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum VersionSelector {
    /// `@current`, and what a reference without `@` means.
    #[default]
    Current,
    /// `@previous`: the one that was current before.
    Previous,
    /// The store's own version id, label or number.
    Exact(Version),
}

impl VersionSelector {
    /// Parses what stands after `@`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it can't be a version; see [`Version::new`].
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "current" => Ok(Self::Current),
            "previous" => Ok(Self::Previous),
            token => Version::new(token).map(Self::Exact),
        }
    }
}

impl fmt::Display for VersionSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("current"),
            Self::Previous => f.write_str("previous"),
            Self::Exact(version) => version.fmt(f),
        }
    }
}

/// What to do with a secret whose expiry has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Expired {
    /// Answer with [`ErrorKind::Expired`].
    #[default]
    Refuse,
    /// Hand it out all the same.
    Allow,
}

/// How to read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct GetOptions {
    /// Which version.
    pub version: VersionSelector,
    /// How old a cached answer may be; `None` leaves it to the cache, zero goes past it. Stores ignore it.
    pub max_age: Option<Duration>,
    /// Whether an expired secret may be handed out.
    pub expired: Expired,
}

impl GetOptions {
    /// Asks for this version.
    #[must_use]
    pub fn version(version: VersionSelector) -> Self {
        Self {
            version,
            ..Self::default()
        }
    }
}

/// One read of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GetRequest {
    /// The secret.
    pub name: SecretName,
    /// How to read it.
    pub options: GetOptions,
}

impl GetRequest {
    /// Asks for the current version of `name`.
    #[must_use]
    pub fn new(name: SecretName) -> Self {
        Self {
            name,
            options: GetOptions::default(),
        }
    }
}

/// When a put may happen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum PutMode {
    /// Create it, or make a new version.
    #[default]
    Upsert,
    /// Only if the name is free; else [`ErrorKind::AlreadyExists`].
    Create,
    /// Only if this is the current version; else [`ErrorKind::Conflict`], or [`ErrorKind::NotFound`] when there is
    /// no such secret.
    Match(Version),
}

/// What a put does to one piece of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Change<T> {
    /// Leaves what is there.
    #[default]
    Keep,
    /// Takes it away.
    Clear,
    /// Replaces it as a whole.
    Set(T),
}

impl<T> Change<T> {
    /// Whether nothing changes.
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// What is there after the change.
    pub fn apply(self, present: Option<T>) -> Option<T> {
        match self {
            Self::Keep => present,
            Self::Clear => None,
            Self::Set(new) => Some(new),
        }
    }
}

/// What to write. Without a value, only the metadata changes and the secret must exist.
#[derive(Debug, Clone, Default)]
pub struct PutRequest {
    /// The new value.
    pub value: Option<SecretValue>,
    /// The precondition.
    pub mode: PutMode,
    /// The description.
    pub description: Change<String>,
    /// All tags, as a whole.
    pub tags: Change<BTreeMap<String, String>>,
    /// When the secret expires.
    pub expires_at: Change<SystemTime>,
}

impl PutRequest {
    /// Writes `value`, whatever is there.
    #[must_use]
    pub fn new(value: impl Into<SecretValue>) -> Self {
        Self {
            value: Some(value.into()),
            ..Self::default()
        }
    }

    /// The same under a precondition.
    #[must_use]
    pub fn mode(mut self, mode: PutMode) -> Self {
        self.mode = mode;
        self
    }
}

/// How to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeleteMode {
    /// So that [`restore`](crate::SecretStore::restore) brings it back, for as long as the store keeps it.
    /// `window` asks for that time; `None` takes the store's default.
    Recoverable {
        /// How long it must stay restorable.
        window: Option<Duration>,
    },
    /// At once and for good, every version; also what is already deleted but recoverable.
    Permanent,
    /// Recoverable where the store can, else permanent.
    #[default]
    StoreDefault,
}

/// What and how to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteOptions {
    /// Whether it can be restored.
    pub mode: DeleteMode,
}

/// Where a page begins: a token from the page before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageToken(String);

impl PageToken {
    /// Wraps the store's own token.
    #[must_use]
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The store's own token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One page of a listing.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What it holds. A page may be short or empty although more follow.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<PageToken>,
}

/// How many items of a listing, from where.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// At most this many items; `None` takes the store's default. Zero is [`ErrorKind::InvalidInput`].
    pub limit: Option<usize>,
    /// Where to begin; `None` is the first page.
    pub token: Option<PageToken>,
}

impl PageRequest {
    /// The number of items to return, at most `most`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the limit is zero.
    pub fn limit_up_to(&self, most: usize) -> Result<usize> {
        match self.limit {
            Some(0) => Err(Error::new(ErrorKind::InvalidInput, "a page can't be limited to zero items")),
            Some(limit) => Ok(limit.min(most)),
            None => Ok(most),
        }
    }
}

/// Which secrets to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Only names that begin with this text; empty is all.
    pub prefix: String,
    /// Which of the deleted but recoverable ones.
    pub deleted: Deleted,
    /// Which page.
    pub page: PageRequest,
}

/// Whether a listing shows secrets that are deleted but can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deleted {
    /// Only what is there.
    #[default]
    Exclude,
    /// Only what was deleted.
    Only,
}
