//! What is to be asked for, each thing once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::failures::failure;
use super::{AllowedSchemes, Occurrence};
use crate::name::SecretName;
use crate::options::VersionSelector;
use crate::reference::{FILE_SCHEME, Reference, Target};
use crate::report::{Failure, Location};

/// What was asked for, each thing once.
pub(super) struct Wanted<'a> {
    pub(super) order: Vec<Key>,
    pub(super) locations: HashMap<Key, Vec<&'a Location>>,
    /// What failed before anything was asked, with the position of its first occurrence.
    pub(super) failures: Vec<Failure>,
    pub(super) references: usize,
}

impl<'a> Wanted<'a> {
    pub(super) fn collect(allowed: &AllowedSchemes, occurrences: &'a [Occurrence]) -> Self {
        let mut wanted = Self {
            order: Vec::new(),
            locations: HashMap::new(),
            failures: Vec::new(),
            references: 0,
        };
        let mut refused: HashMap<Key, usize> = HashMap::new();
        for occurrence in occurrences {
            let reference = match &occurrence.reference {
                Ok(reference) => reference,
                Err(error) => {
                    wanted.references += 1;
                    wanted.failures.push(failure(
                        occurrence.written.clone(),
                        vec![occurrence.location.clone()],
                        error.clone(),
                    ));
                    continue;
                }
            };
            let key = Key::new(reference, occurrence.directory.as_ref());
            if let Some(index) = refused.get(&key) {
                wanted.failures[*index].locations.push(occurrence.location.clone());
            } else if let Some(places) = wanted.locations.get_mut(&key) {
                places.push(&occurrence.location);
            } else if let Err(error) = allowed.check(&reference.scheme) {
                wanted.references += 1;
                refused.insert(key, wanted.failures.len());
                wanted
                    .failures
                    .push(failure(occurrence.written.clone(), vec![occurrence.location.clone()], error));
            } else {
                wanted.references += 1;
                wanted.locations.insert(key.clone(), vec![&occurrence.location]);
                wanted.order.push(key);
            }
        }
        wanted
    }

    /// Per scheme what to ask: fields and fallbacks don't make a request of their own.
    pub(super) fn group_by_scheme(&self) -> BTreeMap<Arc<str>, BTreeSet<(SecretName, VersionSelector)>> {
        let mut schemes: BTreeMap<Arc<str>, BTreeSet<_>> = BTreeMap::new();
        for key in &self.order {
            if let Target::Secret(secret) = &key.reference.target {
                schemes
                    .entry(key.reference.scheme.clone())
                    .or_default()
                    .insert((secret.name.clone(), secret.version.clone()));
            }
        }
        schemes
    }

    pub(super) fn files(&self) -> Vec<Key> {
        self.order
            .iter()
            .filter(|key| *key.reference.scheme == *FILE_SCHEME)
            .cloned()
            .collect()
    }
}

/// Identity of a reference: two with the same key are one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) reference: Reference,
    /// Only files depend on it.
    pub(super) directory: Option<Arc<Path>>,
}

impl Key {
    pub(super) fn new(reference: &Reference, directory: Option<&Arc<Path>>) -> Self {
        let directory = if matches!(reference.target, Target::File { .. }) {
            directory.cloned()
        } else {
            None
        };
        Self {
            reference: reference.clone(),
            directory,
        }
    }
}
