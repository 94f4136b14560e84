//! The second level, as the first one uses it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::changes::{ChangeSource, ChangeStream, StoreChange};
use crate::clock::Clock as _;
use crate::error::Error;
use crate::options::{DeleteOptions, GetRequest, PutRequest};
use crate::secret::Metadata;
use crate::store::SecretStore as _;
use crate::value::SecretValue;
use upstream::Fault;

/// A second level that says what a test put there, with the age that the test wants, and writes down what it is asked.
#[derive(Debug, Default)]
struct Scripted {
    entries: Mutex<HashMap<String, (Secret, Duration)>>,
    /// `find a b`, `keep a`, `close a`, `forget a`.
    calls: Mutex<Vec<String>>,
    panics: bool,
    /// How long it takes to forget.
    takes: Duration,
}

impl Scripted {
    fn has(&self, key: &str, value: &str, age: Duration) {
        let secret = Secret::new(SecretValue::from(value), Metadata::new(name(key), "memory"));
        self.entries.lock().unwrap().insert(key.to_owned(), (secret, age));
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn called(&self, verb: &str, names: impl IntoIterator<Item = String>) {
        let mut call = verb.to_owned();
        for name in names {
            write!(call, " {name}").unwrap();
        }
        self.calls.lock().unwrap().push(call);
        assert!(!self.panics, "as the test wants it");
    }
}

#[async_trait]
impl SharedCache for Scripted {
    async fn find(&self, reads: &[SharedRead<'_>]) -> Vec<SharedAnswer> {
        self.called("find", reads.iter().map(|read| read.name.to_string()));
        let entries = self.entries.lock().unwrap();
        let answer = |read: &SharedRead<'_>| SharedAnswer {
            found: entries.get(read.name.as_str()).map(|(secret, age)| SharedSecret {
                secret: secret.clone(),
                age: *age,
            }),
            permit: Some(SharedPermit::new(*b"permit")),
        };
        reads.iter().map(answer).collect()
    }

    async fn keep(&self, entries: Vec<SharedEntry<'_>>) {
        let names = entries
            .iter()
            .map(|entry| format!("{} {:?}", entry.read.name, entry.lifetime));
        self.called("keep", names.collect::<Vec<_>>());
        assert!(entries.iter().all(|entry| entry.permit.as_bytes() == b"permit"));
    }

    async fn close(&self, name: &SecretName) {
        self.called("close", [name.to_string()]);
    }

    async fn forget(&self, name: &SecretName) {
        self.called("forget", [name.to_string()]);
        if !self.takes.is_zero() {
            tokio::time::sleep(self.takes).await;
        }
        self.entries.lock().unwrap().remove(name.as_str());
    }
}

/// Tells what a test wants, to the one who listens.
#[derive(Debug, Default)]
struct Told(Mutex<Option<tokio::sync::mpsc::UnboundedSender<StoreChange>>>);

impl Told {
    fn tell(&self, key: &str) {
        let sender = self.0.lock().unwrap();
        sender.as_ref().unwrap().send(StoreChange::Secret(name(key))).unwrap();
    }
}

impl ChangeSource for Told {
    fn changes(&self) -> ChangeStream {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        *self.0.lock().unwrap() = Some(sender);
        Box::pin(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)))
    }
}

/// A cache with a time to live of a second and a maximum age of ten.
async fn cached() -> (Arc<Upstream>, Arc<Scripted>, Arc<CachedStore>) {
    let upstream = Upstream::with(&["a", "b"]).await;
    let level = Arc::new(Scripted::default());
    let times = CacheTimes::new(ms(1_000)).hard_max_age(ms(10_000));
    let store = plain(times).shared(level.clone()).build(upstream.clone());
    (upstream, level, store)
}

