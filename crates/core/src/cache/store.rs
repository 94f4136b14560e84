//! A store with a memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{OptionFuture, join, join_all};

use crate::cache::CacheLayer;
use crate::cache::flight::{Call, Kept, Verb, take_off};
use crate::cache::follower::Follower;
use crate::cache::ledger::CacheUsage;
use crate::cache::table::{Begun, Purpose, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::maybe_ready::MaybeReady;
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
            table: Arc::new(Table::new(settings, inner.info())),
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

    /// Asks for what has no answer yet, all within one deadline.
    async fn complete(&self, verb: Verb, requests: &[GetRequest], mut answers: Vec<Option<Kept>>) -> Vec<Result<Secret>> {
        let end = self.table.end_of_call();
        let misses: Vec<usize> = (0..requests.len()).filter(|place| answers[*place].is_none()).collect();
        if !misses.is_empty() {
            let failure = self.fill(verb, requests, misses, Purpose::Answer, &mut answers).await;
            self.renew(verb, requests, failure, end, &mut answers).await;
        }
        answers.into_iter().flatten().map(|(answer, _)| answer).collect()
    }

    /// Asks for the requests at these places, and says why the store could not answer one of them.
    async fn fill(
        &self,
        verb: Verb,
        requests: &[GetRequest],
        places: Vec<usize>,
        purpose: Purpose,
        answers: &mut [Option<Kept>],
    ) -> Option<Error> {
        let wanted: Vec<GetRequest> = places.iter().map(|place| requests[*place].clone()).collect();
        let mut failure = None;
        for (place, (answer, until)) in places.into_iter().zip(self.ask(verb, &wanted, purpose).await) {
            if let Err(error) = &answer
                && error.kind().is_retryable()
            {
                failure = Some(error.clone());
            }
            answers[place] = Some((answer, until));
        }
        failure
    }

    /// What was found in memory, here or shared, has grown older while the rest was waited for. When some of it is too old by
    /// now, it is asked for as well, in what is left of the time; unless the store has failed, because then the time for this
    /// is over, too.
    async fn renew(
        &self,
        verb: Verb,
        requests: &[GetRequest],
        mut failure: Option<Error>,
        end: Duration,
        answers: &mut [Option<Kept>],
    ) {
        if self.too_old(answers).next().is_none() {
            return;
        }
        if failure.is_none() {
            let is_kept = |answer: &Option<Kept>| answer.as_ref().is_some_and(|(_, until)| *until < Duration::MAX);
            let places = (0..requests.len()).filter(|place| is_kept(&answers[*place])).collect();
            // Others who ask for the same meanwhile have their whole time: only this caller stops waiting.
            let asked = self.fill(verb, requests, places, Purpose::Refresh, answers);
            failure = self.table.until(end, asked).await.flatten();
        }
        let places: Vec<usize> = self.too_old(answers).collect();
        for place in places {
            let request = &requests[place];
            let error = self.became_too_old(&request.name, failure.as_ref());
            answers[place] = Some((self.cover(request, error), Duration::MAX));
        }
    }

    /// The places of what may not be handed out any more.
    fn too_old<'a>(&self, answers: &'a [Option<Kept>]) -> impl Iterator<Item = usize> + use<'a> {
        let now = self.table.now();
        let is_too_old = move |answer: &Option<Kept>| answer.as_ref().is_some_and(|(_, until)| now >= *until);
        (0..answers.len()).filter(move |place| is_too_old(&answers[*place]))
    }

    /// The error of what can't be handed out any more, after the store has failed like this, or the time is over.
    fn became_too_old(&self, name: &SecretName, failure: Option<&Error>) -> Error {
        let kind = failure.map_or(ErrorKind::Timeout, Error::kind);
        let message = "what was in memory became too old while the store was waited for";
        let mut error = Error::new(kind, message)
            .with("store", &*self.inner.info().scheme)
            .with("name", name.as_str());
        if let Some(pause) = failure.and_then(Error::retry_after) {
            error = error.with_retry_after(pause);
        }
        match failure {
            Some(failure) => error.with_source(failure.clone()),
            None => error,
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
        let answers = self.complete(Verb::Get, &[request], vec![None]).await;
        answers
            .into_iter()
            .next()
            .unwrap_or_else(|| unreachable!("one request has one answer"))
    }

    /// Forgets `name` when the write is over, however it ends: also when its future is dropped. Whoever looks into the
    /// second level finds it closed from before the write until it is known to be over.
    async fn write<T>(&self, name: &SecretName, write: impl Future<Output = Result<T>>) -> Result<T> {
        let level = self.table.level();
        let end = self.table.end_of_call();
        if let Some(level) = level {
            self.table.until(end, level.cache.close(name)).await;
        }
        let writing = Writing {
            table: &self.table,
            name,
        };
        let done = self.table.within(end, write).await;
        drop(writing);
        // What timed out may still happen, and it stays closed for a while.
        let is_over = !matches!(&done, Err(error) if error.kind() == ErrorKind::Timeout);
        if let Some(level) = level
            && is_over
        {
            self.table.until(end, level.cache.forget(name)).await;
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
        self.get_maybe_ready(name, options).answer().await
    }

    fn get_maybe_ready<'f>(&'f self, name: &'f SecretName, options: &'f GetOptions) -> MaybeReady<'f> {
        if let Some(answer) = self.table.find_plainly(name, options) {
            self.follower.listen(&self.table);
            return MaybeReady::Ready { answer, took: None };
        }
        let Some((answer, is_due)) = self.find(name, options) else {
            return MaybeReady::Pending(Box::pin(self.miss(name, options)));
        };
        if is_due {
            let request = GetRequest {
                name: name.clone(),
                options: options.clone(),
            };
            self.refresh(Verb::Get, &[request]);
        }
        MaybeReady::Ready { answer, took: None }
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
        let answers: Vec<Option<Kept>> = found.collect();
        if !due.is_empty() {
            self.refresh(Verb::GetMany, &due);
        }
        self.complete(Verb::GetMany, requests, answers).await
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
