//! For how long what is handed out.

use super::*;
use crate::error::Error;
use crate::options::{Change, Expired, PutRequest};
use upstream::Fault;

#[tokio::test(start_paused = true)]
async fn a_value_is_kept_for_its_time_to_live_and_no_longer() {
    let upstream = Upstream::with(&["a"]).await;
    let store = plain(ms(100).into()).build(upstream.clone());
    assert_eq!(read(&store, "a").await, from_store("a"));
    upstream.set("a", "2").await;
    advance(99).await;
    assert_eq!(read(&store, "a").await, from_memory("a"));
    advance(1).await;
    assert_eq!(read(&store, "a").await, from_store("2"));
}

#[tokio::test(start_paused = true)]
async fn the_age_is_counted_from_the_asking() {
    let upstream = Upstream::with(&["a"]).await;
    let store = plain(ms(100).into()).build(upstream.clone());
    upstream.close();
    let first = tokio::spawn({
        let store = store.clone();
        async move { read(&store, "a").await }
    });
    settle().await;
    advance(60).await;
    upstream.open();
    assert_eq!(first.await.unwrap(), from_store("a"));
    advance(39).await;
    assert_eq!(read(&store, "a").await, from_memory("a"));
    advance(1).await;
    assert_eq!(read(&store, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn max_age_shortens_the_time_to_live_and_zero_goes_past_the_cache() {
    let upstream = Upstream::with(&["a"]).await;
    let store = plain(ms(100).into()).build(upstream.clone());
    read(&store, "a").await;
    advance(50).await;
    assert_eq!(read_at_most(&store, "a", 51).await.unwrap(), from_memory("a"));
    assert_eq!(read_at_most(&store, "a", 50).await.unwrap(), from_store("a"));
    upstream.set("a", "2").await;
    assert_eq!(read_at_most(&store, "a", 0).await.unwrap(), from_store("2"));
    assert_eq!(read(&store, "a").await, from_memory("2"));
    advance(100).await;
    assert_eq!(read_at_most(&store, "a", 1000).await.unwrap(), from_store("2"));
}

#[tokio::test(start_paused = true)]
async fn jitter_only_shortens_and_the_same_seed_repeats_it() {
    let upstream = Upstream::with(&["a"]).await;
    let layer = |seed| plain(ms(1000).into()).jitter(0.5).seed(seed);
    let mut lives = Vec::new();
    for seed in [1, 1, 2] {
        let store = layer(seed).build(upstream.clone());
        let mut times = Vec::new();
        for _ in 0..20 {
            read_at_most(&store, "a", 0).await.unwrap();
            let mut life = 0;
            while read(&store, "a").await.1 == Freshness::Cache {
                advance(10).await;
                life += 10;
            }
            assert!((500..=1000).contains(&life), "{life}");
            times.push(life);
        }
        assert!(times.iter().any(|life| *life != times[0]), "{times:?}");
        lives.push(times);
    }
    assert_eq!(lives[0], lives[1]);
    assert_ne!(lives[0], lives[2]);
}

#[tokio::test(start_paused = true)]
async fn who_reads_often_never_waits_for_a_refresh() {
    let upstream = Upstream::with(&["a", "b"]).await;
    let store = plain(ms(100).into()).refresh_ahead(0.8).build(upstream.clone());
    read(&store, "a").await;
    read(&store, "b").await;
    upstream.asked();
    advance(79).await;
    read(&store, "a").await;
    settle().await;
    assert_eq!(upstream.calls(), 0);
    upstream.set("a", "2").await;
    advance(1).await;
    for _ in 0..10 {
        assert_eq!(read(&store, "a").await, from_memory("a"));
    }
    settle().await;
    // Once, and only what is used.
    assert_eq!(upstream.asked(), [["a"]]);
    advance(50).await;
    assert_eq!(read(&store, "a").await, from_memory("2"));
    assert_eq!(read(&store, "b").await, from_store("b"));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_refreshed_in_one_call() {
    let upstream = Upstream::with(&["a", "b", "c"]).await;
    let store = plain(ms(100).into()).refresh_ahead(0.5).build(upstream.clone());
    let names = ["a", "b", "c"].map(name);
    store.warm(&names).await;
    upstream.asked();
    advance(60).await;
    store.warm(&names).await;
    settle().await;
    assert_eq!(upstream.asked(), [["a", "b", "c"]]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_leaves_the_value_and_the_store_alone_for_a_while() {
    let upstream = Upstream::with(&["a"]).await;
    let store = plain(ms(1000).into())
        .refresh_ahead(0.1)
        .pause_after_error(ms(300))
        .build(upstream.clone());
    read(&store, "a").await;
    upstream.fail(ErrorKind::Unavailable);
    upstream.asked();
    for _ in 0..80 {
        advance(10).await;
        assert_eq!(read(&store, "a").await, from_memory("a"));
        settle().await;
    }
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn within_the_window_a_stale_answer_comes_at_once_and_the_store_is_asked_behind_it() {
    let upstream = Upstream::with(&["a"]).await;
    let times = CacheTimes::new(ms(100)).stale_while_revalidate(ms(50)).hard_max_age(ms(1000));
    let store = plain(times).build(upstream.clone());
    read(&store, "a").await;
    upstream.set("a", "2").await;
    upstream.close();
    advance(149).await;
    upstream.asked();
    for _ in 0..10 {
        assert_eq!(read(&store, "a").await, stale("a"));
    }
    settle().await;
    assert_eq!(upstream.calls(), 1);
    upstream.open();
    settle().await;
    assert_eq!(read(&store, "a").await, from_memory("2"));
    advance(151).await;
    assert_eq!(read(&store, "a").await, from_store("2"));
}

#[tokio::test(start_paused = true)]
async fn the_window_ends_at_the_hard_maximum_age() {
    let upstream = Upstream::with(&["a"]).await;
    let times = CacheTimes::new(ms(100)).stale_while_revalidate(ms(500)).hard_max_age(ms(200));
    let store = plain(times).build(upstream.clone());
    read(&store, "a").await;
    upstream.fail(ErrorKind::Unavailable);
    advance(199).await;
    assert_eq!(read(&store, "a").await, stale("a"));
    advance(1).await;
    assert_eq!(kind(&store, "a").await, ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_covers_exactly_what_may_pass_by_itself() {
    for kind_of_error in ErrorKind::ALL {
        let upstream = Upstream::with(&["a"]).await;
        let store = plain(CacheTimes::new(ms(100)).hard_max_age(ms(1000))).build(upstream.clone());
        read(&store, "a").await;
        upstream.fail(kind_of_error);
        advance(100).await;
        let covered = matches!(
            kind_of_error,
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::RateLimited
        );
        if covered {
            assert_eq!(read(&store, "a").await, stale("a"), "{kind_of_error}");
            assert_eq!(read_at_most(&store, "a", 101).await.unwrap(), stale("a"));
            assert!(read_at_most(&store, "a", 100).await.is_err());
        } else {
            assert_eq!(kind(&store, "a").await, kind_of_error);
            // The store has spoken: it is not handed out later either.
            upstream.fail(ErrorKind::Unavailable);
            advance(100).await;
            assert_eq!(kind(&store, "a").await, ErrorKind::Unavailable);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_hard_maximum_age_is_not_exceeded_by_waiting_for_the_error() {
    for (waits, expected) in [(899, Ok(stale("a"))), (900, Err(ErrorKind::Timeout))] {
        let upstream = Upstream::with(&["a"]).await;
        let store = plain(CacheTimes::new(ms(100)).hard_max_age(ms(1000))).build(upstream.clone());
        read(&store, "a").await;
        advance(100).await;
        upstream.fail(ErrorKind::Timeout);
        upstream.close();
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { get(&store, "a").await }
        });
        settle().await;
        advance(waits).await;
        upstream.open();
        let answer = waiting.await.unwrap();
        assert_eq!(answer.map(|secret| shown(&secret)).map_err(|error| error.kind()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_once_a_pause_or_when_it_said() {
    let upstream = Upstream::with(&["a"]).await;
    let store = plain(CacheTimes::new(ms(100)).hard_max_age(ms(10_000)))
        .pause_after_error(ms(50))
        .build(upstream.clone());
    read(&store, "a").await;
    advance(100).await;
    upstream.asked();
    upstream.fail(ErrorKind::Unavailable);
    for _ in 0..10 {
        assert_eq!(read(&store, "a").await, stale("a"));
        advance(10).await;
    }
    assert_eq!(upstream.calls(), 2);
    let limited = Error::new(ErrorKind::RateLimited, "slower").with_retry_after(ms(500));
    upstream.fault(Fault::Error(limited));
    for _ in 0..50 {
        assert_eq!(read(&store, "a").await, stale("a"));
        advance(10).await;
    }
    assert_eq!(upstream.calls(), 1);
    upstream.mend();
    assert_eq!(read(&store, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_not_kept() {
    let upstream = Upstream::with(&["a"]).await;
    let store = plain(ms(100).into()).build(upstream.clone());
    for kind_of_error in ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::NotFound) {
        upstream.fail(kind_of_error);
        assert_eq!(kind(&store, "a").await, kind_of_error);
    }
    upstream.mend();
    assert_eq!(read(&store, "a").await, from_store("a"));
}

#[tokio::test(start_paused = true)]
async fn that_there_is_no_secret_is_kept_briefly() {
    let upstream = Upstream::new();
    let store = plain(CacheTimes::new(ms(1000)).negative_ttl(ms(20))).build(upstream.clone());
    for _ in 0..10 {
        let error = get(&store, "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        advance(1).await;
    }
    assert_eq!(upstream.calls(), 1);
    assert_eq!(store.usage().absences, 1);
    assert!(get(&store, "a").await.unwrap_err().to_string().contains("freshness `cache`"));
    upstream.set("a", "1").await;
    assert_eq!(read_at_most(&store, "a", 0).await.unwrap(), from_store("1"));
    assert_eq!(read(&store, "a").await, from_memory("1"));
    assert_eq!(store.usage().absences, 0);
    assert_eq!(kind(&store, "b").await, ErrorKind::NotFound);
    upstream.set("b", "1").await;
    advance(20).await;
    assert_eq!(read(&store, "b").await, from_store("1"));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_gone_ends_what_was_in_memory() {
    let upstream = Upstream::with(&["a"]).await;
    let times = CacheTimes::new(ms(100)).hard_max_age(ms(10_000)).negative_ttl(ms(10));
    let store = plain(times).build(upstream.clone());
    read(&store, "a").await;
    upstream.fail(ErrorKind::NotFound);
    assert_eq!(read_at_most(&store, "a", 0).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.usage().entries, 0);
    advance(10).await;
    upstream.fail(ErrorKind::Unavailable);
    assert_eq!(kind(&store, "a").await, ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn an_expired_secret_is_not_handed_out_from_memory() {
    let upstream = Upstream::new();
    // The memory store has the machine's time of day, the cache that of the test.
    let expires = SystemTime::now() + Duration::from_secs(3600);
    let request = PutRequest {
        expires_at: Change::Set(expires),
        ..PutRequest::new("1")
    };
    upstream.memory().put(&name("a"), request).await.unwrap();
    let day = expires - ms(50);
    let times = CacheTimes::new(ms(100))
        .stale_while_revalidate(ms(500))
        .hard_max_age(ms(1000));
    let store = plain(times)
        .clock(Arc::new(VirtualClock::starting_at(day)))
        .build(upstream.clone());
    let anyway = GetOptions {
        expired: Expired::Allow,
        ..GetOptions::default()
    };
    read(&store, "a").await;
    advance(49).await;
    assert_eq!(read(&store, "a").await, from_memory("1"));
    assert_eq!(
        shown(&store.get(&name("a"), &anyway).await.unwrap()),
        from_memory("1"),
        "it is not expired yet"
    );
    upstream.fail(ErrorKind::Unavailable);
    advance(1).await;
    assert_eq!(kind(&store, "a").await, ErrorKind::Unavailable);
    assert!(store.get(&name("a"), &anyway).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_read_for_those_who_take_expired_secrets_is_theirs_alone() {
    let upstream = Upstream::new();
    let request = PutRequest {
        expires_at: Change::Set(SystemTime::UNIX_EPOCH),
        ..PutRequest::new("1")
    };
    upstream.memory().put(&name("a"), request).await.unwrap();
    let store = plain(ms(1000).into()).build(upstream.clone());
    upstream.close();
    let anyway = tokio::spawn({
        let store = store.clone();
        async move {
            let options = GetOptions {
                expired: Expired::Allow,
                ..GetOptions::default()
            };
            store.get(&name("a"), &options).await
        }
    });
    settle().await;
    let refused = tokio::spawn({
        let store = store.clone();
        async move { kind(&store, "a").await }
    });
    settle().await;
    upstream.open();
    assert!(anyway.await.unwrap().is_ok());
    assert_eq!(refused.await.unwrap(), ErrorKind::Expired);
    assert_eq!(store.usage().entries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_rule_gives_names_times_of_their_own() {
    let upstream = Upstream::with(&["a", "live/a", "live/b"]).await;
    let store = plain(ms(100).into())
        .rule(CacheNames::Prefix("live/".into()), CacheTimes::NEVER)
        .rule(CacheNames::Exact(name("live/b")), ms(1000).into())
        .build(upstream.clone());
    for (key, at_0, at_100) in [
        ("a", Freshness::Cache, Freshness::Store),
        ("live/a", Freshness::Store, Freshness::Store),
        ("live/b", Freshness::Cache, Freshness::Cache),
    ] {
        read(&store, key).await;
        assert_eq!(read(&store, key).await.1, at_0);
        advance(100).await;
        assert_eq!(read(&store, key).await.1, at_100);
    }
}

#[tokio::test(start_paused = true)]
async fn versions_are_kept_apart() {
    let upstream = Upstream::with(&["a"]).await;
    upstream.set("a", "2").await;
    let store = plain(ms(1000).into()).build(upstream.clone());
    let exact = VersionSelector::parse("1").unwrap();
    for freshness in [Freshness::Store, Freshness::Cache] {
        for (version, value) in [
            (VersionSelector::Current, "2"),
            (VersionSelector::Previous, "a"),
            (exact.clone(), "a"),
        ] {
            let secret = store.get(&name("a"), &GetOptions::version(version)).await.unwrap();
            assert_eq!(shown(&secret), (value.to_owned(), freshness));
        }
    }
    store.put(&name("a"), PutRequest::new("3")).await.unwrap();
    assert_eq!(store.usage().entries, 0);
    let previous = GetOptions::version(VersionSelector::Previous);
    assert_eq!(shown(&store.get(&name("a"), &previous).await.unwrap()), from_store("2"));
}

#[tokio::test(start_paused = true)]
async fn what_a_memory_below_answers_is_not_kept_again() {
    let upstream = Upstream::with(&["a"]).await;
    let below = plain(ms(100).into()).build(upstream.clone());
    read(&below, "a").await;
    let store = plain(ms(100).into()).build(below);
    assert_eq!(read(&store, "a").await, from_memory("a"));
    assert_eq!(store.usage().entries, 0);
}
