//! The contract of `SecretStore`.

use std::sync::Arc;

use keyfob_core::{PutRequest, SecretName, SecretStore};
use keyfob_testkit::{CapturedLogs, RunOptions, run};

use crate::support::Place;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_store_conforms() {
    let Some(place) = Place::new("postgres_store_conforms") else {
        return;
    };
    let store = place.create().await;
    let seeded = SecretName::new("seeded").unwrap();
    store.put(&seeded, PutRequest::new("already there")).await.unwrap();

    let options = RunOptions::new()
        .title("PostgreSQL")
        .seed(seeded, "already there")
        .logs(CapturedLogs::install_global().unwrap());
    let report = run(Arc::new(store.clone()), options).await;
    report.print();
    report.assert();
    assert_eq!(report.ignored(), 0, "the store lacks nothing");
    assert_eq!(report.leftovers, Vec::<String>::new());
    let whole = store.verify().await.unwrap();
    assert!(whole.problems.is_empty(), "{whole:?}");
    place.remove().await;
}
