//! A store in memory whose first answer to everything is lost or an error.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use keyfob_core::{
    DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page, PageRequest,
    PutMode, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};

/// What happens to the first of two equal requests. The second one is done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ailment {
    /// Nothing is done: `Unavailable`, or `RateLimited` where only that may be repeated.
    Refuses,
    /// It is done, and its answer lost: `Timeout`. What only `RateLimited` may be repeated after is well.
    LosesAnswers,
}

#[derive(Debug)]
pub(crate) struct AilingStore {
    ailment: Ailment,
    inner: MemoryStore,
    failed: Mutex<HashSet<String>>,
}

impl AilingStore {
    pub(crate) fn new(ailment: Ailment) -> Self {
        Self {
            ailment,
            inner: MemoryStore::new(),
            failed: Mutex::default(),
        }
    }

    /// Whether this request comes for the first time, or again after it has been done.
    fn is_first(&self, request: String) -> bool {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !failed.remove(&request);
        if is_new {
            failed.insert(request);
        }
        is_new
    }

    async fn guarded<T>(&self, request: String, work: impl Future<Output = Result<T>>) -> Result<T> {
        match (self.is_first(request), self.ailment) {
            (true, Ailment::Refuses) => Err(failure(ErrorKind::Unavailable)),
            (true, Ailment::LosesAnswers) => work.await.and(Err(failure(ErrorKind::Timeout))),
            (false, _) => work.await,
        }
    }

    async fn unguarded<T>(&self, request: String, work: impl Future<Output = Result<T>>) -> Result<T> {
        match (self.is_first(request), self.ailment) {
            (true, Ailment::Refuses) => Err(failure(ErrorKind::RateLimited)),
            _ => work.await,
        }
    }
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "the store is ill").with("store", "memory")
}

#[async_trait]
impl SecretStore for AilingStore {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.guarded(format!("get {name} {options:?}"), self.inner.get(name, options))
            .await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut answers = self.inner.get_many(requests).await;
        for (request, answer) in requests.iter().zip(&mut answers) {
            if answer.is_ok() && self.is_first(format!("get_many {request:?}")) {
                *answer = Err(failure(ErrorKind::Unavailable));
            }
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let key = format!("put {name} {:?}", request.mode);
        match request.mode {
            PutMode::Upsert => self.unguarded(key, self.inner.put(name, request)).await,
            PutMode::Create | PutMode::Match(_) => self.guarded(key, self.inner.put(name, request)).await,
        }
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.unguarded(format!("delete {name}"), self.inner.delete(name, options))
            .await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.guarded(format!("restore {name}"), self.inner.restore(name)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.guarded(format!("list {options:?}"), self.inner.list(options)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.guarded(format!("versions {name} {page:?}"), self.inner.versions(name, page))
            .await
    }

    async fn health(&self) -> Result<Health> {
        self.guarded("health".to_owned(), self.inner.health()).await
    }
}
