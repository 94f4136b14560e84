//! Every access makes exactly one record, however it ends.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod durable;
mod opening;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Actor, AuditFilter, AuditLayer, AuditOutcome, AuditRecord, AuditedStore, CacheLayer, Clock as _, DeleteOptions, Error,
    ErrorKind, Failover, FailoverOptions, FailoverWrites, Freshness, GetOptions, GetRequest, Health, Layer, ListOptions,
    MaybeReady, MemoryAudit, MemoryStore, Metadata, MetricsLayer, Page, PageRequest, PutMode, PutRequest, Reason, Result, Secret,
    SecretName, SecretStore, StoreInfo, Verb, Version, VersionInfo, VersionSelector, VirtualClock, async_trait, stack,
    with_reason,
};

use crate::durable::Durable;

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

struct Bed {
    seen: Arc<MemoryAudit>,
    layer: AuditLayer,
}

impl Bed {
    fn new() -> Self {
        let seen = Arc::new(MemoryAudit::new(100));
        let mut actor = Actor::default();
        actor.user = "jo".into();
        let layer = AuditLayer::new(actor).sink(Arc::clone(&seen) as _);
        Self { seen, layer }
    }

    fn over(&self, inner: impl SecretStore + 'static) -> Arc<dyn SecretStore> {
        self.layer.layer(Arc::new(inner))
    }

    fn records(&self) -> Vec<Arc<AuditRecord>> {
        self.seen.records(&AuditFilter::default())
    }

    /// What the records say, each in a line.
    fn told(&self) -> Vec<String> {
        let told = self.records();
        let told = told.iter().map(|record| {
            format!(
                "{} {} {} {} {}",
                record.verb.as_str(),
                record.name.as_deref().unwrap_or("-"),
                record.version.as_deref().unwrap_or("-"),
                record.outcome.as_str(),
                record.error.map_or("-", ErrorKind::as_str),
            )
        });
        told.collect()
    }

    fn only(&self) -> Arc<AuditRecord> {
        let records = self.records();
        assert_eq!(records.len(), 1, "{records:?}");
        Arc::clone(&records[0])
    }
}

#[tokio::test]
async fn every_verb_makes_one_record_with_its_outcome() {
    let bed = Bed::new();
    let store = bed.over(MemoryStore::new());
    let (a, b) = (name("a"), name("b"));
    store.put(&a, PutRequest::new("kfcanary-audit0001")).await.unwrap();
    store.get(&a, &GetOptions::default()).await.unwrap();
    let requests = [
        GetRequest::new(a.clone()),
        GetRequest::new(b.clone()),
        GetRequest::new(a.clone()),
    ];
    store.get_many(&requests).await;
    let matching = PutRequest::new("x").mode(PutMode::Match(Version::from(9)));
    store.put(&a, matching).await.unwrap_err();
    store.list(&ListOptions::default()).await.unwrap();
    let options = ListOptions {
        prefix: "a".into(),
        ..ListOptions::default()
    };
    store.list(&options).await.unwrap();
    store.versions(&a, &PageRequest::default()).await.unwrap();
    store.delete(&a, &DeleteOptions::default()).await.unwrap();
    store.restore(&a).await.unwrap();
    let previous = GetOptions::version(VersionSelector::Previous);
    store.get(&a, &previous).await.unwrap_err();
    store.health().await.unwrap();
    assert!(store.get_many(&[]).await.is_empty());

    let expected = [
        "put a 1 ok -",
        "get a 1 ok -",
        "get_many a 1 ok -",
        "get_many b - failed not_found",
        "get_many a 1 ok -",
        "put a 9 failed conflict",
        "list - - ok -",
        "list a - ok -",
        "versions a - ok -",
        "delete a - ok -",
        "restore a 1 ok -",
        "get a previous failed not_found",
    ];
    assert_eq!(bed.told(), expected);
    let text = format!("{:?}", bed.records());
    assert!(!text.contains("kfcanary"), "a value was recorded");
    assert!(
        bed.records()
            .iter()
            .all(|record| record.actor.user == "jo" && record.store.name == "memory")
    );
}

