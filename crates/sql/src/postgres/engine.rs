//! One open store: the pool, the unlocked keys, and what was seen of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyfob_core::{Error, ErrorKind, Result};
use keyfob_envelope::KeySlot;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;

use super::SCHEME;
use super::columns::apply;
use super::config::PostgresConfig;
use super::connection::{COMMIT, Connection, Connections, Query, READ, WRITE, pool};
use super::create::{layout, no_store, other_layout};
use super::error::{advised, is_collision, is_lost, is_other_layout, no_answer, not_written, of_reading};
use super::fetch;
use super::record::{BucketRow, check_head};
use super::remembered::{HEAD, Known, Mark, Remembered};
use super::schema::VERSION;
use super::seen_store::SeenStore;
use super::snapshot::{Change, Circumstances, Snapshot};
use super::statements::{LOCK_SHARED, Statements};
use super::wanted::Wanted;
use crate::error::corrupt;
use crate::integrity::Buckets;
use crate::key_config::KeyConfig;
use crate::keyring::{Keyring, MAX_UNLOCKS};
use crate::keys::Keys;
use crate::reading::Reading;
use crate::rows::{Digest, Head, SecretRow, Time};
use crate::verified::Verified;
use crate::writing::Writing;

/// Shared by all handles.
pub(super) struct Engine {
    pub(super) config: PostgresConfig,
    pub(super) pool: Connections,
    pub(super) statements: Statements,
    pub(super) remembered: Remembered,
    pub(super) scheme: Arc<str>,
    pub(super) keys: Keys,
    /// The secrets of buckets at the digests at which they were found authentic.
    pub(super) catalog: Mutex<Catalog>,
}

/// By bucket: a digest, and the secrets that it stands for.
pub(super) type Catalog = BTreeMap<u16, (Digest, Arc<Vec<SecretRow>>)>;

/// What a transaction has found, its head and the records of its buckets authentic.
pub(super) struct Fetched {
    pub(super) verified: Arc<Verified>,
    pub(super) records: BTreeMap<u16, BucketRow>,
    pub(super) snapshot: Snapshot,
}

impl Fetched {
    /// Nothing yet but a head and key slots, which were found authentic.
    pub(super) fn new(head: Head, slots: Vec<KeySlot>, circumstances: Circumstances) -> Self {
        Self {
            verified: Arc::new(Verified {
                head,
                slots,
                buckets: Buckets::new(),
            }),
            records: BTreeMap::new(),
            snapshot: Snapshot::of(circumstances),
        }
    }
}

impl Engine {
    /// Opens an existing store, and finds its head authentic. Never makes or changes a table.
    pub(super) async fn open(config: PostgresConfig) -> Result<Arc<Self>> {
        config.check()?;
        let (pool, statements) = (pool(&config)?, Statements::new(&config.schema));
        let opened = Self::unlock(&config, &pool, &statements).await;
        let ring = match opened {
            // The key file may have been exchanged, at the end of a change of the key, between it and the slots. A log-in
            // that failed fails again, and says so.
            Err(error) if error.kind() == ErrorKind::Unauthenticated && matches!(config.key, KeyConfig::File(_)) => {
                Self::unlock(&config, &pool, &statements).await
            }
            opened => opened,
        }
        .map_err(|error| advised(error).with("store", config.location()))?;
        if let Some(directory) = &config.state_dir {
            SeenStore::check(directory, &config.location(), config.key.source()?.id(), ring.store)?;
        }
        let engine = Arc::new(Self {
            remembered: Remembered::open(config.state_dir.as_deref(), ring.store, &config.location())?,
            keys: Keys::new(config.key.clone(), ring),
            scheme: Arc::from(SCHEME),
            catalog: Mutex::default(),
            config,
            pool,
            statements,
        });
        engine.read(&Wanted::default(), |_| Ok(())).await?;
        Ok(engine)
    }

