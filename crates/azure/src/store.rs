//! Secrets in Azure Key Vault.

mod deleting;
mod finding;
mod limits;
mod listing;
mod pauses;
mod reading;
mod versions;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use keyfob_core::adapter::NameLocks;
use keyfob_core::{
    Capabilities, DeleteOptions, GetOptions, GetRequest, Health, ListOptions, Metadata, Page, PageRequest, PutRequest, Result,
    Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};

use self::pauses::Purged;
use crate::client::{Listing, Vault};
use crate::config::AzureConfig;
use crate::names::Names;
use crate::permissions::Permission;

/// The scheme of its URLs, and the provider's name in references.
pub(crate) const SCHEME: &str = "azure";

/// The secrets of one vault, those behind a prefix or all. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct AzureStore {
    info: Arc<StoreInfo>,
    inner: Arc<Inner>,
}

struct Inner {
    vault: Vault,
    names: Names,
    capabilities: Capabilities,
    recovery_timeout: Duration,
    locks: NameLocks,
    purged: Purged,
    address: String,
    identity: String,
}

impl AzureStore {
    /// Makes a client. Reads what is logged in with, and asks nobody: the log-in is part of the first request.
    ///
    /// # Errors
    /// `InvalidConfig` for a wrong configuration or a certificate that can't be used, `Unauthenticated` when the token
    /// of a workload identity can't be read.
    pub fn connect(config: &AzureConfig) -> Result<Self> {
        let names = config.names()?;
        let capabilities = capabilities(&names);
        let mut location = config.vault.to_string();
        if !names.prefix().is_empty() {
            location.push_str(&format!(", prefix `{}`", names.prefix()));
        }
        let inner = Inner {
            vault: Vault::new(config).map_err(|error| error.with("store", SCHEME))?,
            capabilities,
            recovery_timeout: config.recovery_timeout,
            locks: NameLocks::default(),
            purged: Purged::default(),
            address: config.vault.to_string(),
            identity: config.identity.to_string(),
            names,
        };
        Ok(Self {
            info: Arc::new(StoreInfo::new(SCHEME, location, capabilities)),
            inner: Arc::new(inner),
        })
    }

    /// Runs a write to its end even when the caller stops waiting: several requests make one write.
    async fn to_the_end<T, F>(&self, name: &SecretName, write: impl FnOnce(Arc<Inner>, SecretName) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let write = write(Arc::clone(&self.inner), name.clone());
        self.inner.locks.alone(name, SCHEME, write).await
    }
}

impl fmt::Debug for AzureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureStore")
            .field("location", &self.info.location)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for AzureStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        self.inner.get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.inner.get_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        limits::check(name, &request)?;
        self.to_the_end(name, |inner, name| async move { inner.put(&name, request).await })
            .await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.info.capabilities.check_delete(name, options)?;
        let mode = options.mode;
        self.to_the_end(name, move |inner, name| async move { inner.delete(&name, mode).await })
            .await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.info.capabilities.check_restore(name)?;
        self.to_the_end(name, |inner, name| async move { inner.restore(&name).await })
            .await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.info.capabilities.check_list(options)?;
        self.inner.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.info.capabilities.check_versions(name)?;
        self.inner.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        let inner = &self.inner;
        let mut health = Health::default();
        health.details = vec![("vault", inner.address.clone())];
        let (listed, read) = join(inner.vault.list(Listing::Secrets, 1, None), inner.vault.get_nothing()).await;
        // The vault knows who asks, so what is allowed for single secrets can work.
        for (answer, permission, what) in [
            (
                read,
                Permission::Get,
                "read secrets, but for single ones that they may have been given",
            ),
            (listed.map(drop), Permission::List, "list secrets"),
        ] {
            match answer {
                Ok(()) => {}
                Err(failed) if failed.lacks_permission() => health.warnings.push(format!(
                    "these credentials may not {what} (`{}`, or `{}` in an access policy)",
                    permission.action(),
                    permission.in_policy()
                )),
                Err(failed) => return Err(failed.into_error().with("identity", inner.identity.as_str())),
            }
        }
        // Only who has asked knows which of two it was.
        if let Some(chosen) = inner.vault.chosen_credential() {
            health.details.push(("logged in by", chosen.to_owned()));
        }
        Ok(health)
    }
}

pub(crate) fn capabilities(names: &Names) -> Capabilities {
    let mut can = Capabilities::FULL;
    // Key Vault has no precondition for a write: a put of a name that is taken is a new version.
    can.put_create = false;
    can.put_match = false;
    can.binary = false;
    // How long a vault keeps what is deleted is a setting of the vault.
    can.recovery_window = None;
    can.names = names.rule();
    can.max_name_bytes = names.max_bytes();
    can.max_value_bytes = limits::MAX_VALUE_BYTES;
    can.max_tags = limits::MAX_TAGS;
    can
}
