//! A layer that tells what is asked of a store.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tracing::{Instrument as _, Span, debug, debug_span, trace};

use crate::error::Result;
use crate::layer::Layer;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};
use crate::verb::Verb;

/// Tells every call to [`tracing`](https://docs.rs/tracing), with the target `keyfob`: as a span, in which the work below
/// it runs, and as an event at its end. Never a value, nor what an error says.
///
/// Both are of level debug. The span is named `keyfob`, and has the fields `otel.name` (`keyfob.get`), `verb`, `store` and
/// `name`; the event has `verb`, `store`, `name`, `outcome` (`ok` or the error's kind) and `took`. The event of a batch has
/// `asked` and `failed` instead, and at level trace one more follows for each of its secrets. `name` (for a listing the
/// prefix) is only there when [`names`](Self::names) asks for it: logs are read by more people than secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer {
    /// Whether names are told. Default no.
    pub names: bool,
}

impl Layer for TraceLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        Arc::new(Traced {
            inner,
            names: self.names,
        })
    }
}

#[derive(Debug)]
struct Traced {
    inner: Arc<dyn SecretStore>,
    names: bool,
}

/// A call under way.
struct Call<'a> {
    verb: &'static str,
    store: &'a str,
    /// The name, or for a listing the prefix.
    name: Option<&'a str>,
    start: Instant,
}

impl Traced {
    fn call<'a>(&'a self, verb: Verb, name: &'a str) -> Call<'a> {
        Call {
            verb: verb.as_str(),
            store: &self.inner.info().scheme,
            name: (self.names && !name.is_empty()).then_some(name),
            start: Instant::now(),
        }
    }
}

impl Call<'_> {
    fn span(&self) -> Span {
        let Self { verb, store, name, .. } = self;
        debug_span!(target: "keyfob", "keyfob", otel.name = format_args!("keyfob.{verb}"), verb, store, name)
    }

    /// Runs the work in the call's span, and tells how it ended.
    async fn run<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let result = work.instrument(self.span()).await;
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
        let call = self.call(Verb::Get, name.as_str());
        call.run(self.inner.get(name, options)).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let call = self.call(Verb::GetMany, "");
        let answers = self.inner.get_many(requests).instrument(call.span()).await;
        let failed = answers.iter().filter(|answer| answer.is_err()).count();
        let (verb, store, asked) = (call.verb, call.store, requests.len());
        debug!(target: "keyfob", verb, store, asked, failed, took = ?call.start.elapsed());
        for (request, answer) in requests.iter().zip(&answers) {
            let name = self.names.then(|| request.name.as_str());
            trace!(target: "keyfob", verb, store, name, version = %request.options.version, outcome = outcome(answer));
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let call = self.call(Verb::Put, name.as_str());
        call.run(self.inner.put(name, request)).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        let call = self.call(Verb::Delete, name.as_str());
        call.run(self.inner.delete(name, options)).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let call = self.call(Verb::Restore, name.as_str());
        call.run(self.inner.restore(name)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let call = self.call(Verb::List, &options.prefix);
        call.run(self.inner.list(options)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let call = self.call(Verb::Versions, name.as_str());
        call.run(self.inner.versions(name, page)).await
    }

    async fn health(&self) -> Result<Health> {
        let call = self.call(Verb::Health, "");
        call.run(self.inner.health()).await
    }
}
