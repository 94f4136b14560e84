//! Every layer over the memory store keeps the whole contract.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{CacheLayer, Layer, MemoryStore, MetricsLayer, PutRequest, SecretName, TraceLayer, stack};
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
async fn trace_conforms_and_its_events_hold_no_value() {
    conforms(&TraceLayer).await;
}

#[tokio::test]
async fn metrics_conform() {
    conforms(&MetricsLayer::default()).await;
}

async fn conforms(layer: &dyn Layer) {
    let store = stack(Arc::new(MemoryStore::new()), [layer]);
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
