//! Reads that are answered from memory: by the cache alone, and through everything that the facade lays over a store.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyfob::{LayerSettings, SecretManager};
use keyfob_audit::{FileAudit, FileAuditOptions, SigningKey};
use keyfob_core::{
    Actor, AuditLayer, CacheLayer, Environment, Freshness, GetOptions, Layer as _, MemoryStore, PutRequest, SecretName,
    SecretStore,
};

use crate::contestant::{Contestant, Reader};
use crate::recorder::AtomicRecorder;
use crate::report::{Goal, Report, verdict};
use crate::sample::{Effort, Samples};
use crate::timing::{THREADS, measure as times_of};
use crate::{Outcome, Peer};

/// How many secrets there are.
pub(crate) const NAMES: usize = 1000;
/// How long each value is.
pub const VALUE_BYTES: usize = 32;
/// A read may take so long at most.
const GOAL: f64 = 60e-9;
/// The full stack may take so many times as long as the cache alone.
const FULL_GOAL: f64 = 4.0;
/// Nothing expires and nothing is refreshed while it is measured: only hits are.
const LONG: Duration = Duration::from_secs(86_400);

/// The secrets that everybody holds.
pub struct Fixture {
    /// Their names.
    pub names: Vec<SecretName>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let name = |index| SecretName::new(format!("TEAM_SERVICE_{index}_PASSWORD"));
        let names = (0..NAMES).map(|index| name(index).unwrap_or_else(|error| unreachable!("{error}")));
        Self { names: names.collect() }
    }

    /// The value of the secret with this number.
    #[must_use]
    pub fn value(index: usize) -> String {
        format!("kfcanary-{index:0width$}", width = VALUE_BYTES - "kfcanary-".len())
    }
}

/// Reads from a stack of keyfob's layers.
#[derive(Clone)]
struct Stack {
    store: Arc<dyn SecretStore>,
    names: Vec<SecretName>,
    options: GetOptions,
}

impl Reader for Stack {
    async fn read(&self, index: usize) -> usize {
        let answer = self.store.get_maybe_ready(&self.names[index], &self.options).answer().await;
        black_box(&answer).as_ref().map_or(0, |secret| secret.value.len())
    }
}

/// The same by `get`, which has to make a future.
struct Boxed(Stack);

impl Reader for Boxed {
    async fn read(&self, index: usize) -> usize {
        let answer = self.0.store.get(&self.0.names[index], &self.0.options).await;
        black_box(&answer).as_ref().map_or(0, |secret| secret.value.len())
    }
}

impl Stack {
    /// Reads everything twice, so that all of it is in memory.
    async fn warmed(store: Arc<dyn SecretStore>, fixture: &Fixture) -> Outcome<Self> {
        let options = GetOptions::default();
        for name in &fixture.names {
            store.get(name, &options).await?;
            let again = store.get(name, &options).await?;
            if again.metadata.origin.freshness != Freshness::Cache {
                return Err(format!("`{name}` is not answered from memory").into());
            }
        }
        Ok(Self {
            store,
            names: fixture.names.clone(),
            options,
        })
    }
}

async fn cache_alone(fixture: &Fixture) -> Outcome<Stack> {
    let memory = MemoryStore::new();
    for (index, name) in fixture.names.iter().enumerate() {
        memory.put(name, PutRequest::new(Fixture::value(index).as_str())).await?;
    }
    Stack::warmed(CacheLayer::new(LONG).layer(Arc::new(memory)), fixture).await
}

/// What the facade makes, over variables.
async fn facade(fixture: &Fixture) -> Outcome<Arc<dyn SecretStore>> {
    let mut environment = Environment::fake();
    for (index, name) in fixture.names.iter().enumerate() {
        environment = environment.var(name.as_str(), Fixture::value(index).as_str());
    }
    let mut settings = LayerSettings::default();
    settings.cache.ttl = LONG;
    let manager = SecretManager::builder()
        .environment(environment.build())
        .store("env")
        .layers(settings)
        .build()
        .await?;
    Ok(manager.store().await?)
}

/// So many reads in each thread before the log's thread gets the time to write what it was given, and that time: with more,
/// records would be dropped, as best effort promises, and a read whose record is dropped is cheaper.
const BATCH: u64 = 25_000;
const REST: Duration = Duration::from_millis(200);

