//! Secrets in AWS Secrets Manager.

mod batch;
mod creating;
mod deleting;
mod extras;
mod labels;
mod limits;
mod listing;
mod metadata;
mod reading;
mod versions;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use keyfob_core::adapter::NameLocks;
use keyfob_core::{
    Capabilities, DeleteOptions, GetOptions, GetRequest, Health, ListOptions, Metadata, NameRule, Page, PageRequest, PutRequest,
    Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};

pub use self::extras::{ReplicaStatus, Rotation};
pub use self::reading::is_version_id;
use crate::client::{hide_bodies, sdk_config};
use crate::config::AwsConfig;
use crate::error::{Failed, failed};
use crate::names::{Names, rule};

/// The scheme of its URLs, and the provider's name in references.
pub(crate) const SCHEME: &str = "aws";

/// The secrets of one account in one region, those behind a prefix or all. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct AwsStore {
    info: Arc<StoreInfo>,
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    names: Names,
    capabilities: Capabilities,
    recovery_days: i64,
    timeout: Duration,
    /// BatchGetSecretValue is not allowed, as was found out once.
    batch_denied: AtomicBool,
    locks: NameLocks,
    region: String,
    /// Values cross a network in the clear.
    is_exposed: bool,
}

impl AwsStore {
    /// Finds region and credentials and makes a client. Asks nobody when both stand in the environment or the URL.
    ///
    /// # Errors
    /// `InvalidConfig` without a region or for a wrong configuration, `Unauthenticated` without credentials; both say
    /// what was looked for.
    pub async fn connect(config: &AwsConfig) -> Result<Self> {
        let sdk = sdk_config(config).await?;
        let region = sdk.region().map(ToString::to_string).unwrap_or_default();
        let mut builder = Builder::from(&sdk).interceptor(hide_bodies());
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let names = Names::new(config.prefix.as_str());
        let capabilities = capabilities(&names);
        let inner = Inner {
            client: Client::from_conf(builder.build()),
            capabilities,
            recovery_days: i64::try_from(config.recovery_window.as_secs() / DAY).unwrap_or(30),
            timeout: config.timeout,
            batch_denied: AtomicBool::new(false),
            locks: NameLocks::default(),
            is_exposed: config.endpoint.as_deref().is_some_and(is_exposed),
            region,
            names,
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

impl fmt::Debug for AwsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsStore")
            .field("location", &self.info.location)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for AwsStore {
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
        limits::check_own(name)?;
        let options = *options;
        self.to_the_end(name, move |inner, name| async move { inner.delete(&name, options).await })
            .await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.info.capabilities.check_restore(name)?;
        limits::check_own(name)?;
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
        health.details = vec![("region", inner.region.clone())];
        match inner.client.list_secrets().max_results(1).send().await.map_err(failed) {
            Ok(answer) if answer.secret_list.is_some() => {}
            Ok(_) => return Err(Failed::incomprehensible().into_error()),
            // The service knows who asks, so reads can work.
            Err(failed) if failed.is_denied() => {
                health
                    .warnings
                    .push("these credentials may not list secrets (`secretsmanager:ListSecrets`)".to_owned());
            }
            Err(failed) => return Err(failed.into_error()),
        }
        if inner.is_exposed {
            health
                .warnings
                .push("the endpoint is not `https:`, so secrets cross the network in the clear".to_owned());
        }
        Ok(health)
    }
}

const DAY: u64 = 86_400;

pub(crate) fn capabilities(names: &Names) -> Capabilities {
    let mut can = Capabilities::FULL;
    can.empty_value = false;
    can.recovery_window = Some(AwsConfig::RECOVERY_WINDOWS);
    can.names = NameRule::Custom(rule);
    can.max_name_bytes = names.max_bytes();
    can.max_value_bytes = 65_536;
    can.max_tags = 50;
    can
}

fn location(inner: &Inner, config: &AwsConfig) -> String {
    let mut location = inner.region.clone();
    if !inner.names.prefix().is_empty() {
        location.push_str(&format!(", prefix `{}`", inner.names.prefix()));
    }
    if let Some(endpoint) = &config.endpoint {
        location.push_str(&format!(", at {endpoint}"));
    }
    location
}

/// Whether values would cross a network in the clear.
fn is_exposed(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let is_loopback = host.parse().is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback());
    !is_loopback && !matches!(host, "localhost" | "[::1]") && !host.ends_with(".localhost")
}