#[tokio::test]
async fn of_a_list_the_store_that_answered_is_recorded() {
    let bed = Bed::new();
    let at = |label: &str| MetricsLayer::of_store(label).layer(Arc::new(MemoryStore::new()));
    let far = at("far");
    far.put(&name("b"), PutRequest::new("v")).await.unwrap();
    let options = FailoverOptions {
        not_found_falls_through: true,
        ..FailoverOptions::default()
    };
    let list = Failover::new(options).over([("near", at("near")), ("far", far)]).unwrap();
    let location = list.info().members[1].location.clone();
    // The layer has no need to be right over the list.
    let store = stack(
        Arc::new(list),
        [&CacheLayer::new(Duration::from_secs(60)) as &dyn Layer, &bed.layer],
    );
    store.put(&name("a"), PutRequest::new("v")).await.unwrap();
    for _ in 0..2 {
        store.get(&name("b"), &GetOptions::default()).await.unwrap();
    }
    store.list(&ListOptions::default()).await.unwrap();
    store.get(&name("c"), &GetOptions::default()).await.unwrap_err();
    let records = bed.records();
    let names: Vec<&str> = records.iter().map(|record| &*record.store.name).collect();
    assert_eq!(names, ["near", "far", "far", "near", "near,far"]);
    assert_eq!(*records[1].store, AuditedStore::new("far", "memory", location));
}

#[tokio::test]
async fn of_a_list_the_identity_at_the_store_that_answered_is_recorded() {
    let bed = Bed::new();
    let layer = bed
        .layer
        .clone()
        .workload("a role at `near`; a token at `mid`")
        .workload_at("near", "a role")
        .workload_at("mid", "a token");
    let at = |label: &str, store: Arc<dyn SecretStore>| MetricsLayer::of_store(label).layer(store);
    let (mid, far) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
    mid.put(&name("m"), PutRequest::new("v")).await.unwrap();
    far.put(&name("f"), PutRequest::new("v")).await.unwrap();
    let options = FailoverOptions {
        not_found_falls_through: true,
        ..FailoverOptions::default()
    };
    let stores = [
        ("near", at("near", Arc::new(MemoryStore::new()))),
        ("mid", at("mid", mid)),
        ("far", at("far", far)),
    ];
    let store = layer.layer(Arc::new(Failover::new(options).over(stores).unwrap()));
    store.put(&name("n"), PutRequest::new("v")).await.unwrap();
    for known in ["n", "m", "f"] {
        store.get(&name(known), &GetOptions::default()).await.unwrap();
    }
    store.get(&name("none"), &GetOptions::default()).await.unwrap_err();
    let records = bed.records();
    let workloads: Vec<Option<&str>> = records.iter().map(|record| record.actor.workload.as_deref()).collect();
    assert_eq!(
        workloads,
        [
            Some("a role"),
            Some("a role"),
            Some("a token"),
            None,
            Some("a role at `near`; a token at `mid`")
        ]
    );
}

#[tokio::test]
async fn of_a_list_the_store_that_was_to_be_written_to_is_recorded() {
    for (writes, failed, deleted) in [
        (FailoverWrites::First, "near", "near"),
        (FailoverWrites::Replicate, "near", "near,far"),
    ] {
        let bed = Bed::new();
        let at = |label: &str| MetricsLayer::of_store(label).layer(Arc::new(MemoryStore::new()));
        let options = FailoverOptions {
            writes,
            ..FailoverOptions::default()
        };
        let list = Failover::new(options)
            .over([("near", at("near")), ("far", at("far"))])
            .unwrap();
        let store = bed.over(list);
        let create = || PutRequest::new("v").mode(PutMode::Create);
        store.put(&name("a"), create()).await.unwrap();
        store.put(&name("a"), create()).await.unwrap_err();
        store.delete(&name("a"), &DeleteOptions::default()).await.unwrap();
        store.delete(&name("a"), &DeleteOptions::default()).await.unwrap_err();
        let records = bed.records();
        let names: Vec<&str> = records.iter().map(|record| &*record.store.name).collect();
        assert_eq!(names, ["near", failed, deleted, failed], "{writes:?}");
    }
}

#[tokio::test]
async fn of_a_write_that_not_every_store_has_all_are_recorded() {
    let bed = Bed::new();
    let at = |label: &str, store: Arc<dyn SecretStore>| MetricsLayer::of_store(label).layer(store);
    let options = FailoverOptions {
        writes: FailoverWrites::Replicate,
        ..FailoverOptions::default()
    };
    let stores = [
        ("near", at("near", Arc::new(MemoryStore::new()))),
        ("far", at("far", Arc::new(Scripted::Timeout))),
    ];
    let store = bed.over(Failover::new(options).over(stores).unwrap());
    store.put(&name("a"), PutRequest::new("v")).await.unwrap_err();
    let only = bed.only();
    assert_eq!((&*only.store.name, only.outcome), ("near,far", AuditOutcome::Failed));
}

