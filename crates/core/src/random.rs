//! Random numbers for jitter: fast, seedable, and not for secrets.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Spreads what would otherwise happen at the same moment. Not for anything that must not be guessed.
///
/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014). It can be shared: two who
/// draw at once get different numbers. The same seed gives the same numbers in the same order.
///
/// ```
/// use std::time::Duration;
/// use keyfob_core::Random;
///
/// let random = Random::seeded(7);
/// assert!(random.up_to(Duration::from_secs(1)) <= Duration::from_secs(1));
/// assert_eq!(Random::seeded(7).next(), Random::seeded(7).next());
/// ```
#[derive(Debug)]
pub struct Random(AtomicU64);

/// The odd number next to 2⁶⁴ divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Other numbers in every process and for every caller.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(RandomState::new().hash_one(STEP))
    }

    /// The numbers of this seed.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Any 64 bits.
    pub fn next(&self) -> u64 {
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 up to, and without, 1; all are as likely.
    pub fn unit(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A time from zero to `most`; all are as likely.
    pub fn up_to(&self, most: Duration) -> Duration {
        most.mul_f64(self.unit())
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_published_numbers() {
        // The first outputs of the reference implementation (Vigna, splitmix64.c) for the seed 1234567.
        let random = Random::seeded(1_234_567);
        let numbers: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(
            numbers,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn numbers_are_spread_evenly_and_within_bounds() {
        for seed in 0..200 {
            let random = Random::seeded(seed);
            let mut tenths = [0_u32; 10];
            for _ in 0..10_000 {
                let number = random.unit();
                assert!((0.0..1.0).contains(&number), "seed {seed}");
                let tenth = (number * 10.0) as usize;
                tenths[tenth] += 1;
            }
            // Six standard deviations of a count of 10,000 draws with a chance of a tenth each.
            assert!(
                tenths.iter().all(|count| count.abs_diff(1000) < 180),
                "seed {seed}: {tenths:?}"
            );
            let most = Duration::from_millis(seed + 1);
            assert!(random.up_to(most) <= most);
        }
        assert_eq!(Random::new().up_to(Duration::ZERO), Duration::ZERO);
        assert!(Random::new().up_to(Duration::MAX) <= Duration::MAX);
    }

    #[test]
    fn without_a_seed_two_give_different_numbers() {
        assert_ne!(Random::new().next(), Random::new().next());
    }
}
