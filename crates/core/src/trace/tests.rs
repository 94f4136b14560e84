//! The spans and events of a call that goes through every layer.

mod told;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::told::Told;
use super::*;
use crate::cache::{CacheLayer, CacheTimes};
use crate::clock::{Clock, VirtualClock};
use crate::error::Error;
use crate::failover::{Failover, FailoverOptions};
use crate::layer::stack;
use crate::metrics::MetricsLayer;
use crate::random::Random;
use crate::retry::{RetryLayer, RetryOptions};
use crate::scripted::{ScriptedStore, Step};

const KEY: &str = "kfcanary-nameofasecret";
const VALUE: &str = "kfcanary-valueofasecret";

async fn store(script: impl IntoIterator<Item = Step>) -> Arc<ScriptedStore> {
    let store = Arc::new(ScriptedStore::new(script));
    let key = SecretName::new(KEY).unwrap();
    store.memory.put(&key, PutRequest::new(VALUE)).await.unwrap();
    store
}

/// Every layer that tells something, over two stores; without names.
fn full(near: &Arc<ScriptedStore>, far: &Arc<ScriptedStore>) -> Arc<dyn SecretStore> {
    let clock: Arc<dyn Clock> = Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH));
    let trace = TraceLayer::default();
    let members = [("near", near), ("far", far)].map(|(label, store)| {
        let layers: [&dyn Layer; 2] = [&MetricsLayer::of_store(label), &trace.of_store()];
        (label, stack(store.clone(), layers))
    });
    let failover = Failover::new(FailoverOptions::default())
        .clock(Arc::clone(&clock))
        .random(Random::seeded(1));
    let options = RetryOptions {
        attempts: 2,
        ..RetryOptions::default()
    };
    let retry = RetryLayer::new(options)
        .unwrap()
        .clock(Arc::clone(&clock))
        .random(Random::seeded(1));
    let times = CacheTimes::new(Duration::from_secs(10)).hard_max_age(Duration::from_secs(1000));
    let cache = CacheLayer::new(times).jitter(0.0).refresh_ahead(1.0).clock(clock);
    let layers: [&dyn Layer; 3] = [&retry, &cache, &trace];
    stack(Arc::new(failover.over(members).unwrap()), layers)
}

async fn get(store: &dyn SecretStore, key: &str) -> Result<Secret, Error> {
    store.get(&SecretName::new(key).unwrap(), &GetOptions::default()).await
}

fn fail() -> Step {
    Step::fail(ErrorKind::Unavailable)
}

#[tokio::test(start_paused = true)]
async fn a_call_can_be_followed_through_retries_and_stores() {
    let told = Told::default();
    let _here = told.here();
    let store = full(&store([fail()]).await, &store([Step::fail(ErrorKind::RateLimited)]).await);
    get(&*store, KEY).await.unwrap();
    let passed = |member: &str, kind: &str| {
        format!("DEBUG keyfob: failover passed over store=scripted member={member} kind={kind} asked=true")
    };
    let sent = |store: &str, outcome: &str| {
        let status = if outcome == "ok" { "" } else { " otel.status_code=ERROR" };
        format!(
            "keyfob>keyfob_store otel.name=keyfob.store.get otel.kind=client verb=get store={store} outcome={outcome}{status}"
        )
    };
    let mut lines = told.lines();
    // How long it waits is left to chance.
    let retry = lines.iter().position(|line| line.contains("retry")).unwrap();
    let (text, _) = lines[retry].split_once(" pause=").unwrap();
    lines[retry] = text.to_owned();
    assert_eq!(
        lines,
        [
            sent("near", "unavailable"),
            passed("near", "unavailable"),
            sent("far", "rate_limited"),
            passed("far", "rate_limited"),
            "DEBUG keyfob: retry store=near,far attempts=1 kind=unavailable".to_owned(),
            sent("near", "ok"),
            "DEBUG : verb=get store=near,far outcome=ok".to_owned(),
            "keyfob otel.name=keyfob.get verb=get store=near,far outcome=ok".to_owned(),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hit_has_one_span_and_what_is_not_there_is_no_failure() {
    let told = Told::default();
    let _here = told.here();
    let store = full(&store([]).await, &store([]).await);
    get(&*store, KEY).await.unwrap();
    get(&*store, "other").await.unwrap_err();
    told.clear();
    get(&*store, KEY).await.unwrap();
    get(&*store, "other").await.unwrap_err();
    assert_eq!(
        told.lines(),
        [
            "DEBUG : verb=get store=near,far outcome=ok",
            "keyfob otel.name=keyfob.get verb=get store=near,far outcome=ok",
            "DEBUG : verb=get store=near,far outcome=not_found",
            "keyfob otel.name=keyfob.get verb=get store=near,far outcome=not_found",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_on_call_is_warned_of_breakers_and_of_stale_answers_but_not_each_time() {
    let told = Told::default();
    let _here = told.here();
    let both = || (0..100).map(|_| fail());
    let store = full(&store([Step::Answer].into_iter().chain(both())).await, &store(both()).await);
    get(&*store, KEY).await.unwrap();
    for _ in 0..12 {
        // The store is left alone for five seconds.
        tokio::time::advance(Duration::from_secs(11)).await;
        get(&*store, KEY).await.unwrap();
    }
    let warnings: Vec<String> = told.lines().into_iter().filter(|line| line.starts_with("WARN")).collect();
    let stale: Vec<&String> = warnings
        .iter()
        .filter(|line| line.contains("stale answers stand in"))
        .collect();
    assert!(stale[0].contains("store=near,far kind=unavailable age=11"), "{stale:?}");
    // Twelve times in a little more than 132 seconds.
    assert_eq!(stale.len(), 2, "{stale:?}");
    let opened = "failover breaker store=scripted member=near place=a test from=closed to=open kind=unavailable open_for=";
    assert!(warnings.iter().any(|line| line.contains(opened)), "{warnings:?}");
}

#[tokio::test(start_paused = true)]
async fn no_value_is_told_and_names_only_when_asked_for() {
    for names in [false, true] {
        let told = Told::default();
        let _here = told.here();
        let trace = TraceLayer { names };
        let inner = store([]).await;
        let layers: [&dyn Layer; 2] = [&trace.of_store(), &trace];
        let store = stack(inner, layers);
        let key = SecretName::new(KEY).unwrap();
        store.put(&key, PutRequest::new(VALUE)).await.unwrap();
        get(&*store, KEY).await.unwrap();
        store.get_many(&[GetRequest::new(key.clone())]).await;
        store.delete(&key, &DeleteOptions::default()).await.unwrap();
        let lines = told.lines();
        assert!(lines.len() >= 12, "{lines:?}");
        assert_eq!(lines.iter().any(|line| line.contains(KEY)), names, "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains(VALUE)));
    }
}
