#![doc = include_str!("../README.md")]

mod client;
mod config;
mod error;
mod metadata;
mod names;
mod object;
mod store;
mod watch;

use keyfob_core::{Backend, Connected};

pub use config::KubernetesConfig;
pub use names::data_key;
pub use store::KubernetesStore;
pub use watch::KubernetesChanges;

/// Kubernetes Secrets: `k8s://NAMESPACE` for an object per secret, `k8s://NAMESPACE/NAME` for the keys of one object.
pub const BACKEND: Backend = Backend {
    scheme: store::SCHEME,
    aliases: &["kubernetes"],
    summary: "Kubernetes Secrets",
    url_help: "k8s://NAMESPACE or k8s://NAMESPACE/NAME",
    parameters: KubernetesConfig::PARAMETERS,
    identity: Some(|url, environment| Ok(config::Access::find(&KubernetesConfig::from_url(url, environment)?)?.identity)),
    place: Some(config::place),
    connect: |url, environment| {
        Box::pin(async move {
            let store = KubernetesStore::connect(&KubernetesConfig::from_url(&url, environment)?).await?;
            let changes = store.changes();
            Ok(Connected::new(store).with_changes(changes))
        })
    },
};
