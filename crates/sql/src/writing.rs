//! Writes in one transaction: what each verb does to the rows, and the record of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::Arc;
use std::time::Duration;

use keyfob_core::{Change, Error, ErrorKind, Metadata, PutMode, PutRequest, Result, SecretName, SecretValue};
use keyfob_envelope::{KekId, KeySlot};

use crate::error::not_found;
use crate::integrity::{BucketHash, Buckets, bucket_of, ciphertext_digest, root_mac, secret_digest, version_digest};
use crate::reading::{Reading, at};
use crate::rows::{Digest, Entry, Facts, Head, SecretRow, Time, VersionRow, tags_column};
use crate::verified::Verified;

/// The longest description, in bytes.
pub(crate) const MAX_DESCRIPTION_BYTES: usize = 16 << 10;
/// The longest tag key and the longest tag value, in bytes.
pub(crate) const MAX_TAG_BYTES: usize = 1 << 10;

/// A transaction that changes the store.
pub(crate) struct Writing<'t> {
    pub(crate) reading: Reading<'t>,
    buckets: Buckets,
    /// The buckets that were looked at, as they are to be.
    open: BTreeMap<u16, OpenBucket>,
    next_purge: Option<Time>,
    keys: Option<(KekId, Vec<KeySlot>)>,
}

struct OpenBucket {
    rows: BTreeMap<String, SecretRow>,
    is_changed: bool,
}

impl<'t> Writing<'t> {
    /// Begins, and purges first what is due.
    pub(crate) fn begin(reading: Reading<'t>) -> Result<Self> {
        let mut writing = Self {
            buckets: reading.verified.buckets.clone(),
            next_purge: reading.verified.head.next_purge,
            open: BTreeMap::new(),
            keys: None,
            reading,
        };
        if writing.next_purge.is_some_and(|at| at <= writing.reading.now) {
            writing.purge()?;
        }
        Ok(writing)
    }

    /// Writes a value, metadata or both; keeps `keep` versions.
    pub(crate) fn put(&mut self, name: &SecretName, request: PutRequest, keep: usize) -> Result<Metadata> {
        let text = name.as_str();
        let row = self.secret(text)?;
        check_mode(name, row.as_ref(), &request)?;
        let current = row.as_ref().and_then(|row| row.history.current()).copied();
        let before = current.map(|current| self.reading.facts(text, &current)).transpose()?;
        let mut row = row.unwrap_or_else(|| SecretRow::new(text));
        // A change of metadata alone seals the same value again, because the value is bound to its metadata.
        let (number, value) = match (&request.value, &current) {
            (Some(value), _) => (row.last + 1, value.clone()),
            (None, Some(current)) => (current.number, self.reading.value(text, current)?),
            (None, None) => return Err(not_found(name)),
        };
        let is_new_version = request.value.is_some();
        let facts = next_facts(before, request, self.reading.now).map_err(|error| error.with("name", text))?;
        let metadata = facts.metadata(name, number, self.reading.scheme)?;
        let digest = self.replace_version(text, number, facts, &value)?;
        if is_new_version {
            row.last = number;
            row.history.push(Entry { number, digest });
            for number in row.history.prune(keep) {
                self.reading.tables.remove_version(at(text, number))?;
            }
        } else {
            row.history.replace_current(digest);
        }
        self.set_secret(&row)?;
        Ok(metadata)
    }

    /// Deletes for good.
    pub(crate) fn delete_permanently(&mut self, name: &SecretName) -> Result<()> {
        if self.secret(name.as_str())?.is_none() {
            return Err(not_found(name));
        }
        self.remove_secret(name.as_str())
    }

    /// Deletes so that it can be restored for as long as `window`.
    pub(crate) fn delete_recoverably(&mut self, name: &SecretName, window: Duration) -> Result<()> {
        let mut row = self.secret(name.as_str())?.ok_or_else(|| not_found(name))?;
        if row.deleted_at.is_some() {
            return Err(not_found(name).with_hint("it is deleted already; `keyfob restore` brings it back"));
        }
        let purge_at = self.reading.now.plus(window);
        row.deleted_at = Some(self.reading.now);
        row.purge_at = Some(purge_at);
        self.next_purge = Some(self.next_purge.map_or(purge_at, |next| next.min(purge_at)));
        self.set_secret(&row)
    }

