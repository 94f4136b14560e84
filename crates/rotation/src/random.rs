//! Random bytes of the operating system.

use keyfob_core::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// # Errors
/// `Unavailable` when the operating system gives none.
pub(crate) fn random_bytes(count: usize) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; count]);
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Unavailable, "the operating system gives no random bytes").with_source(error))?;
    Ok(bytes)
}

/// A name that nobody else makes, no secret.
///
/// # Errors
/// Those of [`random_bytes`].
pub(crate) fn random_id() -> Result<String> {
    Ok(data_encoding::HEXLOWER.encode(&random_bytes(8)?))
}
