//! Writing values and metadata.
//!
//! A value alone is one request. A value with metadata is three: read the state, write the record of the version to
//! come, write the value under the condition that no other version came between. Whoever reads sees the record only
//! with its value; what is broken off leaves the old secret as it was.

use keyfob_core::{Error, ErrorKind, Metadata, PutMode, PutRequest, Result, SecretName, SecretValue};
use serde::Serialize;

use super::entry::{Entry, Record};
use super::history::{History, State, metadata, number};
use super::records::{Patch, Records, with};
use super::{Kv2, VersionBody};
use crate::client::Call;
use crate::error::Refusal;
use crate::kv::{Written, not_found};

/// How often an upsert begins anew because another writer was faster.
const ATTEMPTS: usize = 32;

/// Told apart here and never seen outside.
const REFUSALS: &[Refusal] = &[
    Refusal {
        status: 400,
        text: "check-and-set parameter did not match the current version",
        kind: ErrorKind::Conflict,
        message: "another version is current",
        hint: "read the secret again",
    },
    Refusal {
        status: 400,
        text: "check-and-set parameter required",
        kind: ErrorKind::Unsupported,
        message: "the server takes only writes that name the version they replace",
        hint: "",
    },
    Refusal {
        status: 400,
        text: "Upgrading from non-versioned to versioned data",
        kind: ErrorKind::Unavailable,
        message: "the mount is being upgraded from KV 1 to KV 2",
        hint: "",
    },
];

#[derive(Serialize)]
struct Body<'v> {
    data: Written<'v>,
    options: Options,
}

#[derive(Serialize)]
struct Options {
    /// The version that must be current; zero: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    cas: Option<u64>,
}

/// What makes an entry for a secret and changes nothing where there is one: zero is the mount's setting.
#[derive(Serialize)]
struct EmptyEntry {
    max_versions: u64,
}

