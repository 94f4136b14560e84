//! KV 2: versions, compare-and-set, recoverable deletes, and metadata in custom metadata.

mod entry;
mod history;
mod records;
mod write;

use std::time::SystemTime;

use jiff::Timestamp;
use keyfob_core::adapter::NameLocks;
use keyfob_core::{
    Capabilities, DeleteMode, Error, ErrorKind, Expired, GetOptions, Metadata, NameRule, Result, Secret, SecretName,
    VersionSelector,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::entry::{Custom, Entry};
pub(crate) use self::history::{History, State};
use self::history::{metadata, no_such_version, number, state, time};
use self::records::{Patch, Records, with};
use crate::client::Vault;
use crate::kv::{MAX_VALUE_BYTES, Place, check_name, not_found, value_of};

/// The engine of one mount.
pub(crate) struct Kv2<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) place: &'a Place,
    pub(crate) locks: &'a NameLocks,
}

pub(crate) fn capabilities() -> Capabilities {
    let mut capabilities = Capabilities::FULL;
    capabilities.binary = false;
    capabilities.deleted_reserves_name = false;
    capabilities.names = NameRule::Custom(check_name);
    capabilities.max_value_bytes = MAX_VALUE_BYTES;
    capabilities
}

/// The answer of `data/NAME`.
#[derive(Deserialize)]
struct Body {
    /// `None` for a version that is deleted or destroyed.
    data: Option<Box<RawValue>>,
    metadata: VersionBody,
}

/// A version, as reads and writes of `data/NAME` describe it.
#[derive(Deserialize)]
struct VersionBody {
    version: u64,
    #[serde(default)]
    created_time: String,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
    #[serde(default)]
    custom_metadata: Option<Custom>,
}

impl VersionBody {
    fn created(&self) -> Option<Timestamp> {
        time(&self.created_time)
    }

    fn metadata(&self, name: &SecretName) -> Result<Metadata> {
        let records = Records::parse(self.custom_metadata.as_ref())?;
        Ok(metadata(
            name,
            self.version,
            self.created(),
            records.of(self.version, self.created()),
        ))
    }
}

#[derive(Serialize)]
struct Versions {
    versions: Vec<u64>,
}

#[derive(Serialize)]
struct CustomMetadata<'p> {
    custom_metadata: &'p Patch,
}

