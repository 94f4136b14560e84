//! One call however many wait.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::*;
use crate::options::GetRequest;
use upstream::Fault;

async fn cached() -> (Arc<Upstream>, Arc<CachedStore>) {
    let upstream = Upstream::with(&["a", "b", "c", "d"]).await;
    let store = plain(ms(1000).into()).build(upstream.clone());
    (upstream, store)
}

fn reader(store: &Arc<CachedStore>, key: &'static str) -> tokio::task::JoinHandle<Result<(String, Freshness)>> {
    let store = store.clone();
    tokio::spawn(async move { get(&store, key).await.map(|secret| shown(&secret)) })
}

async fn many(store: &CachedStore, keys: &[&str]) -> Vec<Result<(String, Freshness)>> {
    let requests: Vec<_> = keys.iter().map(|key| GetRequest::new(name(key))).collect();
    let answers = store.get_many(&requests).await;
    answers
        .into_iter()
        .map(|answer| answer.map(|secret| shown(&secret)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_misses_at_once_are_one_call() {
    let (upstream, store) = cached().await;
    upstream.close();
    let readers: Vec<_> = (0..10_000).map(|_| reader(&store, "a")).collect();
    settle().await;
    upstream.open();
    for answer in join_all(readers).await {
        assert_eq!(answer.unwrap().unwrap().0, "a");
    }
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_all_who_wait_and_the_next_one_asks_again() {
    let (upstream, store) = cached().await;
    upstream.close();
    upstream.fail(ErrorKind::Unavailable);
    let readers: Vec<_> = (0..10).map(|_| reader(&store, "a")).collect();
    settle().await;
    upstream.open();
    for answer in join_all(readers).await {
        assert_eq!(answer.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(upstream.calls(), 1);
    upstream.mend();
    assert_eq!(read(&store, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn when_the_first_caller_is_cancelled_the_next_one_takes_the_call_over() {
    let (upstream, store) = cached().await;
    upstream.close();
    let first = reader(&store, "a");
    settle().await;
    let others = [reader(&store, "a"), reader(&store, "a")];
    settle().await;
    first.abort();
    settle().await;
    upstream.open();
    for answer in join_all(others).await {
        assert_eq!(answer.unwrap().unwrap().0, "a");
    }
    assert_eq!((upstream.calls(), upstream.answered()), (1, 1));
    assert_eq!(read(&store, "a").await, from_memory("a"));
}

#[tokio::test(start_paused = true)]
async fn when_the_first_caller_panics_the_next_one_takes_the_call_over() {
    let (upstream, store) = cached().await;
    upstream.close();
    let first = tokio::spawn({
        let store = store.clone();
        async move {
            assert!(get(&store, "a").now_or_never().is_some(), "as the test wants it");
        }
    });
    let both = tokio::spawn({
        let store = store.clone();
        async move {
            let reading = Box::pin(get(&store, "a"));
            tokio::time::timeout(Duration::from_millis(5), reading)
                .await
                .expect("as the test wants it")
        }
    });
    settle().await;
    let other = reader(&store, "a");
    settle().await;
    advance(5).await;
    assert!(first.await.unwrap_err().is_panic());
    assert!(both.await.unwrap_err().is_panic());
    // The very first call ended with its only caller; the second one's was taken over.
    assert_eq!(upstream.calls(), 2);
    upstream.open();
    assert_eq!(other.await.unwrap().unwrap().0, "a");
    assert_eq!((upstream.calls(), upstream.answered()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn when_all_callers_are_cancelled_the_call_ends_and_the_next_one_begins_anew() {
    let (upstream, store) = cached().await;
    upstream.close();
    let readers = [reader(&store, "a"), reader(&store, "a")];
    settle().await;
    for reader in &readers {
        reader.abort();
    }
    settle().await;
    upstream.open();
    settle().await;
    assert_eq!((upstream.calls(), upstream.answered()), (1, 0));
    assert_eq!(read(&store, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_or_says_nothing_is_an_error_for_all_who_wait() {
    let (upstream, store) = cached().await;
    for fault in [Fault::Panic, Fault::Silence] {
        upstream.fault(fault);
        let (one, two) = tokio::join!(many(&store, &["a", "b"]), many(&store, &["b", "a"]));
        for answer in one.into_iter().chain(two) {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Other);
        }
    }
    upstream.mend();
    assert_eq!(read(&store, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_asks_for_its_misses_in_one_call_and_keeps_the_order() {
    let (upstream, store) = cached().await;
    read(&store, "b").await;
    upstream.asked();
    let answers = many(&store, &["c", "b", "none", "a", "c"]).await;
    let shown: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.map_err(|error| error.kind()))
        .collect();
    assert_eq!(
        shown,
        [
            Ok(from_store("c")),
            Ok(from_memory("b")),
            Err(ErrorKind::NotFound),
            Ok(from_store("a")),
            Ok(from_store("c")),
        ]
    );
    assert_eq!(upstream.asked(), [["c", "none", "a"]]);
    many(&store, &["a", "b", "c", "none"]).await;
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn batches_and_single_reads_join_what_is_under_way() {
    let (upstream, store) = cached().await;
    upstream.close();
    let single = reader(&store, "a");
    settle().await;
    let batch = |keys: &'static [&'static str]| {
        let store = store.clone();
        tokio::spawn(async move { many(&store, keys).await })
    };
    let first = batch(&["a", "b", "c"]);
    settle().await;
    let second = batch(&["d", "c", "b", "a"]);
    let other = reader(&store, "c");
    settle().await;
    assert_eq!(upstream.asked(), [vec!["a"], vec!["b", "c"], vec!["d"]]);
    // Whoever is gone leaves the others their answers.
    single.abort();
    first.abort();
    settle().await;
    upstream.open();
    let values: Vec<_> = second.await.unwrap().into_iter().map(|answer| answer.unwrap().0).collect();
    assert_eq!(values, ["d", "c", "b", "a"]);
    assert_eq!(other.await.unwrap().unwrap().0, "c");
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_goes_past_the_cache_joins_nobody() {
    let (upstream, store) = cached().await;
    upstream.close();
    let first = reader(&store, "a");
    settle().await;
    let past = tokio::spawn({
        let store = store.clone();
        async move { read_at_most(&store, "a", 0).await }
    });
    settle().await;
    let joins = reader(&store, "a");
    settle().await;
    assert_eq!(upstream.calls(), 2);
    upstream.open();
    for answer in [first.await, past.await, joins.await] {
        assert_eq!(answer.unwrap().unwrap(), from_store("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_never_kept_is_asked_for_by_each() {
    let upstream = Upstream::with(&["a"]).await;
    let store = plain(CacheTimes::NEVER).build(upstream.clone());
    upstream.close();
    let readers = [reader(&store, "a"), reader(&store, "a")];
    settle().await;
    assert_eq!(upstream.calls(), 2);
    upstream.open();
    for answer in join_all(readers).await {
        assert_eq!(answer.unwrap().unwrap(), from_store("a"));
    }
}

#[test]
fn reads_work_without_a_runtime() {
    let upstream = Upstream::new();
    let times = CacheTimes::new(Duration::from_secs(60)).negative_ttl(Duration::from_secs(60));
    let store = CacheLayer::new(times).refresh_ahead(0.0).build(upstream.clone());
    for _ in 0..2 {
        let a = name("a");
        let put = store.put(&a, crate::PutRequest::new("1"));
        put.now_or_never().unwrap().unwrap();
        for freshness in [Freshness::Store, Freshness::Cache, Freshness::Cache] {
            let secret = get(&store, "a").now_or_never().unwrap().unwrap();
            assert_eq!(secret.metadata.origin.freshness, freshness);
        }
    }
    assert_eq!(upstream.calls(), 2);
}
