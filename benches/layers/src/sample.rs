//! Pairs of timings, taken in turn so that a machine whose speed drifts slows both sides alike.

use std::time::{Duration, Instant};

use crate::Outcome;

/// How many samples to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Few, to show that the measurement runs.
    Quick,
    /// As many as a figure needs that means something.
    Full,
}

impl Effort {
    /// What the arguments of the program ask for.
    #[must_use]
    pub fn of(arguments: &[String]) -> Self {
        if arguments.iter().any(|argument| argument == "--quick") {
            Self::Quick
        } else {
            Self::Full
        }
    }

    /// The number of samples, where `full` would be right.
    #[must_use]
    pub fn samples(self, full: usize) -> usize {
        match self {
            Self::Quick => 3,
            Self::Full => full,
        }
    }
}

/// Seconds that one side took, lowest first.
#[derive(Debug)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// The one in the middle.
    #[must_use]
    pub fn median(&self) -> Duration {
        Duration::from_secs_f64(self.seconds())
    }

    /// The same with the fractions of a nanosecond.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Lowest and highest tenth in seconds, to show how noisy the machine was.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        (self.0[self.0.len() / 10], self.0[self.0.len() * 9 / 10])
    }
}

impl From<Vec<f64>> for Samples {
    fn from(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Self(seconds)
    }
}

impl From<Vec<Duration>> for Samples {
    fn from(durations: Vec<Duration>) -> Self {
        Self::from(durations.iter().map(Duration::as_secs_f64).collect::<Vec<f64>>())
    }
}

/// Times `ours` and `theirs` in turn, after one uncounted run of each.
///
/// # Errors
/// What either side says.
pub fn pairs(
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

fn time(work: &mut impl FnMut() -> Outcome) -> Outcome<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
