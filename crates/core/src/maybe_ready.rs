//! An answer that may be at hand.

use std::fmt;
use std::time::Duration;

use crate::backend::BoxFuture;
use crate::error::Result;
use crate::secret::Secret;

/// What [`SecretStore::get_maybe_ready`](crate::SecretStore::get_maybe_ready) gives: the answer, or the future that gives it.
pub enum MaybeReady<'f> {
    /// It was at hand.
    Ready {
        /// What [`get`](crate::SecretStore::get) would have said.
        answer: Result<Secret>,
        /// How long it took, where a layer has measured that: those above need not look at the clock as well.
        took: Option<Duration>,
    },
    /// It has to be waited for.
    Pending(BoxFuture<'f, Result<Secret>>),
}

impl MaybeReady<'_> {
    /// Waits if that is necessary.
    ///
    /// # Errors
    /// Those of [`SecretStore::get`](crate::SecretStore::get).
    pub async fn answer(self) -> Result<Secret> {
        match self {
            Self::Ready { answer, .. } => answer,
            Self::Pending(answer) => answer.await,
        }
    }
}

impl fmt::Debug for MaybeReady<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { answer, took } => f.debug_struct("Ready").field("answer", answer).field("took", took).finish(),
            Self::Pending(_) => f.write_str("Pending"),
        }
    }
}
