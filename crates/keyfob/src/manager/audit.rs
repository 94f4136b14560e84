//! Recording what a manager's stores are asked, from before they are open.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{
    AuditFilter, AuditLayer, AuditRecord, AuditedStore, DEFAULT_SCHEME, Error, ErrorKind, FailoverWrites, Intent, Layer as _,
    Result,
};
use tokio::time::Instant;

use super::failover::Member;
use super::{Inner, Opened, Opening, SecretManager, Slot};
use crate::audit::Audit;
use crate::backends;

impl SecretManager {
    /// Opens what accesses are recorded in, which else the first access does, to hear early when it can't be. Waits no longer than an access may
    /// take (`retry.deadline`).
    ///
    /// # Errors
    /// `InvalidConfig` when a setting can't be followed, and what opening a log fails with, durable or not. The next call tries again.
    pub async fn open_audit(&self) -> Result<()> {
        match self.audit().await? {
            Some(audit) => self.opened_audit(audit, false).await,
            None => Ok(()),
        }
    }

    /// Waits, within the deadline of an access, until the logs are open, or those without which nothing may be accessed.
    async fn opened_audit(&self, audit: &Audit, only_durable: bool) -> Result<()> {
        let deadline = self.0.selection.layers.retry.deadline;
        let opened = tokio::time::timeout(deadline, audit.opened(only_durable)).await;
        opened.unwrap_or_else(|_| Err(audit.not_opened()))
    }

    /// The records of accesses that are kept in memory ([`AuditSettings::memory`](crate::AuditSettings::memory)) and that
    /// `filter` lets through, oldest first.
    #[must_use]
    pub fn audit_records(&self, filter: &AuditFilter) -> Vec<Arc<AuditRecord>> {
        let audit = self.0.audit.get().and_then(Option::as_ref);
        audit.map(|audit| audit.records(filter)).unwrap_or_default()
    }

    /// Writes all audit records that there are, signs the log, and ends what writes it. Accesses after that fail where the log is
    /// durable, and are not recorded where it isn't. Blocks for as long as the disk takes.
    ///
    /// The last handle that goes does the same, but nobody hears if it fails. A process that ends otherwise (`exec`,
    /// `exit`) has to call this.
    ///
    /// # Errors
    /// `Unavailable` when records were lost without an error of their access, which those of a durable log have had, and what the file system
    /// says.
    pub fn close_audit(&self) -> Result<()> {
        self.close_audit_within(Duration::MAX)
    }

    /// The same, but waits no longer than `patience` for each log: for a process that is to end. What a log has not taken by then is lost if the
    /// process ends then.
    ///
    /// # Errors
    /// Those of [`close_audit`](Self::close_audit); `Unavailable` when a log has not taken all by then, with how many records that are.
    pub fn close_audit_within(&self, patience: Duration) -> Result<()> {
        match self.0.audit.get() {
            Some(Some(audit)) => audit.close(patience),
            _ => Ok(()),
        }
    }

    /// What records accesses. Its logs are being opened, if they aren't yet open.
    async fn audit(&self) -> Result<Option<&Audit>> {
        let open = || async {
            let manager = self.clone();
            let open = move || {
                let Inner {
                    environment,
                    selection,
                    audit_sinks,
                    reason,
                    ..
                } = &*manager.0;
                Audit::open(&selection.layers.audit, environment, audit_sinks, reason.clone())
            };
            match tokio::task::spawn_blocking(open).await {
                Ok(opened) => opened,
                Err(error) => Err(Error::new(ErrorKind::Other, "the audit log could not be opened").with_source(error)),
            }
        };
        Ok(self.0.audit.get_or_try_init(open).await?.as_ref())
    }

    /// What records accesses by `identity`, if something does.
    pub(super) async fn audit_of(&self, identity: Option<String>) -> Result<Option<AuditLayer>> {
        let deadline = self.0.selection.layers.retry.deadline;
        Ok(self.audit().await?.map(|audit| audit.layer_as(identity).deadline(deadline)))
    }

    /// Opens a store for what is intended, which is recorded if that can't be: each of those who wait for it has a record of
    /// its own, whoever of them it is that opens the store.
    pub(super) async fn open_for<'a>(&self, slot: &'a Slot, intent: &Intent) -> Result<Cow<'a, Opened>> {
        let layer = match &slot.opening {
            Opening::Given(_) => None,
            opening => self.audit_of(self.identity_at(opening).ok().flatten()).await?,
        };
        let Some(mut layer) = layer else {
            let opened = slot.opened.get_or_try_init(|| self.connected(slot)).await?;
            return Ok(Cow::Borrowed(opened));
        };
        if let Opening::List(_) = &slot.opening {
            for member in slot.opening.members() {
                if let Ok(Some(identity)) = self.identity(&member.url) {
                    layer = layer.workload_at(&*member.label, identity);
                }
            }
        }
        let begun = Instant::now();
        let opening = async {
            if let Some(audit) = self.audit().await? {
                self.opened_audit(audit, true).await?;
            }
            let connect = async || {
                let mut opened = self.connected(slot).await?;
                opened.store = layer.layer(opened.store);
                Ok(opened)
            };
            slot.opened.get_or_try_init(connect).await
        };
        let opened = layer.opening(self.unopened(&slot.opening, intent), intent, opening).await?;
        let mut waited = opened.clone();
        waited.store = layer.opened_in(begun.elapsed()).layer(opened.unaudited.clone());
        Ok(Cow::Owned(waited))
    }

    /// What a record says of a store before it is open.
    fn unopened(&self, opening: &Opening, intent: &Intent) -> AuditedStore {
        let members = opening.members();
        let Some(first) = members.first() else {
            // Which one it would be is what can't be said.
            return AuditedStore::new(DEFAULT_SCHEME, DEFAULT_SCHEME, "");
        };
        let is_of_first = intent.verb().is_write() && self.0.selection.layers.failover.writes == FailoverWrites::First;
        if is_of_first && members.len() > 1 {
            let place = self.place(&first.url).unwrap_or_default();
            return AuditedStore::new(&*first.label, scheme(first), place);
        }
        let labels: Vec<&str> = members.iter().map(|member| &*member.label).collect();
        AuditedStore::new(labels.join(","), scheme(first), self.location(opening).unwrap_or_default())
    }
}

fn scheme(member: &Member) -> &str {
    let scheme = member.url.scheme();
    backends::find(scheme).map_or(scheme, |backend| backend.scheme)
}
