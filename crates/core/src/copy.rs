//! Copying secrets from one store into another.
//!
//! What holds, whatever happens:
//!
//! - The source is only read.
//! - Nothing is written before every secret was looked at in both stores: what can't be copied is known first.
//! - A secret of the target that differs is replaced only with [`CopyOptions::overwrite`], and only as it was seen: what
//!   somebody else writes meanwhile is never lost. Where the target can't compare on a write, it is looked at once more
//!   just before.
//! - What was written is read back and compared before it counts as copied.
//! - Each secret is written by one `put`, so that whoever is killed in the middle leaves every secret old or new. A second
//!   copy goes on: what is there already is left alone and gets no new version.
//! - Only the current version is copied, with its description, tags and expiry. What keyfob keeps itself beside secrets
//!   ([`SecretName::is_reserved`]) is not copied.
//!
//! However many secrets there are, no more values are in memory than [`CopyOptions::concurrency`] times what is read, written
//! and read back of one.

mod content;
mod journal;
mod pace;
mod plan;
mod undo;
mod write;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, ErrorKind, Result};
use crate::name::SecretName;
use crate::options::ListOptions;
use crate::secret::Version;
use crate::store::SecretStore;

use self::content::Content;
pub use self::content::refers_to_a_secret;
pub use self::journal::{CopyJournal, NoJournal};
pub use self::plan::CopyPlan;
pub use self::undo::{UndoOutcome, Undone, Wrote, undo};

/// How many secrets are copied at the same time when nobody says otherwise.
pub const DEFAULT_CONCURRENCY: usize = 16;

/// What to copy, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Only names that begin with this text; empty is all.
    pub prefix: String,
    /// Only these of them; the source is then not listed.
    pub names: Option<BTreeSet<SecretName>>,
    /// Replaces what the target has with another value or other metadata.
    pub overwrite: bool,
    /// Brings back a secret of the target that was deleted and can be restored, where its name can't be used otherwise, and
    /// then gives it what the source has. Without it, such a secret fails with [`Conflict`](ErrorKind::Conflict).
    pub bring_back: bool,
    /// Copies what has expired too, with its expiry. Without it, an expired secret fails with
    /// [`Expired`](ErrorKind::Expired).
    pub include_expired: bool,
    /// Leaves out the description, tags or expiry that the target can't keep. Without it, such a secret fails with
    /// [`Unsupported`](ErrorKind::Unsupported): one that lost its expiry would live for ever.
    pub drop_metadata: bool,
    /// Leaves a value alone that [refers to a secret](refers_to_a_secret): for a source that is a configuration, where it stands for the
    /// secret and is not the secret.
    pub leave_references: bool,
    /// How many secrets are looked at or written at the same time; zero counts as one.
    pub concurrency: usize,
    /// How many writes may begin in a second; `None` does not bound it. What a retry layer sends again does not count.
    pub rate: Option<NonZeroU32>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            names: None,
            overwrite: false,
            bring_back: false,
            include_expired: false,
            drop_metadata: false,
            leave_references: false,
            concurrency: DEFAULT_CONCURRENCY,
            rate: None,
        }
    }
}

/// What became of every secret of the source, or would.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyReport {
    /// One for each secret, in the byte order of names.
    pub entries: Vec<CopyEntry>,
}

impl CopyReport {
    /// The secrets that could not be copied, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&SecretName, &Error)> {
        self.entries.iter().filter_map(|entry| match &entry.outcome {
            CopyOutcome::Failed(error) => Some((&entry.name, error)),
            _ => None,
        })
    }
}

/// What became of one secret, or would.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyEntry {
    /// Its name, in both stores.
    pub name: SecretName,
    /// What became of it.
    pub outcome: CopyOutcome,
    /// The version that the target had when the plan was made; `None` when it had none, or the store does not say.
    pub seen: Option<Version>,
    /// The version that the target made of it; `None` when nothing was written, or the store does not say.
    pub written: Option<Version>,
}

/// What becomes of a secret.
#[derive(Debug, Clone)]
pub enum CopyOutcome {
    /// The target did not have it, or had it deleted, and has it now.
    Created,
    /// The target had something else in this respect, and has the source's now.
    Changed(Difference),
    /// The target had the same already.
    Unchanged,
    /// The target has something else in this respect, which was kept; or the source has nothing that could be copied.
    Left(Difference),
    /// It is not in the target as it is in the source, for this reason.
    Failed(Error),
}

