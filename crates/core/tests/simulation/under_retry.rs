//! What the retry layer sends: within the budget, not too often, not too soon, and only what may be sent again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyfob_core::{ErrorKind, GetRequest, PutMode, Verb, VersionSelector};

use crate::spy::{Answered, Asked, Ending, Watch, call_here};
use crate::under_cache::{describe, describe_ending};
use crate::world::{Moment, World};

/// So many retries are allowed beyond the share of calls and time: the layer's documentation says so.
const BURST: f64 = 10.0;

/// Watches what the retry layer sends.
#[derive(Debug)]
pub(crate) struct UnderRetry {
    world: Arc<World>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<u64, Call>,
    /// When calls began, and when it was decided that something is sent again.
    calls_begun: Vec<Moment>,
    repeated: Vec<Moment>,
    trails: HashMap<u64, Vec<Step>>,
    counts: Counts,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) attempts: u64,
    pub(crate) repeated: u64,
}

/// What a store of the list said in one attempt.
#[derive(Debug, Clone)]
struct Step {
    rank: usize,
    read: Option<GetRequest>,
    error: Option<ErrorKind>,
}

/// A call and what was sent for it. Reads that settle a write are threads of their own.
#[derive(Debug, Default)]
struct Call {
    threads: HashMap<Option<VersionSelector>, Thread>,
    is_write: bool,
}

#[derive(Debug, Default)]
struct Thread {
    attempts: u32,
    in_flight: u32,
    failed: Moment,
    errors: Vec<ErrorKind>,
    /// Until when the store wants to be left alone about a read, or about the one thing that is asked.
    pauses: HashMap<Option<GetRequest>, Duration>,
}

