//! What a store tells of changes that others made.

use std::fmt;
use std::pin::Pin;

use futures_util::Stream;

use crate::name::SecretName;

/// What has changed in a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreChange {
    /// This secret was written, deleted or restored, or its metadata changed.
    Secret(SecretName),
    /// Anything may have changed: the stream has just begun, or changes may have been missed.
    Anything,
}

/// Changes as they come. It ends when the store can't tell of changes, for example because it is not permitted to.
pub type ChangeStream = Pin<Box<dyn Stream<Item = StoreChange> + Send>>;

/// A store that tells of changes, also of those that others make.
///
/// Apart from [`SecretStore`](crate::SecretStore), because most services can't, and because a layer has nothing to add.
/// A backend hands it out beside the store, as [`Connected::changes`](crate::Connected::changes).
///
/// # Contract
/// - A stream begins with [`StoreChange::Anything`] as soon as the service listens, so that whoever keeps what it read
///   before knows from when on changes are told.
/// - After an interruption the stream goes on by itself, with pauses that grow, and says `Anything` again.
/// - A change is told once the service shows the new state to readers. It may be told more than once.
/// - It never holds a value.
/// - It makes no request before it is polled, and none after it is dropped.
pub trait ChangeSource: Send + Sync + fmt::Debug {
    /// Begins to listen.
    fn changes(&self) -> ChangeStream;
}
