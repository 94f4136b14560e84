//! The handle that applications hold.

mod audit;
mod builder;
mod cache;
mod failover;
mod health;
mod opener;
mod places;
#[cfg(feature = "rotation")]
mod rotation;
#[cfg(feature = "snapshot")]
mod snapshots;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use keyfob_core::{
    AllowedSchemes, AuditSink, ChangeSource, DEFAULT_SCHEME, DeleteOptions, Environment, Error, ErrorKind, FailoverStore,
    Fallback, GetOptions, Health, Intent, ListOptions, MemberStatus, Metadata, Occurrence, Page, PageRequest, PutRequest, Reason,
    Reference, Result, Secret, SecretName, SecretRef, SecretStore, Stores, SystemClock, Target, TraceLayer, Verb, VersionInfo,
    async_trait,
};
use tokio::sync::OnceCell;

pub use self::builder::SecretManagerBuilder;
pub use self::cache::Caches;
pub use self::health::MemberHealth;
#[cfg(feature = "snapshot")]
pub use self::snapshots::Snapshots;
use crate::audit::Audit;
use crate::manager::opener::{Opener, Setup};
use crate::select::Selection;
use crate::shared::Shared;
use crate::watch::{self, Occasions, SecretStream, Watched};

/// Finds the stores and reads secrets from them. Cheap to clone, to be shared by a whole application.
///
/// The default store is what [`Selection`] chooses. Other stores (of `keyfob.toml`, or providers by their names) are
/// connected when they are first asked for, once however many callers wait.
///
/// ```
/// use std::sync::Arc;
/// use keyfob::{MemoryStore, PutRequest, SecretManager};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// // In a test; an application calls `SecretManager::from_env().await?`.
/// let manager = SecretManager::builder().with_store("secret", Arc::new(MemoryStore::new())).build().await?;
/// manager.put("db", PutRequest::new(r#"{"user": "app"}"#)).await?;
/// let user = manager.get("db#user").await?;
/// assert_eq!(user.value.expose_str()?, "app");
/// # Ok::<(), keyfob::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SecretManager(Arc<Inner>);

struct Inner {
    environment: Environment,
    trace_names: bool,
    audit_sinks: Vec<Arc<dyn AuditSink>>,
    /// Opened before the first store is.
    audit: OnceCell<Option<Audit>>,
    reason: Option<Reason>,
    /// The second level of the caches, made before the first store is opened.
    shared: OnceLock<Option<Shared>>,
    selection: Selection,
    slots: Vec<Slot>,
    /// Every scheme that means a store, and its slot. Schemes of one store share a slot.
    schemes: BTreeMap<String, usize>,
}

/// A store that is connected at most once.
struct Slot {
    opening: Opening,
    opened: OnceCell<Opened>,
    cache: cache::Handle,
}

/// A store with its layers.
#[derive(Clone)]
struct Opened {
    store: Arc<dyn SecretStore>,
    /// The same without the audit.
    unaudited: Arc<dyn SecretStore>,
    changes: Option<Arc<dyn ChangeSource>>,
    /// How the stores of a list are, if it is one.
    failover: Option<FailoverStore>,
}

enum Opening {
    /// Given by the caller, used as it is.
    Given(Arc<dyn SecretStore>),
    One(Arc<Opener>),
    /// Stores that stand in for each other.
    List(Vec<Arc<Opener>>),
    /// There is none, for this reason.
    Never(Error),
}

impl SecretManager {
    /// Finds out where it runs and connects the default store: the one line that an application needs.
    ///
    /// # Errors
    /// `InvalidConfig` when a variable or `keyfob.toml` is wrong, or the choice is ambiguous; `Unsupported` when this
    /// build lacks the store that is meant; else what connecting fails with.
    pub async fn from_env() -> Result<Self> {
        Self::builder().build().await
    }

    /// Begins with the process's environment and no store of the caller's own.
    pub fn builder() -> SecretManagerBuilder {
        SecretManagerBuilder::default()
    }

