//! One run: takes the lease, and goes from phase to phase until the rotation is over or has to wait.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use keyfob_core::{Error, ErrorKind, Reason, Result, SecretName, with_reason};

use crate::hold::{Hold, Known};
use crate::journal::{Ended, Journal, Last, UnderWay};
use crate::phase::Phase;
use crate::place::Seen;
use crate::rotation::{Places, Rotation};
use crate::rotator::Rotator;
use crate::status::Outcome;
use crate::steps::{Next, Trouble, Values};

/// A run that has the lease.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) rotation: &'a Rotation,
    pub(crate) rotator: &'a dyn Rotator,
    pub(crate) name: &'a SecretName,
    pub(crate) places: Places,
    pub(crate) hold: Hold,
    /// Whether a grace period that is not over is ended.
    pub(crate) ends_grace: bool,
    /// What stood there when this run began the rotation, until it is used.
    pub(crate) looked: Mutex<Option<Looked>>,
    /// The two values before the switch, once this run has read them.
    pub(crate) values: Mutex<Option<Values>>,
}

/// The current value, and the slot of the pending one.
pub(crate) type Looked = (Seen, Option<Seen>);

impl<'a> Run<'a> {
    /// Takes the lease, and makes `entry` in the journal in the same write.
    pub(crate) async fn take(
        rotation: &'a Rotation,
        name: &'a SecretName,
        rotator: &'a dyn Rotator,
        places: Places,
        known: Known,
        entry: impl FnOnce(&mut Journal) -> Result<()>,
    ) -> Result<Self> {
        let taking = Hold::take(
            places.journal.clone(),
            name,
            rotation.terms(),
            std::sync::Arc::clone(&rotation.clock),
            known,
            |journal| {
                if let Some(under_way) = &journal.under_way {
                    same_kind(name, under_way, rotator)?;
                }
                entry(journal)
            },
        );
        let hold = with_reason(reason(rotation, "begin")?, taking).await?;
        Ok(Self {
            rotation,
            rotator,
            name,
            places,
            hold,
            ends_grace: false,
            looked: Mutex::default(),
            values: Mutex::default(),
        })
    }

    /// Goes on until the rotation is over or has to wait.
    pub(crate) async fn drive(&self) -> Result<Outcome> {
        // Nobody before us can have begun to make the value current while this is so.
        let mut has_tested = false;
        // Why it is being rolled back.
        let mut cause: Option<Error> = None;
        loop {
            let Some(under_way) = self.hold.journal().await.under_way else {
                return Ok(Outcome::Nothing);
            };
            let phase = under_way.phase;
            let trouble = match with_reason(self.reason(phase)?, self.step(&under_way)).await {
                Ok(Next::On) => {
                    has_tested |= phase == Phase::Testing;
                    continue;
                }
                Ok(Next::Rest(outcome)) => {
                    return match cause {
                        Some(error) => Err(error.with("rolled_back", "yes")),
                        None => Ok(outcome),
                    };
                }
                Err(trouble) => trouble,
            };
            let (error, is_foreign) = match trouble {
                Trouble::Foreign(error) => (error, true),
                Trouble::Failed(error) => (error, false),
            };
            let error = error.with("name", self.name.as_str()).with("phase", phase.as_str());
            if self.hold.is_lost() {
                return Err(error);
            }
            let (kind, attempts) = (error.kind(), under_way.attempts + 1);
            let goes_back = match phase {
                Phase::Creating | Phase::Setting | Phase::Testing => {
                    // Who goes back wants to go back: that is not given up for a disturbance.
                    let has_tried_enough = attempts >= self.rotation.options.attempts && !under_way.reverse;
                    is_foreign || !kind.is_retryable() || has_tried_enough
                }
                // A refused write of our own; one of a run before us could still be on its way.
                Phase::Switching => is_foreign || (has_tested && !kind.is_retryable()),
                _ => false,
            };
            if goes_back {
                self.turn(Phase::RollingBack, |under_way| under_way.failed = Some(kind))
                    .await?;
                cause = Some(error);
                continue;
            }
            // If this fails too, the lease ends by itself and the next run finds the phase all the same.
            let _ = with_reason(
                self.reason(phase)?,
                self.hold.release(|journal| {
                    if let Some(under_way) = &mut journal.under_way {
                        under_way.attempts = attempts;
                        under_way.failed = Some(kind);
                    }
                }),
            )
            .await;
            return Err(match cause {
                Some(cause) => cause.with("rolled_back", "not yet"),
                None => error,
            });
        }
    }

    /// Enters a phase, before anything of it is done.
    pub(crate) async fn turn(&self, phase: Phase, entry: impl FnOnce(&mut UnderWay)) -> Result<()> {
        let entering = self.hold.enter(|journal| {
            if let Some(under_way) = &mut journal.under_way {
                under_way.phase = phase;
                under_way.attempts = 0;
                entry(under_way);
            }
        });
        with_reason(self.reason(phase)?, entering).await
    }

    /// Ends the rotation and gives the lease back.
    pub(crate) async fn end(&self, ended: Ended, new_version: Option<String>) -> Result<()> {
        let at = self.rotation.clock.system_now();
        self.hold
            .release(|journal| {
                if let Some(under_way) = journal.under_way.take() {
                    journal.last = Some(Last {
                        id: under_way.id,
                        rotator: under_way.rotator,
                        ended,
                        at,
                        old_version: under_way.old_version,
                        new_version,
                        failed: under_way.failed,
                    });
                }
            })
            .await
    }

    pub(crate) fn remember(&self, values: Values) {
        *self.values.lock().unwrap_or_else(PoisonError::into_inner) = Some(values);
    }

    pub(crate) fn remembered(&self) -> Option<Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn limit(&self) -> Duration {
        self.rotation.options.step_limit
    }

    fn reason(&self, phase: Phase) -> Result<Reason> {
        reason(self.rotation, &format!("{} #{}", phase.as_str(), self.hold.fence()))
    }
}

/// What the audit records of a run's accesses say.
pub(crate) fn reason(rotation: &Rotation, what: &str) -> Result<Reason> {
    let what = format!("rotation: {what}");
    let text = match &rotation.options.reason {
        None => what,
        Some(reason) => {
            // The step must not be cut off.
            let most = Reason::MAX_BYTES - what.len() - 2;
            let reason = reason.as_str();
            let end = (0..=most.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
            format!("{}; {what}", &reason[..end.unwrap_or_default()])
        }
    };
    Reason::new(&text)
}

pub(crate) fn same_kind(name: &SecretName, under_way: &UnderWay, rotator: &dyn Rotator) -> Result<()> {
    if under_way.rotator == rotator.kind() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "a rotation of another kind is under way")
        .with("name", name.as_str())
        .with("under_way", under_way.rotator.as_str())
        .with("asked", rotator.kind())
        .with_hint("bring it to its end with its own rotator, roll it back with that, or abandon it"))
}

pub(crate) fn in_grace_until(under_way: &UnderWay, until: SystemTime) -> Outcome {
    Outcome::Grace {
        version: version(under_way.new_version.as_deref()),
        until,
    }
}

pub(crate) fn version(token: Option<&str>) -> Option<keyfob_core::Version> {
    token.and_then(|token| keyfob_core::Version::new(token).ok())
}

pub(crate) fn absent(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "there is no such secret to rotate")
        .with("name", name.as_str())
        .with_hint("a rotation needs a first value: write one; if the secret was deleted, forget what is known of its rotations")
}
