//! The vault: what it holds, and what happens to it. No HTTP here.
//!
//! Times are milliseconds since 1970, given by the caller. What takes a while (delete, recover, purge) is finished by
//! the first look at the vault after its time.

use std::collections::BTreeMap;

use super::secret::{Deletion, Properties, Recovery, Snapshot, Version};

/// Names of secrets are equal when they are in upper case.
type Key = String;

pub(super) struct Vault {
    objects: BTreeMap<Key, Object>,
    rules: Rules,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// How long delete, recover and purge take, in milliseconds.
    pub(super) settle: i64,
    pub(super) purge_protection: bool,
    /// How long a deleted secret is kept.
    pub(super) recoverable_days: i64,
}

struct Object {
    /// As it was first written.
    name: String,
    /// By id: the service lists them in this order, not in that of their age.
    versions: BTreeMap<String, Version>,
    current: String,
    /// Backs a certificate.
    managed: bool,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Active,
    Deleting { until: i64, deletion: Deletion },
    Deleted(Deletion),
    Recovering { until: i64 },
    Purging { until: i64 },
}

/// Why the vault does not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no secret, or no version, of this name.
    NotFound(String),
    DeletedNotFound(String),
    Disabled,
    /// The name can't be used because a deletion or a purge has not ended.
    NameBeingDeleted(String),
    /// The deletion has not ended.
    BeingDeleted,
    NameBeingRecovered(String),
    BeingRecovered,
    NameDeleted(String),
    /// `set`, `update` or `delete` of a secret that backs a certificate.
    Managed(&'static str),
    PurgeProtected,
}

/// A part of a list: at most the number of secrets that was asked for, often fewer, sometimes none, also in the middle.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Snapshot>,
    /// The last one that was looked at, when there may be more.
    pub(super) last: Option<String>,
}

/// Where a part of a list begins, and how long it is at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    /// The one before.
    pub(super) after: Option<&'a str>,
    pub(super) length: usize,
}

