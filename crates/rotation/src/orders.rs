//! What a run is asked: to rotate, to go on, to take back.

use std::sync::Mutex;
use std::time::SystemTime;

use futures_util::future::{Either, join, select};
use keyfob_core::{Error, ErrorKind, Result, SecretName, with_reason};

use crate::hold;
use crate::journal::{Journal, UnderWay, rfc3339, token};
use crate::phase::Phase;
use crate::place::Seen;
use crate::random::random_id;
use crate::rotation::{Places, Rotation};
use crate::rotator::{Rotator, StepContext};
use crate::run::{Run, absent, in_grace_until, reason, same_kind};
use crate::slot;
use crate::status::Outcome;
use crate::steps::Trouble;

impl<'a> Run<'a> {
    pub(crate) async fn rotate(rotation: &'a Rotation, name: &'a SecretName, rotator: &'a dyn Rotator) -> Result<Outcome> {
        loop {
            let places = rotation.places(name)?;
            let (known, current, slot) = with_reason(reason(rotation, "begin")?, async {
                // First, so that the lease is taken only if no other run has changed the rest since it was read.
                let known = hold::read(&places.journal, name).await?;
                let (current, slot) = join(places.target.read(), places.pending.read()).await;
                Ok::<_, Error>((known, current?, slot?))
            })
            .await?;
            let current = current.ok_or_else(|| absent(name))?;
            let now = rotation.clock.system_now();
            if rotation.options.expires_after.is_none() && current.expires_at.is_some_and(|expiry| expiry <= now) {
                return Err(Error::new(
                    ErrorKind::Expired,
                    "the secret has expired, and the new value would be expired too",
                )
                .with("name", name.as_str())
                .with_hint("say how long a new value lives, or take the expiry away"));
            }
            let id = random_id()?;
            let (mut is_earlier, mut has_begun) = (false, false);
            let run = Self::take(rotation, name, rotator, places, known, |journal| {
                if let Some(under_way) = &journal.under_way {
                    is_earlier = matches!(under_way.phase, Phase::Grace | Phase::Revoking | Phase::RollingBack);
                    if under_way.phase == Phase::Grace && !rotation.options.end_grace {
                        in_grace(name, under_way, now)?;
                    }
                } else {
                    begin(journal, &id, rotator.kind(), now, &current);
                    has_begun = true;
                }
                Ok(())
            })
            .await?;
            let run = Self {
                ends_grace: is_earlier,
                looked: Mutex::new(has_begun.then_some((current, slot))),
                ..run
            };
            let outcome = run.drive().await?;
            if !is_earlier {
                return Ok(outcome);
            }
        }
    }

    pub(crate) async fn resume(rotation: &'a Rotation, name: &'a SecretName, rotator: &'a dyn Rotator) -> Result<Outcome> {
        let places = rotation.places(name)?;
        let reason = reason(rotation, "resume")?;
        let known = with_reason(reason.clone(), hold::read(&places.journal, name)).await?;
        let fence = known.0.fence;
        let Some(under_way) = known.0.under_way.clone() else {
            return Ok(Outcome::Nothing);
        };
        same_kind(name, &under_way, rotator)?;
        let mut ends_grace = rotation.options.end_grace;
        if let (Phase::Grace, Some(until), false) = (under_way.phase, under_way.grace_until, ends_grace)
            && rotation.clock.system_now() < until
        {
            // Nothing is held and nothing written while all that happens is waiting.
            let asking = is_drained(rotation, name, &places, &under_way, fence);
            if !with_reason(reason, asking).await? {
                return Ok(in_grace_until(&under_way, until));
            }
            ends_grace = true;
        }
        let run = Self::take(rotation, name, rotator, places, known, |_| Ok(())).await?;
        let run = Self { ends_grace, ..run };
        if run.hold.journal().await.under_way.is_none() {
            run.hold.release(|_| ()).await?;
            return Ok(Outcome::Nothing);
        }
        run.drive().await
    }

    /// Waits for the end of the grace period, if the outcome is one and the options say so.
    pub(crate) async fn wait(
        rotation: &'a Rotation,
        name: &'a SecretName,
        rotator: &'a dyn Rotator,
        mut outcome: Outcome,
    ) -> Result<Outcome> {
        while let (Outcome::Grace { until, .. }, true) = (&outcome, rotation.options.wait) {
            let left = until.duration_since(rotation.clock.system_now()).unwrap_or_default();
            let pause = match rotation.drain {
                Some(_) => left.min(rotation.options.drain_poll),
                None => left,
            };
            rotation.clock.sleep(pause).await;
            outcome = Self::resume(rotation, name, rotator).await?;
        }
        Ok(outcome)
    }

    pub(crate) async fn rollback(rotation: &'a Rotation, name: &'a SecretName, rotator: &'a dyn Rotator) -> Result<Outcome> {
        let places = rotation.places(name)?;
        let why = reason(rotation, "rollback")?;
        // Looked at before the lease is taken, so that none is taken for nothing.
        let (known, back) = with_reason(why.clone(), async {
            let known = hold::read(&places.journal, name).await?;
            let back = match known.0.under_way {
                Some(_) => None,
                None => {
                    let (current, source, old) = places.last_one(known.0.last.as_ref(), name).await?;
                    comes_back(name, rotator, &old, &current)?;
                    Some((current, source))
                }
            };
            Ok::<_, Error>((known, back))
        })
        .await?;
        let (id, now) = (random_id()?, rotation.clock.system_now());
        let mut has_begun = false;
        let run = Self::take(rotation, name, rotator, places, known, |journal| {
            has_begun = journal.under_way.is_none();
            match (&journal.under_way, &back) {
                (Some(_), _) => Ok(()),
                (None, Some((current, source))) => {
                    begin(journal, &id, rotator.kind(), now, current);
                    go_back(journal, Some(source.clone()));
                    Ok(())
                }
                (None, None) => {
                    Err(Error::new(ErrorKind::Conflict, "the rotation has ended meanwhile").with("name", name.as_str()))
                }
            }
        })
        .await?;
        if !has_begun && let Err(error) = with_reason(why, run.turn_back()).await {
            // Without the lease, what was seen means nothing.
            run.hold.check()?;
            // What is under way stays as it is, and nobody has to wait for the lease.
            let _ = run.hold.release(|_| ()).await;
            return Err(error);
        }
        run.drive().await
    }

