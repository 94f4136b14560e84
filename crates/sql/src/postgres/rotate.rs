//! Changing the key, while everybody goes on reading and writing.
//!
//! As in SQLite (both keys open the store from the beginning to the end, and where a change stands follows from the rows
//! alone), but bucket by bucket: a bucket names the key of its record, and only this changes it, together with the data keys
//! of all versions in the bucket. A bucket that names the new key has no data key under another. Writers hold the store's
//! lock together, and the beginning and the end hold it alone, so that no writer seals under a key that is going.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::{KeySlot, KeySource, kek_of};

use super::columns::{SlotColumns, signed};
use super::connection::{COMMIT, Connection, Execution, LONG, Query, READ, WRITE, for_long, lasting};
use super::engine::{Engine, lock_key, within};
use super::fetch;
use super::record::{BucketRow, sealed_head};
use super::remembered::{HEAD, Mark};
use super::seen_store::SeenStore;
use super::statements::{LOCK_ALONE, LOCK_SHARED};
use super::store::PostgresStore;
use super::wanted::Wanted;
use crate::error::corrupt;
use crate::integrity::BUCKETS;
use crate::key_config::KeyConfig;
use crate::keyring::{Keyring, MAX_UNLOCKS};
use crate::rotation::{KeyStatus, Plan, RotateStep, Target};
use crate::verified::Verified;

/// The most buckets that one transaction locks.
const BUCKETS_AT_ONCE: usize = 32;

impl PostgresStore {
    /// Changes the key to `new`, about `batch` data keys per transaction (whole buckets, at least one).
    ///
    /// `step` is told where the change has got to. When it returns an error the change stops there, with both keys
    /// working, and another call takes it up. The role must own the tables, or may change `store` and `key_slot`.
    ///
    /// # Errors
    /// - `Conflict`: another change of the key has replaced this one.
    /// - `Corrupt`: a data key or a record is damaged. The change stops; both keys work.
    /// - Those of the key sources, and of any write.
    pub async fn rotate_key(
        &self,
        new: KeyConfig,
        batch: usize,
        step: &mut (dyn FnMut(RotateStep) -> Result<()> + Send),
    ) -> Result<()> {
        let source = new.source()?;
        let target = self.begin(&source).await?;
        step(RotateStep::Begun { resumed: target.resumed })?;
        let mut wrapped = 0;
        loop {
            for buckets in self.batches(batch.max(1)).await? {
                wrapped += self.wrap_again(&target, &buckets).await?;
                step(RotateStep::Wrapped(wrapped))?;
            }
            step(RotateStep::Ready)?;
            if self.finish(&target).await? {
                break;
            }
        }
        self.engine.keys.set_key(new);
        let config = &self.engine.config;
        if let Some(directory) = &config.state_dir {
            SeenStore::replace(directory, &config.location(), source.id(), self.engine.keys.ring().store)?;
        }
        step(RotateStep::Finished)
    }

    /// Which keys open the store.
    ///
    /// # Errors
    /// As any read.
    pub async fn keys(&self) -> Result<KeyStatus> {
        Ok(KeyStatus::of(&*self.verified().await?))
    }

    async fn verified(&self) -> Result<Arc<Verified>> {
        self.engine
            .read(&Wanted::default(), |reading| Ok(Arc::clone(&reading.verified)))
            .await
    }

    /// Takes up the change to `new`, or begins it.
    async fn begin(&self, new: &Arc<dyn KeySource>) -> Result<Target> {
        loop {
            let verified = self.verified().await?;
            let Plan { target, ring, slots } = Plan::of(&verified, || self.engine.keys.source(), &**new).await?;
            let Some(slots) = slots else {
                self.engine.keys.set_ring(ring);
                return Ok(target);
            };
            if self
                .replace_keys(&ring, &target, slots, |found| found.slots == verified.slots)
                .await?
            {
                self.engine.keys.set_ring(ring);
                return Ok(target);
            }
            // Somebody else's change came in between: look again.
        }
    }

    /// Makes `target` the key of new values and `slots` the slots, unless what stands there is not what is expected.
    async fn replace_keys(
        &self,
        ring: &Keyring,
        target: &Target,
        slots: Vec<KeySlot>,
        is_expected: impl Fn(&Verified) -> bool + Send + Sync,
    ) -> Result<bool> {
        let engine = &self.engine;
        let changed = async {
            let (mut connection, verified) = self.lock(LOCK_ALONE, ring).await?;
            if !is_expected(&verified) {
                connection.roll_back().await;
                return Ok(None);
            }
            let head = write_keys(&mut connection, engine, &verified, target, &slots, ring).await?;
            Ok(Some((connection, head)))
        };
        let Some((connection, head)) = within(engine.config.timeout, changed).await? else {
            return Ok(false);
        };
        connection.commit(engine.config.timeout).await?;
        engine.remembered.remember([(HEAD, Mark::of_head(&head))], head.kek, ring);
        Ok(true)
    }

