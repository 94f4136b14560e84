//! A snapshot keeps the contract of a store that can only be read.

use std::sync::Arc;

use keyfob_core::{MemoryStore, PutRequest, SecretName, SecretStore as _, SystemClock};
use keyfob_envelope::RawKey;
use keyfob_snapshot::{CreateOptions, SnapshotDirectory};
use keyfob_testkit::{CapturedLogs, RunOptions, run};

#[tokio::test]
async fn a_snapshot_conforms() {
    let place = tempfile::tempdir().unwrap();
    let (memory, key) = (MemoryStore::new(), RawKey::generate().unwrap());
    let mut options = RunOptions::new().logs(CapturedLogs::install_global().unwrap());
    for (name, value) in [
        ("app/one", "v".repeat(64)),
        ("app/two", "w".repeat(100_000)),
        ("b", "x".repeat(70)),
    ] {
        let name = SecretName::new(name).unwrap();
        memory.put(&name, PutRequest::new(value.as_str())).await.unwrap();
        options = options.seed(name, value.as_str());
    }
    let directory = SnapshotDirectory::new(place.path().join("snapshots"));
    let made = directory
        .create(&memory, &key, &CreateOptions::default(), |_| {})
        .await
        .unwrap();
    let snapshot = directory.open_snapshot(made.summary.id, &key).await.unwrap();
    let store = snapshot.store(None, Arc::new(SystemClock::new())).unwrap();
    let report = run(Arc::new(store), options).await;
    report.print();
    report.assert();
}
