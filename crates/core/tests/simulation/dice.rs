//! All chance of a day, from one seed.

use std::time::Duration;

use keyfob_core::Random;

/// Draws what a day is made of.
#[derive(Debug)]
pub(crate) struct Dice(Random);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::seeded(seed))
    }

    /// Dice of their own, so that more draws in one place don't change what happens in another.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.seed())
    }

    pub(crate) fn seed(&self) -> u64 {
        self.0.next()
    }

    pub(crate) fn random(&self) -> Random {
        Random::seeded(self.seed())
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        (self.0.unit() * bound as f64) as usize
    }

    /// The lower a number, the more often it comes: half of all draws are in the first eighth.
    pub(crate) fn popular(&self, bound: usize) -> usize {
        (self.0.unit().powi(3) * bound as f64) as usize
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.0.unit() < probability
    }

    pub(crate) fn pick<T: Copy>(&self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(crate) fn between(&self, least: Duration, most: Duration) -> Duration {
        least + self.0.up_to(most.saturating_sub(least))
    }

    /// Each order of magnitude is as likely.
    pub(crate) fn magnitude(&self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (least.as_secs_f64().ln(), most.as_secs_f64().ln());
        Duration::from_secs_f64((least + (most - least) * self.0.unit()).exp())
    }
}
