//! Connecting the stores of a failover list.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use keyfob_core::{
    Connected, DeleteOptions, Environment, Failover, FailoverStore, GetOptions, GetRequest, Health, ListOptions, Metadata, Page,
    PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, StoreUrl, TraceLayer, VersionInfo, async_trait,
};
use tokio::sync::OnceCell;

use super::connect as connect_one;
use crate::layers::LayerSettings;
use crate::select::Choice;

/// A store and what tells it apart from the others, in a list and in metrics.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) label: String,
    pub(super) url: StoreUrl,
}

impl Member {
    /// Its label is its name in `keyfob.toml`, else its scheme.
    pub(super) fn new(name: Option<&str>, url: &StoreUrl) -> Self {
        Self {
            label: name.unwrap_or(url.scheme()).to_owned(),
            url: url.clone(),
        }
    }
}

/// The stores of a choice. Where a label is there already, it gets a number.
pub(super) fn members(choice: &Choice) -> Vec<Member> {
    let stores =
        std::iter::once((&choice.url, &choice.name)).chain(choice.fallbacks.iter().map(|store| (&store.url, &store.name)));
    let mut taken = BTreeSet::new();
    stores
        .map(|(url, name)| {
            let Member { label: plain, url } = Member::new(name.as_deref(), url);
            let numbered = (2..).map(|number| format!("{plain}-{number}"));
            let label = std::iter::once(plain.clone())
                .chain(numbered)
                .find(|label| taken.insert(label.clone()))
                .unwrap_or(plain);
            Member { label, url }
        })
        .collect()
}

/// Connects all at once. A store that can't be reached now joins the list all the same, and is connected when it is asked
/// and can be; what is wrong in another way (a password, a URL) is an error now, because waiting does not mend it.
pub(super) async fn connect(
    members: &[Member],
    environment: &Environment,
    layers: &LayerSettings,
    trace: TraceLayer,
) -> Result<(Connected, FailoverStore)> {
    let connecting = members.iter().map(|member| connect_one(member, environment, layers, trace));
    let opened = join_all(connecting).await;
    let mut reached = None;
    for answer in &opened {
        match answer {
            Ok(connected) => {
                reached.get_or_insert_with(|| connected.store.clone());
            }
            Err(error) if error.kind().is_retryable() => {}
            Err(error) => return Err(error.clone()),
        }
    }
    let mut changes = None;
    let mut stores: Vec<(&str, Arc<dyn SecretStore>)> = Vec::with_capacity(members.len());
    for (index, (member, answer)) in members.iter().zip(opened).enumerate() {
        let store = match (answer, &reached) {
            (Ok(connected), _) => {
                // The others stand in for the first one, and what it tells of is what readers will see.
                if index == 0 {
                    changes = connected.changes;
                }
                connected.store
            }
            (Err(error), None) => return Err(error),
            (Err(_), Some(reached)) => Arc::new(Late {
                // What it can do is not known yet, but it refuses by itself what it can't.
                info: StoreInfo::new(member.url.scheme(), member.url.to_string(), reached.info().capabilities),
                member: member.clone(),
                environment: environment.clone(),
                layers: layers.clone(),
                trace,
                store: OnceCell::new(),
            }),
        };
        stores.push((&member.label, store));
    }
    let failover = Failover::new(layers.failover.clone()).over(stores)?;
    let mut connected = Connected::new(failover.clone());
    connected.changes = changes;
    Ok((connected, failover))
}

/// A store that could not be reached when the list was made.
struct Late {
    info: StoreInfo,
    member: Member,
    environment: Environment,
    layers: LayerSettings,
    trace: TraceLayer,
    store: OnceCell<Arc<dyn SecretStore>>,
}

impl Late {
    async fn store(&self) -> Result<&Arc<dyn SecretStore>> {
        let connect = || async {
            let connected = connect_one(&self.member, &self.environment, &self.layers, self.trace).await?;
            Ok(connected.store)
        };
        self.store.get_or_try_init(connect).await
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late")
            .field("url", &self.member.url.to_string())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for Late {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.store().await?.get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        match self.store().await {
            Ok(store) => store.get_many(requests).await,
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.store().await?.put(name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.store().await?.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.store().await?.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.store().await?.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.store().await?.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.store().await?.health().await
    }
}