impl Kv2<'_> {
    pub(crate) async fn put(&self, name: &SecretName, request: &PutRequest) -> Result<Metadata> {
        let changes_metadata = !(request.description.is_keep() && request.tags.is_keep() && request.expires_at.is_keep());
        match &request.value {
            Some(value) if changes_metadata => {
                let _alone = self.locks.of(name).write_owned().await;
                self.put_both(name, value, request).await
            }
            Some(value) => {
                let _shared = self.locks.of(name).read_owned().await;
                self.put_value(name, value, &request.mode).await
            }
            None => {
                let _alone = self.locks.of(name).write_owned().await;
                self.put_metadata(name, request).await
            }
        }
    }

    async fn put_value(&self, name: &SecretName, value: &SecretValue, mode: &PutMode) -> Result<Metadata> {
        let mut cas = match mode {
            PutMode::Upsert => None,
            PutMode::Create => Some(0),
            PutMode::Match(_) => Some(base(name, mode, self.history(name).await?.as_ref())?),
        };
        for _ in 0..ATTEMPTS {
            let refused = match self.write(name, value, cas).await {
                Ok(written) => return self.after_put_value(name, written).await,
                Err(error) => error,
            };
            match (refused.kind(), cas) {
                // A deleted secret has a number too, and does not stand in the way of a new one.
                (ErrorKind::Conflict, _) | (ErrorKind::Unsupported, None) => {
                    cas = Some(base(name, mode, self.history(name).await?.as_ref())?);
                }
                _ => return Err(refused),
            }
        }
        Err(too_busy())
    }

    /// Takes away the records that other writers, which lost or died, left for this version.
    async fn after_put_value(&self, name: &SecretName, mut written: VersionBody) -> Result<Metadata> {
        let records = Records::parse(written.custom_metadata.as_ref())?;
        let others = records.at(written.version).filter(|entry| entry.is_pending());
        let patch = records.without(others);
        if !patch.is_empty() {
            self.change_custom_metadata(name, &patch).await?;
            written
                .custom_metadata
                .iter_mut()
                .for_each(|custom| custom.retain(|key, _| !patch.contains_key(key)));
        }
        written.metadata(name)
    }

    async fn put_both(&self, name: &SecretName, value: &SecretValue, request: &PutRequest) -> Result<Metadata> {
        // What earlier attempts wrote.
        let mut lost = Patch::new();
        for _ in 0..ATTEMPTS {
            let attempt = self.try_put_both(name, value, request, &mut lost).await;
            match attempt {
                Ok(Some(metadata)) => return Ok(metadata),
                Ok(None) => {}
                // Whether the value was written is not known: its record must stay.
                Err(error) if error.kind() == ErrorKind::Timeout => return Err(error),
                Err(error) => {
                    if !lost.is_empty()
                        && let Err(error) = self.change_custom_metadata(name, &lost).await
                    {
                        tracing::warn!(target: "keyfob", name = name.as_str(), kind = error.kind().as_str(), "a record of a write that failed is left over");
                    }
                    return Err(error);
                }
            }
        }
        Err(too_busy())
    }

    /// `None` when another writer was faster.
    async fn try_put_both(
        &self,
        name: &SecretName,
        value: &SecretValue,
        request: &PutRequest,
        lost: &mut Patch,
    ) -> Result<Option<Metadata>> {
        let mut history = self.history(name).await?;
        if let Some(history) = &mut history {
            history.forget(lost);
        }
        let current = base(name, &request.mode, history.as_ref())?;
        let live = history.as_ref().filter(|history| history.state() == State::Live);
        let before = live.map_or_else(|| Ok(Record::default()), |history| history.record(current))?;
        let entry = Entry::pending(current + 1, before.changed(request)?);

        let none = Records::default();
        let records = history.as_ref().map_or(Ok(&none), History::records)?;
        let mut patch = records.without_outdated(history.as_ref().map_or(1, |history| history.oldest), current);
        patch.append(&mut lost.clone());
        if !records.surely_inherits(&entry.record, current) {
            patch.extend(with(&entry.encode()?));
            records.check_room(&patch)?;
        }
        if !patch.is_empty() {
            if history.is_none() {
                let path = self.place.endpoint("metadata", name)?;
                self.vault.post(&path, &EmptyEntry { max_versions: 0 }).await?.written()?;
            }
            *lost = patch
                .iter()
                .filter(|(_, value)| value.is_some())
                .map(|(key, _)| (key.clone(), None))
                .collect();
            self.change_custom_metadata(name, &patch).await?;
        }
        match self.write(name, value, Some(current)).await {
            Ok(written) => self.after_put_both(name, &written, &entry, !lost.is_empty()).await.map(Some),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the version has its own record and no other's.
    async fn after_put_both(
        &self,
        name: &SecretName,
        written: &VersionBody,
        entry: &Entry,
        has_record: bool,
    ) -> Result<Metadata> {
        let records = Records::parse(written.custom_metadata.as_ref())?;
        let others = records.at(written.version).filter(|other| other.id != entry.id);
        let mut patch = records.without(others);
        let is_there = records
            .at(written.version)
            .any(|other| other.id == entry.id && other.fits(written.created()));
        if has_record && !is_there {
            patch.extend(with(&entry.clone().settle().encode()?));
        }
        if patch.is_empty() {
            return written.metadata(name);
        }
        self.change_custom_metadata(name, &patch).await?;
        Ok(metadata(name, written.version, written.created(), entry.record.clone()))
    }

    async fn put_metadata(&self, name: &SecretName, request: &PutRequest) -> Result<Metadata> {
        let history = self.present(name).await?;
        let current = base(name, &request.mode, Some(&history))?;
        let before = history.record(current)?;
        let records = history.records()?;
        let record = before.clone().changed(request)?;
        if record == before {
            return history.metadata(name);
        }
        let entry = Entry::settled(current, record);
        let mut patch = records.without_outdated(history.oldest, current);
        patch.append(&mut records.without(records.at(current)));
        patch.extend(with(&entry.encode()?));
        records.check_room(&patch)?;
        self.change_custom_metadata(name, &patch).await?;
        self.present(name).await?.metadata(name)
    }

    async fn write(&self, name: &SecretName, value: &SecretValue, cas: Option<u64>) -> Result<VersionBody> {
        let path = self.place.endpoint("data", name)?;
        let body = Body {
            data: Written::new(value)?,
            options: Options { cas },
        };
        let answer = self.vault.request(Call::post(&path).body(&body)?.refusals(REFUSALS)).await?;
        answer.written()?;
        answer.data()
    }
}

/// The number of the version that a write replaces, zero when there was none.
fn base(name: &SecretName, mode: &PutMode, history: Option<&History>) -> Result<u64> {
    let current = history.map_or(0, |history| history.current);
    let is_live = history.is_some_and(|history| history.state() == State::Live);
    match mode {
        PutMode::Upsert => Ok(current),
        PutMode::Create if is_live => {
            Err(Error::new(ErrorKind::AlreadyExists, "the secret exists already").with("name", name.as_str()))
        }
        PutMode::Create => Ok(current),
        PutMode::Match(_) if !is_live => Err(not_found(name)),
        PutMode::Match(version) if number(version) == Some(current) => Ok(current),
        PutMode::Match(_) => Err(Error::new(ErrorKind::Conflict, "another version is current").with("name", name.as_str())),
    }
}

fn too_busy() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "other writers were faster every time: the secret is written too often",
    )
}
