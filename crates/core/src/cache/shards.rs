//! Where what is kept lies: so that readers seldom meet, and all versions of a name go together.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use hashbrown::HashTable;

use crate::cache::entry::Entry;
use crate::name::SecretName;
use crate::options::VersionSelector;

/// All entries, by name and version.
#[derive(Debug)]
pub(super) struct Shards {
    hasher: foldhash::fast::RandomState,
    shards: Box<[Shard]>,
}

/// A power of two, so that two threads seldom meet.
const SHARDS: usize = 64;

/// On cache lines of its own, because every reader writes to the lock.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(RwLock<HashTable<Named>>);

/// All versions of one name that are kept, so that a write can forget them together. One cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Named {
    name: SecretName,
    current: Option<Entry>,
    /// Few names have any.
    #[expect(clippy::box_collection, reason = "the map itself is 48 bytes, and the line has room for 8")]
    others: Option<Box<HashMap<VersionSelector, Entry>>>,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Named>() == 64);

impl Default for Shards {
    fn default() -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }
}

impl Shards {
    /// Looks at an entry, while nobody can change it.
    pub(super) fn look<T>(
        &self,
        name: &SecretName,
        version: &VersionSelector,
        at: impl FnOnce(&Entry) -> Option<T>,
    ) -> Option<T> {
        let hash = self.hash(name);
        let shard = self.shard(hash).0.read().unwrap_or_else(PoisonError::into_inner);
        let named = shard.find(hash, |named| named.is(name))?;
        at(named.entry(version)?)
    }

    /// Puts an entry there; what was in its place is gone.
    pub(super) fn insert(&self, name: &SecretName, version: &VersionSelector, entry: Entry) {
        let hash = self.hash(name);
        let mut shard = self.write(hash);
        let named = shard
            .entry(hash, |named| named.name == *name, |named| self.hash(&named.name))
            .or_insert_with(|| Named {
                name: name.clone(),
                current: None,
                others: None,
            })
            .into_mut();
        match version {
            VersionSelector::Current => named.current = Some(entry),
            _ => drop(named.others.get_or_insert_default().insert(version.clone(), entry)),
        }
    }

    /// Takes an entry out, if it is the one.
    pub(super) fn take(&self, name: &SecretName, version: &VersionSelector, which: impl FnOnce(&Entry) -> bool) -> Option<Entry> {
        let hash = self.hash(name);
        let mut shard = self.write(hash);
        let mut found = shard.find_entry(hash, |named| named.name == *name).ok()?;
        let named = found.get_mut();
        if !named.entry(version).is_some_and(which) {
            return None;
        }
        let taken = match version {
            VersionSelector::Current => named.current.take(),
            _ => named.others.as_mut().and_then(|others| others.remove(version)),
        };
        if named.entries().next().is_none() {
            found.remove();
        }
        taken
    }

    /// Changes an entry where it lies.
    pub(super) fn change(&self, name: &SecretName, version: &VersionSelector, change: impl FnOnce(&mut Entry)) {
        let hash = self.hash(name);
        let mut shard = self.write(hash);
        let entry = shard
            .find_mut(hash, |named| named.name == *name)
            .and_then(|named| match version {
                VersionSelector::Current => named.current.as_mut(),
                version => named.others.as_mut()?.get_mut(version),
            });
        if let Some(entry) = entry {
            change(entry);
        }
    }

    /// Takes everything of a name out.
    pub(super) fn remove(&self, name: &SecretName) -> Option<Named> {
        let hash = self.hash(name);
        let mut shard = self.write(hash);
        let found = shard.find_entry(hash, |named| named.name == *name).ok()?;
        Some(found.remove().0)
    }

    /// The same of all names for which `which` holds.
    pub(super) fn remove_all(&self, which: impl Fn(&SecretName) -> bool, mut gone: impl FnMut(&Named)) {
        for shard in &self.shards {
            let mut shard = shard.0.write().unwrap_or_else(PoisonError::into_inner);
            for named in shard.extract_if(|named| which(&named.name)) {
                gone(&named);
            }
        }
    }

    fn hash(&self, name: &SecretName) -> u64 {
        self.hasher.hash_one(name.as_str().as_bytes())
    }

    fn shard(&self, hash: u64) -> &Shard {
        // The table takes the lowest and the highest bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn write(&self, hash: u64) -> RwLockWriteGuard<'_, HashTable<Named>> {
        self.shard(hash).0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Named {
    fn entry(&self, version: &VersionSelector) -> Option<&Entry> {
        match version {
            VersionSelector::Current => self.current.as_ref(),
            _ => self.others.as_ref()?.get(version),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.current
            .iter()
            .chain(self.others.iter().flat_map(|others| others.values()))
    }

    /// Whoever asks with the same handle again need not read the text.
    fn is(&self, name: &SecretName) -> bool {
        std::ptr::eq(self.name.as_str(), name.as_str()) || self.name == *name
    }
}
