//! Times of reads, taken by criterion.

use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use serde::Deserialize;

use crate::Outcome;
use crate::contestant::Contestant;
use crate::sample::{Effort, Samples};

/// The numbers of threads that read at the same time.
pub(crate) const THREADS: [usize; 2] = [1, 2];

/// Everybody's times for one read, a list for each of [`THREADS`], in the order of the contestants.
///
/// In rounds, in which everybody has a turn and another one begins, so that a machine whose speed drifts slows all alike.
pub(crate) fn measure(contestants: &[&Contestant], effort: Effort) -> Outcome<[Vec<Samples>; THREADS.len()]> {
    let place = tempfile::tempdir()?;
    let (rounds, warm_up, time, samples) = if effort == Effort::Quick {
        (1, 1, 5, 10)
    } else {
        (7, 100, 400, 20)
    };
    let mut criterion = Criterion::default()
        .without_plots()
        .output_directory(place.path())
        .warm_up_time(Duration::from_millis(warm_up))
        .measurement_time(Duration::from_millis(time))
        .sample_size(samples)
        .nresamples(1000);
    let mut times = THREADS.map(|_| contestants.iter().map(|_| Vec::new()).collect::<Vec<Vec<f64>>>());
    for round in 0..rounds {
        let group_name = format!("round-{round}");
        let mut group = criterion.benchmark_group(&group_name);
        for (at, threads) in THREADS.into_iter().enumerate() {
            for turn in 0..contestants.len() {
                let index = (turn + round) % contestants.len();
                let contestant = contestants[index];
                let label = format!("{threads}-threads");
                group.bench_function(BenchmarkId::new(&contestant.name, &label), |bencher| {
                    bencher.iter_custom(|batches| contestant.time(batches, threads));
                });
                let taken = place.path().join(&group_name).join(&contestant.name).join(&label);
                let batches = read(&taken)?;
                times[at][index].extend(batches.iter().map(|seconds| seconds / contestant.batch as f64));
            }
        }
        group.finish();
    }
    for contestant in contestants {
        contestant.check()?;
    }
    Ok(times.map(|times| times.into_iter().map(Samples::from).collect()))
}

/// What criterion keeps of its samples: how many batches each had, and how many nanoseconds they took.
#[derive(Deserialize)]
struct Taken {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Seconds for one batch.
fn read(directory: &Path) -> Outcome<Vec<f64>> {
    let path = directory.join("new/sample.json");
    let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let Taken { iters, times } = serde_json::from_slice(&text)?;
    Ok(iters.iter().zip(&times).map(|(batches, time)| time / batches / 1e9).collect())
}
