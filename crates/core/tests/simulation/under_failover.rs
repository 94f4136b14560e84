//! What failover asks one store of its list: never while its breaker is open, one probe at a time, within its time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use keyfob_core::{BreakerState, ErrorKind, Transition, Verb};

use crate::spy::{Answered, Asked, Ending, Watch, attempt_here};
use crate::under_cache::{TICKS, describe, describe_ending};
use crate::under_retry::UnderRetry;
use crate::world::World;

/// Watches what one store of the list is asked.
#[derive(Debug)]
pub(crate) struct UnderFailover {
    world: Arc<World>,
    rank: usize,
    under_retry: OnceLock<Arc<UnderRetry>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    breaker: BreakerState,
    since: Duration,
    /// How often the breaker has changed.
    epoch: u64,
    open_for: Duration,
    /// Failures since the last change: in a row, and all that there may have been.
    in_a_row: u32,
    failed: u32,
    /// Whether the last probe went well, if it has ended.
    probe: Option<bool>,
    /// The store wants to be left alone until then.
    pause_until: Duration,
    calls: HashMap<u64, (Duration, u64)>,
}

/// What an answer says about a store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Well,
    Ill,
    Silent,
}

impl UnderFailover {
    pub(crate) fn new(world: &Arc<World>, rank: usize) -> Self {
        Self {
            world: Arc::clone(world),
            rank,
            under_retry: OnceLock::new(),
            state: Mutex::new(State {
                breaker: BreakerState::Closed,
                since: Duration::ZERO,
                epoch: 0,
                open_for: Duration::ZERO,
                in_a_row: 0,
                failed: 0,
                probe: None,
                pause_until: Duration::ZERO,
                calls: HashMap::new(),
            }),
        }
    }

    pub(crate) fn under(&self, under_retry: &Arc<UnderRetry>) {
        self.under_retry.get_or_init(|| Arc::clone(under_retry));
    }

