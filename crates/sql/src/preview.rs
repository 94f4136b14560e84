//! What putting back a backup changes.

use std::collections::BTreeMap;

use keyfob_core::{Error, Result, SecretName, Version};

use crate::rows::SecretRow;

/// What putting back a backup changes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestorePreview {
    /// The backup's generation.
    pub backup_generation: u64,
    /// The present generation; `None` when the present store is missing or can't be read.
    pub present_generation: Option<u64>,
    /// Why the present store can't be read, if so: then everything it holds is lost, and nobody can say what it is.
    pub present_problem: Option<Error>,
    /// The first and the last of the generations that were written and are in neither file, because the present one is an
    /// older copy itself, or is missing. What was written then is lost whatever is done. `None` as well when the present store
    /// can't be read, for it may hold them.
    pub missing_generations: Option<(u64, u64)>,
    /// Versions that exist now and would not afterwards.
    pub lost: Vec<VersionsOf>,
    /// Versions that don't exist now and would afterwards.
    pub back: Vec<VersionsOf>,
    /// Secrets that are there before and after, with another current version or another deletion.
    pub changed: Vec<ChangedSecret>,
}

/// Some versions of one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionsOf {
    /// The secret.
    pub name: SecretName,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
}

/// A secret that reads differently after a backup has been put back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedSecret {
    /// The secret.
    pub name: SecretName,
    /// What is current now; `None` when it is deleted.
    pub now: Option<Version>,
    /// What would be current; `None` when it would be deleted.
    pub afterwards: Option<Version>,
}

/// What a store holds.
pub(crate) struct Content {
    pub(crate) generation: u64,
    pub(crate) rows: Vec<SecretRow>,
}

impl RestorePreview {
    /// Compares a backup with the present store: `None` when that is missing, an error when it can't be read.
    pub(crate) fn new(backup: u64, rows: &[SecretRow], present: Result<Option<Content>>, remembered: u64) -> Self {
        let (present, present_problem) = match present {
            Ok(present) => (present, None),
            Err(error) => (None, Some(error)),
        };
        let present_generation = present.as_ref().map(|content| content.generation);
        let first_missing = present_generation.unwrap_or(0).max(backup).saturating_add(1);
        let is_missing = present_problem.is_none() && first_missing <= remembered;
        let present_rows = present.map(|content| content.rows).unwrap_or_default();
        let by_name = |rows: &[SecretRow]| -> BTreeMap<String, SecretRow> {
            rows.iter().map(|row| (row.name.clone(), row.clone())).collect()
        };
        let (now, afterwards) = (by_name(&present_rows), by_name(rows));
        let changed = now.iter().filter_map(|(name, row)| {
            let other = afterwards.get(name)?;
            let is_same = row.history.current() == other.history.current() && row.deleted_at == other.deleted_at;
            (!is_same).then(|| {
                Some(ChangedSecret {
                    name: SecretName::new(name).ok()?,
                    now: current_of(row),
                    afterwards: current_of(other),
                })
            })?
        });
        Self {
            backup_generation: backup,
            present_generation,
            present_problem,
            missing_generations: is_missing.then_some((first_missing, remembered)),
            lost: only_in(&now, &afterwards),
            back: only_in(&afterwards, &now),
            changed: changed.collect(),
        }
    }
}

fn current_of(row: &SecretRow) -> Option<Version> {
    let current = row.history.current().filter(|_| row.deleted_at.is_none());
    current.map(|entry| Version::from(entry.number))
}

/// The versions that the first has and the second has not, or has with another content.
fn only_in(first: &BTreeMap<String, SecretRow>, second: &BTreeMap<String, SecretRow>) -> Vec<VersionsOf> {
    let missing = first.iter().filter_map(|(name, row)| {
        let other = second.get(name).map(|row| row.history.entries()).unwrap_or_default();
        let entries = row.history.entries().iter().filter(|entry| !other.contains(entry));
        let versions: Vec<Version> = entries.map(|entry| Version::from(entry.number)).collect();
        (!versions.is_empty()).then(|| {
            Some(VersionsOf {
                name: SecretName::new(name).ok()?,
                versions,
            })
        })?
    });
    missing.collect()
}
