//! What one transaction fetched, as tables: the rows it may look at are all there before anybody looks, and what is to be
//! changed is noted, to be sent together.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use keyfob_core::{Error, ErrorKind, Result};

use crate::rows::{Digest, Facts, SecretColumns, SecretRow, Time, VersionRow};
use crate::tables::{At, Tables};

/// The rows of some buckets.
#[derive(Default)]
pub(super) struct Snapshot {
    buckets: BTreeSet<u16>,
    secrets: BTreeMap<u16, Vec<StoredSecret>>,
    versions: BTreeMap<(u16, String, u64), StoredVersion>,
    circumstances: Option<Circumstances>,
    changes: RefCell<Vec<Change>>,
}

/// What a transaction found around the store.
#[derive(Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) server_time: Time,
    /// Whether policies decide which versions this role sees.
    pub(super) is_filtered: bool,
}

/// A row of a secret, as it stands in its table.
pub(super) struct StoredSecret {
    pub(super) name: String,
    pub(super) last: u64,
    pub(super) deleted_at: Option<Time>,
    pub(super) purge_at: Option<Time>,
    pub(super) digest: Digest,
    pub(super) history: Vec<u8>,
}

/// A row of a version, with or without its value.
pub(super) struct StoredVersion {
    pub(super) number: u64,
    pub(super) facts: Facts<'static>,
    pub(super) ciphertext_digest: Digest,
    pub(super) sealed: Option<StoredSeal>,
}

pub(super) struct StoredSeal {
    pub(super) wrapped_key: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
}

/// What is to be done to the rows.
pub(super) enum Change {
    SetSecret { bucket: u16, row: SecretRow, digest: Digest },
    RemoveSecret { bucket: u16, name: String },
    AddVersion { bucket: u16, name: String, row: StoredVersion },
    RemoveVersion { bucket: u16, name: String, number: u64 },
}

impl Snapshot {
    pub(super) fn of(circumstances: Circumstances) -> Self {
        Self {
            circumstances: Some(circumstances),
            ..Self::default()
        }
    }

    pub(super) fn server_time(&self) -> Option<Time> {
        self.circumstances.map(|circumstances| circumstances.server_time)
    }

    /// Whether a row that is missing may be one that this role does not get to see.
    pub(super) fn is_filtered(&self) -> bool {
        self.circumstances.is_some_and(|circumstances| circumstances.is_filtered)
    }

    /// Says that all secrets of this bucket are here.
    pub(super) fn add_bucket(&mut self, bucket: u16) {
        self.buckets.insert(bucket);
    }

    pub(super) fn add_secret(&mut self, bucket: u16, secret: StoredSecret) {
        self.secrets.entry(bucket).or_default().push(secret);
    }

    pub(super) fn add_version(&mut self, bucket: u16, name: String, version: StoredVersion) {
        self.versions.insert((bucket, name, version.number), version);
    }

    /// Puts the secrets into the order of their names: the database's own order is not to be believed.
    pub(super) fn sorted(mut self) -> Self {
        for secrets in self.secrets.values_mut() {
            secrets.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
        self.changes.into_inner()
    }

    /// A version that a secret's history names, so that it is there, hidden, or deleted from outside.
    fn find(&self, at: At<'_>) -> Result<Option<&StoredVersion>> {
        let found = self.versions.get(&(at.bucket, at.name.to_owned(), at.number));
        match found {
            None if self.is_filtered() => Err(hidden().with("name", at.name).with("version", at.number.to_string())),
            found => Ok(found),
        }
    }

    fn note(&self, change: Change) -> Result<()> {
        self.changes.borrow_mut().push(change);
        Ok(())
    }
}

impl Tables for Snapshot {
    fn secrets(&self, bucket: u16, show: &mut dyn FnMut(&SecretColumns<'_>) -> Result<()>) -> Result<()> {
        if !self.buckets.contains(&bucket) {
            return Err(not_fetched());
        }
        let secrets = self.secrets.get(&bucket).into_iter().flatten();
        secrets.map(StoredSecret::columns).try_for_each(|columns| show(&columns))
    }

    fn all_secrets(&self, show: &mut dyn FnMut(u16, &SecretColumns<'_>) -> Result<()>) -> Result<()> {
        for (bucket, secrets) in &self.secrets {
            for secret in secrets {
                show(*bucket, &secret.columns())?;
            }
        }
        Ok(())
    }

    fn version(&self, at: At<'_>, show: &mut dyn FnMut(&VersionRow<'_>) -> Result<()>) -> Result<bool> {
        match self.find(at)? {
            None => Ok(false),
            Some(version) => show(&version.row()?).map(|()| true),
        }
    }

    fn facts(&self, at: At<'_>) -> Result<Option<(Facts<'static>, Digest)>> {
        Ok(self
            .find(at)?
            .map(|version| (version.facts.clone(), version.ciphertext_digest)))
    }

    fn all_versions(&self, show: &mut dyn FnMut(u16, &str, &VersionRow<'_>) -> Result<()>) -> Result<()> {
        for ((bucket, name, _), version) in &self.versions {
            show(*bucket, name, &version.row()?)?;
        }
        Ok(())
    }

    fn set_secret(&self, bucket: u16, row: &SecretRow, digest: &Digest) -> Result<()> {
        self.note(Change::SetSecret {
            bucket,
            row: row.clone(),
            digest: *digest,
        })
    }

    fn remove_secret(&self, bucket: u16, name: &str) -> Result<()> {
        self.note(Change::RemoveSecret {
            bucket,
            name: name.to_owned(),
        })
    }

    fn add_version(&self, bucket: u16, name: &str, row: &VersionRow<'_>) -> Result<()> {
        let text = row.facts.description.as_deref().unwrap_or_default();
        if text.contains('\0') {
            let message = "PostgreSQL can't keep a description with a NUL character";
            return Err(Error::new(ErrorKind::InvalidInput, message).with("name", name));
        }
        self.note(Change::AddVersion {
            bucket,
            name: name.to_owned(),
            row: StoredVersion::of(row),
        })
    }

    fn remove_version(&self, at: At<'_>) -> Result<()> {
        self.note(Change::RemoveVersion {
            bucket: at.bucket,
            name: at.name.to_owned(),
            number: at.number,
        })
    }
}

impl StoredSecret {
    fn columns(&self) -> SecretColumns<'_> {
        SecretColumns {
            name: &self.name,
            last: self.last,
            deleted_at: self.deleted_at,
            purge_at: self.purge_at,
            digest: self.digest,
            history: &self.history,
        }
    }
}

impl StoredVersion {
    fn of(row: &VersionRow<'_>) -> Self {
        Self {
            number: row.number,
            facts: row.facts.clone().into_owned(),
            ciphertext_digest: row.ciphertext_digest,
            sealed: Some(StoredSeal {
                wrapped_key: row.wrapped_key.to_vec(),
                ciphertext: row.ciphertext.to_vec(),
            }),
        }
    }

