//! The memory store keeps the whole contract, and lacks nothing of it.

use std::sync::Arc;

use keyfob_core::{MemoryStore, PutRequest, SecretName, SecretStore};
use keyfob_testkit::{CapturedLogs, RunOptions, run};

#[tokio::test]
async fn memory_store_conforms() {
    let store = Arc::new(MemoryStore::new());
    let name = SecretName::new("seeded").unwrap();
    store.put(&name, PutRequest::new("already there")).await.unwrap();
    let options = RunOptions::new()
        .title("memory")
        .seed(name, "already there")
        .logs(CapturedLogs::install_global().unwrap());
    let report = run(store, options).await;
    report.print();
    report.assert();
    assert_eq!(report.ignored(), 0, "{report}");
    assert_eq!(report.leftovers, Vec::<String>::new());
}
