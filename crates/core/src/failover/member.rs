//! One store of the list: asked within its time, and only while its breaker lets it be asked.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{Either, select};
use tracing::warn;

use crate::capabilities::{Capabilities, NameRule};
use crate::error::{Error, ErrorKind, Result};
use crate::failover::Inner;
use crate::failover::breaker::{Breaker, BreakerState, Change, Moment, Refusal, Seen, Verdict};
use crate::failover::meters::Meters;
use crate::failover::options::{BreakerOptions, FailoverWrites};
use crate::secret::PassedOver;
use crate::store::{SecretStore, StoreInfo};

/// How a store of a failover list is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its label.
    pub label: Arc<str>,
    /// Its scheme.
    pub store: Arc<str>,
    /// The state of its breaker. An open one whose time is over stays open until the next call.
    pub state: BreakerState,
    /// Since when.
    pub since: SystemTime,
    /// How long it will not be asked; `None` when the next call asks it, or when a call is trying it now.
    pub wait: Option<Duration>,
    /// The kind of its last failure: unavailable, timeout or rate limited.
    pub last_kind: Option<ErrorKind>,
    /// How many calls it was asked. A batch is one.
    pub asked: u64,
    /// How many of them it answered, errors that don't make it ill included.
    pub answered: u64,
    /// How many of them failed and made it ill. The others are under way or were cancelled.
    pub failed: u64,
    /// How many calls it was not asked because it was ill or had asked for a pause.
    pub not_asked: u64,
    /// How often its breaker has opened.
    pub opened: u64,
}

/// A breaker of a failover list has changed its state.
///
/// From closed it opens; from open it becomes half-open; from half-open it is closed or opens again. There is no other one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The label of the store.
    pub label: Arc<str>,
    /// Its scheme.
    pub store: Arc<str>,
    /// 1 for the first transition of this store, then 2, 3, ...
    pub number: u64,
    /// The state before.
    pub from: BreakerState,
    /// The state now.
    pub to: BreakerState,
    /// The kind of the failure that opened it.
    pub kind: Option<ErrorKind>,
    /// For how long it opened.
    pub open_for: Option<Duration>,
}

pub(super) struct Member {
    pub(super) label: Arc<str>,
    pub(super) scheme: Arc<str>,
    pub(super) store: Arc<dyn SecretStore>,
    breaker: Breaker,
    pub(super) meters: Meters,
}

/// A call that a member did not answer.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) passed: PassedOver,
    pub(super) error: Error,
}

impl Member {
    /// A store of the list that metrics call `list`.
    pub(super) fn new(
        list: &Arc<str>,
        label: Arc<str>,
        store: Arc<dyn SecretStore>,
        options: BreakerOptions,
        day: SystemTime,
    ) -> Self {
        Self {
            meters: Meters::new(list, &label),
            label,
            scheme: Arc::clone(&store.info().scheme),
            store,
            breaker: Breaker::new(options, day),
        }
    }

    pub(super) fn can(&self) -> Capabilities {
        self.store.info().capabilities
    }

    pub(super) fn status(&self, now: Duration) -> MemberStatus {
        let Seen {
            state,
            since,
            wait,
            last_kind,
            asked,
            answered,
            failed,
            refused,
            opened,
        } = self.breaker.seen(now);
        MemberStatus {
            label: Arc::clone(&self.label),
            store: Arc::clone(&self.scheme),
            state,
            since,
            wait,
            last_kind,
            asked,
            answered,
            failed,
            not_asked: refused,
            opened,
        }
    }

    pub(super) fn missed(&self, error: Error, asked: bool) -> Missed {
        let passed = PassedOver {
            store: Arc::clone(&self.scheme),
            member: Arc::clone(&self.label),
            kind: error.kind(),
            asked,
        };
        Missed { passed, error }
    }

    fn refused(&self, refusal: Refusal) -> Missed {
        let message = match refusal.kind {
            ErrorKind::RateLimited => "the store was not asked, it has asked for a pause",
            _ => "the store was not asked, it could not serve a moment ago",
        };
        let error = Error::new(refusal.kind, message).with("store", &*self.scheme);
        let error = match refusal.wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        };
        self.missed(error, false)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("label", &self.label)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Asks a store for one thing.
    pub(super) async fn ask<T>(
        &self,
        member: &Member,
        limit: Duration,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T, Missed> {
        let judge = |answer: &Result<T>| answer.as_ref().map_or_else(Verdict::of, |_| Verdict::Well);
        match self.ask_for(member, limit, call, judge).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(member.missed(error, true)),
            Err(missed) => Err(missed),
        }
    }

