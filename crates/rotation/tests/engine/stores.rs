//! Stores of every kind, by what they can do, over memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use keyfob_core::{
    Capabilities, DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page,
    PageRequest, PutMode, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, Version, VersionInfo, async_trait,
};

use crate::runner::Runner;

/// What a store can do, as the real ones differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// AWS, SQLite, PostgreSQL, Vault's KV version 2: everything.
    Full,
    /// Kubernetes, `.env` files: compare and set, no history.
    Unversioned,
    /// A hand-written `.env` file, one Kubernetes object for many secrets: compare and set, no history, and a token that changes with
    /// every secret in it.
    OneToken,
    /// Google: history, create, no comparing.
    CreateOnly,
    /// Azure: history, nothing atomic.
    Uncompared,
    /// Vault's KV version 1: neither history nor tokens of versions nor anything atomic.
    Bare,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Full, Self::Unversioned, Self::CreateOnly, Self::Uncompared, Self::Bare];

    /// Whether what a late run writes is refused by the store itself.
    pub(crate) fn compares(self) -> bool {
        matches!(self, Self::Full | Self::Unversioned | Self::OneToken)
    }

    pub(crate) fn has_versions(self) -> bool {
        !matches!(self, Self::Unversioned | Self::OneToken | Self::Bare)
    }

    fn capabilities(self) -> Capabilities {
        let mut can = Capabilities::FULL;
        can.versions = self.has_versions();
        can.put_create = self.compares() || self == Self::CreateOnly;
        can.put_match = self.compares();
        can
    }
}

/// One runner's handle of a store that all share.
#[derive(Debug)]
pub(crate) struct SharedStore {
    kind: Kind,
    info: StoreInfo,
    memory: Arc<MemoryStore>,
    /// How many writes there were: the token of `OneToken`.
    writes: Arc<AtomicU64>,
    runner: Arc<Runner>,
    /// Looks at the world after every write.
    witness: Arc<dyn Witness>,
}

/// Looks at the world.
pub(crate) trait Witness: Send + Sync + std::fmt::Debug {
    fn look(&self, after: &str);
}

impl SharedStore {
    pub(crate) fn new(
        kind: Kind,
        (memory, writes): (Arc<MemoryStore>, Arc<AtomicU64>),
        runner: Arc<Runner>,
        witness: Arc<dyn Witness>,
    ) -> Arc<Self> {
        Arc::new(Self {
            kind,
            info: StoreInfo::new("double", "this test", kind.capabilities()),
            memory,
            writes,
            runner,
            witness,
        })
    }

    fn shown(&self, metadata: &mut Metadata) {
        match self.kind {
            Kind::Bare => metadata.version = None,
            Kind::OneToken => metadata.version = Some(self.token()),
            _ => {}
        }
    }

    fn token(&self) -> Version {
        Version::from(self.writes.load(Ordering::Relaxed))
    }

    async fn write(&self, name: &SecretName, mut request: PutRequest) -> Result<Metadata> {
        if self.kind == Kind::OneToken
            && let PutMode::Match(expected) = &request.mode
        {
            if *expected != self.token() {
                return Err(Error::new(ErrorKind::Conflict, "something in the file has changed"));
            }
            request.mode = PutMode::Upsert;
        }
        let mut metadata = self.memory.put(name, request).await?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.shown(&mut metadata);
        Ok(metadata)
    }
}

/// What is there now, without a call.
pub(crate) fn current(memory: &MemoryStore, name: &SecretName) -> Option<Secret> {
    memory.get(name, &GetOptions::default()).now_or_never()?.ok()
}

#[async_trait]
impl SecretStore for SharedStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        let effect = async {
            let mut secret = self.memory.get(name, options).await?;
            self.shown(secret.metadata_mut());
            Ok(secret)
        };
        self.runner.call(format!("get {name}@{}", options.version), effect).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.memory.get_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        let what = format!("put {name} {:?}", request.mode);
        let effect = async {
            let metadata = self.write(name, request).await?;
            self.witness.look(name.as_str());
            Ok(metadata)
        };
        self.runner.call(what, effect).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.memory.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.memory.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.memory.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.info.capabilities.check_versions(name)?;
        self.memory.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.memory.health().await
    }
}
