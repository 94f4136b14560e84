//! A failover list keeps the whole contract: healthy, replicated, and for reads when its first store is gone.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Arc;

use keyfob_core::{
    Capabilities, DeleteOptions, Error, ErrorKind, Failover, FailoverOptions, FailoverStore, FailoverWrites, GetOptions,
    GetRequest, Health, ListOptions, MemoryStore, Metadata, Page, PageRequest, PutRequest, Result, Secret, SecretName,
    SecretStore, StoreInfo, VersionInfo, async_trait,
};
use keyfob_testkit::{CapturedLogs, Outcome, Report, RunOptions, run};

#[tokio::test]
async fn one_store_conforms() {
    conforms(&[("a", memory())], FailoverWrites::First).await;
}

#[tokio::test]
async fn two_healthy_stores_conform() {
    conforms(&[("a", memory()), ("b", memory())], FailoverWrites::First).await;
}

#[tokio::test]
async fn replicated_stores_conform() {
    conforms(
        &[("a", memory()), ("b", memory()), ("c", memory())],
        FailoverWrites::Replicate,
    )
    .await;
}

#[tokio::test]
async fn a_failover_list_of_failover_lists_conforms() {
    let inner = |label| list(&[(label, memory()), ("standby", memory())], FailoverOptions::default());
    let members: [(&str, Arc<dyn SecretStore>); 2] = [("a", Arc::new(inner("a"))), ("b", Arc::new(inner("b")))];
    conforms(&members, FailoverWrites::First).await;
}

#[tokio::test]
async fn reads_conform_when_the_first_store_is_gone() {
    let second = memory();
    let name = seed(&*second).await;
    let options = FailoverOptions {
        believe_not_found: true,
        ..FailoverOptions::default()
    };
    let store = list(&[("a", Arc::new(Gone::new())), ("b", second)], options);
    let options = RunOptions::new().known_deviation(
        "capabilities::versions_work_or_are_refused",
        "a version without a label is the first store's, which alone could say that there is no such one",
    );
    let report = report(Arc::new(store.clone()), name, options).await;
    let passed = |name: &str| {
        let case = report.cases.iter().find(|case| case.name == name).unwrap();
        matches!(case.outcome, Outcome::Passed)
    };
    for name in [
        "get::seeded_secrets_are_read",
        "get::missing_is_not_found",
        "get_many::seeded_secrets_are_read",
    ] {
        assert!(passed(name), "{report}");
    }
    assert!(store.status()[0].opened > 0, "{:?}", store.status());
}

type Members<'a> = [(&'a str, Arc<dyn SecretStore>)];

async fn conforms(members: &Members<'_>, writes: FailoverWrites) {
    let options = FailoverOptions {
        writes,
        ..FailoverOptions::default()
    };
    let store = Arc::new(list(members, options));
    let name = seed(&*store).await;
    let report = report(store, name, RunOptions::new()).await;
    assert_eq!(report.ignored(), 0, "{report}");
}

async fn report(store: Arc<dyn SecretStore>, seeded: SecretName, options: RunOptions) -> Report {
    let options = options
        .seed(seeded, "already there")
        .logs(CapturedLogs::install_global().unwrap());
    let report = run(store, options).await;
    report.print();
    report.assert();
    report
}

fn list(members: &Members<'_>, options: FailoverOptions) -> FailoverStore {
    Failover::new(options).over(members.iter().cloned()).unwrap()
}

fn memory() -> Arc<dyn SecretStore> {
    Arc::new(MemoryStore::new())
}

async fn seed(store: &dyn SecretStore) -> SecretName {
    let name = SecretName::new("seeded").unwrap();
    store.put(&name, PutRequest::new("already there")).await.unwrap();
    name
}

/// Could be read, were it there.
#[derive(Debug)]
struct Gone(StoreInfo);

impl Gone {
    fn new() -> Self {
        let mut can = Capabilities::NONE;
        can.list = true;
        can.versions = true;
        Self(StoreInfo::new("memory", "nowhere", can))
    }

    fn error<T>() -> Result<T> {
        Err(Error::new(ErrorKind::Unavailable, "nobody is there"))
    }
}

#[async_trait]
impl SecretStore for Gone {
    fn info(&self) -> &StoreInfo {
        &self.0
    }
    async fn get(&self, _: &SecretName, _: &GetOptions) -> Result<Secret> {
        Self::error()
    }
    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        requests.iter().map(|_| Self::error()).collect()
    }
    async fn put(&self, _: &SecretName, _: PutRequest) -> Result<Metadata> {
        Self::error()
    }
    async fn delete(&self, _: &SecretName, _: &DeleteOptions) -> Result<()> {
        Self::error()
    }
    async fn restore(&self, _: &SecretName) -> Result<Metadata> {
        Self::error()
    }
    async fn list(&self, _: &ListOptions) -> Result<Page<Metadata>> {
        Self::error()
    }
    async fn versions(&self, _: &SecretName, _: &PageRequest) -> Result<Page<VersionInfo>> {
        Self::error()
    }
    async fn health(&self) -> Result<Health> {
        Self::error()
    }
}
