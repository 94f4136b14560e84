//! What the stores keep in memory: forgotten and filled by hand.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use keyfob_core::{
    CacheUsage, CachedStore, Error, ErrorKind, GetOptions, GetRequest, Intent, Reason, Result, SecretName, SecretRef, Verb,
    with_reason,
};

use super::{Opening, SecretManager, Slot, connecting, parse_secret};

/// What a [`SecretManager`] keeps in memory of all its stores, to be filled before it is needed and forgotten when somebody
/// knows better. [`SecretManager::cache`] gives it.
///
/// A secret is named as for [`SecretManager::get`], or without the braces where a store stands in front: `db/password`,
/// `vault:db/password`, `${vault:db/password}`. A field changes nothing, because secrets are kept as a whole.
///
/// Nothing is kept where the time to live is zero, and of stores that the application
/// [gives](crate::SecretManagerBuilder::with_store). What is to be forgotten there is `false`, and what is to be kept an error.
///
/// ```
/// use std::time::Duration;
/// use keyfob::{Environment, ErrorKind, SecretManager};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let environment = Environment::fake().var("DB_PASSWORD", "for-tests").build();
/// let manager = SecretManager::builder().environment(environment).build().await?;
/// let cache = manager.cache();
///
/// let warmed = cache.warm(["db/password", "env:API_KEY"]).await;
/// assert!(warmed[0].is_ok());
/// assert_eq!(warmed[1].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
/// assert_eq!(cache.usage().entries, 1);
///
/// cache.clear("db/password").await?;
/// assert_eq!(cache.usage().entries, 0);
/// # Ok::<(), keyfob::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Caches<'a>(pub(super) &'a SecretManager);

impl Caches<'_> {
    /// Forgets a secret, with all its versions: also where a failover list keeps what this store said, or this list keeps
    /// what its stores said. The next read asks the store. `false` when there is no cache that could have it.
    ///
    /// It is forgotten in the [second level](crate::RedisSettings) too, for which the store is connected if it isn't yet;
    /// what other machines have in memory lives on for its time.
    ///
    /// # Errors
    /// `InvalidInput` when the reference is wrong, `InvalidConfig` when there is no such store; what connecting the store
    /// fails with where there is a second level, which then still has the secret.
    pub async fn clear(&self, reference: &str) -> Result<bool> {
        let (scheme, secret) = self.0.named(reference)?;
        let slot = self.0.slot(&scheme)?;
        if !self.0.is_cached(slot) {
            return Ok(false);
        }
        let opened = match self.0.shared() {
            Ok(None) => Ok(()),
            Ok(Some(_)) => self.0.opened(slot, connecting).await.map(drop),
            Err(error) => Err(error),
        };
        let stores: Vec<_> = self.0.slots_about(slot).filter_map(|slot| slot.cache.to_forget()).collect();
        join_all(stores.iter().map(|store| store.clear_everywhere(&secret.name))).await;
        opened.map(|()| true)
    }

    /// Forgets every secret whose name begins with `prefix`, of the store that `scheme` means (`secret` is the default
    /// store), as [`clear`](Self::clear) does. `false` when there is no cache that could have them.
    ///
    /// From the second level nothing is taken away, but this process no longer believes what it has had until now.
    ///
    /// # Errors
    /// `InvalidConfig` when there is no such store.
    pub fn clear_prefix(&self, scheme: &str, prefix: &str) -> Result<bool> {
        let slot = self.0.slot(scheme)?;
        if !self.0.is_cached(slot) {
            return Ok(false);
        }
        for store in self.0.slots_about(slot).filter_map(|slot| slot.cache.to_forget()) {
            store.clear_prefix(prefix);
        }
        Ok(true)
    }

    /// Forgets everything of all stores. From the second level nothing is taken away, but this process no longer believes
    /// what it has had until now. `false` when nothing is cached.
    pub fn clear_all(&self) -> bool {
        let mut is_cached = false;
        for slot in self.0.0.slots.iter().filter(|slot| self.0.is_cached(slot)) {
            is_cached = true;
            if let Some(store) = slot.cache.to_forget() {
                store.clear_all();
            }
        }
        is_cached
    }

    /// Reads these secrets, so that they are at hand when they are needed: all stores at once, and each is asked at most once,
    /// for what is not in memory. One result for each reference, in order.
    ///
    /// Each read passes all layers, and so is recorded where accesses are. What is to be warmed whenever a manager is built is
    /// [`CacheSettings::warm`](crate::CacheSettings::warm).
    ///
    /// # Errors
    /// What a read would have said; `Unsupported` when the secret would not be kept, and then the store is not asked.
    pub async fn warm<R: AsRef<str>>(&self, references: impl IntoIterator<Item = R>) -> Vec<Result<()>> {
        let mut results = Vec::new();
        let mut wanted: BTreeMap<usize, Vec<(usize, SecretRef)>> = BTreeMap::new();
        for (place, reference) in references.into_iter().enumerate() {
            let named = self.0.named(reference.as_ref());
            let found = named.and_then(|(scheme, secret)| Ok((self.0.index(&scheme)?, secret)));
            results.push(found.map(|(index, secret)| wanted.entry(index).or_default().push((place, secret))));
        }
        let warming = wanted.into_iter().map(|(index, wanted)| self.0.warm(index, wanted));
        for (place, result) in join_all(warming).await.into_iter().flatten() {
            results[place] = result;
        }
        results
    }

    /// How much is kept of all stores together.
    #[must_use]
    pub fn usage(&self) -> CacheUsage {
        let mut sum = CacheUsage::default();
        for store in self.0.0.slots.iter().filter_map(|slot| slot.cache.store()) {
            let usage = store.usage();
            sum.entries += usage.entries;
            sum.bytes += usage.bytes;
            sum.absences += usage.absences;
        }
        sum
    }
}

