//! Audited reads in durable mode, beside what the disk allows.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyfob_audit::{Durability, FileAudit, FileAuditOptions, SigningKey, verify};
use keyfob_core::{
    Actor, AuditLayer, Environment, GetOptions, Layer as _, MemoryStore, PutRequest, SecretName, SecretStore as _,
};

use crate::Outcome;
use crate::group_commit;
use crate::report::{Report, verdict};
use crate::sample::Effort;

/// Who reads at the same time.
const READERS: usize = 256;
/// How much of what the disk allows has to be reached.
const SHARE: f64 = 0.8;
/// How many times as fast as a sync for each record it has to be.
const TIMES: f64 = 50.0;

pub(crate) fn measure(report: &mut Report, effort: Effort) -> Outcome {
    // Beside the program: what is for temporary files may be memory, which has nothing to sync.
    let program = std::env::current_exe()?;
    let place = tempfile::tempdir_in(program.parent().ok_or("this program is nowhere")?)?;
    let (rounds, time) = if effort == Effort::Quick {
        (1, Duration::from_millis(100))
    } else {
        (7, Duration::from_secs(2))
    };
    let line = read(place.path(), time / 4)?.line;
    let (mut runs, mut bare) = (Vec::new(), Vec::new());
    let mut before = Disk::measure(place.path(), line, time / 4)?;
    for _ in 0..rounds {
        let rate = read(place.path(), time)?.rate;
        let between = Disk::measure(place.path(), line, time / 4)?;
        runs.push((before.mean(between), rate));
        let rate = group_commit::rate(place.path(), READERS, line, time)?;
        let after = Disk::measure(place.path(), line, time / 4)?;
        bare.push((between.mean(after), rate));
        before = after;
    }
    let share_of = |runs: &[(Disk, f64)]| median(runs.iter().map(|(disk, rate)| rate / (READERS as f64 / disk.all)));
    let (share, bare) = (share_of(&runs), share_of(&bare));
    let times = median(runs.iter().map(|(disk, rate)| rate * disk.one));
    let rate = median(runs.iter().map(|(_, rate)| *rate));
    let micros = |seconds: f64| format!("{:.0} µs", seconds * 1e6);
    let (one, all) = (
        median(runs.iter().map(|(disk, _)| disk.one)),
        median(runs.iter().map(|(disk, _)| disk.all)),
    );
    let title = |what: &str| format!("audited reads, durable, {READERS} readers{what}");
    let mut figure = |title: String, figure| report.figure(&title, figure);
    figure(title(""), format!("{rate:.0} a second"));
    figure(
        title(": of what the disk allows with one sync for all of them"),
        format!(
            "{:.0} %: {} (an append of {READERS} lines of {line} bytes and `fdatasync` take {})",
            share * 100.0,
            verdict(share >= SHARE, "80 %"),
            micros(all)
        ),
    );
    figure(
        title(": the same by a group commit that does nothing else"),
        format!("{:.0} %, of which keyfob reaches {:.0} %", bare * 100.0, share / bare * 100.0),
    );
    figure(
        title(": beside a sync for each record"),
        format!(
            "{times:.0} times as many: {} (an append of one line and `fdatasync` take {})",
            verdict(times >= TIMES, "50 times"),
            micros(one)
        ),
    );
    Ok(())
}

/// How many seconds an append and a sync take.
#[derive(Clone, Copy)]
struct Disk {
    /// Of one record.
    one: f64,
    /// Of one for each reader.
    all: f64,
}

impl Disk {
    fn measure(place: &Path, line: usize, time: Duration) -> Outcome<Self> {
        Ok(Self {
            one: sync_time(place, line, time)?,
            all: sync_time(place, line * READERS, time)?,
        })
    }

    fn mean(self, other: Self) -> Self {
        Self {
            one: f64::midpoint(self.one, other.one),
            all: f64::midpoint(self.all, other.all),
        }
    }
}

/// The mean time of an append of so many bytes and a sync.
fn sync_time(place: &Path, bytes: usize, time: Duration) -> Outcome<f64> {
    let mut file = OpenOptions::new().append(true).create(true).open(place.join("disk"))?;
    let text = vec![b'x'; bytes];
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < time {
        file.write_all(&text)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(count))
}

/// Audited reads.
struct Reads {
    /// How many there were in a second.
    rate: f64,
    /// How long the lines are that the log has of them, its signatures included.
    line: usize,
}

/// Reads for so long. The log must have each of them.
fn read(place: &Path, time: Duration) -> Outcome<Reads> {
    let key = SigningKey::generate()?;
    let public_key = key.public_key();
    let log = tempfile::tempdir_in(place)?;
    let options = FileAuditOptions::new(log.path().join("log"), key).durability(Durability::Durable);
    let sink = Arc::new(FileAudit::open(options)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let (reads, elapsed) = runtime.block_on(async {
        let memory = MemoryStore::new();
        let name = SecretName::new("team/db/password")?;
        memory.put(&name, PutRequest::new("kfcanary-durable-reads")).await?;
        let actor = Actor::of_process(&Environment::from_process());
        let store = AuditLayer::new(actor).sink(Arc::clone(&sink) as _).layer(Arc::new(memory));
        let count = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (store, name, count) = (Arc::clone(&store), name.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    while start.elapsed() < time {
                        store.get(&name, &GetOptions::default()).await?;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), keyfob_core::Error>(())
                })
            })
            .collect();
        for reader in readers {
            reader.await??;
        }
        Ok::<_, Box<dyn std::error::Error>>((count.load(Ordering::Relaxed), start.elapsed()))
    })?;
    sink.close()?;
    let seen = verify(log.path().join("log").as_path(), &[public_key], &[])?;
    match seen.finding {
        None if seen.accesses == reads && reads > 0 => Ok(Reads {
            rate: reads as f64 / elapsed.as_secs_f64(),
            line: usize::try_from(bytes_in(&log.path().join("log"))? / reads)?,
        }),
        other => Err(format!("{} records for {reads} reads: {other:?}", seen.accesses).into()),
    }
}

fn bytes_in(directory: &Path) -> std::io::Result<u64> {
    std::fs::read_dir(directory)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
