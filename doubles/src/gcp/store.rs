//! What is stored, and what each call does to it. Knows neither HTTP nor who calls.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::crc32c::crc32c;
use super::filter::{Field, Filter};
use super::names::{Place, SecretName, VersionId};
use super::pages::{Pages, Wanted};
use super::secret::{Fields, Part, Replication, Secret};
use super::status::{Code, Status};
use super::version::{State, Version};

/// The most that `SecretPayload.data` of the reference may be.
const MOST_PAYLOAD_BYTES: usize = 64 << 10;

/// The secrets of all projects.
pub(super) struct Store {
    secrets: BTreeMap<SecretName, Entry>,
    pages: Pages,
    /// Counts what was made and changed: for the order of creation, and for etags.
    changes: u64,
    /// Distinguishes the etags of this process.
    salt: u64,
}

struct Entry {
    secret: Secret,
    made: u64,
    /// By number, from 1.
    versions: Vec<Version>,
}

/// What becomes of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Enable,
    Disable,
    Destroy,
}

impl Store {
    /// `usual` is how many elements a page has when the client leaves it to the service.
    pub(super) fn new(usual: usize, salt: u64) -> Self {
        Self {
            secrets: BTreeMap::new(),
            pages: Pages::new(usual),
            changes: 0,
            salt,
        }
    }

    /// Lets happen what was to happen by itself until now.
    pub(super) fn settle(&mut self, now: Timestamp) {
        self.secrets
            .retain(|_, entry| entry.secret.expires.is_none_or(|expires| expires > now));
        for version in self.secrets.values_mut().flat_map(|entry| &mut entry.versions) {
            if let Some(due) = version.scheduled.filter(|due| *due <= now) {
                version.destroy(due);
            }
        }
    }

    pub(super) fn create(&mut self, place: &Place, id: &str, fields: Fields, now: Timestamp) -> Result<Value, Status> {
        let name = SecretName::new(place.clone(), id)?;
        match (&place.location, &fields.replication) {
            (None, None) => {
                let message = "The replication policy must be specified.";
                return Err(Status::field("secret.replication", message));
            }
            (Some(_), Some(_)) => {
                let message = "The replication policy must not be specified for regional secrets.";
                return Err(Status::field("secret.replication", message));
            }
            _ => {}
        }
        if self.secrets.contains_key(&name) {
            let message = format!("Secret [{}] already exists.", name.path());
            return Err(Status::new(Code::AlreadyExists, message));
        }
        check_aliases(&fields.aliases, &[])?;
        let expires = fields.expires(now)?;
        let secret = Secret {
            name: name.clone(),
            created: now,
            etag: self.etag(),
            replication: fields.replication,
            labels: fields.labels,
            annotations: fields.annotations,
            aliases: fields.aliases,
            expires,
            destroy_ttl: fields.destroy_ttl,
        };
        let json = secret.json();
        let entry = Entry {
            secret,
            made: self.changes,
            versions: Vec::new(),
        };
        self.secrets.insert(name, entry);
        Ok(json)
    }

    pub(super) fn secret(&self, name: &SecretName) -> Result<Value, Status> {
        Ok(self.entry(name)?.secret.json())
    }

    pub(super) fn update(
        &mut self,
        name: &SecretName,
        mut fields: Fields,
        parts: &[Part],
        now: Timestamp,
    ) -> Result<Value, Status> {
        let etag = self.etag();
        let entry = self.entry_mut(name)?;
        check_etag(&fields.etag, &entry.secret.etag)?;
        // All is checked before anything is changed.
        if parts.contains(&Part::Aliases) {
            check_aliases(&fields.aliases, &entry.versions)?;
        }
        let expires = if parts.contains(&Part::Expiration) {
            fields.expires(now)?
        } else {
            None
        };
        let secret = &mut entry.secret;
        for part in parts {
            match part {
                Part::Annotations => secret.annotations = std::mem::take(&mut fields.annotations),
                Part::Labels => secret.labels = std::mem::take(&mut fields.labels),
                Part::Aliases => secret.aliases = std::mem::take(&mut fields.aliases),
                Part::Expiration => secret.expires = expires,
                Part::DestroyTtl => secret.destroy_ttl = fields.destroy_ttl,
            }
        }
        secret.etag = etag;
        Ok(secret.json())
    }

    /// At once and for ever, with all versions.
    pub(super) fn delete(&mut self, name: &SecretName, etag: &str) -> Result<Value, Status> {
        check_etag(etag, &self.entry(name)?.secret.etag)?;
        self.secrets.remove(name);
        Ok(json!({}))
    }

