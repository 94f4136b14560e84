//! Secrets in Kubernetes: an object per secret, or the keys of one object.

mod batch;
mod guard;
mod health;
mod keys;
mod listing;
mod objects;
mod value;

use std::fmt;
use std::sync::Arc;

use keyfob_core::{
    Capabilities, DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, Health, ListOptions, Metadata, NameRule, Page,
    PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};

use self::keys::Keys;
use self::objects::Objects;
use crate::client::Cluster;
use crate::config::{Access, KubernetesConfig, check_namespace};
use crate::metadata::checked_expiry;
use crate::names::{self, MAX_BYTES};
use crate::object::MAX_DATA_BYTES;
use crate::watch::KubernetesChanges;

/// The scheme of its URLs, and the provider's name in references.
pub(crate) const SCHEME: &str = "k8s";
/// As many as other stores have; what limits is that all annotations together have 256 KiB.
const MAX_TAGS: usize = 64;

/// The Secrets of one namespace, or the keys of one Secret. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct KubernetesStore {
    info: Arc<StoreInfo>,
    shape: Shape,
    /// What health has to say about the configuration.
    is_unverified: bool,
}

#[derive(Clone)]
enum Shape {
    Objects(Arc<Objects>),
    Keys(Arc<Keys>),
}

impl KubernetesStore {
    /// Finds the cluster and the credentials and makes a client. Asks nobody; runs the program that gives the credentials,
    /// when the kubeconfig names one.
    ///
    /// # Errors
    /// `InvalidConfig` without a cluster or for a wrong configuration, `Unauthenticated` when the program fails; both say
    /// what was looked at.
    pub async fn connect(config: &KubernetesConfig) -> Result<Self> {
        config.check()?;
        let access = Access::find(config)?;
        let namespace = config.namespace.clone().unwrap_or_else(|| access.namespace.clone());
        check_namespace(&namespace)?;
        let cluster = Arc::new(Cluster::connect(config, &access).await?);
        let mut capabilities = capabilities();
        let (shape, place) = match &config.secret {
            None => {
                let place = format!("namespace `{namespace}` of {}", cluster.server());
                (Shape::Objects(Arc::new(Objects { cluster, namespace })), place)
            }
            Some(object) => {
                capabilities.names = NameRule::Custom(names::key_rule);
                let place = format!("Secret `{object}` in namespace `{namespace}` of {}", cluster.server());
                let object = object.clone();
                (
                    Shape::Keys(Arc::new(Keys {
                        cluster,
                        namespace,
                        object,
                    })),
                    place,
                )
            }
        };
        Ok(Self {
            info: Arc::new(StoreInfo::new(SCHEME, format!("{place}, {}", access.source), capabilities)),
            shape,
            is_unverified: access.kube.accept_invalid_certs,
        })
    }

    /// What tells of changes in this store, over the same connections.
    #[must_use]
    pub fn changes(&self) -> KubernetesChanges {
        match &self.shape {
            Shape::Objects(objects) => KubernetesChanges::of_objects(Arc::clone(&objects.cluster), &objects.namespace),
            Shape::Keys(keys) => KubernetesChanges::of_keys(Arc::clone(&keys.cluster), &keys.namespace, &keys.object),
        }
    }
}

impl fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesStore")
            .field("location", &self.info.location)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for KubernetesStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        match &self.shape {
            Shape::Objects(objects) => objects.get(name, options).await,
            Shape::Keys(keys) => keys.get(name, options).await,
        }
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let capabilities = &self.info.capabilities;
        match &self.shape {
            Shape::Objects(objects) => objects.get_many(capabilities, requests).await,
            Shape::Keys(keys) => keys.get_many(capabilities, requests).await,
        }
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        checked_expiry(&request).map_err(|error| error.with("name", name.as_str()))?;
        match &self.shape {
            Shape::Objects(objects) => objects.put(name, &request).await,
            Shape::Keys(keys) => keys.put(name, &request).await,
        }
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.info.capabilities.check_delete(name, options)?;
        match &self.shape {
            Shape::Objects(objects) => objects.delete(name).await,
            Shape::Keys(keys) => keys.delete(name).await,
        }
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.info.capabilities.check_restore(name)?;
        Err(impossible())
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.info.capabilities.check_list(options)?;
        let range = listing::Range::new(options)?;
        let all = match &self.shape {
            Shape::Objects(objects) => objects.list(&range).await?,
            Shape::Keys(keys) => keys.list(&range).await?,
        };
        Ok(range.page(all))
    }

    async fn versions(&self, name: &SecretName, _page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.info.capabilities.check_versions(name)?;
        Err(impossible())
    }

    async fn health(&self) -> Result<Health> {
        let mut health = match &self.shape {
            Shape::Objects(objects) => objects.health().await?,
            Shape::Keys(keys) => keys.health().await?,
        };
        if self.is_unverified {
            health.warnings.push(
                "the certificate of the API server is not checked (`insecure-skip-tls-verify`): whoever stands between can read \
                 the secrets"
                    .to_owned(),
            );
        }
        Ok(health)
    }
}

fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::FULL;
    capabilities.delete_recoverable = false;
    capabilities.deleted_reserves_name = false;
    capabilities.versions = false;
    capabilities.names = NameRule::Custom(names::object_rule);
    capabilities.max_name_bytes = MAX_BYTES;
    capabilities.max_value_bytes = MAX_DATA_BYTES;
    capabilities.max_tags = MAX_TAGS;
    capabilities
}

/// The capabilities have refused it before.
fn impossible() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "Kubernetes keeps no versions and nothing that was deleted",
    )
}
