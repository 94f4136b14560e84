//! What a snapshot is to hold.

use std::collections::BTreeSet;

use keyfob_core::SecretName;

use crate::id::SnapshotId;

/// How many secrets are read at the same time when nobody says otherwise.
pub const DEFAULT_CONCURRENCY: usize = 16;

/// The most snapshots that one may build on.
pub(crate) const MAX_BASES: usize = 30;

/// What a snapshot is to hold, and how it is made.
///
/// What keyfob keeps itself beside secrets ([`SecretName::is_reserved`]), such as the journal of a rotation, is never in it: it must not
/// come back from an earlier time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Only names that begin with this text; empty is all.
    pub prefix: String,
    /// Only these names, as far as they exist and begin with the prefix; the store is then not listed.
    pub names: Option<BTreeSet<SecretName>>,
    /// Names that begin with one of these texts are left out: for example where snapshots of this store are kept in it.
    pub exclude: Vec<String>,
    /// What it may build on.
    pub parent: Parent,
    /// Whether what gets shorter is compressed. The length of a compressed value tells something about it: where one value has
    /// text that others choose beside text that they may not know, and they see the sizes of snapshots, don't.
    pub compress: bool,
    /// Why it is made. Everybody who has the file can read it.
    pub note: Option<String>,
    /// How many secrets are read at the same time; zero counts as one. Twice as many values are in memory at most, and one block.
    pub concurrency: usize,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            names: None,
            exclude: Vec::new(),
            parent: Parent::Newest,
            compress: true,
            note: None,
            concurrency: DEFAULT_CONCURRENCY,
        }
    }
}

/// What a snapshot may build on: a secret that is as it was there is not written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parent {
    /// The newest snapshot of the same store and prefix, if the key opens it and it is whole; else the snapshot stands alone.
    #[default]
    Newest,
    /// Nothing: the snapshot stands alone.
    None,
    /// This snapshot.
    Of(SnapshotId),
}
