//! Putting back what a snapshot has.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyfob_core::copy::{self, CopyOptions, CopyOutcome, CopyPlan, CopyProgress, CopyReport, Wrote};
use keyfob_core::{Result, SecretName, SecretStore, SystemClock};
use keyfob_envelope::KeySource;

use crate::directory::SnapshotDirectory;
use crate::id::SnapshotId;
use crate::manifest::Manifest;
use crate::options::{CreateOptions, DEFAULT_CONCURRENCY, Parent};
use crate::snapshot::Snapshot;

/// What to restore, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Only these secrets; without it, all that the snapshot has.
    pub names: Option<BTreeSet<SecretName>>,
    /// Leaves out the description, tags or expiry that the target can't keep. Without it, such a secret fails with
    /// [`Unsupported`](keyfob_core::ErrorKind::Unsupported).
    pub drop_metadata: bool,
    /// How many secrets are looked at or written at the same time; zero counts as one.
    pub concurrency: usize,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            names: None,
            drop_metadata: false,
            concurrency: DEFAULT_CONCURRENCY,
        }
    }
}

/// What a restore will do with every secret. It holds names, no values.
#[derive(Debug)]
pub struct RestorePlan {
    snapshot: SnapshotId,
    target: Arc<dyn SecretStore>,
    plan: CopyPlan,
    concurrency: usize,
}

/// What a restore did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Restored {
    /// The snapshot of what was there before and was to be changed; `None` when nothing that was there was to be changed.
    pub before: Option<Manifest>,
    /// What was written. [`undo`](keyfob_core::copy::undo) takes it back, with the snapshot of what was there before.
    pub wrote: Vec<Wrote>,
    /// What became of every secret.
    pub report: CopyReport,
}

impl Snapshot {
    /// Proves every byte of the snapshot, then looks at what `target` has of each secret. Nothing is written.
    ///
    /// What is restored is as a [copy](keyfob_core::copy) from the snapshot: a secret that is the same already is left alone and
    /// gets no new version; what the target has besides stays; a secret that was deleted there is brought back. The
    /// snapshot's version tokens and dates are not restored: the target gives its own.
    ///
    /// # Errors
    /// `Corrupt` when anything of the snapshot is not what was written: then nothing of it may be restored. `NotFound` for a name
    /// that it does not have; `Unsupported` when `target` is read-only. What concerns one secret only stands in the plan.
    pub async fn plan_restore(
        &self,
        target: Arc<dyn SecretStore>,
        options: &RestoreOptions,
        progress: impl FnMut(CopyProgress),
    ) -> Result<RestorePlan> {
        let source = Arc::new(self.store(options.names.as_ref(), Arc::new(SystemClock::new()))?);
        self.verify().await?;
        let mut copy = CopyOptions::default();
        copy.overwrite = true;
        copy.bring_back = true;
        copy.include_expired = true;
        copy.drop_metadata = options.drop_metadata;
        copy.concurrency = options.concurrency;
        Ok(RestorePlan {
            snapshot: self.id(),
            plan: copy::plan(source, Arc::clone(&target), copy, progress).await?,
            target,
            concurrency: options.concurrency,
        })
    }
}

impl RestorePlan {
    /// What would become of every secret.
    #[must_use]
    pub fn report(&self) -> CopyReport {
        self.plan.report()
    }

    /// Makes a snapshot in `directory`, under `key`, of those secrets of the target that are to be changed, as they are now, and
    /// restores, as [`carry_out_after`](Self::carry_out_after) does.
    ///
    /// # Errors
    /// Those of [`SnapshotDirectory::create`]: then nothing was written.
    pub async fn carry_out(
        self,
        directory: &SnapshotDirectory,
        key: &dyn KeySource,
        progress: impl FnMut(CopyProgress),
    ) -> Result<Restored> {
        let before = match self.before() {
            Some(options) => Some(directory.create(&*self.target, key, &options, |_| {}).await?),
            None => None,
        };
        Ok(self.carry_out_after(before, progress).await)
    }

    /// What the snapshot of those secrets of the target that are to be changed must hold, for whoever makes it himself; `None` when
    /// nothing that is there is to be changed.
    #[must_use]
    pub fn before(&self) -> Option<CreateOptions> {
        let report = self.report();
        let changed = report
            .entries
            .iter()
            .filter(|entry| matches!(entry.outcome, CopyOutcome::Changed(_)));
        let changed: BTreeSet<SecretName> = changed.map(|entry| entry.name.clone()).collect();
        (!changed.is_empty()).then(|| CreateOptions {
            names: Some(changed),
            // What takes a restore back must not depend on what was restored.
            parent: Parent::None,
            note: Some(format!("before {} was restored", self.snapshot)),
            concurrency: self.concurrency,
            ..CreateOptions::default()
        })
    }

    /// The store that is restored to.
    #[must_use]
    pub fn target(&self) -> &dyn SecretStore {
        &*self.target
    }

    /// Restores, after a snapshot of what is there was made. A secret that somebody else changed since the plan was made is left
    /// to them, and fails.
    ///
    /// One secret's failure does not touch the others. Killed or dropped in the middle, every secret of the target is as it was or
    /// as the snapshot has it; another restore goes on, and finds what is done already unchanged.
    pub async fn carry_out_after(self, before: Option<Manifest>, progress: impl FnMut(CopyProgress)) -> Restored {
        let planned = self.report();
        let report = self.plan.carry_out(progress).await;
        let entries = report.entries.iter().zip(&planned.entries);
        Restored {
            before,
            wrote: entries
                .filter_map(|(entry, planned)| Wrote::of(entry, &planned.outcome))
                .collect(),
            report,
        }
    }
}
