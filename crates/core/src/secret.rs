//! A secret as a store hands it out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::value::SecretValue;

/// A version of a secret, as the store calls it: an opaque token.
///
/// Stores without history have one too (Kubernetes: `resourceVersion`; a `.env` file: a digest), so that
/// [`PutMode::Match`](crate::PutMode::Match) works wherever the store can compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(Arc<str>);

impl Version {
    /// The longest token, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Takes the store's token.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it is empty, longer than [`MAX_BYTES`](Self::MAX_BYTES) or contains a
    /// control character or white space.
    pub fn new(token: impl AsRef<str>) -> Result<Self> {
        let token = token.as_ref();
        let problem = if token.is_empty() {
            "it is empty"
        } else if token.len() > Self::MAX_BYTES {
            "it is longer than 256 bytes"
        } else if token.chars().any(|c| c.is_control() || c.is_whitespace()) {
            "it contains white space or a control character"
        } else {
            return Ok(Self(token.into()));
        };
        Err(Error::new(ErrorKind::InvalidInput, format!("invalid version: {problem}")))
    }

    /// The token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The token as shared text.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self(number.to_string().into())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known about a secret besides its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The name that was asked for or listed.
    pub name: SecretName,
    /// The version that this describes; `None` where the store has none or did not say (listings).
    pub version: Option<Version>,
    /// When this version was made; `None` where the store doesn't keep it.
    pub created: Option<SystemTime>,
    /// When value or metadata were last changed; `None` where the store doesn't keep it.
    pub updated: Option<SystemTime>,
    /// When the secret expires.
    pub expires_at: Option<SystemTime>,
    /// When the secret was deleted; `Some` only for a deleted secret that can be restored.
    pub deleted_at: Option<SystemTime>,
    /// What it is for, in the words of its owner.
    pub description: Option<String>,
    /// Free keys and values, not secret.
    pub tags: BTreeMap<String, String>,
    /// Which store answered, and how.
    pub origin: Origin,
}

impl Metadata {
    /// Metadata of `name` from the store with this scheme or alias, everything else unknown.
    #[must_use]
    pub fn new(name: SecretName, store: impl Into<Arc<str>>) -> Self {
        Self {
            name,
            version: None,
            created: None,
            updated: None,
            expires_at: None,
            deleted_at: None,
            description: None,
            tags: BTreeMap::new(),
            origin: Origin {
                store: store.into(),
                member: None,
                freshness: Freshness::Store,
                passed_over: Vec::new(),
                replicas: Vec::new(),
            },
        }
    }

    /// Whether the expiry has passed at `now`.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|expires| expires <= now)
    }
}

/// Which store a secret came from, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The scheme of the store that answered, for example `sqlite`.
    pub store: Arc<str>,
    /// Its label in a failover list, which tells stores of one scheme apart; `None` without one.
    pub member: Option<Arc<str>>,
    /// Whether the store itself answered.
    pub freshness: Freshness,
    /// The stores before it in a failover list, and why they did not answer; empty without one.
    pub passed_over: Vec<PassedOver>,
    /// The other stores of a failover list that a write went to as well; empty for reads.
    pub replicas: Vec<Replica>,
}

/// A store of a failover list that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// The store, as [`Origin::store`] would name it.
    pub store: Arc<str>,
    /// Its label in the list, as [`Origin::member`] would say it.
    pub member: Arc<str>,
    /// Why not: the kind of its error, or of the reason for which it was not asked: [`ErrorKind::Unavailable`] when it is
    /// known to be ill, [`ErrorKind::RateLimited`] when it asked for a pause, [`ErrorKind::Unsupported`] when it can't have
    /// what was asked for.
    pub kind: ErrorKind,
    /// Whether it was asked.
    pub asked: bool,
}

impl PassedOver {
    /// Says that `store`, which has its scheme for a label, was asked and did not answer because of an error of `kind`.
    #[must_use]
    pub fn new(store: impl Into<Arc<str>>, kind: ErrorKind) -> Self {
        let store = store.into();
        Self {
            member: Arc::clone(&store),
            store,
            kind,
            asked: true,
        }
    }
}

/// `aws: timeout`; `aws: unavailable, not asked`.
impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked = if self.asked { "" } else { ", not asked" };
        write!(f, "{}: {}{asked}", self.member, self.kind)
    }
}

/// A store of a failover list that a write went to after the first one had it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replica {
    /// The store, as [`Origin::store`] would name it.
    pub store: Arc<str>,
    /// Its label in the list.
    pub member: Arc<str>,
    /// The version that it made, if it said so, as it can be asked for; or why it does not have the write. With
    /// [`ErrorKind::Timeout`] nobody knows whether it has.
    pub outcome: Result<Option<Version>, ErrorKind>,
}

/// `aws: written`; `aws: unavailable`.
impl fmt::Display for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Ok(_) => write!(f, "{}: written", self.member),
            Err(kind) => write!(f, "{}: {kind}", self.member),
        }
    }
}

/// How fresh an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Freshness {
    /// The store answered now.
    Store,
    /// A cache answered, within its time to live.
    Cache,
    /// A cache answered although its time to live had passed, because the store could not or is being asked meanwhile.
    Stale,
}

/// A value and what is known about it. Cheap to clone: a cache hands the same one to everybody who asks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Secret {
    /// The bytes.
    pub value: SecretValue,
    /// Everything else.
    pub metadata: Arc<Metadata>,
}

impl Secret {
    /// Joins a value with its metadata.
    #[must_use]
    pub fn new(value: SecretValue, metadata: impl Into<Arc<Metadata>>) -> Self {
        Self {
            value,
            metadata: metadata.into(),
        }
    }

    /// The metadata to be changed, of this handle alone.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        Arc::make_mut(&mut self.metadata)
    }
}

/// One version in a secret's history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionInfo {
    /// The token.
    pub version: Version,
    /// Whether `@current` means this one.
    pub current: bool,
    /// When it was made; `None` where the store doesn't keep it.
    pub created: Option<SystemTime>,
    /// When its value expires.
    pub expires_at: Option<SystemTime>,
    /// The store's own labels for it (AWS: staging labels).
    pub labels: Vec<String>,
}

impl VersionInfo {
    /// A version without labels and times.
    #[must_use]
    pub fn new(version: Version, current: bool) -> Self {
        Self {
            version,
            current,
            created: None,
            expires_at: None,
            labels: Vec::new(),
        }
    }
}
