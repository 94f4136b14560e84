//! Each layer alone, and all of them as the facade lays them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyfob::{
    Actor, AuditLayer, CacheLayer, CacheTimes, Failover, FailoverOptions, FailoverWrites, Layer, LayerSettings, LimitLayer,
    MemoryAudit, MetricsLayer, Result, RetryLayer, SecretManager, SecretManagerBuilder, SecretStore, TraceLayer,
};
use keyfob_audit::{FileAudit, FileAuditOptions, PublicKey, SigningKey, verify};

use crate::places::{Kind, Place};

/// What lies over a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    Nothing,
    Cache,
    Retry,
    Limit,
    /// A list of two stores, of which the second one stands by.
    Failover,
    /// A list of two stores of one kind; writes go to both.
    Replication,
    Metrics,
    Trace,
    Audit,
    /// What an application has, with a second store that stands by, and audit in memory and in a file.
    Everything,
}

/// In the order in which they are run.
pub(crate) const STACKS: [Stack; 10] = [
    Stack::Nothing,
    Stack::Everything,
    Stack::Cache,
    Stack::Retry,
    Stack::Limit,
    Stack::Failover,
    Stack::Replication,
    Stack::Metrics,
    Stack::Trace,
    Stack::Audit,
];

/// A store under its layers.
pub(crate) struct Laid {
    pub(crate) store: Arc<dyn SecretStore>,
    records: Option<Records>,
    /// The second one of a list.
    second: Option<Place>,
}

/// What is recorded of a run.
struct Records {
    memory: Arc<MemoryAudit>,
    log: PathBuf,
    key: PublicKey,
    /// Ends what writes the log.
    close: Box<dyn FnOnce() -> Result<()> + Send>,
}

impl Stack {
    /// Lays it over the store of a place; `None`, told, when there is no such server.
    pub(crate) async fn lay(self, kind: Kind, place: &Place) -> Option<Laid> {
        let (mut records, mut second) = (None, None);
        let store = match self {
            Self::Nothing => place.store().await,
            Self::Cache => CacheLayer::new(times()).layer(place.store().await),
            Self::Retry => RetryLayer::new(patient().retry).unwrap().layer(place.store().await),
            Self::Limit => LimitLayer::default().layer(place.store().await),
            Self::Metrics => MetricsLayer::default().layer(place.store().await),
            Self::Trace => TraceLayer { names: true }.layer(place.store().await),
            Self::Failover => {
                let standby = place.store_at(&place.standby()).await;
                list(place.store().await, standby, FailoverWrites::First)
            }
            Self::Replication => {
                let place_of_second = second.insert(kind.open("a_second_store_of_a_kind").await?);
                list(place.store().await, place_of_second.store().await, FailoverWrites::Replicate)
            }
            Self::Audit => {
                let (store, kept) = Records::of(place.store().await, place);
                records = Some(kept);
                store
            }
            Self::Everything => {
                let (store, kept) = Records::of_application(place).await;
                records = Some(kept);
                store
            }
        };
        Some(Laid { store, records, second })
    }
}

impl Laid {
    /// Looks at what was kept of the run.
    pub(crate) async fn close(self) {
        let Self { store, records, second } = self;
        drop(store);
        if let Some(records) = records {
            records.end();
        }
        if let Some(second) = second {
            second.clean_up().await;
        }
    }
}

impl Records {
    /// The audit layer alone.
    fn of(store: Arc<dyn SecretStore>, place: &Place) -> (Arc<dyn SecretStore>, Self) {
        let (log, signing, memory) = audit_log(place);
        let key = signing.public_key();
        let file = Arc::new(FileAudit::open(FileAuditOptions::new(&log, signing)).unwrap());
        let layer = AuditLayer::new(Actor::default()).sink(memory.clone()).sink(file.clone());
        let close = Box::new(move || file.close());
        (layer.layer(store), Self { memory, log, key, close })
    }

    async fn of_application(place: &Place) -> (Arc<dyn SecretStore>, Self) {
        let (log, signing, memory) = audit_log(place);
        let key = signing.public_key();
        let mut settings = patient();
        settings.audit.directory = Some(log.clone());
        let manager = application(place).layers(settings).audit_sink(memory.clone());
        let manager = manager.build().await.unwrap();
        let store = manager.store().await.unwrap();
        let close = Box::new(move || manager.close_audit());
        (store, Self { memory, log, key, close })
    }

    /// Every record was in both places, and none holds a value.
    fn end(self) {
        (self.close)().unwrap();
        let log = verify(&self.log, &[self.key], &[]).unwrap();
        assert_eq!(log.finding, None);
        assert!(log.accesses > 100, "{log:?}");
        assert_eq!(log.accesses + log.lost, self.memory.total(), "{log:?}");
        for entry in std::fs::read_dir(&self.log).unwrap() {
            let text = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(
                !String::from_utf8_lossy(&text).contains("kfcanary-"),
                "a record holds a value"
            );
        }
    }
}

/// The directory of a log, the key that stands beside it, and the last records in memory.
fn audit_log(place: &Place) -> (PathBuf, SigningKey, Arc<MemoryAudit>) {
    let key = SigningKey::create_file(place.path("audit.key")).unwrap();
    (place.path("audit"), key, Arc::new(MemoryAudit::new(100)))
}

/// An application that names the store first and another one after it.
pub(crate) fn application(place: &Place) -> SecretManagerBuilder {
    let stores = format!("{},{}", place.url, place.standby());
    let environment = place.environment.clone().var("SECRET_PROVIDER", stores).build();
    SecretManager::builder().environment(environment).trace_names(true)
}

/// The defaults, but for how long a store may take: the machine does much else at the same time.
fn patient() -> LayerSettings {
    let long = Duration::from_secs(120);
    let mut settings = LayerSettings::default();
    settings.retry.deadline = 2 * long;
    settings.failover.read_timeout = long;
    settings.failover.write_timeout = long;
    settings
}

fn times() -> CacheTimes {
    CacheTimes::new(Duration::from_secs(300)).hard_max_age(Duration::from_secs(3600))
}

fn list(first: Arc<dyn SecretStore>, second: Arc<dyn SecretStore>, writes: FailoverWrites) -> Arc<dyn SecretStore> {
    let options = FailoverOptions {
        writes,
        ..patient().failover
    };
    let members = [("first", first), ("second", second)];
    Arc::new(Failover::new(options).over(members).unwrap())
}
