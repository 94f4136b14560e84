//! The moments between which now lies.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::Clock;

/// Tells the time for less than a look-up costs.
///
/// The machine's precise clock would be most of a hit, so ages are measured with the one that ticks every few
/// milliseconds. It is read so that an age is never taken for less than it is: the moment of asking is rounded down,
/// now is rounded up.
///
/// Its moments begin with [`BEFORE`], so that what another machine was told before this one's clock began has one too.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    #[cfg(target_os = "linux")]
    Ticking {
        /// From the last tick to the next, in moments of the timer.
        to_latest: Duration,
    },
    Injected(Arc<dyn Clock>),
}

impl Timer {
    /// The machine's clock.
    pub(super) fn machine() -> Self {
        #[cfg(target_os = "linux")]
        return Self::Ticking {
            to_latest: BEFORE + duration(rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse)),
        };
        #[cfg(not(target_os = "linux"))]
        return Self::Injected(Arc::new(crate::clock::SystemClock::new()));
    }

    /// A moment that is not after now.
    pub(super) fn earliest(&self) -> Duration {
        match self {
            #[cfg(target_os = "linux")]
            Self::Ticking { .. } => ticked() + BEFORE,
            Self::Injected(clock) => clock.now().saturating_add(BEFORE),
        }
    }

    /// A moment that is not before now.
    pub(super) fn latest(&self) -> Duration {
        match self {
            #[cfg(target_os = "linux")]
            Self::Ticking { to_latest } => ticked() + *to_latest,
            Self::Injected(clock) => clock.now().saturating_add(BEFORE),
        }
    }

    /// The time of day, for expiries.
    pub(super) fn of_day(&self) -> SystemTime {
        match self {
            #[cfg(target_os = "linux")]
            Self::Ticking { .. } => SystemTime::now(),
            Self::Injected(clock) => clock.system_now(),
        }
    }
}

/// A hundred years.
const BEFORE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[cfg(target_os = "linux")]
fn ticked() -> Duration {
    duration(rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse))
}

/// A time since the machine started, which is never negative.
#[cfg(target_os = "linux")]
fn duration(time: rustix::time::Timespec) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn an_age_is_never_taken_for_less_than_it_is() {
        let timer = Timer::machine();
        let clock = SystemClock::new();
        for round in 0..2_000_u64 {
            let asked_at = timer.earliest();
            let asked = clock.now();
            for _ in 0..round {
                std::hint::spin_loop();
            }
            let age = clock.now().saturating_sub(asked);
            assert!(timer.latest() - asked_at >= age);
        }
    }
}
