//! Backups: a checked copy of the store.

use std::path::PathBuf;
use std::sync::Arc;

use keyfob_core::Result;

use crate::engine::Engine;
use crate::keyring::Keyring;
use crate::reading::Reading;
use crate::root::Known;
use crate::root_tables::RootTables;
use crate::rows::Time;
use crate::sqlite;
use crate::store::SqlStore;
use crate::verified::Verified;
use crate::verify::{expect_whole, verify};

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The generation that was copied.
    pub generation: u64,
    /// How many secrets, deleted ones that can be restored included.
    pub secrets: usize,
    /// How many versions.
    pub versions: usize,
}

impl SqlStore {
    /// Writes a consistent copy of the store to `to`, readable by its owner only, after checking every row of the
    /// copy and decrypting every value. Others can go on reading and writing. The copy is protected by the same key.
    ///
    /// # Errors
    /// `AlreadyExists` when there is something at `to`; `Corrupt` when the store is damaged: then there is no copy.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<BackupReport> {
        let to = to.into();
        let work = move |engine: &Engine, ring: &Keyring| {
            engine.sqlite.copy_to(&to, |copy| {
                let report = sqlite::read_only(copy, |tables| {
                    let reading = reading_of_copy(tables, ring, &engine.scheme)?;
                    expect_whole(verify(&reading)?)
                })?;
                Ok(BackupReport {
                    generation: report.generation,
                    secrets: report.secrets + report.deleted,
                    versions: report.versions,
                })
            })
        };
        self.engine.run(work).await
    }
}

/// Reads a file whose age does not matter: nothing is known of it but its key.
pub(crate) fn reading_of_copy<'t>(tables: &'t dyn RootTables, ring: &'t Keyring, scheme: &'t Arc<str>) -> Result<Reading<'t>> {
    Ok(Reading {
        catalog: None,
        verified: Verified::read(tables, ring, &Known::default())?,
        tables,
        ring,
        now: Time::now(),
        server_time: None,
        scheme,
    })
}
