//! What a policy lays around a rotator, and whom it tells.

use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Error, Result, SecretName, SecretValue};
use serde::Serialize;

use super::Policy;
use crate::external::{ExternalRotator, RotationCommand};
use crate::rotation::Rotation;
use crate::rotator::Rotator;
use crate::staged::{Stage, Staged};
use crate::status::Outcome;
use crate::validated::Validated;

/// A stage of a roll-out, as a policy says it.
#[derive(Debug, Clone)]
pub(super) struct StagePlan {
    pub(super) copies: Vec<SecretName>,
    pub(super) wait: Duration,
    pub(super) every: Duration,
    pub(super) check: Option<RotationCommand>,
}

/// What a program is told of a rotation.
#[derive(Serialize)]
struct Notice<'a> {
    protocol: &'static str,
    policy: &'a str,
    name: &'a str,
    outcome: &'static str,
    version: Option<&'a str>,
    /// Until when the old value is valid.
    until: Option<String>,
    error: Option<ErrorNotice>,
}

#[derive(Serialize)]
struct ErrorNotice {
    kind: &'static str,
    why: String,
}

impl Policy {
    /// Where stages put the new value first.
    pub(super) fn copies(&self) -> impl Iterator<Item = &SecretName> {
        self.stages.iter().flat_map(|stage| &stage.copies)
    }

    /// `rotator` with the validation and the stages of this policy. `at_once` is for when nobody wants to wait: the copies of all
    /// stages get the new value without a pause and without their checks.
    #[must_use]
    pub fn around(&self, rotator: Arc<dyn Rotator>, rotation: &Rotation, at_once: bool) -> Arc<dyn Rotator> {
        let program = |command: &RotationCommand| -> Arc<dyn Rotator> { Arc::new(ExternalRotator::command(command.clone())) };
        let mut rotator = rotator;
        if let Some(command) = &self.validate {
            rotator = Arc::new(Validated::new(rotator, program(command)));
        }
        if self.stages.is_empty() {
            return rotator;
        }
        let stages = self.stages.iter().map(|stage| Stage {
            copies: stage.copies.clone(),
            wait: if at_once { Duration::ZERO } else { stage.wait },
            every: stage.every,
            check: stage.check.as_ref().filter(|_| !at_once).map(program),
        });
        let staged = Staged::new(rotator, Arc::clone(&rotation.store), stages.collect());
        Arc::new(staged.clock(Arc::clone(&rotation.clock)))
    }

    /// Tells the program that this policy names, if it names one, what became of a rotation. That it can't be told is an event (a
    /// warning), and changes nothing.
    pub async fn notify(&self, name: &SecretName, outcome: Result<&Outcome, &Error>) {
        let Some(command) = &self.notify else { return };
        let (version, until) = match outcome {
            Ok(Outcome::Grace { version, until }) => (version.as_ref(), jiff::Timestamp::try_from(*until).ok()),
            Ok(Outcome::Completed { version }) => (version.as_ref(), None),
            // Nothing has happened.
            Ok(Outcome::Nothing) => return,
            _ => (None, None),
        };
        let notice = Notice {
            protocol: "keyfob-notice/1",
            policy: &self.name,
            name: name.as_str(),
            outcome: outcome.map_or_else(outcome_of, Outcome::as_str),
            version: version.map(keyfob_core::Version::as_str),
            until: until.map(|until| until.to_string()),
            error: outcome.err().map(|error| ErrorNotice {
                kind: error.kind().as_str(),
                why: error.to_string(),
            }),
        };
        let told = match serde_json::to_string(&notice) {
            Ok(text) => command.tell(&SecretValue::from(text.as_str())).await,
            Err(_) => return,
        };
        if let Err(error) = told {
            tracing::warn!(
                target: "keyfob",
                policy = self.name.as_str(),
                kind = error.kind().as_str(),
                "the program that is told of rotations failed"
            );
        }
    }
}

/// A rotation that was taken back all the way is told so, with the error that was the reason.
fn outcome_of(error: &Error) -> &'static str {
    match error.context().any(|(key, value)| key == "rolled_back" && value == "yes") {
        true => Outcome::RolledBack.as_str(),
        false => "failed",
    }
}
