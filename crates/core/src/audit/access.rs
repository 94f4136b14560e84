//! The audited store: one record for each access, however it ends.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::AuditLayer;
use super::record::{AuditOutcome, AuditRecord, AuditedStore, Reason, reason_here};
use super::sink::AuditReceipt;
use crate::backend::BoxFuture;
use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{
    DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutMode, PutRequest, VersionSelector,
};
use crate::secret::{Metadata, Origin, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};
use crate::verb::Verb;

pub(super) fn audited(layer: AuditLayer, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
    let info = inner.info();
    let described = |info| Arc::new(AuditedStore::of(info));
    Arc::new(Audited {
        layer,
        asked: described(info),
        members: info.members.iter().map(described).collect(),
        inner,
    })
}

struct Audited {
    layer: AuditLayer,
    inner: Arc<dyn SecretStore>,
    asked: Arc<AuditedStore>,
    /// The stores of a list, any of which may answer.
    members: Vec<Arc<AuditedStore>>,
}

impl fmt::Debug for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audited").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// An access under way. If it goes before it was [finished](Self::finish), its caller went away.
struct Access<'a> {
    layer: &'a AuditLayer,
    /// `None` once it was recorded.
    record: Option<AuditRecord>,
    started: Duration,
}

/// What the sinks that have to be waited for said of one record.
type Receipts = Vec<BoxFuture<'static, Result<()>>>;

/// Why nothing may be asked with this reason now, if that is so.
pub(super) fn admit(layer: &AuditLayer, reason: Option<&Reason>) -> Result<()> {
    if layer.reason_required && reason.is_none() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "secrets may be accessed here only with a reason, and none is given",
        )
        .with_hint("say what the access is for, for example with `--reason`"));
    }
    let ready = layer.sinks.iter().try_for_each(|sink| sink.ready());
    ready.inspect_err(|_| layer.withheld.increment(1))
}

/// The reason of what runs now.
pub(super) fn reason(layer: &AuditLayer) -> Option<Reason> {
    reason_here().or_else(|| layer.reason.clone())
}

/// Records that a store could not be opened.
pub(super) async fn opening_failed(layer: &AuditLayer, store: AuditedStore, error: Error) -> Error {
    let record = AuditRecord::new(
        layer.clock.system_now(),
        Arc::clone(&layer.actor),
        Verb::Health,
        Arc::new(store),
    );
    let access = Access::begin(layer, record);
    let Err(error) = access.end(Err(error), |_, never: &Infallible| match *never {}).await;
    error
}

impl Audited {
    fn begin(&self, verb: Verb, name: Option<Arc<str>>, version: Option<Arc<str>>) -> Access<'_> {
        let layer = &self.layer;
        let mut record = AuditRecord::new(
            layer.clock.system_now(),
            Arc::clone(&layer.actor),
            verb,
            Arc::clone(&self.asked),
        );
        record.name = match &layer.mask {
            Some(mask) => name.map(|name| mask(&name).into()),
            None => name,
        };
        record.version = version;
        Access::begin(layer, record)
    }

    fn describe_secret(&self, record: &mut AuditRecord, secret: &Secret) {
        self.describe_metadata(record, &secret.metadata);
        record.freshness = Some(secret.metadata.origin.freshness);
    }

    fn describe_metadata(&self, record: &mut AuditRecord, metadata: &Metadata) {
        if let Some(version) = &metadata.version {
            record.version = Some(version.shared());
        }
        self.describe_origin(record, &metadata.origin);
    }

    fn describe_origin(&self, record: &mut AuditRecord, origin: &Origin) {
        let Some(label) = &origin.member else { return };
        if let Some(member) = self.members.iter().find(|member| *member.name == **label) {
            record.store = Arc::clone(member);
        }
    }
}

impl<'a> Access<'a> {
    fn begin(layer: &'a AuditLayer, mut record: AuditRecord) -> Self {
        record.reason = reason(layer);
        Self {
            layer,
            record: Some(record),
            started: layer.clock.now(),
        }
    }

    /// Says why the store must not be asked, if that is so.
    fn check(&self) -> Result<()> {
        admit(self.layer, self.record.as_ref().and_then(|record| record.reason.as_ref()))
    }

    /// Records how the access ended.
    fn finish<T>(mut self, answer: &Result<T>, describe: impl FnOnce(&mut AuditRecord, &T)) -> Receipts {
        let Some(mut record) = self.record.take() else {
            return Receipts::new();
        };
        match answer {
            Ok(answer) => describe(&mut record, answer),
            Err(error) => {
                let is_unknown = record.verb.is_write() && error.kind() == ErrorKind::Timeout;
                record.outcome = if is_unknown {
                    AuditOutcome::Unknown
                } else {
                    AuditOutcome::Failed
                };
                record.error = Some(error.kind());
            }
        }
        self.submit(record)
    }

    /// The same, and waits for the sinks that promise to keep records for good.
    async fn end<T>(self, answer: Result<T>, describe: impl FnOnce(&mut AuditRecord, &T)) -> Result<T> {
        let is_write = self.record.as_ref().is_some_and(|record| record.verb.is_write());
        let layer = self.layer;
        let receipts = self.finish(&answer, describe);
        settle(layer, receipts, answer, is_write).await
    }

