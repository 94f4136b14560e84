//! The layer between a case and the store: keeps everything that the store let be seen.

use std::error::Error as StdError;
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use keyfob_core::{
    DeleteOptions, Error, GetOptions, GetRequest, Health, ListOptions, Metadata, Page, PageRequest, PutRequest, Result, Secret,
    SecretName, SecretStore, StoreInfo, VersionInfo,
};

/// Records `Display` and `Debug` of every answer, and `Debug` of the store after every call.
#[derive(Debug)]
pub(crate) struct Witness {
    inner: Arc<dyn SecretStore>,
    /// The place (`error of put`) and the text that was seen there.
    seen: Mutex<Vec<(String, String)>>,
}

impl Witness {
    pub(crate) fn new(inner: Arc<dyn SecretStore>) -> Self {
        let witness = Self {
            inner,
            seen: Mutex::default(),
        };
        witness.saw("Debug of info", format!("{:?}", witness.inner.info()));
        witness
    }

    /// Shows every output so far: the place (`error of put`) and what was seen there.
    pub(crate) fn with_outputs(&self, mut look: impl FnMut(&str, &str)) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, text) in seen.iter() {
            look(place, text);
        }
    }

    fn saw(&self, place: impl Into<String>, text: String) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((place.into(), text));
    }

    fn answer<T: Debug>(&self, verb: &str, result: Result<T>) -> Result<T> {
        match &result {
            Ok(answer) => self.saw(format!("Debug of the answer of `{verb}`"), format!("{answer:?} {answer:#?}")),
            Err(error) => self.saw(format!("error of `{verb}`"), everything_in(error)),
        }
        self.saw("Debug of the store", format!("{:?} {:#?}", self.inner, self.inner));
        result
    }
}

/// All that an error shows, and each error below it, even where the chain prints only a part.
fn everything_in(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?} {:?} {:?}", error.message(), error.hint());
    for fact in error.context() {
        let _ = write!(text, " {fact:?}");
    }
    let mut below = error.source();
    while let Some(source) = below {
        let _ = write!(text, " {source} {source:?}");
        below = source.source();
    }
    text
}

#[async_trait]
impl SecretStore for Witness {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.answer("get", self.inner.get(name, options).await)
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let answers = self.inner.get_many(requests).await;
        answers.into_iter().map(|answer| self.answer("get_many", answer)).collect()
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.answer("put", self.inner.put(name, request).await)
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.answer("delete", self.inner.delete(name, options).await)
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.answer("restore", self.inner.restore(name).await)
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.answer("list", self.inner.list(options).await)
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.answer("versions", self.inner.versions(name, page).await)
    }

    async fn health(&self) -> Result<Health> {
        self.answer("health", self.inner.health().await)
    }
}
