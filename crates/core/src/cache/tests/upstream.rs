//! A store that counts, waits, fails and panics as a test tells it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::name;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::MemoryStore;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};

#[derive(Debug)]
pub(super) struct Upstream {
    memory: MemoryStore,
    /// What each call of `get` and `get_many` asked for.
    calls: Mutex<Vec<Vec<String>>>,
    answered: AtomicUsize,
    fault: Mutex<Option<Fault>>,
    /// Reads and writes pass while it has permits.
    gate: Semaphore,
}

#[derive(Debug, Clone)]
pub(super) enum Fault {
    Error(Error),
    Panic,
    /// Fewer answers than requests.
    Silence,
}

impl Upstream {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryStore::new(),
            calls: Mutex::default(),
            answered: AtomicUsize::new(0),
            fault: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS / 2),
        })
    }

    /// One that has these secrets, each with its own name as its value.
    pub(super) async fn with(keys: &[&str]) -> Arc<Self> {
        let upstream = Self::new();
        for key in keys {
            upstream.set(key, key).await;
        }
        upstream
    }

    /// Changes a secret as somebody else does, past the cache.
    pub(super) async fn set(&self, key: &str, value: &str) {
        self.memory.put(&name(key), PutRequest::new(value)).await.unwrap();
    }

    pub(super) fn memory(&self) -> &MemoryStore {
        &self.memory
    }

    pub(super) fn fail(&self, kind: ErrorKind) {
        self.fault(Fault::Error(Error::new(kind, "as the test wants it")));
    }

    pub(super) fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    pub(super) fn mend(&self) {
        *self.fault.lock().unwrap() = None;
    }

    pub(super) fn close(&self) {
        let all = self.gate.available_permits();
        self.gate.forget_permits(all);
    }

    pub(super) fn open(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Lets so many calls pass that wait, or come.
    pub(super) fn let_pass(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    /// How many calls there were since the last time.
    pub(super) fn calls(&self) -> usize {
        self.asked().len()
    }

    /// What each call asked for, since the last time.
    pub(super) fn asked(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// How many calls were not dropped on the way.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }

    async fn called(&self, names: Vec<String>) -> Option<Fault> {
        self.calls.lock().unwrap().push(names);
        self.gate.acquire().await.unwrap().forget();
        self.answered.fetch_add(1, Ordering::SeqCst);
        let fault = self.fault.lock().unwrap().clone();
        assert!(!matches!(fault, Some(Fault::Panic)), "as the test wants it");
        fault
    }
}

#[async_trait]
impl SecretStore for Upstream {
    fn info(&self) -> &StoreInfo {
        self.memory.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        match self.called(vec![name.to_string()]).await {
            Some(Fault::Error(error)) => Err(error),
            _ => self.memory.get(name, options).await,
        }
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let names = requests.iter().map(|request| request.name.to_string()).collect();
        match self.called(names).await {
            Some(Fault::Error(error)) => requests.iter().map(|_| Err(error.clone())).collect(),
            Some(Fault::Silence) => Vec::new(),
            _ => self.memory.get_many(requests).await,
        }
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let done = self.memory.put(name, request).await;
        self.gate.acquire().await.unwrap().forget();
        done
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.memory.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.memory.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.memory.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.memory.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.memory.health().await
    }
}
