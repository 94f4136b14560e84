//! A store with a memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{OptionFuture, join, join_all};

use crate::cache::CacheLayer;
use crate::cache::flight::{Call, Kept, Verb, take_off};
use crate::cache::follower::Follower;
use crate::cache::table::{Begun, CacheUsage, Purpose, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};

/// A store whose answers are kept as a [`CacheLayer`] says, and the handle to what is kept.
///
/// Forgetting takes effect at once: a read that begins afterwards goes to the store, and one that is under way is
/// answered but not kept.
#[derive(Debug)]
pub struct CachedStore {
    inner: Arc<dyn SecretStore>,
    table: Arc<Table>,
    follower: Follower,
}

impl CachedStore {
    pub(super) fn new(settings: CacheLayer, inner: Arc<dyn SecretStore>) -> Self {
        Self {
            follower: Follower::new(settings.changes.clone()),
            table: Arc::new(Table::new(settings, &inner.info().label)),
            inner,
        }
    }

    /// Forgets one secret, with all its versions. For whoever knows that it was changed by another way.
    pub fn clear(&self, name: &SecretName) {
        self.table.forget(name);
        // Without a runtime the others go on with what they have; this process does not believe it any more.
        if self.table.level().is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (table, name) = (Arc::clone(&self.table), name.clone());
            runtime.spawn(async move {
                if let Some(level) = table.level() {
                    level.cache.forget(&name).await;
                }
            });
        }
    }

    /// The same, and returns when the second level has forgotten it as well, or can't now.
    pub async fn clear_everywhere(&self, name: &SecretName) {
        self.table.forget(name);
        if let Some(level) = self.table.level() {
            level.cache.forget(name).await;
        }
    }

    /// Forgets every secret whose name begins with this text.
    pub fn clear_prefix(&self, prefix: &str) {
        self.table.forget_where(|name| name.as_str().starts_with(prefix));
    }

    /// Forgets everything.
    pub fn clear_all(&self) {
        self.table.forget_all();
    }

    /// Reads the current versions of these secrets, as many as are not in memory in one call, so that they are at hand
    /// when they are needed. One result a name, in order: the error is what a read would have said.
    pub async fn warm(&self, names: &[SecretName]) -> Vec<Result<()>> {
        let requests: Vec<GetRequest> = names.iter().cloned().map(GetRequest::new).collect();
        let answers = self.get_many(&requests).await;
        answers.into_iter().map(|answer| answer.map(drop)).collect()
    }

    /// Whether values of this name are kept at all, for however short a time.
    #[must_use]
    pub fn keeps(&self, name: &SecretName) -> bool {
        self.table.times(name).keeps()
    }

    /// How much is kept.
    #[must_use]
    pub fn usage(&self) -> CacheUsage {
        self.table.usage()
    }

    fn find(&self, name: &SecretName, options: &GetOptions) -> Option<(Result<Secret>, bool)> {
        let found = self.table.find(name, options)?;
        self.follower.listen(&self.table);
        Some((found.answer, found.refresh))
    }

    /// Answers with at most one call, and says until when each answer may be handed out.
    async fn ask(&self, verb: Verb, requests: &[GetRequest], purpose: Purpose) -> Vec<Kept> {
        let (begun, call) = self.begin(verb, requests, purpose);
        let joined = begun.iter().filter_map(|begun| match begun {
            Begun::Join(call, _) => Some(call.clone()),
            Begun::Found(..) | Begun::Ask(_) => None,
        });
        let (asked, joined) = join(OptionFuture::from(call), join_all(joined)).await;
        let mut joined = joined.into_iter();
        let answers = begun.into_iter().map(|begun| match begun {
            Begun::Found(answer, until) => Some((answer, until)),
            Begun::Ask(place) => asked.as_ref()?.get(place).cloned(),
            Begun::Join(_, place) => joined.next()?.get(place).cloned(),
        });
        requests
            .iter()
            .zip(answers.flatten())
            .map(|(request, (answer, until))| (answer.or_else(|error| self.cover(request, error)), until))
            .collect()
    }

    /// Asks for the requests of a batch at these places, and says why the store could not answer one of them.
    async fn fill(
        &self,
        requests: &[GetRequest],
        places: Vec<usize>,
        purpose: Purpose,
        answers: &mut [Option<Kept>],
    ) -> Option<Error> {
        let wanted: Vec<GetRequest> = places.iter().map(|place| requests[*place].clone()).collect();
        let mut failure = None;
        for (place, (answer, until)) in places.into_iter().zip(self.ask(Verb::GetMany, &wanted, purpose).await) {
            if let Err(error) = &answer
                && error.kind().is_retryable()
            {
                failure = Some(error.clone());
            }
            answers[place] = Some((answer, until));
        }
        failure
    }

    /// What a batch found in memory has grown older while the rest was waited for. When some of it is too old by now, it
    /// is asked for as well; unless the store has failed, because then the time for this is over, too.
    async fn renew(&self, requests: &[GetRequest], failure: Option<Error>, answers: &mut [Option<Kept>]) {
        let now = self.table.now();
        let is_too_old = |answer: &Option<Kept>| answer.as_ref().is_some_and(|(_, until)| now >= *until);
        if !answers.iter().any(is_too_old) {
            return;
        }
        let Some(failure) = failure else {
            let is_kept = |answer: &Option<Kept>| answer.as_ref().is_some_and(|(_, until)| *until < Duration::MAX);
            let places = (0..requests.len()).filter(|place| is_kept(&answers[*place])).collect();
            self.fill(requests, places, Purpose::Refresh, answers).await;
            return;
        };
        for (request, answer) in requests.iter().zip(answers) {
            if is_too_old(answer) {
                *answer = Some((self.cover(request, failure.clone()), Duration::MAX));
            }
        }
    }

    /// Answers from memory after all when the store could not.
    fn cover(&self, request: &GetRequest, error: Error) -> Result<Secret> {
        if !error.kind().is_retryable() {
            return Err(error);
        }
        let kind = error.kind();
        self.table.cover(&request.name, &request.options, kind).ok_or(error)
    }

    /// Asks the store behind answers that were given from memory.
    fn refresh(&self, verb: Verb, requests: &[GetRequest]) {
        let (_, call) = self.begin(verb, requests, Purpose::Refresh);
        // Without a runtime there is nothing behind a caller; the call is dropped and the next read may try.
        if let (Some(call), Ok(runtime)) = (call, tokio::runtime::Handle::try_current()) {
            runtime.spawn(call);
        }
    }

    fn begin(&self, verb: Verb, requests: &[GetRequest], purpose: Purpose) -> (Vec<Begun>, Option<Call>) {
        self.table.begin(requests, purpose, |wanted| {
            take_off(&self.inner, &self.table, verb, purpose, wanted)
        })
    }

    async fn miss(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let request = GetRequest {
            name: name.clone(),
            options: options.clone(),
        };
        let answers = self.ask(Verb::Get, std::slice::from_ref(&request), Purpose::Answer).await;
        answers
            .into_iter()
            .next()
            .map(|(answer, _)| answer)
            .unwrap_or_else(|| unreachable!("one request has one answer"))
    }

    /// Forgets `name` when the write is over, however it ends: also when its future is dropped. Whoever looks into the
    /// second level finds it closed from before the write until it is known to be over.
    async fn write<T>(&self, name: &SecretName, write: impl Future<Output = Result<T>>) -> Result<T> {
        let level = self.table.level();
        if let Some(level) = level {
            level.cache.close(name).await;
        }
        let writing = Writing {
            table: &self.table,
            name,
        };
        let done = write.await;
        drop(writing);
        // What timed out may still happen, and it stays closed for a while.
        let is_over = !matches!(&done, Err(error) if error.kind() == ErrorKind::Timeout);
        if let Some(level) = level
            && is_over
        {
            level.cache.forget(name).await;
        }
        done
    }
}

