//! The audited store: one record for each access, however it ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::AuditLayer;
use super::intent::{Intent, Subject, asked};
use super::receipts::{Receipts, settle};
use super::record::{Actor, AuditOutcome, AuditRecord, AuditedStore, Reason, reason_here};
use super::sink::{AuditReceipt, AuditSink};
use crate::error::{Error, ErrorKind, Result};
use crate::failover::ReplicationError;
use crate::maybe_ready::MaybeReady;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutMode, PutRequest};
use crate::secret::{Freshness, Metadata, Origin, Secret, Version, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};
use crate::verb::Verb;

pub(super) fn audited(mut layer: AuditLayer, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
    let info = inner.info();
    layer.deadline = info.deadline;
    Arc::new(Audited {
        opened_in: AtomicU64::new(u64::try_from(layer.opened_in.as_nanos()).unwrap_or(u64::MAX)),
        asked: Place {
            store: Arc::new(AuditedStore::of(info)),
            actor: Arc::clone(&layer.actor),
        },
        members: info.members.iter().map(|member| Place::of_member(&layer, member)).collect(),
        layer,
        replicates: info.replicates,
        inner,
    })
}

struct Audited {
    layer: AuditLayer,
    inner: Arc<dyn SecretStore>,
    asked: Place,
    /// The stores of a list, any of which may answer.
    members: Vec<Place>,
    replicates: bool,
    /// What is left to tell of the time that opening the store took, in nanoseconds: zero once an access has told it.
    opened_in: AtomicU64,
}

/// A store that is accessed, and as whom.
struct Place {
    store: Arc<AuditedStore>,
    actor: Arc<Actor>,
}

impl Place {
    fn of_member(layer: &AuditLayer, member: &StoreInfo) -> Self {
        let actor = match layer.workloads.get(&*member.label) {
            None if layer.workloads.is_empty() => Arc::clone(&layer.actor),
            known => {
                let mut actor = Actor::clone(&layer.actor);
                actor.workload = known.cloned();
                Arc::new(actor)
            }
        };
        Self {
            store: Arc::new(AuditedStore::of(member)),
            actor,
        }
    }
}

impl fmt::Debug for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audited").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// An access under way. If it goes before it was [finished](Self::finish), its caller went away.
///
/// Only what the record can't be made without later is held: the record itself is made once, at the end.
struct Access<'a> {
    layer: &'a AuditLayer,
    verb: Verb,
    /// Whether something may have been written when its answer does not come.
    may_write: bool,
    /// The store that is asked.
    store: &'a Place,
    /// The stores of a list, any of which may answer.
    members: &'a [Place],
    name: Option<Arc<str>>,
    /// The version that is asked for.
    version: Option<Arc<str>>,
    reason: Option<Reason>,
    time: SystemTime,
    /// When it began to wait for the store; `None` where it did not have to.
    waits_since: Option<Duration>,
    /// How long it had waited for the store to be opened.
    opened_in: Duration,
    is_recorded: bool,
}

/// What an answer says of itself.
#[derive(Default)]
struct Told<'a> {
    origin: Option<&'a Origin>,
    version: Option<&'a Version>,
    freshness: Option<Freshness>,
}

/// Opens a store for accesses, which are recorded if they can't be made.
pub(super) async fn opening<T>(
    layer: &AuditLayer,
    store: AuditedStore,
    intent: &Intent,
    open: impl Future<Output = Result<T>>,
) -> Result<T> {
    let place = Place {
        store: Arc::new(store),
        actor: Arc::clone(&layer.actor),
    };
    let waits_since = Some(layer.clock.now());
    let begin = |subject: Option<&Subject>| {
        let mut access = Access::begin(layer, &place, &[], intent.verb);
        access.may_write = false;
        access.waits_since = waits_since;
        access.name = subject.and_then(|subject| layer.masked(Some(Arc::clone(&subject.name))));
        access.version = subject.and_then(|subject| subject.version.clone());
        access
    };
    let mut accesses: Vec<Access<'_>> = match intent.subjects.as_slice() {
        [] => vec![begin(None)],
        subjects => subjects.iter().map(|subject| begin(Some(subject))).collect(),
    };
    let opened = match accesses[0].admitted() {
        Ok(()) => open.await,
        Err(refusal) => Err(refusal),
    };
    if opened.is_ok() {
        // Their records are made when they are.
        accesses.iter_mut().for_each(|access| access.is_recorded = true);
        return opened;
    }
    let end = |access: &mut Access<'_>| access.finish(&opened, access.latency(), |_| Told::default());
    let receipts = accesses.iter_mut().flat_map(end).collect();
    settle(layer, waits_since, receipts, opened, false).await
}

impl AuditLayer {
    fn masked(&self, name: Option<Arc<str>>) -> Option<Arc<str>> {
        match &self.mask {
            Some(mask) => name.map(|name| mask(&name).into()),
            None => name,
        }
    }
}

