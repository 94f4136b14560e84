//! Sinks that promise to keep records: nothing without its record, and no wait without an end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use keyfob_core::{
    Actor, AuditLayer, AuditOutcome, AuditReceipt, AuditRecord, AuditSink, AuditedStore, Clock as _, Error, ErrorKind,
    GetOptions, GetRequest, Intent, Layer as _, MemoryAudit, MemoryStore, PutRequest, Result, RetryLayer, RetryOptions,
    SecretStore as _, Verb, VirtualClock,
};

use crate::name;

#[tokio::test]
async fn nothing_is_handed_out_that_a_durable_sink_did_not_keep() {
    let memory = MemoryStore::new();
    memory.put(&name("a"), PutRequest::new("kfcanary-audit0002")).await.unwrap();
    let durable = Arc::new(Durable::default());
    let seen = Arc::new(MemoryAudit::new(10));
    let store = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&seen) as _)
        .sink(Arc::clone(&durable) as _)
        .layer(Arc::new(memory));
    store.get(&name("a"), &GetOptions::default()).await.unwrap();

    durable.is_broken.store(true, Ordering::SeqCst);
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(format!("{error:?}").contains("the disk is full"), "{error:?}");
    let answers = store.get_many(&[GetRequest::new(name("a"))]).await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    // It was done, so it must not look as if it could simply be sent again.
    let error = store.put(&name("b"), PutRequest::new("v")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);

    durable.is_known_broken.store(true, Ordering::SeqCst);
    let error = store.put(&name("c"), PutRequest::new("v")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    durable.is_broken.store(false, Ordering::SeqCst);
    durable.is_known_broken.store(false, Ordering::SeqCst);
    let error = store.get(&name("c"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "a refused write was done");
    assert_eq!(seen.total(), 6, "every sink gets every record");
    assert_eq!(durable.kept.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_record_is_within_the_deadline_of_the_access() {
    let memory = MemoryStore::new();
    memory.put(&name("a"), PutRequest::new("kfcanary-audit0003")).await.unwrap();
    let clock = Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH));
    let options = RetryOptions {
        deadline: Duration::from_millis(500),
        ..RetryOptions::default()
    };
    let retried = RetryLayer::new(options).unwrap().clock(clock.clone());
    let disk = Arc::new(Hanging::default());
    let audit = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&disk) as _)
        .clock(clock.clone());
    let store = audit.layer(retried.layer(Arc::new(memory)));
    let took = |began: Duration| (clock.now() - began).as_millis();

    disk.takes(499);
    let began = clock.now();
    store.get(&name("a"), &GetOptions::default()).await.unwrap();
    assert_eq!(took(began), 499);

    disk.takes(60_000);
    let began = clock.now();
    let error = store.get(&name("a"), &GetOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), took(began)), (ErrorKind::Timeout, 500));
    assert!(error.to_string().contains("audit record"), "{error}");
    // The sink says what it is about.
    let below = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        below.contains("the disk is slow") && error.hint() == Some("wait"),
        "{error:?}"
    );
    // That there is no such secret is an answer, too.
    let error = store.get(&name("b"), &GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let began = clock.now();
    let answers = store.get_many(&["a", "b", "a"].map(|text| GetRequest::new(name(text)))).await;
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap_err().kind()).collect();
    assert_eq!((kinds, took(began)), (vec![ErrorKind::Timeout; 3], 500));
    let error = store.put(&name("b"), PutRequest::new("v")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);

    // Every record was taken over, and says how the store answered.
    let told: Vec<_> = disk.taken.lock().unwrap().iter().map(|record| record.outcome).collect();
    let (ok, failed) = (AuditOutcome::Ok, AuditOutcome::Failed);
    assert_eq!(told, [ok, ok, failed, ok, failed, ok, ok]);
}

#[tokio::test(start_paused = true)]
async fn who_can_not_open_a_store_waits_for_its_record_within_the_deadline_too() {
    let clock = Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH));
    let disk = Arc::new(Hanging::default());
    disk.takes(60_000);
    let audit = AuditLayer::new(Actor::default())
        .sink(Arc::clone(&disk) as _)
        .clock(clock.clone())
        .deadline(Duration::from_millis(500));
    let store = AuditedStore::new("prod", "vault", "https://vault.example:8200");
    let refused = async {
        clock.sleep(Duration::from_millis(200)).await;
        Err::<(), _>(Error::new(ErrorKind::Unauthenticated, "no"))
    };
    let began = clock.now();
    let error = audit
        .opening(store, &Intent::of(Verb::Put, &name("a")), refused)
        .await
        .unwrap_err();
    assert_eq!((error.kind(), (clock.now() - began).as_millis()), (ErrorKind::Timeout, 500));
    assert!(error.to_string().contains("withheld"), "{error}");
    assert_eq!(disk.taken.lock().unwrap().len(), 1);
}

/// A durable sink whose disk takes its time.
#[derive(Debug, Default)]
struct Hanging {
    milliseconds: AtomicU64,
    taken: Mutex<Vec<Arc<AuditRecord>>>,
}

impl Hanging {
    fn takes(&self, milliseconds: u64) {
        self.milliseconds.store(milliseconds, Ordering::SeqCst);
    }
}

impl AuditSink for Hanging {
    fn record(&self, record: AuditRecord) -> AuditReceipt {
        self.taken.lock().unwrap().push(Arc::new(record));
        let time = Duration::from_millis(self.milliseconds.load(Ordering::SeqCst));
        AuditReceipt::Pending(Box::pin(async move {
            tokio::time::sleep(time).await;
            Ok(())
        }))
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }

    fn delay(&self) -> Option<Error> {
        Some(Error::new(ErrorKind::Unavailable, "the disk is slow").with_hint("wait"))
    }
}

/// A sink that promises to keep records, until it breaks.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    is_broken: AtomicBool,
    pub(crate) is_known_broken: AtomicBool,
    pub(crate) kept: Mutex<Vec<Arc<AuditRecord>>>,
}

fn disk_full() -> Error {
    Error::new(ErrorKind::Unavailable, "the disk is full")
}

impl AuditSink for Durable {
    fn record(&self, record: AuditRecord) -> AuditReceipt {
        let is_broken = self.is_broken.load(Ordering::SeqCst);
        if !is_broken {
            self.kept.lock().unwrap().push(Arc::new(record));
        }
        AuditReceipt::Pending(Box::pin(async move {
            tokio::task::yield_now().await;
            if is_broken { Err(disk_full()) } else { Ok(()) }
        }))
    }

    fn ready(&self) -> Result<()> {
        if self.is_known_broken.load(Ordering::SeqCst) {
            Err(disk_full())
        } else {
            Ok(())
        }
    }
}
