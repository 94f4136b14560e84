//! The store keeps the contract in both shapes, on a real API server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "store/cluster.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod cluster;

use keyfob_testkit::{CapturedLogs, RunOptions, run};

use crate::cluster::Namespace;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_per_secret_conforms() {
    conforms("an_object_per_secret_conforms", "", "Kubernetes").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_one_object_conform() {
    conforms("the_keys_of_one_object_conform", "/app", "Kubernetes, one Secret").await;
}

async fn conforms(test: &str, object: &str, title: &str) {
    let Some(namespace) = Namespace::make(test).await else {
        return;
    };
    let store = namespace.connect(object).await;
    let options = RunOptions::new().title(title);
    let report = run(store, options.logs(CapturedLogs::install_global().unwrap())).await;
    namespace.remove().await;
    report.print();
    report.assert();
    assert_eq!(report.leftovers, Vec::<String>::new());
}