impl UnderRetry {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self {
            world: Arc::clone(world),
            state: Mutex::default(),
        }
    }

    pub(crate) fn call_begins(&self, number: u64, asked: &Asked) {
        let now = self.world.moment();
        let mut state = self.state();
        state.calls_begun.push(now);
        let call = Call {
            is_write: asked.verb.is_write(),
            ..Call::default()
        };
        state.calls.insert(number, call);
    }

    pub(crate) fn call_ends(&self, number: u64) {
        self.state().calls.remove(&number);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// In no part of the day was more sent again than the calls and the time of that part have paid for.
    pub(crate) fn check_budget(&self) {
        let options = &self.world.setup.retry;
        let state = self.state();
        let calls = state.calls_begun.iter().map(|moment| (*moment, -options.budget));
        let mut changes: Vec<(Moment, f64)> = calls.chain(state.repeated.iter().map(|moment| (*moment, 1.0))).collect();
        changes.sort_by_key(|(moment, _)| *moment);
        let burst = if options.budget + options.budget_per_second > 0.0 {
            BURST
        } else {
            0.0
        };
        let (mut owed, mut least, mut at) = (0.0_f64, 0.0_f64, Duration::ZERO);
        for (moment, change) in changes {
            owed -= (moment.at - at).as_secs_f64() * options.budget_per_second;
            least = least.min(owed);
            at = moment.at;
            owed += change;
            least = least.min(owed);
            self.world.check(owed - least <= burst + 1e-3, || {
                format!(
                    "{:.1} retries more than calls and time have paid for at {at:?}, {burst} allowed",
                    owed - least
                )
            });
        }
    }

    /// A store was asked in an attempt and said this.
    pub(crate) fn said(&self, attempt: u64, rank: usize, asked: &Asked, answers: &[Answered]) {
        let mut state = self.state();
        let Some(trail) = state.trails.get_mut(&attempt) else {
            return;
        };
        for (index, answer) in answers.iter().enumerate() {
            trail.push(Step {
                rank,
                read: asked.reads.get(index).cloned(),
                error: answer.error,
            });
        }
    }

    /// Checks that a store that stands behind others in the list may be asked in this attempt.
    pub(crate) fn check_turn(&self, attempt: u64, rank: usize, asked: &Asked) {
        let trail = self.state().trails.get(&attempt).cloned().unwrap_or_default();
        let falls_through = self.world.setup.failover.not_found_falls_through;
        let goes_on = |kind: ErrorKind| kind.is_retryable() || (kind == ErrorKind::NotFound && falls_through);
        // A version is one of a single store, and two stores may call theirs the same.
        let is_pinned = |read: &GetRequest| matches!(read.options.version, VersionSelector::Exact(_));
        let is_asked = |step: &&Step| match &step.read {
            Some(read) => asked.reads.contains(read) && !is_pinned(read),
            None => true,
        };
        for step in trail.iter().filter(is_asked) {
            self.world.check(step.rank < rank && step.error.is_some_and(goes_on), || {
                let said = step.error.map_or("an answer", ErrorKind::as_str);
                format!(
                    "store {rank} was asked for {} after store {} had said {said}",
                    describe(asked),
                    step.rank
                )
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_repetition(&self, asked: &Asked, thread: &Thread, settles: bool) {
        let options = &self.world.setup.retry;
        let is_read = !asked.verb.is_write();
        let hedges = options.hedge && is_read;
        let most = options.attempts * if hedges { 2 } else { 1 };
        self.world.check(thread.attempts <= most, || {
            format!(
                "{} was sent {} times, at most {most} allowed",
                describe(asked),
                thread.attempts
            )
        });
        self.world.check(thread.in_flight <= u32::from(hedges), || {
            format!("{} was sent again while it was under way", describe(asked))
        });
        let may_repeat: fn(ErrorKind) -> bool = match (asked.verb, &asked.mode) {
            (Verb::Put, Some(PutMode::Upsert)) | (Verb::Delete, _) => |kind| kind == ErrorKind::RateLimited,
            _ => ErrorKind::is_retryable,
        };
        // A batch goes on with what failed; the rest of it had other answers.
        let all = asked.verb == Verb::GetMany || thread.errors.iter().all(|kind| may_repeat(*kind));
        self.world.check(all || settles, || {
            format!("{} was sent again after {:?}", describe(asked), thread.errors)
        });
        let now = self.world.now();
        let mut about: Vec<Option<&GetRequest>> = asked.reads.iter().map(Some).collect();
        if about.is_empty() {
            about.push(None);
        }
        for read in about {
            let until = thread.pauses.get(&read.cloned()).copied().unwrap_or_default();
            self.world.check(now >= until, || {
                format!(
                    "{} was sent {:?} sooner than the store asked for",
                    describe(asked),
                    until - now
                )
            });
        }
    }
}

/// The thread of a call that a request belongs to.
fn thread_of(call: &Call, asked: &Asked) -> Option<VersionSelector> {
    let read = asked.reads.first().filter(|_| call.is_write)?;
    Some(read.options.version.clone())
}

impl Watch for UnderRetry {
    fn begins(&self, asked: &Asked) -> u64 {
        let number = self.world.number();
        let now = self.world.moment();
        let call_number = call_here();
        self.world.event((3, asked.verb), || {
            format!(
                "  attempt {number} of call {}: {}",
                call_number.unwrap_or_default(),
                describe(asked)
            )
        });
        let mut state = self.state();
        state.trails.insert(number, Vec::new());
        state.counts.attempts += 1;
        let Some(call) = call_number.and_then(|call| state.calls.get_mut(&call)) else {
            drop(state);
            self.world.violation(format_args!("{} was sent by nobody", describe(asked)));
            return number;
        };
        let settles = call.is_write && !asked.reads.is_empty();
        let thread = call.threads.entry(thread_of(call, asked)).or_default();
        thread.attempts += 1;
        let is_repeated = thread.attempts > 1;
        if is_repeated {
            self.check_repetition(asked, thread, settles);
        }
        // It was decided when the attempt before failed, or, for a hedge, now.
        let decided = if thread.in_flight == 0 { thread.failed } else { now };
        thread.in_flight += 1;
        if is_repeated {
            state.counts.repeated += 1;
            state.repeated.push(decided);
        }
        number
    }

    fn ends(&self, number: u64, asked: &Asked, ending: &Ending) {
        self.world.event((4, describe_ending(ending)), || {
            format!("  attempt {number} ended: {}", describe_ending(ending))
        });
        let moment = self.world.moment();
        let now = moment.at;
        let mut state = self.state();
        state.trails.remove(&number);
        let Some(call) = call_here().and_then(|call| state.calls.get_mut(&call)) else {
            return;
        };
        let Some(thread) = call.threads.get_mut(&thread_of(call, asked)) else {
            return;
        };
        thread.in_flight -= 1;
        thread.failed = moment;
        let Ending::Answered(answers) = ending else {
            return;
        };
        for (index, answer) in answers.iter().enumerate() {
            let Some(kind) = answer.error else { continue };
            thread.errors.push(kind);
            if let Some(wait) = answer.retry_after {
                let until = thread.pauses.entry(asked.reads.get(index).cloned()).or_default();
                *until = (*until).max(now + wait);
            }
        }
    }
}
