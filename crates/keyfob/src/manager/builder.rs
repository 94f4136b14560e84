//! How a [`SecretManager`] is made.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyfob_core::{
    AuditSink, DEFAULT_SCHEME, Environment, Error, ErrorKind, FILE_SCHEME, Reason, Result, SecretStore, StoreUrl, is_scheme,
    with_reason,
};
use tokio::sync::OnceCell;

use super::{Inner, Opening, SecretManager, Slot, cache};
use crate::backends;
use crate::layers::LayerSettings;
use crate::manager::failover::{Member, members};
use crate::manager::opener::Opener;
use crate::select::{SelectOptions, Selection};

/// Builds a [`SecretManager`]. What is given here comes before variables and `keyfob.toml`.
#[derive(Debug, Default)]
#[must_use]
pub struct SecretManagerBuilder {
    environment: Option<Environment>,
    options: SelectOptions,
    trace_names: bool,
    audit_sinks: Vec<Arc<dyn AuditSink>>,
    stores: BTreeMap<String, Arc<dyn SecretStore>>,
}

impl SecretManagerBuilder {
    /// Takes variables and files from this view instead of the process.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Makes this the default store: a URL, a store or alias of `keyfob.toml`, or a provider.
    pub fn store(mut self, store: impl Into<String>) -> Self {
        self.options.store = Some(store.into());
        self
    }

    /// Chooses the environment of `keyfob.toml`, for example `production`.
    pub fn project_environment(mut self, name: impl Into<String>) -> Self {
        self.options.environment = Some(name.into());
        self
    }

    /// Sets how long values may be served from the cache; zero turns it off.
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.options.cache_ttl = Some(ttl);
        self
    }

    /// Sets up the layers over every store, whatever variables and `keyfob.toml` say.
    pub fn layers(mut self, layers: LayerSettings) -> Self {
        self.options.layers = Some(layers);
        self
    }

    /// Tells names of secrets in events and spans, which are without them otherwise: logs are read by more people than
    /// secrets.
    pub fn trace_names(mut self, tell: bool) -> Self {
        self.trace_names = tell;
        self
    }

    /// Records every access here too, besides what [`AuditSettings`](crate::AuditSettings) say; can be called several times.
    pub fn audit_sink(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.audit_sinks.push(sink);
        self
    }

    /// Says what all accesses are for, where [`with_reason`] says nothing else.
    pub fn reason(mut self, reason: Reason) -> Self {
        self.options.reason = Some(reason);
        self
    }

    /// Lets references use these schemes only, whatever `keyfob.toml` allows.
    pub fn allow(mut self, schemes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options.allow = Some(schemes.into_iter().map(Into::into).collect());
        self
    }

    /// Takes everything that the command line says at once.
    pub fn options(mut self, options: SelectOptions) -> Self {
        self.options = options;
        self
    }

    /// Uses `store`, as it is and without layers, for references of this scheme; `secret` is the default store. It
    /// takes the place of whatever the scheme means otherwise, so that tests need no real store.
    pub fn with_store(mut self, scheme: impl Into<String>, store: Arc<dyn SecretStore>) -> Self {
        self.stores.insert(scheme.into(), store);
        self
    }

    /// Makes the manager and connects the default store, for which no other reason is needed: nothing is accessed yet. Then
    /// reads what is to be [warm](crate::CacheSettings::warm) from the start.
    ///
    /// # Errors
    /// See [`SecretManager::from_env`]. A secret that can't be read yet is none.
    pub async fn build(self) -> Result<SecretManager> {
        let manager = self.build_lazily()?;
        with_reason(Reason::new("the application starts")?, manager.store()).await?;
        manager.warm_at_start().await?;
        Ok(manager)
    }

    /// Makes the manager, connects nothing and warms nothing. A default store that can't be chosen or connected is an error
    /// when it is first asked for: what refers to other stores only works without it.
    ///
    /// # Errors
    /// `InvalidConfig` when a variable or `keyfob.toml` is wrong or not believed, a scheme given here can't be one, or what
    /// is to be warm can't be the reference of a secret.
    pub fn build_lazily(self) -> Result<SecretManager> {
        if let Some(scheme) = self.stores.keys().find(|scheme| !is_scheme(scheme) || *scheme == FILE_SCHEME) {
            let problem = format!("`{}` can't be the scheme of a store", scheme.escape_debug());
            return Err(Error::new(ErrorKind::InvalidConfig, problem));
        }
        let environment = self.environment.unwrap_or_else(Environment::from_process);
        let selection = Selection::of(&environment, &self.options)?;
        match &selection.store {
            Ok(choice) => tracing::debug!(target: "keyfob", store = %choice.url, because = choice.reason, "store chosen"),
            Err(error) => tracing::debug!(target: "keyfob", kind = error.kind().as_str(), "no store can be chosen"),
        }
        let mut table = Table::default();
        table.add_selected(&selection);
        table.add_given(&selection, self.stores);
        table.add_aliases(&selection);
        let manager = SecretManager(Arc::new(Inner {
            environment,
            trace_names: self.trace_names,
            audit_sinks: self.audit_sinks,
            audit: OnceCell::new(),
            reason: self.options.reason,
            shared: OnceLock::new(),
            selection,
            slots: table.slots,
            schemes: table.schemes,
        }));
        manager.warmed_at_start()?;
        Ok(manager)
    }
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    schemes: BTreeMap<String, usize>,
}

