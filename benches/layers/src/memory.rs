//! What the cache takes of memory, as the system sees it, in a process of its own for each figure.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{
    Actor, AuditLayer, CacheLayer, CacheTimes, CachedStore, DeleteMode, DeleteOptions, Environment, ErrorKind, GetOptions,
    Layer as _, LimitLayer, LimitOptions, MemoryAudit, MemoryStore, MetricsLayer, PutRequest, Random, RetryLayer, RetryOptions,
    SecretName, SecretStore, TraceLayer,
};

use crate::Outcome;
use crate::full::{Fixture, VALUE_BYTES};
use crate::recorder::AtomicRecorder;
use crate::report::{Report, say, verdict};
use crate::sample::Effort;

/// More than this between a tenth of the operations and all of them is growth.
const SLACK: f64 = 0.02;
/// What the cache may keep while operations go on, and the names that are asked for.
const KEPT: usize = 10_000;
const NAMES: usize = 100_000;

pub(crate) fn measure(report: &mut Report, effort: Effort) -> Outcome {
    let (entries, operations): (u64, u64) = if effort == Effort::Quick {
        (2_000, 50_000)
    } else {
        (100_000, 10_000_000)
    };
    let taken = numbers("entries", entries)?;
    let bytes = (taken[1] - taken[0]) / entries as f64;
    report.figure(
        "memory per cached entry",
        format!(
            "{bytes:.0} bytes of resident memory with {entries} entries: value of {VALUE_BYTES} bytes, name of 28, metadata, the \
             places in the table and in the order of eviction"
        ),
    );
    let taken = numbers("operations", operations)?;
    let growth = taken[1] / taken[0] - 1.0;
    report.figure(
        &format!("memory after {operations} operations beside after a tenth of them"),
        format!(
            "{:.1} MB beside {:.1} MB: {}; reads of {NAMES} names through all layers, of which {KEPT} are kept, writes, deletes, missing \
             names, forgotten prefixes",
            taken[1] / 1e6,
            taken[0] / 1e6,
            verdict(growth <= SLACK, "2 % more")
        ),
    );
    Ok(())
}

/// What the child process says.
fn numbers(what: &str, number: u64) -> Outcome<Vec<f64>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--memory", what, &number.to_string()])
        .output()?;
    let said = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        return Err(format!("the process that measures memory ended with {}: {said}", output.status).into());
    }
    Ok(said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// Says how many bytes there were before and after.
pub(crate) fn child(what: &str, number: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (before, after) = runtime.block_on(async {
        match what {
            "entries" => entries(usize::try_from(number)?).await,
            "operations" => operations(number).await,
            _ => Err(format!("there is nothing to measure about `{what}`").into()),
        }
    })?;
    say(&format!("{before} {after}"));
    Ok(())
}

fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = line.ok_or("no `VmRSS`")?.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024)
}

fn forever() -> DeleteOptions {
    DeleteOptions {
        mode: DeleteMode::Permanent,
    }
}

/// The store below keeps nothing, so that only the cache's own is counted.
async fn entries(count: usize) -> Outcome<(u64, u64)> {
    let memory = Arc::new(MemoryStore::new());
    let store = CacheLayer::new(Duration::from_secs(86_400))
        .max_entries(count)
        .build(Arc::clone(&memory) as _);
    let keep = async |index: usize| -> Outcome {
        let name = SecretName::new(format!("team/service-{index:06}/password"))?;
        memory.put(&name, PutRequest::new(Fixture::value(index).as_str())).await?;
        // As a program has it: another handle to the name for each read.
        store.get(&SecretName::new(name.as_str())?, &GetOptions::default()).await?;
        memory.delete(&name, &forever()).await?;
        Ok(())
    };
    keep(0).await?;
    let before = resident()?;
    for index in 1..count {
        keep(index).await?;
    }
    let after = resident()?;
    let kept = store.usage().entries;
    if kept == count {
        Ok((before, after))
    } else {
        Err(format!("{kept} of {count} entries are kept").into())
    }
}

/// Operations of every kind, through every layer.
async fn operations(count: u64) -> Outcome<(u64, u64)> {
    metrics::set_global_recorder(AtomicRecorder)?;
    let memory = Arc::new(MemoryStore::new());
    let limited = LimitLayer::new(LimitOptions::default())?.layer(Arc::clone(&memory) as _);
    let retried = RetryLayer::new(RetryOptions::default())?.layer(limited);
    let times = CacheTimes::new(Duration::from_millis(200))
        .hard_max_age(Duration::from_secs(2))
        .negative_ttl(Duration::from_millis(100));
    let cache = CacheLayer::new(times).max_entries(KEPT).max_absences(1000).build(retried);
    let traced = TraceLayer::default().layer(MetricsLayer::default().layer(Arc::clone(&cache) as _));
    let actor = Actor::of_process(&Environment::from_process());
    let store = AuditLayer::new(actor).sink(Arc::new(MemoryAudit::new(1000))).layer(traced);
    let names: Vec<SecretName> = (0..NAMES)
        .map(|index| SecretName::new(format!("team-{}/service-{index}/password", index % 100)))
        .collect::<Result<_, _>>()?;
    for (index, name) in names.iter().enumerate() {
        memory.put(name, PutRequest::new(Fixture::value(index).as_str())).await?;
    }
    let random = Random::seeded(7);
    let mut before = 0;
    for number in 1..=count {
        operation(&*store, &cache, &names, random.next()).await?;
        // The tasks behind hits have a turn.
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
        if number == count / 10 {
            before = resident()?;
        }
    }
    let usage = cache.usage();
    if usage.entries > KEPT || usage.absences > 1000 {
        return Err(format!("the cache keeps more than it may: {usage:?}").into());
    }
    Ok((before, resident()?))
}

async fn operation(store: &dyn SecretStore, cache: &CachedStore, names: &[SecretName], dice: u64) -> Outcome {
    let index = (dice >> 32) as usize % NAMES;
    let name = &names[index];
    match dice % 1000 {
        0..700 => drop(store.get(&names[index % 1000], &GetOptions::default()).await?),
        700..970 => drop(store.get(name, &GetOptions::default()).await?),
        970..990 => {
            let missing = SecretName::new(format!("missing/{index}"))?;
            match store.get(&missing, &GetOptions::default()).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return Err(format!("a secret that does not exist: {other:?}").into()),
            }
        }
        // In place of the old value, so that the store below does not grow by versions.
        990..999 => {
            store.delete(name, &forever()).await?;
            store.put(name, PutRequest::new(Fixture::value(index).as_str())).await?;
        }
        _ => cache.clear_prefix(&format!("team-{}/service-{}", index % 100, index % 10)),
    }
    Ok(())
}