    async fn unlock(config: &PostgresConfig, pool: &Connections, statements: &Statements) -> Result<Keyring> {
        let (head, slots) = within(config.timeout, async {
            let mut connection = Connection::take(pool).await?;
            match head_and_slots(&mut connection, statements).await {
                Err(error) if is_other_layout(&error) => {
                    let found = layout(&mut connection, &config.schema, false).await?;
                    Err(explained(error, found))
                }
                read => read,
            }
        })
        .await
        .map_err(of_reading)?;
        // After the database: where there is no store, nobody should look for its key.
        let source = config.key.source()?;
        Keyring::unlock(&slots, &*source, head.store).await
    }

    /// Reads what is wanted in one transaction and one round trip, then works on it. When that meets a key that is not
    /// unlocked, the key has been changed by another client: then the slots are read again and the work is done again.
    pub(super) async fn read<T>(&self, wanted: &Wanted, work: impl Fn(&Reading<'_>) -> Result<T> + Send + Sync) -> Result<T> {
        let mut tries = 0;
        loop {
            let ring = self.keys.ring();
            let result = async {
                let fetched = self.fetch(&ring, wanted).await?;
                work(&self.reading(&fetched, &ring))
            };
            match result.await {
                Err(error) if error.kind() == ErrorKind::Unauthenticated && tries < MAX_UNLOCKS => {
                    if !self.unlock_again(&ring).await? {
                        return Err(error);
                    }
                    tries += 1;
                }
                result => return result.map_err(|error| self.locate(error)),
            }
        }
    }

    /// Works on one bucket in one transaction; what it returns is durable. Writers of other buckets do not wait.
    pub(super) async fn write<T: Send>(
        &self,
        wanted: &Wanted,
        work: impl Fn(&mut Writing<'_>) -> Result<T> + Send + Sync,
    ) -> Result<T> {
        let (mut tries, mut is_second) = (0, false);
        loop {
            let ring = self.keys.ring();
            match self.write_once(&ring, wanted, &work).await {
                Err(error) if error.kind() == ErrorKind::Unauthenticated && tries < MAX_UNLOCKS => {
                    if !self.unlock_again(&ring).await? {
                        return Err(self.locate(error));
                    }
                    tries += 1;
                }
                // It surely did not happen: an idle connection was dead, or the server chose another transaction.
                Err(error) if !is_second && (is_lost(&error) || is_collision(&error)) => is_second = true,
                result => return result.map_err(|error| self.locate(error)),
            }
        }
    }

    async fn write_once<T: Send>(
        &self,
        ring: &Arc<Keyring>,
        wanted: &Wanted,
        work: &(impl Fn(&mut Writing<'_>) -> Result<T> + Send + Sync),
    ) -> Result<T> {
        let prepared = async {
            let known = self.known(wanted.ids(), ring)?;
            let mut connection = Connection::take(&self.pool).await?;
            let lock = lock_key(&self.config.schema);
            let s = &self.statements;
            let mut queries: Vec<Query<'_>> = vec![(LOCK_SHARED, vec![&lock])];
            queries.extend(wanted.queries(s, &s.lock_buckets));
            let mut rows = match connection.read(Some(WRITE), &queries, None).await {
                Ok(rows) => rows,
                Err(error) => {
                    connection.roll_back().await;
                    return Err(error);
                }
            };
            rows.remove(0);
            if rows.get(2).is_some_and(|locked| locked.len() < wanted.buckets.len()) {
                let hidden = is_hidden(&mut connection, s, wanted).await;
                connection.roll_back().await;
                if hidden? {
                    return Err(not_written());
                }
                return Err(corrupt("a bucket's record was deleted from outside"));
            }
            let done = self
                .decode(&rows, wanted, &known, ring)
                .and_then(|fetched| self.work(fetched, ring, work));
            let (result, changes, records) = match done {
                Ok(done) => done,
                Err(error) => {
                    connection.roll_back().await;
                    return Err(error);
                }
            };
            if changes.is_empty() && records.is_empty() {
                connection.roll_back().await;
                return Ok((result, None));
            }
            if let Err(error) = apply(&mut connection, s, &changes, &records).await {
                connection.roll_back().await;
                return Err(error);
            }
            Ok((result, Some((connection, records))))
        };
        let (result, open) = within(self.config.timeout, prepared).await?;
        if let Some((connection, records)) = open {
            connection.commit(self.config.timeout).await?;
            self.remember(ring, &records);
        }
        Ok(result)
    }

    fn work<T>(
        &self,
        fetched: Fetched,
        ring: &Keyring,
        work: &impl Fn(&mut Writing<'_>) -> Result<T>,
    ) -> Result<(T, Vec<Change>, Vec<BucketRow>)> {
        let mut writing = Writing::new(self.reading(&fetched, ring));
        for bucket in fetched.records.keys() {
            writing.purge_bucket(*bucket)?;
        }
        let result = work(&mut writing)?;
        let mut records = Vec::new();
        for (bucket, digest) in writing.changed() {
            let before = fetched
                .records
                .get(&bucket)
                .ok_or_else(|| corrupt("a bucket was changed that was not locked"))?;
            let record = BucketRow {
                generation: before.generation + 1,
                digest,
                ..*before
            };
            records.push(record.sealed(ring)?);
        }
        drop(writing);
        Ok((result, fetched.snapshot.into_changes(), records))
    }

    /// Reads what is wanted, once more if an idle connection turns out to be dead.
    pub(super) async fn fetch(&self, ring: &Keyring, wanted: &Wanted) -> Result<Fetched> {
        let mut is_second = false;
        loop {
            let fetched = within(self.config.timeout, async {
                // Before the transaction: then what it sees is at least as new.
                let known = self.known(wanted.ids(), ring)?;
                let mut connection = Connection::take(&self.pool).await?;
                let queries = wanted.queries(&self.statements, &self.statements.buckets);
                let rows = connection.read(Some(READ), &queries, Some(COMMIT)).await?;
                self.decode(&rows, wanted, &known, ring)
            });
            match fetched.await.map_err(of_reading) {
                Err(error) if !is_second && (is_lost(&error) || is_collision(&error)) => is_second = true,
                Ok(fetched) => {
                    let records: Vec<BucketRow> = fetched.records.values().copied().collect();
                    self.remember(ring, &records);
                    return Ok(fetched);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn decode(&self, rows: &[Vec<Row>], wanted: &Wanted, known: &Known, ring: &Keyring) -> Result<Fetched> {
        let mut rows = rows.iter();
        let mut next = || rows.next().map(Vec::as_slice).unwrap_or_default();
        let (head, slots) = (next(), fetch::slots(next())?);
        let (head, circumstances) = (fetch::head(head)?, fetch::circumstances(head)?);
        let head = self.check_head(head, &slots, known, ring)?;
        let mut fetched = Fetched::new(head, slots, circumstances);
        if !wanted.buckets.is_empty() {
            self.add_records(&mut fetched, fetch::buckets(next())?, wanted.ids(), known, ring)?;
            fetch::add_secrets(&mut fetched.snapshot, next())?;
        }
        if !wanted.places.buckets.is_empty() || wanted.all_facts_of.is_some() {
            fetch::add_versions(&mut fetched.snapshot, next())?;
        }
        fetched.snapshot = fetched.snapshot.sorted();
        Ok(fetched)
    }

    pub(super) fn check_head(&self, head: Head, slots: &[KeySlot], known: &Known, ring: &Keyring) -> Result<Head> {
        check_head(&head, slots, ring)?;
        let mark = Mark::of_head(&head);
        mark.check(HEAD, known)?;
        self.remembered.remember([(HEAD, mark)], head.kek, ring);
        self.keys.forget_without_slot(slots);
        Ok(head)
    }

    /// Takes over the records of these buckets, each of which must be there, authentic, and not older than known.
    pub(super) fn add_records(
        &self,
        fetched: &mut Fetched,
        records: BTreeMap<u16, BucketRow>,
        wanted: impl Iterator<Item = u16>,
        known: &Known,
        ring: &Keyring,
    ) -> Result<()> {
        let mut buckets = Buckets::new();
        for bucket in wanted {
            let missing = || corrupt("a bucket's record was deleted from outside").with("bucket", bucket.to_string());
            let record = records.get(&bucket).ok_or_else(missing)?;
            record.check(ring, &fetched.verified.slots)?;
            Mark::of_bucket(record).check(bucket, known)?;
            buckets.set(bucket, record.digest);
            fetched.snapshot.add_bucket(bucket);
        }
        fetched.records = records;
        fetched.verified = Arc::new(Verified {
            head: fetched.verified.head.clone(),
            slots: fetched.verified.slots.clone(),
            buckets,
        });
        Ok(())
    }

    pub(super) fn reading<'t>(&'t self, fetched: &'t Fetched, ring: &'t Keyring) -> Reading<'t> {
        Reading {
            tables: &fetched.snapshot,
            ring,
            verified: Arc::clone(&fetched.verified),
            now: Time::now(),
            server_time: fetched.snapshot.server_time(),
            scheme: &self.scheme,
            catalog: None,
        }
    }

    /// What is known of the head and of these buckets.
    pub(super) fn known(&self, buckets: impl Iterator<Item = u16>, ring: &Keyring) -> Result<Known> {
        self.remembered.known(buckets.chain([HEAD]), ring)
    }

    pub(super) fn remember(&self, ring: &Keyring, records: &[BucketRow]) {
        for record in records {
            self.remembered
                .remember([(record.bucket, Mark::of_bucket(record))], record.kek, ring);
        }
    }

    /// Reads the key and the slots again. False when that unlocks nothing that was not in `before`.
    pub(super) async fn unlock_again(&self, before: &Keyring) -> Result<bool> {
        let slots = || {
            within(self.config.timeout, async {
                let mut connection = Connection::take(&self.pool).await?;
                let (_, slots) = head_and_slots(&mut connection, &self.statements).await?;
                Ok(slots)
            })
        };
        self.keys.unlock_again(before, slots).await
    }

    pub(super) fn locate(&self, error: Error) -> Error {
        advised(error).with("store", self.config.location())
    }
}

/// Why the tables could not be read, by the layout that was found.
fn explained(error: Error, found: Option<i32>) -> Error {
    match found {
        None => no_store(),
        Some(found) => other_layout(found, VERSION).unwrap_or(error),
    }
}

/// Whether the records that could not be locked can be read: then a policy keeps them from being changed.
async fn is_hidden(connection: &mut Connection, s: &Statements, wanted: &Wanted) -> Result<bool> {
    let rows = connection.read(None, &[(&s.buckets, vec![&wanted.buckets])], None).await?;
    Ok(rows.first().is_some_and(|rows| rows.len() == wanted.buckets.len()))
}

/// What keeps writers and changes of the keys apart. Of one schema: the database has others.
pub(super) fn lock_key(schema: &str) -> i64 {
    let mut hash = Sha256::new_with_prefix(b"keyfob-sql postgres lock\0");
    hash.update(schema.as_bytes());
    let digest: Digest = hash.finalize().into();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// Gives work up after `limit`; what it had begun is rolled back.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(no_answer()))
}

pub(super) async fn head_and_slots(connection: &mut Connection, s: &Statements) -> Result<(Head, Vec<KeySlot>)> {
    let queries: [Query<'_>; 2] = [(&s.head, Vec::new()), (&s.slots, Vec::new())];
    let rows = connection.read(Some(READ), &queries, Some(COMMIT)).await?;
    match rows.as_slice() {
        [head, slots] => Ok((fetch::head(head)?, fetch::slots(slots)?)),
        _ => Err(corrupt("a read went unanswered")),
    }
}