    fn row(&self) -> Result<VersionRow<'_>> {
        let sealed = self.sealed.as_ref().ok_or_else(not_fetched)?;
        let facts = &self.facts;
        Ok(VersionRow {
            number: self.number,
            facts: Facts {
                created: facts.created,
                updated: facts.updated,
                expires_at: facts.expires_at,
                description: facts.description.as_deref().map(Cow::Borrowed),
                tags: Cow::Borrowed(&facts.tags),
            },
            ciphertext_digest: self.ciphertext_digest,
            wrapped_key: &sealed.wrapped_key,
            ciphertext: &sealed.ciphertext,
        })
    }
}

/// Which of both it is, the role that owns the tables sees.
pub(super) fn hidden() -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        "a policy of the database hides this from the role, or it was deleted from outside",
    )
    .with_hint("a listing works with a prefix of names that the role may read; `keyfob doctor` as the owner of the tables checks everything")
}

/// Never an answer about the store: who asks has not said before what it needs.
fn not_fetched() -> Error {
    Error::new(ErrorKind::Other, "rows were looked at that were not fetched")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyfob_envelope::{KeyEncryptionKey, StoreId};

    use super::*;
    use crate::integrity::{BucketHash, Buckets, bucket_of, secret_digest};
    use crate::keyring::Keyring;
    use crate::reading::Reading;
    use crate::rows::{Entry, Head};
    use crate::verified::Verified;
    use crate::writing::Writing;

    const PURGE_AT: i64 = 1000;

    /// What a write does to a deleted secret, by the client's clock and the server's.
    fn changes(client: i64, server: i64) -> usize {
        let store = StoreId([1; 16]);
        let kek = KeyEncryptionKey::generate().unwrap();
        let mut row = SecretRow::new("a");
        (row.last, row.deleted_at, row.purge_at) = (1, Some(Time(1)), Some(Time(PURGE_AT)));
        row.history.push(Entry {
            number: 1,
            digest: [7; 32],
        });
        let history = row.history.encode();
        let digest = secret_digest(&row.columns(&history, [0; 32]));
        let bucket = bucket_of("a");
        let mut hash = BucketHash::new();
        hash.add("a", &digest);
        let mut buckets = Buckets::new();
        buckets.set(bucket, hash.finish());
        let mut snapshot = Snapshot::of(Circumstances {
            server_time: Time(server),
            is_filtered: false,
        });
        snapshot.add_bucket(bucket);
        let secret = StoredSecret {
            name: row.name,
            last: row.last,
            deleted_at: row.deleted_at,
            purge_at: row.purge_at,
            digest,
            history,
        };
        snapshot.add_secret(bucket, secret);
        let head = Head {
            format: Head::FORMAT,
            store,
            kek: kek.id(),
            generation: 1,
            next_purge: None,
            mac: [0; 32],
        };
        let (ring, scheme) = (Keyring::new(store, [kek]), Arc::from("postgres"));
        let mut writing = Writing::new(Reading {
            tables: &snapshot,
            ring: &ring,
            verified: Arc::new(Verified {
                head,
                slots: Vec::new(),
                buckets,
            }),
            now: Time(client),
            server_time: snapshot.server_time(),
            scheme: &scheme,
            catalog: None,
        });
        writing.purge_bucket(bucket).unwrap();
        drop(writing);
        snapshot.into_changes().len()
    }

    #[test]
    fn a_clock_that_is_ahead_destroys_nothing() {
        assert_eq!(changes(PURGE_AT, PURGE_AT), 1, "its time is over by both clocks");
        assert_eq!(changes(i64::MAX, PURGE_AT - 1), 0, "the client's clock is ahead");
        assert_eq!(changes(PURGE_AT - 1, i64::MAX), 0, "the server's clock is ahead");
    }
}
