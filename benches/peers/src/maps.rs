//! Bare caches that hold what keyfob's holds: the floor, without what keyfob does for each read beside looking it up.

use std::hint::black_box;
use std::time::Duration;

use keyfob_bench_layers::{Contestant, Fixture, Outcome, Reader};
use keyfob_core::{Metadata, Secret, SecretName, SecretValue};

struct Map<C> {
    cache: C,
    names: Vec<SecretName>,
}

impl Reader for Map<moka::sync::Cache<SecretName, Secret>> {
    async fn read(&self, index: usize) -> usize {
        let secret = self.cache.get(&self.names[index]);
        black_box(&secret).as_ref().map_or(0, |secret| secret.value.len())
    }
}

impl Reader for Map<quick_cache::sync::Cache<SecretName, Secret>> {
    async fn read(&self, index: usize) -> usize {
        let secret = self.cache.get(&self.names[index]);
        black_box(&secret).as_ref().map_or(0, |secret| secret.value.len())
    }
}

fn secrets(fixture: &Fixture) -> impl Iterator<Item = (SecretName, Secret)> {
    fixture.names.iter().enumerate().map(|(index, name)| {
        let value = SecretValue::from(Fixture::value(index).as_str());
        (name.clone(), Secret::new(value, Metadata::new(name.clone(), "memory")))
    })
}

/// With a time to live, as keyfob's has one.
pub(crate) fn moka(fixture: &Fixture) -> Outcome<Contestant> {
    let cache = moka::sync::Cache::builder()
        .max_capacity(10_000)
        .time_to_live(Duration::from_secs(86_400))
        .build();
    for (name, secret) in secrets(fixture) {
        cache.insert(name, secret);
    }
    let names = fixture.names.clone();
    Ok(Contestant::new("moka", Map { cache, names }))
}

/// It knows no time.
pub(crate) fn quick_cache(fixture: &Fixture) -> Outcome<Contestant> {
    let cache = quick_cache::sync::Cache::new(10_000);
    for (name, secret) in secrets(fixture) {
        cache.insert(name, secret);
    }
    let names = fixture.names.clone();
    Ok(Contestant::new("quick_cache", Map { cache, names }))
}
