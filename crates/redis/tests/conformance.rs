//! The contract of every store, over a cache that shares a second level in Redis.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keyfob_core::{
    CacheLayer, DeleteOptions, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page, PageRequest, PutRequest,
    Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo,
};
use keyfob_envelope::RawKey;
use keyfob_redis::{RedisCache, RedisConfig};
use keyfob_testkit::{CapturedLogs, RunOptions, run, server};

/// Two machines, each with a memory of its own: whoever is asked next is the other one.
#[derive(Debug)]
struct Fleet {
    machines: [Arc<dyn SecretStore>; 2],
    next: std::sync::atomic::AtomicUsize,
}

impl Fleet {
    fn next(&self) -> &dyn SecretStore {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        &*self.machines[next % 2]
    }
}

#[async_trait]
impl SecretStore for Fleet {
    fn info(&self) -> &StoreInfo {
        self.machines[0].info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.next().get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.next().get_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.next().put(name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.next().delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.next().restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.next().list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.next().versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.next().health().await
    }
}

/// Machines that keep nothing for longer than it takes to ask: all that they know they have from Redis or from the store.
async fn conforms(redis: &[RedisCache; 2]) {
    let memory: Arc<dyn SecretStore> = Arc::new(MemoryStore::new());
    let machine = |redis: &RedisCache| -> Arc<dyn SecretStore> {
        let layer = CacheLayer::new(Duration::from_secs(300)).max_entries(0).max_absences(0);
        layer.shared(redis.of_store("memory:conformance")).build(memory.clone())
    };
    let fleet = Fleet {
        machines: [machine(&redis[0]), machine(&redis[1])],
        next: 0.into(),
    };
    let logs = CapturedLogs::install_global().unwrap();
    let report = run(Arc::new(fleet), RunOptions::new().logs(logs)).await;
    report.print();
    report.assert();
}

fn redis(url: &str, prefix: &str) -> RedisCache {
    let key = RawKey::new(&[7; 32]).shared_key();
    let config = RedisConfig::new(url, &key).unwrap().prefix(prefix);
    RedisCache::new(config.timeout(Duration::from_secs(1))).unwrap()
}

#[tokio::test]
async fn two_machines_over_one_redis_conform() {
    let Some(url) = server("two_machines_over_one_redis_conform", "KEYFOB_TEST_REDIS_URL") else {
        return;
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let prefix = format!("kf-{}", data_encoding::HEXLOWER.encode(&random));
    let both = [redis(&url, &prefix), redis(&url, &prefix)];
    conforms(&both).await;
    for redis in both {
        let counts = redis.counts();
        assert!(counts.found > 10, "{counts:?}");
        assert_eq!((counts.skipped, counts.refused), (0, 0));
    }
    let mut connection = ::redis::Client::open(url).unwrap().get_connection().unwrap();
    let keys: Vec<String> = ::redis::cmd("KEYS")
        .arg(format!("{prefix}:*"))
        .query(&mut connection)
        .unwrap();
    if !keys.is_empty() {
        ::redis::cmd("DEL").arg(keys).exec(&mut connection).unwrap();
    }
}

#[tokio::test]
async fn two_machines_without_a_redis_conform() {
    let nowhere = "redis://127.0.0.1:1/0";
    conforms(&[redis(nowhere, "kf"), redis(nowhere, "kf")]).await;
}
