//! New values as they come, for an application that runs.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{Stream, StreamExt as _, stream};
use keyfob_core::{
    ChangeStream, Clock, Error, ErrorKind, GetOptions, Random, Result, Secret, SecretName, SecretRef, SecretStore, StoreChange,
    VersionSelector,
};

/// Values of one secret: the present one, then each new one.
pub type SecretStream = Pin<Box<dyn Stream<Item = Result<Secret>> + Send>>;

/// Says each time that it is worth to look again. It never ends.
pub type Occasions = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// What is watched, and with what.
pub(crate) struct Watched {
    pub(crate) store: Arc<dyn SecretStore>,
    pub(crate) changes: Option<ChangeStream>,
    pub(crate) secret: SecretRef,
    pub(crate) interval: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

struct Watch {
    store: Arc<dyn SecretStore>,
    secret: SecretRef,
    occasions: Occasions,
    /// What was told last.
    last: Option<Told>,
}

/// Enough to know whether something new is to be told.
enum Told {
    Value(Secret),
    Failure(ErrorKind),
}

/// Begins to watch.
pub(crate) fn watch(watched: Watched) -> SecretStream {
    let names = BTreeSet::from([watched.secret.name.clone()]);
    let changes = watched.changes.map(|changes| only_of(changes, names));
    let watch = Watch {
        store: watched.store,
        secret: watched.secret,
        occasions: occasions(changes.into_iter().collect(), watched.interval, watched.clock),
        last: None,
    };
    Box::pin(stream::unfold(watch, |mut watch| async move {
        let next = watch.next().await;
        Some((next, watch))
    }))
}

impl Watch {
    async fn next(&mut self) -> Result<Secret> {
        loop {
            if self.last.is_some() {
                self.occasions.next().await;
            }
            let answer = self.read().await;
            if self.is_news(&answer) {
                self.last = Some(match &answer {
                    Ok(secret) => Told::Value(secret.clone()),
                    Err(error) => Told::Failure(error.kind()),
                });
                return answer;
            }
        }
    }

    /// Past the cache, whose entry the answer renews.
    async fn read(&mut self) -> Result<Secret> {
        let SecretRef { name, version, field } = &self.secret;
        let options = GetOptions {
            max_age: Some(Duration::ZERO),
            ..GetOptions::version(version.clone())
        };
        let mut secret = self.store.get(name, &options).await?;
        if let Some(field) = field {
            secret.value = field.pick(&secret.value).map_err(|error| error.with("name", name.as_str()))?;
        }
        Ok(secret)
    }