    pub(super) fn secrets(&mut self, place: &Place, wanted: &Wanted) -> Result<Value, Status> {
        let filter = Filter::parse(&wanted.filter)?;
        // A field that there is not is an error also where there is no secret.
        filter.passes(&|field| secret_field(None, field))?;
        let mut found = Vec::new();
        for entry in self.secrets.values().filter(|entry| entry.secret.name.place == *place) {
            if filter.passes(&|field| secret_field(Some(&entry.secret), field))? {
                found.push((entry.made, entry.secret.json()));
            }
        }
        found.sort_by_key(|(made, _)| std::cmp::Reverse(*made));
        let parent = format!("{}/secrets", place.path());
        self.pages.page(&parent, "secrets", wanted, found.into_iter())
    }

    /// A version with this payload. `checksum` is the client's, if it sent one.
    pub(super) fn add(
        &mut self,
        name: &SecretName,
        data: Vec<u8>,
        checksum: Option<i64>,
        now: Timestamp,
        numbers: bool,
    ) -> Result<Value, Status> {
        let etag = self.etag();
        let entry = self.entry_mut(name)?;
        if data.is_empty() {
            return Err(Status::invalid("Secret Payload cannot be empty."));
        }
        if data.len() > MOST_PAYLOAD_BYTES {
            let message = format!("The secret payload is larger than {MOST_PAYLOAD_BYTES} bytes.");
            return Err(Status::field("payload.data", message));
        }
        let crc32c = crc32c(&data);
        if checksum.is_some_and(|checksum| checksum != i64::from(crc32c)) {
            let message = "The checksum of the payload does not match the data that was received.";
            return Err(Status::field("payload.data_crc32c", message));
        }
        let version = Version {
            secret: name.clone(),
            number: entry.versions.len() as u64 + 1,
            created: now,
            state: State::Enabled,
            etag,
            data,
            crc32c,
            checked: checksum.is_some(),
            destroyed: None,
            scheduled: None,
        };
        let json = version.json(entry.secret.replication.as_ref(), numbers);
        entry.versions.push(version);
        Ok(json)
    }

    pub(super) fn version(&self, name: &SecretName, id: &VersionId, numbers: bool) -> Result<Value, Status> {
        let entry = self.versioned(name)?;
        Ok(entry.version(id)?.json(entry.secret.replication.as_ref(), numbers))
    }

    /// The payload of a version that is enabled.
    pub(super) fn access(&self, name: &SecretName, id: &VersionId) -> Result<Value, Status> {
        let version = self.versioned(name)?.version(id)?;
        version.not_in(State::Disabled)?;
        version.not_in(State::Destroyed)?;
        Ok(json!({
            "name": version.path(),
            "payload": {
                "data": STANDARD.encode(&version.data),
                "dataCrc32c": version.crc32c.to_string(),
            },
        }))
    }

    pub(super) fn change(
        &mut self,
        name: &SecretName,
        id: &VersionId,
        change: Change,
        etag: &str,
        now: Timestamp,
        numbers: bool,
    ) -> Result<Value, Status> {
        let VersionId::Number(_) = id else {
            // By the reference an alias works for getting and accessing a version only.
            let message = format!("Resource ID [{}/versions/{id}] is not in a valid format.", name.path());
            return Err(Status::invalid(message));
        };
        let next = self.etag();
        let entry = self.versioned_mut(name)?;
        let number = entry.version(id)?.number;
        let Entry { secret, versions, .. } = entry;
        let version = &mut versions[number as usize - 1];
        check_etag(etag, &version.etag)?;
        version.not_in(State::Destroyed)?;
        match change {
            // Both take back a destruction that waits.
            Change::Enable => (version.state, version.scheduled) = (State::Enabled, None),
            Change::Disable => (version.state, version.scheduled) = (State::Disabled, None),
            Change::Destroy => match secret.destroy_ttl {
                None => version.destroy(now),
                Some(ttl) => {
                    version.state = State::Disabled;
                    version.scheduled = version.scheduled.or(now.checked_add(ttl).ok());
                }
            },
        }
        // By Google's page about etags, an update that changes nothing makes a new one all the same.
        version.etag = next;
        Ok(version.json(secret.replication.as_ref(), numbers))
    }

    pub(super) fn versions(&mut self, name: &SecretName, wanted: &Wanted, numbers: bool) -> Result<Value, Status> {
        let filter = Filter::parse(&wanted.filter)?;
        filter.passes(&|field| version_field(None, field))?;
        let entry = self.entry(name)?;
        let mut found = Vec::new();
        for version in entry.versions.iter().rev() {
            if filter.passes(&|field| version_field(Some(version), field))? {
                found.push((version.number, version.json(entry.secret.replication.as_ref(), numbers)));
            }
        }
        // A secret that was made anew is another list.
        let parent = format!("{}/versions of {}", name.path(), entry.made);
        self.pages.page(&parent, "versions", wanted, found.into_iter())
    }

