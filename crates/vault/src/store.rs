//! The verbs.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use keyfob_core::adapter::{NameLocks, Ramp};
use keyfob_core::{
    Capabilities, DeleteOptions, Deleted, Error, ErrorKind, GetOptions, GetRequest, Health, ListOptions, Metadata, Page,
    PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo,
};
use tokio::sync::OnceCell;

use crate::client::{ApiPath, Vault};
use crate::config::{KvVersion, VaultConfig};
use crate::kv::{Place, SCHEME, not_found, version_of};
use crate::kv1::{self, Kv1};
use crate::kv2::{self, History, Kv2, State};
use crate::listing::{Found, Wanted, folder, number_below, path_after, token_after, token_below};

/// So many secrets' metadata are read at once for a listing.
const LISTED_AT_ONCE: usize = 64;
/// The most items on a page of a listing.
const MAX_PAGE: usize = 1000;

/// A KV mount of a Vault or OpenBao server. Cheap to clone; clones share the connection.
///
/// With [`VaultConfig::kv_version`] open, the server is asked once which version the mount has, at the same time as the
/// first reads. Until then [`info`](SecretStore::info) promises what KV 2 can; on a KV 1 mount the rest is `Unsupported`
/// after the look-up.
#[derive(Clone)]
pub struct VaultStore(Arc<Inner>);

struct Inner {
    info: StoreInfo,
    vault: Vault,
    place: Place,
    version: OnceCell<KvVersion>,
    locks: NameLocks,
}

impl VaultStore {
    /// Opens the mount that `config` names. Sends nothing: the first request connects and logs in.
    ///
    /// # Errors
    /// Those of [`Vault::connect`]; `InvalidConfig` for a prefix that no name can have.
    pub async fn connect(config: &VaultConfig) -> Result<Self> {
        Self::new(Vault::connect(config).await?, config)
    }

    /// The mount that `config` names on a connection that is there.
    ///
    /// # Errors
    /// `InvalidConfig` for a prefix that no name can have.
    pub fn new(vault: Vault, config: &VaultConfig) -> Result<Self> {
        let place = Place {
            mount: config.mount.clone(),
            prefix: config.prefix.clone(),
        };
        let with_prefix = SecretName::new(format!("{}x", place.prefix));
        if !with_prefix.is_ok_and(|name| !name.is_absolute()) {
            let error = Error::new(ErrorKind::InvalidConfig, "the prefix can't begin a name");
            return Err(error
                .with("prefix", place.prefix.escape_debug().to_string())
                .with_hint("a prefix is like `app/`"));
        }
        let capabilities = match config.kv_version {
            Some(KvVersion::V1) => kv1::capabilities(),
            Some(KvVersion::V2) | None => kv2::capabilities(),
        };
        let mut location = vault.address().to_owned();
        if let Some(namespace) = vault.namespace() {
            location.push_str(&format!(" namespace {namespace}"));
        }
        location.push_str(&format!(" {}/{}", place.mount, place.prefix));
        Ok(Self(Arc::new(Inner {
            info: StoreInfo::new(SCHEME, location, capabilities),
            vault,
            place,
            version: OnceCell::new_with(config.kv_version),
            locks: NameLocks::default(),
        })))
    }

