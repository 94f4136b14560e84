//! The moments between which now lies.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[cfg(target_os = "linux")]
use rustix::time::ClockId;

use crate::clock::Clock;

/// Tells the time for less than a look-up costs, where it need not be exact.
///
/// The machine's precise clock would be a third of a hit, so a hit looks at the one that ticks every few milliseconds, and
/// at the precise one only when it matters. The moment of asking is rounded down, so that an age is never taken for less
/// than it is.
///
/// Its moments begin with [`BEFORE`], so that what another machine was told before this one's clock began has one too.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    #[cfg(target_os = "linux")]
    Machine,
    Injected(Arc<dyn Clock>),
}

/// How much later it may be than [`Timer::roughly`] says: a tick, which comes late where a virtual processor has to wait.
pub(super) const ROUGHLY: Duration = Duration::from_millis(500);

impl Timer {
    /// The machine's clock.
    pub(super) fn machine() -> Self {
        #[cfg(target_os = "linux")]
        return Self::Machine;
        #[cfg(not(target_os = "linux"))]
        return Self::Injected(Arc::new(crate::clock::SystemClock::new()));
    }

    /// A moment that is not after now, and before it by less than [`ROUGHLY`].
    pub(super) fn roughly(&self) -> Duration {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine => read(ClockId::MonotonicCoarse),
            Self::Injected(_) => self.now(),
        }
    }

    /// Now.
    pub(super) fn now(&self) -> Duration {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine => read(ClockId::Monotonic),
            Self::Injected(clock) => clock.now().saturating_add(BEFORE),
        }
    }

    /// The time of day, for expiries.
    pub(super) fn of_day(&self) -> SystemTime {
        match self {
            #[cfg(target_os = "linux")]
            Self::Machine => SystemTime::now(),
            Self::Injected(clock) => clock.system_now(),
        }
    }
}

/// A hundred years.
const BEFORE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The time since the machine started, which is never negative.
#[cfg(target_os = "linux")]
fn read(clock: ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    BEFORE + Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rough_time_is_never_ahead() {
        let timer = Timer::machine();
        for round in 0..2_000_u64 {
            let roughly = timer.roughly();
            for _ in 0..round {
                std::hint::spin_loop();
            }
            let now = timer.now();
            assert!(roughly <= now);
            assert!(timer.now() >= now);
        }
    }
}
