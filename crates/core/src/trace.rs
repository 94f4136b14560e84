//! A layer that tells what is asked of a store.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tracing::field::Empty;
use tracing::level_filters::LevelFilter;
use tracing::{Instrument as _, Span, debug, debug_span, trace};

use crate::backend::BoxFuture;
use crate::error::{ErrorKind, Result};
use crate::layer::Layer;
use crate::maybe_ready::MaybeReady;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};
use crate::verb::Verb;

/// Tells every call to [`tracing`](https://docs.rs/tracing), with the target `keyfob`: as a span, in which the work below
/// it runs, and as an event at its end. Never a value, nor what an error says.
///
/// Both are of level debug. The span is named `keyfob`, and has the fields `otel.name` (`keyfob.get`), `verb`, `store`,
/// `name` and, at its end, `outcome` (`ok` or the error's kind); the event has `verb`, `store`, `name`, `outcome` and `took`.
/// The event of a batch has `asked` and `failed` instead, its span has no outcome, and at level trace one more event follows for
/// each of its secrets. `name` (for a listing the prefix) is only there when [`names`](Self::names) asks for it: logs are read
/// by more people than secrets.
///
/// With [`of_store`](Self::of_store) it stands directly over a store instead, below all other layers. There it makes a span for
/// each request that is sent, each retry and each store of a failover list, and no event: named `keyfob_store`, with
/// `otel.name` (`keyfob.store.get`), `otel.kind` (`client`), `verb`, `store` and `outcome`.
///
/// A span whose call failed says `otel.status_code` = `ERROR`; *not found* is an answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceLayer {
    /// Whether names are told. Default no.
    pub names: bool,
}

impl TraceLayer {
    /// The layer for the place directly over a store.
    #[must_use]
    pub fn of_store(self) -> impl Layer {
        move |inner: Arc<dyn SecretStore>| -> Arc<dyn SecretStore> {
            Arc::new(Traced {
                inner,
                names: self.names,
                of_store: true,
            })
        }
    }
}

impl Layer for TraceLayer {
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        Arc::new(Traced {
            inner,
            names: self.names,
            of_store: false,
        })
    }
}

#[derive(Debug)]
struct Traced {
    inner: Arc<dyn SecretStore>,
    names: bool,
    /// Whether it stands directly over a store.
    of_store: bool,
}

/// A call under way.
struct Call<'a> {
    verb: &'static str,
    store: &'a str,
    /// The name, or for a listing the prefix.
    name: Option<&'a str>,
    start: Instant,
    of_store: bool,
}

impl Traced {
    fn call<'a>(&'a self, verb: Verb, name: &'a str) -> Call<'a> {
        Call {
            verb: verb.as_str(),
            store: &self.inner.info().label,
            name: (self.names && !name.is_empty()).then_some(name),
            start: Instant::now(),
            of_store: self.of_store,
        }
    }
}

impl Call<'_> {
    fn span(&self) -> Span {
        let Self { verb, store, name, .. } = self;
        let (outcome, status) = (Empty, Empty);
        if self.of_store {
            let title = format_args!("keyfob.store.{verb}");
            return debug_span!(target: "keyfob", "keyfob_store", otel.name = title, otel.kind = "client", verb, store, name, outcome, otel.status_code = status);
        }
        let title = format_args!("keyfob.{verb}");
        debug_span!(target: "keyfob", "keyfob", otel.name = title, verb, store, name, outcome, otel.status_code = status)
    }

    /// Runs the work in the call's span, and tells how it ended.
    async fn run<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let span = self.span();
        let result = work.instrument(span.clone()).await;
        span.record("outcome", outcome(&result));
        if result.as_ref().is_err_and(|error| error.kind() != ErrorKind::NotFound) {
            span.record("otel.status_code", "ERROR");
        }
        if !self.of_store {
            let Self { verb, store, name, .. } = self;
            debug!(target: "keyfob", verb, store, name, outcome = outcome(&result), took = ?self.start.elapsed());
        }
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

    /// Written out, because most programs don't listen, and a future of its own would be much of a read from memory.
    fn get<'s, 'n, 'o, 'f>(&'s self, name: &'n SecretName, options: &'o GetOptions) -> BoxFuture<'f, Result<Secret>>
    where
        's: 'f,
        'n: 'f,
        'o: 'f,
    {
        if LevelFilter::current() < LevelFilter::DEBUG {
            return self.inner.get(name, options);
        }
        let call = self.call(Verb::Get, name.as_str());
        Box::pin(call.run(self.inner.get(name, options)))
    }

    fn get_maybe_ready<'f>(&'f self, name: &'f SecretName, options: &'f GetOptions) -> MaybeReady<'f> {
        if LevelFilter::current() < LevelFilter::DEBUG {
            return self.inner.get_maybe_ready(name, options);
        }
        MaybeReady::Pending(self.get(name, options))
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let call = self.call(Verb::GetMany, "");
        let answers = self.inner.get_many(requests).instrument(call.span()).await;
        if call.of_store {
            return answers;
        }
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

#[cfg(test)]
mod tests;