    fn is_news(&self, answer: &Result<Secret>) -> bool {
        match (&self.last, answer) {
            (Some(Told::Value(last)), Ok(secret)) => last.value.expose_secret() != secret.value.expose_secret(),
            (Some(Told::Failure(last)), Err(error)) => *last != error.kind(),
            _ => true,
        }
    }
}

/// The changes of these names, and those of which the store can't say what they are of.
pub(crate) fn only_of(changes: ChangeStream, names: BTreeSet<SecretName>) -> ChangeStream {
    Box::pin(changes.filter(move |change| {
        let wanted = match change {
            StoreChange::Secret(changed) => names.contains(changed),
            _ => true,
        };
        std::future::ready(wanted)
    }))
}

/// At once when one of the stores tells of a change, else after about the interval. A store that tells is asked now and then
/// all the same: what it tells is a help, not a promise.
pub(crate) fn occasions(changes: Vec<ChangeStream>, interval: Duration, clock: Arc<dyn Clock>) -> Occasions {
    let waits = (stream::select_all(changes), Random::new());
    Box::pin(stream::unfold(waits, move |(mut changes, random)| {
        // Between nine and eleven tenths, so that a fleet that was started together does not ask together.
        let pause = interval - interval / 10 + random.up_to(interval / 5);
        let clock = clock.clone();
        async move {
            match select(changes.next(), clock.sleep(pause)).await {
                // None of them tells any longer.
                Either::Left((None, sleep)) => sleep.await,
                Either::Left((Some(_), _)) | Either::Right(_) => {}
            }
            Some(((), (changes, random)))
        }
    }))
}

/// A version that was pinned never changes, so there is nothing to watch.
pub(crate) fn check(secret: &SecretRef) -> Result<()> {
    match &secret.version {
        VersionSelector::Exact(version) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the version `{version}` is pinned and never changes"),
        )
        .with("name", secret.name.as_str())
        .with_hint("watch the secret without `@`, or `@previous`")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use keyfob_core::{DeleteOptions, MemoryStore, PutRequest, SecretName, VirtualClock};
    use tokio::sync::mpsc;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn watched(store: &Arc<MemoryStore>, changes: Option<ChangeStream>) -> SecretStream {
        watch(Watched {
            store: store.clone(),
            changes,
            secret: SecretRef::new(SecretName::new("a").unwrap()),
            interval: MINUTE,
            clock: Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH)),
        })
    }

    async fn put(store: &MemoryStore, value: &str) {
        store
            .put(&SecretName::new("a").unwrap(), PutRequest::new(value))
            .await
            .unwrap();
    }

    async fn next(stream: &mut SecretStream) -> Result<String> {
        let secret = stream.next().await.unwrap()?;
        Ok(secret.value.expose_str()?.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn each_new_value_is_told_once_within_the_interval() {
        let store = Arc::new(MemoryStore::new());
        put(&store, "one").await;
        let mut stream = watched(&store, None);
        assert_eq!(next(&mut stream).await.unwrap(), "one");
        // The same bytes again are no news.
        put(&store, "one").await;
        tokio::time::timeout(10 * MINUTE, stream.next()).await.unwrap_err();
        put(&store, "two").await;
        let before = tokio::time::Instant::now();
        assert_eq!(next(&mut stream).await.unwrap(), "two");
        assert!(before.elapsed() <= MINUTE + MINUTE / 10);

        let name = SecretName::new("a").unwrap();
        store.delete(&name, &DeleteOptions::default()).await.unwrap();
        assert_eq!(next(&mut stream).await.unwrap_err().kind(), ErrorKind::NotFound);
        tokio::time::timeout(10 * MINUTE, stream.next()).await.unwrap_err();
        store.restore(&name).await.unwrap();
        assert_eq!(next(&mut stream).await.unwrap(), "two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_tells_is_read_at_once_and_polled_when_it_tells_no_longer() {
        let store = Arc::new(MemoryStore::new());
        put(&store, "one").await;
        let (tell, told) = mpsc::unbounded_channel();
        let changes = stream::unfold(told, |mut told| async move { Some((told.recv().await?, told)) });
        let mut stream = watched(&store, Some(Box::pin(changes)));
        assert_eq!(next(&mut stream).await.unwrap(), "one");

        put(&store, "two").await;
        let before = tokio::time::Instant::now();
        tell.send(StoreChange::Secret(SecretName::new("another").unwrap())).unwrap();
        tell.send(StoreChange::Secret(SecretName::new("a").unwrap())).unwrap();
        assert_eq!(next(&mut stream).await.unwrap(), "two");
        assert!(before.elapsed().is_zero());

        drop(tell);
        put(&store, "three").await;
        let before = tokio::time::Instant::now();
        assert_eq!(next(&mut stream).await.unwrap(), "three");
        assert!(before.elapsed() >= MINUTE - MINUTE / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn any_store_that_tells_is_an_occasion_and_so_is_the_interval() {
        let (tell, told) = mpsc::unbounded_channel();
        let changes = stream::unfold(told, |mut told| async move { Some((told.recv().await?, told)) });
        let telling = only_of(Box::pin(changes), BTreeSet::from([SecretName::new("a").unwrap()]));
        let ended: ChangeStream = Box::pin(stream::empty());
        let clock = Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH));
        let mut occasions = occasions(vec![ended, telling], MINUTE, clock);

        tell.send(StoreChange::Anything).unwrap();
        let before = tokio::time::Instant::now();
        occasions.next().await.unwrap();
        assert!(before.elapsed().is_zero());
        // Of another secret.
        tell.send(StoreChange::Secret(SecretName::new("b").unwrap())).unwrap();
        occasions.next().await.unwrap();
        assert!(before.elapsed() >= MINUTE - MINUTE / 10 && before.elapsed() <= MINUTE + MINUTE / 10);
        // Nobody tells any longer.
        drop(tell);
        for _ in 0..10 {
            let before = tokio::time::Instant::now();
            occasions.next().await.unwrap();
            assert!(before.elapsed() >= MINUTE - MINUTE / 10 && before.elapsed() <= MINUTE + MINUTE / 10);
        }
    }

    #[test]
    fn a_pinned_version_is_refused() {
        let error = check(&"a@7".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        check(&"a@previous".parse().unwrap()).unwrap();
    }
}