impl SecretManager {
    /// What is kept in memory of all stores, to be filled before it is needed and forgotten when somebody knows better.
    #[must_use]
    pub fn cache(&self) -> Caches<'_> {
        Caches(self)
    }

    /// What [`CacheSettings::warm`](crate::CacheSettings::warm) lists and can be kept, each with its place in the list, from 1.
    ///
    /// # Errors
    /// `InvalidConfig` when a reference is wrong or means no store: no later start would mend that.
    pub(super) fn warmed_at_start(&self) -> Result<Vec<(usize, &str)>> {
        let selection = &self.0.selection;
        let cache = &selection.layers.cache;
        let mut references = Vec::new();
        for (place, reference) in (1..).zip(cache.warm.iter().filter(|_| cache.keeps_values())) {
            let named = self.named(reference).and_then(|(scheme, _)| self.slot(&scheme));
            let slot = named.map_err(|error| {
                let source = selection.layer_sources.iter().find(|(setting, _)| setting == "cache.warm");
                let source = source.map(|(_, source)| format!(" of {source}")).unwrap_or_default();
                // The reference itself may have a default, which is not repeated.
                let problem = format!("entry {place} of `cache.warm`{source}: {}", error.message());
                let hint = error
                    .hint()
                    .unwrap_or("write it as `db/password`, or `vault:db/password` for another store");
                Error::new(ErrorKind::InvalidConfig, problem).with_hint(hint.to_owned())
            })?;
            // What the application puts in the place of a store has no cache.
            if self.is_cached(slot) {
                references.push((place, reference.as_str()));
            }
        }
        Ok(references)
    }

    /// Warms what is listed. What can't be read now is told, and read when it is needed: that a store is ill is no reason
    /// not to start.
    pub(super) async fn warm_at_start(&self) -> Result<()> {
        let wanted = self.warmed_at_start()?;
        if wanted.is_empty() {
            return Ok(());
        }
        let cache = self.cache();
        let warming = cache.warm(wanted.iter().map(|(_, reference)| reference));
        let results = match self.0.reason {
            Some(_) => warming.await,
            None => with_reason(Reason::new("the application starts")?, warming).await,
        };
        let mut failed: BTreeMap<(Arc<str>, ErrorKind), Vec<usize>> = BTreeMap::new();
        for (index, result) in results.iter().enumerate() {
            if let Err(error) = result {
                let (scheme, _) = self.named(wanted[index].1)?;
                failed.entry((scheme, error.kind())).or_default().push(index);
            }
        }
        for ((store, kind), indices) in failed {
            let (entries, names): (Vec<usize>, Vec<&str>) = indices.iter().map(|index| wanted[*index]).unzip();
            let names = self.0.trace_names.then(|| names.join(","));
            let (store, kind) = (&*store, kind.as_str());
            tracing::warn!(target: "keyfob", store, kind, ?entries, names, "entries of `cache.warm` are not in the cache");
        }
        Ok(())
    }

    /// Reads what the cache of a store would keep. The numbers come back with what became of each secret.
    async fn warm(&self, index: usize, wanted: Vec<(usize, SecretRef)>) -> Vec<(usize, Result<()>)> {
        let slot = &self.0.slots[index];
        let is_kept = self.is_cached(slot) && self.0.selection.layers.cache.keeps_values();
        let intent = || {
            let batch = Intent::new(Verb::GetMany);
            let add = |intent: Intent, (_, secret): &(usize, SecretRef)| intent.secret(&secret.name, &secret.version);
            wanted.iter().fold(batch, add)
        };
        let opened = match is_kept {
            true => self.opened(slot, intent).await,
            false => Err(not_kept()),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return wanted.into_iter().map(|(place, _)| (place, Err(error.clone()))).collect(),
        };
        let cache = slot.cache.store();
        let keeps = |name: &SecretName| cache.as_ref().is_some_and(|cache| cache.keeps(name));
        let (kept, others): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|(_, secret)| keeps(&secret.name));
        let (places, requests): (Vec<usize>, Vec<GetRequest>) =
            kept.into_iter().map(|(place, secret)| (place, request(secret))).unzip();
        let answers = match requests.is_empty() {
            true => Vec::new(),
            false => opened.store.get_many(&requests).await,
        };
        let read = places
            .into_iter()
            .zip(answers)
            .map(|(place, answer)| (place, answer.map(drop)));
        let others = others.into_iter().map(|(place, _)| (place, Err(not_kept())));
        read.chain(others).collect()
    }

    /// The scheme that a reference has, and the secret.
    fn named(&self, reference: &str) -> Result<(Arc<str>, SecretRef)> {
        match reference.split_once(':') {
            // A name may have a `:` as well (an ARN): before it stands a store only where there is one.
            Some((scheme, _)) if self.0.schemes.contains_key(scheme) => parse_secret(&format!("${{{reference}}}")),
            _ => parse_secret(reference),
        }
    }

    /// Whether a store has a cache, whatever it keeps.
    fn is_cached(&self, slot: &Slot) -> bool {
        let cache = &self.0.selection.layers.cache;
        let has_layers = matches!(slot.opening, Opening::One(_) | Opening::List(_));
        has_layers && (cache.keeps_values() || cache.redis.url.is_some())
    }

    /// The slots that may have cached what the stores of this one said.
    fn slots_about<'a>(&'a self, slot: &'a Slot) -> impl Iterator<Item = &'a Slot> {
        let urls: BTreeSet<String> = slot.opening.members().iter().map(|member| member.url.to_string()).collect();
        let has_one = move |other: &&Slot| {
            other
                .opening
                .members()
                .iter()
                .any(|member| urls.contains(&member.url.to_string()))
        };
        self.0.slots.iter().filter(has_one)
    }
}

