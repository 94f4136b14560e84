//! A layer that tells what is asked of a store.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tracing::{debug, trace};

use crate::error::Result;
use crate::layer::Layer;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};

/// Tells every call as a `tracing` event of the target `keyfob`: verb, store, name, outcome (`ok` or the error's kind)
/// and how long it took. At level debug one event a call; at level trace one for each name of a batch. Never a value,
/// nor what an error says.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer;

impl Layer for TraceLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        Arc::new(Traced { inner })
    }
}

#[derive(Debug)]
struct Traced {
    inner: Arc<dyn SecretStore>,
}

/// A call under way.
struct Call<'a> {
    verb: &'static str,
    store: &'a str,
    /// The name, or for a listing the prefix.
    name: &'a str,
    start: Instant,
}

impl Traced {
    fn call<'a>(&'a self, verb: &'static str, name: &'a str) -> Call<'a> {
        Call {
            verb,
            store: &self.inner.info().scheme,
            name,
            start: Instant::now(),
        }
    }
}

impl Call<'_> {
    fn ended<T>(&self, result: Result<T>) -> Result<T> {
        let Self {
            verb,
            store,
            name,
            start,
        } = self;
        debug!(target: "keyfob", verb, store, name, outcome = outcome(&result), took = ?start.elapsed());
        result
    }
}

fn outcome<T>(result: &Result<T>) -> &'static str {
    result.as_ref().map_or_else(|error| error.kind().as_str(), |_| "ok")
}

#[async_trait]
impl SecretStore for Traced {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let call = self.call("get", name.as_str());
        call.ended(self.inner.get(name, options).await)
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let call = self.call("get_many", "");
        let answers = self.inner.get_many(requests).await;
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        let (verb, store, asked) = (call.verb, call.store, requests.len());
        debug!(target: "keyfob", verb, store, asked, failed, took = ?call.start.elapsed());
        for (request, answer) in requests.iter().zip(&answers) {
            trace!(target: "keyfob", verb, store, name = request.name.as_str(), version = %request.options.version, outcome = outcome(answer));
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let call = self.call("put", name.as_str());
        call.ended(self.inner.put(name, request).await)
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        let call = self.call("delete", name.as_str());
        call.ended(self.inner.delete(name, options).await)
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let call = self.call("restore", name.as_str());
        call.ended(self.inner.restore(name).await)
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let call = self.call("list", &options.prefix);
        call.ended(self.inner.list(options).await)
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let call = self.call("versions", name.as_str());
        call.ended(self.inner.versions(name, page).await)
    }

    async fn health(&self) -> Result<Health> {
        let call = self.call("health", "");
        call.ended(self.inner.health().await)
    }
}
