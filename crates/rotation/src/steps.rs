//! What is done in each phase. Each begins by looking at what is there, and so can be begun again anywhere.

use std::sync::PoisonError;

use futures_util::future::join;
use keyfob_core::{Change, Error, ErrorKind, PutRequest, Result, SecretValue};

use crate::journal::{Ended, UnderWay, token};
use crate::phase::Phase;
use crate::place::{Seen, Written};
use crate::rotator::StepContext;
use crate::run::{Run, absent, in_grace_until, version};
use crate::slot;
use crate::status::Outcome;

/// What comes after a step.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next phase, which is in the journal already.
    On,
    /// The end, or a pause; the lease is given back.
    Rest(Outcome),
}

/// Why a step did not come to its end.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Somebody else has changed the secret.
    Foreign(Error),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The two values before the switch.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    pub(crate) current: Seen,
    pub(crate) pending: Seen,
}

type Step = Result<Next, Trouble>;

impl Run<'_> {
    pub(crate) async fn step(&self, under_way: &UnderWay) -> Step {
        match under_way.phase {
            Phase::Creating => self.creating(under_way).await,
            Phase::Setting => self.setting(under_way).await,
            Phase::Testing => self.testing(under_way).await,
            Phase::Switching => self.switching(under_way).await,
            Phase::Finishing => self.finishing(under_way).await,
            Phase::Grace => self.grace(under_way).await,
            Phase::Revoking => self.revoking(under_way).await,
            Phase::RollingBack => self.rolling_back(under_way).await,
        }
    }

    async fn creating(&self, under_way: &UnderWay) -> Step {
        let looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (current, slot) = match looked {
            Some(looked) => looked,
            None => self.look().await?,
        };
        self.has_same_version(under_way, &current)?;
        if !under_way.reverse {
            // First, so that whatever is made is made from the value that is kept.
            self.keep_previous(&current, |_| false).await?;
        }
        let pending = match slot.clone().filter(|slot| !slot::is_empty(&slot.value)) {
            Some(pending) => pending,
            None => {
                let value = self.make(under_way, &current).await?;
                slot::fill(&self.places.pending, slot.as_ref(), &value, &self.hold).await?
            }
        };
        if under_way.reverse {
            // Last, because what comes back is taken from the place that the other value is put into.
            let comes_back = |kept: &SecretValue| {
                let back = self.rotator.come_back(kept, &current.value);
                back.is_ok_and(|back| pending.holds(&back))
            };
            self.keep_previous(&current, comes_back).await?;
        }
        self.remember(Values { current, pending });
        self.turn(Phase::Setting, |_| ()).await?;
        Ok(Next::On)
    }

    /// The value that is to come, if the store can keep it.
    async fn make(&self, under_way: &UnderWay, current: &Seen) -> Result<SecretValue> {
        let value = if under_way.reverse {
            let source = self.places.old(under_way.source.as_deref()).await?;
            let source = source.ok_or_else(|| Error::new(ErrorKind::NotFound, "the earlier value is no longer in the store"))?;
            self.rotator.come_back(&source.value, &current.value)?
        } else {
            let step = StepContext::of(&self.hold, self.name, under_way, Some(current.value.clone()), None);
            self.hold.during(self.limit(), self.rotator.create(&step)).await?
        };
        let problem = if value.expose_secret().is_empty() {
            "the new value is empty"
        } else if current.holds(&value) {
            "the new value is the one that is current already"
        } else if slot::is_empty(&value) {
            "the new value is one that rotations use for themselves"
        } else {
            let mut request = PutRequest::new(value.clone());
            request.expires_at = self.expiry();
            self.places.target.can().check_put(self.name, &request)?;
            return Ok(value);
        };
        Err(Error::new(ErrorKind::InvalidInput, problem))
    }

    async fn setting(&self, under_way: &UnderWay) -> Step {
        let step = self.before_switch(under_way).await?;
        self.hold.during(self.limit(), self.rotator.set(&step)).await?;
        self.turn(Phase::Testing, |_| ()).await?;
        Ok(Next::On)
    }

    async fn testing(&self, under_way: &UnderWay) -> Step {
        let step = self.before_switch(under_way).await?;
        self.hold.during(self.limit(), self.rotator.test(&step)).await?;
        self.turn(Phase::Switching, |_| ()).await?;
        Ok(Next::On)
    }

    /// Makes the pending value current. Whatever came of an earlier try, it is done once.
    pub(crate) async fn switching(&self, under_way: &UnderWay) -> Step {
        let Values { current, pending } = match self.remembered().filter(|_| self.places.previous.is_none()) {
            Some(values) => values,
            None => {
                let (current, slot) = self.look().await?;
                let pending = slot.filter(|slot| !slot::is_empty(&slot.value)).ok_or_else(vanished)?;
                Values { current, pending }
            }
        };
        let now = if current.holds(&pending.value) {
            current
        } else {
            self.is_as_it_was(under_way, &current).await?;
            if !self.places.target.can().put_match {
                // Nothing but the lease keeps a late run from writing here, so be sure of it right before.
                self.hold.enter(|_| ()).await?;
            }
            let expiry = self.expiry();
            match self
                .places
                .target
                .write(Some(&current), &pending.value, expiry, &|| self.hold.check())
                .await?
            {
                Written::Done(now) => now,
                Written::Lost(_) => return Err(changed_by_others()),
            }
        };
        let new_version = token(now.version.as_ref());
        self.turn(Phase::Finishing, |under_way| under_way.new_version = new_version)
            .await?;
        Ok(Next::On)
    }

    /// On a store without versions: puts the value aside that will be replaced, over what is there if that `may_go`. It is also
    /// what tells later whether the current value is still the same, since tokens there may change with another secret, or be
    /// missing.
    async fn keep_previous(&self, current: &Seen, may_go: impl Fn(&SecretValue) -> bool) -> Result<(), Trouble> {
        let Some(previous) = &self.places.previous else {
            return Ok(());
        };
        let kept = previous.read().await?;
        match slot::filled(kept.as_ref()) {
            Some(value) if current.holds(value) => return Ok(()),
            Some(value) if may_go(value) => {}
            Some(_) => return Err(changed_by_others()),
            None => {}
        }
        let guard = || self.hold.check();
        match previous.write(kept.as_ref(), &current.value, Change::Keep, &guard).await? {
            Written::Done(_) => Ok(()),
            Written::Lost(_) => Err(Trouble::Failed(Error::new(
                ErrorKind::Conflict,
                "somebody else writes to a reserved name",
            ))),
        }
    }

    async fn finishing(&self, under_way: &UnderWay) -> Step {
        // Where this run has made the value current, it knows what stands where.
        let known = self.remembered();
        let slot = known.as_ref().map(|values| values.pending.clone());
        slot::empty(&self.places.pending, &self.hold, slot).await?;
        let (old, new) = match known {
            Some(Values { current, pending }) => (Some(current), Some(pending)),
            None => self.places.old_and_new(under_way.old_version.as_deref()).await?,
        };
        let value = |seen: Option<Seen>| seen.map(|seen| seen.value);
        let step = StepContext::of(&self.hold, self.name, under_way, value(old), value(new));
        self.hold.during(self.limit(), self.rotator.finish(&step)).await?;
        let grace = self.rotation.options.grace;
        if grace.is_zero() {
            self.turn(Phase::Revoking, |_| ()).await?;
        } else {
            let until = self.rotation.clock.system_now() + grace;
            self.turn(Phase::Grace, |under_way| under_way.grace_until = Some(until))
                .await?;
        }
        Ok(Next::On)
    }

    async fn grace(&self, under_way: &UnderWay) -> Step {
        let until = under_way.grace_until.unwrap_or(under_way.started);
        if self.ends_grace || until <= self.rotation.clock.system_now() {
            self.turn(Phase::Revoking, |_| ()).await?;
            return Ok(Next::On);
        }
        self.hold.release(|_| ()).await?;
        Ok(Next::Rest(in_grace_until(under_way, until)))
    }

    async fn revoking(&self, under_way: &UnderWay) -> Step {
        let (old, new) = self.places.old_and_new(under_way.old_version.as_deref()).await?;
        let is_back = matches!((&old, &new), (Some(old), Some(new)) if new.holds(&old.value));
        let mut new_version = under_way.new_version.clone();
        if !is_back {
            let value = |seen: &Option<Seen>| seen.as_ref().map(|seen| seen.value.clone());
            let step = StepContext::of(&self.hold, self.name, under_way, value(&old), value(&new));
            let rest = self.hold.during(self.limit(), self.rotator.revoke(&step)).await?;
            if let (Some(rest), Some(new)) = (rest, new)
                && !new.holds(&rest)
                && !rest.expose_secret().is_empty()
            {
                let guard = || self.hold.check();
                if let Written::Done(now) = self.places.target.write(Some(&new), &rest, Change::Keep, &guard).await? {
                    new_version = token(now.version.as_ref());
                }
            }
        }
        self.clear_previous().await?;
        let ended = if is_back { Ended::Superseded } else { Ended::Completed };
        let outcome = match ended {
            Ended::Superseded => Outcome::Superseded,
            _ => Outcome::Completed {
                version: version(new_version.as_deref()),
            },
        };
        self.end(ended, new_version).await?;
        Ok(Next::Rest(outcome))
    }

    async fn rolling_back(&self, under_way: &UnderWay) -> Step {
        let (current, slot) = join(self.places.target.read(), self.places.pending.read()).await;
        let (current, slot) = (current?, slot?);
        let new = match slot::filled(slot.as_ref()) {
            Some(value) => Some(value.clone()),
            // What was to come back is known before it was put into the slot.
            None if under_way.reverse => {
                let source = self.places.old(under_way.source.as_deref()).await?;
                source.map(|source| source.value)
            }
            None => None,
        };
        // If somebody made the new value current by hand, it must stay valid.
        let is_current = matches!((&current, &new), (Some(current), Some(new)) if current.holds(new));
        if !is_current {
            let old = current.map(|current| current.value);
            let step = StepContext::of(&self.hold, self.name, under_way, old, new);
            self.hold.during(self.limit(), self.rotator.rollback(&step)).await?;
        }
        slot::empty(&self.places.pending, &self.hold, None).await?;
        self.clear_previous().await?;
        let (ended, outcome) = match is_current {
            true => (Ended::Superseded, Outcome::Superseded),
            false => (Ended::RolledBack, Outcome::RolledBack),
        };
        self.end(ended, None).await?;
        Ok(Next::Rest(outcome))
    }

    async fn clear_previous(&self) -> Result<()> {
        match &self.places.previous {
            Some(previous) => slot::empty(previous, &self.hold, None).await,
            None => Ok(()),
        }
    }

    async fn before_switch(&self, under_way: &UnderWay) -> Result<StepContext<'_>, Trouble> {
        let values = match self.remembered() {
            Some(values) => values,
            None => {
                let (current, slot) = self.look().await?;
                self.is_as_it_was(under_way, &current).await?;
                let pending = slot.filter(|slot| !slot::is_empty(&slot.value)).ok_or_else(vanished)?;
                let values = Values { current, pending };
                self.remember(values.clone());
                values
            }
        };
        let Values { current, pending } = values;
        Ok(StepContext::of(
            &self.hold,
            self.name,
            under_way,
            Some(current.value),
            Some(pending.value),
        ))
    }

    /// The current value, and the slot of the pending one.
    async fn look(&self) -> Result<(Seen, Option<Seen>), Trouble> {
        let (current, slot) = join(self.places.target.read(), self.places.pending.read()).await;
        let current = current?.ok_or_else(|| Trouble::Foreign(absent(self.name)))?;
        Ok((current, slot?))
    }

    /// Whether the current value is the one from the beginning.
    async fn is_as_it_was(&self, under_way: &UnderWay, current: &Seen) -> Result<(), Trouble> {
        let Some(previous) = &self.places.previous else {
            return self.has_same_version(under_way, current);
        };
        let kept = previous.read().await?;
        let kept = slot::filled(kept.as_ref()).ok_or_else(vanished)?;
        match current.holds(kept) {
            true => Ok(()),
            false => Err(changed_by_others()),
        }
    }

    fn has_same_version(&self, under_way: &UnderWay, current: &Seen) -> Result<(), Trouble> {
        let is_same = self.places.previous.is_some() || token(current.version.as_ref()) == under_way.old_version;
        match is_same {
            true => Ok(()),
            false => Err(changed_by_others()),
        }
    }

    fn expiry(&self) -> Change<std::time::SystemTime> {
        match self.rotation.options.expires_after {
            Some(time) => Change::Set(self.rotation.clock.system_now() + time),
            None => Change::Keep,
        }
    }
}

fn changed_by_others() -> Trouble {
    Trouble::Foreign(
        Error::new(ErrorKind::Conflict, "somebody else changed the secret during its rotation")
            .with_hint("what they wrote stays; rotate again if that was not the intention"),
    )
}

fn vanished() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the pending value of the rotation has vanished from the store",
    )
}