    /// The connection, for what is not a secret store: transit, leases.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    fn capabilities(&self) -> &Capabilities {
        &self.0.info.capabilities
    }

    fn kv1(&self) -> Kv1<'_> {
        Kv1 {
            vault: &self.0.vault,
            place: &self.0.place,
        }
    }

    fn kv2(&self) -> Kv2<'_> {
        Kv2 {
            vault: &self.0.vault,
            place: &self.0.place,
            locks: &self.0.locks,
        }
    }

    /// Which version the mount has: asked for once, however many wait for it.
    async fn version(&self) -> Result<KvVersion> {
        let Inner {
            vault, place, version, ..
        } = &*self.0;
        version.get_or_try_init(|| version_of(vault, &place.mount)).await.copied()
    }

    /// The version for a write to a name, or for another verb that names a secret of the mount.
    async fn version_for(&self, name: &SecretName) -> Result<KvVersion> {
        if name.is_absolute() {
            let message = "a path of the server can only be read: a name with a `/` in front is none of the store";
            return Err(Error::new(ErrorKind::Unsupported, message).with("name", name.as_str()));
        }
        self.version().await
    }

    /// One read, as if the version were known; `None` is KV 2, on trial.
    async fn read(&self, version: Option<KvVersion>, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let read = if name.is_absolute() {
            kv1::capabilities().check_get(name, options)?;
            self.0.vault.read_logical(name).await
        } else if version == Some(KvVersion::V1) {
            kv1::capabilities().check_get(name, options)?;
            self.kv1().read(name).await
        } else {
            self.kv2().read(name, options).await
        };
        read.map_err(|error| about(error, name))
    }

    async fn read_all(&self, version: Option<KvVersion>, requests: &[&GetRequest]) -> Vec<Result<Secret>> {
        let mut reads = Vec::with_capacity(requests.len());
        for request in requests {
            reads.push(self.read(version, &request.name, &request.options));
        }
        Ramp::HTTP1.all(reads).await
    }

    /// Reads as KV 2 without waiting for the look-up that goes on at the same time, and hands nothing out before it said
    /// so: on KV 1 the same request reaches another secret, `data/NAME`.
    async fn read_while_looking_up(&self, requests: &[&GetRequest]) -> Vec<Result<Secret>> {
        if let Some(version) = self.0.version.get() {
            return self.read_all(Some(*version), requests).await;
        }
        if requests.iter().all(|request| request.name.is_absolute()) {
            return self.read_all(None, requests).await;
        }
        let (mut answers, version) = join(self.read_all(None, requests), self.version()).await;
        match version {
            Ok(KvVersion::V2) => {}
            Ok(KvVersion::V1) => {
                let is_relative = |request: &&&GetRequest| !request.name.is_absolute();
                let again: Vec<&GetRequest> = requests.iter().filter(is_relative).copied().collect();
                let mut again = self.read_all(Some(KvVersion::V1), &again).await.into_iter();
                for (answer, _) in answers.iter_mut().zip(requests).filter(|(_, request)| is_relative(request)) {
                    if let Some(new) = again.next() {
                        *answer = new;
                    }
                }
            }
            Err(unknown) => {
                for (answer, request) in answers.iter_mut().zip(requests) {
                    if !request.name.is_absolute() && may_be_another_secrets(answer) {
                        *answer = Err(about(unknown.clone(), &request.name));
                    }
                }
            }
        }
        answers
    }

    /// The next paths of a listing.
    async fn find(&self, version: KvVersion, wanted: &Wanted) -> Result<Found> {
        let mount = ApiPath::parse(&self.0.place.mount)?;
        let endpoint = match version {
            KvVersion::V1 => mount,
            KvVersion::V2 => mount.join("metadata")?,
        };
        wanted
            .find(|inside| {
                let endpoint = endpoint.clone();
                async move { folder(&self.0.vault, endpoint, &inside).await }
            })
            .await
    }

    /// A page of names alone.
    async fn list_names(&self, mut wanted: Wanted, limit: usize) -> Result<Page<Metadata>> {
        wanted.enough = limit;
        let found = self.find(KvVersion::V1, &wanted).await?;
        let next = found.paths.last().filter(|_| found.more).map(|last| token_after(last));
        let names = found.paths.iter().filter_map(|path| self.0.place.name(path));
        let items = names.map(|name| self.kv1().metadata(&name)).collect();
        Ok(Page { items, next })
    }

    /// A page of secrets: the server's listing doesn't say which of them are deleted, so each is looked at.
    async fn list_secrets(&self, mut wanted: Wanted, limit: usize, deleted: Deleted) -> Result<Page<Metadata>> {
        let mut items = Vec::new();
        loop {
            wanted.enough = (limit - items.len()).max(LISTED_AT_ONCE);
            let found = self.find(KvVersion::V2, &wanted).await?;
            let mut looks = Vec::with_capacity(found.paths.len());
            for path in &found.paths {
                looks.push(self.describe(path, deleted));
            }
            let described: Vec<Option<Metadata>> = stream::iter(looks).buffered(LISTED_AT_ONCE).try_collect().await?;
            let last = found.paths.len();
            for (index, metadata) in described.into_iter().enumerate() {
                items.extend(metadata);
                if items.len() == limit {
                    let more = found.more || index + 1 < last;
                    let next = more.then(|| token_after(&found.paths[index]));
                    return Ok(Page { items, next });
                }
            }
            if !found.more {
                return Ok(Page { items, next: None });
            }
            wanted.after = found.paths.into_iter().last();
        }
    }

    /// A secret of a listing, unless it is none or not of the kind that is listed.
    async fn describe(&self, path: &str, deleted: Deleted) -> Result<Option<Metadata>> {
        let Some(name) = self.0.place.name(path) else {
            tracing::debug!(target: "keyfob", ?path, "a secret whose name keyfob can't express is not listed");
            return Ok(None);
        };
        let history = match self.kv2().history(&name).await {
            // What can't be looked at does not hide all the others.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(self.unseen(&name, deleted, &error)),
            other => other.map_err(|error| about(error, &name))?,
        };
        let is_listed = |history: &History| match history.state() {
            State::Live => deleted == Deleted::Exclude,
            State::Deleted(_) => deleted == Deleted::Only,
            State::Gone => false,
        };
        let Some(history) = history.filter(is_listed) else {
            return Ok(None);
        };
        match history.metadata(&name) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(self.unseen(&name, deleted, &error)),
            other => other.map(Some).map_err(|error| about(error, &name)),
        }
    }

    /// The name alone, in a listing of what is not deleted.
    fn unseen(&self, name: &SecretName, deleted: Deleted, error: &Error) -> Option<Metadata> {
        tracing::warn!(target: "keyfob", name = name.as_str(), kind = %error.kind(), "a secret is listed without its metadata");
        (deleted == Deleted::Exclude).then(|| self.kv1().metadata(name))
    }
}

