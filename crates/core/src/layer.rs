//! Decorators over a store.

use std::sync::Arc;

use crate::store::SecretStore;

/// Makes a store out of a store: cache, retry, audit, ...
///
/// A layer keeps the whole contract of [`SecretStore`] and passes the same conformance suite as a store. If it
/// narrows what the stack can do, it says so in its own [`info`](SecretStore::info).
pub trait Layer: Send + Sync {
    /// Wraps `inner`.
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore>;
}

impl<F> Layer for F
where
    F: Fn(Arc<dyn SecretStore>) -> Arc<dyn SecretStore> + Send + Sync,
{
    fn layer(&self, inner: Arc<dyn SecretStore>) -> Arc<dyn SecretStore> {
        self(inner)
    }
}

/// Wraps `store` in `layers`, the innermost first, so that the last one sees a call first.
pub fn stack<'a>(store: Arc<dyn SecretStore>, layers: impl IntoIterator<Item = &'a dyn Layer>) -> Arc<dyn SecretStore> {
    layers.into_iter().fold(store, |inner, layer| layer.layer(inner))
}
