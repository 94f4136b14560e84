//! What ends an entry before its time.

use super::*;
use crate::changes::{ChangeStream, StoreChange};
use crate::options::{DeleteOptions, PutMode, PutRequest};

async fn kept(keys: &[&str]) -> (Arc<Upstream>, Arc<CachedStore>) {
    let upstream = Upstream::with(keys).await;
    let store = plain(ms(1_000_000).into()).build(upstream.clone());
    for key in keys {
        read(&store, key).await;
    }
    (upstream, store)
}

#[tokio::test(start_paused = true)]
async fn a_write_is_seen_at_once() {
    let (_, store) = kept(&["a", "b"]).await;
    store.put(&name("a"), PutRequest::new("2")).await.unwrap();
    assert_eq!(read(&store, "a").await, from_store("2"));
    assert_eq!(read(&store, "a").await, from_memory("2"));
    store.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
    assert_eq!(kind(&store, "a").await, ErrorKind::NotFound);
    store.restore(&name("a")).await.unwrap();
    assert_eq!(read(&store, "a").await, from_store("2"));
    assert_eq!(read(&store, "b").await, from_memory("b"));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_failed_or_was_dropped_may_have_happened() {
    let (upstream, store) = kept(&["a"]).await;
    let taken = PutRequest::new("2").mode(PutMode::Create);
    assert!(store.put(&name("a"), taken).await.is_err());
    assert_eq!(read(&store, "a").await, from_store("a"));

    upstream.close();
    let put = tokio::spawn({
        let store = store.clone();
        async move { store.put(&name("a"), PutRequest::new("2")).await }
    });
    settle().await;
    put.abort();
    settle().await;
    upstream.open();
    assert_eq!(read(&store, "a").await, from_store("2"));
}

#[tokio::test(start_paused = true)]
async fn a_read_that_began_before_a_write_ended_is_answered_but_not_kept_nor_joined() {
    let (upstream, store) = kept(&["b"]).await;
    upstream.set("a", "1").await;
    upstream.close();
    let early = tokio::spawn({
        let store = store.clone();
        async move { read(&store, "a").await }
    });
    settle().await;
    store.clear(&name("a"));
    let late = tokio::spawn({
        let store = store.clone();
        async move { read(&store, "a").await }
    });
    settle().await;
    assert_eq!(upstream.asked(), [["b"], ["a"], ["a"]]);
    upstream.open();
    early.await.unwrap();
    late.await.unwrap();
    // The later one is kept.
    assert_eq!(read(&store, "a").await, from_memory("1"));
}

#[tokio::test(start_paused = true)]
async fn one_a_prefix_or_all_can_be_cleared() {
    let all = ["db", "db/a", "dbx", "web"];
    for (clear, left) in [
        (
            Box::new(|store: &CachedStore| store.clear(&name("db"))) as Box<dyn Fn(&CachedStore)>,
            3,
        ),
        (Box::new(|store| store.clear_prefix("db")), 1),
        (Box::new(|store| store.clear_prefix("db/")), 3),
        (Box::new(|store| store.clear_prefix("none")), 4),
        (Box::new(CachedStore::clear_all), 0),
    ] {
        let (upstream, store) = kept(&all).await;
        upstream.asked();
        clear(&store);
        assert_eq!(store.usage().entries, left);
        for key in all {
            read(&store, key).await;
        }
        assert_eq!(upstream.calls(), all.len() - left);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_not_to_exist_is_cleared_too() {
    let (upstream, store) = kept(&["a"]).await;
    for _ in 0..2 {
        assert_eq!(kind(&store, "new").await, ErrorKind::NotFound);
    }
    store.put(&name("new"), PutRequest::new("1")).await.unwrap();
    assert_eq!(read(&store, "new").await, from_store("1"));
    assert_eq!(kind(&store, "other").await, ErrorKind::NotFound);
    upstream.set("other", "1").await;
    store.clear_all();
    let usage = store.usage();
    assert_eq!((usage.entries, usage.bytes, usage.absences), (0, 0, 0));
    assert_eq!(read(&store, "other").await, from_store("1"));
}

#[tokio::test(start_paused = true)]
async fn warming_reads_a_list_in_one_call_and_says_what_failed() {
    let upstream = Upstream::with(&["a", "b"]).await;
    let store = plain(ms(1000).into()).build(upstream.clone());
    let results = store.warm(&["a", "none", "b"].map(name)).await;
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().err().map(|error| error.kind()))
        .collect();
    assert_eq!(kinds, [None, Some(ErrorKind::NotFound), None]);
    assert_eq!(upstream.asked(), [["a", "none", "b"]]);
    assert_eq!(read(&store, "a").await, from_memory("a"));
    assert_eq!(read(&store, "b").await, from_memory("b"));
    assert_eq!(upstream.calls(), 0);
}

/// Tells what the test sends, and counts who listens.
#[derive(Debug)]
struct Told {
    sender: tokio::sync::broadcast::Sender<StoreChange>,
}

impl ChangeSource for Told {
    fn changes(&self) -> ChangeStream {
        let receiver = self.sender.subscribe();
        let next = |mut receiver: tokio::sync::broadcast::Receiver<StoreChange>| async move {
            Some((receiver.recv().await.ok()?, receiver))
        };
        Box::pin(futures_util::stream::unfold(receiver, next))
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_tells_of_is_forgotten_and_nobody_listens_before_or_after() {
    let upstream = Upstream::with(&["a", "b"]).await;
    let source = Arc::new(Told {
        sender: tokio::sync::broadcast::channel(10).0,
    });
    let store = plain(ms(1_000_000).into()).follow(source.clone()).build(upstream.clone());
    for key in ["a", "b"] {
        read(&store, key).await;
    }
    assert_eq!(source.sender.receiver_count(), 0);
    assert_eq!(read(&store, "a").await.1, Freshness::Cache);
    assert_eq!(source.sender.receiver_count(), 1);

    upstream.set("a", "2").await;
    source.sender.send(StoreChange::Secret(name("a"))).unwrap();
    settle().await;
    assert_eq!(read(&store, "a").await, from_store("2"));
    assert_eq!(read(&store, "b").await.1, Freshness::Cache);

    source.sender.send(StoreChange::Anything).unwrap();
    settle().await;
    assert_eq!(read(&store, "b").await.1, Freshness::Store);
    assert_eq!(source.sender.receiver_count(), 1);

    drop(store);
    settle().await;
    assert_eq!(source.sender.receiver_count(), 0);
}
