//! Blocking work, away from the threads that serve everybody.

use keyfob_core::{Error, ErrorKind, Result};

/// Runs blocking work on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())?
}

pub(crate) fn interrupted() -> Error {
    Error::new(ErrorKind::Other, "the work on the snapshot was interrupted")
}
