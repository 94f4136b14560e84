//! Two hundred readers who never rest, and what they saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use keyfob::{ErrorKind, GetOptions, SecretName, SecretStore};
use tokio::task::JoinSet;

/// What a reader reads, by the rules of the cache that hold for its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Names {
    /// From memory at once, fresh or stale.
    Cached,
    /// From memory when the store could not give it.
    Covered,
    /// Never from memory.
    Uncached,
}

/// When something was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Before,
    Outage,
    /// The store is there again, but not everything has noticed.
    Recovery,
    After,
}

impl Names {
    pub(crate) const ALL: [Self; 3] = [Self::Cached, Self::Covered, Self::Uncached];

    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Cached => "cached/",
            Self::Covered => "covered/",
            Self::Uncached => "uncached/",
        }
    }

    /// How many there are.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Cached => 100,
            Self::Covered | Self::Uncached => 10,
        }
    }

    /// How many read them; two hundred together.
    fn readers(self) -> usize {
        match self {
            Self::Cached => 170,
            Self::Covered => 20,
            Self::Uncached => 10,
        }
    }

    pub(crate) fn name(self, index: usize) -> SecretName {
        SecretName::new(format!("{}{}", self.prefix(), index % self.count())).unwrap()
    }
}

/// What was seen of the reads that began and ended in one phase.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) reads: u64,
    pub(crate) errors: BTreeMap<ErrorKind, u64>,
    /// In nanoseconds, sorted once all are there.
    times: Vec<u64>,
}

impl Seen {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.times.len() - 1;
        Duration::from_nanos(self.times[last * percent / 100])
    }

    pub(crate) fn longest(&self) -> Duration {
        Duration::from_nanos(*self.times.last().unwrap())
    }

    fn add(&mut self, time: Duration, error: Option<ErrorKind>) {
        self.reads += 1;
        self.times.push(u64::try_from(time.as_nanos()).unwrap());
        if let Some(kind) = error {
            *self.errors.entry(kind).or_default() += 1;
        }
    }

    fn merge(&mut self, other: Self) {
        self.reads += other.reads;
        self.times.extend(other.times);
        for (kind, times) in other.errors {
            *self.errors.entry(kind).or_default() += times;
        }
    }
}

/// Readers at work.
pub(crate) struct Readers {
    phase: Arc<AtomicU8>,
    running: JoinSet<Log>,
}

type Log = BTreeMap<(Names, Phase), Seen>;

const END: u8 = u8::MAX;

impl Readers {
    pub(crate) fn begin(store: &Arc<dyn SecretStore>) -> Self {
        let phase = Arc::new(AtomicU8::new(Phase::Before as u8));
        let mut running = JoinSet::new();
        for names in Names::ALL {
            for reader in 0..names.readers() {
                running.spawn(read(Arc::clone(store), names, reader, Arc::clone(&phase)));
            }
        }
        Self { phase, running }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Lets everybody end, and gives what they saw.
    pub(crate) async fn end(mut self) -> Log {
        self.phase.store(END, Ordering::SeqCst);
        let mut all = Log::new();
        while let Some(log) = self.running.join_next().await {
            for (key, seen) in log.unwrap() {
                all.entry(key).or_default().merge(seen);
            }
        }
        for seen in all.values_mut() {
            seen.times.sort_unstable();
        }
        all
    }
}

async fn read(store: Arc<dyn SecretStore>, names: Names, reader: usize, phase: Arc<AtomicU8>) -> Log {
    let phases = [Phase::Before, Phase::Outage, Phase::Recovery, Phase::After];
    let mut log = Log::new();
    for round in 0.. {
        let begun = phase.load(Ordering::SeqCst);
        if begun == END {
            break;
        }
        let name = names.name(reader + round);
        let start = Instant::now();
        let answer = store.get(&name, &GetOptions::default()).await;
        let time = start.elapsed();
        if phase.load(Ordering::SeqCst) == begun {
            let seen = log.entry((names, phases[usize::from(begun)])).or_default();
            seen.add(time, answer.err().map(|error| error.kind()));
        }
        // Not all the time that there is: what is measured is the read, not the crowd.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    log
}