#[tokio::test]
async fn a_cached_answer_is_recorded_as_one() {
    let bed = Bed::new();
    let cache = CacheLayer::new(Duration::from_secs(60));
    let memory = MemoryStore::new();
    memory.put(&name("a"), PutRequest::new("v")).await.unwrap();
    let store = stack(Arc::new(memory), [&cache as &dyn Layer, &bed.layer]);
    for _ in 0..2 {
        store.get(&name("a"), &GetOptions::default()).await.unwrap();
    }
    let from: Vec<_> = bed.records().iter().map(|record| record.freshness).collect();
    assert_eq!(from, [Some(Freshness::Store), Some(Freshness::Cache)]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_at_hand_is_recorded_as_often_as_it_is_given() {
    let a = name("a");
    let memory = MemoryStore::new();
    memory.put(&a, PutRequest::new("kfcanary-audit0009")).await.unwrap();
    let cache = CacheLayer::new(Duration::from_secs(60));
    let store = stack(Arc::new(memory), [&cache as &dyn Layer, &MetricsLayer::default()]);
    let bed = Bed::new();
    let options = GetOptions::default();

    let audited = bed.layer.layer(Arc::clone(&store));
    let missing = audited.get_maybe_ready(&a, &options);
    assert!(matches!(missing, MaybeReady::Pending(_)), "{missing:?}");
    missing.answer().await.unwrap();
    let hit = audited.get_maybe_ready(&a, &options);
    let MaybeReady::Ready { answer, took } = hit else {
        panic!("{hit:?}");
    };
    assert_eq!(answer.unwrap().metadata.origin.freshness, Freshness::Cache);
    let records = bed.records();
    let seen: Vec<_> = records.iter().map(|record| record.freshness.unwrap()).collect();
    assert_eq!(seen, [Freshness::Store, Freshness::Cache]);
    // Layers above are told what the record says.
    assert_eq!(took, Some(records[1].latency));

    // Its record has to be waited for, so it is not at hand.
    let durable = Arc::new(Durable::default());
    let kept = bed.layer.clone().sink(Arc::clone(&durable) as _).layer(Arc::clone(&store));
    let hit = kept.get_maybe_ready(&a, &options);
    assert!(matches!(hit, MaybeReady::Pending(_)), "{hit:?}");
    hit.answer().await.unwrap();
    assert_eq!((durable.kept.lock().unwrap().len(), bed.records().len()), (1, 3));

    let refusing = bed.layer.clone().require_reason().layer(store);
    let refused = refusing.get_maybe_ready(&a, &options).answer().await.unwrap_err();
    assert_eq!((refused.kind(), bed.records().len()), (ErrorKind::InvalidInput, 4));
}

#[tokio::test]
async fn without_a_reason_nothing_is_accessed_where_one_is_required() {
    let mut bed = Bed::new();
    bed.layer = bed.layer.clone().require_reason();
    // It would never answer.
    let store = bed.over(Scripted::Never);
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let answers = store
        .get_many(&[GetRequest::new(name("a")), GetRequest::new(name("b"))])
        .await;
    assert_eq!(answers.len(), 2);
    store.put(&name("a"), PutRequest::new("v")).await.unwrap_err();
    let records = bed.records();
    assert_eq!(records.len(), 4);
    assert!(
        records
            .iter()
            .all(|record| record.outcome == AuditOutcome::Failed && record.error == Some(ErrorKind::InvalidInput))
    );

    let bed = {
        let mut bed = Bed::new();
        bed.layer = bed.layer.clone().require_reason().reason(Reason::new("batch job").unwrap());
        bed
    };
    let store = bed.over(MemoryStore::new());
    store.put(&name("a"), PutRequest::new("v")).await.unwrap();
    let ticket = Reason::new("ticket 42").unwrap();
    with_reason(ticket, store.get(&name("a"), &GetOptions::default()))
        .await
        .unwrap();
    let reasons: Vec<_> = bed
        .records()
        .iter()
        .map(|record| record.reason.clone().unwrap().to_string())
        .collect();
    assert_eq!(reasons, ["batch job", "ticket 42"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_recorded_once_and_a_dropped_write_as_unknown() {
    let mut bed = Bed::new();
    let day = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let clock = VirtualClock::starting_at(day);
    bed.layer = bed.layer.clone().clock(Arc::new(clock));
    let store = bed.over(Scripted::Never);
    let soon = Duration::from_secs(3);
    clock.sleep(Duration::from_secs(1)).await;
    let (a, options) = (name("a"), GetOptions::default());
    tokio::time::timeout(soon, store.get(&a, &options)).await.unwrap_err();
    let requests = [GetRequest::new(a.clone()), GetRequest::new(name("b"))];
    tokio::time::timeout(soon, store.get_many(&requests)).await.unwrap_err();
    tokio::time::timeout(soon, store.put(&a, PutRequest::new("v")))
        .await
        .unwrap_err();
    tokio::time::timeout(soon, store.delete(&a, &DeleteOptions::default()))
        .await
        .unwrap_err();
    drop(store.get(&a, &options)); // never polled: nothing was accessed
    let records = bed.records();
    let outcomes: Vec<_> = records
        .iter()
        .map(|record| (record.verb, record.outcome, record.error))
        .collect();
    assert_eq!(
        outcomes,
        [
            (Verb::Get, AuditOutcome::Cancelled, None),
            (Verb::GetMany, AuditOutcome::Cancelled, None),
            (Verb::GetMany, AuditOutcome::Cancelled, None),
            (Verb::Put, AuditOutcome::Unknown, None),
            (Verb::Delete, AuditOutcome::Unknown, None),
        ]
    );
    assert_eq!(records[0].time, day + Duration::from_secs(1));
    assert_eq!(records[0].latency.as_secs(), 3);
}

#[tokio::test]
async fn a_panic_below_is_recorded_as_a_failure() {
    let bed = Bed::new();
    let store = bed.over(Scripted::Panic);
    let call = tokio::spawn(async move { store.get(&name("a"), &GetOptions::default()).await.map(|_| ()) });
    assert!(call.await.unwrap_err().is_panic());
    assert_eq!(bed.only().error, Some(ErrorKind::Other));
}

#[tokio::test]
async fn a_write_that_timed_out_is_unknown() {
    let bed = Bed::new();
    let store = bed.over(Scripted::Timeout);
    store.put(&name("a"), PutRequest::new("v")).await.unwrap_err();
    let record = bed.only();
    assert_eq!(
        (record.outcome, record.error),
        (AuditOutcome::Unknown, Some(ErrorKind::Timeout))
    );
}

#[tokio::test]
async fn a_masked_name_is_nowhere_in_the_records() {
    let mut bed = Bed::new();
    bed.layer = bed.layer.clone().mask_names(|name| format!("#{}", name.len()));
    let store = bed.over(MemoryStore::new());
    store.get(&name("payroll"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(bed.only().name.as_deref(), Some("#7"));
    assert!(!format!("{:?}", bed.records()).contains("payroll"));
}

#[tokio::test]
async fn the_oldest_record_goes_when_the_memory_is_full() {
    let seen = Arc::new(MemoryAudit::new(2));
    let store = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&seen) as _)
        .layer(Arc::new(MemoryStore::new()));
    for text in ["a", "b", "c"] {
        store.get(&name(text), &GetOptions::default()).await.unwrap_err();
    }
    let names: Vec<_> = seen
        .records(&AuditFilter::default())
        .iter()
        .filter_map(|record| record.name.clone())
        .collect();
    assert_eq!(names, ["b".into(), "c".into()]);
    assert_eq!(seen.total(), 3);
}

/// A store that does the same whatever is asked.
#[derive(Debug, Clone, Copy)]
enum Scripted {
    Never,
    Panic,
    Timeout,
}

impl Scripted {
    async fn act<T>(self) -> Result<T> {
        match self {
            Self::Never => pending().await,
            Self::Panic => panic!("the store panics"),
            Self::Timeout => Err(Error::new(ErrorKind::Timeout, "no answer")),
        }
    }
}

#[async_trait]
impl SecretStore for Scripted {
    fn info(&self) -> &StoreInfo {
        static INFO: std::sync::OnceLock<StoreInfo> = std::sync::OnceLock::new();
        INFO.get_or_init(|| StoreInfo::new("scripted", "here", keyfob_core::Capabilities::FULL))
    }

    async fn get(&self, _: &SecretName, _: &GetOptions) -> Result<Secret> {
        self.act().await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        vec![self.act().await; requests.len()]
    }

    async fn put(&self, _: &SecretName, _: PutRequest) -> Result<Metadata> {
        self.act().await
    }

    async fn delete(&self, _: &SecretName, _: &DeleteOptions) -> Result<()> {
        self.act().await
    }

    async fn restore(&self, _: &SecretName) -> Result<Metadata> {
        self.act().await
    }

    async fn list(&self, _: &ListOptions) -> Result<Page<Metadata>> {
        self.act().await
    }

    async fn versions(&self, _: &SecretName, _: &PageRequest) -> Result<Page<VersionInfo>> {
        self.act().await
    }

    async fn health(&self) -> Result<Health> {
        self.act().await
    }
}