impl Kv2<'_> {
    pub(crate) async fn read(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let asked = match &options.version {
            VersionSelector::Current => None,
            VersionSelector::Previous => Some(self.previous(name).await?),
            VersionSelector::Exact(version) => Some(number(version).ok_or_else(|| no_such_version(name, version.as_str()))?),
        };
        let mut path = self.place.endpoint("data", name)?;
        if let Some(asked) = asked {
            path = path.query("version", &asked.to_string());
        }
        let answer = self.vault.get(&path).await?;
        if answer.is_missing() {
            return Err(match asked {
                Some(asked) => no_such_version(name, &asked.to_string()),
                None => not_found(name),
            });
        }
        let body: Body = answer.data()?;
        if asked.is_some_and(|asked| asked != body.metadata.version) {
            return Err(answer.error(
                ErrorKind::Other,
                "the server answered with another version than it was asked for",
            ));
        }
        let Some(map) = body.data else {
            return Err(unreadable(name, &body.metadata));
        };
        if !map.get().starts_with('{') {
            return Err(answer.error(ErrorKind::Other, "what the server has there is not a map"));
        }
        // First into what is wiped, whatever comes.
        let value = value_of(map);
        let metadata = body.metadata.metadata(name)?;
        if options.expired == Expired::Refuse && metadata.is_expired(SystemTime::now()) {
            return Err(Error::new(ErrorKind::Expired, "the secret has expired").with("name", name.as_str()));
        }
        Ok(Secret::new(value, metadata))
    }

    /// What is known about a secret; `None` when there is nothing of that name.
    pub(crate) async fn history(&self, name: &SecretName) -> Result<Option<History>> {
        let answer = self.vault.get(&self.place.endpoint("metadata", name)?).await?;
        match answer.is_missing() {
            true => Ok(None),
            false => History::parse(&answer).map(Some),
        }
    }

    /// The history of a secret that is there.
    pub(crate) async fn present(&self, name: &SecretName) -> Result<History> {
        match self.history(name).await? {
            Some(history) if history.state() == State::Live => Ok(history),
            Some(history) if matches!(history.state(), State::Deleted(_)) => Err(deleted(name)),
            _ => Err(not_found(name)),
        }
    }

    async fn previous(&self, name: &SecretName) -> Result<u64> {
        let history = self.present(name).await?;
        history.previous().ok_or_else(|| no_such_version(name, "previous"))
    }

    pub(crate) async fn delete(&self, name: &SecretName, mode: DeleteMode) -> Result<()> {
        let _alone = self.locks.of(name).write_owned().await;
        let history = self.history(name).await?.ok_or_else(|| not_found(name))?;
        if mode == DeleteMode::Permanent {
            self.vault.delete(&self.place.endpoint("metadata", name)?).await?.written()?;
            // A number without a version is what is left of a first write that was broken off.
            return if history.current == 0 { Err(not_found(name)) } else { Ok(()) };
        }
        match history.state() {
            State::Live => {}
            State::Deleted(_) => return Err(deleted(name)),
            State::Gone => return Err(not_found(name)),
        }
        // One request for all versions, so that it happens as a whole.
        let versions = history.live().collect();
        self.vault
            .post(&self.place.endpoint("delete", name)?, &Versions { versions })
            .await?
            .written()?;
        if history.records()?.is_empty() {
            return Ok(());
        }
        let begin_anew = Entry::after_delete(history.current).encode()?;
        let noted = self.change_custom_metadata(name, &with(&begin_anew)).await;
        // It can't be told as a failure: the secret is deleted.
        noted.map_err(|error| {
            let message = "the secret is deleted, but not that a successor must not inherit its description, tags and expiry";
            let unsettled = error
                .context()
                .fold(Error::new(ErrorKind::Timeout, message), |all, (key, value)| {
                    all.with(key, value)
                });
            unsettled
                .with_source(error)
                .with_hint("restore it and delete it again, or give the successor what it should have")
        })
    }

    pub(crate) async fn restore(&self, name: &SecretName) -> Result<Metadata> {
        let _alone = self.locks.of(name).write_owned().await;
        let history = self.history(name).await?.ok_or_else(|| not_found(name))?;
        match history.state() {
            State::Live => return history.metadata(name),
            State::Deleted(_) => {}
            State::Gone => return Err(not_found(name)),
        }
        // Before the versions come back: the other order could, broken off, let the next one lose its expiry.
        let records = history.records()?;
        let marker = records.without(records.at(history.current + 1));
        if !marker.is_empty() {
            self.change_custom_metadata(name, &marker).await?;
        }
        let versions = history.deleted_with_current();
        self.vault
            .post(&self.place.endpoint("undelete", name)?, &Versions { versions })
            .await?
            .written()?;
        let mut metadata = history.metadata(name)?;
        metadata.deleted_at = None;
        Ok(metadata)
    }

    async fn change_custom_metadata(&self, name: &SecretName, patch: &Patch) -> Result<()> {
        let path = self.place.endpoint("metadata", name)?;
        let answer = self.vault.patch(&path, &CustomMetadata { custom_metadata: patch }).await?;
        match answer.is_missing() {
            true => Err(not_found(name)),
            false => Ok(()),
        }
    }
}

/// Why there is no value.
fn unreadable(name: &SecretName, version: &VersionBody) -> Error {
    match state(&version.deletion_time, version.destroyed, Timestamp::now()) {
        State::Gone => no_such_version(name, &version.version.to_string()).with_hint("it was destroyed"),
        State::Deleted(_) | State::Live => deleted(name),
    }
}

fn deleted(name: &SecretName) -> Error {
    not_found(name).with_hint("it is deleted and can be restored: `keyfob restore`")
}
