//! A store over an ordered list of stores.

mod batch;
mod breaker;
mod health;
mod labels;
mod member;
mod meters;
mod options;
mod reads;
mod trail;
mod writes;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::adapter::NameLocks;
use crate::clock::{Clock, SystemClock};
use crate::error::Result;
use crate::failover::labels::Labels;
use crate::failover::member::Member;
use crate::name::SecretName;
use crate::options::{DeleteOptions, GetOptions, GetRequest, ListOptions, Page, PageRequest, PutRequest};
use crate::random::Random;
use crate::secret::{Metadata, Secret, VersionInfo};
use crate::store::{Health, SecretStore, StoreInfo};

pub use breaker::BreakerState;
pub use member::{MemberStatus, Transition};
pub use options::{BreakerOptions, FailoverOptions, FailoverWrites};
pub use writes::ReplicationError;

/// Makes a [`FailoverStore`].
///
/// ```
/// # use std::sync::Arc;
/// use keyfob_core::{Failover, FailoverOptions, MemoryStore, SecretStore};
///
/// let mut options = FailoverOptions::default();
/// options.not_found_falls_through = true;
/// let members: [(&str, Arc<dyn SecretStore>); 2] =
///     [("eu-west-1", Arc::new(MemoryStore::new())), ("eu-central-1", Arc::new(MemoryStore::new()))];
/// let store = Failover::new(options).over(members)?;
/// assert_eq!(store.status()[1].label.as_ref(), "eu-central-1");
/// # Ok::<(), keyfob_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Failover {
    options: FailoverOptions,
    clock: Arc<dyn Clock>,
    random: Random,
    watcher: Watcher,
}

impl Failover {
    /// With the machine's clocks, and nobody who is told of transitions.
    #[must_use]
    pub fn new(options: FailoverOptions) -> Self {
        Self {
            options,
            clock: Arc::new(SystemClock::new()),
            random: Random::new(),
            watcher: Watcher(None),
        }
    }

    /// With these clocks.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// With these random numbers, for how long a store is left alone.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Tells `watcher` whenever the breaker of a store changes its state. It runs in the call that changed it, after the
    /// change; of two calls at once the later change may be told first, see [`Transition::number`].
    #[must_use]
    pub fn on_transition(mut self, watcher: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        self.watcher = Watcher(Some(Box::new(watcher)));
        self
    }

    /// The store over these stores, each with a label that tells it apart: 1 to 64 letters, digits, `.`, `_` and `-`.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) when there is no store, when a label is there twice or can't be
    /// one, and for options out of their range.
    pub fn over<L: AsRef<str>>(self, members: impl IntoIterator<Item = (L, Arc<dyn SecretStore>)>) -> Result<FailoverStore> {
        self.options.check()?;
        let day = self.clock.system_now();
        let stores: Vec<(Arc<str>, Arc<dyn SecretStore>)> = members
            .into_iter()
            .map(|(label, store)| (label.as_ref().into(), store))
            .collect();
        let labels = Labels::new(stores.iter().map(|(label, _)| Arc::clone(label)).collect())?;
        let list: Arc<str> = labels.joined().into();
        let members: Vec<Member> = stores
            .into_iter()
            .map(|(label, store)| Member::new(&list, label, store, self.options.breaker, day))
            .collect();
        let info = member::info(list, &members, self.options.writes);
        Ok(FailoverStore(Arc::new(Inner {
            info,
            members,
            labels,
            options: self.options,
            clock: self.clock,
            random: self.random,
            watcher: self.watcher,
            writes: NameLocks::default(),
        })))
    }
}

/// A store over an ordered list of stores: when one can't serve, the next one is asked. Cheap to clone.
///
/// # Reads
/// - The stores are asked in their order. The next one is asked when one is *unavailable*, *rate limited* or has not
///   answered within [`read_timeout`](FailoverOptions::read_timeout). *Not found* goes on only
///   [when asked for](FailoverOptions::not_found_falls_through). No other error goes on: whoever may not read a secret
///   doesn't get it from a copy.
/// - *Not found* of a later store does not hide that an earlier one could not be asked, unless
///   [it is to be believed](FailoverOptions::believe_not_found).
/// - [`Origin`](crate::Origin) says who answered and why those before it did not; an error says it in its context.
/// - A version belongs to one store, and only that one is asked for it. So the versions of all stores but the first are
///   handed out as `LABEL:TOKEN`; those of the first one stay as they are unless they begin with a label of the list and `:`.
///   `@current` and `@previous` may come from any store. The same holds for the pages of a listing: one listing is of one
///   store.
/// - `get_many` asks the next store for all that the one before could not answer, in one call.
/// - After a write, a store that takes the first one's place may still have what was there before.
///
/// # Writes
/// - They go to the first store alone, or [to all](FailoverWrites::Replicate). They never go to another store in place of the
///   first one. A write without an answer within [`write_timeout`](FailoverOptions::write_timeout) is a `Timeout`: its
///   outcome is unknown. One that has waited for a place of a [`LimitLayer`](crate::LimitLayer) all that time is
///   `RateLimited`: it was not sent.
/// - Replicated, the first store is the truth. A precondition is that of the first store; what it took goes to the others
///   without one. Until the first one has it, the others are not asked. When one of them fails, the write is an error of kind
///   [`Other`](crate::ErrorKind::Other), because repeating it is not the remedy, and below it stands a [`ReplicationError`]
///   that says what each store has. In this process, writes to one name are one after the other; between processes two
///   writes may reach two stores in another order.
///
/// # Ill stores
/// Each store has a circuit breaker, see [`BreakerOptions`]: while it is open, the store is not asked. A store that is rate
/// limited and says for how long is not asked for that time. [`status`](Self::status) tells of it,
/// [`Failover::on_transition`] and events of the target `keyfob` (`failover breaker`, with `store`, `member`, `place`, `from`,
/// `to`, `kind` and `open_for`) tell of changes.
///
/// # Capabilities
/// Those of the first store; what it can't do is refused even when another could. A later store that can't do what is asked
/// of the list is passed over. Replicated, writes are possible that are possible in every store.
#[derive(Debug, Clone)]
pub struct FailoverStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    info: StoreInfo,
    members: Vec<Member>,
    labels: Labels,
    options: FailoverOptions,
    clock: Arc<dyn Clock>,
    random: Random,
    watcher: Watcher,
    writes: NameLocks,
}

impl FailoverStore {
    /// How each store is, in the order of the list.
    #[must_use]
    pub fn status(&self) -> Vec<MemberStatus> {
        let now = self.0.clock.now();
        self.0.members.iter().map(|member| member.status(now)).collect()
    }
}

#[async_trait]
impl SecretStore for FailoverStore {
    fn info(&self) -> &StoreInfo {
        &self.0.info
    }

    async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        self.0.get(name, options).await
    }

    async fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        self.0.get_many(requests).await
    }

    async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        Inner::put(&self.0, name, request).await
    }

    async fn delete(&self, name: &SecretName, options: &DeleteOptions) -> Result<()> {
        Inner::delete(&self.0, name, options).await
    }

    async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        Inner::restore(&self.0, name).await
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

/// Who is told of transitions.
struct Watcher(Option<Box<OnTransition>>);

type OnTransition = dyn Fn(&Transition) + Send + Sync;

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a function" } else { "nobody" })
    }
}
