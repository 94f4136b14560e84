use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use metrics::{CounterFn, GaugeFn, HistogramFn, Key, KeyName, Recorder, SharedString, Unit};

use super::*;
use crate::cache::CacheLayer;
use crate::clock::VirtualClock;
use crate::memory::MemoryStore;

/// Keeps every number under its name and labels.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Arc<Number>>>);

#[derive(Debug, Default)]
struct Number(AtomicU64, Mutex<Vec<f64>>);

impl CounterFn for Number {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
    fn absolute(&self, _: u64) {}
}

impl GaugeFn for Number {
    fn increment(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn decrement(&self, _: f64) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
    fn set(&self, _: f64) {}
}

impl HistogramFn for Number {
    fn record(&self, value: f64) {
        self.1.lock().unwrap().push(value);
    }
}

impl Kept {
    fn number(&self, key: &Key) -> Arc<Number> {
        let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
        let text = format!("{} {}", key.name(), labels.join(" "));
        Arc::clone(self.0.lock().unwrap().entry(text).or_default())
    }

    fn count(&self, key: &str) -> u64 {
        self.0
            .lock()
            .unwrap()
            .get(key)
            .map_or(0, |number| number.0.load(Ordering::Relaxed))
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &metrics::Metadata<'_>) -> Counter {
        self.number(key).into()
    }
    fn register_gauge(&self, key: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        self.number(key).into()
    }
    fn register_histogram(&self, key: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        self.number(key).into()
    }
}

/// Takes a second for each read, which is the time that the clock of the test shows.
fn slow(inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
    #[derive(Debug)]
    struct Slow(Arc<dyn SecretStore>);
    #[async_trait]
    impl SecretStore for Slow {
        fn info(&self) -> &StoreInfo {
            self.0.info()
        }
        async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.get(name, options).await
        }
        async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.get_many(requests).await
        }
        async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
            self.0.put(name, request).await
        }
        async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
            self.0.delete(name, options).await
        }
        async fn restore(&self, name: &SecretName) -> Result<Metadata> {
            self.0.restore(name).await
        }
        async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
            self.0.list(options).await
        }
        async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
            self.0.versions(name, page).await
        }
        async fn health(&self) -> Result<Health> {
            self.0.health().await
        }
    }
    Arc::new(Slow(inner))
}

#[tokio::test(start_paused = true)]
async fn every_call_is_counted_once_and_measured_and_no_name_is_told() {
    let kept = Kept::default();
    let layer = MetricsLayer {
        clock: Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH)),
    };
    let cached = CacheLayer::new(Duration::from_secs(100)).layer(slow(Arc::new(MemoryStore::new())));
    let store = metrics::with_local_recorder(&kept, || layer.layer(cached));
    let name = |text: &str| SecretName::new(text).unwrap();
    let value = PutRequest::new("kfcanary-measured1");
    // The counters of an outcome are made when it is first met, so the recorder has to be there then too.
    let _recorder = metrics::set_default_local_recorder(&kept);

    store.put(&name("secret-name"), value).await.unwrap();
    for _ in 0..3 {
        store.get(&name("secret-name"), &GetOptions::default()).await.unwrap();
    }
    store.get(&name("other-name"), &GetOptions::default()).await.unwrap_err();
    store
        .get_many(&[GetRequest::new(name("secret-name")), GetRequest::new(name("other-name"))])
        .await;
    let third = name("third");
    let options = GetOptions::default();
    let cancelled = tokio::time::timeout(Duration::from_millis(10), store.get(&third, &options));
    cancelled.await.unwrap_err();

    let count = |key: &str| kept.count(key);
    assert_eq!(count("keyfob_requests_total memory put ok"), 1);
    assert_eq!(count("keyfob_requests_total memory get ok"), 3);
    assert_eq!(count("keyfob_requests_total memory get not_found"), 1);
    assert_eq!(count("keyfob_requests_total memory get cancelled"), 1);
    assert_eq!(count("keyfob_requests_total memory get_many ok"), 1);
    assert_eq!(count("keyfob_requests_total memory get_many not_found"), 1);
    assert_eq!(count("keyfob_answers_total memory store"), 1);
    assert_eq!(count("keyfob_answers_total memory cache"), 3);
    assert_eq!(count("keyfob_answers_total memory stale"), 0);
    assert_eq!(count("keyfob_in_flight memory"), 0);
    let took = kept.number(&Key::from_parts(
        "keyfob_request_duration_seconds",
        vec![metrics::Label::new("store", "memory"), metrics::Label::new("verb", "get")],
    ));
    let took: Vec<f64> = took.1.lock().unwrap().iter().map(|seconds| seconds.round()).collect();
    assert_eq!(took, [1.0, 0.0, 0.0, 1.0]);
    let keys: Vec<String> = kept.0.lock().unwrap().keys().cloned().collect();
    assert!(keys.iter().all(|key| !key.contains("-name")), "{keys:?}");
}
