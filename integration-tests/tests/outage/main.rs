//! A store that is gone: OpenBao, stopped (it is silent) or killed (it refuses) under two hundred readers who have it under all
//! layers, and then there again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod openbao;
mod readers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfob::{
    CacheNames, CacheTimes, Environment, ErrorKind, Freshness, GetOptions, LayerSettings, PutRequest, SecretManager, SecretName,
    SecretStore, StoreUrl,
};
use keyfob_integration_tests::fault_proxy::FaultProxy;

use crate::openbao::OpenBao;
use crate::readers::{Names, Phase, Readers};

const TTL: Duration = Duration::from_secs(2);
/// For so long an answer may cover a store that can't give a newer one.
const MAX_AGE: Duration = Duration::from_secs(600);
const DEADLINE: Duration = Duration::from_secs(4);
/// A busy machine may be so late.
const PATIENCE: Duration = Duration::from_secs(3);
/// One store of the list may take so long.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
const SHORT: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Stopped,
    Killed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_survive_a_store_that_is_silent() {
    outage("readers_survive_a_store_that_is_silent", Fault::Stopped, SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_survive_a_store_that_is_killed_and_started_again() {
    outage(
        "readers_survive_a_store_that_is_killed_and_started_again",
        Fault::Killed,
        SHORT,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute, and wants the machine for itself; a short one always runs"]
async fn readers_survive_a_minute_of_silence() {
    outage("readers_survive_a_minute_of_silence", Fault::Stopped, MINUTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes more than a minute, and wants the machine for itself; a short one always runs"]
async fn readers_survive_a_minute_without_the_store() {
    outage("readers_survive_a_minute_without_the_store", Fault::Killed, MINUTE).await;
}

async fn outage(test: &'static str, fault: Fault, length: Duration) {
    let started = tokio::task::spawn_blocking(move || OpenBao::start(test)).await;
    let Some(mut server) = started.unwrap() else { return };
    let proxy = FaultProxy::to(server.url()).unwrap().start().unwrap();
    let direct = direct(&server).await;
    write(&*direct, "kfcanary-beforetheoutage").await;
    let manager = application(&server, &proxy.url()).await;
    let store = manager.store().await.unwrap();
    all_are(&*store, "kfcanary-beforetheoutage").await.unwrap();

    let readers = Readers::begin(&store);
    tokio::time::sleep(length / 2).await;
    let opened_before = manager.failover_of("secret").await.unwrap()[0].opened;
    proxy.forget();
    match fault {
        Fault::Stopped => server.suspend(),
        Fault::Killed => server.kill(),
    }
    readers.enter(Phase::Outage);
    tokio::time::sleep(length).await;
    let stale = store.get(&Names::Cached.name(0), &GetOptions::default()).await.unwrap();
    assert_eq!(stale.metadata.origin.freshness, Freshness::Stale);
    let attempts = proxy.requests().len().max(proxy.connections());
    let opened = manager.failover_of("secret").await.unwrap()[0].opened - opened_before;
    readers.enter(Phase::Recovery);
    match fault {
        Fault::Stopped => server.resume(),
        Fault::Killed => {
            let restarted = tokio::task::spawn_blocking(move || {
                server.restart();
                server
            });
            server = restarted.await.unwrap();
        }
    }

    // Nobody has to start the application again for it to see what is new.
    write(&*direct, "kfcanary-aftertheoutage").await;
    let begin = Instant::now();
    while let Err(lacking) = all_are(&*store, "kfcanary-aftertheoutage").await {
        assert!(begin.elapsed() < Duration::from_secs(60), "still not read: {lacking}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let recovery = begin.elapsed();
    readers.enter(Phase::After);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut seen = readers.end().await;
    drop(server);

    let mut of = |names, phase| seen.remove(&(names, phase)).unwrap_or_default();
    let phases = [Phase::Before, Phase::Outage, Phase::Recovery, Phase::After];
    let [before, during, recovering, after] = phases.map(|phase| of(Names::Cached, phase));
    for seen in [&before, &during, &recovering, &after] {
        assert!(seen.reads > 1000 && seen.errors.is_empty(), "{seen:?}");
    }
    for phase in phases {
        let covered = of(Names::Covered, phase);
        assert!(covered.errors.is_empty(), "{phase:?}: {covered:?}");
    }
    let uncached = phases.map(|phase| of(Names::Uncached, phase));
    for seen in [&uncached[0], &uncached[3]] {
        assert!(seen.reads > 0 && seen.errors.is_empty(), "{seen:?}");
    }
    let failed = &uncached[1];
    let is_right = |kind: &ErrorKind| matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout);
    assert!(failed.errors.keys().all(is_right), "{failed:?}");
    assert!(
        failed.reads > 0 && failed.errors.values().sum::<u64>() == failed.reads,
        "{failed:?}"
    );
    assert!(failed.longest() < DEADLINE + PATIENCE, "{:?}", failed.longest());

    // One call for each name and each reader of what is never kept until the breaker opens, the retries that the budget pays
    // for, and then one call whenever the breaker tries the store.
    let calls: usize = Names::ALL.into_iter().map(Names::count).sum();
    let most = 2 * calls + 10 + 2 * usize::try_from(length.as_secs()).unwrap();
    assert!(attempts <= most, "{attempts} attempts, at most {most} are due");
    assert!(opened > 0, "the breaker has not opened");

    let (p99_before, p99) = (before.percentile(99), during.percentile(99));
    keyfob_testkit::tell(&format!(
        "OpenBao {fault:?} for {} s under 200 readers: {} reads of what is in memory, none failed, p99 {p99:?} ({p99_before:?} \
         before); {} of the rest failed after {:?} at most; {attempts} requests to it; new values read {recovery:?} after it \
         could be written to again",
        length.as_secs(),
        during.reads,
        failed.reads,
        failed.longest(),
    ));
    if length >= MINUTE {
        assert!(
            p99 < 5 * p99_before.max(Duration::from_micros(100)),
            "{p99:?}, before {p99_before:?}"
        );
    }
}

/// The server without layers.
async fn direct(server: &OpenBao) -> Arc<dyn SecretStore> {
    let url = StoreUrl::parse(&format!("vault:secret?address={}", server.url())).unwrap();
    let environment = Environment::fake().var("VAULT_TOKEN", server.token()).build();
    (keyfob_vault::BACKEND.connect)(url, &environment).await.unwrap().store
}

/// The server under all layers, with a store that stands by and has nothing.
async fn application(server: &OpenBao, address: &str) -> SecretManager {
    let environment = Environment::fake().var("VAULT_TOKEN", server.token()).var(
        "SECRET_PROVIDER",
        format!("vault:secret?address={address},dotenv:/nowhere/.env"),
    );
    let times = CacheTimes::new(TTL).hard_max_age(MAX_AGE);
    let mut settings = LayerSettings::default();
    settings.cache.rules = vec![
        (
            CacheNames::Prefix(Names::Cached.prefix().into()),
            times.stale_while_revalidate(MAX_AGE),
        ),
        (CacheNames::Prefix(Names::Covered.prefix().into()), times),
        (CacheNames::Prefix(Names::Uncached.prefix().into()), CacheTimes::NEVER),
    ];
    settings.retry.deadline = DEADLINE;
    settings.failover.read_timeout = READ_TIMEOUT;
    settings.failover.breaker.longest_open = Duration::from_secs(2);
    let builder = SecretManager::builder().environment(environment.build()).layers(settings);
    builder.build().await.unwrap()
}

/// Sets every secret, as soon as that is possible.
async fn write(store: &dyn SecretStore, value: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    for name in all_names() {
        while let Err(error) = store.put(&name, PutRequest::new(value)).await {
            assert!(Instant::now() < end, "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether every secret is read with this value; else which is not, and why.
async fn all_are(store: &dyn SecretStore, value: &str) -> Result<(), String> {
    for name in all_names() {
        match store.get(&name, &GetOptions::default()).await {
            Ok(secret) if secret.value.expose_secret() == value.as_bytes() => {}
            Ok(_) => return Err(format!("`{name}` has its old value")),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

fn all_names() -> impl Iterator<Item = SecretName> {
    let names = Names::ALL.into_iter();
    names.flat_map(|names| (0..names.count()).map(move |index| names.name(index)))
}