    /// Reads a secret: `name`, `name@version`, `name#field` of the default store, or a whole reference such as
    /// `${vault:name}`. With a field, the value is the field's.
    ///
    /// # Errors
    /// `InvalidInput` when the reference is wrong, or has a default, which only a configuration text can have; else
    /// those of [`SecretStore::get`] and of [`store_of`](Self::store_of).
    pub async fn get(&self, reference: &str) -> Result<Secret> {
        let (scheme, secret) = parse_secret(reference)?;
        let options = GetOptions::version(secret.version.clone());
        let intent = || Intent::new(Verb::Get).secret(&secret.name, &secret.version);
        let opened = self.opened(self.slot(&scheme)?, intent).await?;
        let mut answer = opened.store.get_maybe_ready(&secret.name, &options).answer().await?;
        if let Some(field) = &secret.field {
            let picked = field.pick(&answer.value);
            answer.value = picked.map_err(|error| error.with("name", secret.name.as_str()))?;
        }
        Ok(answer)
    }

    /// Writes a secret of the default store.
    ///
    /// # Errors
    /// Those of [`SecretStore::put`], and `InvalidInput` for a wrong name.
    pub async fn put(&self, name: &str, request: PutRequest) -> Result<Metadata> {
        let name = SecretName::new(name)?;
        self.default_for(|| Intent::of(Verb::Put, &name))
            .await?
            .put(&name, request)
            .await
    }