    /// Brings what is under way to where it goes back.
    async fn turn_back(&self) -> Result<()> {
        let Some(under_way) = self.hold.journal().await.under_way else {
            return Ok(());
        };
        if under_way.reverse {
            // On its way back already: it goes on.
            return Ok(());
        }
        match under_way.phase {
            Phase::Creating | Phase::Setting | Phase::Testing => self.turn(Phase::RollingBack, |_| ()).await,
            Phase::RollingBack => Ok(()),
            Phase::Switching => match self.switching(&under_way).await {
                Ok(_) => self.reverse(under_way.old_version, None).await,
                Err(Trouble::Foreign(_)) => self.turn(Phase::RollingBack, |_| ()).await,
                Err(Trouble::Failed(error)) => Err(error),
            },
            Phase::Finishing | Phase::Grace => self.reverse(under_way.old_version, under_way.new_version).await,
            // A part of the new value may have been cut out already.
            Phase::Revoking => self.reverse(under_way.old_version, None).await,
        }
    }

    /// Begins a rotation back to the version `source`, or to what is kept aside, if the secret still has the version that the rotation
    /// made.
    async fn reverse(&self, source: Option<String>, made: Option<String>) -> Result<()> {
        let (id, now) = (random_id()?, self.rotation.clock.system_now());
        let current = self.places.target.read().await?.ok_or_else(|| absent(self.name))?;
        if !self.places.is_as_made(&current, made.as_deref()) {
            return Err(written_since(self.name));
        }
        let old = self.places.old(source.as_deref()).await?;
        let old = old.ok_or_else(|| nothing_to_go_back_to(self.name))?;
        comes_back(self.name, self.rotator, &old, &current)?;
        // What was pending has become current; it must not be taken for what comes back.
        slot::empty(&self.places.pending, &self.hold, None).await?;
        let kind = self.rotator.kind();
        self.hold
            .enter(|journal| {
                begin(journal, &id, kind, now, &current);
                go_back(journal, source);
            })
            .await
    }
}

fn begin(journal: &mut Journal, id: &str, rotator: &str, now: SystemTime, current: &Seen) {
    journal.under_way = Some(UnderWay {
        id: format!("{}-{id}", journal.fence),
        rotator: rotator.to_owned(),
        phase: Phase::Creating,
        started: now,
        reverse: false,
        source: None,
        old_version: token(current.version.as_ref()),
        new_version: None,
        grace_until: None,
        attempts: 0,
        failed: None,
        data: std::collections::BTreeMap::new(),
    });
}

/// Whether the hook says that the old value is not in use. An error says nothing, so it counts as no.
async fn is_drained(rotation: &Rotation, name: &SecretName, places: &Places, under_way: &UnderWay, fence: u64) -> Result<bool> {
    let Some(drain) = &rotation.drain else {
        return Ok(false);
    };
    let (old, new) = places.old_and_new(under_way.old_version.as_deref()).await?;
    let value = |seen: Option<Seen>| seen.map(|seen| seen.value);
    let step = StepContext::unheld(name, under_way, fence, value(old), value(new));
    let limit = rotation.clock.sleep(rotation.options.step_limit);
    Ok(match select(drain.is_drained(&step), limit).await {
        Either::Left((answer, _)) => answer.unwrap_or(false),
        Either::Right(_) => false,
    })
}

/// What somebody has written must not be lost unseen.
pub(crate) fn written_since(name: &SecretName) -> Error {
    let problem = "somebody has written the secret since the rotation, and that would be lost";
    Error::new(ErrorKind::Conflict, problem)
        .with("name", name.as_str())
        .with_hint("rotate again, once the grace period is over if there is one")
}

/// Whether the value from before may become current again.
fn comes_back(name: &SecretName, rotator: &dyn Rotator, old: &Seen, current: &Seen) -> Result<()> {
    match rotator.come_back(&old.value, &current.value) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.with("name", name.as_str()).with("rotator", rotator.kind())),
    }
}

fn go_back(journal: &mut Journal, source: Option<String>) {
    if let Some(under_way) = &mut journal.under_way {
        under_way.reverse = true;
        under_way.source = source;
    }
}

fn in_grace(name: &SecretName, under_way: &UnderWay, now: SystemTime) -> Result<()> {
    match under_way.grace_until {
        Some(until) if now < until => Err(Error::new(
            ErrorKind::Conflict,
            "the grace period of the last rotation is not over, and a new one would end it",
        )
        .with("name", name.as_str())
        .with("until", rfc3339(until))
        .with_hint("wait, or say that the grace period may be cut short")),
        _ => Ok(()),
    }
}

pub(crate) fn nothing_to_go_back_to(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "there is no earlier value to go back to").with("name", name.as_str())
}
