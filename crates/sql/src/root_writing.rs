//! Writes to a store with one root: the rows, then the root over them.

use std::sync::Arc;

use keyfob_core::Result;
use keyfob_envelope::{KekId, KeySlot};

use crate::reading::Reading;
use crate::root::root_mac;
use crate::root_tables::RootTables;
use crate::rows::{Head, SecretRow, Time};
use crate::verified::Verified;
use crate::writing::Writing;

/// A transaction that changes the store.
pub(crate) struct RootWriting<'t> {
    pub(crate) rows: Writing<'t>,
    next_purge: Option<Time>,
    keys: Option<(KekId, Vec<KeySlot>)>,
}

impl<'t> RootWriting<'t> {
    /// Begins, and purges first what is due.
    pub(crate) fn begin(reading: Reading<'t>) -> Result<Self> {
        let mut writing = Self {
            next_purge: reading.verified.head.next_purge,
            keys: None,
            rows: Writing::new(reading),
        };
        if writing.next_purge.is_some_and(|at| at <= writing.rows.reading.now) {
            writing.purge()?;
        }
        Ok(writing)
    }

    /// What the transaction found.
    pub(crate) fn verified(&self) -> &Arc<Verified> {
        &self.rows.reading.verified
    }

    /// From this commit on, new values are sealed by `kek`, which must be among the unlocked keys.
    pub(crate) fn set_keys(&mut self, kek: KekId, slots: Vec<KeySlot>) {
        self.keys = Some((kek, slots));
    }

    /// Writes the record of what has changed. `None` when nothing has.
    pub(crate) fn finish(self, tables: &dyn RootTables) -> Result<Option<Arc<Verified>>> {
        let before = self.verified();
        let mut buckets = before.buckets.clone();
        let mut is_changed = self.keys.is_some();
        for (bucket, digest) in self.rows.changed() {
            tables.set_bucket(bucket, &digest)?;
            buckets.set(bucket, digest);
            is_changed = true;
        }
        if !is_changed {
            return Ok(None);
        }
        let (kek, slots) = match &self.keys {
            Some((kek, slots)) => {
                tables.set_slots(slots)?;
                (*kek, slots.clone())
            }
            None => (before.head.kek, before.slots.clone()),
        };
        let mut head = Head {
            kek,
            generation: before.head.generation + 1,
            next_purge: [self.next_purge, self.rows.next_purge()].into_iter().flatten().min(),
            ..before.head
        };
        head.mac = root_mac(&self.rows.reading.ring.key(kek)?.integrity, &head, &slots, &buckets);
        tables.set_head(&head)?;
        Ok(Some(Arc::new(Verified { head, slots, buckets })))
    }

    /// Deletes for good what was deleted long enough ago.
    fn purge(&mut self) -> Result<()> {
        let now = self.rows.reading.now;
        let deleted: Vec<SecretRow> = self
            .rows
            .reading
            .catalog()?
            .into_iter()
            .filter(|row| row.purge_at.is_some())
            .collect();
        self.next_purge = deleted
            .iter()
            .filter(|row| !row.is_due(now))
            .filter_map(|row| row.purge_at)
            .min();
        for row in deleted.iter().filter(|row| row.is_due(now)) {
            self.rows.remove_secret(&row.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use keyfob_core::{ErrorKind, PutRequest, SecretName};
    use keyfob_envelope::RawKey;

    use super::*;
    use crate::config::SqlConfig;
    use crate::engine::Engine;
    use crate::key_config::KeyConfig;
    use crate::limits::DAY;
    use crate::sqlite::Outcome;

    /// Writes as if the clock showed `now`.
    fn write_at<T>(engine: &Engine, now: Time, write: impl FnOnce(&mut Writing<'_>) -> Result<T>) -> Result<T> {
        let ring = engine.keys.ring();
        let known = engine.known(&ring)?;
        engine.sqlite.write(|tables| {
            let mut reading = engine.reading(tables, &ring, &known)?;
            reading.now = now;
            let mut writing = RootWriting::begin(reading)?;
            let result = write(&mut writing.rows)?;
            writing.finish(tables)?;
            Ok(Outcome::Commit(result))
        })
    }

    #[tokio::test]
    async fn what_was_deleted_long_enough_ago_goes_with_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyConfig::Source(Arc::new(RawKey::generate().unwrap()));
        let engine = Engine::create(SqlConfig::new(directory.path().join("s.db"), key))
            .await
            .unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| SecretName::new(name).unwrap());
        let start = Time::now();
        for name in [&a, &b, &c] {
            write_at(&engine, start, |writing| writing.put(name, PutRequest::new("value"), 10)).unwrap();
        }
        write_at(&engine, start, |writing| writing.delete_recoverably(&a, DAY)).unwrap();
        write_at(&engine, start, |writing| writing.delete_recoverably(&b, 3 * DAY)).unwrap();

        let names = || -> Vec<String> {
            let read = |reading: &Reading<'_>| Ok(reading.catalog()?.into_iter().map(|row| row.name).collect());
            engine.read(&engine.keys.ring(), read).unwrap()
        };
        write_at(&engine, start.plus(DAY / 2), |writing| {
            writing.put(&c, PutRequest::new("2"), 10)
        })
        .unwrap();
        assert_eq!(names(), ["a", "b", "c"]);
        // Past its time it can't be restored, and its name is free.
        let late = write_at(&engine, start.plus(2 * DAY), |writing| writing.restore(&a)).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::NotFound);
        write_at(&engine, start.plus(2 * DAY), |writing| {
            writing.put(&c, PutRequest::new("3"), 10)
        })
        .unwrap();
        assert_eq!(names(), ["b", "c"]);
        let again = write_at(&engine, start.plus(2 * DAY), |writing| {
            writing.put(&a, PutRequest::new("new"), 10)
        })
        .unwrap();
        assert_eq!(again.version, Some(1.into()));
        write_at(&engine, start.plus(2 * DAY), |writing| writing.restore(&b)).unwrap();
        write_at(&engine, start.plus(30 * DAY), |writing| {
            writing.put(&c, PutRequest::new("4"), 10)
        })
        .unwrap();
        assert_eq!(names(), ["a", "b", "c"]);
    }
}
