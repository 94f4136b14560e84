//! One access by one caller, and its record.

use std::time::Duration;

use futures_util::future::{Either, select};
use keyfob_core::{
    AuditOutcome, BoxFuture, Clock as _, ErrorKind, Freshness, Metadata, Result, Secret, SecretName, Verb, Version,
    VersionSelector, with_reason,
};

use crate::ledger::{Ledger, Recorded};
use crate::setup::Stack;
use crate::under_cache::TICKS;
use crate::world::Moment;

/// What is asked for: the name, or the prefix of a listing, and the version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<String>,
}

impl Wanted {
    pub(crate) fn of(name: &SecretName) -> Self {
        Self {
            name: Some(name.to_string()),
            version: None,
        }
    }

    /// Asks for this version; the current one need not be named.
    pub(crate) fn asks(mut self, version: &VersionSelector) -> Self {
        self.version = (*version != VersionSelector::Current).then(|| version.to_string());
        self
    }

    pub(crate) fn version(mut self, version: Option<&Version>) -> Self {
        self.version = version.map(ToString::to_string);
        self
    }
}

/// What was handed out.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    error: Option<ErrorKind>,
    version: Option<Option<Version>>,
    freshness: Option<Freshness>,
}

impl Given {
    fn of<T>(answer: &Result<T>) -> Self {
        Self {
            error: answer.as_ref().err().map(keyfob_core::Error::kind),
            version: None,
            freshness: None,
        }
    }
}

/// An answer that an access can give.
pub(crate) trait Gives {
    /// One for each record that there has to be.
    fn given(&self) -> Vec<Given>;
}

impl Gives for Result<Secret> {
    fn given(&self) -> Vec<Given> {
        let mut given = Given::of(self);
        if let Ok(secret) = self {
            given.version = Some(secret.metadata.version.clone());
            given.freshness = Some(secret.metadata.origin.freshness);
        }
        vec![given]
    }
}

impl Gives for Result<Metadata> {
    fn given(&self) -> Vec<Given> {
        let mut given = Given::of(self);
        given.version = self.as_ref().ok().map(|metadata| metadata.version.clone());
        vec![given]
    }
}

impl Gives for Result<()> {
    fn given(&self) -> Vec<Given> {
        vec![Given::of(self)]
    }
}

impl<T> Gives for Result<keyfob_core::Page<T>> {
    fn given(&self) -> Vec<Given> {
        vec![Given::of(self)]
    }
}

impl Gives for Vec<Result<Secret>> {
    fn given(&self) -> Vec<Given> {
        self.iter().flat_map(Gives::given).collect()
    }
}

/// An access that has ended with an answer.
pub(crate) struct Ended<T> {
    pub(crate) began: Moment,
    /// When the answer was there, which the record may have kept the caller from.
    pub(crate) answered_at: Duration,
    /// Whether its record was not safe in time, so that nothing was handed out.
    pub(crate) is_withheld: bool,
    pub(crate) answer: T,
}

/// Runs one access, whose caller goes away after a while if `patience` says so, and checks its records.
pub(crate) async fn access<T: Gives>(
    stack: &Stack,
    verb: Verb,
    wanted: Vec<Wanted>,
    patience: Option<Duration>,
    call: BoxFuture<'_, T>,
) -> Option<Ended<T>> {
    let world = &stack.world;
    let number = world.number();
    let began = world.moment();
    let names: Vec<&str> = wanted.iter().filter_map(|wanted| wanted.name.as_deref()).collect();
    world.event((8, verb, patience), || {
        format!("access {number}: {} {}", verb.as_str(), names.join(", "))
    });
    let reason = match Ledger::reason(number) {
        Ok(reason) => reason,
        Err(error) => {
            world.violation(error);
            return None;
        }
    };
    let call = Box::pin(with_reason(reason, call));
    let answer = match patience {
        None => Some(call.await),
        Some(time) => match select(call, world.clock.sleep(time)).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right((_, call)) => {
                drop(call);
                None
            }
        },
    };
    let records = stack.ledger.take(number);
    let given = answer.as_ref().map(Gives::given);
    world.event(
        (
            9,
            given
                .as_ref()
                .map(|given| given.iter().map(|given| given.error).collect::<Vec<_>>()),
        ),
        || {
            let told: Vec<&str> = given
                .iter()
                .flatten()
                .map(|given| given.error.map_or("ok", ErrorKind::as_str))
                .collect();
            format!("access {number} ended: {}", told.join(", "))
        },
    );
    check_records(stack, verb, &wanted, began, given.as_deref(), &records);
    check_bounds(stack);
    let answered_at = records.last().map_or(began.at, |recorded| recorded.at);
    let took = world.now() - began.at;
    let deadline = world.setup.retry.deadline;
    world.check(took <= deadline + TICKS, || {
        format!("access {number} took {took:?}, deadline {deadline:?}")
    });
    Some(Ended {
        began,
        answered_at,
        is_withheld: records.iter().any(|recorded| is_late(stack, began, recorded)),
        answer: answer?,
    })
}

