//! `keyfob rotate` as processes that are killed, paused and started at the same time, over real stores.
//!
//! `KEYFOB_TEST_SEED` repeats a run, `KEYFOB_TEST_ROUNDS` asks for more kills of each store than 50.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a seed that is not told can't be used again")]

mod at_once;
mod bed;
mod database;
mod killed;
mod paused;

use std::time::{Duration, SystemTime};

/// How long a lease lasts here, so that nobody has to wait a minute after each kill.
const LEASE: Duration = Duration::from_secs(2);

/// After this time a lease that nobody renews is over.
const LEASE_IS_OVER: Duration = Duration::from_millis(2200);

/// Splitmix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    /// That of one worker among those of a run.
    fn of(seed: u64, worker: usize) -> Self {
        Self(seed ^ (worker as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()) / f64::from(u32::MAX)
    }
}

fn seed() -> u64 {
    let now = || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .subsec_nanos()
            .into()
    };
    std::env::var("KEYFOB_TEST_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap())
}