    /// The breaker says that it has changed.
    pub(crate) fn transition(&self, transition: &Transition) {
        let Transition {
            number,
            from,
            to,
            open_for,
            ..
        } = *transition;
        let (now, options) = (self.world.now(), self.world.setup.failover.breaker);
        self.world.event((5, self.rank, to), || {
            format!(
                "    breaker {}: {} -> {} for {open_for:?}",
                self.rank,
                from.as_str(),
                to.as_str()
            )
        });
        let mut state = self.state();
        let rank = self.rank;
        let world = &self.world;
        world.check(number == state.epoch + 1 && from == state.breaker, || {
            let known = state.breaker.as_str();
            format!(
                "breaker {rank}: transition {number} is from {} and not from {known}",
                from.as_str()
            )
        });
        let is_legal = match (from, to) {
            (BreakerState::Closed, BreakerState::Open) => {
                let share = (options.share * f64::from(options.window)).ceil() as u32;
                let least = if options.window == 0 {
                    options.failures
                } else {
                    options.failures.min(share)
                };
                state.failed >= least
            }
            (BreakerState::Open, BreakerState::HalfOpen) => now >= state.since + state.open_for,
            (BreakerState::HalfOpen, BreakerState::Closed) => state.probe == Some(true),
            (BreakerState::HalfOpen, BreakerState::Open) => state.probe == Some(false),
            _ => false,
        };
        world.check(is_legal, || {
            format!(
                "breaker {rank}: {} -> {} after {} failures, {:?}, open for {:?} since {:?}",
                from.as_str(),
                to.as_str(),
                state.failed,
                state.probe,
                state.open_for,
                now - state.since
            )
        });
        world.check((to == BreakerState::Open) == open_for.is_some(), || {
            format!("breaker {rank}: {} for {open_for:?}", to.as_str())
        });
        let open_for = open_for.unwrap_or_default();
        world.check(open_for <= options.longest_open, || {
            format!("breaker {rank}: open for {open_for:?}")
        });
        if to == BreakerState::Open {
            world.check(open_for >= options.first_open / 2, || {
                format!("breaker {rank}: open for {open_for:?}")
            });
        }
        state.breaker = to;
        state.since = now;
        state.epoch = number;
        state.open_for = open_for;
        state.in_a_row = 0;
        state.failed = 0;
        state.probe = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_breaker(&self, state: &State, asked: &Asked) {
        let (world, rank) = (&self.world, self.rank);
        let breaker = &world.setup.failover.breaker;
        world.check(state.breaker != BreakerState::Open, || {
            format!("store {rank} was asked for {} although its breaker is open", describe(asked))
        });
        let probes = state.calls.values().filter(|(_, epoch)| *epoch == state.epoch).count();
        world.check(state.breaker != BreakerState::HalfOpen || probes == 0, || {
            format!(
                "store {rank} was asked for {} while another call tries whether it is well",
                describe(asked)
            )
        });
        world.check(world.now() >= state.pause_until, || {
            format!(
                "store {rank} was asked for {} in a pause that it had asked for",
                describe(asked)
            )
        });
        world.check(
            state.breaker != BreakerState::Closed || state.in_a_row < breaker.failures,
            || {
                format!(
                    "store {rank} was asked for {} after {} failures in a row",
                    describe(asked),
                    state.in_a_row
                )
            },
        );
    }

    /// How long a call may take.
    fn time_of(&self, asked: &Asked) -> Duration {
        let options = &self.world.setup.failover;
        let reads = match asked.verb {
            verb if verb.is_write() => return options.write_timeout,
            Verb::GetMany => asked.reads.len().div_ceil(20),
            _ => 1,
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let time = options.read_timeout * number(reads);
        match options.deadline {
            Some(deadline) => time.min(deadline / number(self.world.setup.members)),
            None => time,
        }
    }
}

/// What the answers of a call say together: of a batch the most of them.
fn judge(answers: &[Answered]) -> (Verdict, Option<Duration>) {
    let verdict = |answer: &Answered| match answer.error {
        Some(kind) if kind.is_retryable() => Verdict::Ill,
        Some(ErrorKind::InvalidConfig | ErrorKind::InvalidInput | ErrorKind::NotText | ErrorKind::Unsupported) => Verdict::Silent,
        _ => Verdict::Well,
    };
    let mut ill = answers.iter().filter(|answer| answer.is_ill());
    let first_ill = ill.next();
    let of_ill = usize::from(first_ill.is_some()) + ill.count();
    match first_ill {
        Some(first) if of_ill * 2 > answers.len() => {
            let pause = first.retry_after.filter(|_| first.error == Some(ErrorKind::RateLimited));
            (Verdict::Ill, pause)
        }
        _ if answers.iter().any(|answer| verdict(answer) == Verdict::Well) => (Verdict::Well, None),
        _ => (Verdict::Silent, None),
    }
}

impl Watch for UnderFailover {
    fn begins(&self, asked: &Asked) -> u64 {
        let (number, now) = (self.world.number(), self.world.now());
        self.world.event((6, self.rank, asked.verb), || {
            format!("   store {} request {number}: {}", self.rank, describe(asked))
        });
        if self.world.setup.members == 1 {
            return number;
        }
        let mut state = self.state();
        // Whoever asks about health wants to know it of ill stores too, and tells nobody.
        if asked.verb == Verb::Health {
            return number;
        }
        self.check_breaker(&state, asked);
        let epoch = state.epoch;
        state.calls.insert(number, (now, epoch));
        drop(state);
        if self.rank > 0 && asked.verb.is_write() {
            self.world.check(self.world.setup.is_replicated(), || {
                format!("store {} was asked to {}", self.rank, describe(asked))
            });
        }
        if self.rank > 0
            && let (Some(attempt), Some(under_retry)) = (attempt_here(), self.under_retry.get())
        {
            under_retry.check_turn(attempt, self.rank, asked);
        }
        number
    }

    fn ends(&self, number: u64, asked: &Asked, ending: &Ending) {
        self.world.event((7, self.rank, describe_ending(ending)), || {
            format!("   store {} request {number} ended: {}", self.rank, describe_ending(ending))
        });
        let now = self.world.now();
        let mut state = self.state();
        let Some((began, epoch)) = state.calls.remove(&number) else {
            return;
        };
        let (took, time) = (now - began, self.time_of(asked));
        self.world.check(took <= time + TICKS, || {
            format!("store {} had {took:?} for {}, {time:?} allowed", self.rank, describe(asked))
        });
        let is_of_now = epoch == state.epoch;
        let Ending::Answered(answers) = ending else {
            // Out of time, or its caller is gone at the very moment at which it would have been.
            if is_of_now && took >= time {
                state.failed += 1;
                state.in_a_row = 0;
                state.probe = Some(false);
            }
            return;
        };
        let (verdict, pause) = judge(answers);
        if let Some(pause) = pause {
            let until = now + pause.min(self.world.setup.failover.breaker.longest_open);
            state.pause_until = state.pause_until.max(until);
        }
        if is_of_now {
            match verdict {
                Verdict::Ill => {
                    state.failed += 1;
                    state.in_a_row += 1;
                    state.probe = Some(false);
                }
                Verdict::Well => {
                    state.in_a_row = 0;
                    state.probe = Some(true);
                }
                Verdict::Silent => {}
            }
        }
        drop(state);
        if let (Some(attempt), Some(under_retry)) = (attempt_here(), self.under_retry.get()) {
            under_retry.said(attempt, self.rank, asked, answers);
        }
    }
}
