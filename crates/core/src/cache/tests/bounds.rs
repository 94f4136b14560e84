//! How much is kept.

use super::*;
use crate::options::{Change, PutRequest};

async fn is_kept(store: &CachedStore, key: &str) -> bool {
    let options = GetOptions::default();
    let found = store.get(&name(key), &options).await.unwrap();
    found.metadata.origin.freshness == Freshness::Cache
}

#[tokio::test(start_paused = true)]
async fn the_oldest_goes_when_there_are_too_many() {
    let upstream = Upstream::with(&["a", "b", "c"]).await;
    let store = plain(ms(1000).into()).max_entries(2).build(upstream);
    for key in ["a", "b", "c"] {
        read(&store, key).await;
    }
    assert_eq!(store.usage().entries, 2);
    assert!(is_kept(&store, "c").await);
    assert!(is_kept(&store, "b").await);
    assert!(!is_kept(&store, "a").await);
}

#[tokio::test(start_paused = true)]
async fn what_is_used_outlasts_a_run_over_many_names() {
    let upstream = Upstream::with(&["used", "idle"]).await;
    let store = plain(ms(1_000_000).into()).max_entries(10).build(upstream.clone());
    read(&store, "used").await;
    read(&store, "idle").await;
    for number in 0..1000 {
        let key = format!("scan/{number}");
        upstream.set(&key, "x").await;
        read(&store, &key).await;
        assert_eq!(read(&store, "used").await.1, Freshness::Cache, "{number}");
        assert!(store.usage().entries <= 10);
    }
    assert!(!is_kept(&store, "idle").await);
}

#[tokio::test(start_paused = true)]
async fn that_there_is_no_secret_does_not_make_room_for_values() {
    let upstream = Upstream::with(&["a", "b", "c"]).await;
    let times = CacheTimes::new(ms(1000)).negative_ttl(ms(1000));
    let store = plain(times).max_entries(1).build(upstream.clone());
    read(&store, "a").await;
    upstream.fail(ErrorKind::NotFound);
    assert!(read_at_most(&store, "a", 0).await.is_err());
    upstream.mend();
    for key in ["b", "c"] {
        read(&store, key).await;
        let usage = store.usage();
        assert_eq!((usage.entries, usage.absences), (1, 1), "{usage:?}");
    }
    assert!(!is_kept(&store, "b").await);
    upstream.asked();
    assert_eq!(kind(&store, "a").await, ErrorKind::NotFound);
    assert_eq!(upstream.calls(), 0);
    store.clear_all();
    let usage = store.usage();
    assert_eq!((usage.entries, usage.bytes, usage.absences), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_bytes_are_bounded_and_what_is_too_large_drives_nothing_out() {
    let upstream = Upstream::new();
    let store = plain(ms(1_000_000).into()).max_bytes(10_000).build(upstream.clone());
    for number in 0..100 {
        let key = format!("k{number}");
        upstream.set(&key, &"v".repeat(number * 10)).await;
        read(&store, &key).await;
        assert!(store.usage().bytes <= 10_000);
    }
    let before = store.usage();
    assert!(before.entries >= 5, "{before:?}");
    upstream.set("large", &"v".repeat(10_000)).await;
    assert!(!is_kept(&store, "large").await);
    assert!(!is_kept(&store, "large").await);
    assert_eq!(store.usage(), before);
}

#[tokio::test(start_paused = true)]
async fn texts_of_the_metadata_count_too() {
    let upstream = Upstream::new();
    let request = PutRequest {
        description: Change::Set("d".repeat(1000)),
        tags: Change::Set([("k".repeat(100), "v".repeat(200))].into()),
        ..PutRequest::new("1234567890")
    };
    upstream.memory().put(&name("abc"), request).await.unwrap();
    let store = plain(ms(1000).into()).build(upstream);
    read(&store, "abc").await;
    assert_eq!(store.usage().bytes, 512 + 3 + 1000 + 300 + 10);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_has_a_bound_of_its_own() {
    let upstream = Upstream::with(&["a"]).await;
    let times = CacheTimes::new(ms(1_000_000)).negative_ttl(ms(1_000_000));
    let store = plain(times).max_absences(10).build(upstream.clone());
    read(&store, "a").await;
    for number in 0..1000 {
        assert_eq!(kind(&store, &format!("none/{number}")).await, ErrorKind::NotFound);
        assert!(store.usage().absences <= 10);
    }
    assert!(is_kept(&store, "a").await);
    let store = plain(times).max_absences(0).build(upstream.clone());
    kind(&store, "none").await;
    upstream.asked();
    kind(&store, "none").await;
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bound_of_nothing_keeps_nothing() {
    let upstream = Upstream::with(&["a"]).await;
    for layer in [
        plain(ms(1000).into()).max_entries(0),
        plain(ms(1000).into()).max_bytes(0),
        plain(Duration::ZERO.into()),
    ] {
        let store = layer.build(upstream.clone());
        assert!(!is_kept(&store, "a").await);
        assert!(!is_kept(&store, "a").await);
        assert_eq!(store.usage().entries, 0);
    }
}

/// The cache holds a value together with the metadata of its hits, so that nobody else holds the metadata says that
/// nobody else holds the value, which is wiped with its last handle.
#[tokio::test(start_paused = true)]
async fn whatever_ends_an_entry_lets_its_value_go() {
    for end in ["eviction", "clear", "clear_all", "refresh", "put"] {
        let upstream = Upstream::with(&["a", "b"]).await;
        let store = plain(ms(1000).into()).max_entries(1).build(upstream);
        read(&store, "a").await;
        let held = get(&store, "a").await.unwrap();
        assert_eq!(Arc::strong_count(&held.metadata), 2);
        match end {
            "eviction" => drop(read(&store, "b").await),
            "clear" => store.clear(&name("a")),
            "clear_all" => store.clear_all(),
            "refresh" => drop(read_at_most(&store, "a", 0).await),
            _ => drop(store.put(&name("a"), PutRequest::new("2")).await),
        }
        assert_eq!(Arc::strong_count(&held.metadata), 1, "{end}");
    }
}
