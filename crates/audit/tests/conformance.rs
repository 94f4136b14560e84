//! The audit layer with a durable log keeps the whole contract, and the log holds no value.

use std::fs;
use std::sync::Arc;

use keyfob_audit::{Durability, FileAudit, FileAuditOptions, SigningKey, verify};
use keyfob_core::{Actor, AuditLayer, Layer, MemoryStore};
use keyfob_testkit::{RunOptions, run};

#[tokio::test(flavor = "multi_thread")]
async fn an_audited_store_with_a_durable_log_conforms() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("log");
    let key = SigningKey::generate().unwrap();
    let public_key = key.public_key();
    let options = FileAuditOptions::new(&directory, key).durability(Durability::Durable);
    let sink = Arc::new(FileAudit::open(options).unwrap());
    let store = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&sink) as _)
        .layer(Arc::new(MemoryStore::new()));
    let report = run(store, RunOptions::new()).await;
    report.print();
    report.assert();
    sink.close().unwrap();

    let seen = verify(&directory, &[public_key], &[]).unwrap();
    assert_eq!(seen.finding, None);
    assert!(seen.accesses > 1000, "{seen:?}");
    let text = fs::read(directory.join("audit-00000001.jsonl")).unwrap();
    assert!(
        !String::from_utf8(text).unwrap().contains("kfcanary-"),
        "a value was written to the log"
    );
}
