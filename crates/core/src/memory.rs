//! A store in memory: for tests, and the plainest reading of the contract.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use crate::capabilities::Capabilities;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{
    DeleteMode, DeleteOptions, Deleted, Expired, GetOptions, GetRequest, ListOptions, Page, PageRequest, PageToken, PutMode,
    PutRequest, VersionSelector,
};
use crate::secret::{Metadata, Secret, Version, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};
use crate::value::SecretValue;

/// Keeps secrets for as long as the process lives, with every capability of the contract.
pub struct MemoryStore {
    info: StoreInfo,
    clock: Arc<dyn Clock>,
    secrets: Mutex<BTreeMap<SecretName, History>>,
}

struct History {
    /// Oldest first; the last one is current.
    versions: Vec<Stored>,
    /// The number of the newest version ever made; never falls, so that no token is given twice.
    last: u64,
    deleted_at: Option<SystemTime>,
}

struct Stored {
    number: u64,
    value: SecretValue,
    metadata: Metadata,
}

const SCHEME: &str = "memory";
const MAX_PAGE: usize = 1000;

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            info: StoreInfo::new(SCHEME, "this process", Capabilities::FULL),
            clock: Arc::new(SystemClock::new()),
            secrets: Mutex::default(),
        }
    }

    /// Takes the time of day from here; the default is [`SystemClock`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Nothing is left half-written when a caller panics, so a poisoned lock is still whole.
    fn secrets(&self) -> MutexGuard<'_, BTreeMap<SecretName, History>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        let secrets = self.secrets();
        let history = secrets.get(name).ok_or_else(|| not_found(name))?;
        if history.deleted_at.is_some() {
            return Err(not_found(name).with_hint("it is deleted and can be restored"));
        }
        let stored = match &options.version {
            VersionSelector::Current => history.versions.last(),
            VersionSelector::Previous => history.versions.iter().rev().nth(1),
            VersionSelector::Exact(version) => history
                .versions
                .iter()
                .find(|stored| stored.number.to_string() == version.as_str()),
        };
        let stored = stored.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no such version")
                .with("name", name.as_str())
                .with("version", options.version.to_string())
        })?;
        if options.expired == Expired::Refuse && stored.metadata.is_expired(self.clock.system_now()) {
            return Err(Error::new(ErrorKind::Expired, "the secret has expired").with("name", name.as_str()));
        }
        Ok(Secret::new(stored.value.clone(), stored.metadata.clone()))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for MemoryStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.read(name, options)
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        requests
            .iter()
            .map(|request| self.read(&request.name, &request.options))
            .collect()
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        let mut secrets = self.secrets();
        let history = secrets.get(name);
        if history.is_some_and(|history| history.deleted_at.is_some()) {
            return Err(Error::new(ErrorKind::Conflict, "the name belongs to a deleted secret")
                .with("name", name.as_str())
                .with_hint("restore it, or delete it for good"));
        }
        let current = history.and_then(|history| history.versions.last());
        match (&request.mode, current) {
            (PutMode::Create, Some(_)) => {
                return Err(Error::new(ErrorKind::AlreadyExists, "the secret exists already").with("name", name.as_str()));
            }
            (PutMode::Match(_), None) => return Err(not_found(name)),
            (PutMode::Match(expected), Some(current)) if current.metadata.version.as_ref() != Some(expected) => {
                return Err(Error::new(ErrorKind::Conflict, "another version is current").with("name", name.as_str()));
            }
            _ => {}
        }
        let now = self.clock.system_now();
        let mut metadata = current.map_or_else(|| Metadata::new(name.clone(), SCHEME), |current| current.metadata.clone());
        metadata.updated = Some(now);
        metadata.description = request.description.apply(metadata.description);
        metadata.tags = request.tags.apply(Some(metadata.tags)).unwrap_or_default();
        metadata.expires_at = request.expires_at.apply(metadata.expires_at);
        match request.value {
            None => {
                let current = secrets
                    .get_mut(name)
                    .and_then(|history| history.versions.last_mut())
                    .ok_or_else(|| not_found(name))?;
                current.metadata = metadata.clone();
            }
            Some(value) => {
                let history = secrets.entry(name.clone()).or_insert_with(|| History {
                    versions: Vec::new(),
                    last: 0,
                    deleted_at: None,
                });
                history.last += 1;
                metadata.created = Some(now);
                metadata.version = Some(Version::from(history.last));
                history.versions.push(Stored {
                    number: history.last,
                    value,
                    metadata: metadata.clone(),
                });
            }
        }
        Ok(metadata)
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.info.capabilities.check_delete(name, options)?;
        let mut secrets = self.secrets();
        let history = secrets.get_mut(name).ok_or_else(|| not_found(name))?;
        match options.mode {
            DeleteMode::Permanent => {
                secrets.remove(name);
            }
            DeleteMode::Recoverable { .. } | DeleteMode::StoreDefault if history.deleted_at.is_some() => {
                return Err(not_found(name));
            }
            DeleteMode::Recoverable { .. } | DeleteMode::StoreDefault => history.deleted_at = Some(self.clock.system_now()),
        }
        Ok(())
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.info.capabilities.check_restore(name)?;
        let mut secrets = self.secrets();
        let history = secrets.get_mut(name).ok_or_else(|| not_found(name))?;
        history.deleted_at = None;
        history
            .versions
            .last()
            .map(|current| current.metadata.clone())
            .ok_or_else(|| not_found(name))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.info.capabilities.check_list(options)?;
        let limit = options.page.limit_up_to(MAX_PAGE)?;
        let start = match &options.page.token {
            Some(token) => Bound::Excluded(SecretName::new(token.as_str())?),
            None => Bound::Unbounded,
        };
        let secrets = self.secrets();
        let mut items: Vec<Metadata> = secrets
            .range((start, Bound::Unbounded))
            .filter(|(name, history)| {
                name.as_str().starts_with(&options.prefix) && history.deleted_at.is_some() == (options.deleted == Deleted::Only)
            })
            .filter_map(|(_, history)| {
                let mut metadata = history.versions.last()?.metadata.clone();
                metadata.deleted_at = history.deleted_at;
                Some(metadata)
            })
            .take(limit + 1)
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| PageToken::new(last.name.as_str()));
        Ok(Page { items, next })
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.info.capabilities.check_versions(name)?;
        let limit = page.limit_up_to(MAX_PAGE)?;
        let below = match &page.token {
            Some(token) => token
                .as_str()
                .parse()
                .map_err(|_| Error::new(ErrorKind::InvalidInput, "not a page token of this store"))?,
            None => u64::MAX,
        };
        let secrets = self.secrets();
        let history = secrets
            .get(name)
            .filter(|history| history.deleted_at.is_none())
            .ok_or_else(|| not_found(name))?;
        let mut older = history.versions.iter().rev().filter(|stored| stored.number < below);
        let items: Vec<VersionInfo> = older
            .by_ref()
            .take(limit)
            .map(|stored| {
                let mut version = VersionInfo::new(Version::from(stored.number), stored.number == history.last);
                version.created = stored.metadata.created;
                version.expires_at = stored.metadata.expires_at;
                version
            })
            .collect();
        let more = older.next().is_some();
        let next = items
            .last()
            .filter(|_| more)
            .map(|last| PageToken::new(last.version.as_str()));
        Ok(Page { items, next })
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::default())
    }
}

fn not_found(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "no such secret")
        .with("name", name.as_str())
        .with("store", SCHEME)
}
