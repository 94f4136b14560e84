//! Who is measured, and how its reads are timed.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::full::{NAMES, VALUE_BYTES};

/// Answers reads from memory.
pub trait Reader: Sync {
    /// Reads the secret with this number, and says how long its value is.
    fn read(&self, index: usize) -> impl Future<Output = usize>;
}

/// One whose reads are timed.
pub struct Contestant {
    /// A word for it.
    pub(crate) name: String,
    /// How many reads are timed as one.
    pub(crate) batch: u64,
    run: Box<dyn Fn(u64, usize) -> Duration>,
    check: Box<dyn Fn() -> Result<(), String>>,
}

impl Contestant {
    /// Reads without a pause.
    pub fn new(name: impl Into<String>, reader: impl Reader + 'static) -> Self {
        Self {
            name: name.into(),
            batch: 1,
            run: Box::new(move |reads, threads| timed(&reader, reads, threads)),
            check: Box::new(|| Ok(())),
        }
    }

    /// Reads in batches of so many, and rests for so long after each, which is not counted. `check` says at the end
    /// whether everything went as it should.
    pub(crate) fn resting(
        name: impl Into<String>,
        reader: impl Reader + 'static,
        batch: u64,
        rest: Duration,
        check: impl Fn() -> Result<(), String> + 'static,
    ) -> Self {
        let run = move |batches: u64, threads: usize| {
            let one = |_| {
                let took = timed(&reader, batch, threads);
                thread::sleep(rest);
                took
            };
            (0..batches).map(one).sum()
        };
        Self {
            name: name.into(),
            batch,
            run: Box::new(run),
            check: Box::new(check),
        }
    }

    /// How long so many batches took in each of so many threads.
    pub(crate) fn time(&self, batches: u64, threads: usize) -> Duration {
        (self.run)(batches, threads)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        (self.check)()
    }
}

/// How long each of so many threads worked for so many reads: the processor's time, so that others who use the machine
/// at the same time count little. Nobody waits for anything here but for each other's locks.
fn timed(reader: &impl Reader, reads: u64, threads: usize) -> Duration {
    let barrier = Barrier::new(threads);
    let one = |seed: u64| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap_or_else(|error| panic!("no runtime: {error}"));
        barrier.wait();
        runtime.block_on(async {
            let (mut state, mut bytes) = (seed, 0);
            let start = worked();
            for _ in 0..reads {
                // Any order but one that the processor could foresee (Knuth's MMIX).
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                bytes += reader.read((state >> 33) as usize % NAMES).await;
            }
            let took = worked().saturating_sub(start);
            assert_eq!(bytes as u64, reads * VALUE_BYTES as u64, "a read gave another value");
            took
        })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || one(7919 * thread as u64 + 1)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .max()
            .unwrap_or_default()
    })
}

/// The processor's time that this thread has had.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
