//! What audit and metrics were told of a day.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use keyfob_core::{AuditReceipt, AuditRecord, AuditSink, Clock as _, Reason, Result};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Recorder, SharedString, Unit};

use crate::dice::Dice;
use crate::store::DAY;
use crate::world::World;

/// Keeps audit records by the access that they are of, which is in their reason.
#[derive(Debug)]
pub(crate) struct Ledger {
    world: Arc<World>,
    /// How long it takes until a record is safe; `None` when nobody has to wait for that.
    pub(crate) sync: Option<Duration>,
    /// From when until when the disk hangs.
    hangs: Vec<(Duration, Duration)>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<u64, Vec<Recorded>>,
    total: u64,
}

/// A record, when it came, and as which.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) record: Arc<AuditRecord>,
    pub(crate) at: Duration,
    pub(crate) index: u64,
    /// When it is where nothing can take it away.
    pub(crate) safe_at: Duration,
}

impl Ledger {
    pub(crate) fn new(world: &Arc<World>, dice: &Dice) -> Self {
        let hangs = (0..200).map(|_| {
            let from = dice.between(Duration::ZERO, DAY);
            (
                from,
                from + dice.magnitude(Duration::from_millis(100), Duration::from_secs(600)),
            )
        });
        Self {
            world: Arc::clone(world),
            sync: dice.pick(&[None, None, None, Some(Duration::from_millis(3))]),
            hangs: if world.setup.outage.is_none() {
                hangs.collect()
            } else {
                Vec::new()
            },
            state: Mutex::default(),
        }
    }

    /// The reason of an access.
    pub(crate) fn reason(access: u64) -> Result<Reason> {
        Reason::new(&format!("access {access}"))
    }

    /// All records of an access so far.
    pub(crate) fn take(&self, access: u64) -> Vec<Recorded> {
        self.state().open.remove(&access).unwrap_or_default()
    }

    /// How many records there were.
    pub(crate) fn total(&self) -> u64 {
        self.state().total
    }

    /// Accesses with records that nobody has asked for.
    pub(crate) fn left(&self) -> Vec<u64> {
        self.state().open.keys().copied().collect()
    }

    /// How long it takes until a record of now is safe.
    fn time_to_keep(&self) -> Option<Duration> {
        let (sync, now) = (self.sync?, self.world.now());
        let hanging = self.hangs.iter().filter(|(from, until)| (*from..*until).contains(&now));
        let until = hanging.map(|(_, until)| *until).max().unwrap_or(now);
        Some(until - now + sync)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuditSink for Ledger {
    fn record(&self, record: AuditRecord) -> AuditReceipt {
        let reason = record
            .reason
            .as_ref()
            .and_then(|reason| reason.as_str().strip_prefix("access "));
        let access = reason.and_then(|number| number.parse().ok());
        self.world
            .check(access.is_some(), || format!("a record of nobody's access: {record:?}"));
        let (now, time) = (self.world.now(), self.time_to_keep());
        let mut state = self.state();
        state.total += 1;
        let recorded = Recorded {
            record: Arc::new(record),
            at: now,
            index: state.total,
            safe_at: now + time.unwrap_or_default(),
        };
        state.open.entry(access.unwrap_or_default()).or_default().push(recorded);
        drop(state);
        match time {
            None => AuditReceipt::Taken,
            Some(time) => {
                // It goes on whether somebody waits or not.
                let safe = self.world.clock.sleep(time);
                AuditReceipt::Pending(Box::pin(safe.map(Ok)))
            }
        }
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }
}

/// Keeps the numbers of the metrics layer.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    requests: Arc<AtomicU64>,
    in_flight: Arc<AtomicU64>,
}

impl Meters {
    /// How many secrets were asked for.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The calls that the metrics layer says are under way.
    pub(crate) fn in_flight(&self) -> f64 {
        f64::from_bits(self.in_flight.load(Ordering::Relaxed))
    }
}

impl Recorder for Meters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &metrics::Metadata<'_>) -> Counter {
        match key.name() {
            "keyfob_requests_total" => Counter::from_arc(Arc::clone(&self.requests)),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        match key.name() {
            "keyfob_in_flight" => Gauge::from_arc(Arc::clone(&self.in_flight)),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, _: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