impl Audited {
    #[inline(always)]
    fn begin(&self, verb: Verb, name: Option<Arc<str>>, version: Option<Arc<str>>) -> Access<'_> {
        let mut access = Access::begin(&self.layer, &self.asked, &self.members, verb);
        access.name = self.layer.masked(name);
        access.version = version;
        access.opened_in = self.opened_in();
        access
    }

    /// How long the access that begins has waited for the store to be opened.
    #[inline(always)]
    fn opened_in(&self) -> Duration {
        match self.opened_in.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            _ => Duration::from_nanos(self.opened_in.swap(0, Ordering::Relaxed)),
        }
    }

    fn begin_write(&self, verb: Verb, name: &SecretName, version: Option<Arc<str>>) -> Access<'_> {
        let mut access = self.begin(verb, Some(name.shared()), version);
        if !self.replicates {
            access.store = self.first();
        }
        access
    }

    async fn end_write<T>(&self, mut access: Access<'_>, answer: Result<T>, tell: impl FnOnce(&T) -> Told<'_>) -> Result<T> {
        // The others are not asked before the first one has the write.
        if answer.as_ref().is_err_and(|error| !is_of_replicas(error)) {
            access.store = self.first();
        }
        access.end(answer, tell).await
    }

    /// The store that writes go to: of a list, its first one.
    fn first(&self) -> &Place {
        self.members.first().unwrap_or(&self.asked)
    }
}

fn is_of_replicas(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|below| below.is::<ReplicationError>())
}

impl<'a> Access<'a> {
    #[inline(always)]
    fn begin(layer: &'a AuditLayer, store: &'a Place, members: &'a [Place], verb: Verb) -> Self {
        Self {
            layer,
            verb,
            may_write: verb.is_write(),
            store,
            members,
            name: None,
            version: None,
            reason: reason_here().or_else(|| layer.reason.clone()),
            time: layer.clock.system_now(),
            waits_since: None,
            opened_in: Duration::ZERO,
            is_recorded: false,
        }
    }

    /// Says why the store must not be asked, if that is so.
    #[inline(always)]
    fn admitted(&self) -> Result<()> {
        let layer = self.layer;
        if layer.reason_required && self.reason.is_none() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "secrets may be accessed here only with a reason, and none is given",
            )
            .with_hint("say what the access is for, for example with `--reason`"));
        }
        let ready = layer.sinks.iter().try_for_each(|sink| sink.ready());
        ready.inspect_err(|_| layer.withheld.increment(1))
    }

    /// The same. If it may be asked, the access waits for it from now on.
    fn check(&mut self) -> Result<()> {
        self.waits_since = Some(self.layer.clock.now());
        self.admitted()
    }

    /// How long it has taken. What did not have to wait took less than a microsecond, for which the clock need not be looked
    /// at once more before it.
    fn latency(&self) -> Duration {
        let clock = &self.layer.clock;
        match self.waits_since {
            Some(since) => clock.now().saturating_sub(since),
            None => clock.system_now().duration_since(self.time).unwrap_or_default(),
        }
    }

    /// Records how the access ended.
    #[inline(always)]
    fn finish<T>(&mut self, answer: &Result<T>, latency: Duration, tell: impl FnOnce(&T) -> Told<'_>) -> Receipts {
        match answer {
            Ok(answer) => self.record(AuditOutcome::Ok, None, latency, &tell(answer)),
            Err(error) => {
                let is_unknown = self.may_write && error.kind() == ErrorKind::Timeout;
                let outcome = if is_unknown {
                    AuditOutcome::Unknown
                } else {
                    AuditOutcome::Failed
                };
                self.record(outcome, Some(error.kind()), latency, &Told::default())
            }
        }
    }

    /// The same, and waits for the sinks that promise to keep records for good.
    async fn end<T>(&mut self, answer: Result<T>, tell: impl FnOnce(&T) -> Told<'_>) -> Result<T> {
        let (layer, since, is_write) = (self.layer, self.waits_since, self.may_write);
        let receipts = self.finish(&answer, self.latency(), tell);
        if receipts.is_empty() {
            return answer;
        }
        // In a box of its own, so that the future of an access that need not wait is small.
        Box::pin(settle(layer, since, receipts, answer, is_write)).await
    }

    /// Gives every sink the one record of this access.
    #[inline(always)]
    fn record(&mut self, outcome: AuditOutcome, error: Option<ErrorKind>, latency: Duration, told: &Told<'_>) -> Receipts {
        self.is_recorded = true;
        let asked = self.version.take();
        let member = told.origin.and_then(|origin| origin.member.as_ref());
        let answered = member.and_then(|label| self.members.iter().find(|member| *member.store.name == **label));
        let place = answered.unwrap_or(self.store);
        let record = AuditRecord {
            time: self.time.checked_sub(self.opened_in).unwrap_or(self.time),
            actor: Arc::clone(&place.actor),
            verb: self.verb,
            name: self.name.take(),
            version: told.version.map(Version::shared).or(asked),
            store: Arc::clone(&place.store),
            outcome,
            error,
            latency: latency + self.opened_in,
            freshness: told.freshness,
            reason: self.reason.take(),
        };
        let mut receipts = Receipts::new();
        let mut give = |sink: &dyn AuditSink, record| {
            if let AuditReceipt::Pending(receipt) = sink.record(record) {
                receipts.push(receipt);
            }
        };
        if let Some((last, others)) = self.layer.sinks.split_last() {
            for sink in others {
                give(&**sink, record.clone());
            }
            give(&**last, record);
        }
        receipts
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        if self.is_recorded {
            return;
        }
        let error = std::thread::panicking().then_some(ErrorKind::Other);
        let outcome = match error {
            _ if self.may_write => AuditOutcome::Unknown,
            Some(_) => AuditOutcome::Failed,
            None => AuditOutcome::Cancelled,
        };
        // Nobody is left to wait.
        drop(self.record(outcome, error, self.latency(), &Told::default()));
    }
}

