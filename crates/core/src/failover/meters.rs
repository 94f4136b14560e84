//! What metrics say of a store of the list.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::Counter;

use crate::error::ErrorKind;
use crate::failover::breaker::BreakerState;
use crate::failover::member::Transition;
use crate::metrics::{ByKind, Share, table};
use crate::secret::PassedOver;

#[derive(Debug)]
pub(super) struct Meters {
    list: Arc<str>,
    member: Arc<str>,
    answers: Counter,
    /// Of those that were asked, and of those that were not.
    passed_over: [ByKind; 2],
    replication_failures: ByKind,
    breaker: Mutex<State>,
    /// In the order of [`LEGAL`].
    transitions: [OnceLock<Counter>; LEGAL.len()],
}

/// In the order of [`STATES`].
#[derive(Debug)]
struct State {
    shares: [Share; STATES.len()],
    /// The number of the last transition.
    number: u64,
}

const STATES: [BreakerState; 3] = [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen];

/// From and to.
const LEGAL: [(BreakerState, BreakerState); 4] = [
    (BreakerState::Closed, BreakerState::Open),
    (BreakerState::Open, BreakerState::HalfOpen),
    (BreakerState::HalfOpen, BreakerState::Closed),
    (BreakerState::HalfOpen, BreakerState::Open),
];

impl Meters {
    pub(super) fn new(list: &Arc<str>, member: &Arc<str>) -> Self {
        let share = |state: BreakerState| {
            let gauge = table::breaker_state(Arc::clone(list), Arc::clone(member), state.as_str());
            Share::new(gauge)
        };
        let mut state = State {
            shares: STATES.map(share),
            number: 0,
        };
        state.enter(BreakerState::Closed);
        Self {
            list: Arc::clone(list),
            member: Arc::clone(member),
            answers: table::failover_answers_total(Arc::clone(list), Arc::clone(member)),
            passed_over: [ByKind::default(), ByKind::default()],
            replication_failures: ByKind::default(),
            breaker: Mutex::new(state),
            transitions: LEGAL.map(|_| OnceLock::new()),
        }
    }

    /// A read was answered by this store.
    pub(super) fn answered(&self) {
        self.answers.increment(1);
    }

    /// A read went past this store.
    pub(super) fn passed_over(&self, passed: &PassedOver) {
        let asked = if passed.asked { "true" } else { "false" };
        let counter = |kind: ErrorKind| table::failover_passed_over_total(self.list(), self.member(), kind.as_str(), asked);
        self.passed_over[usize::from(!passed.asked)].count(passed.kind, counter);
    }

    /// The first store has a write that this one has not.
    pub(super) fn lacks_write(&self, kind: ErrorKind) {
        let counter = |kind: ErrorKind| table::replication_failures_total(self.list(), self.member(), kind.as_str());
        self.replication_failures.count(kind, counter);
    }

    /// The breaker has changed. Of two changes at once the later one may come first.
    pub(super) fn changed(&self, transition: &Transition) {
        let Transition { from, to, number, .. } = transition;
        if let Some(index) = LEGAL.iter().position(|legal| *legal == (*from, *to)) {
            let counter = || table::breaker_transitions_total(self.list(), self.member(), from.as_str(), to.as_str());
            self.transitions[index].get_or_init(counter).increment(1);
        }
        let mut state = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if *number > state.number {
            state.number = *number;
            state.enter(*to);
        }
    }

    fn list(&self) -> Arc<str> {
        Arc::clone(&self.list)
    }

    fn member(&self) -> Arc<str> {
        Arc::clone(&self.member)
    }
}

impl State {
    fn enter(&mut self, to: BreakerState) {
        for (state, share) in STATES.iter().zip(&mut self.shares) {
            share.set(usize::from(*state == to));
        }
    }
}
