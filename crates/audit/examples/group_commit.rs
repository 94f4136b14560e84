//! How many audited reads a second there are in durable mode, beside what the disk allows.
//!
//! ```console
//! $ cargo run --release -p keyfob-audit --example group_commit -- [DIRECTORY [READERS [SECONDS]]]
//! ```
//!
//! The disk's time is measured before and after in the same directory: an append of one record and `fdatasync`, and an
//! append of as many records as there are readers and `fdatasync`. With group commit, the disk allows as many reads in the
//! time of the latter as there are readers.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyfob_audit::{Durability, FileAudit, FileAuditOptions, SigningKey, verify};
use keyfob_core::{Actor, AuditLayer, Environment, GetOptions, Layer, MemoryStore, PutRequest, SecretName, SecretStore};

/// About as long as a record's line.
const LINE: usize = 330;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());
    let readers: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let place = tempfile::tempdir_in(directory)?;

    let before = (sync_time(place.path(), 1)?, sync_time(place.path(), readers)?);
    let (reads, elapsed) = read(place.path(), readers, Duration::from_secs(seconds))?;
    let after = (sync_time(place.path(), 1)?, sync_time(place.path(), readers)?);
    let (one, all) = ((before.0 + after.0) / 2, (before.1 + after.1) / 2);

    let rate = reads as f64 / elapsed.as_secs_f64();
    let allowed = readers as f64 / all.as_secs_f64();
    let single = 1.0 / one.as_secs_f64();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "fdatasync after 1 record:    {one:?} (before {:?}, after {:?})",
        before.0, after.0
    )?;
    writeln!(
        out,
        "fdatasync after {readers} records: {all:?} (before {:?}, after {:?})",
        before.1, after.1
    )?;
    writeln!(
        out,
        "audited reads a second:      {rate:.0} with {readers} readers, {reads} in {elapsed:?}"
    )?;
    writeln!(
        out,
        "of what the disk allows:     {:.0} % of {allowed:.0}",
        100.0 * rate / allowed
    )?;
    writeln!(out, "of one sync per record:      {:.1} times {single:.0}", rate / single)?;
    Ok(())
}

/// The mean time of an append and a sync, over about a second.
fn sync_time(place: &Path, records: usize) -> Result<Duration, Box<dyn Error>> {
    let mut file = OpenOptions::new().append(true).create(true).open(place.join("disk"))?;
    let text = vec![b'x'; LINE * records];
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        file.write_all(&text)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(start.elapsed() / count)
}

fn read(place: &Path, readers: usize, time: Duration) -> Result<(u64, Duration), Box<dyn Error>> {
    let key = SigningKey::generate()?;
    let public_key = key.public_key();
    let log = place.join("log");
    let options = FileAuditOptions::new(&log, key).durability(Durability::Durable);
    let sink = Arc::new(FileAudit::open(options)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let (reads, elapsed) = runtime.block_on(async {
        let memory = MemoryStore::new();
        let name = SecretName::new("team/db/password")?;
        memory.put(&name, PutRequest::new("v")).await?;
        let actor = Actor::of_process(&Environment::from_process());
        let store = AuditLayer::new(actor).sink(Arc::clone(&sink) as _).layer(Arc::new(memory));
        let count = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let tasks: Vec<_> = (0..readers)
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
        for task in tasks {
            task.await??;
        }
        Ok::<_, Box<dyn Error>>((count.load(Ordering::Relaxed), start.elapsed()))
    })?;
    sink.close()?;
    let seen = verify(&log, &[public_key], &[])?;
    match seen.finding {
        None if seen.accesses == reads => Ok((reads, elapsed)),
        other => Err(format!("{} records for {reads} reads: {other:?}", seen.accesses).into()),
    }
}
