//! The full check of everything, for `keyfob doctor` and for backups.

use std::collections::BTreeMap;

use keyfob_core::{Error, ErrorKind, Result};

use crate::error::corrupt;
use crate::integrity::bucket_of;
use crate::reading::{Reading, version_missing};
use crate::rows::Entry;

/// What a full check found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The generation that was checked.
    pub generation: u64,
    /// How many secrets there are, deleted ones not counted.
    pub secrets: usize,
    /// How many are deleted and can be restored.
    pub deleted: usize,
    /// How many versions there are, all of them decrypted.
    pub versions: usize,
    /// The bytes of all values.
    pub value_bytes: u64,
    /// Everything that is wrong; empty when the store is whole. All are `Corrupt`.
    pub problems: Vec<Error>,
}

/// Checks everything that the transaction sees.
pub(crate) fn verify(reading: &Reading<'_>) -> Result<VerifyReport> {
    let mut report = VerifyReport {
        generation: reading.verified.head.generation,
        secrets: 0,
        deleted: 0,
        versions: 0,
        value_bytes: 0,
        problems: Vec::new(),
    };
    let catalog = match reading.catalog() {
        Ok(catalog) => catalog,
        Err(error) => {
            // Which of its versions belong there can't be told without an authentic set of secrets.
            report.problems.push(error);
            return Ok(report);
        }
    };
    let mut expected: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for row in &catalog {
        *(if row.deleted_at.is_some() {
            &mut report.deleted
        } else {
            &mut report.secrets
        }) += 1;
        expected.insert(&row.name, row.history.entries().iter().collect());
    }
    reading.tables.all_versions(&mut |bucket, name, row| {
        let entries = expected.get_mut(name).filter(|_| bucket == bucket_of(name));
        let entry = entries.and_then(|entries| {
            let index = entries.iter().position(|entry| entry.number == row.number)?;
            Some(entries.remove(index))
        });
        let Some(entry) = entry else {
            let stray = corrupt("a version's row was added from outside").with("name", name);
            report.problems.push(stray.with("version", row.number.to_string()));
            return Ok(());
        };
        report.versions += 1;
        let value = reading
            .check_version(name, entry, row)
            .and_then(|facts| row.facts.tag_map().and_then(|_| reading.open(name, row, &facts)));
        match value {
            Ok(value) => report.value_bytes += value.len() as u64,
            // Not damage: the key is being changed at this moment.
            Err(error) if error.kind() == ErrorKind::Unauthenticated => return Err(error),
            Err(error) => report.problems.push(error),
        }
        Ok(())
    })?;
    for (name, entries) in expected {
        report
            .problems
            .extend(entries.into_iter().map(|entry| version_missing(name, entry)));
    }
    Ok(report)
}

/// The first problem of a report as an error.
#[cfg(feature = "sqlite")]
pub(crate) fn expect_whole(report: VerifyReport) -> Result<VerifyReport> {
    match report.problems.first() {
        Some(problem) => Err(problem.clone()),
        None => Ok(report),
    }
}