fn check_records(stack: &Stack, verb: Verb, wanted: &[Wanted], began: Moment, given: Option<&[Given]>, records: &[Recorded]) {
    let world = &stack.world;
    let are_as_many = records.len() == wanted.len() && given.is_none_or(|given| given.len() == wanted.len());
    world.check(are_as_many, || {
        let given = given.map(<[Given]>::len);
        format!(
            "{} of {} secrets has {} records and {given:?} answers",
            verb.as_str(),
            wanted.len(),
            records.len()
        )
    });
    if !are_as_many {
        return;
    }
    // Nobody can have been in between: what was recorded last is this access.
    if let Some(last) = records.last()
        && stack.ledger.sync.is_none()
    {
        world.check(last.index == stack.ledger.total(), || {
            format!("the record of {} came too early: {:?}", verb.as_str(), last.record)
        });
    }
    for (index, recorded) in records.iter().enumerate() {
        let Recorded { record, at, safe_at, .. } = recorded;
        let (wanted, given) = (&wanted[index], given.map(|given| &given[index]));
        // That there was no time tells nothing of what was asked.
        let tells = given.is_some_and(|given| given.error != Some(ErrorKind::Timeout));
        world.check(world.now() >= *safe_at || !tells, || {
            format!("{} {wanted:?} was answered before its record was safe", verb.as_str())
        });
        let outcome = match given {
            None if verb.is_write() => AuditOutcome::Unknown,
            None => AuditOutcome::Cancelled,
            Some(Given { error: None, .. }) => AuditOutcome::Ok,
            Some(Given {
                error: Some(ErrorKind::Timeout),
                ..
            }) if verb.is_write() => AuditOutcome::Unknown,
            Some(_) => AuditOutcome::Failed,
        };
        let version = match given.and_then(|given| given.version.as_ref()) {
            Some(version) => version.as_ref().map(ToString::to_string),
            None => wanted.version.clone(),
        };
        // An access whose caller went away while its record was kept, or had no time left for that, has the record of its
        // answer.
        let is_kept_for_nobody = (given.is_none() && stack.ledger.sync.is_some()) || (is_late(stack, began, recorded) && !tells);
        let is_right = record.verb == verb
            && record.name.as_deref() == wanted.name.as_deref()
            && record.time == world.day_of(began.at)
            && record.latency == *at - began.at
            && (is_kept_for_nobody
                || (record.outcome == outcome
                    && record.error == given.and_then(|given| given.error)
                    && record.version.as_deref() == version.as_deref()
                    && record.freshness == given.and_then(|given| given.freshness)));
        world.check(is_right, || {
            format!("wrong record of {} {wanted:?} that gave {given:?}: {record:?}", verb.as_str())
        });
    }
}

/// Whether a record may have been safe too late for its access.
fn is_late(stack: &Stack, began: Moment, recorded: &Recorded) -> bool {
    recorded.safe_at + TICKS > began.at + stack.world.setup.retry.deadline
}

/// Nothing grows beyond its bounds.
fn check_bounds(stack: &Stack) {
    let (setup, usage) = (&stack.world.setup, stack.cache.usage());
    let is_within = usage.entries <= setup.max_entries && usage.bytes <= setup.max_bytes && usage.absences <= setup.max_absences;
    stack.world.check(is_within, || format!("the cache holds {usage:?}"));
}

/// A caller's patience, if it is short.
pub(crate) fn patience(dice: &crate::dice::Dice) -> Option<Duration> {
    dice.chance(0.12)
        .then(|| dice.magnitude(Duration::from_millis(1), Duration::from_secs(20)))
}