struct Writing<'a> {
    table: &'a Table,
    name: &'a SecretName,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.table.forget(self.name);
    }
}

#[async_trait]
impl SecretStore for CachedStore {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        match self.find(name, options) {
            Some((answer, false)) => answer,
            Some((answer, true)) => {
                let request = GetRequest {
                    name: name.clone(),
                    options: options.clone(),
                };
                self.refresh(Verb::Get, &[request]);
                answer
            }
            // In a box of its own, so that the future of a hit is small.
            None => Box::pin(self.miss(name, options)).await,
        }
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut due = Vec::new();
        let found = requests.iter().map(|request| {
            let (found, until) = self.table.find_until(&request.name, &request.options)?;
            self.follower.listen(&self.table);
            if found.refresh {
                due.push(request.clone());
            }
            Some((found.answer, until))
        });
        let mut answers: Vec<Option<Kept>> = found.collect();
        if !due.is_empty() {
            self.refresh(Verb::GetMany, &due);
        }
        let misses: Vec<usize> = (0..requests.len()).filter(|place| answers[*place].is_none()).collect();
        if !misses.is_empty() {
            let failure = self.fill(requests, misses, Purpose::Answer, &mut answers).await;
            self.renew(requests, failure, &mut answers).await;
        }
        answers.into_iter().flatten().map(|(answer, _)| answer).collect()
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.write(name, self.inner.put(name, request)).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.write(name, self.inner.delete(name, options)).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.write(name, self.inner.restore(name)).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.inner.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.inner.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }
}
