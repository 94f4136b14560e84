//! Connecting the stores of a failover list.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use keyfob_core::{
    Capabilities, Connected, DeleteOptions, Environment, Error, ErrorKind, Failover, FailoverOptions, FailoverStore,
    FailoverWrites, GetOptions, GetRequest, Health, ListOptions, Metadata, Page, PageRequest, PutRequest, Result, Secret,
    SecretName, SecretStore, StoreInfo, StoreUrl, VersionInfo, async_trait,
};
use tokio::time::Instant;

use super::opener::{Opener, Setup};
use super::places::location_before;
use crate::backends;
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

/// Opens the first store that can be reached, so that it can be said what the list can do, and lays the list over all. A later
/// store is opened when it is asked, and so is one that can't be reached now; what is wrong in another way (a password, a URL)
/// is an error, because waiting does not mend it: now, or when it is asked.
///
/// What replicates opens all: what can be written depends on each of them.
pub(super) async fn connect(openers: &[Arc<Opener>], mut setup: Setup) -> Result<(Connected, FailoverStore)> {
    let LayerSettings { failover, retry, .. } = &mut setup.layers;
    failover.deadline = Some(retry.deadline);
    failover.read_timeout = failover.read_limit(openers.len(), 1);
    let setup = Arc::new(setup);
    let FailoverOptions {
        read_timeout, writes, ..
    } = setup.layers.failover;
    let deadline = Instant::now().checked_add(setup.layers.retry.deadline);
    let open = async |opener: &Arc<Opener>| {
        let left = deadline.map_or(read_timeout, |deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = read_timeout.min(left);
        opener.open(&setup, limit).await.map(drop)
    };
    let mut answers: Vec<Result<()>> = Vec::new();
    if writes == FailoverWrites::Replicate {
        answers = join_all(openers.iter().map(open)).await;
    } else {
        for opener in openers {
            answers.push(open(opener).await);
            if !matches!(answers.last(), Some(Err(error)) if error.kind().is_retryable()) {
                break;
            }
        }
    }
    let failures = || answers.iter().filter_map(|answer| answer.as_ref().err());
    if let Some(wrong) = failures().find(|error| !error.kind().is_retryable()) {
        return Err(wrong.clone());
    }
    let Some(reached) = openers.iter().find_map(|opener| opener.opened()) else {
        let nobody = || Error::new(ErrorKind::InvalidConfig, "the list has no store");
        return Err(failures().next().cloned().unwrap_or_else(nobody));
    };
    let mut stores: Vec<(&str, Arc<dyn SecretStore>)> = Vec::with_capacity(openers.len());
    for (index, opener) in openers.iter().enumerate() {
        let store = match opener.opened() {
            Some(connected) => connected.store.clone(),
            None => {
                let failure = answers.get(index).and_then(|answer| answer.as_ref().err());
                Arc::new(Late {
                    info: unopened(&opener.member, &setup.environment, reached.store.info().capabilities)?,
                    failure: failure.cloned().zip(Instant::now().checked_add(read_timeout)),
                    opener: opener.clone(),
                    setup: setup.clone(),
                })
            }
        };
        stores.push((&opener.member.label, store));
    }
    let failover = Failover::new(setup.layers.failover.clone()).over(stores)?;
    let mut connected = Connected::new(failover.clone());
    // The others stand in for the first one, and what it tells of is what readers will see.
    let first = openers.first().and_then(|opener| opener.opened());
    connected.changes = first.and_then(|first| first.changes.clone());
    Ok((connected, failover))
}

/// What is said of a store before it is open. What it can do is not known yet, but it refuses by itself what it can't.
///
/// # Errors
/// `Unsupported` or `InvalidConfig` when there is no such backend.
fn unopened(member: &Member, environment: &Environment, can: Capabilities) -> Result<StoreInfo> {
    let backend = backends::find(member.url.scheme())?;
    let mut info = StoreInfo::new(backend.scheme, location_before(&member.url, environment), can);
    info.label = (&*member.label).into();
    Ok(info)
}

/// A store that is opened when it is asked.
struct Late {
    /// What is said of it until it is open.
    info: StoreInfo,
    /// Why it could not be reached when the list was made. Until then it is not tried again: whoever waited for the list has
    /// waited for this store.
    failure: Option<(Error, Instant)>,
    opener: Arc<Opener>,
    setup: Arc<Setup>,
}

impl Late {
    async fn store(&self) -> Result<&Arc<dyn SecretStore>> {
        if let Some(opened) = self.opener.opened() {
            return Ok(&opened.store);
        }
        if let Some((error, until)) = &self.failure
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        let opened = self.opener.open(&self.setup, self.setup.layers.failover.read_timeout).await;
        Ok(&opened.map_err(|error| self.not_about_a_secret(error))?.store)
    }

    /// That there is no such file, or that this build can't open it, must not be taken for what a store says of a secret: the
    /// next store would be asked, or an old value forgotten.
    fn not_about_a_secret(&self, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) {
            return error;
        }
        let hint = error
            .hint()
            .unwrap_or("`keyfob doctor` looks at every store of the list")
            .to_owned();
        Error::new(ErrorKind::InvalidConfig, "a store of the list can't be opened")
            .with("member", &*self.opener.member.label)
            .with_hint(hint)
            .with_source(error)
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late").field("opener", &self.opener).finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretStore for Late {
    fn info(&self) -> &StoreInfo {
        self.opener.opened().map_or(&self.info, |opened| opened.store.info())
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