impl Vault {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            objects: BTreeMap::new(),
            rules,
        }
    }

    /// A secret that backs a certificate, as if the certificate had been made.
    pub(super) fn add_managed(&mut self, name: &str, version: Version) {
        let object = Object {
            name: name.to_owned(),
            current: version.id.clone(),
            versions: BTreeMap::from([(version.id.clone(), version)]),
            managed: true,
            state: State::Active,
        };
        self.objects.insert(key(name), object);
    }

    /// Writes a new version.
    pub(super) fn set(
        &mut self,
        name: &str,
        version: String,
        value: String,
        properties: Properties,
        now: i64,
    ) -> Result<Snapshot, Refusal> {
        self.settle(now);
        let version = Version::new(version, value, properties, now / 1000);
        let key = key(name);
        let object = self.objects.entry(key.clone()).or_insert_with(|| Object {
            name: name.to_owned(),
            versions: BTreeMap::new(),
            current: String::new(),
            managed: false,
            state: State::Active,
        });
        match object.state {
            State::Active if object.managed => return Err(Refusal::Managed("set")),
            State::Active => {}
            State::Deleting { .. } | State::Purging { .. } => return Err(Refusal::NameBeingDeleted(name.to_owned())),
            State::Deleted(_) => return Err(Refusal::NameDeleted(name.to_owned())),
            State::Recovering { .. } => return Err(Refusal::NameBeingRecovered(name.to_owned())),
        }
        object.current.clone_from(&version.id);
        object.versions.insert(version.id.clone(), version.clone());
        Ok(self.snapshot(&key, version))
    }

    /// The version, or the one that was written last.
    pub(super) fn get(&mut self, name: &str, version: Option<&str>, now: i64) -> Result<Snapshot, Refusal> {
        let object = self.active(name, now)?;
        let version = object.version(version)?;
        if !version.enabled() {
            return Err(Refusal::Disabled);
        }
        let version = version.clone();
        Ok(self.snapshot(&key(name), version))
    }

    pub(super) fn update(
        &mut self,
        name: &str,
        version: Option<&str>,
        properties: Properties,
        now: i64,
    ) -> Result<Snapshot, Refusal> {
        let object = self.active(name, now)?;
        let id = object.version(version)?.id.clone();
        if object.managed {
            return Err(Refusal::Managed("update"));
        }
        let Some(version) = object.versions.get_mut(&id) else {
            return Err(Refusal::NotFound(format!("{name}/{id}")));
        };
        version.update(properties, now / 1000);
        let version = version.clone();
        Ok(self.snapshot(&key(name), version))
    }

    /// Begins a deletion.
    pub(super) fn delete(&mut self, name: &str, now: i64) -> Result<Snapshot, Refusal> {
        let Rules {
            settle,
            recoverable_days,
            ..
        } = self.rules;
        let object = self.active(name, now)?;
        if object.managed {
            return Err(Refusal::Managed("delete"));
        }
        let deleted = now / 1000;
        let deletion = Deletion {
            deleted,
            scheduled_purge: deleted + recoverable_days * 24 * 60 * 60,
        };
        object.state = State::Deleting {
            until: now + settle,
            deletion,
        };
        let version = object.version(None)?.clone();
        Ok(self.snapshot(&key(name), version))
    }

    pub(super) fn get_deleted(&mut self, name: &str, now: i64) -> Result<Snapshot, Refusal> {
        self.settle(now);
        let key = key(name);
        let object = self
            .objects
            .get(&key)
            .filter(|object| matches!(object.state, State::Deleted(_)));
        let object = object.ok_or_else(|| Refusal::DeletedNotFound(name.to_owned()))?;
        let version = object.version(None)?;
        if !version.enabled() {
            return Err(Refusal::Disabled);
        }
        Ok(self.snapshot(&key, version.clone()))
    }

    /// Begins a recovery.
    pub(super) fn recover(&mut self, name: &str, now: i64) -> Result<Snapshot, Refusal> {
        let settle = self.rules.settle;
        let object = self.deleted(name, now)?;
        object.state = State::Recovering { until: now + settle };
        let version = object.version(None)?.clone();
        Ok(self.snapshot(&key(name), version))
    }

    /// Begins a purge.
    pub(super) fn purge(&mut self, name: &str, now: i64) -> Result<(), Refusal> {
        let Rules {
            settle,
            purge_protection,
            ..
        } = self.rules;
        let object = self.deleted(name, now)?;
        if purge_protection {
            return Err(Refusal::PurgeProtected);
        }
        object.state = State::Purging { until: now + settle };
        Ok(())
    }

    pub(super) fn list(&mut self, span: Span<'_>, now: i64) -> Page {
        self.page(span, now, |state| state == State::Active)
    }

    pub(super) fn list_deleted(&mut self, span: Span<'_>, now: i64) -> Page {
        self.page(span, now, |state| matches!(state, State::Deleted(_)))
    }

    pub(super) fn list_versions(&mut self, name: &str, span: Span<'_>, now: i64) -> Result<Page, Refusal> {
        self.active(name, now)?;
        let key = key(name);
        let versions = self.objects.get(&key).map(|object| &object.versions);
        let (found, last) = after(versions.into_iter().flatten(), span);
        let items = found.into_iter().map(|(_, version)| self.snapshot(&key, version.clone()));
        Ok(Page {
            items: items.collect(),
            last,
        })
    }

    /// The service looks at as many names as were asked for and gives those that fit: what is deleted counts too.
    fn page(&mut self, span: Span<'_>, now: i64, fits: impl Fn(State) -> bool) -> Page {
        self.settle(now);
        let (looked_at, last) = after(&self.objects, span);
        let items = looked_at
            .into_iter()
            .filter(|(_, object)| fits(object.state))
            .filter_map(|(key, object)| Some(self.snapshot(key, object.version(None).ok()?.clone())))
            .collect();
        Page { items, last }
    }

    fn active(&mut self, name: &str, now: i64) -> Result<&mut Object, Refusal> {
        self.settle(now);
        let object = self.objects.get_mut(&key(name));
        let active = object.filter(|object| object.state == State::Active);
        active.ok_or_else(|| Refusal::NotFound(name.to_owned()))
    }

    fn deleted(&mut self, name: &str, now: i64) -> Result<&mut Object, Refusal> {
        self.settle(now);
        let missing = || Refusal::DeletedNotFound(name.to_owned());
        let object = self.objects.get_mut(&key(name)).ok_or_else(missing)?;
        match object.state {
            State::Deleted(_) => Ok(object),
            State::Deleting { .. } => Err(Refusal::BeingDeleted),
            State::Recovering { .. } => Err(Refusal::BeingRecovered),
            State::Active | State::Purging { .. } => Err(missing()),
        }
    }

    /// Finishes what has had its time.
    fn settle(&mut self, now: i64) {
        for object in self.objects.values_mut() {
            object.state = match object.state {
                State::Deleting { until, deletion } if now >= until => State::Deleted(deletion),
                State::Recovering { until } if now >= until => State::Active,
                state => state,
            };
        }
        self.objects.retain(|_, object| match object.state {
            State::Purging { until } => now < until,
            State::Deleted(deletion) => now / 1000 < deletion.scheduled_purge,
            State::Active | State::Deleting { .. } | State::Recovering { .. } => true,
        });
    }

    fn snapshot(&self, key: &str, version: Version) -> Snapshot {
        let object = self.objects.get(key);
        let deletion = match object.map(|object| object.state) {
            Some(State::Deleting { deletion, .. } | State::Deleted(deletion)) => Some(deletion),
            _ => None,
        };
        Snapshot {
            name: object.map(|object| object.name.clone()).unwrap_or_default(),
            version,
            managed: object.is_some_and(|object| object.managed),
            deletion,
            recovery: self.rules.recovery(),
        }
    }
}

impl Rules {
    fn recovery(self) -> Recovery {
        let level = match (self.recoverable_days < 90, self.purge_protection) {
            (false, false) => "Recoverable+Purgeable",
            (false, true) => "Recoverable",
            (true, false) => "CustomizedRecoverable+Purgeable",
            (true, true) => "CustomizedRecoverable",
        };
        Recovery {
            level,
            days: self.recoverable_days,
        }
    }
}

impl Object {
    fn version(&self, id: Option<&str>) -> Result<&Version, Refusal> {
        let version = self.versions.get(id.unwrap_or(&self.current));
        let name = &self.name;
        version.ok_or_else(|| Refusal::NotFound(id.map_or_else(|| name.clone(), |id| format!("{name}/{id}"))))
    }
}

/// The entries of the span, and the last of them when others follow it.
fn after<'a, V>(
    map: impl IntoIterator<Item = (&'a String, &'a V)>,
    span: Span<'_>,
) -> (Vec<(&'a String, &'a V)>, Option<String>) {
    let mut rest = map
        .into_iter()
        .skip_while(|(key, _)| span.after.is_some_and(|after| key.as_str() <= after));
    let entries: Vec<_> = rest.by_ref().take(span.length).collect();
    let last = rest.next().and(entries.last()).map(|(key, _)| (*key).clone());
    (entries, last)
}

fn key(name: &str) -> Key {
    name.to_ascii_uppercase()
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
