//! A layer of one's own: it counts reads, and works over any store.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyfob::{
    DeleteOptions, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page, PageRequest, PutRequest, Result,
    Secret, SecretManager, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};

#[derive(Debug)]
struct CountReads {
    inner: Arc<dyn SecretStore>,
    reads: AtomicUsize,
}

#[async_trait]
impl SecretStore for CountReads {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }
    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(name, options).await
    }
    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.reads.fetch_add(requests.len(), Ordering::Relaxed);
        self.inner.get_many(requests).await
    }
    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.inner.put(name, request).await
    }
    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.inner.delete(name, options).await
    }
    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.inner.restore(name).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.inner.list(options).await
    }
    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.inner.versions(name, page).await
    }
    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let counted = Arc::new(CountReads {
        inner: Arc::new(MemoryStore::new()),
        reads: AtomicUsize::new(0),
    });
    let secrets = SecretManager::builder().with_store("secret", counted.clone()).build().await?;
    secrets.put("token", PutRequest::new("abc")).await?;
    for _ in 0..3 {
        secrets.get("token").await?;
    }
    println!("{} reads", counted.reads.load(Ordering::Relaxed));
    Ok(())
}