impl Table {
    fn slot(&mut self, opening: Opening) -> usize {
        self.slots.push(Slot {
            opening,
            opened: OnceCell::new(),
            cache: cache::Handle::default(),
        });
        self.slots.len() - 1
    }

    fn add_selected(&mut self, selection: &Selection) {
        let default = self.slot(match &selection.store {
            Ok(choice) if !choice.fallbacks.is_empty() => Opening::List(members(choice).into_iter().map(Opener::new).collect()),
            Ok(choice) => Opening::One(Opener::new(Member::new(choice.name.as_deref(), &choice.url))),
            Err(error) => Opening::Never(error.clone()),
        });
        self.schemes.insert(DEFAULT_SCHEME.to_owned(), default);
        let choice = selection.store.as_ref().ok();
        // A provider's name means the default store where that is of this provider, else the provider's own default.
        // A list of stores is none of them.
        let alone = choice.filter(|choice| choice.fallbacks.is_empty());
        let default_provider = alone.and_then(|choice| provider(choice.url.scheme()));
        let mut by_provider: BTreeMap<&str, usize> = default_provider.map(|provider| (provider, default)).into_iter().collect();
        for name in backends::names() {
            let key = provider(name).unwrap_or(name);
            let slot = match by_provider.get(key) {
                Some(slot) => *slot,
                None => self.slot(opening_of(name)),
            };
            by_provider.insert(key, slot);
            self.schemes.insert(name.to_owned(), slot);
        }
        for (name, url) in &selection.settings.stores {
            let is_default = choice.is_some_and(|choice| choice.name.as_ref() == Some(name) && choice.fallbacks.is_empty());
            let slot = if is_default {
                default
            } else {
                self.slot(Opening::One(Opener::new(Member::new(Some(name), url))))
            };
            self.schemes.insert(name.clone(), slot);
        }
    }

    fn add_given(&mut self, selection: &Selection, stores: BTreeMap<String, Arc<dyn SecretStore>>) {
        // Who replaces a store by its name replaces it as the default store too, unless that is given as well.
        let alone = selection.store.as_ref().ok().filter(|choice| choice.fallbacks.is_empty());
        let default = alone.and_then(|choice| choice.name.clone());
        let default = default.filter(|_| !stores.contains_key(DEFAULT_SCHEME));
        for (scheme, store) in stores {
            let slot = self.slot(Opening::Given(store));
            if default.as_ref() == Some(&scheme) {
                self.schemes.insert(DEFAULT_SCHEME.to_owned(), slot);
            }
            self.schemes.insert(scheme, slot);
        }
    }

    fn add_aliases(&mut self, selection: &Selection) {
        for (alias, target) in &selection.settings.aliases {
            if let Some(slot) = self.schemes.get(target) {
                self.schemes.insert(alias.clone(), *slot);
            }
        }
    }
}

/// The scheme of the built-in backend that `name` means.
fn provider(name: &str) -> Option<&'static str> {
    backends::find(name).ok().map(|backend| backend.scheme)
}

/// A known provider that this build lacks is a failure when it is asked for, never text that is left standing.
fn opening_of(name: &str) -> Opening {
    match backends::find(name).and_then(|backend| StoreUrl::of_scheme(backend.scheme)) {
        Ok(url) => Opening::One(Opener::new(Member::new(None, &url))),
        Err(error) => Opening::Never(error),
    }
}