    /// Opens a transaction with the store's lock, and finds its head authentic.
    async fn lock(&self, how: &str, ring: &Keyring) -> Result<(Connection, Arc<Verified>)> {
        let engine = &self.engine;
        let known = engine.known(std::iter::empty(), ring)?;
        let lock = lock_key(&engine.config.schema);
        let s = &engine.statements;
        let mut connection = Connection::take(&engine.pool).await?;
        let queries: [Query<'_>; 3] = [(how, vec![&lock]), (&s.head, Vec::new()), (&s.slots, Vec::new())];
        let rows = connection.read(Some(WRITE), &queries, None).await?;
        let [_, head, slots] = rows.as_slice() else {
            return Err(corrupt("a read went unanswered"));
        };
        let (head, slots) = (fetch::head(head)?, fetch::slots(slots)?);
        let head = engine.check_head(head, &slots, &known, ring)?;
        let buckets = crate::integrity::Buckets::new();
        Ok((connection, Arc::new(Verified { head, slots, buckets })))
    }

    /// All buckets, in groups that have about `batch` data keys.
    async fn batches(&self, batch: usize) -> Result<Vec<Vec<i16>>> {
        let engine = &self.engine;
        let rows = within(LONG, async {
            let mut connection = Connection::take(&engine.pool).await?;
            let query: Query<'_> = (&engine.statements.count_by_bucket, Vec::new());
            connection.read(Some(&lasting(READ)), &[query], Some(COMMIT)).await
        })
        .await?;
        let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
        for row in rows.iter().flatten() {
            counts.insert(
                fetch::bucket(row)?,
                usize::try_from(fetch::natural(row, 1)?).unwrap_or(usize::MAX),
            );
        }
        let mut groups: Vec<Vec<i16>> = Vec::new();
        let mut room = 0;
        for bucket in 0..BUCKETS {
            let count = counts.get(&bucket).copied().unwrap_or(0);
            match groups.last_mut() {
                Some(group) if count <= room && group.len() < BUCKETS_AT_ONCE => {
                    group.push(bucket.cast_signed());
                    room -= count;
                }
                _ => {
                    groups.push(vec![bucket.cast_signed()]);
                    room = batch.saturating_sub(count);
                }
            }
        }
        Ok(groups)
    }

    /// Wraps the data keys of these buckets again, and makes their records by the new key. Gives the number of data keys.
    async fn wrap_again(&self, target: &Target, buckets: &Vec<i16>) -> Result<u64> {
        let engine = &self.engine;
        let mut tries = 0;
        loop {
            let ring = engine.keys.ring();
            let wrapped = within(engine.config.timeout, self.wrap_once(target, buckets, &ring)).await;
            match wrapped {
                Err(error) if error.kind() == ErrorKind::Unauthenticated && tries < MAX_UNLOCKS => {
                    if !engine.unlock_again(&ring).await? {
                        return Err(error);
                    }
                    tries += 1;
                }
                Err(error) => return Err(engine.locate(error)),
                Ok(None) => return Ok(0),
                Ok(Some((connection, count))) => {
                    connection.commit(engine.config.timeout).await?;
                    return Ok(count);
                }
            }
        }
    }

    async fn wrap_once(&self, target: &Target, buckets: &Vec<i16>, ring: &Keyring) -> Result<Option<(Connection, u64)>> {
        let engine = &self.engine;
        let s = &engine.statements;
        let known = engine.known(buckets.iter().map(|bucket| bucket.cast_unsigned()), ring)?;
        let (mut connection, verified) = self.lock(LOCK_SHARED, ring).await?;
        target.check(&verified)?;
        let new = &ring.key(target.kek)?.kek;
        let queries: [Query<'_>; 2] = [(&s.lock_buckets, vec![buckets]), (&s.wrapped_keys, vec![buckets])];
        let rows = connection.read(None, &queries, None).await?;
        let [records, versions] = rows.as_slice() else {
            return Err(corrupt("a read went unanswered"));
        };
        let records = fetch::buckets(records)?;
        if records.len() != buckets.len() {
            return Err(corrupt("a bucket's record was deleted from outside"));
        }
        let mut resealed: Vec<BucketRow> = Vec::new();
        for record in records.values() {
            record.check(ring, &verified.slots)?;
            Mark::of_bucket(record).check(record.bucket, &known)?;
            if record.kek != target.kek {
                let record = BucketRow {
                    kek: target.kek,
                    ..*record
                };
                resealed.push(record.sealed(ring)?);
            }
        }
        let (mut ids, mut names, mut numbers, mut keys) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for row in versions {
            let wrapped_key: &[u8] = fetch::column(row, 3)?;
            if kek_of(wrapped_key).is_ok_and(|owner| owner == target.kek) {
                continue;
            }
            let (name, number): (&str, u64) = (fetch::column(row, 1)?, fetch::natural(row, 2)?);
            keys.push(ring.rewrap(new, name, number, wrapped_key)?);
            ids.push(fetch::bucket(row)?.cast_signed());
            names.push(name);
            numbers.push(signed(number));
        }
        let count = keys.len() as u64;
        if resealed.is_empty() && count == 0 {
            connection.roll_back().await;
            return Ok(None);
        }
        let sealed_ids: Vec<i16> = resealed.iter().map(|record| record.bucket.cast_signed()).collect();
        let macs: Vec<&[u8]> = resealed.iter().map(|record| record.mac.as_slice()).collect();
        let kek = target.kek.as_bytes().as_slice();
        let changes: [Execution<'_>; 2] = [
            (&s.rewrap, vec![&ids, &names, &numbers, &keys], Some(count)),
            (&s.reseal, vec![&sealed_ids, &macs, &kek], Some(macs.len() as u64)),
        ];
        connection.write(&changes).await?;
        Ok(Some((connection, count)))
    }

    /// Retires everything but the target. False when a bucket still names another key.
    async fn finish(&self, target: &Target) -> Result<bool> {
        let engine = &self.engine;
        let ring = engine.keys.ring();
        let s = &engine.statements;
        let finished = async {
            let (mut connection, verified) = self.lock(LOCK_ALONE, &ring).await?;
            // It looks at every data key.
            connection.perform(&for_long()).await?;
            target.check(&verified)?;
            let all: Vec<i16> = (0..BUCKETS).map(u16::cast_signed).collect();
            let queries: [Query<'_>; 2] = [(&s.all_buckets, Vec::new()), (&s.wrapped_keys, vec![&all])];
            let rows = connection.read(None, &queries, None).await?;
            let [records, versions] = rows.as_slice() else {
                return Err(corrupt("a read went unanswered"));
            };
            for record in fetch::buckets(records)?.values() {
                record.check(&ring, &verified.slots)?;
                if record.kek != target.kek {
                    connection.roll_back().await;
                    return Ok(None);
                }
            }
            // What the old key would still be needed for, whoever put it there.
            for row in versions {
                if !kek_of(fetch::column(row, 3)?).is_ok_and(|owner| owner == target.kek) {
                    return Err(corrupt("a secret's data key was put back to an older one from outside")
                        .with("name", fetch::column::<String>(row, 1)?));
                }
            }
            let left: Vec<KeySlot> = verified.slots.iter().filter(|slot| target.is(slot)).cloned().collect();
            let head = write_keys(&mut connection, engine, &verified, target, &left, &ring).await?;
            Ok(Some((connection, head)))
        };
        let Some((connection, head)) = within(LONG, finished).await.map_err(|error| engine.locate(error))? else {
            return Ok(false);
        };
        connection.commit(engine.config.timeout).await?;
        engine.remembered.remember([(HEAD, Mark::of_head(&head))], head.kek, &ring);
        let left = ring.keks().filter(|kek| kek.id() == target.kek).cloned();
        engine.keys.set_ring(Keyring::new(ring.store, left));
        Ok(true)
    }
}

async fn write_keys(
    connection: &mut Connection,
    engine: &Engine,
    before: &Verified,
    target: &Target,
    slots: &[KeySlot],
    ring: &Keyring,
) -> Result<crate::rows::Head> {
    if slots.is_empty() {
        return Err(Error::new(ErrorKind::Other, "a store without key slots would be lost"));
    }
    let s = &engine.statements;
    let head = sealed_head(before.head.store, target.kek, before.head.generation + 1, slots, ring)?;
    let columns = SlotColumns::new(slots);
    let (kek, generation, mac) = (head.kek.as_bytes().as_slice(), signed(head.generation), head.mac.as_slice());
    let changes: [Execution<'_>; 3] = [
        (&s.set_head, vec![&kek, &generation, &mac], Some(1)),
        (&s.clear_slots, Vec::new(), Some(before.slots.len() as u64)),
        (&s.insert_slots, columns.parameters(), Some(columns.len())),
    ];
    connection.write(&changes).await?;
    Ok(head)
}
