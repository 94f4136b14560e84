//! Blocking work, away from the threads that serve everybody.

use keyfob_core::{Error, ErrorKind, Result};

/// Runs blocking work on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::new(ErrorKind::Other, "the work on the snapshot was interrupted"))?
}
