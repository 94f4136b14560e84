//! Clients that log in all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use keyfob_core::{Result, async_trait};
use keyfob_rotation::{Drain, Outcome, RotationOptions, StepContext};
use tokio::sync::RwLock;

use crate::support::{Bed, GRACE, Way, logs_in, name, value_of};

const CLIENTS: usize = 50;
const ROTATIONS: usize = 20;

/// Held for reading by every client from when it reads the secret until it is logged in.
#[derive(Debug, Default)]
struct InUse(RwLock<()>);

#[async_trait]
impl Drain for InUse {
    async fn is_drained(&self, _: &StepContext<'_>) -> Result<bool> {
        drop(self.0.write().await);
        Ok(true)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_in_of_fifty_clients_fails_during_twenty_rotations() {
    let test = "no_log_in_of_fifty_clients_fails_during_twenty_rotations";
    let Some(bed) = Bed::new(test, Way::Alternating).await else {
        return;
    };
    let (in_use, is_over) = (Arc::new(InUse::default()), Arc::new(AtomicBool::new(false)));
    let (worked, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (store, url, role) = (Arc::clone(&bed.store), bed.url.clone(), bed.roles[0].clone());
            let (in_use, is_over) = (Arc::clone(&in_use), Arc::clone(&is_over));
            let (worked, failed) = (Arc::clone(&worked), Arc::clone(&failed));
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let using = in_use.0.read().await;
                    let value = value_of(&store).await;
                    let count = match logs_in(&url, &role, &value).await {
                        Ok(()) => &worked,
                        Err(_) => &failed,
                    };
                    drop(using);
                    count.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let options = RotationOptions {
        grace: GRACE,
        wait: true,
        drain_poll: Duration::from_millis(1),
        ..RotationOptions::default()
    };
    let rotation = bed.rotation().drain(Arc::clone(&in_use) as Arc<dyn Drain>).options(options);
    for _ in 0..ROTATIONS {
        let before = worked.load(Ordering::SeqCst);
        let outcome = rotation.rotate(&name(), &bed.rotator()).await.unwrap();
        assert!(matches!(outcome, Outcome::Completed { .. }));
        assert!(worked.load(Ordering::SeqCst) > before, "nobody logged in meanwhile");
    }
    is_over.store(true, Ordering::SeqCst);
    for client in join_all(clients).await {
        client.unwrap();
    }
    let (worked, failed) = (worked.load(Ordering::SeqCst), failed.load(Ordering::SeqCst));
    assert_eq!(failed, 0, "of {} log-ins", worked + failed);
    assert!(worked >= CLIENTS * ROTATIONS, "{worked} log-ins");
    bed.remove().await;
}
