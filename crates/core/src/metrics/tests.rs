//! Exact numbers, in virtual time.

mod audit;
mod cache;
mod calls;
mod failover;
mod limit;
mod page;
mod retry;
mod stack;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::recorded::Recorded;
use super::{MetricsLayer, table};
use crate::clock::VirtualClock;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::Layer as _;
use crate::name::SecretName;
use crate::options::{GetOptions, GetRequest, PutRequest};
use crate::scripted::{ScriptedStore, Step};
use crate::secret::Secret;
use crate::store::SecretStore;

fn clock() -> Arc<VirtualClock> {
    Arc::new(VirtualClock::starting_at(SystemTime::UNIX_EPOCH))
}

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

/// A store with a script that has these secrets.
async fn store_with(names: &[&str], script: impl IntoIterator<Item = Step>) -> Arc<ScriptedStore> {
    let store = Arc::new(ScriptedStore::new(script));
    for key in names {
        let value = PutRequest::new("kfcanary-measured1");
        store.memory.put(&name(key), value).await.unwrap();
    }
    store
}

async fn get(store: &dyn SecretStore, key: &str) -> Result<Secret> {
    store.get(&name(key), &GetOptions::default()).await
}

async fn wait(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
    // What runs behind a read can do what it can do now.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
