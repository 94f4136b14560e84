//! The harness itself: known deviations, selection, time limits, clean-up, the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyfob_core::{
    DeleteOptions, Error, ErrorKind, GetOptions, GetRequest, Health, ListOptions, MemoryStore, Metadata, Page, PageRequest,
    PutRequest, Result, Secret, SecretName, SecretStore, StoreInfo, VersionInfo, async_trait,
};
use keyfob_testkit::{Context, Outcome, RunOptions, cases, run};

/// A memory store whose health and names can be broken, and which counts deletes.
#[derive(Debug, Default)]
struct Broken {
    right: MemoryStore,
    health: Option<BrokenHealth>,
    deletes: AtomicUsize,
    delete_fails: bool,
}

#[derive(Debug, Clone, Copy)]
enum BrokenHealth {
    Fails,
    Hangs,
    Panics,
}

#[async_trait]
impl SecretStore for Broken {
    fn info(&self) -> &StoreInfo {
        self.right.info()
    }
    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.right.get(name, options).await
    }
    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.right.get_many(requests).await
    }
    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.right.put(name, request).await
    }
    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        if self.delete_fails {
            return Err(Error::new(ErrorKind::Unavailable, "no delete today").with("name", name.as_str()));
        }
        self.right.delete(name, options).await?;
        self.deletes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.right.restore(name).await
    }
    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.right.list(options).await
    }
    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.right.versions(name, page).await
    }
    async fn health(&self) -> Result<Health> {
        match self.health {
            None => self.right.health().await,
            Some(BrokenHealth::Fails) => Err(Error::new(ErrorKind::Unavailable, "not well")),
            Some(BrokenHealth::Hangs) => std::future::pending().await,
            Some(BrokenHealth::Panics) => panic!("not well at all"),
        }
    }
}

fn broken(health: BrokenHealth) -> Arc<Broken> {
    Arc::new(Broken {
        health: Some(health),
        ..Broken::default()
    })
}

#[tokio::test]
async fn a_known_deviation_is_shown_with_its_reason_and_does_not_fail() {
    let options = RunOptions::new()
        .only("health")
        .known_deviation("health::is_ok", "it is never well");
    let report = run(broken(BrokenHealth::Fails), options).await;
    report.assert();
    assert_eq!((report.failed(), report.deviating()), (0, 1));
    let shown = report.to_string();
    assert!(
        shown.contains("health::is_ok ... deviates (it is never well): health: unavailable: not well"),
        "{shown}"
    );
    assert_eq!(
        report.summary(),
        "conformance memory: 2 passed, 0 ignored, 0 failed, 1 known deviation"
    );
}

#[tokio::test]
async fn a_known_deviation_that_passes_fails() {
    let options = RunOptions::new().only("health").known_deviation("health::is_ok", "once");
    let report = run(Arc::new(MemoryStore::new()), options).await;
    assert_eq!(report.failed(), 1);
    assert!(report.to_string().contains("take it off the list"), "{report}");
}

#[tokio::test]
async fn a_known_deviation_that_is_ignored_fails() {
    let name = "get::seeded_secrets_are_read";
    let options = RunOptions::new().only(name).known_deviation(name, "no seeds");
    let report = run(Arc::new(MemoryStore::new()), options).await;
    assert_eq!(report.failed(), 1, "{report}");
}

#[tokio::test]
async fn a_case_that_does_not_exist_fails() {
    let options = RunOptions::new().only("health").known_deviation("health::is_okay", "typo");
    assert_eq!(run(Arc::new(MemoryStore::new()), options).await.failed(), 1);
    let options = RunOptions::new().only("heath");
    assert_eq!(run(Arc::new(MemoryStore::new()), options).await.failed(), 1);
}

#[tokio::test]
async fn one_case_or_one_module_can_be_run() {
    let report = run(
        Arc::new(MemoryStore::new()),
        RunOptions::new().only("get::returns_what_was_put"),
    )
    .await;
    assert_eq!(report.summary(), "conformance memory: 1 passed, 0 ignored, 0 failed");
    let report = run(Arc::new(MemoryStore::new()), RunOptions::new().only("get")).await;
    assert_eq!(report.cases.len(), cases::get::CASES.len());
}

#[tokio::test]
async fn a_case_without_an_end_fails_after_the_limit() {
    let options = RunOptions::new().only("health::is_ok").time_limit(Duration::from_millis(20));
    let report = run(broken(BrokenHealth::Hangs), options).await;
    assert!(report.to_string().contains("FAILED: no end after 20ms"), "{report}");
}

#[tokio::test]
async fn a_panic_fails_its_case_only() {
    let report = run(broken(BrokenHealth::Panics), RunOptions::new().only("health::is_ok")).await;
    assert!(report.to_string().contains("the store panicked: not well at all"), "{report}");
}

#[tokio::test]
#[should_panic(expected = "health::is_ok: health: unavailable: not well")]
async fn assert_panics_with_the_failures() {
    run(broken(BrokenHealth::Fails), RunOptions::new().only("health"))
        .await
        .assert();
}

#[tokio::test]
#[should_panic(expected = "nothing was proven")]
async fn assert_panics_when_nothing_ran() {
    let options = RunOptions::new().only("get::seeded_secrets_are_read");
    run(Arc::new(MemoryStore::new()), options).await.assert();
}

#[tokio::test]
async fn what_a_case_wrote_is_deleted_even_if_it_is_still_deleted_softly() {
    let store = Arc::new(Broken::default());
    let report = run(store.clone(), RunOptions::new()).await;
    report.assert();
    assert!(store.deletes.load(Ordering::SeqCst) > 100);
    for deleted in [keyfob_core::Deleted::Exclude, keyfob_core::Deleted::Only] {
        let options = ListOptions {
            deleted,
            ..ListOptions::default()
        };
        assert!(store.list(&options).await.unwrap().items.is_empty());
    }
}

#[tokio::test]
async fn what_can_not_be_cleaned_up_is_reported() {
    let store = Broken {
        delete_fails: true,
        ..Broken::default()
    };
    let report = run(Arc::new(store), RunOptions::new().only("get::returns_what_was_put")).await;
    report.assert();
    assert_eq!(report.leftovers.len(), 1);
    assert!(
        report
            .to_string()
            .contains("left behind: get::returns_what_was_put: unavailable"),
        "{report}"
    );
}

#[tokio::test]
async fn cases_are_functions_that_can_be_called_by_hand() {
    let context = Context::new(Arc::new(MemoryStore::new()));
    cases::get::returns_what_was_put(&context).await.unwrap();
    assert!(!format!("{context:?}").contains(context.canary()));
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<&str> = cases::all().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(cases::all().all(|case| case.name.starts_with(&format!("{}::", case.verb))));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_on_a_runtime_with_many_threads() {
    let report = run(Arc::new(MemoryStore::new()), RunOptions::new()).await;
    report.assert();
    assert!(
        report
            .cases
            .iter()
            .all(|case| !matches!(&case.outcome, Outcome::Ignored(why) if why != "seeded secrets"))
    );
}
