//! Every sentence of the layer's documentation, in virtual time.

mod hedging;
mod reading;
mod writing;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{RetryLayer, RetryOptions};
use crate::clock::VirtualClock;
use crate::error::{Error, ErrorKind};
use crate::layer::Layer;
use crate::name::SecretName;
use crate::options::{GetOptions, PutRequest};
use crate::random::Random;
use crate::scripted::{ScriptedStore, Step, error};
use crate::store::SecretStore;

const RETRYABLE: [ErrorKind; 3] = [ErrorKind::RateLimited, ErrorKind::Timeout, ErrorKind::Unavailable];

fn name(text: &str) -> SecretName {
    SecretName::new(text).unwrap()
}

fn value(text: &str) -> String {
    format!("kfcanary-retrylayer-{text}")
}

/// A budget that is never in the way.
fn generous() -> RetryOptions {
    RetryOptions {
        budget: 1.0,
        budget_per_second: 1000.0,
        ..RetryOptions::default()
    }
}

fn layer(options: RetryOptions, seed: u64) -> RetryLayer {
    RetryLayer::new(options)
        .unwrap()
        .clock(Arc::new(VirtualClock::starting_at(SystemTime::now())))
        .random(Random::seeded(seed))
}

fn over(store: &Arc<ScriptedStore>, options: RetryOptions) -> Arc<dyn SecretStore> {
    layer(options, 1).layer(store.clone())
}

async fn with_a(script: impl IntoIterator<Item = Step>) -> Arc<ScriptedStore> {
    let store = Arc::new(ScriptedStore::new(script));
    store.memory.put(&name("a"), PutRequest::new(value("a"))).await.unwrap();
    store
}

async fn get(store: &Arc<dyn SecretStore>) -> Result<String, Error> {
    let secret = store.get(&name("a"), &GetOptions::default()).await?;
    Ok(secret.value.expose_str()?.to_owned())
}

fn attempts(error: &Error) -> Option<String> {
    error
        .context()
        .find(|(key, _)| *key == "attempts")
        .map(|(_, value)| value.to_owned())
}

fn source(error: &Error) -> Option<ErrorKind> {
    let below = std::error::Error::source(error)?;
    below.downcast_ref::<Error>().map(Error::kind)
}
