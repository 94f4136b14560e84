//! In what two snapshots differ, or a snapshot and a store.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt as _};
use keyfob_core::{Capabilities, ErrorKind, Result, Secret, SecretName, SecretStore};
use subtle::ConstantTimeEq as _;

use crate::blocking::blocking;
use crate::create::{fresh, names};
use crate::manifest::Keeps;
use crate::options::{CreateOptions, DEFAULT_CONCURRENCY};
use crate::snapshot::{Inner, Snapshot};

/// A name that is not the same in two snapshots, or in a snapshot and a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretChange {
    /// The name.
    pub name: SecretName,
    /// What became of it.
    pub kind: ChangeKind,
}

/// What became of a secret from one snapshot to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the other one has it.
    Added,
    /// Only the first one has it.
    Removed,
    /// Its bytes are others, and perhaps more.
    Value,
    /// Its description, its tags or its expiry are others.
    Metadata,
}

impl ChangeKind {
    /// The stable token of this kind, for example `added`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Value => "value",
            Self::Metadata => "metadata",
        }
    }
}

impl Snapshot {
    /// What changed from this snapshot to `other`, in the byte order of names. Versions and dates of writing don't count, and a value that was written
    /// again is no change. Only secrets that differ are decrypted, two at a time.
    ///
    /// # Errors
    /// `Corrupt` when one that differs is not what was written, `Unavailable` when a file can't be read.
    pub async fn diff(&self, other: &Self) -> Result<Vec<SecretChange>> {
        let (one, other) = (self.clone(), other.clone());
        blocking(move || diff(&one.0, &other.0)).await
    }

    /// What changed from this snapshot to what `store` has now, in the byte order of names; `progress` is told how many were
    /// compared. Versions and dates of writing don't count, nor what one of the two does not keep. What is new in the store is told
    /// only of a snapshot that is [whole](crate::Summary::whole), and not of names that begin with one of `exclude`.
    ///
    /// Every secret is read, past every cache.
    ///
    /// # Errors
    /// Those of [`SecretStore::list`] and [`SecretStore::get`], and those of [`secret`](Self::secret).
    pub async fn diff_store(
        &self,
        store: &dyn SecretStore,
        exclude: &[String],
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<SecretChange>> {
        let manifest = self.manifest();
        let mut changes = Vec::new();
        let mut all = manifest.secrets.iter().map(|secret| secret.name.clone()).collect();
        if manifest.summary.whole {
            let options = CreateOptions {
                prefix: manifest.summary.prefix.clone(),
                exclude: exclude.to_vec(),
                ..CreateOptions::default()
            };
            all = &names(store, &options).await? | &all;
        }
        let can = store.info().capabilities;
        let mut compared = stream::iter(all)
            .map(|name| async move {
                let now = match store.get(&name, &fresh()).await {
                    Ok(secret) => Some(secret),
                    Err(error) if error.kind() == ErrorKind::NotFound => None,
                    Err(error) => return Err(error.with("name", name.as_str())),
                };
                let had = manifest.secret(&name).is_some();
                let kind = match now {
                    Some(now) if had => self.compare(&name, &now, &can).await?,
                    Some(_) => Some(ChangeKind::Added),
                    None if had => Some(ChangeKind::Removed),
                    // It was listed, and deleted since.
                    None => None,
                };
                Ok(kind.map(|kind| SecretChange { name, kind }))
            })
            .buffered(DEFAULT_CONCURRENCY);
        let mut count = 0;
        while let Some(change) = compared.next().await {
            changes.extend(change?);
            count += 1;
            progress(count);
        }
        Ok(changes)
    }

    async fn compare(&self, name: &SecretName, now: &Secret, can: &Capabilities) -> Result<Option<ChangeKind>> {
        let before = self.secret(name).await?;
        if !bool::from(before.value.expose_secret().ct_eq(now.value.expose_secret())) {
            return Ok(Some(ChangeKind::Value));
        }
        let keeps = self.manifest().summary.keeps;
        let both = Keeps {
            description: keeps.description && can.description,
            tags: keeps.tags && can.tags,
            expiry: keeps.expiry && can.expiry,
        };
        let (before, now) = (&before.metadata, &now.metadata);
        let is_same = (!both.description || before.description == now.description)
            && (!both.tags || before.tags == now.tags)
            && (!both.expiry || is_same_time(before.expires_at, now.expires_at));
        Ok((!is_same).then_some(ChangeKind::Metadata))
    }
}

/// Stores keep times with different precision; some to the second.
fn is_same_time(one: Option<SystemTime>, other: Option<SystemTime>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            let distance = one.duration_since(other).unwrap_or_else(|error| error.duration());
            distance < Duration::from_secs(1)
        }
        (one, other) => one == other,
    }
}

fn diff(one: &Inner, other: &Inner) -> Result<Vec<SecretChange>> {
    let (before, after) = (&one.manifest.secrets, &other.manifest.secrets);
    let (mut left, mut right) = (0, 0);
    let mut changes = Vec::new();
    while left < before.len() || right < after.len() {
        let order = match (before.get(left), after.get(right)) {
            (Some(one), Some(other)) => one.name.cmp(&other.name),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let (name, kind) = match order {
            Ordering::Less => (&before[left].name, Some(ChangeKind::Removed)),
            Ordering::Greater => (&after[right].name, Some(ChangeKind::Added)),
            Ordering::Equal => (&before[left].name, kind((one, left), (other, right))?),
        };
        changes.extend(kind.map(|kind| SecretChange {
            name: name.clone(),
            kind,
        }));
        left += usize::from(order != Ordering::Greater);
        right += usize::from(order != Ordering::Less);
    }
    Ok(changes)
}

fn kind((one, left): (&Inner, usize), (other, right): (&Inner, usize)) -> Result<Option<ChangeKind>> {
    if one.locations[left].digest != other.locations[right].digest {
        let before = one.read(left)?;
        return Ok(Some(if before.has_value_of(&other.read(right)?) {
            ChangeKind::Metadata
        } else {
            ChangeKind::Value
        }));
    }
    let is_same = one.manifest.secrets[left].expires_at == other.manifest.secrets[right].expires_at;
    Ok((!is_same).then_some(ChangeKind::Metadata))
}