    /// Brings back what was deleted.
    pub(crate) fn restore(&mut self, name: &SecretName) -> Result<Metadata> {
        let mut row = self.secret(name.as_str())?.ok_or_else(|| not_found(name))?;
        let current = row.history.current().copied().ok_or_else(|| not_found(name))?;
        if row.deleted_at.is_some() {
            row.deleted_at = None;
            row.purge_at = None;
            self.set_secret(&row)?;
        }
        self.reading.metadata(name, &current)
    }

    /// From this commit on, new values are sealed by `kek`, which must be among the unlocked keys.
    pub(crate) fn set_keys(&mut self, kek: KekId, slots: Vec<KeySlot>) {
        self.keys = Some((kek, slots));
    }

    /// Writes the record of what has changed. `None` when nothing has.
    pub(crate) fn finish(mut self) -> Result<Option<Arc<Verified>>> {
        let tables = self.reading.tables;
        let mut is_changed = self.keys.is_some();
        for (bucket, open) in &self.open {
            if open.is_changed {
                let mut hash = BucketHash::new();
                open.rows.values().for_each(|row| hash.add(&row.name, &digest_of(row)));
                let digest = hash.finish();
                tables.set_bucket(*bucket, &digest)?;
                self.buckets.set(*bucket, digest);
                is_changed = true;
            }
        }
        if !is_changed {
            return Ok(None);
        }
        let before = &self.reading.verified;
        let (kek, slots) = match self.keys {
            Some((kek, slots)) => {
                tables.set_slots(&slots)?;
                (kek, slots)
            }
            None => (before.head.kek, before.slots.clone()),
        };
        let mut head = Head {
            kek,
            generation: before.head.generation + 1,
            next_purge: self.next_purge,
            ..before.head
        };
        head.mac = root_mac(&self.reading.ring.key(kek)?.integrity, &head, &slots, &self.buckets);
        tables.set_head(&head)?;
        Ok(Some(Arc::new(Verified {
            head,
            slots,
            buckets: self.buckets,
        })))
    }

    /// Seals a value under a fresh data key, writes the row and returns its digest.
    fn replace_version(&self, name: &str, number: u64, facts: Facts<'_>, value: &SecretValue) -> Result<Digest> {
        let tables = self.reading.tables;
        let canonical = facts.canonical();
        let kek = self.reading.verified.head.kek;
        let sealed = self.reading.ring.seal(kek, name, number, &canonical, value)?;
        let ciphertext_digest = ciphertext_digest(&sealed.ciphertext);
        let row = VersionRow {
            number,
            facts,
            ciphertext_digest,
            wrapped_key: &sealed.wrapped_key,
            ciphertext: &sealed.ciphertext,
        };
        tables.remove_version(at(name, number))?;
        tables.add_version(bucket_of(name), name, &row)?;
        Ok(version_digest(name, number, &canonical, &ciphertext_digest))
    }

    /// Deletes for good what was deleted long enough ago.
    fn purge(&mut self) -> Result<()> {
        let now = self.reading.now;
        let deleted: Vec<SecretRow> = self
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
            self.remove_secret(&row.name)?;
        }
        Ok(())
    }

    /// A secret as it stands at this point of the transaction.
    fn secret(&mut self, name: &str) -> Result<Option<SecretRow>> {
        let bucket = bucket_of(name);
        Ok(self.open(bucket)?.rows.get(name).cloned())
    }

    fn set_secret(&mut self, row: &SecretRow) -> Result<()> {
        let bucket = bucket_of(&row.name);
        self.reading.tables.set_secret(bucket, row, &digest_of(row))?;
        let open = self.open(bucket)?;
        open.rows.insert(row.name.clone(), row.clone());
        open.is_changed = true;
        Ok(())
    }

    fn remove_secret(&mut self, name: &str) -> Result<()> {
        let bucket = bucket_of(name);
        let open = self.open(bucket)?;
        open.rows.remove(name);
        open.is_changed = true;
        self.reading.tables.remove_secret(bucket, name)
    }

    /// The bucket, read and checked when it is first looked at.
    fn open(&mut self, bucket: u16) -> Result<&mut OpenBucket> {
        match self.open.entry(bucket) {
            MapEntry::Occupied(place) => Ok(place.into_mut()),
            MapEntry::Vacant(place) => {
                let rows = self.reading.bucket(bucket, |_| true)?;
                let rows = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
                Ok(place.insert(OpenBucket { rows, is_changed: false }))
            }
        }
    }
}