    /// Asks a store, and lets its breaker know what `judge` says of the answer.
    pub(super) async fn ask_for<T>(
        &self,
        member: &Member,
        limit: Duration,
        call: impl Future<Output = T>,
        judge: impl FnOnce(&T) -> Verdict,
    ) -> Result<T, Missed> {
        let (permit, change) = member.breaker.admit(self.moment());
        self.tell(member, change);
        let permit = permit.map_err(|refusal| member.refused(refusal))?;
        let answer = within(self.clock.sleep(limit), call).await;
        let verdict = answer.as_ref().map_or(Verdict::Ill(ErrorKind::Timeout, None), judge);
        let change = permit.settle(verdict, self.moment(), &self.random);
        self.tell(member, change);
        answer.ok_or_else(|| {
            let message = format!("no answer within {limit:?}");
            member.missed(Error::new(ErrorKind::Timeout, message).with("store", &*member.scheme), true)
        })
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.clock.now(),
            day: self.clock.system_now(),
        }
    }

    fn tell(&self, member: &Member, change: Option<Change>) {
        let Some(change) = change else { return };
        let transition = Transition {
            label: Arc::clone(&member.label),
            store: Arc::clone(&member.scheme),
            number: change.number,
            from: change.from,
            to: change.to,
            kind: change.kind,
            open_for: change.open_for,
        };
        warn!(
            target: "keyfob",
            store = &*transition.store,
            member = &*transition.label,
            place = &*member.store.info().location,
            from = transition.from.as_str(),
            to = transition.to.as_str(),
            kind = transition.kind.map(ErrorKind::as_str),
            open_for = transition.open_for.map(tracing::field::debug),
            "failover breaker"
        );
        member.meters.changed(&transition);
        if let Some(watcher) = &self.watcher.0 {
            watcher(&transition);
        }
    }
}

/// What `call` gives, if it does so before the time is over.
pub(super) async fn within<T>(time: impl Future<Output = ()> + Unpin, call: impl Future<Output = T>) -> Option<T> {
    match select(pin!(call), time).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

/// What the list says of itself.
pub(super) fn info(label: Arc<str>, members: &[Member], writes: FailoverWrites) -> StoreInfo {
    let first = members[0].store.info();
    let capabilities = match writes {
        FailoverWrites::First => first.capabilities,
        FailoverWrites::Replicate => members[1..]
            .iter()
            .fold(first.capabilities, |can, member| both(can, member.can())),
    };
    let locations: Vec<String> = members
        .iter()
        .map(|member| format!("{}: {}", member.label, member.store.info().location))
        .collect();
    let mut info = StoreInfo::new(Arc::clone(&first.scheme), locations.join(", then "), capabilities);
    info.label = label;
    let written = match writes {
        FailoverWrites::First => &members[..1],
        FailoverWrites::Replicate => members,
    };
    info.replicates = written.len() > 1 || written.iter().any(|member| member.store.info().replicates);
    info.members = members
        .iter()
        .map(|member| StoreInfo {
            label: Arc::clone(&member.label),
            ..member.store.info().clone()
        })
        .collect();
    info
}

/// What can be written to a store and to its replica. What can be read is up to the store, and so are preconditions.
fn both(store: Capabilities, replica: Capabilities) -> Capabilities {
    Capabilities {
        put: store.put && replica.put,
        put_metadata: store.put_metadata && replica.put_metadata,
        binary: store.binary && replica.binary,
        empty_value: store.empty_value && replica.empty_value,
        delete_permanent: store.delete_permanent && replica.delete_permanent,
        delete_recoverable: store.delete_recoverable && replica.delete_recoverable,
        recovery_window: match (store.recovery_window, replica.recovery_window) {
            (Some(a), Some(b)) => Some((a.0.max(b.0), a.1.min(b.1))).filter(|(shortest, longest)| shortest <= longest),
            _ => None,
        },
        description: store.description && replica.description,
        tags: store.tags && replica.tags,
        expiry: store.expiry && replica.expiry,
        // Two rules of their own can't be joined into one here; each store's own is asked as well before any I/O.
        names: match (store.names, replica.names) {
            (NameRule::Any, other) => other,
            (own, _) => own,
        },
        max_name_bytes: store.max_name_bytes.min(replica.max_name_bytes),
        max_value_bytes: store.max_value_bytes.min(replica.max_value_bytes),
        max_tags: store.max_tags.min(replica.max_tags),
        ..store
    }
}
