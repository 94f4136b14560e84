//! What another program writes, where the store tells of it.

use std::time::{Duration, Instant};

use keyfob::{Freshness, GetOptions, PutRequest, SecretName};

use crate::places::Kind;
use crate::stacks::application;

/// Far less than the five minutes for which an answer is kept.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_write_to_kubernetes_is_soon_read_through_every_layer() {
    for kind in [Kind::KubernetesObjects, Kind::KubernetesKeys] {
        let test = "what_others_write_to_kubernetes_is_soon_read_through_every_layer";
        let Some(place) = kind.open(test).await else { return };
        let (other, manager) = (place.store().await, application(&place).build().await.unwrap());
        let application = manager.store().await.unwrap();
        let name = SecretName::new("a").unwrap();
        other.put(&name, PutRequest::new("kfcanary-thefirst")).await.unwrap();
        let read = || async { application.get(&name, &GetOptions::default()).await.unwrap() };
        let hit = async {
            while read().await.metadata.origin.freshness != Freshness::Cache {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // It listens from the first hit on, and what begins to listen forgets everything once.
        tokio::time::timeout(SOON, hit).await.unwrap();

        other.put(&name, PutRequest::new("kfcanary-thesecond")).await.unwrap();
        let begin = Instant::now();
        while read().await.value.expose_secret() != b"kfcanary-thesecond" {
            assert!(begin.elapsed() < SOON, "the old value is still read");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop((application, manager));
        other.delete(&name, &keyfob::DeleteOptions::default()).await.unwrap();
        place.clean_up().await;
    }
}
