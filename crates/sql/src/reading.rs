//! Reads in one transaction. Every row is checked before anything of it is believed.

use std::borrow::Cow;
use std::sync::Arc;

use keyfob_core::{
    Error, ErrorKind, Expired, GetOptions, GetRequest, Metadata, Result, Secret, SecretName, SecretValue, VersionSelector,
};
use keyfob_envelope::kek_of;

use crate::error::{corrupt, not_found};
use crate::integrity::{BUCKETS, BucketHash, bucket_of, ciphertext_digest, secret_digest, version_digest};
use crate::keyring::Keyring;
use crate::rows::{Entry, Facts, SecretRow, Time, VersionRow};
use crate::tables::{At, Tables};
use crate::verified::Verified;

/// A transaction with a root that was found authentic.
pub(crate) struct Reading<'t> {
    pub(crate) tables: &'t dyn Tables,
    pub(crate) ring: &'t Keyring,
    pub(crate) verified: Arc<Verified>,
    pub(crate) now: Time,
    /// The time by the clock of the database, if it has one of its own.
    pub(crate) server_time: Option<Time>,
    /// What metadata calls the store.
    pub(crate) scheme: &'t Arc<str>,
    /// Every secret at this root, if a listing has found it authentic already.
    pub(crate) catalog: Option<Arc<Vec<SecretRow>>>,
}

