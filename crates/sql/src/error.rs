//! Errors that every database can lead to.

use keyfob_core::{Error, ErrorKind, SecretName};

/// Something in the store is not what was written there.
pub(crate) fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message).with_hint(PUT_BACK)
}

/// What helps a store in a file.
pub(crate) const PUT_BACK: &str = "see `keyfob doctor`; `keyfob backup restore FILE` puts back a backup";

/// What helps when a write may or may not have been done.
pub(crate) const SEE_WHETHER_WRITTEN: &str = "read the secret to see whether it was written";

pub(crate) fn not_found(name: &SecretName) -> Error {
    Error::new(ErrorKind::NotFound, "no such secret").with("name", name.as_str())
}