fn digest_of(row: &SecretRow) -> Digest {
    secret_digest(&row.columns(&row.history.encode(), [0; 32]))
}

fn check_mode(name: &SecretName, row: Option<&SecretRow>, request: &PutRequest) -> Result<()> {
    if row.is_some_and(|row| row.deleted_at.is_some()) {
        return Err(Error::new(ErrorKind::Conflict, "the name belongs to a deleted secret")
            .with("name", name.as_str())
            .with_hint("restore it with `keyfob restore`, or delete it for good with `keyfob delete --permanent`"));
    }
    let current = row.and_then(|row| row.history.current());
    match (&request.mode, current) {
        (PutMode::Create, Some(_)) => {
            Err(Error::new(ErrorKind::AlreadyExists, "the secret exists already").with("name", name.as_str()))
        }
        (PutMode::Match(_), None) => Err(not_found(name)),
        (PutMode::Match(expected), Some(current)) if expected.as_str() != current.number.to_string() => {
            Err(Error::new(ErrorKind::Conflict, "another version is current")
                .with("name", name.as_str())
                .with("expected", expected.as_str())
                .with("current", current.number.to_string()))
        }
        _ if request.value.is_none() && current.is_none() => Err(not_found(name)),
        _ => Ok(()),
    }
}

/// The metadata after a put.
fn next_facts(before: Option<Facts<'static>>, request: PutRequest, now: Time) -> Result<Facts<'static>> {
    let is_new_version = request.value.is_some();
    let (created, expires_at, description, tags) = match before {
        Some(before) => (before.created, before.expires_at, before.description, before.tags),
        None => (now, None, None, Cow::Owned(tags_column(&BTreeMap::new())?)),
    };
    let description = match request.description {
        Change::Keep => description,
        Change::Clear => None,
        Change::Set(text) if text.len() > MAX_DESCRIPTION_BYTES => {
            return Err(too_long("the description", text.len(), MAX_DESCRIPTION_BYTES));
        }
        Change::Set(text) => Some(Cow::Owned(text)),
    };
    let tags = match request.tags {
        Change::Keep => tags,
        Change::Clear => Cow::Owned(tags_column(&BTreeMap::new())?),
        Change::Set(new) => {
            if let Some(part) = new
                .iter()
                .flat_map(|(key, value)| [key, value])
                .find(|part| part.len() > MAX_TAG_BYTES)
            {
                return Err(too_long("a tag's key or value", part.len(), MAX_TAG_BYTES));
            }
            Cow::Owned(tags_column(&new)?)
        }
    };
    let expires_at = match request.expires_at {
        Change::Keep => expires_at,
        Change::Clear => None,
        Change::Set(time) => Some(Time::from_caller(time, "the expiry")?),
    };
    Ok(Facts {
        created: if is_new_version { now } else { created },
        updated: now,
        expires_at,
        description,
        tags,
    })
}

fn too_long(what: &str, bytes: usize, limit: usize) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!("{what} has {bytes} bytes, this store takes {limit}"),
    )
}

#[cfg(test)]
mod tests {
    use keyfob_envelope::RawKey;

    use super::*;
    use crate::config::{DAY, KeyConfig, SqlConfig};
    use crate::engine::Engine;
    use crate::sqlite::Outcome;

    /// Writes as if the clock showed `now`.
    fn write_at<T>(engine: &Engine, now: Time, write: impl FnOnce(&mut Writing<'_>) -> Result<T>) -> Result<T> {
        let ring = engine.ring();
        let known = engine.known(&ring)?;
        engine.sqlite.write(|tables| {
            let mut reading = engine.reading(tables, &ring, &known)?;
            reading.now = now;
            let mut writing = Writing::begin(reading)?;
            let result = write(&mut writing)?;
            writing.finish()?;
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
            engine.read(&engine.ring(), read).unwrap()
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