/// The cache of one store, for whoever looks at it by hand.
#[derive(Default)]
pub(super) struct Handle(Mutex<State>);

#[derive(Default)]
struct State {
    store: Option<Arc<CachedStore>>,
    /// Something was to be forgotten before the store was opened. Its memory is empty then, but a second level is not.
    is_forgotten: bool,
}

impl Handle {
    /// Takes the cache of a store that is opened, before anybody reads from it.
    pub(super) fn set(&self, store: Arc<CachedStore>) {
        let mut state = self.state();
        if state.is_forgotten {
            store.clear_all();
        }
        state.store = Some(store);
    }

    fn store(&self) -> Option<Arc<CachedStore>> {
        self.state().store.clone()
    }

    /// What has to forget something. Where the store isn't open yet, it will believe nothing from before when it is.
    fn to_forget(&self) -> Option<Arc<CachedStore>> {
        let mut state = self.state();
        state.is_forgotten |= state.store.is_none();
        state.store.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(secret: SecretRef) -> GetRequest {
    GetRequest {
        name: secret.name,
        options: GetOptions::version(secret.version),
    }
}

fn not_kept() -> Error {
    Error::new(ErrorKind::Unsupported, "the cache does not keep this secret")
        .with_hint("its time to live is zero, or its store is given by the application")
}
