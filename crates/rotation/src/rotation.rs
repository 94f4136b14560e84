//! Rotations of the secrets of a store, as a program sees them.

use std::sync::Arc;

use futures_util::future::join;
use keyfob_core::{
    Actor, Clock, DeleteMode, DeleteOptions, Environment, Error, ErrorKind, Metadata, Result, Secret, SecretName, SecretStore,
    SystemClock, Version, VersionSelector, with_reason,
};

use crate::drain::Drain;
use crate::hold::{self, Terms};
use crate::journal::{Ended, Last};
use crate::names::Names;
use crate::options::RotationOptions;
use crate::orders::{nothing_to_go_back_to, written_since};
use crate::phase::Phase;
use crate::place::{Place, Seen};
use crate::rotator::Rotator;
use crate::run::{Run, absent, reason, version};
use crate::slot;
use crate::status::{Outcome, Status, UnderWayStatus};

/// Rotates the secrets of a store. Cheap to clone; see the [crate](crate) for how a rotation goes.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub(crate) store: Arc<dyn SecretStore>,
    /// Where journals are kept, if not in `store`, and what their names begin with.
    journals: Option<(Arc<dyn SecretStore>, String)>,
    is_sole_runner: bool,
    holder: String,
    pub(crate) drain: Option<Arc<dyn Drain>>,
    pub(crate) options: RotationOptions,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The places that belong to one secret.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) target: Place,
    pub(crate) journal: Place,
    pub(crate) pending: Place,
    /// Where the old value is kept; `None` where the store keeps versions.
    pub(crate) previous: Option<Place>,
}

