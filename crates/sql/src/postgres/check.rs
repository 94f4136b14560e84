//! The check of everything.

use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};

use super::connection::{COMMIT, Connection, LONG, Query, READ, lasting};
use super::engine::{Fetched, within};
use super::error::{advised, of_reading};
use super::fetch;
use super::snapshot::hidden;
use super::store::PostgresStore;
use crate::blocking::blocking;
use crate::error::corrupt;
use crate::integrity::BUCKETS;
use crate::keyring::{Keyring, MAX_UNLOCKS};
use crate::reading::is_version_missing;
use crate::verify::{VerifyReport, verify};

impl PostgresStore {
    /// Checks every row and decrypts every value, as they are at one moment. Holds all of it in memory meanwhile.
    ///
    /// # Errors
    /// When the store can't be read at all. What is damaged in single places is in the report.
    pub async fn verify(&self) -> Result<VerifyReport> {
        let mut ring = self.engine.keys.ring();
        for _ in 0..MAX_UNLOCKS {
            match self.verify_with(&ring).await {
                Err(error) if error.kind() == ErrorKind::Unauthenticated && self.engine.unlock_again(&ring).await? => {
                    ring = self.engine.keys.ring();
                }
                report => return report.map_err(|error| self.engine.locate(error)),
            }
        }
        self.verify_with(&ring).await
    }

    async fn verify_with(&self, ring: &Arc<Keyring>) -> Result<VerifyReport> {
        let engine = Arc::clone(&self.engine);
        let known = engine.known(0..BUCKETS, ring)?;
        let s = &engine.statements;
        let queries: [Query<'_>; 5] = [
            (&s.head, Vec::new()),
            (&s.slots, Vec::new()),
            (&s.all_buckets, Vec::new()),
            (&s.all_secrets, Vec::new()),
            (&s.all_versions, Vec::new()),
        ];
        let rows = within(LONG, async {
            let mut connection = Connection::take(&engine.pool).await?;
            connection.read(Some(&lasting(READ)), &queries, Some(COMMIT)).await
        })
        .await
        .map_err(of_reading)?;
        let (engine, ring) = (Arc::clone(&self.engine), Arc::clone(ring));
        blocking(move || {
            let [head, slots, buckets, secrets, versions] = rows.as_slice() else {
                return Err(corrupt("a read went unanswered"));
            };
            let (circumstances, slots) = (fetch::circumstances(head), fetch::slots(slots)?);
            let head = engine.check_head(fetch::head(head)?, &slots, &known, &ring)?;
            let mut fetched = Fetched::new(head, slots, circumstances?);
            let records = fetch::buckets(buckets)?;
            if records.len() > usize::from(BUCKETS) {
                return Err(corrupt("there are records of buckets that no store has"));
            }
            let generation = records.values().map(|record| record.generation).fold(0, u64::saturating_add);
            let all = engine
                .add_records(&mut fetched, records, 0..BUCKETS, &known, &ring)
                .and_then(|()| fetch::add_secrets(&mut fetched.snapshot, secrets))
                .and_then(|()| fetch::add_versions(&mut fetched.snapshot, versions));
            fetched.snapshot = fetched.snapshot.sorted();
            let mut report = match all {
                Ok(()) => verify(&engine.reading(&fetched, &ring))?,
                Err(error) if error.kind() == ErrorKind::Unauthenticated => return Err(error),
                Err(error) => VerifyReport::of_problem(error),
            };
            // What this role does not get to see it can't check.
            let (missing, damaged): (Vec<&Error>, Vec<&Error>) =
                report.problems.iter().partition(|error| is_version_missing(error));
            if fetched.snapshot.is_filtered() && damaged.is_empty() && !missing.is_empty() {
                return Err(hidden());
            }
            report.generation = generation;
            report.problems = report.problems.into_iter().map(advised).collect();
            Ok(report)
        })
        .await
    }
}

impl VerifyReport {
    fn of_problem(problem: Error) -> Self {
        Self {
            generation: 0,
            secrets: 0,
            deleted: 0,
            versions: 0,
            value_bytes: 0,
            problems: vec![problem],
        }
    }
}
