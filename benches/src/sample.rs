//! Pairs of timings, taken in turn so that a machine whose speed drifts slows both sides alike.

use std::time::{Duration, Instant};

use crate::Outcome;

/// How many samples to take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    Quick,
    Full,
}

impl Effort {
    pub(crate) fn samples(self, full: usize) -> usize {
        match self {
            Self::Quick => 3,
            Self::Full => full,
        }
    }
}

/// Sorted durations of one side.
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Lowest and highest tenth, to show how noisy the machine was.
    pub(crate) fn spread(&self) -> (Duration, Duration) {
        (self.0[self.0.len() / 10], self.0[self.0.len() * 9 / 10])
    }
}

impl From<Vec<Duration>> for Samples {
    fn from(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        Self(durations)
    }
}

/// Times `ours` and `theirs` in turn, after one uncounted run of each.
pub(crate) fn pairs(
    samples: usize,
    mut ours: impl FnMut() -> Outcome,
    mut theirs: impl FnMut() -> Outcome,
) -> Outcome<(Samples, Samples)> {
    ours()?;
    theirs()?;
    let (mut a, mut b) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
    for _ in 0..samples {
        a.push(time(&mut ours)?);
        b.push(time(&mut theirs)?);
    }
    Ok((a.into(), b.into()))
}

pub(crate) fn time(work: &mut impl FnMut() -> Outcome) -> Outcome<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