impl Rotation {
    /// Rotates secrets of `store`, which keeps journals and leases too.
    #[must_use]
    pub fn new(store: Arc<dyn SecretStore>) -> Self {
        let actor = Actor::of_process(&Environment::from_process());
        let mut nonce = [0; 4];
        // Only tells two in one process apart; without random numbers they are told apart by what they write.
        let _ = getrandom::fill(&mut nonce);
        let nonce = data_encoding::HEXLOWER.encode(&nonce);
        Self {
            store,
            journals: None,
            is_sole_runner: false,
            holder: format!("{}@{} {}[{}] {nonce}", actor.user, actor.host, actor.process, actor.pid),
            drain: None,
            options: RotationOptions::default(),
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Keeps journals and leases in another store: for one that can't compare and set. Values stay where they are.
    ///
    /// All who rotate secrets of one store must give the same `store` and `prefix`. The prefix, portable and for example `azure/`,
    /// tells apart stores that share it.
    #[must_use]
    pub fn journals(mut self, store: Arc<dyn SecretStore>, prefix: impl Into<String>) -> Self {
        self.journals = Some((store, prefix.into()));
        self
    }

    /// Promises that nobody else ever rotates secrets of this store at the same time, so that a store that can't compare and set
    /// may keep the journal all the same.
    #[must_use]
    pub fn sole_runner(mut self) -> Self {
        self.is_sole_runner = true;
        self
    }

    /// What others are told of who holds a lease, instead of user, machine, program and process. Must differ from that of everybody
    /// else.
    #[must_use]
    pub fn holder(mut self, holder: impl Into<String>) -> Self {
        self.holder = holder.into();
        self
    }

    /// Ends grace periods early when the old value is no longer in use.
    #[must_use]
    pub fn drain(mut self, drain: Arc<dyn Drain>) -> Self {
        self.drain = Some(drain);
        self
    }

    /// How rotations go.
    #[must_use]
    pub fn options(mut self, options: RotationOptions) -> Self {
        self.options = options;
        self
    }

    /// How rotations go now.
    #[must_use]
    pub fn present_options(&self) -> &RotationOptions {
        &self.options
    }

    /// Takes time from `clock` instead of the machine.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Rotates the secret: goes on with the rotation that is under way, else begins one.
    ///
    /// Ends at the grace period, or after it where [`wait`](RotationOptions::wait) says so. An earlier rotation whose grace period is
    /// over is brought to its end first.
    ///
    /// # Errors
    /// - `Conflict`: somebody else is rotating the secret (who, and until when at the least, stands in the error); or the grace
    ///   period of the last rotation is not over; or the rotation under way is of another kind; or the lease was lost on the way.
    /// - `NotFound`: there is no such secret.
    /// - `Unsupported`: the store can't compare and set, and neither [`journals`](Self::journals) nor
    ///   [`sole_runner`](Self::sole_runner) was said; or it can't keep what is needed.
    /// - `Expired`: the secret has expired and the new value would be too.
    /// - What the rotator says. The message tells whether the rotation was rolled back (`rolled_back`) or waits for the next run.
    pub async fn rotate(&self, name: &SecretName, rotator: &dyn Rotator) -> Result<Outcome> {
        let outcome = Run::rotate(self, name, rotator).await?;
        Run::wait(self, name, rotator, outcome).await
    }

    /// Goes on with the rotation that is under way, and begins none: for after a crash, and for the end of a grace period.
    ///
    /// Costs one read where there is nothing to do.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate).
    pub async fn resume(&self, name: &SecretName, rotator: &dyn Rotator) -> Result<Outcome> {
        let outcome = Run::resume(self, name, rotator).await?;
        Run::wait(self, name, rotator, outcome).await
    }

    /// Takes a rotation back.
    ///
    /// - Before the new value is current: it is withdrawn.
    /// - Afterwards: a rotation in the other direction begins, which makes the old value current again, is tested like any other and
    ///   ends by revoking the newer value.
    ///
    /// # Errors
    /// As [`rotate`](Self::rotate). `NotFound` when there is no value to go back to. When the old value doesn't work any more, the
    /// error of the test.
    pub async fn rollback(&self, name: &SecretName, rotator: &dyn Rotator) -> Result<Outcome> {
        let outcome = Run::rollback(self, name, rotator).await?;
        Run::wait(self, name, rotator, outcome).await
    }

    /// What is known of the rotations of the secret: one read, of the journal alone.
    ///
    /// # Errors
    /// `Corrupt` for a damaged journal; those of the store.
    pub async fn status(&self, name: &SecretName) -> Result<Status> {
        let places = self.places(name)?;
        let (journal, _) = with_reason(reason(self, "status")?, hold::read(&places.journal, name)).await?;
        Ok(journal.into())
    }

    /// The old value, while it is valid: from when the new one is current until it is being revoked. On a store that keeps versions it
    /// is `@previous`, on others it is kept aside.
    ///
    /// # Errors
    /// `NotFound` when no old value is valid. Those of the store.
    pub async fn previous(&self, name: &SecretName) -> Result<Secret> {
        let none = || Error::new(ErrorKind::NotFound, "no earlier value is valid").with("name", name.as_str());
        let places = self.places(name)?;
        let reading = async {
            let (journal, _) = hold::read(&places.journal, name).await?;
            let under_way = journal.under_way.ok_or_else(none)?;
            if !matches!(under_way.phase, Phase::Finishing | Phase::Grace) {
                return Err(none());
            }
            let seen = places.old(under_way.old_version.as_deref()).await?.ok_or_else(none)?;
            let mut metadata = Metadata::new(name.clone(), Arc::clone(&self.store.info().scheme));
            metadata.version = version(under_way.old_version.as_deref());
            metadata.expires_at = seen.expires_at;
            Ok(Secret::new(seen.value, metadata))
        };
        with_reason(reason(self, "previous")?, reading).await
    }

    /// Deletes the journal and the empty places of a secret that is rotated no longer.
    ///
    /// Only for when nobody rotates it: the fencing number begins anew. Of a secret that is gone, a rotation that was under way is
    /// forgotten too, with the old value that was kept aside. A damaged journal is deleted.
    ///
    /// # Errors
    /// `Conflict` while a rotation is under way and the secret is there. Those of the store.
    pub async fn forget(&self, name: &SecretName) -> Result<()> {
        self.let_go(name, false).await.map(drop)
    }

    /// As [`forget`](Self::forget), and ends a rotation that is under way where it is: for one that its own rotator can't bring to an
    /// end any more, because its program is gone or the policy has another kind.
    ///
    /// The secret keeps the value that it has now. Nobody is asked to withdraw or revoke anything: what the rotation made or replaced
    /// may stay valid wherever it is used. Returns what was under way.
    ///
    /// # Errors
    /// `Conflict` while somebody holds the lease. Those of the store.
    pub async fn abandon(&self, name: &SecretName) -> Result<Option<UnderWayStatus>> {
        self.let_go(name, true).await
    }

    async fn let_go(&self, name: &SecretName, is_abandoned: bool) -> Result<Option<UnderWayStatus>> {
        let places = self.places(name)?;
        let forgetting = async {
            let under_way = match hold::read(&places.journal, name).await {
                Ok((journal, _)) => {
                    if is_abandoned {
                        hold::free(&journal, name, &self.terms(), &*self.clock)?;
                    }
                    Status::from(journal).under_way
                }
                Err(error) if error.kind() == ErrorKind::Corrupt => None,
                Err(error) => return Err(error),
            };
            if let Some(under_way) = under_way.as_ref().filter(|_| !is_abandoned)
                && places.target.read().await?.is_some()
            {
                return Err(Error::new(ErrorKind::Conflict, "a rotation of the secret is under way")
                    .with("name", name.as_str())
                    .with("phase", under_way.phase.as_str())
                    .with_hint("bring it to its end, roll it back, or abandon it"));
            }
            // For good where that is possible: what could be restored would keep its name from being used. The journal last:
            // without it nobody would know of the others.
            let all = [Some(&places.pending), places.previous.as_ref(), Some(&places.journal)];
            for place in all.into_iter().flatten() {
                let mode = match place.can().delete_permanent {
                    true => DeleteMode::Permanent,
                    false => DeleteMode::StoreDefault,
                };
                match place.store.delete(&place.name, &DeleteOptions { mode }).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            Ok(under_way)
        };
        with_reason(reason(self, "forget")?, forgetting).await
    }

    /// The places of `name`, if they can be used as a rotation needs.
    pub(crate) fn places(&self, name: &SecretName) -> Result<Places> {
        let (journals, prefix) = self.journal_place();
        let names = Names::of(name, prefix)?;
        let can = self.store.info().capabilities;
        let place = |store: &Arc<dyn SecretStore>, name: SecretName| {
            store.info().capabilities.check_name(&name)?;
            Ok::<_, Error>(Place {
                store: Arc::clone(store),
                name,
            })
        };
        let keeps = journals.info().capabilities;
        if !can.put || !keeps.put {
            return Err(
                Error::new(ErrorKind::Unsupported, "a store that can't be written to can't be rotated")
                    .with("name", name.as_str()),
            );
        }
        let compares = keeps.put_create && keeps.put_match;
        if !compares && !self.is_sole_runner {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this store can't compare and set, so it can't keep two from rotating the same secret at once",
            )
            .with("store", &*journals.info().scheme)
            .with("name", name.as_str())
            .with_hint("keep the journals in another store that can, or say that nobody else rotates"));
        }
        Ok(Places {
            target: place(&self.store, name.clone())?,
            journal: place(journals, names.journal)?,
            pending: place(&self.store, names.pending)?,
            previous: match can.versions {
                true => None,
                false => Some(place(&self.store, names.previous)?),
            },
        })
    }

    /// Where journals are kept, and what their names begin with.
    pub(crate) fn journal_place(&self) -> (&Arc<dyn SecretStore>, &str) {
        match &self.journals {
            Some((store, prefix)) => (store, prefix),
            None => (&self.store, ""),
        }
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms {
            holder: self.holder.clone(),
            time: self.options.lease,
            skew: self.options.clock_skew,
        }
    }
}

impl Places {
    /// The value that was current when the rotation began, if it still can be read.
    pub(crate) async fn old(&self, version: Option<&str>) -> Result<Option<Seen>> {
        match (&self.previous, version) {
            (Some(previous), _) => {
                let seen = previous.read().await?;
                Ok(seen.filter(|seen| !slot::is_empty(&seen.value)))
            }
            (None, Some(version)) => self.target.read_version(VersionSelector::Exact(Version::new(version)?)).await,
            (None, None) => Ok(None),
        }
    }

