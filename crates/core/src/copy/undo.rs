//! Taking back what a copy wrote.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::stream::{self, StreamExt as _};

use super::plan::Step;
use super::{Content, CopyEntry, CopyOptions, CopyOutcome, Ends};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::MemoryStore;
use crate::name::SecretName;
use crate::options::DeleteOptions;
use crate::secret::Version;
use crate::store::SecretStore;

/// One secret that a copy wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrote {
    /// Its name.
    pub name: SecretName,
    /// The version that the copy made: what has another one now was changed since, and stays.
    pub version: Version,
    /// Whether the target had something else before, and not nothing.
    pub existed: bool,
}

impl Wrote {
    /// What an entry of a report says; `None` where nothing was written, or the target gave no version.
    ///
    /// What failed after it was written counts as written: `existed` must be asked of the plan.
    #[must_use]
    pub fn of(entry: &CopyEntry, planned: &CopyOutcome) -> Option<Self> {
        Some(Self {
            name: entry.name.clone(),
            version: entry.written.clone()?,
            existed: matches!(planned, CopyOutcome::Changed(_)),
        })
    }
}

/// What became of one secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Undone {
    /// Its name.
    pub name: SecretName,
    /// What became of it.
    pub outcome: UndoOutcome,
}

impl Undone {
    /// For whoever settles a secret without [`undo`].
    #[must_use]
    pub fn new(name: SecretName, outcome: UndoOutcome) -> Self {
        Self { name, outcome }
    }
}

/// What becomes of a secret that a copy wrote.
#[derive(Debug, Clone)]
pub enum UndoOutcome {
    /// It has again what it had.
    PutBack,
    /// It was made by the copy, and is deleted, as the store deletes when nothing else is said.
    Deleted,
    /// It is already as it was before.
    Unchanged,
    /// Somebody changed or deleted it since the copy, and it was left to them.
    Left,
    /// It is not as it was before, for this reason.
    Failed(Error),
}

impl UndoOutcome {
    /// The stable token of this outcome, for example `put_back`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::PutBack => "put_back",
            Self::Deleted => "deleted",
            Self::Unchanged => "unchanged",
            Self::Left => "left",
            Self::Failed(_) => "failed",
        }
    }
}

/// Takes back what a copy wrote to `target`, or with `dry_run` says what that would do, in the order of `wrote`.
///
/// `before` has what the target had, for example a snapshot that was made before the copy; without it only what the copy made
/// can be taken back. A secret is touched only if it still has the version that the copy made. A store can't compare before it
/// deletes: what somebody else writes in the moment between look and deletion is deleted with the rest.
///
/// One secret's failure does not touch the others, and an undo that was interrupted goes on when it is called again.
pub async fn undo(
    target: Arc<dyn SecretStore>,
    before: Option<Arc<dyn SecretStore>>,
    wrote: &[Wrote],
    concurrency: usize,
    dry_run: bool,
) -> Vec<Undone> {
    let ends = Ends {
        from: before.unwrap_or_else(|| Arc::new(MemoryStore::new())),
        to: target,
        options: CopyOptions {
            overwrite: true,
            include_expired: true,
            concurrency,
            ..CopyOptions::default()
        },
        batches_fail: AtomicBool::new(false),
    };
    let ends = &ends;
    let undone = stream::iter(wrote).map(|wrote| async move {
        let outcome = if wrote.existed {
            ends.put_back(wrote, dry_run).await
        } else {
            ends.delete(wrote, dry_run).await
        };
        Undone {
            name: wrote.name.clone(),
            outcome: outcome.unwrap_or_else(UndoOutcome::Failed),
        }
    });
    undone.buffered(ends.concurrency()).collect().await
}

impl Ends {
    async fn put_back(&self, wrote: &Wrote, dry_run: bool) -> Result<UndoOutcome> {
        let content = self.read(&wrote.name).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                error.with_hint("what was there before the copy is not in the snapshot that was named, or none was")
            }
            _ => error,
        })?;
        let present = match self.look(&wrote.name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(UndoOutcome::Left),
            present => present?,
        };
        let Some(difference) = content.difference(&present) else {
            return Ok(UndoOutcome::Unchanged);
        };
        if present.metadata.version.as_ref() != Some(&wrote.version) {
            return Ok(UndoOutcome::Left);
        }
        if dry_run {
            return Ok(UndoOutcome::PutBack);
        }
        let seen = present.metadata.version.clone();
        self.put_content_back(&wrote.name, &Step::Change { difference, seen }, &content)
            .await
    }

    async fn put_content_back(&self, name: &SecretName, change: &Step, content: &Content) -> Result<UndoOutcome> {
        match self.write_content(name, change, content, &mut None).await? {
            CopyOutcome::Created | CopyOutcome::Changed(_) => Ok(UndoOutcome::PutBack),
            CopyOutcome::Unchanged => Ok(UndoOutcome::Unchanged),
            CopyOutcome::Left(_) => Ok(UndoOutcome::Left),
            CopyOutcome::Failed(error) => Err(error),
        }
    }

    async fn delete(&self, wrote: &Wrote, dry_run: bool) -> Result<UndoOutcome> {
        let present = match self.look(&wrote.name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(UndoOutcome::Unchanged),
            present => present?,
        };
        if present.metadata.version.as_ref() != Some(&wrote.version) {
            return Ok(UndoOutcome::Left);
        }
        if dry_run {
            return Ok(UndoOutcome::Deleted);
        }
        match self.to.delete(&wrote.name, &DeleteOptions::default()).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.with("name", wrote.name.as_str())),
            _ => Ok(UndoOutcome::Deleted),
        }
    }
}
