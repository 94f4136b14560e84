//! A snapshot as a store that can only be read.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use keyfob_core::{
    Capabilities, Clock, DeleteOptions, Error, ErrorKind, Expired, GetOptions, GetRequest, Health, ListOptions, Metadata, Page,
    PageRequest, PageToken, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};

use crate::snapshot::{SCHEME, Snapshot, not_found};

/// A snapshot as a store that can only be read: to be copied from, or compared with.
///
/// Its versions are those of the store that it is of. It keeps one of each secret, so that only `@current` can be read.
pub struct SnapshotStore {
    info: StoreInfo,
    snapshot: Snapshot,
    clock: Arc<dyn Clock>,
    /// The positions in the manifest of the secrets that it shows.
    shown: Vec<usize>,
}

const MAX_PAGE: usize = 1000;

impl Snapshot {
    /// The snapshot as a store. With `names`, only these of its secrets.
    ///
    /// # Errors
    /// `NotFound` for a name that the snapshot does not have.
    pub fn store(&self, names: Option<&BTreeSet<SecretName>>, clock: Arc<dyn Clock>) -> Result<SnapshotStore> {
        let manifest = &self.0.manifest;
        let shown = match names {
            None => (0..manifest.secrets.len()).collect(),
            Some(names) => names
                .iter()
                .map(|name| manifest.position(name).ok_or_else(|| not_found(name)))
                .collect::<Result<_>>()?,
        };
        let mut can = Capabilities::NONE;
        can.list = true;
        can.binary = true;
        can.empty_value = true;
        let keeps = manifest.summary.keeps;
        (can.description, can.tags, can.expiry) = (keeps.description, keeps.tags, keeps.expiry);
        can.max_tags = usize::MAX;
        Ok(SnapshotStore {
            info: StoreInfo::new(SCHEME, self.0.own.path().display().to_string(), can),
            snapshot: self.clone(),
            clock,
            shown,
        })
    }
}

impl SnapshotStore {
    fn position(&self, name: &SecretName) -> Option<usize> {
        let position = self.snapshot.0.manifest.position(name)?;
        self.shown.binary_search(&position).ok().map(|_| position)
    }
}

#[async_trait]
impl SecretStore for SnapshotStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        let position = self.position(name).ok_or_else(|| not_found(name))?;
        let entry = &self.snapshot.0.manifest.secrets[position];
        let is_expired = entry.expires_at.is_some_and(|expires| expires <= self.clock.system_now());
        if is_expired && options.expired == Expired::Refuse {
            return Err(Error::new(ErrorKind::Expired, "the secret has expired").with("name", name.as_str()));
        }
        self.snapshot.secret(name).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(self.get(&request.name, &request.options).await);
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        Err(read_only(name))
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.info.capabilities.check_delete(name, options)?;
        Err(read_only(name))
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.info.capabilities.check_restore(name)?;
        Err(read_only(name))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.info.capabilities.check_list(options)?;
        let limit = options.page.limit_up_to(MAX_PAGE)?;
        let begin = match &options.page.token {
            None => 0,
            Some(token) => {
                let begin = token.as_str().parse().ok().filter(|begin| *begin < self.shown.len());
                begin.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "this page token is not from this snapshot"))?
            }
        };
        let inner = &self.snapshot.0;
        let mut items = Vec::new();
        for (number, position) in self.shown.iter().enumerate().skip(begin) {
            if !inner.manifest.secrets[*position].name.as_str().starts_with(&options.prefix) {
                continue;
            }
            if items.len() == limit {
                let next = Some(PageToken::new(number.to_string()));
                return Ok(Page { items, next });
            }
            items.push(inner.metadata(*position));
        }
        Ok(Page { items, next: None })
    }

    async fn versions(&self, name: &SecretName, _: &PageRequest) -> Result<Page<VersionInfo>> {
        self.info.capabilities.check_versions(name)?;
        Err(read_only(name))
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::default())
    }
}

impl fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotStore")
            .field("id", &self.snapshot.id())
            .finish_non_exhaustive()
    }
}

/// What the capabilities say already.
fn read_only(name: &SecretName) -> Error {
    Error::new(ErrorKind::Unsupported, "a snapshot can't be changed").with("name", name.as_str())
}
