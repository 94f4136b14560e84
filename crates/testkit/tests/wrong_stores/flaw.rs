//! What a wrong store is: the memory store with one flaw.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use keyfob_core::{
    Capabilities, DeleteOptions, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page, PageRequest,
    PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};
use keyfob_testkit::{RunOptions, run};

/// The verbs of a store, right unless they are overridden.
#[async_trait]
pub(crate) trait Flaw: Send + Sync + 'static {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FULL
    }

    fn scheme(&self) -> &'static str {
        "memory"
    }

    /// Where the store says it is after it was asked for its health.
    fn moves_to(&self) -> &'static str {
        "this process"
    }

    fn debug(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrongStore")
    }

    async fn get(&self, right: &MemoryStore, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        right.get(name, options).await
    }

    async fn get_many(&self, right: &MemoryStore, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        right.get_many(requests).await
    }

    async fn put(&self, right: &MemoryStore, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        right.put(name, request).await
    }

    async fn delete(&self, right: &MemoryStore, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        right.delete(name, options).await
    }

    async fn restore(&self, right: &MemoryStore, name: &SecretName) -> Result<Metadata> {
        right.restore(name).await
    }

    async fn list(&self, right: &MemoryStore, options: &ListOptions) -> Result<Page<Metadata>> {
        right.list(options).await
    }

    async fn versions(&self, right: &MemoryStore, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        right.versions(name, page).await
    }

    async fn health(&self, right: &MemoryStore) -> Result<Health> {
        right.health().await
    }
}

/// The memory store with a flaw.
pub(crate) struct Wrong<F> {
    right: MemoryStore,
    flaw: F,
    infos: [StoreInfo; 2],
    moved: AtomicUsize,
}

impl<F: Flaw> Wrong<F> {
    pub(crate) fn new(flaw: F) -> Self {
        let info = |location| StoreInfo::new(flaw.scheme(), location, flaw.capabilities());
        Self {
            right: MemoryStore::new(),
            infos: [info("this process"), info(flaw.moves_to())],
            moved: AtomicUsize::new(0),
            flaw,
        }
    }
}

impl<F: Flaw> fmt::Debug for Wrong<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.flaw.debug(f)
    }
}

#[async_trait]
impl<F: Flaw> SecretStore for Wrong<F> {
    fn info(&self) -> &StoreInfo {
        &self.infos[self.moved.load(Ordering::SeqCst) % 2]
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.flaw.get(&self.right, name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.flaw.get_many(&self.right, requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.flaw.put(&self.right, name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.flaw.delete(&self.right, name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.flaw.restore(&self.right, name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.flaw.list(&self.right, options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.flaw.versions(&self.right, name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.moved.fetch_add(1, Ordering::SeqCst);
        self.flaw.health(&self.right).await
    }
}

/// One row of a module's table.
pub(crate) struct Row {
    pub(crate) flaw: &'static str,
    pub(crate) store: Arc<dyn SecretStore>,
    /// Exactly these cases fail.
    pub(crate) caught_by: &'static [&'static str],
}

/// `rows![Flaw => ["case", ...], ...]`
macro_rules! rows {
    ($($flaw:expr => [$($case:literal),+ $(,)?]),+ $(,)?) => {
        vec![$($crate::flaw::Row {
            flaw: stringify!($flaw),
            store: std::sync::Arc::new($crate::flaw::Wrong::new($flaw)),
            caught_by: &[$($case),+],
        }),+]
    };
}
pub(crate) use rows;

/// Each wrong store fails exactly the cases of its row.
pub(crate) async fn check(rows: Vec<Row>) {
    check_with(rows, &RunOptions::new()).await;
}

/// The same in stores in which two secrets are there already.
pub(crate) async fn check_seeded(rows: Vec<Row>) {
    let mut options = RunOptions::new();
    for label in ["a", "b"] {
        let name = SecretName::new(format!("seeded/{label}")).unwrap();
        for row in &rows {
            row.store.put(&name, PutRequest::new(label)).await.unwrap();
        }
        options = options.seed(name, label);
    }
    check_with(rows, &options).await;
}

/// The rows run side by side, since the suite sleeps more than it works.
async fn check_with(rows: Vec<Row>, options: &RunOptions) {
    let runs = rows.into_iter().map(async |row| {
        let report = run(row.store, options.clone()).await;
        let failed: BTreeSet<&str> = report.failures().map(|(case, _)| case.name.as_str()).collect();
        let expected: BTreeSet<&str> = row.caught_by.iter().copied().collect();
        (failed != expected).then(|| {
            format!(
                "{}\n  not caught by {:?}\n  caught besides by {:?}",
                row.flaw,
                expected.difference(&failed).collect::<Vec<_>>(),
                failed.difference(&expected).collect::<Vec<_>>(),
            )
        })
    });
    let problems: Vec<String> = join_all(runs).await.into_iter().flatten().collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
