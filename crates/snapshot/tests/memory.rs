//! How much memory a snapshot takes: a program of its own, so that nothing else counts.
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyfob_core::{
    Capabilities, DeleteOptions, GetOptions, GetRequest, Health, ListOptions, Metadata, Page, PageRequest, PageToken, PutRequest,
    Result, Secret, SecretName, SecretStore, SecretValue, StoreInfo, VersionInfo, async_trait,
};
use keyfob_envelope::RawKey;
use keyfob_snapshot::{CreateOptions, SnapshotDirectory};

const SECRETS: usize = 200;
const BYTES: usize = 60 << 10;

/// Makes its values when they are asked for.
#[derive(Debug)]
struct Endless {
    info: StoreInfo,
    asked: AtomicUsize,
}

#[async_trait]
impl SecretStore for Endless {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, _: &GetOptions) -> Result<Secret> {
        tokio::time::sleep(Duration::from_micros(50)).await;
        // Each another one: what is the same is still written.
        let value = (self.asked.fetch_add(1, Ordering::SeqCst) as u64)
            .to_be_bytes()
            .repeat(BYTES / 8);
        Ok(Secret::new(SecretValue::new(value), Metadata::new(name.clone(), "endless")))
    }

    async fn get_many(&self, _: &[GetRequest]) -> Vec<Result<Secret>> {
        unreachable!("a snapshot reads one by one")
    }

    async fn put(&self, _: &SecretName, _: PutRequest) -> Result<Metadata> {
        unreachable!("a snapshot only reads")
    }

    async fn delete(&self, _: &SecretName, _: &DeleteOptions) -> Result<()> {
        unreachable!("a snapshot only reads")
    }

    async fn restore(&self, _: &SecretName) -> Result<Metadata> {
        unreachable!("a snapshot only reads")
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let begin: usize = options.page.token.as_ref().map_or(0, |token| token.as_str().parse().unwrap());
        let names = (begin..SECRETS)
            .take(500)
            .map(|number| SecretName::new(format!("secret-{number:05}")).unwrap());
        let items: Vec<Metadata> = names.map(|name| Metadata::new(name, "endless")).collect();
        let next = begin + items.len();
        let next = (next < SECRETS).then(|| PageToken::new(next.to_string()));
        Ok(Page { items, next })
    }

    async fn versions(&self, _: &SecretName, _: &PageRequest) -> Result<Page<VersionInfo>> {
        unreachable!("a snapshot only reads")
    }

    async fn health(&self) -> Result<Health> {
        Ok(Health::default())
    }
}

/// The most memory that this process ever had, in bytes.
fn most() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux says how much memory a process had")]
async fn values_are_not_all_in_memory() {
    let store = Arc::new(Endless {
        info: StoreInfo::new("endless", "this process", Capabilities::FULL),
        asked: AtomicUsize::new(0),
    });
    let place = tempfile::tempdir().unwrap();
    let directory = SnapshotDirectory::new(place.path().join("snapshots"));
    let key = RawKey::generate().unwrap();
    let before = most();
    let mut options = CreateOptions::default();
    options.compress = false;
    let manifest = directory.create(&*store, &key, &options, |_| {}).await.unwrap();
    assert!(manifest.summary.bytes > (SECRETS * BYTES) as u64);
    let snapshot = directory.open_snapshot(manifest.summary.id, &key).await.unwrap();
    snapshot.verify().await.unwrap();
    let taken = most() - before;
    let limit = 5 << 20;
    assert!(taken < limit, "{taken} bytes for {} bytes of values", SECRETS * BYTES);
}
