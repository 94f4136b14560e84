//! The contract of `SecretStore`.

use std::sync::Arc;

use keyfob_core::{PutRequest, SecretName, SecretStore};
use keyfob_envelope::RawKey;
use keyfob_sql::{KeyConfig, SqlConfig, SqlStore};
use keyfob_testkit::{CapturedLogs, RunOptions, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    RawKey::create_file(&key).unwrap();
    let config = SqlConfig::new(directory.path().join("secrets.db"), KeyConfig::File(key));
    let store = SqlStore::create(config.with_state_dir(directory.path())).await.unwrap();
    let seeded = SecretName::new("seeded").unwrap();
    store.put(&seeded, PutRequest::new("already there")).await.unwrap();

    let options = RunOptions::new()
        .title("SQLite")
        .seed(seeded, "already there")
        .logs(CapturedLogs::install_global().unwrap());
    let report = run(Arc::new(store.clone()), options).await;
    report.print();
    report.assert();
    assert_eq!(report.ignored(), 0, "the store lacks nothing");
    assert_eq!(report.leftovers, Vec::<String>::new());
    let whole = store.verify().await.unwrap();
    assert!(whole.problems.is_empty(), "{whole:?}");
}
