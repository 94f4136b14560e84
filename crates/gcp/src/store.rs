//! Secrets in Google Cloud Secret Manager.

mod batch;
mod creating;
mod deleting;
mod denied;
mod limits;
mod listing;
mod reading;
mod requests;
mod versions;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use keyfob_core::adapter::NameLocks;
use keyfob_core::{
    Capabilities, DeleteOptions, GetOptions, GetRequest, Health, ListOptions, Metadata, NameRule, Page, PageRequest, PutRequest,
    Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};

use self::denied::Denied;
use crate::config::GcpConfig;
use crate::credentials::Identity;
use crate::machine;
use crate::names::{Names, rule_for};
use crate::permissions::Permission;
use crate::transport::Transport;

/// The scheme of its URLs, and the provider's name in references.
pub(crate) const SCHEME: &str = "gcp";

/// The secrets of one project, global ones or those of one region, those behind a prefix or all. Cheap to clone; clones
/// share connections.
#[derive(Clone)]
pub struct GcpStore {
    info: Arc<StoreInfo>,
    inner: Arc<Inner>,
}

struct Inner {
    client: SecretManagerService,
    /// `projects/P` or `projects/P/locations/L`.
    parent: String,
    is_regional: bool,
    names: Names,
    capabilities: Capabilities,
    timeout: Duration,
    denied: Denied,
    locks: NameLocks,
    project: String,
    location: Option<String>,
    credentials: &'static str,
    /// Values cross a network in the clear.
    is_exposed: bool,
}

impl GcpStore {
    /// Finds project and credentials and makes a client. Asks nobody, unless only the machine can know the project.
    ///
    /// # Errors
    /// `InvalidConfig` without a project, for credentials that can't be used, and for a wrong configuration.
    pub async fn connect(config: &GcpConfig) -> Result<Self> {
        config.check()?;
        let identity = Identity::find(config)?;
        let project = match (&config.project, identity.project()) {
            (Some(project), _) => project.clone(),
            (None, Some(project)) if crate::config::is_project(&project) => project,
            (None, _) => machine::project(&identity).await?,
        };
        let credentials = identity.kind();
        let endpoint = match (&config.endpoint, &config.location) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, None) => format!("https://secretmanager.{}", identity.universe()),
            (None, Some(location)) => format!("https://secretmanager.{location}.rep.{}", identity.universe()),
        };
        let transport = Transport::new(config, &endpoint, identity)?;
        let names = Names::new(config.prefix.as_str());
        let capabilities = capabilities(&names);
        let parent = match &config.location {
            None => format!("projects/{project}"),
            Some(location) => format!("projects/{project}/locations/{location}"),
        };
        let inner = Inner {
            client: SecretManagerService::from_stub::<Transport>(transport),
            parent,
            is_regional: config.location.is_some(),
            names,
            capabilities,
            timeout: config.timeout,
            denied: Denied::default(),
            locks: NameLocks::default(),
            project,
            location: config.location.clone(),
            credentials,
            is_exposed: config.is_exposed(),
        };
        Ok(Self {
            info: Arc::new(StoreInfo::new(SCHEME, location(&inner, config), capabilities)),
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

impl fmt::Debug for GcpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpStore")
            .field("location", &self.info.location)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for GcpStore {
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
        let options = *options;
        self.to_the_end(name, move |inner, name| async move { inner.delete(&name, options).await })
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
        health.details = vec![("project", inner.project.clone())];
        if let Some(location) = &inner.location {
            health.details.push(("location", location.clone()));
        }
        health.details.push(("credentials", inner.credentials.to_owned()));
        let (listed, accessed) = join(inner.list_page(1, String::new(), String::new()), inner.access_nothing()).await;
        // The service knows who asks, so what is allowed for single secrets can work.
        for (answer, permission, what) in [
            (
                accessed,
                Permission::AccessVersion,
                "read secrets, but for single ones that they may have been given",
            ),
            (listed.map(drop), Permission::ListSecrets, "list secrets"),
        ] {
            match answer {
                Ok(()) => {}
                Err(failed) if failed.lacks_permission() => health
                    .warnings
                    .push(format!("these credentials may not {what} (`{}`)", permission.name())),
                Err(failed) => return Err(failed.into_error()),
            }
        }
        if inner.is_exposed {
            health
                .warnings
                .push("the endpoint is not `https:`, so secrets cross the network in the clear".to_owned());
        }
        Ok(health)
    }
}

pub(crate) fn capabilities(names: &Names) -> Capabilities {
    let mut can = Capabilities::FULL;
    // Neither etags nor aliases guard what is current: see the README.
    can.put_match = false;
    can.empty_value = false;
    // Nothing ever removes what is disabled.
    can.recovery_window = None;
    can.deleted_reserves_name = true;
    can.names = NameRule::Custom(rule_for(names.room()));
    can.max_name_bytes = names.room();
    can.max_value_bytes = 65_536;
    can.max_tags = 100;
    can
}

fn location(inner: &Inner, config: &GcpConfig) -> String {
    let mut text = inner.project.clone();
    if let Some(location) = &inner.location {
        text.push_str(&format!("/{location}"));
    }
    if !inner.names.prefix().is_empty() {
        text.push_str(&format!(", prefix `{}`", inner.names.prefix()));
    }
    if let Some(endpoint) = &config.endpoint {
        text.push_str(&format!(", at {endpoint}"));
    }
    text
}
