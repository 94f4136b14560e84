//! The law by which the limit moves: additive increase, multiplicative decrease.

use std::time::Duration;

use super::LimitOptions;

/// What an answer says about the store's load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It served.
    Served,
    /// Nothing: the store can't be reached, or nobody waited for the answer.
    Unknown,
    /// It asks for less, or answers too late.
    Throttled,
}

/// One answer that came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    /// When its request was sent.
    pub(super) began: Duration,
    /// When it came.
    pub(super) now: Duration,
    /// How many requests were under way, this one included.
    pub(super) in_flight: usize,
    pub(super) verdict: Verdict,
}

/// The present limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    limit: f64,
    /// Until the first throttling the limit doubles with each round of answers, to find out soon what the store can do.
    searches: bool,
    last_cut: Duration,
}

/// What is left of the limit after throttling.
const CUT: f64 = 0.8;

/// A round has at least so many answers. Near one call at once, a limit that grows with each answer would be too high half
/// of the time.
const ROUND: f64 = 20.0;

impl Control {
    pub(super) fn new(options: &LimitOptions) -> Self {
        Self {
            limit: as_float(options.first),
            searches: true,
            last_cut: Duration::ZERO,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    pub(super) fn answered(&mut self, options: &LimitOptions, answer: Answered) {
        match answer.verdict {
            // A limit that is not used says nothing about whether more would do.
            Verdict::Served if answer.in_flight * 2 >= self.limit() => {
                self.limit += if self.searches { 1.0 } else { 1.0 / self.limit.max(ROUND) };
            }
            // What was sent before the last cut was throttled under the old limit.
            Verdict::Throttled if answer.began >= self.last_cut => {
                self.limit *= CUT;
                self.searches = false;
                self.last_cut = answer.now;
            }
            _ => {}
        }
        self.limit = self.limit.clamp(as_float(options.least), as_float(options.most));
    }
}

fn as_float(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}