fn of_secret(secret: &Secret) -> Told<'_> {
    Told {
        freshness: Some(secret.metadata.origin.freshness),
        ..of_metadata(&secret.metadata)
    }
}

fn of_metadata(metadata: &Metadata) -> Told<'_> {
    Told {
        origin: Some(&metadata.origin),
        version: metadata.version.as_ref(),
        freshness: None,
    }
}

/// A page is of one store.
fn of_page(page: &Page<Metadata>) -> Told<'_> {
    Told {
        origin: page.items.first().map(|metadata| &metadata.origin),
        ..Told::default()
    }
}

#[async_trait]
impl SecretStore for Audited {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.get_maybe_ready(name, options).answer().await
    }

    fn get_maybe_ready<'f>(&'f self, name: &'f SecretName, options: &'f GetOptions) -> MaybeReady<'f> {
        let mut access = self.begin(Verb::Get, Some(name.shared()), asked(&options.version));
        let (answer, took) = match access.admitted() {
            Err(refusal) => (Err(refusal), None),
            Ok(()) => match self.inner.get_maybe_ready(name, options) {
                MaybeReady::Ready { answer, took } => (answer, took),
                MaybeReady::Pending(work) => {
                    access.waits_since = Some(self.layer.clock.now());
                    return MaybeReady::Pending(Box::pin(async move { access.end(work.await, of_secret).await }));
                }
            },
        };
        let took = took.unwrap_or_else(|| access.latency());
        let receipts = access.finish(&answer, took, of_secret);
        if receipts.is_empty() {
            return MaybeReady::Ready {
                answer,
                took: Some(took),
            };
        }
        MaybeReady::Pending(Box::pin(settle(&self.layer, None, receipts, answer, false)))
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let waits_since = Some(self.layer.clock.now());
        let opened_in = self.opened_in();
        let accesses: Vec<Access<'_>> = requests
            .iter()
            .map(|request| {
                let version = asked(&request.options.version);
                let mut access = self.begin(Verb::GetMany, Some(request.name.shared()), version);
                access.waits_since = waits_since;
                access.opened_in = opened_in;
                access
            })
            .collect();
        let answers = match accesses.first().map_or(Ok(()), Access::admitted) {
            Ok(()) => self.inner.get_many(requests).await,
            Err(refusal) => requests.iter().map(|_| Err(refusal.clone())).collect(),
        };
        // All are given before the first is waited for, so that they are kept together.
        let recorded: Vec<(Receipts, Result<Secret>)> = accesses
            .into_iter()
            .zip(answers)
            .map(|(mut access, answer)| (access.finish(&answer, access.latency(), of_secret), answer))
            .collect();
        let mut settled = Vec::with_capacity(recorded.len());
        for (receipts, answer) in recorded {
            settled.push(settle(&self.layer, waits_since, receipts, answer, false).await);
        }
        settled
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let version = match &request.mode {
            PutMode::Match(version) => Some(version.shared()),
            PutMode::Upsert | PutMode::Create => None,
        };
        let mut access = self.begin_write(Verb::Put, name, version);
        let answer = match access.check() {
            Ok(()) => self.inner.put(name, request).await,
            Err(refusal) => Err(refusal),
        };
        self.end_write(access, answer, of_metadata).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        let mut access = self.begin_write(Verb::Delete, name, None);
        let answer = match access.check() {
            Ok(()) => self.inner.delete(name, options).await,
            Err(refusal) => Err(refusal),
        };
        self.end_write(access, answer, |()| Told::default()).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let mut access = self.begin_write(Verb::Restore, name, None);
        let answer = match access.check() {
            Ok(()) => self.inner.restore(name).await,
            Err(refusal) => Err(refusal),
        };
        self.end_write(access, answer, of_metadata).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let prefix = (!options.prefix.is_empty()).then(|| options.prefix.as_str().into());
        let mut access = self.begin(Verb::List, prefix, None);
        let answer = match access.check() {
            Ok(()) => self.inner.list(options).await,
            Err(refusal) => Err(refusal),
        };
        access.end(answer, of_page).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let mut access = self.begin(Verb::Versions, Some(name.shared()), None);
        let answer = match access.check() {
            Ok(()) => self.inner.versions(name, page).await,
            Err(refusal) => Err(refusal),
        };
        access.end(answer, |_| Told::default()).await
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }
}
