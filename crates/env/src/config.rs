//! What a [`DotenvStore`](crate::DotenvStore) is made from.

use std::path::PathBuf;

/// Which `.env` file a [`DotenvStore`](crate::DotenvStore) keeps its secrets in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DotenvConfig {
    /// The file. A relative path is taken from the working directory at the moment the store is made. The file need
    /// not exist.
    pub path: PathBuf,
}

impl DotenvConfig {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}
