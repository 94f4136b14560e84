//! In what two snapshots differ.

use std::cmp::Ordering;

use keyfob_core::{Result, SecretName};

use crate::blocking::blocking;
use crate::snapshot::{Inner, Snapshot};

/// A name that is not the same in two snapshots.
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