    /// Deletes a secret of the default store.
    ///
    /// # Errors
    /// Those of [`SecretStore::delete`], and `InvalidInput` for a wrong name.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<()> {
        let name = SecretName::new(name)?;
        self.default_for(|| Intent::of(Verb::Delete, &name))
            .await?
            .delete(&name, options)
            .await
    }

    /// Brings back a deleted secret of the default store.
    ///
    /// # Errors
    /// Those of [`SecretStore::restore`], and `InvalidInput` for a wrong name.
    pub async fn restore(&self, name: &str) -> Result<Metadata> {
        let name = SecretName::new(name)?;
        self.default_for(|| Intent::of(Verb::Restore, &name))
            .await?
            .restore(&name)
            .await
    }

    /// Lists secrets of the default store, a page at a time, without values.
    ///
    /// # Errors
    /// Those of [`SecretStore::list`].
    pub async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let intent = || Intent::new(Verb::List).prefix(&options.prefix);
        self.default_for(intent).await?.list(options).await
    }

    /// Lists the versions of a secret of the default store, a page at a time.
    ///
    /// # Errors
    /// Those of [`SecretStore::versions`], and `InvalidInput` for a wrong name.
    pub async fn versions(&self, name: &str, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let name = SecretName::new(name)?;
        self.default_for(|| Intent::of(Verb::Versions, &name))
            .await?
            .versions(&name, page)
            .await
    }

    /// Asks the default store whether it can serve.
    ///
    /// # Errors
    /// Those of [`SecretStore::health`].
    pub async fn health(&self) -> Result<Health> {
        self.store().await?.health().await
    }

    /// The default store, connected.
    ///
    /// # Errors
    /// See [`store_of`](Self::store_of).
    pub async fn store(&self) -> Result<Arc<dyn SecretStore>> {
        self.store_of(DEFAULT_SCHEME).await
    }

    /// The store that `scheme` means: `secret` (the default store), a store or alias of `keyfob.toml`, a provider.
    ///
    /// Where accesses are recorded, a store that can't be connected here leaves a record with the verb `health` and no name:
    /// it is not known what it was to be asked. [`store_for`](Self::store_for) is told.
    ///
    /// # Errors
    /// `InvalidConfig` when it means nothing, `Unsupported` when this build lacks it; else what connecting fails
    /// with. The next call tries again.
    pub async fn store_of(&self, scheme: &str) -> Result<Arc<dyn SecretStore>> {
        self.store_for(scheme, &connecting()).await
    }

    /// The same, for what is intended. Where accesses are recorded, it is recorded if it can't be done, because it is refused
    /// or the store can't be connected; whoever gets the store has to ask it, which then is recorded.
    ///
    /// # Errors
    /// Those of [`store_of`](Self::store_of), and those with which the access is refused.
    pub async fn store_for(&self, scheme: &str, intent: &Intent) -> Result<Arc<dyn SecretStore>> {
        let opened = self.opened(self.slot(scheme)?, || intent.clone()).await?;
        Ok(opened.store.clone())
    }

    /// How the stores of the failover list that `scheme` means are; empty when it means one store. Connects them.
    ///
    /// # Errors
    /// See [`store_of`](Self::store_of).
    pub async fn failover_of(&self, scheme: &str) -> Result<Vec<MemberStatus>> {
        let opened = self.opened(self.slot(scheme)?, connecting).await?;
        Ok(opened.failover.as_ref().map(FailoverStore::status).unwrap_or_default())
    }

    /// The values of a secret: the present one at once, then each new one, for as long as the stream is polled.
    ///
    /// A store that tells of changes (see [`ChangeSource`]) is read when it does; besides, and all other stores, about
    /// every [`watch_interval`](crate::LayerSettings::watch_interval). A value is told when it differs from the one before.
    /// An error is told when it begins and when its kind changes, and the stream goes on; so does *not found* when the secret
    /// is deleted. The stream never ends, and asks nothing once it is dropped.
    ///
    /// # Errors
    /// `InvalidInput` when the reference is wrong, or pins a version, which never changes; else those of
    /// [`store_of`](Self::store_of).
    pub async fn watch(&self, reference: &str) -> Result<SecretStream> {
        let (scheme, secret) = parse_secret(reference)?;
        watch::check(&secret)?;
        let intent = || Intent::new(Verb::Get).secret(&secret.name, &secret.version);
        let opened = self.opened(self.slot(&scheme)?, intent).await?;
        Ok(watch::watch(Watched {
            store: opened.store.clone(),
            changes: opened.changes.as_ref().map(|changes| changes.changes()),
            secret,
            interval: self.0.selection.layers.watch_interval,
            clock: Arc::new(SystemClock::new()),
        }))
    }

    /// Says when what `occurrences` refer to may have changed: at once when one of their stores tells of it, else about
    /// every [`watch_interval`](crate::LayerSettings::watch_interval). For whoever then
    /// [resolves](Self::resolve) all of it again.
    ///
    /// It asks for no value itself. A store that can't be connected yet is not listened to.
    pub async fn occasions(&self, occurrences: &[Occurrence]) -> Occasions {
        let mut names: BTreeMap<usize, BTreeSet<SecretName>> = BTreeMap::new();
        for reference in occurrences.iter().filter_map(|occurrence| occurrence.reference.as_ref().ok()) {
            if let Target::Secret(secret) = &reference.target
                && let Some(slot) = self.0.schemes.get(&*reference.scheme)
            {
                names.entry(*slot).or_default().insert(secret.name.clone());
            }
        }
        let mut streams = Vec::new();
        for (slot, names) in names {
            let slot = &self.0.slots[slot];
            let opened = self.opened(slot, connecting).await;
            if let Some(changes) = opened.ok().and_then(|opened| opened.changes.clone()) {
                streams.push(watch::only_of(changes.changes(), names));
            }
        }
        let clock = Arc::new(SystemClock::new());
        watch::occasions(streams, self.0.selection.layers.watch_interval, clock)
    }

    /// A store, opened for what is intended if it isn't yet. Whoever had to wait for that gets a handle of its own, whose first
    /// access has waited.
    async fn opened<'a>(&self, slot: &'a Slot, intent: impl FnOnce() -> Intent) -> Result<Cow<'a, Opened>> {
        match slot.opened.get() {
            Some(opened) => Ok(Cow::Borrowed(opened)),
            None => self.open_for(slot, &intent()).await,
        }
    }

    async fn default_for(&self, intent: impl FnOnce() -> Intent) -> Result<Arc<dyn SecretStore>> {
        let opened = self.opened(self.slot(DEFAULT_SCHEME)?, intent).await?;
        Ok(opened.store.clone())
    }

    fn slot(&self, scheme: &str) -> Result<&Slot> {
        Ok(&self.0.slots[self.index(scheme)?])
    }

    fn index(&self, scheme: &str) -> Result<usize> {
        self.0.schemes.get(scheme).copied().ok_or_else(|| self.unknown(scheme))
    }

    fn shared(&self) -> Result<Option<&Shared>> {
        if let Some(shared) = self.0.shared.get() {
            return Ok(shared.as_ref());
        }
        let shared = Shared::of(&self.0.selection.layers.cache.redis, &self.0.environment)?;
        Ok(self.0.shared.get_or_init(|| shared).as_ref())
    }

    /// Which store and which settings apply, and why.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.0.selection
    }

    /// Which schemes references may use.
    #[must_use]
    pub fn allowed_schemes(&self) -> &AllowedSchemes {
        &self.0.selection.allowed.value
    }

    /// Every scheme that means a store, sorted.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.0.schemes.keys().map(String::as_str)
    }

    /// Opens a store and lays the layers over it, but for the audit.
    async fn connected(&self, slot: &Slot) -> Result<Opened> {
        let setup = self.setup();
        let (place, connected, failover) = match &slot.opening {
            Opening::Given(store) => {
                return Ok(Opened {
                    store: store.clone(),
                    unaudited: store.clone(),
                    changes: None,
                    failover: None,
                });
            }
            Opening::Never(error) => return Err(error.clone()),
            Opening::One(opener) => {
                let connected = opener.open(&setup, setup.layers.retry.deadline).await?.clone();
                let info = connected.store.info();
                (format!("{}:{}", info.scheme, info.location), connected, None)
            }
            Opening::List(openers) => {
                let (connected, failover) = failover::connect(openers, setup.clone()).await?;
                // The members that are not open yet don't know where they are: what names them all is the list itself.
                (self.location(&slot.opening)?, connected, Some(failover))
            }
        };
        let shared = self.shared()?.map(|shared| shared.of_store(&place));
        let Setup { layers, trace, .. } = setup;
        let store = layers.over(&connected, shared, trace, |cache| slot.cache.set(cache))?;
        Ok(Opened {
            unaudited: store.clone(),
            store,
            changes: connected.changes,
            failover,
        })
    }

    fn setup(&self) -> Setup {
        Setup {
            environment: self.0.environment.clone(),
            layers: self.0.selection.layers.clone(),
            trace: TraceLayer {
                names: self.0.trace_names,
            },
        }
    }

    fn unknown(&self, scheme: &str) -> Error {
        let error = Error::new(
            ErrorKind::InvalidConfig,
            format!("there is no store or provider `{}`", scheme.escape_debug()),
        );
        match keyfob_core::nearest(scheme, self.schemes()).first() {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("known are: `{}`", self.schemes().collect::<Vec<_>>().join("`, `"))),
        }
    }
}