    fn submit(&self, mut record: AuditRecord) -> Receipts {
        record.latency = self.layer.clock.now().saturating_sub(self.started);
        let record = Arc::new(record);
        let mut receipts = Receipts::new();
        for sink in &self.layer.sinks {
            if let AuditReceipt::Pending(receipt) = sink.record(&record) {
                receipts.push(receipt);
            }
        }
        receipts
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        if std::thread::panicking() {
            record.error = Some(ErrorKind::Other);
        }
        record.outcome = match record.error {
            _ if record.verb.is_write() => AuditOutcome::Unknown,
            Some(_) => AuditOutcome::Failed,
            None => AuditOutcome::Cancelled,
        };
        // Nobody is left to wait.
        drop(self.submit(record));
    }
}

/// Hands the answer out once every receipt is there, or withholds it.
async fn settle<T>(layer: &AuditLayer, receipts: Receipts, answer: Result<T>, is_write: bool) -> Result<T> {
    let mut lost = None;
    for receipt in receipts {
        if let Err(error) = receipt.await {
            lost.get_or_insert(error);
        }
    }
    let Some(lost) = lost else {
        return answer;
    };
    if answer.is_ok() {
        layer.withheld.increment(1);
    }
    let (kind, message) = match &answer {
        Ok(_) if is_write => (
            ErrorKind::Timeout,
            "the write was done, but its audit record could not be kept",
        ),
        Err(error) if is_write && error.kind() == ErrorKind::Timeout => (
            ErrorKind::Timeout,
            "the outcome of the write is unknown, and its audit record could not be kept",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the answer is withheld, because the audit record of this access could not be kept",
        ),
    };
    let hint = lost.hint().unwrap_or("see to the audit log, then try again").to_owned();
    Err(Error::new(kind, message).with_hint(hint).with_source(lost))
}

/// The version that is asked for, where it is not simply the current one.
fn asked(version: &VersionSelector) -> Option<Arc<str>> {
    match version {
        VersionSelector::Current => None,
        VersionSelector::Previous => Some("previous".into()),
        VersionSelector::Exact(version) => Some(version.shared()),
    }
}

#[async_trait]
impl SecretStore for Audited {
    fn info(&self) -> &StoreInfo {
        self.inner.info()
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let access = self.begin(Verb::Get, Some(name.shared()), asked(&options.version));
        let answer = match access.check() {
            Ok(()) => self.inner.get(name, options).await,
            Err(refusal) => Err(refusal),
        };
        access
            .end(answer, |record, secret| self.describe_secret(record, secret))
            .await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let accesses: Vec<Access<'_>> = requests
            .iter()
            .map(|request| {
                let version = asked(&request.options.version);
                self.begin(Verb::GetMany, Some(request.name.shared()), version)
            })
            .collect();
        let answers = match accesses.first().map_or(Ok(()), Access::check) {
            Ok(()) => self.inner.get_many(requests).await,
            Err(refusal) => requests.iter().map(|_| Err(refusal.clone())).collect(),
        };
        // All are given before the first is waited for, so that they are kept together.
        let recorded: Vec<(Receipts, Result<Secret>)> = accesses
            .into_iter()
            .zip(answers)
            .map(|(access, answer)| {
                let receipts = access.finish(&answer, |record, secret| self.describe_secret(record, secret));
                (receipts, answer)
            })
            .collect();
        let mut settled = Vec::with_capacity(recorded.len());
        for (receipts, answer) in recorded {
            settled.push(settle(&self.layer, receipts, answer, false).await);
        }
        settled
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let version = match &request.mode {
            PutMode::Match(version) => Some(version.shared()),
            PutMode::Upsert | PutMode::Create => None,
        };
        let access = self.begin(Verb::Put, Some(name.shared()), version);
        let answer = match access.check() {
            Ok(()) => self.inner.put(name, request).await,
            Err(refusal) => Err(refusal),
        };
        access
            .end(answer, |record, metadata| self.describe_metadata(record, metadata))
            .await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        let access = self.begin(Verb::Delete, Some(name.shared()), None);
        let answer = match access.check() {
            Ok(()) => self.inner.delete(name, options).await,
            Err(refusal) => Err(refusal),
        };
        access.end(answer, |_, ()| ()).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let access = self.begin(Verb::Restore, Some(name.shared()), None);
        let answer = match access.check() {
            Ok(()) => self.inner.restore(name).await,
            Err(refusal) => Err(refusal),
        };
        access
            .end(answer, |record, metadata| self.describe_metadata(record, metadata))
            .await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page<Metadata>> {
        let prefix = (!options.prefix.is_empty()).then(|| options.prefix.as_str().into());
        let access = self.begin(Verb::List, prefix, None);
        let answer = match access.check() {
            Ok(()) => self.inner.list(options).await,
            Err(refusal) => Err(refusal),
        };
        let describe = |record: &mut AuditRecord, page: &Page<Metadata>| {
            // A page is of one store.
            if let Some(metadata) = page.items.first() {
                self.describe_origin(record, &metadata.origin);
            }
        };
        access.end(answer, describe).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        let access = self.begin(Verb::Versions, Some(name.shared()), None);
        let answer = match access.check() {
            Ok(()) => self.inner.versions(name, page).await,
            Err(refusal) => Err(refusal),
        };
        access.end(answer, |_, _| ()).await
    }

    async fn health(&self) -> Result<Health> {
        self.inner.health().await
    }
}
