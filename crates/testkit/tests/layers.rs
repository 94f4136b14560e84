//! Every layer over the memory store keeps the whole contract.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

#[path = "layers/ailing.rs"]
mod ailing;

use std::sync::Arc;
use std::time::Duration;

use ailing::{AilingStore, Ailment};
use keyfob_core::{
    Actor, AuditFilter, AuditLayer, CacheLayer, CacheNames, CacheTimes, Environment, Layer, LimitLayer, LimitOptions,
    MemoryAudit, MemoryStore, MetricsLayer, PutRequest, RetryLayer, RetryOptions, SecretName, SecretStore, TraceLayer, stack,
};
use keyfob_testkit::{CapturedLogs, RunOptions, run};

#[tokio::test]
async fn cache_conforms() {
    conforms(&CacheLayer::new(Duration::from_secs(300))).await;
}

#[tokio::test]
async fn cache_of_one_entry_conforms() {
    conforms(&CacheLayer::new(Duration::from_secs(300)).max_entries(1)).await;
}

#[tokio::test]
async fn cache_with_every_option_conforms() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let times = CacheTimes::new(minutes(1))
        .stale_while_revalidate(minutes(5))
        .hard_max_age(minutes(60))
        .negative_ttl(minutes(1));
    let layer = CacheLayer::new(times)
        .rule(CacheNames::Prefix("kf".into()), times.hard_max_age(minutes(90)))
        .max_entries(100)
        .max_bytes(1 << 20)
        .max_absences(10)
        .jitter(0.5)
        .refresh_ahead(0.0)
        .pause_after_error(minutes(1));
    conforms(&layer).await;
}

#[tokio::test]
async fn cache_that_keeps_nothing_conforms() {
    conforms(&CacheLayer::new(CacheTimes::NEVER)).await;
}

#[tokio::test]
async fn trace_conforms_and_its_events_hold_no_value() {
    conforms(&TraceLayer { names: true }).await;
}

#[tokio::test]
async fn metrics_conform() {
    conforms(&MetricsLayer::default()).await;
}

#[tokio::test]
async fn audit_conforms_and_its_records_hold_no_value() {
    let seen = Arc::new(MemoryAudit::new(100_000));
    let actor = Actor::of_process(&Environment::from_process());
    conforms(&AuditLayer::new(actor).sink(Arc::clone(&seen) as _)).await;
    let records = format!("{:?}", seen.records(&AuditFilter::default()));
    assert!(records.contains("seeded"), "something was recorded");
    assert!(
        !records.contains("kfcanary-") && !records.contains("already there"),
        "a value was recorded"
    );
}

#[tokio::test]
async fn retry_conforms() {
    conforms(&RetryLayer::default()).await;
}

#[tokio::test]
async fn retry_conforms_over_a_store_whose_first_attempts_fail() {
    let layer = eager();
    conforms_over(Arc::new(AilingStore::new(Ailment::Refuses)), &layer).await;
    assert!(layer.stats().retries > 500, "{:?}", layer.stats());
}

#[tokio::test]
async fn retry_conforms_over_a_store_whose_first_answers_are_lost() {
    let layer = eager();
    conforms_over(Arc::new(AilingStore::new(Ailment::LosesAnswers)), &layer).await;
    assert!(layer.stats().retries > 100, "{:?}", layer.stats());
    assert!(layer.stats().settled > 10, "{:?}", layer.stats());
}

#[tokio::test]
async fn limit_conforms() {
    let layer = LimitLayer::default();
    conforms(&layer).await;
    let stats = layer.stats();
    assert_eq!((stats.in_flight, stats.waiting), (0, 0));
}

#[tokio::test]
async fn a_limit_of_one_conforms() {
    let options = LimitOptions {
        first: 1,
        least: 1,
        most: 1,
    };
    conforms(&LimitLayer::new(options).unwrap()).await;
}

#[tokio::test]
async fn retry_over_a_limit_conforms_over_a_store_whose_first_attempts_fail() {
    let limit = LimitLayer::default();
    let store = limit.layer(Arc::new(AilingStore::new(Ailment::Refuses)));
    conforms_over(store, &eager()).await;
    assert!(limit.stats().throttled > 50, "{:?}", limit.stats());
}

/// Retries that take no time, as many as it takes.
fn eager() -> RetryLayer {
    let options = RetryOptions {
        attempts: 50,
        base: Duration::ZERO,
        cap: Duration::ZERO,
        budget: 1.0,
        budget_per_second: 1000.0,
        ..RetryOptions::default()
    };
    RetryLayer::new(options).unwrap()
}

async fn conforms(layer: &dyn Layer) {
    conforms_over(Arc::new(MemoryStore::new()), layer).await;
}

async fn conforms_over(store: Arc<dyn SecretStore>, layer: &dyn Layer) {
    let store = stack(store, [layer]);
    let name = SecretName::new("seeded").unwrap();
    store.put(&name, PutRequest::new("already there")).await.unwrap();
    let options = RunOptions::new()
        .seed(name, "already there")
        .logs(CapturedLogs::install_global().unwrap());
    let report = run(store, options).await;
    report.print();
    report.assert();
    assert_eq!(report.ignored(), 0, "{report}");
}