impl fmt::Debug for VaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultStore")
            .field("location", &self.0.info.location)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for VaultStore {
    fn info(&self) -> &StoreInfo {
        &self.0.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let request = GetRequest {
            name: name.clone(),
            options: options.clone(),
        };
        let mut answers = self.get_many(&[request]).await;
        answers.pop().unwrap_or_else(|| Err(not_found(name)))
    }

    /// One request for each secret, all at once. Equal requests are one: what makes credentials makes them once.
    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut places: HashMap<&GetRequest, usize> = HashMap::new();
        let mut different: Vec<&GetRequest> = Vec::new();
        for request in requests {
            let is_possible = self.capabilities().check_get(&request.name, &request.options).is_ok();
            if is_possible && !places.contains_key(request) {
                places.insert(request, different.len());
                different.push(request);
            }
        }
        if different.is_empty() {
            return requests.iter().map(|request| Err(self.impossible(request))).collect();
        }
        let answers = self.read_while_looking_up(&different).await;
        requests
            .iter()
            .map(|request| match places.get(request).and_then(|place| answers.get(*place)) {
                Some(answer) => answer.clone(),
                None => Err(self.impossible(request)),
            })
            .collect()
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.capabilities().check_put(name, &request)?;
        let written = match (self.version_for(name).await?, &request.value) {
            (KvVersion::V2, _) => self.kv2().put(name, &request).await,
            (KvVersion::V1, value) => {
                kv1::capabilities().check_put(name, &request)?;
                match value {
                    Some(value) => self.kv1().write(name, value).await,
                    None => Err(Error::new(ErrorKind::Unsupported, "KV 1 keeps no metadata")),
                }
            }
        };
        written.map_err(|error| about(error, name))
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.capabilities().check_delete(name, options)?;
        let deleted = match self.version_for(name).await? {
            KvVersion::V2 => self.kv2().delete(name, options.mode).await,
            KvVersion::V1 => {
                kv1::capabilities().check_delete(name, options)?;
                self.kv1().delete(name).await
            }
        };
        deleted.map_err(|error| about(error, name))
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.capabilities().check_restore(name)?;
        if self.version_for(name).await? == KvVersion::V1 {
            kv1::capabilities().check_restore(name)?;
        }
        self.kv2().restore(name).await.map_err(|error| about(error, name))
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.capabilities().check_list(options)?;
        let limit = options.page.limit_up_to(MAX_PAGE)?;
        let wanted = Wanted {
            prefix: format!("{}{}", self.0.place.prefix, options.prefix),
            after: options.page.token.as_ref().map(path_after).transpose()?,
            enough: limit,
        };
        match self.version().await? {
            KvVersion::V2 => self.list_secrets(wanted, limit, options.deleted).await,
            KvVersion::V1 => {
                kv1::capabilities().check_list(options)?;
                self.list_names(wanted, limit).await
            }
        }
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.capabilities().check_versions(name)?;
        let limit = page.limit_up_to(MAX_PAGE)?;
        let below = page.token.as_ref().map_or(Ok(u64::MAX), number_below)?;
        if self.version_for(name).await? == KvVersion::V1 {
            kv1::capabilities().check_versions(name)?;
        }
        let history = self.kv2().present(name).await.map_err(|error| about(error, name))?;
        let mut older = history.live().filter(|number| *number < below);
        let numbers: Vec<u64> = older.by_ref().take(limit).collect();
        let next = numbers
            .last()
            .filter(|_| older.next().is_some())
            .map(|last| token_below(*last));
        let items = numbers
            .into_iter()
            .map(|number| history.version_info(number))
            .collect::<Result<_>>()?;
        Ok(Page { items, next })
    }

    async fn health(&self) -> Result<Health> {
        let vault = &self.0.vault;
        let (server, token) = join(vault.server_health(), vault.token_info()).await;
        let mut health = Health::default();
        match (server, token) {
            (server, Ok(_)) => {
                // A proxy may keep the server's own page from us; the token's answer is enough.
                if let Ok(server) = server {
                    health.details.push(("version", server.version));
                    health.details.extend(server.cluster.map(|cluster| ("cluster", cluster)));
                    health.details.push(("standby", server.standby.to_string()));
                }
            }
            // That it is sealed says more than that it does not know the token.
            (Err(server), Err(_)) if server.kind() == ErrorKind::Unavailable => return Err(server),
            (_, Err(token)) => return Err(token),
        }
        health.warnings.extend(vault.warnings().iter().cloned());
        Ok(health)
    }
}

impl VaultStore {
    fn impossible(&self, request: &GetRequest) -> Error {
        let checked = self.capabilities().check_get(&request.name, &request.options);
        checked.err().unwrap_or_else(|| not_found(&request.name))
    }
}

/// Whether the answer of a read on trial could be about another secret, or hide that the mount is not what it seems.
fn may_be_another_secrets(answer: &Result<Secret>) -> bool {
    let is_about_the_request = |kind: ErrorKind| {
        kind.is_retryable()
            || matches!(
                kind,
                ErrorKind::Unauthenticated | ErrorKind::InvalidConfig | ErrorKind::Unsupported
            )
    };
    !matches!(answer, Err(error) if is_about_the_request(error.kind()))
}

fn about(error: Error, name: &SecretName) -> Error {
    error.with("name", name.as_str())
}