    /// The current value, and the version before it, which the last rotation replaced, with its value.
    pub(crate) async fn last_one(&self, last: Option<&Last>, name: &SecretName) -> Result<(Seen, String, Seen)> {
        let source = last
            .filter(|last| last.ended == Ended::Completed)
            .and_then(|last| last.old_version.clone());
        let source = source
            .filter(|_| self.previous.is_none())
            .ok_or_else(|| nothing_to_go_back_to(name))?;
        let made = last.and_then(|last| last.new_version.as_deref());
        match self.old_and_new(Some(&source)).await? {
            (_, None) => Err(absent(name)),
            (_, Some(current)) if !self.is_as_made(&current, made) => Err(written_since(name)),
            (None, _) => Err(nothing_to_go_back_to(name)),
            (Some(old), Some(current)) => Ok((current, source, old)),
        }
    }

    /// Whether the current value is still the one that a rotation made, as far as anybody can tell: tokens of a store without versions may
    /// change with another secret.
    pub(crate) fn is_as_made(&self, current: &Seen, made: Option<&str>) -> bool {
        let present = current.version.as_ref().map(Version::as_str);
        self.previous.is_some() || made.is_none() || present.is_none() || made == present
    }

    /// The old value and the current one, after the switch.
    pub(crate) async fn old_and_new(&self, old: Option<&str>) -> Result<(Option<Seen>, Option<Seen>)> {
        let (old, new) = join(self.old(old), self.target.read()).await;
        Ok((old?, new?))
    }
}
