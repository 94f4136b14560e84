//! How long an emergency takes, in virtual time: every request of the store takes 20 ms, and it answers sixteen at once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Clock, DeleteOptions, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page, PageRequest, PutRequest,
    Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, VirtualClock, async_trait,
};
use keyfob_rotation::{Made, Outcome, Pass, Policies, Rotation, Rotator, Rotators};
use tokio::sync::Semaphore;

const ROUND_TRIP: Duration = Duration::from_millis(20);
const AT_ONCE: usize = 16;
const SECRETS: u32 = 1000;

/// A store that is far away.
#[derive(Debug)]
struct Distant {
    memory: MemoryStore,
    clock: VirtualClock,
    places: Semaphore,
    requests: AtomicU32,
}

impl Distant {
    async fn travel(&self) {
        let _place = self.places.acquire().await.unwrap();
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.clock.sleep(ROUND_TRIP).await;
    }
}

#[async_trait]
impl SecretStore for Distant {
    fn info(&self) -> &StoreInfo {
        self.memory.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.travel().await;
        self.memory.get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.travel().await;
        self.memory.get_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.travel().await;
        self.memory.put(name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.travel().await;
        self.memory.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.travel().await;
        self.memory.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.travel().await;
        self.memory.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.travel().await;
        self.memory.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.travel().await;
        self.memory.health().await
    }
}

struct Ready;

#[async_trait]
impl Rotators for Ready {
    async fn rotator(&self, made: &Made) -> Result<Arc<dyn Rotator>> {
        match made {
            Made::Ready(rotator) => Ok(rotator.clone()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_emergency_of_a_thousand_secrets_takes_little_longer_than_its_requests() {
    let clock = VirtualClock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let store = Arc::new(Distant {
        memory: MemoryStore::new(),
        clock,
        places: Semaphore::new(AT_ONCE),
        requests: AtomicU32::new(0),
    });
    for number in 0..SECRETS {
        let name = SecretName::new(format!("web/{number:04}")).unwrap();
        store.memory.put(&name, PutRequest::new("kfcanary-firstvalue")).await.unwrap();
    }
    let rotation = Rotation::new(store.clone()).clock(Arc::new(clock));
    let policies = Policies::parse("policies: [{ name: all, secrets: [\"web/*\"], make: { hex: { bytes: 32 } } }]").unwrap();
    let start = clock.now();
    let plan = rotation.plan(&policies).await.unwrap();
    let pass = Pass {
        concurrency: AT_ONCE,
        emergency: true,
    };
    let passed = rotation.pass(&plan.entries, &Ready, &pass, |_| {}).await;
    let took = clock.now() - start;
    assert_eq!(passed.len(), SECRETS as usize);
    assert!(
        passed
            .iter()
            .all(|passed| matches!(passed.outcome, Ok(Outcome::Completed { .. })))
    );
    let requests = store.requests.load(Ordering::Relaxed);
    // 15 for each rotation, one for its journal in the plan, and the pages of the list.
    let pages = requests - SECRETS * 16;
    assert!(pages <= 10, "{requests} requests");
    let least = ROUND_TRIP * requests / AT_ONCE as u32;
    let ratio = took.as_secs_f64() / least.as_secs_f64();
    println!("{requests} requests, {took:?}, {ratio:.3} times the least");
    assert!((1.0..1.1).contains(&ratio), "{ratio:.3} times {least:?}");
}
