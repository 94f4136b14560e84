//! Writes in one transaction: what each verb does to the rows, and the record of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::time::Duration;

use keyfob_core::{Change, Error, ErrorKind, Metadata, PutMode, PutRequest, Result, SecretName, SecretValue};

use crate::error::not_found;
use crate::integrity::{BucketHash, bucket_of, ciphertext_digest, secret_digest, version_digest};
use crate::reading::{Reading, at};
use crate::rows::{Digest, Entry, Facts, SecretRow, Time, VersionRow, tags_column};

/// The longest description, in bytes.
pub(crate) const MAX_DESCRIPTION_BYTES: usize = 16 << 10;
/// The longest tag key and the longest tag value, in bytes.
pub(crate) const MAX_TAG_BYTES: usize = 1 << 10;

/// A transaction that changes the store.
pub(crate) struct Writing<'t> {
    pub(crate) reading: Reading<'t>,
    /// The buckets that were looked at, as they are to be.
    open: BTreeMap<u16, OpenBucket>,
}

struct OpenBucket {
    rows: BTreeMap<String, SecretRow>,
    is_changed: bool,
}

impl<'t> Writing<'t> {
    pub(crate) fn new(reading: Reading<'t>) -> Self {
        Self {
            open: BTreeMap::new(),
            reading,
        }
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
        row.deleted_at = Some(self.reading.now);
        // By the later clock: the window is not cut short by one that is behind.
        let now = self
            .reading
            .server_time
            .map_or(self.reading.now, |time| time.max(self.reading.now));
        row.purge_at = Some(now.plus(window));
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

    /// The buckets that have changed, with their new digests, in the order of their numbers.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (u16, Digest)> {
        let changed = self.open.iter().filter(|(_, open)| open.is_changed);
        changed.map(|(bucket, open)| {
            let mut hash = BucketHash::new();
            open.rows.values().for_each(|row| hash.add(&row.name, &digest_of(row)));
            (*bucket, hash.finish())
        })
    }

    /// The earliest moment at which something in the buckets that were looked at is to be purged.
    #[cfg(feature = "sqlite")]
    pub(crate) fn next_purge(&self) -> Option<Time> {
        self.open
            .values()
            .flat_map(|open| open.rows.values())
            .filter_map(|row| row.purge_at)
            .min()
    }

    /// Deletes for good what was deleted long enough ago in one bucket.
    #[cfg(feature = "postgres")]
    pub(crate) fn purge_bucket(&mut self, bucket: u16) -> Result<()> {
        // By the earlier clock: one that is ahead destroys nothing.
        let now = self
            .reading
            .server_time
            .map_or(self.reading.now, |time| time.min(self.reading.now));
        let rows = self.open(bucket)?.rows.values();
        let due: Vec<String> = rows.filter(|row| row.is_due(now)).map(|row| row.name.clone()).collect();
        due.iter().try_for_each(|name| self.remove_secret(name))
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

    pub(crate) fn remove_secret(&mut self, name: &str) -> Result<()> {
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
