use super::*;
use crate::cache::{
    CacheLayer, CacheNames, CacheTimes, CachedStore, SharedAnswer, SharedCache, SharedEntry, SharedRead, SharedSecret,
};
use crate::secret::Metadata;
use crate::value::SecretValue;

fn times() -> CacheTimes {
    CacheTimes::new(Duration::from_secs(10))
        .stale_while_revalidate(Duration::from_secs(10))
        .hard_max_age(Duration::from_secs(100))
        .negative_ttl(Duration::from_secs(5))
}

/// No jitter, so that the times are exact.
fn layer() -> CacheLayer {
    let never = CacheNames::Prefix("live/".into());
    CacheLayer::new(times())
        .rule(never, CacheTimes::NEVER)
        .jitter(0.0)
        .refresh_ahead(1.0)
        .clock(clock())
}

fn reads(recorded: &Recorded) -> Vec<String> {
    recorded.moved("keyfob_cache_reads_total")
}

#[tokio::test(start_paused = true)]
async fn each_read_is_counted_by_what_was_in_memory() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let store = layer().build(store_with(&["a", "live/b"], []).await);
    get(&*store, "a").await.unwrap();
    for _ in 0..3 {
        get(&*store, "a").await.unwrap();
    }
    for _ in 0..3 {
        get(&*store, "gone").await.unwrap_err();
    }
    get(&*store, "live/b").await.unwrap();
    let anew = GetOptions {
        max_age: Some(Duration::ZERO),
        ..GetOptions::default()
    };
    store.get(&name("a"), &anew).await.unwrap();
    assert_eq!(
        reads(&recorded),
        [
            r#"cache_reads_total{store="scripted",result="absent"} 2"#,
            r#"cache_reads_total{store="scripted",result="bypass"} 2"#,
            r#"cache_reads_total{store="scripted",result="hit"} 3"#,
            r#"cache_reads_total{store="scripted",result="miss"} 2"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_call_of_another_has_joined_it() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let store = layer().build(store_with(&["a", "b"], [Step::after(1000, Step::Answer)]).await);
    let all = (0..100).map(|_| get(&*store, "a"));
    futures_util::future::join_all(all).await;
    let twice = [GetRequest::new(name("b")), GetRequest::new(name("b"))];
    store.get_many(&twice).await;
    assert_eq!(
        reads(&recorded),
        [
            r#"cache_reads_total{store="scripted",result="joined"} 100"#,
            r#"cache_reads_total{store="scripted",result="miss"} 2"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_is_counted_with_its_age_and_so_is_the_refresh_behind_it() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let store = layer().build(store_with(&["a"], []).await);
    get(&*store, "a").await.unwrap();
    wait(15).await;
    get(&*store, "a").await.unwrap();
    wait(0).await;
    get(&*store, "a").await.unwrap();
    assert_eq!(
        reads(&recorded),
        [
            r#"cache_reads_total{store="scripted",result="hit"} 1"#,
            r#"cache_reads_total{store="scripted",result="miss"} 1"#,
            r#"cache_reads_total{store="scripted",result="stale"} 1"#,
        ]
    );
    assert_eq!(recorded.all(r#"keyfob_cache_stale_age_seconds{store="scripted"}"#), [15.0]);
    assert_eq!(
        recorded.moved("keyfob_cache_refreshes_total"),
        [r#"cache_refreshes_total{store="scripted"} 1"#]
    );
    assert!(recorded.moved("keyfob_cache_stale_if_error").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stands_in_for_an_ill_store_is_counted_as_that() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let inner = store_with(&["a"], [Step::Answer, Step::fail(ErrorKind::Unavailable)]).await;
    let store = layer().build(inner);
    get(&*store, "a").await.unwrap();
    wait(50).await;
    get(&*store, "a").await.unwrap();
    // The store is left alone for a while: this one does not ask.
    get(&*store, "a").await.unwrap();
    assert_eq!(
        recorded.moved("keyfob_cache_stale_if_error"),
        [r#"cache_stale_if_error_total{store="scripted"} 1"#]
    );
    assert_eq!(
        reads(&recorded),
        [
            r#"cache_reads_total{store="scripted",result="miss"} 2"#,
            r#"cache_reads_total{store="scripted",result="stale"} 1"#,
        ]
    );
    assert_eq!(
        recorded.all(r#"keyfob_cache_stale_age_seconds{store="scripted"}"#),
        [50.0, 50.0]
    );
}

fn filled(recorded: &Recorded) -> Vec<String> {
    let parts = ["keyfob_cache_bytes", "keyfob_cache_entries", "keyfob_cache_evictions"];
    parts.iter().flat_map(|part| recorded.moved(part)).collect()
}

async fn read_all(store: &CachedStore, keys: &[&str]) {
    for key in keys {
        // One that is not there is remembered too.
        let _ = get(store, key).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_gauges_say_what_is_in_memory_until_the_cache_goes() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let inner = store_with(&["a", "b", "c"], []).await;
    let store = layer().max_entries(2).build(inner.clone());
    read_all(&store, &["a", "b", "c", "gone"]).await;
    let bytes = store.usage().bytes;
    let full = [
        format!(r#"cache_bytes{{store="scripted"}} {bytes}"#),
        r#"cache_entries{store="scripted",kind="absence"} 1"#.to_owned(),
        r#"cache_entries{store="scripted",kind="value"} 2"#.to_owned(),
        r#"cache_evictions_total{store="scripted",kind="value"} 1"#.to_owned(),
    ];
    assert_eq!(filled(&recorded), full);

    // Another cache over a store of the same name adds to them, and takes its part away again.
    let other = layer().build(inner);
    read_all(&other, &["a", "b"]).await;
    assert_eq!(
        recorded.moved("keyfob_cache_entries"),
        [
            r#"cache_entries{store="scripted",kind="absence"} 1"#,
            r#"cache_entries{store="scripted",kind="value"} 4"#,
        ]
    );
    drop(other);
    assert_eq!(filled(&recorded), full);

    store.clear_all();
    drop(store);
    assert_eq!(
        filled(&recorded),
        [r#"cache_evictions_total{store="scripted",kind="value"} 1"#]
    );
}

/// A second level that has every name that begins with `shared`.
#[derive(Debug)]
struct Level;

#[async_trait::async_trait]
impl SharedCache for Level {
    async fn find(&self, reads: &[SharedRead<'_>]) -> Vec<SharedAnswer> {
        let answer = |read: &SharedRead<'_>| SharedAnswer {
            found: read.name.as_str().starts_with("shared").then(|| SharedSecret {
                secret: Secret::new(
                    SecretValue::from("kfcanary-measured5"),
                    Metadata::new(read.name.clone(), "scripted"),
                ),
                age: Duration::ZERO,
            }),
            permit: None,
        };
        reads.iter().map(answer).collect()
    }
    async fn keep(&self, _: Vec<SharedEntry<'_>>) {}
    async fn close(&self, _: &SecretName) {}
    async fn forget(&self, _: &SecretName) {}
}

#[tokio::test(start_paused = true)]
async fn what_a_second_level_has_is_counted_once_for_each_read_that_memory_has_not() {
    let recorded = Recorded::default();
    let _here = recorded.here();
    let store = layer().shared(Arc::new(Level)).build(store_with(&["a"], []).await);
    wait(1).await;
    for _ in 0..2 {
        read_all(&store, &["shared/a", "shared/b", "a"]).await;
    }
    assert_eq!(
        recorded.moved("keyfob_cache_shared"),
        [
            r#"cache_shared_reads_total{store="scripted",result="hit"} 2"#,
            r#"cache_shared_reads_total{store="scripted",result="miss"} 1"#,
        ]
    );
    assert_eq!(
        reads(&recorded),
        [
            r#"cache_reads_total{store="scripted",result="hit"} 3"#,
            r#"cache_reads_total{store="scripted",result="miss"} 3"#,
        ]
    );
}
