//! A store for tests that does what a script says, over memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::capabilities::Capabilities;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::MemoryStore;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, PassedOver, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};

/// What happens to one request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// It is done.
    Answer,
    /// It is not done.
    Fail(Error),
    /// It is done, and the answer is an error all the same.
    DoneButFail(Error),
    /// The requests of a batch at these places fail.
    FailSome(Vec<(usize, Error)>),
    /// It takes so long, then the other thing happens.
    After(Duration, Box<Self>),
}

impl Step {
    pub(crate) fn fail(kind: ErrorKind) -> Self {
        Self::Fail(error(kind))
    }

    pub(crate) fn after(milliseconds: u64, step: Self) -> Self {
        Self::After(Duration::from_millis(milliseconds), Box::new(step))
    }

    /// No answer, ever.
    pub(crate) fn hang() -> Self {
        Self::after(1_000_000_000, Self::Answer)
    }
}

pub(crate) fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "as the script says")
}

/// One request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) verb: &'static str,
    /// Milliseconds since the store was made.
    pub(crate) at: u64,
    /// The names of a batch, else the name.
    pub(crate) names: Vec<String>,
}

/// Answers all that is beyond its script.
#[derive(Debug)]
pub(crate) struct ScriptedStore {
    info: StoreInfo,
    pub(crate) memory: Arc<MemoryStore>,
    script: Mutex<VecDeque<Step>>,
    asked: Mutex<Vec<Asked>>,
    start: Instant,
    /// What reads say of who did not answer.
    pub(crate) passed_over: Vec<PassedOver>,
    /// What reads say of when the value was made.
    pub(crate) made: Option<SystemTime>,
}

impl ScriptedStore {
    pub(crate) fn new(script: impl IntoIterator<Item = Step>) -> Self {
        Self::with(Capabilities::FULL, script)
    }

    pub(crate) fn with(capabilities: Capabilities, script: impl IntoIterator<Item = Step>) -> Self {
        Self {
            info: StoreInfo::new("scripted", "a test", capabilities),
            memory: Arc::default(),
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::default(),
            start: Instant::now(),
            passed_over: Vec::new(),
            made: None,
        }
    }

    pub(crate) fn then(&self, script: impl IntoIterator<Item = Step>) {
        self.script.lock().unwrap().extend(script);
    }

    /// Forgets what is left of the script.
    pub(crate) fn clear(&self) {
        self.script.lock().unwrap().clear();
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The verbs of all requests, in order.
    pub(crate) fn verbs(&self) -> Vec<&'static str> {
        self.asked().iter().map(|asked| asked.verb).collect()
    }

    /// When the requests came, in milliseconds since the first of them.
    pub(crate) fn times(&self) -> Vec<u64> {
        let asked = self.asked();
        asked.iter().map(|request| request.at - asked[0].at).collect()
    }

    async fn next(&self, verb: &'static str, names: Vec<String>) -> Step {
        let at = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        self.asked.lock().unwrap().push(Asked { verb, at, names });
        let mut step = self.script.lock().unwrap().pop_front().unwrap_or(Step::Answer);
        while let Step::After(time, then) = step {
            tokio::time::sleep(time).await;
            step = *then;
        }
        step
    }

    async fn play<T>(&self, verb: &'static str, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.next(verb, vec![name.to_owned()]).await {
            Step::Fail(error) => Err(error),
            Step::DoneButFail(error) => work.await.and(Err(error)),
            _ => work.await,
        }
    }

    fn marked(&self, mut secret: Secret) -> Secret {
        secret.metadata_mut().origin.passed_over.clone_from(&self.passed_over);
        if let Some(made) = self.made {
            secret.metadata_mut().created = Some(made);
            secret.metadata_mut().updated = Some(made);
        }
        secret
    }
}

#[async_trait]
impl SecretStore for ScriptedStore {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let read = self.play("get", name.as_str(), self.memory.get(name, options)).await;
        read.map(|secret| self.marked(secret))
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let names = requests.iter().map(|request| request.name.to_string()).collect();
        let step = self.next("get_many", names).await;
        let mut answers = self.memory.get_many(requests).await;
        match step {
            Step::Fail(error) | Step::DoneButFail(error) => answers.fill(Err(error)),
            Step::FailSome(failed) => failed.into_iter().for_each(|(index, error)| answers[index] = Err(error)),
            Step::Answer | Step::After(..) => {}
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.play("put", name.as_str(), self.memory.put(name, request)).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.play("delete", name.as_str(), self.memory.delete(name, options)).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.play("restore", name.as_str(), self.memory.restore(name)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.play("list", &options.prefix, self.memory.list(options)).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.play("versions", name.as_str(), self.memory.versions(name, page)).await
    }

    async fn health(&self) -> Result<Health> {
        self.play("health", "", self.memory.health()).await
    }
}