#[async_trait]
impl Stores for SecretManager {
    fn has_scheme(&self, scheme: &str) -> bool {
        self.0.schemes.contains_key(scheme)
    }

    async fn open(&self, scheme: &str, intent: &Intent) -> Result<Arc<dyn SecretStore>> {
        self.store_for(scheme, intent).await
    }
}

/// Nothing but that the store is open is intended.
fn connecting() -> Intent {
    Intent::new(Verb::Health)
}

impl fmt::Debug for SecretManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretManager")
            .field("store", &self.0.selection.store.as_ref().map(|choice| choice.url.to_string()))
            .field("schemes", &self.0.schemes.keys())
            .finish_non_exhaustive()
    }
}

/// Parses what names one secret: `name@version#field` of the default store, or a reference in braces. Gives the scheme
/// and the secret.
///
/// # Errors
/// `InvalidInput` when it is wrong, means a file, or has a default, which only a configuration text can have.
pub fn parse_secret(text: &str) -> Result<(Arc<str>, SecretRef)> {
    let Some(body) = Reference::body(text) else {
        return Ok((DEFAULT_SCHEME.into(), text.parse()?));
    };
    let reference = Reference::parse(body)?;
    match (reference.target, reference.fallback) {
        (Target::Secret(secret), Fallback::None) => Ok((reference.scheme, secret)),
        (Target::File { .. }, _) => {
            Err(Error::new(ErrorKind::InvalidInput, "a file is not a secret of a store").with_hint("read it with `cat`"))
        }
        (Target::Secret(_), _) => Err(Error::new(
            ErrorKind::InvalidInput,
            "a reference with a default belongs into a configuration text",
        )
        .with_hint("leave out what follows `:-`, or the `?`")),
    }
}