    pub(super) fn contains(&self, name: &SecretName) -> bool {
        self.secrets.contains_key(name)
    }

    fn entry(&self, name: &SecretName) -> Result<&Entry, Status> {
        self.secrets.get(name).ok_or_else(|| not_found(name))
    }

    fn entry_mut(&mut self, name: &SecretName) -> Result<&mut Entry, Status> {
        self.secrets.get_mut(name).ok_or_else(|| not_found(name))
    }

    fn versioned(&self, name: &SecretName) -> Result<&Entry, Status> {
        let entry = self.secrets.get(name).filter(|entry| !entry.versions.is_empty());
        entry.ok_or_else(|| no_versions(name))
    }

    fn versioned_mut(&mut self, name: &SecretName) -> Result<&mut Entry, Status> {
        let entry = self.secrets.get_mut(name).filter(|entry| !entry.versions.is_empty());
        entry.ok_or_else(|| no_versions(name))
    }

    /// In quotes, as <https://google.aip.dev/154> has it; another one each time.
    fn etag(&mut self) -> String {
        self.changes += 1;
        format!("\"{:x}{:x}\"", self.salt, self.changes)
    }
}

impl Entry {
    fn version(&self, id: &VersionId) -> Result<&Version, Status> {
        let number = match id {
            VersionId::Number(number) => Some(*number),
            VersionId::Latest => Some(self.versions.len() as u64),
            VersionId::Alias(alias) => self.secret.aliases.get(alias).copied(),
        };
        let version = number.and_then(|number| self.versions.get(usize::try_from(number).ok()?.checked_sub(1)?));
        version.ok_or_else(|| {
            let path = self.secret.name.path();
            Status::not_found(format!("Secret Version [{path}/versions/{id}] not found."))
        })
    }
}

fn not_found(name: &SecretName) -> Status {
    Status::not_found(format!("Secret [{}] not found.", name.path()))
}

fn no_versions(name: &SecretName) -> Status {
    Status::not_found(format!("Secret [{}] not found or has no versions.", name.path()))
}

/// By Google's page about etags, one that is given and is not the current one is `FAILED_PRECONDITION`.
fn check_etag(given: &str, current: &str) -> Result<(), Status> {
    if given.is_empty() || given == current {
        return Ok(());
    }
    let message = format!("The etag provided [{given}] does not match the current etag [{current}].");
    Err(Status::precondition(message))
}

/// Which code Google gives an alias of a version that is not there is not documented.
fn check_aliases(aliases: &BTreeMap<String, u64>, versions: &[Version]) -> Result<(), Status> {
    let there = |number: u64| number > 0 && number <= versions.len() as u64;
    match aliases.iter().find(|(_, number)| !there(**number)) {
        None => Ok(()),
        Some((alias, number)) => {
            let message = format!("The version alias [{alias}] is of version [{number}], which does not exist.");
            Err(Status::field("secret.version_aliases", message))
        }
    }
}

/// Without a secret: what kind of field that is.
fn secret_field(secret: Option<&Secret>, field: &str) -> Option<Field> {
    if let Some(key) = field.strip_prefix("labels.") {
        return Some(Field::Text(secret.and_then(|secret| secret.labels.get(key).cloned())));
    }
    if let Some(key) = field.strip_prefix("annotations.") {
        return Some(Field::Text(secret.and_then(|secret| secret.annotations.get(key).cloned())));
    }
    match field {
        "name" => Some(Field::Text(secret.map(|secret| secret.name.path()))),
        "create_time" => Some(Field::Time(secret.map(|secret| secret.created))),
        "expire_time" => Some(Field::Time(secret.and_then(|secret| secret.expires))),
        "replication.automatic" => {
            let automatic = secret.filter(|secret| secret.replication == Some(Replication::Automatic));
            Some(Field::Text(automatic.map(|_| String::new())))
        }
        _ => None,
    }
}

fn version_field(version: Option<&Version>, field: &str) -> Option<Field> {
    match field {
        "name" => Some(Field::Text(version.map(Version::path))),
        "state" => Some(Field::Text(version.map(|version| version.state.name().to_owned()))),
        "create_time" => Some(Field::Time(version.map(|version| version.created))),
        "destroy_time" => Some(Field::Time(version.and_then(|version| version.destroyed))),
        _ => None,
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
