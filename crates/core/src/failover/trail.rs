//! Which stores did not answer, and the error when none did.

use std::time::Duration;

use tracing::debug;

use crate::error::{Error, ErrorKind};
use crate::failover::member::{Member, Missed};
use crate::failover::options::FailoverOptions;
use crate::secret::PassedOver;

/// The stores that one read went past, in order.
#[derive(Debug, Default, Clone)]
pub(super) struct Trail {
    pub(super) passed: Vec<PassedOver>,
    errors: Vec<Error>,
}

impl Trail {
    /// The next store is asked instead of this one.
    pub(super) fn pass_over(&mut self, member: &Member, missed: Missed) {
        member.meters.passed_over(&missed.passed);
        debug!(
            target: "keyfob",
            store = &*missed.passed.store,
            member = &*missed.passed.member,
            kind = missed.passed.kind.as_str(),
            asked = missed.passed.asked,
            "failover passed over"
        );
        self.push(missed);
    }

    pub(super) fn push(&mut self, missed: Missed) {
        self.passed.push(missed.passed);
        self.errors.push(missed.error);
    }

    /// Whether one of the stores might have answered otherwise at another moment.
    pub(super) fn has_ill(&self) -> bool {
        self.passed.iter().any(|passed| passed.kind.is_retryable())
    }

    /// The last store that was asked said no: the answer, with what came before it.
    pub(super) fn end(mut self, missed: Missed, options: &FailoverOptions) -> Error {
        if missed.passed.kind == ErrorKind::NotFound && self.has_ill() && !options.believe_not_found {
            self.push(missed);
            return self.nobody(options);
        }
        let error = missed.error;
        if self.passed.is_empty() {
            return of_member(error, &missed.passed);
        }
        self.passed.push(missed.passed);
        error.with("asked", self.shown())
    }

    /// No store answered.
    ///
    /// The kind is that of the first store that could not be asked; *not found* only when every store could, or when it is to
    /// be believed.
    pub(super) fn nobody(self, options: &FailoverOptions) -> Error {
        let believed = |passed: &PassedOver| options.believe_not_found && passed.kind == ErrorKind::NotFound;
        let telling = (self.passed.iter().position(believed))
            .or_else(|| self.passed.iter().position(|passed| passed.kind.is_retryable()))
            .or_else(|| self.passed.iter().position(|passed| passed.kind == ErrorKind::NotFound))
            .unwrap_or_default();
        let Some(error) = self.errors.get(telling).cloned() else {
            return Error::new(ErrorKind::Other, "a store left a request of a batch without an answer");
        };
        if self.passed.len() == 1 {
            return of_member(error, &self.passed[0]);
        }
        if !error.kind().is_retryable() {
            return error.with("asked", self.shown());
        }
        let all = Error::new(error.kind(), "no store of the list could answer").with("asked", self.shown());
        let all = match self.wait() {
            Some(wait) => all.with_retry_after(wait),
            None => all,
        };
        all.with_source(error)
    }

    /// When asking again can make a difference: as soon as one of the ill stores may be asked.
    fn wait(&self) -> Option<Duration> {
        let ill = self.errors.iter().filter(|error| error.kind().is_retryable());
        ill.map(Error::retry_after).min().flatten()
    }

    fn shown(&self) -> String {
        let shown: Vec<String> = self.passed.iter().map(PassedOver::to_string).collect();
        shown.join("; ")
    }
}

/// An error of one store, which says which one where its scheme does not.
pub(super) fn of_member(error: Error, member: &PassedOver) -> Error {
    match member.member == member.store {
        true => error,
        false => error.with("member", &*member.member),
    }
}

impl Member {
    /// As [`of_member`], for a store that is asked alone.
    pub(super) fn own(&self, missed: Missed) -> Error {
        of_member(missed.error, &missed.passed)
    }
}
