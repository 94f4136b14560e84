//! The moments between which now lies.

use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

#[cfg(target_os = "linux")]
use rustix::time::ClockId;

use crate::backend::BoxFuture;
use crate::clock::Clock;

/// Tells the time for less than a look-up costs, where it need not be exact.
///
/// The machine's precise clock would be a third of a hit, so a hit looks at the one that ticks every few milliseconds, and
/// at the precise one only when it matters.
///
/// On Linux the time in which the machine was suspended counts: what was fresh in the evening is not in the morning.
///
/// Its moments begin with [`BEFORE`], so that what another machine was told before this one's clock began has one too.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    #[cfg(target_os = "linux")]
    Machine(Suspended),
    Injected(Arc<dyn Clock>),
}

/// How much later it may be than [`Timer::roughly`] says: a tick, which comes late where a virtual processor has to wait.
pub(super) const ROUGHLY: Duration = Duration::from_millis(500);

impl Timer {
    /// The machine's clock.
    pub(super) fn machine() -> Self {
        #[cfg(target_os = "linux")]
        return Self::Machine(Suspended::default());
        #[cfg(not(target_os = "linux"))]
        return Self::Injected(Arc::new(crate::clock::SystemClock::new()));
    }

    /// A moment, in nanoseconds, that is before now by less than [`ROUGHLY`]; by more for a quarter of a second after the machine
    /// was suspended.
    pub(super) fn roughly(&self) -> u64 {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine(suspended) => {
                let tick = nanoseconds(read(ClockId::MonotonicCoarse));
                let time = suspended.before(tick, || (read(ClockId::Monotonic), read(ClockId::Boottime)));
                nanoseconds(BEFORE) + tick + time
            }
            Self::Injected(_) => nanoseconds(self.now()),
        }
    }

    /// Now.
    pub(super) fn now(&self) -> Duration {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine(_) => BEFORE.saturating_add(read(ClockId::Boottime)),
            Self::Injected(clock) => clock.now().saturating_add(BEFORE),
        }
    }

    /// Waits. Needs a tokio runtime with time.
    pub(super) fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine(_) => Box::pin(tokio::time::sleep(time)),
            Self::Injected(clock) => clock.sleep(time),
        }
    }

    /// The time of day, for expiries.
    pub(super) fn of_day(&self) -> SystemTime {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine(_) => SystemTime::now(),
            Self::Injected(clock) => clock.system_now(),
        }
    }
}

/// A hundred years.
const BEFORE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// For how long the machine has been suspended. The clock that is cheap to read stands still meanwhile.
#[cfg(target_os = "linux")]
#[derive(Debug, Default)]
pub(super) struct Suspended {
    /// In nanoseconds.
    time: AtomicU64,
    /// The tick at which it was found out, in nanoseconds.
    at: AtomicU64,
}

#[cfg(target_os = "linux")]
impl Suspended {
    /// The time before `tick`, both in nanoseconds. Every quarter of a second it is found out anew, from a clock that stood still meanwhile and
    /// one that did not.
    fn before(&self, tick: u64, clocks: impl FnOnce() -> (Duration, Duration)) -> u64 {
        const AFTER: u64 = 250_000_000;
        if tick.wrapping_sub(self.at.load(Ordering::Relaxed)) >= AFTER {
            let (standing, running) = clocks();
            self.time
                .store(nanoseconds(running.saturating_sub(standing)), Ordering::Relaxed);
            self.at.store(tick, Ordering::Relaxed);
        }
        self.time.load(Ordering::Relaxed)
    }
}

/// Each has found out nothing yet.
#[cfg(target_os = "linux")]
impl Clone for Suspended {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Enough for almost six hundred years.
pub(super) const fn nanoseconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(time.subsec_nanos() as u64)
}

/// A time since the machine started, which is never negative.
#[cfg(target_os = "linux")]
fn read(clock: ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let timer = Timer::machine();
        for round in 0..2_000_u64 {
            let before = timer.now();
            for _ in 0..round {
                std::hint::spin_loop();
            }
            assert!(timer.now() >= before);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn time_in_which_the_machine_was_suspended_counts() {
        let suspended = Suspended::default();
        let milliseconds = Duration::from_millis;
        let [day, night] = [Duration::from_secs(1000), Duration::from_secs(30_000)];
        let before =
            |tick, clocks: &dyn Fn() -> (Duration, Duration)| Duration::from_nanos(suspended.before(nanoseconds(tick), clocks));
        assert_eq!(before(day, &|| (day, day + night)), night);
        assert_eq!(before(day + milliseconds(249), &|| unreachable!("too early")), night);
        let later = day + milliseconds(250);
        assert_eq!(before(later, &|| (later, later + night * 2)), night * 2);
    }
}
