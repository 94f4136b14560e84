//! Time, so that it can be another in a test.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::backend::BoxFuture;

/// What a layer knows of time. Injected, so that tests and simulations of a day take no longer than their work.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since a moment that stays the same as long as this clock lives. Never goes back.
    fn now(&self) -> Duration;

    /// The time of day, which people and other machines set: for expiries and records, not for measuring.
    fn system_now(&self) -> SystemTime;

    /// Waits. Needs a tokio runtime with time.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Duration,
}

impl SystemClock {
    /// Begins to count now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: since_boot() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        since_boot().saturating_sub(self.start)
    }

    fn system_now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// Time since a moment before this process, which is never negative. `Instant` is the same clock, but takes a third longer to
/// say how much has passed.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The time of the tokio runtime, which a test can pause and advance; its day begins at a fixed moment.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use keyfob_core::{Clock, VirtualClock};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
/// # runtime.block_on(async {
/// let clock = VirtualClock::starting_at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
/// let before = clock.now();
/// clock.sleep(Duration::from_millis(1)).await; // at once under `#[tokio::test(start_paused = true)]`
/// assert!(clock.now() > before);
/// # });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    start: tokio::time::Instant,
    day: SystemTime,
}

impl VirtualClock {
    /// A clock whose time of day is `day` now.
    #[must_use]
    pub fn starting_at(day: SystemTime) -> Self {
        Self {
            start: tokio::time::Instant::now(),
            day,
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn system_now(&self) -> SystemTime {
        self.day + self.now()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}
