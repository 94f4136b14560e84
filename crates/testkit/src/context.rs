//! What a case works with: the store, names of its own, values with its canary.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, join_all};
use keyfob_core::{
    Capabilities, DeleteMode, DeleteOptions, Error, ErrorKind, Metadata, PutRequest, SecretName, SecretStore, SecretValue,
};
use memchr::memmem;
use tracing::Dispatch;

use crate::canary::{Canary, random_text};
use crate::case::{CaseResult, Stop};
use crate::logs::CapturedLogs;
use crate::witness::Witness;

/// So many bytes of a seed's value are not met by chance.
const LONG_ENOUGH: usize = 12;

/// One case's own part of a store.
pub struct Context {
    witness: Arc<Witness>,
    capabilities: Capabilities,
    namespace: String,
    canary: Canary,
    /// Every name that was handed out, to be deleted in the end.
    names: Mutex<BTreeSet<SecretName>>,
    seeds: Arc<[(SecretName, SecretValue)]>,
    logs: CapturedLogs,
    dispatch: Dispatch,
}

impl Context {
    /// A fresh namespace and canary over `store`.
    ///
    /// For calling one case by hand; [`run`](crate::run) does it for all of them, cleans up and searches for the
    /// canary.
    #[must_use]
    pub fn new(store: Arc<dyn SecretStore>) -> Self {
        Self::with_seeds(store, Arc::new([]))
    }

    pub(crate) fn with_seeds(store: Arc<dyn SecretStore>, seeds: Arc<[(SecretName, SecretValue)]>) -> Self {
        let logs = CapturedLogs::default();
        Self {
            capabilities: store.info().capabilities,
            witness: Arc::new(Witness::new(store)),
            namespace: format!("kf-{}", random_text(10)),
            canary: Canary::random(),
            names: Mutex::default(),
            seeds,
            dispatch: logs.dispatch(),
            logs,
        }
    }

    /// The store under test.
    #[must_use]
    pub fn store(&self) -> &dyn SecretStore {
        &*self.witness
    }

    /// What it says that it can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// What all names of this case begin with: portable, and with a `/` at the end.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}/", self.namespace)
    }

    /// A name in the case's namespace. What is written under it is deleted when the case ends, however it ends.
    ///
    /// # Errors
    /// Fails the case when `label` can't be a name.
    pub fn name(&self, label: &str) -> CaseResult<SecretName> {
        let name = SecretName::new(format!("{}/{label}", self.namespace))?;
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        Ok(name)
    }

    /// A value with the canary in it, different for each `label`: at most 64 bytes for labels up to 39.
    #[must_use]
    pub fn value(&self, label: &str) -> SecretValue {
        self.bytes(format!("-{label}").as_bytes())
    }

    /// The canary, then these bytes.
    #[must_use]
    pub fn bytes(&self, tail: &[u8]) -> SecretValue {
        SecretValue::new([self.canary.as_str().as_bytes(), tail].concat())
    }

    /// The canary alone, for values with a shape of their own.
    #[must_use]
    pub fn canary(&self) -> &str {
        self.canary.as_str()
    }

    /// Writes [`value(label)`](Self::value) under `name`.
    ///
    /// # Errors
    /// Fails the case when the store fails.
    pub async fn put(&self, name: &SecretName, label: &str) -> CaseResult<Metadata> {
        Ok(self.store().put(name, PutRequest::new(self.value(label))).await?)
    }

    /// What the caller of the suite says is there; see [`RunOptions::seed`](crate::RunOptions::seed).
    #[must_use]
    pub fn seeds(&self) -> &[(SecretName, SecretValue)] {
        &self.seeds
    }

    /// Runs `job` so many times at once, each on a thread of its own, whatever the flavour of the runtime.
    ///
    /// # Errors
    /// Fails the case when one of them panics.
    pub async fn at_once<T, F>(&self, times: usize, job: F) -> CaseResult<Vec<T>>
    where
        T: Send + 'static,
        F: Fn(usize, Arc<dyn SecretStore>) -> BoxFuture<'static, T>,
    {
        let runtime = tokio::runtime::Handle::current();
        let running = (0..times).map(|index| {
            let job = job(index, self.witness.clone());
            let (runtime, dispatch) = (runtime.clone(), self.dispatch.clone());
            tokio::task::spawn_blocking(move || tracing::dispatcher::with_default(&dispatch, || runtime.block_on(job)))
        });
        let ended = join_all(running.collect::<Vec<_>>()).await;
        ended
            .into_iter()
            .map(|job| job.map_err(|_| Stop::Failed("the store panicked in one of many calls at once".to_owned())))
            .collect()
    }

    pub(crate) fn dispatch(&self) -> Dispatch {
        self.dispatch.clone()
    }

    /// Where the canary was seen in what the store let out, or in `logs`.
    pub(crate) fn leaks(&self, logs: &[u8]) -> Vec<String> {
        let own = self.logs.since(0);
        let mut places = Vec::new();
        for (place, text) in [("logs", own.as_slice()), ("logs of other threads", logs)] {
            places.extend(self.find_in(text).map(|form| format!("{place}, {form}")));
        }
        self.witness
            .with_outputs(|place, text| places.extend(self.find_in(text.as_bytes()).map(|form| format!("{place}, {form}"))));
        places.sort();
        places.dedup();
        places
    }

    /// How the canary, or the value of a seed, stands in `output`.
    pub(crate) fn find_in(&self, output: &[u8]) -> Option<&'static str> {
        let seeded = |(_, value): &(SecretName, SecretValue)| {
            value.len() >= LONG_ENOUGH && memmem::find(output, value.expose_secret()).is_some()
        };
        self.canary
            .find_in(output)
            .or_else(|| self.seeds.iter().any(seeded).then_some("as a seed's value"))
    }

    /// Deletes whatever is left under the names of this case, for good where that is possible.
    pub(crate) async fn clean_up(&self) -> Vec<Error> {
        let mode = if self.capabilities.delete_permanent {
            DeleteMode::Permanent
        } else if self.capabilities.delete_recoverable {
            DeleteMode::StoreDefault
        } else {
            return Vec::new();
        };
        let names = std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner));
        let mut problems = Vec::new();
        for name in names {
            match self.store().delete(&name, &DeleteOptions { mode }).await {
                Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => problems.push(error),
                _ => {}
            }
        }
        problems
    }
}

/// Without the canary, which a failing case could print.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}
