//! A layer that changes nothing and lets somebody watch what goes through.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{
    BoxFuture, DeleteOptions, ErrorKind, GetOptions, GetRequest, Health, ListOptions, Metadata, Page, PageRequest, PutMode,
    PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, Verb, VersionInfo, async_trait,
};

/// Watches what one layer asks the next one.
pub(crate) trait Watch: Send + Sync + fmt::Debug {
    /// A call begins. The number is its own.
    fn begins(&self, asked: &Asked) -> u64;

    /// It ends.
    fn ends(&self, number: u64, asked: &Asked, ending: &Ending);
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) verb: Verb,
    /// The reads of `get` and `get_many`.
    pub(crate) reads: Vec<GetRequest>,
    /// The name that is written, or whose versions are listed.
    pub(crate) name: Option<SecretName>,
    /// When a put may happen.
    pub(crate) mode: Option<PutMode>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With an answer, or one for each read.
    Answered(Vec<Answered>),
    /// Nobody waits any more.
    Dropped,
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) error: Option<ErrorKind>,
    pub(crate) retry_after: Option<Duration>,
    /// Whether it may be kept in memory.
    pub(crate) expires: bool,
}

impl Answered {
    fn of<T>(answer: &Result<T>) -> Self {
        let error = answer.as_ref().err();
        Self {
            error: error.map(keyfob_core::Error::kind),
            retry_after: error.and_then(keyfob_core::Error::retry_after),
            expires: false,
        }
    }

    fn of_read(answer: &Result<Secret>) -> Self {
        Self {
            expires: answer.as_ref().is_ok_and(|secret| secret.metadata.expires_at.is_some()),
            ..Self::of(answer)
        }
    }

    pub(crate) fn is_ill(&self) -> bool {
        self.error.is_some_and(ErrorKind::is_retryable)
    }
}

tokio::task_local! {
    static CALL: u64;
    static ATTEMPT: u64;
}

/// Between which layers a spy sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Between cache and retries.
    Call,
    /// Between retries and failover.
    Attempt,
    /// Between failover and the limit of one store.
    Member,
}

/// The call that what runs now is an attempt of.
pub(crate) fn call_here() -> Option<u64> {
    CALL.try_with(|number| *number).ok()
}

/// The attempt that what runs now serves.
pub(crate) fn attempt_here() -> Option<u64> {
    ATTEMPT.try_with(|number| *number).ok()
}

#[derive(Debug)]
pub(crate) struct Spy {
    inner: Arc<dyn SecretStore>,
    watch: Arc<dyn Watch>,
    level: Level,
}

/// A call under way.
struct Watched<'a> {
    spy: &'a Spy,
    number: u64,
    asked: Asked,
    ending: Ending,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.spy.watch.ends(self.number, &self.asked, &self.ending);
    }
}

impl Spy {
    pub(crate) fn over(inner: Arc<dyn SecretStore>, watch: Arc<dyn Watch>, level: Level) -> Arc<dyn SecretStore> {
        Arc::new(Self { inner, watch, level })
    }

    async fn watch<T>(&self, asked: Asked, call: BoxFuture<'_, T>, answered: impl FnOnce(&T) -> Vec<Answered>) -> T {
        let mut watched = Watched {
            spy: self,
            number: self.watch.begins(&asked),
            asked,
            ending: Ending::Dropped,
        };
        let answer = match self.level {
            Level::Call => CALL.scope(watched.number, call).await,
            Level::Attempt => ATTEMPT.scope(watched.number, call).await,
            Level::Member => call.await,
        };
        watched.ending = Ending::Answered(answered(&answer));
        answer
    }

    async fn one<T>(
        &self,
        verb: Verb,
        name: Option<&SecretName>,
        mode: Option<PutMode>,
        call: BoxFuture<'_, Result<T>>,
    ) -> Result<T> {
        let asked = Asked {
            verb,
            reads: Vec::new(),
            name: name.cloned(),
            mode,
        };
        self.watch(asked, call, |answer| vec![Answered::of(answer)]).await
    }
}

#[async_trait]
impl SecretStore for Spy {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let request = GetRequest {
            name: name.clone(),
            options: options.clone(),
        };
        let asked = Asked {
            verb: Verb::Get,
            reads: vec![request],
            name: None,
            mode: None,
        };
        let call = self.inner.get(name, options);
        self.watch(asked, call, |answer| vec![Answered::of_read(answer)]).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let asked = Asked {
            verb: Verb::GetMany,
            reads: requests.to_vec(),
            name: None,
            mode: None,
        };
        let call = self.inner.get_many(requests);
        self.watch(asked, call, |answers| answers.iter().map(Answered::of_read).collect())
            .await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let mode = Some(request.mode.clone());
        self.one(Verb::Put, Some(name), mode, self.inner.put(name, request)).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.one(Verb::Delete, Some(name), None, self.inner.delete(name, options))
            .await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.one(Verb::Restore, Some(name), None, self.inner.restore(name)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.one(Verb::List, None, None, self.inner.list(options)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.one(Verb::Versions, Some(name), None, self.inner.versions(name, page))
            .await
    }

    async fn health(&self) -> Result<Health> {
        self.one(Verb::Health, None, None, self.inner.health()).await
    }
}
