//! Tests of the cache: every sentence about it, in virtual time.

mod batches;
mod bounds;
mod forgetting;
mod interleavings;
mod lifetime;
mod shared;
mod sharing;
mod upstream;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::clock::VirtualClock;
use crate::error::{ErrorKind, Result};
use crate::name::SecretName;
use crate::options::{GetOptions, VersionSelector};
use crate::secret::{Freshness, Secret};
use upstream::Upstream;

const DAY: SystemTime = SystemTime::UNIX_EPOCH;

fn name(name: &str) -> SecretName {
    SecretName::new(name).unwrap()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A layer in virtual time that does nothing of its own accord: no jitter, no refresh.
fn plain(times: CacheTimes) -> CacheLayer {
    CacheLayer::new(times)
        .jitter(0.0)
        .refresh_ahead(1.0)
        .clock(Arc::new(VirtualClock::starting_at(DAY)))
}

async fn advance(milliseconds: u64) {
    tokio::time::advance(ms(milliseconds)).await;
    settle().await;
}

/// Lets the tasks behind do what they can do now.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn get(store: &CachedStore, key: &str) -> Result<Secret> {
    store.get(&name(key), &GetOptions::default()).await
}

async fn read(store: &CachedStore, key: &str) -> (String, Freshness) {
    shown(&get(store, key).await.unwrap())
}

async fn read_at_most(store: &CachedStore, key: &str, max_age: u64) -> Result<(String, Freshness)> {
    let options = GetOptions {
        max_age: Some(ms(max_age)),
        ..GetOptions::default()
    };
    store.get(&name(key), &options).await.map(|secret| shown(&secret))
}

fn shown(secret: &Secret) -> (String, Freshness) {
    (
        secret.value.expose_str().unwrap().to_owned(),
        secret.metadata.origin.freshness,
    )
}

async fn kind(store: &CachedStore, key: &str) -> ErrorKind {
    get(store, key).await.unwrap_err().kind()
}

fn from_store(value: &str) -> (String, Freshness) {
    (value.to_owned(), Freshness::Store)
}

fn from_memory(value: &str) -> (String, Freshness) {
    (value.to_owned(), Freshness::Cache)
}

fn stale(value: &str) -> (String, Freshness) {
    (value.to_owned(), Freshness::Stale)
}
