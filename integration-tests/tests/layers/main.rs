//! Every layer alone, and all of them together, over every real store of the test bed: the conformance suite comes to what
//! it comes to on the store without them, case by case. Cases that a store lacks the capability for are ignored in the same
//! way, and what a server gets wrong is got wrong in the same way.
//!
//! What comes of a store without layers is proven by its own adapter's tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod change;
mod places;
mod stacks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfob_testkit::{Outcome, Report, RunOptions, run, tell};

use crate::places::Kind;
use crate::stacks::{STACKS, Stack};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_dotenv_file_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::Dotenv).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_localstack_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::LocalStack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_moto_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::Moto).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_vault_kv_2_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::VaultKv2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_vault_kv_1_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::VaultKv1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_double_of_google_cloud_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::GcpDouble).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_drongo_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::Drongo).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_double_of_azure_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::Azure).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_objects_of_kubernetes_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::KubernetesObjects).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_keys_of_a_kubernetes_object_every_layer_keeps_the_contract() {
    every_layer_keeps_the_contract(Kind::KubernetesKeys).await;
}

async fn every_layer_keeps_the_contract(kind: Kind) {
    // All at once: most of the time a store is waited for.
    let runs = STACKS.map(|stack| (stack, tokio::spawn(report(kind, stack))));
    let mut alone: Option<Report> = None;
    let (mut findings, mut times) = (Vec::new(), Vec::new());
    for (stack, run) in runs {
        let Some((report, took)) = run.await.unwrap() else {
            return;
        };
        times.push(format!("{stack:?} {} s", took.as_secs()));
        match &alone {
            None => alone = Some(report),
            Some(alone) => findings.extend(differences(alone, &report).map(|finding| format!("\n  {stack:?}: {finding}"))),
        }
    }
    let alone = alone.unwrap();
    assert!(
        findings.is_empty(),
        "on {kind:?} it is not as without layers:{}",
        findings.concat()
    );
    assert!(alone.passed() > alone.cases.len() / 2, "nothing was proven: {alone}");
    tell(&format!(
        "under each of {} stacks of layers {kind:?} does what it does alone: of {} cases {} pass, {} are ignored, {} deviate ({})",
        STACKS.len() - 1,
        alone.cases.len(),
        alone.passed(),
        alone.ignored(),
        alone.failed(),
        times.join(", "),
    ));
}

/// What comes of the whole suite, and how long it took; `None`, told, when there is no such server.
async fn report(kind: Kind, stack: Stack) -> Option<(Report, Duration)> {
    let place = kind.open("on_every_store_every_layer_keeps_the_contract").await?;
    let laid = stack.lay(kind, &place).await?;
    // The machine does much else at the same time, and how long it takes is not looked at here.
    let options = RunOptions::new().time_limit(Duration::from_secs(240));
    let begin = Instant::now();
    let report = run(Arc::clone(&laid.store), options).await;
    let took = begin.elapsed();
    laid.close().await;
    place.clean_up().await;
    Some((report, took))
}

/// Where two runs differ, and what must not be anywhere.
fn differences(alone: &Report, layered: &Report) -> impl Iterator<Item = String> {
    let names = |report: &Report| report.cases.iter().map(|case| case.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(alone), names(layered));
    let cases = alone.cases.iter().zip(&layered.cases).filter_map(|(alone, layered)| {
        let leaks = matches!(&layered.outcome, Outcome::Failed(failure) if !failure.leaks.is_empty());
        let alike = match (&alone.outcome, &layered.outcome) {
            (Outcome::Ignored(one), Outcome::Ignored(other)) => one == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        };
        (leaks || !alike).then(|| format!("{layered}; without layers: {}", alone.outcome))
    });
    let leftovers = layered.leftovers.iter().map(|leftover| format!("left behind: {leftover}"));
    cases.chain(leftovers).collect::<Vec<_>>().into_iter()
}
