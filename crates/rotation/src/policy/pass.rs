//! Many rotations at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use keyfob_core::{Result, SecretName};

use super::Policy;
use super::made::Rotators;
use super::plan::Planned;
use crate::options::RotationOptions;
use crate::phase::Phase;
use crate::rotation::Rotation;
use crate::status::Outcome;

/// How many rotations go on at once, and how.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// How many secrets are rotated at the same time; zero counts as one. 16 by default.
    pub concurrency: usize,
    /// Whether old values are revoked at once, those of earlier rotations too, and whether a value that was made before is
    /// replaced although it isn't current yet: for when values may be known to somebody. False by default.
    pub emergency: bool,
}

impl Default for Pass {
    fn default() -> Self {
        Self {
            concurrency: 16,
            emergency: false,
        }
    }
}

/// What became of one secret in a pass.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Passed {
    /// The secret.
    pub name: SecretName,
    /// The policy by which it was rotated.
    pub policy: Arc<Policy>,
    /// How far it came, or why not further.
    pub outcome: Result<Outcome>,
}

impl Rotation {
    /// Goes on with what is under way, and begins a rotation of every other secret that is given: those that are
    /// [due](super::Plan::due), or all of them.
    ///
    /// One that fails keeps no other from being rotated. `progress` hears of each when it has ended. The answer is in the order in which
    /// they ended.
    ///
    /// What policies don't say (lease, reason) is as in this rotation's own [options](Self::options).
    pub async fn pass<'a>(
        &self,
        planned: impl IntoIterator<Item = &'a Planned>,
        rotators: &dyn Rotators,
        pass: &Pass,
        mut progress: impl FnMut(&Passed),
    ) -> Vec<Passed> {
        let work = planned.into_iter().map(|planned| async move {
            let outcome = self.pass_one(planned, rotators, pass.emergency).await;
            planned.policy.notify(&planned.name, outcome.as_ref()).await;
            Passed {
                name: planned.name.clone(),
                policy: Arc::clone(&planned.policy),
                outcome,
            }
        });
        let mut ended = stream::iter(work).buffer_unordered(pass.concurrency.max(1));
        let mut all = Vec::new();
        while let Some(passed) = ended.next().await {
            progress(&passed);
            all.push(passed);
        }
        all
    }

    async fn pass_one(&self, planned: &Planned, rotators: &dyn Rotators, is_emergency: bool) -> Result<Outcome> {
        let policy = &planned.policy;
        let own = &self.options;
        let mut options = RotationOptions {
            wait: own.wait,
            drain_poll: own.drain_poll,
            lease: own.lease,
            clock_skew: own.clock_skew,
            reason: own.reason.clone(),
            ..policy.options.clone()
        };
        if is_emergency {
            options.grace = Duration::ZERO;
            options.end_grace = true;
        }
        let mut rotation = self.clone().options(options);
        if let (Some(plan), false) = (&policy.drain, is_emergency) {
            rotation = rotation.drain(rotators.drain(&policy.made, plan).await?);
        }
        let rotator = rotators.rotator(&policy.made).await?;
        let rotator = policy.around(rotator, self, is_emergency);
        let under_way = planned.under_way.as_ref().map(|under_way| under_way.phase);
        match under_way {
            Some(phase) if !is_emergency => match rotation.resume(&planned.name, &*rotator).await? {
                // It was asked whether the old value is still in use, and it is.
                Outcome::Grace { .. } if phase == Phase::Grace => Ok(Outcome::Nothing),
                outcome => Ok(outcome),
            },
            // The value that this one makes current was there before the emergency.
            Some(phase) if phase != Phase::Grace => {
                rotation.resume(&planned.name, &*rotator).await?;
                rotation.rotate(&planned.name, &*rotator).await
            }
            _ => rotation.rotate(&planned.name, &*rotator).await,
        }
    }
}
