//! What the store asks of a database, row by row, inside one transaction.
//!
//! Everything above this trait is the same for every database; everything below it knows one.

use keyfob_core::Result;

use crate::rows::{Digest, Facts, SecretColumns, SecretRow, VersionRow};

/// The tables as one transaction sees them. Nothing that comes out of them is trusted.
pub(crate) trait Tables {
    /// Shows the secrets of one bucket, in the byte order of their names.
    fn secrets(&self, bucket: u16, show: &mut dyn FnMut(&SecretColumns<'_>) -> Result<()>) -> Result<()>;

    /// Shows every secret with its bucket, in the order of buckets, then of names.
    fn all_secrets(&self, show: &mut dyn FnMut(u16, &SecretColumns<'_>) -> Result<()>) -> Result<()>;

    /// Shows one version; false when there is no such row.
    fn version(&self, at: At<'_>, show: &mut dyn FnMut(&VersionRow<'_>) -> Result<()>) -> Result<bool>;

    /// What is known about one version, with the digest of its ciphertext, without reading its value.
    fn facts(&self, at: At<'_>) -> Result<Option<(Facts<'static>, Digest)>>;

    /// Shows every version with its bucket and name, in the order of buckets, names and numbers.
    fn all_versions(&self, show: &mut dyn FnMut(u16, &str, &VersionRow<'_>) -> Result<()>) -> Result<()>;

    fn set_secret(&self, bucket: u16, row: &SecretRow, digest: &Digest) -> Result<()>;
    /// Removes a secret and all its versions.
    fn remove_secret(&self, bucket: u16, name: &str) -> Result<()>;
    /// Adds a version that is not there yet.
    fn add_version(&self, bucket: u16, name: &str, row: &VersionRow<'_>) -> Result<()>;
    fn remove_version(&self, at: At<'_>) -> Result<()>;
}

/// Which version.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) bucket: u16,
    pub(crate) name: &'a str,
    pub(crate) number: u64,
}
