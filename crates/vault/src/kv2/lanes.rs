//! Order among the writes of one process.

use std::hash::{DefaultHasher, Hash, Hasher};

use keyfob_core::SecretName;
use tokio::sync::RwLock;

/// Locks that names share. A write of value *and* metadata is more than one request, and has its lane for itself.
#[derive(Debug)]
pub(crate) struct Lanes([RwLock<()>; 64]);

impl Lanes {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| RwLock::new(())))
    }

    pub(crate) fn of(&self, name: &SecretName) -> &RwLock<()> {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        &self.0[hasher.finish() as usize % self.0.len()]
    }
}