impl CopyOutcome {
    /// The stable token of this outcome, for example `created`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed(_) => "changed",
            Self::Unchanged => "unchanged",
            Self::Left(_) => "left",
            Self::Failed(_) => "failed",
        }
    }
}

/// In what the same secret differs between two stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The bytes, and perhaps more.
    Value,
    /// The description, the tags or the expiry.
    Metadata,
    /// The source does not have the secret, but a [reference](CopyOptions::leave_references) to one.
    Reference,
}

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyProgress {
    /// So many secrets were looked at in both stores; how many there are is not known yet.
    Compared(usize),
    /// So many secrets were written, or could not be.
    Written {
        /// How many of them.
        done: usize,
        /// Of so many.
        total: usize,
    },
}

/// Looks at every secret of `from` and at what `to` has of it. Nothing is written.
///
/// The stores may have layers; a cache is gone past. Whether they are the same store is not looked at, see
/// [`is_same_store`].
///
/// ```
/// use std::sync::Arc;
/// use keyfob_core::copy::{self, CopyOptions};
/// use keyfob_core::{MemoryStore, PutRequest, SecretName, SecretStore as _};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let (from, to) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
/// from.put(&SecretName::new("db/password")?, PutRequest::new("s3cr3t")).await?;
///
/// let plan = copy::plan(from, to, CopyOptions::default(), |_| {}).await?;
/// assert_eq!(plan.report().entries[0].outcome.as_str(), "created");
/// let report = plan.carry_out(|_| {}).await;
/// assert_eq!(report.failures().count(), 0);
/// # Ok::<(), keyfob_core::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `Unsupported`, before any I/O, when `from` can't list its secrets or `to` is read-only; those of
/// [`SecretStore::list`]. What concerns one secret only stands in the plan.
pub async fn plan(
    from: Arc<dyn SecretStore>,
    to: Arc<dyn SecretStore>,
    options: CopyOptions,
    progress: impl FnMut(CopyProgress),
) -> Result<CopyPlan> {
    let ends = Ends::new(from, to, options)?;
    CopyPlan::make(ends, progress).await
}

/// Whether two stores look like the same: the same place, or links to the same file.
///
/// Only for files this is certain. One service can be reached at several addresses, and two accounts of a cloud can look
/// like the same place. Copying a store onto itself changes nothing.
#[must_use]
pub fn is_same_store(one: &dyn SecretStore, other: &dyn SecretStore) -> bool {
    let (one, other) = (one.info(), other.info());
    one.scheme == other.scheme && (one.location == other.location || is_same_file(&one.location, &other.location))
}

fn is_same_file(one: &str, other: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &str| {
        let status = path.starts_with('/').then(|| std::fs::metadata(path).ok()).flatten();
        status.map(|status| (status.dev(), status.ino()))
    };
    identity(one).is_some_and(|file| identity(other) == Some(file))
}

/// The two stores and what is asked for.
#[derive(Debug)]
struct Ends {
    from: Arc<dyn SecretStore>,
    to: Arc<dyn SecretStore>,
    options: CopyOptions,
    /// Whether a batch has failed of which each part can be read.
    batches_fail: AtomicBool,
}

impl Ends {
    fn new(from: Arc<dyn SecretStore>, to: Arc<dyn SecretStore>, options: CopyOptions) -> Result<Self> {
        let ends = Self {
            from,
            to,
            options,
            batches_fail: AtomicBool::new(false),
        };
        let (source, target) = (ends.from.info(), ends.to.info());
        let listed = source.capabilities.check_list(&ends.list_options());
        listed.map_err(|error| error.with("store", source.location.clone()))?;
        if !target.capabilities.put {
            return Err(Error::new(ErrorKind::Unsupported, "the target is read-only").with("store", target.location.clone()));
        }
        Ok(ends)
    }

    fn list_options(&self) -> ListOptions {
        ListOptions {
            prefix: self.options.prefix.clone(),
            ..ListOptions::default()
        }
    }

    fn concurrency(&self) -> usize {
        self.options.concurrency.max(1)
    }
}