fn audited(store: Arc<dyn SecretStore>, directory: &Path) -> Outcome<(Arc<dyn SecretStore>, Arc<FileAudit>)> {
    let options = FileAuditOptions::new(directory.join("log"), SigningKey::generate()?);
    let sink = Arc::new(FileAudit::open(options)?);
    let actor = Actor::of_process(&Environment::from_process());
    let store = AuditLayer::new(actor).sink(Arc::clone(&sink) as _).layer(store);
    Ok((store, sink))
}

pub(crate) fn measure(report: &mut Report, fixture: &Fixture, peers: &[Peer], effort: Effort) -> Outcome {
    let place = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let cache = runtime.block_on(cache_alone(fixture))?;
    // A program has one recorder. The cache alone was made before, so that it tells nobody what it does.
    metrics::set_global_recorder(AtomicRecorder)?;
    let (plain, logged, sink) = runtime.block_on(async {
        let plain = Stack::warmed(facade(fixture).await?, fixture).await?;
        let (store, sink) = audited(facade(fixture).await?, place.path())?;
        Ok::<_, Box<dyn std::error::Error>>((plain, Stack::warmed(store, fixture).await?, sink))
    })?;
    let lost = move || match sink.lost() {
        0 => Ok(()),
        lost => Err(format!("{lost} audit records were dropped: the rest is too short")),
    };
    // Without optimisation the log's thread is slow.
    let batch = if effort == Effort::Quick { BATCH / 100 } else { BATCH };
    let ours = [
        Contestant::new("keyfob", cache.clone()),
        Contestant::new("keyfob-facade", plain),
        Contestant::resting("keyfob-audited", logged, batch, REST, lost),
        Contestant::new("keyfob-boxed", Boxed(cache)),
    ];
    let everybody: Vec<&Contestant> = ours.iter().chain(peers.iter().map(|peer| &peer.contestant)).collect();
    let times = times_of(&everybody, effort)?;
    tell(report, &times, peers);
    Ok(())
}

/// So many times of each list are keyfob's.
const OURS: usize = OURS_TITLES.len();
const OURS_TITLES: [&str; 4] = [
    "keyfob, the cache alone",
    "keyfob, the layers of the facade: events, metrics (a recorder with atomics), cache, retry, limit",
    "the same with audit, best effort, to a file",
    "keyfob, the cache alone, asked by `get`",
];

fn tell(report: &mut Report, times: &[Vec<Samples>; THREADS.len()], peers: &[Peer]) {
    for (threads, times) in THREADS.into_iter().zip(times) {
        let threads = if threads == 1 {
            "1 thread".to_owned()
        } else {
            format!("{threads} threads")
        };
        for (peer, theirs) in peers.iter().zip(&times[OURS..]) {
            report.ratio(&format!("cached read, {threads}"), &peer.title, &times[0], theirs, peer.goal);
        }
        report.ratio(
            &format!("cached read, full stack with audit, {threads}"),
            "the cache alone",
            &times[2],
            &times[0],
            Goal::Ratio(FULL_GOAL),
        );
        let read = times[0].seconds();
        let verdict = verdict(read <= GOAL, "60 ns");
        report.figure(&format!("cached read, {threads}"), format!("{:.1} ns: {verdict}", read * 1e9));
    }
    report.section(section(times, peers));
}

fn section(times: &[Vec<Samples>; THREADS.len()], peers: &[Peer]) -> String {
    let mut text = format!(
        "## Reading from memory\n\nA read of one of {NAMES} secrets of {VALUE_BYTES} bytes that is in memory, in any order: nanoseconds of \
         the processor's time for each, the median and the 10th to 90th percentile of criterion's samples, in each of the threads that \
         read at the same time. keyfob is asked as `dyn SecretStore`, by `get_maybe_ready`, which needs no \
         memory for a future where the answer is at hand. Everybody has a turn in each of several rounds.\n\n\
         | who | 1 thread | 2 threads |\n|---|---|---|\n"
    );
    let titles = OURS_TITLES.into_iter().chain(peers.iter().map(|peer| peer.title.as_str()));
    for (index, title) in titles.enumerate() {
        let _ = write!(text, "| {title} |");
        for times in times {
            let (low, high) = times[index].spread();
            let _ = write!(
                text,
                " {:.1} ({:.1} to {:.1}) |",
                times[index].seconds() * 1e9,
                low * 1e9,
                high * 1e9
            );
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_as_long_as_the_readers_expect() {
        for index in [0, 7, 999] {
            assert_eq!(Fixture::value(index).len(), VALUE_BYTES);
        }
    }
}
