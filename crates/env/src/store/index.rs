//! Which entry answers to which name.

use std::collections::BTreeMap;

use keyfob_core::{Result, SecretName, Version};

use super::file::{Identity, Snapshot};
use super::mark::{self, Mark};
use crate::dotenv::Entry;
use crate::names::{spellings, variable_for};

/// The entries that count, by variable.
pub(super) struct Index<'s> {
    slots: BTreeMap<&'s str, Slot<'s>>,
    identity: &'s Identity,
}

/// An entry and the mark above it.
pub(super) struct Slot<'s> {
    pub(super) entry: Entry<'s>,
    pub(super) mark: Option<Mark>,
}

/// What the file has for a name.
pub(super) enum Lookup<'i, 's> {
    /// The entry of exactly this name.
    Own(&'i Slot<'s>),
    /// An entry written by hand under another spelling: it may be read.
    Alias(&'i Slot<'s>),
    /// Nothing, but the variable belongs to another name.
    Taken { variable: String, by: &'i SecretName },
    /// Nothing.
    Missing,
}

impl<'s> Index<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        let slots = snapshot.document.entries().map(|entry| {
            let mark = Mark::of(&entry);
            (entry.name(), Slot { entry, mark })
        });
        Self {
            slots: slots.collect(),
            identity: &snapshot.identity,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn look_up(&self, name: &SecretName) -> Lookup<'_, 's> {
        for variable in spellings(name) {
            let Some(slot) = self.slots.get(variable.as_str()) else {
                continue;
            };
            match &slot.mark {
                Some(mark) if mark.name == *name => return Lookup::Own(slot),
                Some(_) => {}
                None if variable == name.as_str() => return Lookup::Own(slot),
                None => return Lookup::Alias(slot),
            }
        }
        let taken = variable_for(name).and_then(|variable| {
            let by = &self.slots.get(variable.as_str())?.mark.as_ref()?.name;
            Some(Lookup::Taken { variable, by })
        });
        taken.unwrap_or(Lookup::Missing)
    }

    pub(super) fn version(&self, slot: &Slot<'_>) -> Result<Version> {
        mark::version(&slot.entry, slot.mark.as_ref(), self.identity)
    }

    /// Every name with its entry, in the order of names.
    pub(super) fn names(&self) -> BTreeMap<SecretName, &Slot<'s>> {
        self.slots
            .values()
            .filter_map(|slot| {
                let name = match &slot.mark {
                    Some(mark) => mark.name.clone(),
                    None => SecretName::new(slot.entry.name()).ok()?,
                };
                // `a.b` by hand comes before `A_B` that is marked `a.b`: a listing shows what a read finds.
                let found = matches!(self.look_up(&name), Lookup::Own(own) if std::ptr::eq(own, slot));
                found.then_some((name, slot))
            })
            .collect()
    }
}
