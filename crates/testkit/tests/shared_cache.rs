//! The cache keeps its rules over a second level, and the check of all orders finds a second level that does not.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{CacheLayer, Layer as _, MemoryStore, SharedCache};
use keyfob_testkit::shared_cache::{Act, ModelCache, ModelFlaw, every_order};
use keyfob_testkit::{CapturedLogs, RunOptions, run, tell};

/// Each with the least number of its orders.
const ACTS: [(&[Act], usize); 6] = [
    (&[Act::Read, Act::Put], 15),
    (&[Act::Read, Act::Delete], 15),
    (&[Act::Read, Act::PutAndDie], 15),
    (&[Act::Read, Act::PutAlone], 20),
    (&[Act::Read, Act::Read, Act::Put], 900),
    (&[Act::Put, Act::Put, Act::Read], 900),
];

#[tokio::test]
async fn no_order_of_what_machines_do_brings_an_old_value_back() {
    for (acts, least) in ACTS {
        let cache: Arc<dyn SharedCache> = Arc::new(ModelCache::default());
        let orders = every_order(&cache, acts).await.unwrap();
        assert!(orders.all >= least, "{acts:?}: {orders:?}");
        tell(&format!(
            "model {acts:?}: {} orders, in {} the second level has an answer",
            orders.all, orders.kept
        ));
    }
}

#[tokio::test]
async fn a_second_level_that_lets_an_old_value_back_is_found() {
    let flaws = [
        (ModelFlaw::KeepsWithoutPermit, Act::Put),
        (ModelFlaw::ForgetsEntriesOnly, Act::Put),
        (ModelFlaw::StaysOpen, Act::PutAndDie),
    ];
    for (flaw, act) in flaws {
        let cache: Arc<dyn SharedCache> = Arc::new(ModelCache::flawed(flaw));
        let problem = every_order(&cache, &[Act::Read, act])
            .await
            .err()
            .unwrap_or_else(|| panic!("{flaw:?}"));
        assert!(problem.contains("old value"), "{flaw:?}: {problem}");
    }
}

#[tokio::test]
async fn a_cache_with_a_second_level_conforms() {
    let shared: Arc<dyn SharedCache> = Arc::new(ModelCache::default());
    // One that keeps nothing for itself, so that every read looks into the second level.
    let layer = CacheLayer::new(Duration::from_secs(300)).max_entries(1).shared(shared);
    let report = run(
        layer.layer(Arc::new(MemoryStore::new())),
        RunOptions::new().logs(CapturedLogs::install_global().unwrap()),
    )
    .await;
    report.print();
    report.assert();
}