#[tokio::test(start_paused = true)]
async fn a_miss_looks_once_and_what_the_store_says_is_kept() {
    let (upstream, level, store) = cached().await;
    let (one, two) = tokio::join!(read(&store, "a"), read(&store, "a"));
    assert_eq!((one, two), (from_store("a"), from_memory("a")));
    assert_eq!(read(&store, "a").await, from_memory("a"));
    assert_eq!(level.calls(), ["find a", "keep a 10s"]);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_found_counts_its_age_from_when_it_left_the_store() {
    let (upstream, level, store) = cached().await;
    level.has("a", "shared", ms(400));
    assert_eq!(read(&store, "a").await, from_memory("shared"));
    assert_eq!(upstream.calls(), 0);
    advance(599).await;
    assert_eq!(read(&store, "a").await, from_memory("shared"));
    level.entries.lock().unwrap().clear();
    advance(1).await;
    assert_eq!(read(&store, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_machine_has_been_up_is_as_old_as_it_is() {
    let (upstream, level, store) = cached().await;
    assert_eq!(VirtualClock::starting_at(DAY).now(), Duration::ZERO);
    for (age, freshness) in [(999, from_memory("shared")), (1_000, from_store("a"))] {
        level.has("a", "shared", ms(age));
        store.clear_all();
        advance(1).await;
        level.has("a", "shared", ms(age));
        let answer = read(&store, "a").await;
        // After it was cleared, nothing from before is believed; a new machine has cleared nothing.
        assert_eq!(answer, from_store("a"));
        let times = CacheTimes::new(ms(1_000)).hard_max_age(ms(10_000));
        let new = plain(times).shared(level.clone()).build(upstream.clone());
        assert_eq!(read(&new, "a").await, freshness);
    }
    level.has("a", "shared", Duration::MAX);
    let new = plain(ms(1_000).into()).shared(level.clone()).build(upstream);
    assert_eq!(read(&new, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_wants_it_newer_gets_it_newer() {
    let (_, level, store) = cached().await;
    level.has("a", "shared", ms(400));
    assert_eq!(read_at_most(&store, "a", 400).await.unwrap(), from_store("a"));
    store.clear_all();
    let new = plain(ms(1_000).into())
        .shared(level.clone())
        .build(Upstream::with(&["a"]).await);
    assert_eq!(read_at_most(&new, "a", 401).await.unwrap(), from_memory("shared"));
    assert_eq!(read_at_most(&new, "a", 0).await.unwrap(), from_store("a"));
    assert!(level.calls().contains(&"keep a 1s".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_reader_who_wants_it_newer_does_not_join_one_who_takes_it_older() {
    let (upstream, level, store) = cached().await;
    level.has("a", "shared", ms(400));
    let (older, newer, other) = tokio::join!(
        read(&store, "a"),
        read_at_most(&store, "a", 100),
        read_at_most(&store, "a", 500)
    );
    assert_eq!(older, from_memory("shared"));
    assert_eq!(newer.unwrap(), from_store("a"));
    assert_ne!(other.unwrap().1, Freshness::Stale);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_looks_once_and_asks_for_the_rest() {
    let (upstream, level, store) = cached().await;
    level.has("a", "shared", ms(400));
    let requests = ["a", "b", "none"].map(|key| GetRequest::new(name(key)));
    let answers = store.get_many(&requests).await;
    assert_eq!(shown(answers[0].as_ref().unwrap()), from_memory("shared"));
    assert_eq!(shown(answers[1].as_ref().unwrap()), from_store("b"));
    assert_eq!(answers[2].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(level.calls(), ["find a b none", "keep b 10s"]);
    assert_eq!(upstream.asked(), [["b", "none"]]);
}

#[tokio::test(start_paused = true)]
async fn what_a_batch_found_is_not_handed_out_too_old_when_the_rest_takes_long() {
    let (upstream, level, store) = cached().await;
    level.has("a", "shared", ms(900));
    upstream.close();
    let requests = ["a", "b"].map(|key| GetRequest::new(name(key)));
    let reading = tokio::spawn(async move { store.get_many(&requests).await });
    settle().await;
    level.entries.lock().unwrap().clear();
    advance(9_100).await;
    upstream.open();
    let answers = reading.await.unwrap();
    assert_eq!(shown(answers[0].as_ref().unwrap()), from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_past_its_time_covers_for_a_store_that_can_not() {
    let (upstream, level, store) = cached().await;
    level.has("a", "shared", ms(1_000));
    upstream.fail(ErrorKind::Unavailable);
    assert_eq!(read(&store, "a").await, stale("shared"));
    // From memory, while the store is left alone.
    level.entries.lock().unwrap().clear();
    upstream.calls();
    level.calls();
    assert_eq!(read(&store, "a").await, stale("shared"));
    assert_eq!((upstream.calls(), level.calls().len()), (0, 0));
    advance(8_999).await;
    assert_eq!(read(&store, "a").await, stale("shared"));
    advance(1).await;
    assert_eq!(kind(&store, "a").await, ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_takes_only_what_is_newer_and_need_not_be_refreshed() {
    let upstream = Upstream::with(&["a"]).await;
    let level = Arc::new(Scripted::default());
    let store = plain(ms(1_000).into())
        .refresh_ahead(0.5)
        .shared(level.clone())
        .build(upstream.clone());
    read(&store, "a").await;
    upstream.calls();
    advance(500).await;
    // What this process itself has kept there.
    level.has("a", "shared", ms(500));
    assert_eq!(read(&store, "a").await, from_memory("a"));
    settle().await;
    assert_eq!(upstream.calls(), 1);
    advance(500).await;
    // What another one has read since.
    level.has("a", "newer", ms(100));
    read(&store, "a").await;
    settle().await;
    assert_eq!(upstream.calls(), 0);
    assert_eq!(read(&store, "a").await, from_memory("newer"));
}

#[tokio::test(start_paused = true)]
async fn a_write_closes_the_name_and_opens_it_when_it_is_over() {
    let (upstream, level, store) = cached().await;
    let a = name("a");
    store.put(&a, PutRequest::new("new")).await.unwrap();
    assert_eq!(level.calls(), ["close a", "forget a"]);
    store.delete(&a, &DeleteOptions::default()).await.unwrap();
    store.restore(&a).await.unwrap();
    store.restore(&name("none")).await.unwrap_err();
    assert_eq!(
        level.calls(),
        ["close a", "forget a", "close a", "forget a", "close none", "forget none"]
    );
    // Cancelled on the way: nobody knows whether it happens, and it stays closed.
    upstream.close();
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.put(&name("a"), PutRequest::new("newer")).await }
    });
    settle().await;
    writing.abort();
    settle().await;
    assert_eq!(level.calls(), ["close a"]);
}

#[tokio::test(start_paused = true)]
async fn what_this_process_wrote_or_was_told_of_is_not_believed_from_before() {
    let (_, level, store) = cached().await;
    let a = name("a");
    advance(100).await;
    store.put(&a, PutRequest::new("new")).await.unwrap();
    // The second level could not be told.
    level.has("a", "shared", ms(50));
    level.has("b", "shared", ms(50));
    assert_eq!(read(&store, "a").await, from_store("new"));
    assert_eq!(read(&store, "b").await, from_memory("shared"));
    store.clear(&a);
    store.clear(&name("b"));
    settle().await;
    assert!(level.calls().contains(&"forget b".to_owned()));
    advance(100).await;
    level.has("a", "shared", ms(99));
    assert_eq!(read(&store, "a").await, from_memory("shared"));
    level.has("b", "shared", ms(100));
    assert_eq!(read(&store, "b").await, from_store("b"));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_is_forgotten_at_once_while_the_second_level_takes_its_time() {
    let upstream = Upstream::with(&["a", "b"]).await;
    let level = Arc::new(Scripted {
        takes: ms(100),
        ..Scripted::default()
    });
    let source = Arc::new(Told::default());
    let store = plain(ms(10_000).into())
        .shared(level.clone())
        .follow(source.clone())
        .build(upstream.clone());
    for key in ["a", "b", "a"] {
        read(&store, key).await;
    }
    settle().await;
    upstream.set("b", "2").await;
    source.tell("a");
    source.tell("b");
    settle().await;
    assert_eq!(read(&store, "b").await, from_store("2"));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_ends_what_is_in_memory_ends_it_there_too() {
    let (upstream, level, store) = cached().await;
    for (kind, is_told) in [
        (ErrorKind::NotFound, true),
        (ErrorKind::PermissionDenied, true),
        (ErrorKind::Unavailable, false),
    ] {
        level.has("a", "shared", ms(1));
        level.calls();
        upstream.fail(kind);
        read_at_most(&store, "a", 0).await.unwrap_err();
        assert_eq!(level.calls().contains(&"forget a".to_owned()), is_told, "{kind}");
        store.clear_all();
    }
    // Where there was nothing, nothing is told.
    level.entries.lock().unwrap().clear();
    upstream.fail(ErrorKind::NotFound);
    read_at_most(&store, "a", 0).await.unwrap_err();
    assert_eq!(level.calls(), ["find a"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_stores_own_answer_is_not_kept_there() {
    let (upstream, level, _) = cached().await;
    let below = plain(ms(1_000).into()).build(upstream.clone());
    read(&below, "a").await;
    let above = plain(ms(1_000).into()).shared(level.clone()).build(below);
    assert_eq!(read(&above, "a").await, from_memory("a"));
    assert_eq!(level.calls(), ["find a"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_never_kept_is_not_looked_for() {
    let upstream = Upstream::with(&["a"]).await;
    let level = Arc::new(Scripted::default());
    let store = plain(CacheTimes::NEVER).shared(level.clone()).build(upstream);
    read(&store, "a").await;
    assert_eq!(level.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_secret_is_not_handed_out() {
    let (_, level, store) = cached().await;
    let mut metadata = Metadata::new(name("a"), "memory");
    metadata.expires_at = Some(DAY);
    let expired = Secret::new(SecretValue::from("shared"), metadata);
    level.entries.lock().unwrap().insert("a".into(), (expired, ms(1)));
    assert_eq!(read(&store, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn a_second_level_that_panics_is_an_error_and_not_the_end() {
    let upstream = Upstream::with(&["a"]).await;
    let level = Arc::new(Scripted {
        panics: true,
        ..Scripted::default()
    });
    let store = plain(ms(1_000).into()).shared(level).build(upstream.clone());
    assert_eq!(kind(&store, "a").await, ErrorKind::Other);
    upstream.fault(Fault::Error(Error::new(ErrorKind::Other, "as the test wants it")));
    assert_eq!(kind(&store, "a").await, ErrorKind::Other);
}

#[tokio::test(start_paused = true)]
async fn what_the_second_level_had_and_the_store_says_is_gone_is_counted_once() {
    let upstream = Upstream::with(&["b", "c"]).await;
    let level = Arc::new(Scripted::default());
    let times = CacheTimes::new(ms(1_000)).hard_max_age(ms(10_000));
    let store = plain(times).max_entries(1).shared(level.clone()).build(upstream.clone());
    // Too old to answer and kept to cover, until the store says that there is no such secret.
    level.has("a", "shared", ms(5_000));
    assert_eq!(kind(&store, "a").await, ErrorKind::NotFound);
    read(&store, "b").await;
    read(&store, "c").await;
    let usage = store.usage();
    assert_eq!((usage.entries, usage.absences), (1, 1));
    store.clear_all();
    assert_eq!(store.usage(), CacheUsage::default());
}
