//! Stores in memory that lack something, fail, or are written to by somebody else.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use keyfob_core::copy::{self, CopyOptions, CopyOutcome, CopyReport, Difference};
use keyfob_core::{
    Capabilities, Change, DeleteOptions, Error, ErrorKind, Expired, GetOptions, GetRequest, Health, ListOptions, MemoryStore,
    Metadata, Page, PageRequest, PutRequest, Result, Secret, SecretName, SecretStore, SecretValue, StoreInfo, VersionInfo,
    async_trait,
};

/// What goes wrong with every write, or just before it.
pub(crate) enum Fault {
    None,
    /// Nobody hears that it was done.
    AnswerIsLost,
    /// It is not done, and nobody hears of it.
    RequestIsLost,
    Denied,
    /// Other bytes are kept.
    KeepsOtherBytes,
    /// The tags are lost.
    LosesTags,
    /// The first look after it does not find it.
    IsSeenLate,
    /// Somebody else writes this just before.
    OvertakenBy(&'static str),
    /// Somebody else writes this just after.
    FollowedBy(&'static str),
    /// It takes a while.
    Slow,
    /// A listing does not show it yet.
    IsListedLate,
    /// Each batch fails, and its parts do not.
    BatchesFail,
}

/// A store in memory with fewer capabilities or a fault. Counts what is asked of it.
pub(crate) struct Store {
    pub(crate) right: MemoryStore,
    info: StoreInfo,
    fault: Fault,
    hidden_reads: AtomicUsize,
    pub(crate) puts: AtomicUsize,
    pub(crate) at_once: Peak,
    /// Values that were read here and not written there yet, when both ends share it.
    pub(crate) in_flight: Arc<Peak>,
    pub(crate) calls: AtomicUsize,
    pub(crate) batches: AtomicUsize,
}

/// How many there are, and how many there ever were.
#[derive(Default)]
pub(crate) struct Peak {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Peak {
    fn add(&self, count: usize) {
        let now = self.now.fetch_add(count, Ordering::SeqCst) + count;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn sub(&self, count: usize) {
        let _ = self
            .now
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| Some(now.saturating_sub(count)));
    }

    pub(crate) fn reset(&self) {
        self.now.store(0, Ordering::SeqCst);
        self.most.store(0, Ordering::SeqCst);
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Store {
    pub(crate) fn new() -> Arc<Self> {
        Self::with(|_| {}, Fault::None)
    }

    pub(crate) fn failing(fault: Fault) -> Arc<Self> {
        Self::with(|_| {}, fault)
    }

    pub(crate) fn with(restrict: impl FnOnce(&mut Capabilities), fault: Fault) -> Arc<Self> {
        Self::sharing(restrict, fault, Arc::default())
    }

    pub(crate) fn sharing(restrict: impl FnOnce(&mut Capabilities), fault: Fault, in_flight: Arc<Peak>) -> Arc<Self> {
        let mut can = Capabilities::FULL;
        restrict(&mut can);
        Arc::new(Self::described(
            StoreInfo::new("memory", "this process", can),
            fault,
            in_flight,
        ))
    }

    /// One that says this about itself.
    pub(crate) fn at(info: StoreInfo) -> Arc<Self> {
        Arc::new(Self::described(info, Fault::None, Arc::default()))
    }

    fn described(info: StoreInfo, fault: Fault, in_flight: Arc<Peak>) -> Self {
        Self {
            right: MemoryStore::new(),
            info,
            fault,
            hidden_reads: AtomicUsize::new(0),
            puts: AtomicUsize::new(0),
            at_once: Peak::default(),
            in_flight,
            calls: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
        }
    }

    /// Writes past every fault.
    pub(crate) async fn add(&self, name: &str, value: &str) {
        self.put_with(name, value, |_| {}).await;
    }

    pub(crate) async fn put_with(&self, name: &str, value: &str, change: impl FnOnce(&mut PutRequest)) {
        let mut request = PutRequest::new(canary(value));
        change(&mut request);
        self.right.put(&self::name(name), request).await.unwrap();
    }

    /// Whether the current value is this one.
    pub(crate) async fn has(&self, name: &str, value: &str) -> bool {
        let options = GetOptions {
            expired: Expired::Allow,
            ..GetOptions::default()
        };
        let secret = self.right.get(&self::name(name), &options).await;
        secret.is_ok_and(|secret| secret.value.expose_secret() == canary(value).expose_secret())
    }

    pub(crate) async fn versions_of(&self, name: &str) -> usize {
        let page = self.right.versions(&self::name(name), &PageRequest::default()).await;
        page.unwrap().items.len()
    }

    pub(crate) async fn metadata_of(&self, name: &str) -> Metadata {
        self.right
            .get(&self::name(name), &GetOptions::default())
            .await
            .unwrap()
            .metadata
            .as_ref()
            .clone()
    }

    async fn faulty_put(&self, name: &SecretName, mut request: PutRequest) -> Result<Metadata> {
        let timeout = || Err(Error::new(ErrorKind::Timeout, "no answer came"));
        match self.fault {
            Fault::None | Fault::IsListedLate | Fault::BatchesFail => self.right.put(name, request).await,
            Fault::AnswerIsLost => {
                self.right.put(name, request).await?;
                timeout()
            }
            Fault::RequestIsLost => timeout(),
            Fault::Denied => Err(Error::new(ErrorKind::PermissionDenied, "not allowed to write")),
            Fault::KeepsOtherBytes => {
                request.value = Some(canary("other"));
                self.right.put(name, request).await
            }
            Fault::LosesTags => {
                request.tags = Change::Clear;
                self.right.put(name, request).await
            }
            Fault::IsSeenLate => {
                self.hidden_reads.store(1, Ordering::SeqCst);
                self.right.put(name, request).await
            }
            Fault::OvertakenBy(value) => {
                self.right.put(name, PutRequest::new(canary(value))).await?;
                self.right.put(name, request).await
            }
            Fault::FollowedBy(value) => {
                let written = self.right.put(name, request).await;
                self.right.put(name, PutRequest::new(canary(value))).await?;
                written
            }
            Fault::Slow => {
                tokio::time::sleep(Duration::from_millis(2)).await;
                self.right.put(name, request).await
            }
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

#[async_trait]
impl SecretStore for Store {
    fn info(&self) -> &StoreInfo {
        &self.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.info.capabilities.check_get(name, options)?;
        let hidden = self
            .hidden_reads
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if hidden.is_ok() {
            return Err(Error::new(ErrorKind::NotFound, "no such secret yet"));
        }
        self.calls.fetch_add(1, Ordering::SeqCst);
        if options.expired == Expired::Refuse {
            // The source is asked so, the target never.
            self.in_flight.add(1);
        }
        self.right.get(name, options).await
    }

    /// Without description and tags, as the batch call of a service.
    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        if matches!(self.fault, Fault::BatchesFail) {
            let fails = |_| Err(Error::new(ErrorKind::Unavailable, "the service fails"));
            return requests.iter().map(fails).collect();
        }
        let mut answers = self.right.get_many(requests).await;
        for secret in answers.iter_mut().flatten() {
            secret.metadata_mut().description = None;
            secret.metadata_mut().tags.clear();
        }
        answers
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        self.info.capabilities.check_put(name, &request)?;
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.at_once.add(1);
        let written = self.faulty_put(name, request).await;
        self.at_once.sub(1);
        self.in_flight.sub(1);
        written
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        self.right.delete(name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        self.right.restore(name).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        self.info.capabilities.check_list(options)?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        if matches!(self.fault, Fault::IsListedLate) {
            return Ok(Page {
                items: Vec::new(),
                next: None,
            });
        }
        let mut options = options.clone();
        // Small pages, so that there are several.
        options.page.limit = Some(7);
        self.right.list(&options).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.right.versions(name, page).await
    }

    async fn health(&self) -> Result<Health> {
        self.right.health().await
    }
}

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// A value that no output may show.
pub(crate) fn canary(value: &str) -> SecretValue {
    SecretValue::from(format!("kfcanary-copytest-{value}"))
}

pub(crate) fn in_an_hour() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3600)
}

pub(crate) fn an_hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_secs(3600)
}

pub(crate) fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn overwrite() -> CopyOptions {
    let mut options = CopyOptions::default();
    options.overwrite = true;
    options
}

pub(crate) async fn planned(from: &Arc<Store>, to: &Arc<Store>, options: CopyOptions) -> CopyReport {
    let plan = copy::plan(from.clone(), to.clone(), options, |_| {}).await.unwrap();
    assert!(!format!("{plan:?}").contains("kfcanary"));
    plan.report()
}

pub(crate) async fn copied(from: &Arc<Store>, to: &Arc<Store>, options: CopyOptions) -> CopyReport {
    let plan = copy::plan(from.clone(), to.clone(), options, |_| {}).await.unwrap();
    plan.carry_out(|_| {}).await
}

/// What became of every secret, in words: `name created`, `name left value`, `name failed conflict`.
pub(crate) fn words(report: &CopyReport) -> Vec<String> {
    let words = report.entries.iter().map(|entry| {
        let more = match &entry.outcome {
            CopyOutcome::Changed(Difference::Value) | CopyOutcome::Left(Difference::Value) => " value",
            CopyOutcome::Changed(Difference::Metadata) | CopyOutcome::Left(Difference::Metadata) => " metadata",
            CopyOutcome::Changed(Difference::Reference) | CopyOutcome::Left(Difference::Reference) => " reference",
            CopyOutcome::Failed(error) => {
                assert!(!format!("{error:?}").contains("kfcanary"));
                assert!(error.to_string().contains(entry.name.as_str()), "{error} names no secret");
                return format!("{} failed {}", entry.name, error.kind());
            }
            CopyOutcome::Created | CopyOutcome::Unchanged => "",
        };
        format!("{} {}{more}", entry.name, entry.outcome.as_str())
    });
    words.collect()
}
