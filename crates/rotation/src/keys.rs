//! Rotators of keys that are made here: pairs, sets of keys that sign tokens, keys for TLS.

mod csr;
mod der;
mod jwks;
mod pair;
mod pem;
pub(crate) mod set;
mod signing;

pub use csr::{Issuer, TlsKeyRotator};
pub use jwks::{JwksRotator, TokenAlgorithm};
pub use pair::{KeyKind, KeyPairRotator};

use keyfob_core::{Error, ErrorKind, Result};

/// Makes keys where others don't have to wait for it: a large one takes a second.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let made = tokio::task::spawn_blocking(work).await;
    made.map_err(|_| Error::new(ErrorKind::Other, "a key could not be made"))?
}

pub(crate) fn unusable(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}