impl Reading<'_> {
    /// Reads in the order of buckets, answers in the order of requests.
    pub(crate) fn get_many(&self, requests: &[GetRequest]) -> Vec<Result<Secret>> {
        let mut order: Vec<(u16, &str, usize)> = requests
            .iter()
            .enumerate()
            .map(|(index, request)| (bucket_of(request.name.as_str()), request.name.as_str(), index))
            .collect();
        order.sort_unstable();
        let mut answers: Vec<Option<Result<Secret>>> = vec![None; requests.len()];
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let Some((bucket, ..)) = group.first().copied() else {
                continue;
            };
            // What is at this root is known: only the versions need to be read.
            let rows = match &self.catalog {
                Some(catalog) => Ok(Cow::Borrowed(catalog.as_slice())),
                None => self
                    .bucket(bucket, |name| {
                        group.binary_search_by(|(_, wanted, _)| (*wanted).cmp(name)).is_ok()
                    })
                    .map(Cow::Owned),
            };
            for (_, name, index) in group {
                let Some((request, answer)) = requests.get(*index).zip(answers.get_mut(*index)) else {
                    continue;
                };
                *answer = Some(match &rows {
                    Err(error) => Err(error.clone().with("name", *name)),
                    Ok(rows) => {
                        // In the order of names, as bucket and catalog are.
                        let row = rows
                            .binary_search_by(|row| row.name.as_str().cmp(name))
                            .ok()
                            .and_then(|at| rows.get(at));
                        self.get(&request.name, bucket, row, &request.options)
                    }
                });
            }
        }
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err(corrupt("a read went unanswered"))))
            .collect()
    }

    /// A secret that is there; deleted ones count as missing.
    pub(crate) fn present(&self, name: &SecretName) -> Result<SecretRow> {
        let mut rows = self.bucket(bucket_of(name.as_str()), |other| other == name.as_str())?;
        let row = rows.pop().ok_or_else(|| not_found(name))?;
        self.check_not_deleted(name, &row)?;
        Ok(row)
    }

    /// The secrets of a bucket whose name is `wanted`, checked against the digest of the whole bucket.
    pub(crate) fn bucket(&self, bucket: u16, wanted: impl Fn(&str) -> bool) -> Result<Vec<SecretRow>> {
        let mut rows = Vec::new();
        let mut hash = BucketHash::new();
        self.tables.secrets(bucket, &mut |columns| {
            hash.add(columns.name, &columns.digest);
            if wanted(columns.name) {
                if secret_digest(columns) != columns.digest {
                    return Err(corrupt("the secret's row was edited from outside").with("name", columns.name));
                }
                rows.push(columns.to_row()?);
            }
            Ok(())
        })?;
        if hash.finish() != *self.verified.buckets.digest(bucket) {
            return Err(bucket_differs(bucket));
        }
        Ok(rows)
    }

    /// Every secret, in the byte order of names, each row and each bucket checked.
    pub(crate) fn catalog(&self) -> Result<Vec<SecretRow>> {
        let mut rows: Vec<SecretRow> = Vec::new();
        let mut next_bucket = 0;
        let mut hash = BucketHash::new();
        self.tables.all_secrets(&mut |bucket, columns| {
            while next_bucket < bucket {
                let finished = std::mem::replace(&mut hash, BucketHash::new());
                self.check_bucket(next_bucket, finished)?;
                next_bucket += 1;
            }
            if secret_digest(columns) != columns.digest {
                return Err(corrupt("the secret's row was edited from outside").with("name", columns.name));
            }
            hash.add(columns.name, &columns.digest);
            rows.push(columns.to_row()?);
            Ok(())
        })?;
        while next_bucket < BUCKETS {
            let finished = std::mem::replace(&mut hash, BucketHash::new());
            self.check_bucket(next_bucket, finished)?;
            next_bucket += 1;
        }
        rows.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    }

    /// What is known about one version, without its value.
    pub(crate) fn facts(&self, name: &str, entry: &Entry) -> Result<Facts<'static>> {
        let (facts, ciphertext_digest) = self
            .tables
            .facts(at(name, entry.number))?
            .ok_or_else(|| version_missing(name, entry))?;
        if version_digest(name, entry.number, &facts.canonical(), &ciphertext_digest) != entry.digest {
            return Err(version_edited(name, entry));
        }
        Ok(facts)
    }

    pub(crate) fn metadata(&self, name: &SecretName, entry: &Entry) -> Result<Metadata> {
        self.facts(name.as_str(), entry)?.metadata(name, entry.number, self.scheme)
    }

    /// The value of one version, whether it has expired or not.
    pub(crate) fn value(&self, name: &str, entry: &Entry) -> Result<SecretValue> {
        let mut value = None;
        self.tables.version(at(name, entry.number), &mut |row| {
            let facts = self.check_version(name, entry, row)?;
            value = Some(self.open(name, row, &facts)?);
            Ok(())
        })?;
        value.ok_or_else(|| version_missing(name, entry))
    }

    /// Checks a version's row against its digest and returns the bytes of its metadata.
    pub(crate) fn check_version(&self, name: &str, entry: &Entry, row: &VersionRow<'_>) -> Result<Vec<u8>> {
        let facts = row.facts.canonical();
        let is_whole = ciphertext_digest(row.ciphertext) == row.ciphertext_digest
            && row.number == entry.number
            && version_digest(name, entry.number, &facts, &row.ciphertext_digest) == entry.digest;
        if is_whole {
            Ok(facts)
        } else {
            Err(version_edited(name, entry))
        }
    }

    /// Decrypts a version straight from the row.
    pub(crate) fn open(&self, name: &str, row: &VersionRow<'_>, facts: &[u8]) -> Result<SecretValue> {
        // With a key that has a slot, an unknown key is one that this process has not unlocked yet.
        let has_slot = kek_of(row.wrapped_key).is_ok_and(|kek| self.verified.slots.iter().any(|slot| slot.kek == kek));
        if !has_slot {
            return Err(corrupt("the secret's data key is wrapped by a key that the store does not have").with("name", name));
        }
        self.ring.open(name, row, facts)
    }

    fn get(&self, name: &SecretName, bucket: u16, row: Option<&SecretRow>, options: &GetOptions) -> Result<Secret> {
        let row = row.ok_or_else(|| not_found(name))?;
        self.check_not_deleted(name, row)?;
        let entry = match &options.version {
            VersionSelector::Current => row.history.current(),
            VersionSelector::Previous => row.history.previous(),
            VersionSelector::Exact(version) => row.history.exact(version.as_str()),
        };
        let entry = entry.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no such version")
                .with("name", name.as_str())
                .with("version", options.version.to_string())
                .with_hint("it was never there, or newer ones have pushed it out; `keyfob versions` lists what there is")
        })?;
        let mut secret = None;
        let place = At {
            bucket,
            name: name.as_str(),
            number: entry.number,
        };
        self.tables.version(place, &mut |row| {
            let facts = self.check_version(name.as_str(), entry, row)?;
            if options.expired == Expired::Refuse && row.facts.is_expired(self.now) {
                return Err(Error::new(ErrorKind::Expired, "the secret has expired").with("name", name.as_str()));
            }
            let value = self.open(name.as_str(), row, &facts)?;
            secret = Some(Secret::new(value, row.facts.metadata(name, entry.number, self.scheme)?));
            Ok(())
        })?;
        secret.ok_or_else(|| version_missing(name.as_str(), entry))
    }

    fn check_not_deleted(&self, name: &SecretName, row: &SecretRow) -> Result<()> {
        if row.is_due(self.now) {
            return Err(not_found(name));
        }
        if row.deleted_at.is_some() {
            return Err(not_found(name).with_hint("it is deleted; `keyfob restore` brings it back"));
        }
        Ok(())
    }

    fn check_bucket(&self, bucket: u16, hash: BucketHash) -> Result<()> {
        if hash.finish() == *self.verified.buckets.digest(bucket) {
            Ok(())
        } else {
            Err(bucket_differs(bucket))
        }
    }
}

pub(crate) fn at(name: &str, number: u64) -> At<'_> {
    At {
        bucket: bucket_of(name),
        name,
        number,
    }
}

pub(crate) fn version_missing(name: &str, entry: &Entry) -> Error {
    corrupt(VERSION_MISSING)
        .with("name", name)
        .with("version", entry.number.to_string())
}

/// Whether an error says that a version which must be there is not.
#[cfg(feature = "postgres")]
pub(crate) fn is_version_missing(error: &Error) -> bool {
    error.message() == VERSION_MISSING
}

const VERSION_MISSING: &str = "a version's row was deleted from outside";

fn version_edited(name: &str, entry: &Entry) -> Error {
    corrupt("a version's row was edited from outside")
        .with("name", name)
        .with("version", entry.number.to_string())
}

fn bucket_differs(bucket: u16) -> Error {
    corrupt("the set of secrets differs from its record: a row was added, deleted or replaced from outside")
        .with("bucket", bucket.to_string())
}
