//! A day of traffic over the full stack, in virtual time, as often as wanted, each day another.
//!
//! One seed decides everything: how the layers are set up, what ails the stores and when, who asks what, every answer's
//! delay, every jitter. The same seed is the same day. Between the layers sit spies, so that each promise is checked where it
//! is made, at every step:
//!
//! - `answers`: nothing older than the hard maximum age is handed out, nothing stale while the store is well, nothing that was
//!   not there, nothing of another name, nothing from before a write or a change that was told of, nothing expired;
//! - `access`: every access has one record that is right, also when its caller went away, and none takes longer than its
//!   deadline;
//! - `under_cache`: one call at a time for each answer;
//! - `under_retry`: retries within the budget, not sooner than asked for, and only of what may be repeated;
//! - `under_failover`: legal transitions, no call while a breaker is open, one probe at a time, and a later store only after
//!   errors that may be passed over;
//! - `store`: no more requests at once than the limit;
//! - `world`: no write is done twice, and none of which its caller was told that it was not.
//!
//! A day that breaks a promise is replayed with the command that the test prints, and then told event by event.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests may panic and print as tests do"
)]

mod access;
mod answers;
mod dice;
mod herd;
mod illness;
mod ledger;
mod level;
mod setup;
mod spy;
mod store;
mod traffic;
mod under_cache;
mod under_failover;
mod under_retry;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, SystemTime};

use keyfob_core::VirtualClock;

use crate::dice::Dice;
use crate::ledger::Meters;
use crate::setup::{Setup, Stack};
use crate::traffic::Traffic;
use crate::world::{Outcome, World};

const SEED: &str = "KEYFOB_SIMULATION_SEED";
const MANY: &str = "KEYFOB_SIMULATION_DAYS";

/// So many days at every change; more on request.
const DAYS: u64 = 32;

/// After so many days that broke a promise no further one begins.
const MOST_REPORTS: usize = 5;

/// When every day begins.
fn morning() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

#[test]
fn days_of_traffic_keep_every_promise() {
    match std::env::var(SEED) {
        Ok(seed) => replay(seed.parse().unwrap()),
        Err(_) => simulate(1, DAYS),
    }
}

#[test]
#[ignore = "simulates ten thousand days, which takes half an hour without optimisation"]
fn ten_thousand_days_of_traffic_keep_every_promise() {
    let number = |variable, default| std::env::var(variable).map_or(default, |number| number.parse().unwrap());
    simulate(number(SEED, 1), number(MANY, 10_000));
}

#[test]
fn the_same_seed_is_the_same_day() {
    for seed in [3, 4] {
        let [one, other] = [(); 2].map(|()| day(seed, false));
        assert_eq!(
            (one.fingerprint, one.checks),
            (other.fingerprint, other.checks),
            "seed {seed}"
        );
    }
    assert_ne!(day(3, false).fingerprint, day(4, false).fingerprint);
}

/// One day, told event by event.
fn replay(seed: u64) {
    let outcome = day(seed, true);
    for event in &outcome.events {
        println!("{event}");
    }
    assert!(outcome.violations.is_empty(), "{}", report(seed, &outcome));
}

fn simulate(first: u64, days: u64) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, checks) = (AtomicU64::new(first), AtomicU64::new(0));
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + days || reports.lock().unwrap().len() >= MOST_REPORTS {
                        return;
                    }
                    let outcome = day(seed, false);
                    if (seed - first + 1).is_multiple_of(1000) {
                        println!("simulated {} of {days} days", seed - first + 1);
                    }
                    checks.fetch_add(outcome.checks, Ordering::Relaxed);
                    if !outcome.violations.is_empty() {
                        reports.lock().unwrap().push(report(seed, &outcome));
                    }
                }
            });
        }
    });
    let reports = reports.into_inner().unwrap();
    assert!(reports.is_empty(), "{}", reports.join("\n"));
    println!("{days} days from seed {first} on, {} checks", checks.into_inner());
}

fn report(seed: u64, outcome: &Outcome) -> String {
    format!(
        "seed {seed}: a promise was broken\n  {}\nreplay it with: {SEED}={seed} cargo test -p keyfob-core --test simulation days_of",
        outcome.violations.join("\n  ")
    )
}

/// Simulates the day of this seed. A panic breaks a promise as well.
fn day(seed: u64, tells: bool) -> Outcome {
    count_panics();
    let meters = Arc::new(Meters::default());
    let dice = Dice::new(seed);
    let setup = Setup::draw(&dice);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        in_virtual_time(&Arc::clone(&meters), async move {
            let world = Arc::new(World::new(setup, VirtualClock::starting_at(morning()), tells));
            let stack = Arc::new(Stack::new(&world, &dice, meters).unwrap());
            let traffic = Traffic::new(Arc::clone(&stack), dice.fork());
            traffic.fill().await;
            traffic.run().await;
            if !world.is_broken() {
                stack.check_evening();
            }
            world.outcome()
        })
    }));
    // Nobody waits for some tasks, and their panics are seen by nobody else.
    let outcome = lived.unwrap_or_default();
    if PANICS.take() > 0 { outcome.panicked() } else { outcome }
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            print(panic);
        }));
    });
}

/// On one thread whose time goes on when there is nothing to do, with the metrics of that thread alone.
fn in_virtual_time<T>(meters: &Arc<Meters>, work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&**meters, || runtime.block_on(work))
}
