//! Stores that lack something and say so conform: the cases that need it are ignored, all others pass.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{
    Capabilities, DeleteMode, DeleteOptions, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, NameRule, Page,
    PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};
use keyfob_testkit::{Outcome, Report, RunOptions, run};

/// The memory store with fewer capabilities, each checked before anything else.
#[derive(Debug)]
struct Restricted {
    right: MemoryStore,
    info: StoreInfo,
}

impl Restricted {
    fn new(restrict: impl FnOnce(&mut Capabilities)) -> Self {
        let mut can = Capabilities::FULL;
        restrict(&mut can);
        Self {
            right: MemoryStore::new(),
            info: StoreInfo::new("memory", "this process", can),
        }
    }

    fn can(&self) -> Capabilities {
        self.info.capabilities
    }
}

#[async_trait]
impl SecretStore for Restricted {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.can().check_get(name, options)?;
        self.right.get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut answers = Vec::new();
        for request in requests {
            answers.push(self.get(&request.name, &request.options).await);
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.can().check_put(name, &request)?;
        let written = self.right.put(name, request.clone()).await;
        let deleted = written.as_ref().is_err_and(|error| error.message().contains("deleted"));
        if deleted && !self.can().deleted_reserves_name {
            let mode = DeleteMode::Permanent;
            self.right.delete(name, &DeleteOptions { mode }).await?;
            return self.right.put(name, request).await;
        }
        written
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.can().check_delete(name, options)?;
        let mode = match options.mode {
            DeleteMode::StoreDefault if !self.can().delete_recoverable => DeleteMode::Permanent,
            DeleteMode::Recoverable { .. } => DeleteMode::Recoverable { window: None },
            mode => mode,
        };
        self.right.delete(name, &DeleteOptions { mode }).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.can().check_restore(name)?;
        self.right.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.can().check_list(options)?;
        self.right.list(options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.can().check_versions(name)?;
        self.right.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.right.health().await
    }
}

/// What was lacking, each once. The suite's own seeds are never there.
fn lacking(report: &Report) -> BTreeSet<&str> {
    report
        .cases
        .iter()
        .filter_map(|case| match &case.outcome {
            Outcome::Ignored(capability) if capability != "seeded secrets" => Some(capability.as_str()),
            _ => None,
        })
        .collect()
}

async fn conforms_without(restrict: impl FnOnce(&mut Capabilities), lacks: &[&str]) {
    let report = run(Arc::new(Restricted::new(restrict)), RunOptions::new()).await;
    report.assert();
    assert_eq!(lacking(&report), lacks.iter().copied().collect(), "{report}");
    assert_eq!(report.leftovers, Vec::<String>::new());
}

#[tokio::test]
async fn without_metadata() {
    let restrict = |can: &mut Capabilities| {
        can.tags = false;
        can.description = false;
        can.expiry = false;
        can.max_tags = 0;
    };
    let lacks = ["tags", "description", "expiry", "description, tags or expiry"];
    conforms_without(restrict, &lacks).await;
}

#[tokio::test]
async fn without_preconditions() {
    let restrict = |can: &mut Capabilities| {
        can.put_create = false;
        can.put_match = false;
        can.put_metadata = false;
    };
    conforms_without(restrict, &["put_create", "put_match", "put_metadata"]).await;
}

#[tokio::test]
async fn without_versions() {
    conforms_without(|can| can.versions = false, &["versions"]).await;
}

#[tokio::test]
async fn with_text_only() {
    let restrict = |can: &mut Capabilities| {
        can.binary = false;
        can.empty_value = false;
    };
    conforms_without(restrict, &["binary", "empty_value"]).await;
}

#[tokio::test]
async fn without_soft_delete() {
    conforms_without(|can| can.delete_recoverable = false, &["delete_recoverable"]).await;
}

#[tokio::test]
async fn with_soft_delete_only() {
    conforms_without(|can| can.delete_permanent = false, &["delete_permanent"]).await;
}

#[tokio::test]
async fn without_any_delete() {
    let restrict = |can: &mut Capabilities| {
        can.delete_permanent = false;
        can.delete_recoverable = false;
    };
    conforms_without(restrict, &["delete", "delete_permanent", "delete_recoverable"]).await;
}

#[tokio::test]
async fn without_a_listing() {
    conforms_without(|can| can.list = false, &["list"]).await;
}

#[tokio::test]
async fn with_other_limits() {
    let restrict = |can: &mut Capabilities| {
        can.names = NameRule::Portable;
        can.max_name_bytes = 100;
        can.max_value_bytes = 80;
        can.max_tags = 2;
        can.deleted_reserves_name = false;
        can.recovery_window = Some((Duration::from_secs(7 * 86_400), Duration::from_secs(30 * 86_400)));
    };
    conforms_without(restrict, &[]).await;
}

#[tokio::test]
async fn with_values_of_any_size() {
    // The right store below takes a MiB, so that only the case about the limit itself is concerned.
    let store = Restricted::new(|can| can.max_value_bytes = usize::MAX);
    let report = run(Arc::new(store), RunOptions::new().only("put::too_large_a_value_is_invalid")).await;
    assert_eq!(lacking(&report), BTreeSet::from(["max_value_bytes below 4 MiB"]));
}

#[tokio::test]
async fn with_reading_only() {
    let restrict = |can: &mut Capabilities| {
        *can = Capabilities::NONE;
        can.list = true;
    };
    let store = Restricted::new(restrict);
    let mut options = RunOptions::new();
    for (name, value) in [("b/there", "the first seeded value"), ("a/there", "the second seeded value")] {
        let name = SecretName::new(name).unwrap();
        store.right.put(&name, PutRequest::new(value)).await.unwrap();
        options = options.seed(name, value);
    }
    let report = run(Arc::new(store), options).await;
    report.assert();
    let passed = |name: &str| {
        report
            .cases
            .iter()
            .any(|case| case.name == name && matches!(case.outcome, Outcome::Passed))
    };
    assert!(passed("get::seeded_secrets_are_read"), "{report}");
    assert!(passed("get_many::seeded_secrets_are_read"), "{report}");
    assert!(passed("list::seeded_secrets_are_listed"), "{report}");
    assert!(passed("capabilities::put_works_or_is_refused"), "{report}");
    assert!(report.ignored() > report.passed(), "{report}");
}
