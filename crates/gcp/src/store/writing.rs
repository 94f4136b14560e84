//! `put`.
//!
//! A value is one request, annotations and labels another. Annotations come first, so that no value ever stands there
//! without its expiry: it is noted for the number that the next version will have.

use std::time::SystemTime;

use keyfob_core::{Change, Error, ErrorKind, Metadata, PutMode, PutRequest, Result, SecretName, SecretValue, Version};

use super::limits::check_notes;
use super::requests::{Described, Listed};
use super::{Inner, SCHEME};
use crate::error::{Failed, not_found, overtaken, reserved, with_facts_of, without_value};
use crate::notes::{Notes, kept_expiry};

/// After so many rounds others change the secret all the time.
pub(super) const ROUNDS: usize = 10;
/// The same where a value is written already, and its expiry must follow.
const MANY_ROUNDS: usize = 50;

impl Inner {
    pub(super) async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        for _ in 0..ROUNDS {
            let step = match (&request.mode, &request.value) {
                (PutMode::Create, Some(value)) => self.create(name, value, &request).await?,
                _ => match (self.describe(name).await, &request.value) {
                    (Ok(described), _) if described.notes.deletion.is_some() => return Err(reserved(name)),
                    (Ok(described), Some(value)) => self.update(name, value, &request, described).await?,
                    (Ok(described), None) => self.change(name, &request, described).await?,
                    (Err(failed), Some(value)) if failed.is_not_found() => {
                        match self.create(name, value, &request).await {
                            // Somebody was faster.
                            Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                            created => created?,
                        }
                    }
                    (Err(failed), _) => return Err(failed.about(name)),
                },
            };
            if let Some(metadata) = step {
                return Ok(metadata);
            }
        }
        Err(overtaken(name))
    }

    /// Writes a new version of what is there; `None` when somebody was faster and it has to begin again.
    async fn update(
        &self,
        name: &SecretName,
        value: &SecretValue,
        request: &PutRequest,
        before: Described,
    ) -> Result<Option<Metadata>> {
        let mut notes = with_changes(&before.notes, request);
        let mut next = None;
        if !request.expires_at.is_keep() || !notes.expiries.is_empty() {
            let newest = self.newest(name).await.map_err(|failed| failed.about(name))?;
            let number = newest.map_or(0, |newest| newest.number);
            let now = SystemTime::now();
            if !before.is_being_written(now, self.timeout) {
                notes.expiries.forget_after(number);
            }
            let current = self.current_number(name, newest).await?;
            let present = current.and_then(|current| notes.expiries.of(current));
            let expires_at = request.expires_at.clone().apply(present);
            // Another process may have noted something for the very next.
            let number = number.max(notes.expiries.last_version()) + 1;
            notes.expiries.set(number, expires_at);
            if !notes.expiries.is_empty() {
                notes.begun = Some(now);
                next = Some((number, expires_at));
            }
        }
        if notes != before.notes {
            check_notes(name, &notes)?;
            match self.write_notes(name, &notes, &before.etag).await {
                Err(failed) if failed.is_overtaken() => return Ok(None),
                written => written.map_err(|failed| failed.about(name))?,
            };
        }
        let is_changed = notes != before.notes;
        let added = self.add(name, value).await.map_err(|failed| match is_changed {
            true => partly(failed, name),
            false => failed.about(name),
        })?;
        let expires_at = next.and_then(|(_, expires_at)| expires_at);
        if next.is_some_and(|(expected, _)| expected != added.number) {
            self.note_expiry(name, added.number, expires_at).await?;
        }
        Ok(Some(metadata(name, &notes, added, expires_at.map(kept_expiry))))
    }

    /// Changes the metadata of the current version; `None` as above.
    async fn change(&self, name: &SecretName, request: &PutRequest, before: Described) -> Result<Option<Metadata>> {
        let newest = self.newest(name).await.map_err(|failed| failed.about(name))?;
        let current = self.current_number(name, newest).await?.ok_or_else(|| without_value(name))?;
        let mut notes = with_changes(&before.notes, request);
        notes.expiries.forget_after(newest.map_or(0, |newest| newest.number));
        let expires_at = request.expires_at.clone().apply(notes.expiries.of(current));
        if !request.expires_at.is_keep() {
            notes.expiries.set(current, expires_at);
        }
        if notes != before.notes {
            check_notes(name, &notes)?;
            match self.write_notes(name, &notes, &before.etag).await {
                Err(failed) if failed.is_overtaken() => return Ok(None),
                written => written.map_err(|failed| failed.about(name))?,
            };
        }
        let mut changed = Metadata::new(name.clone(), SCHEME);
        changed.version = Some(Version::from(current));
        notes.add_to(&mut changed, current);
        Ok(Some(changed))
    }

    /// The number of the newest version that is enabled.
    pub(super) async fn current_number(&self, name: &SecretName, newest: Option<Listed>) -> Result<Option<u64>> {
        match newest {
            None => Ok(None),
            Some(newest) if newest.is_enabled => Ok(Some(newest.number)),
            Some(_) => {
                let enabled = self.all_versions(name, true).await.map_err(|failed| failed.about(name))?;
                Ok(enabled.first().map(|version| version.number))
            }
        }
    }

    /// The value became another version than its expiry was noted for, because another process wrote at the same time. What
    /// is noted for other versions stays: nobody knows whose it is by now, and too early an expiry does less harm than none.
    pub(super) async fn note_expiry(&self, name: &SecretName, version: u64, expires_at: Option<SystemTime>) -> Result<()> {
        for _ in 0..MANY_ROUNDS {
            let described = self.describe(name).await.map_err(|failed| partly(failed, name))?;
            let mut notes = described.notes.clone();
            notes.expiries.set(version, expires_at);
            if notes == described.notes {
                return Ok(());
            }
            match self.write_notes(name, &notes, &described.etag).await {
                Err(failed) if failed.is_overtaken() => {}
                written => return written.map(drop).map_err(|failed| partly(failed, name)),
            }
        }
        Err(overtaken(name))
    }
}

/// Description and tags as they are to be.
pub(super) fn with_changes(before: &Notes, request: &PutRequest) -> Notes {
    let mut notes = before.clone();
    let description = request.description.clone().apply(notes.description.take());
    notes.description = description.filter(|text| !text.is_empty());
    notes.tags = match &request.tags {
        Change::Keep => notes.tags,
        change => change.clone().apply(None).unwrap_or_default(),
    };
    notes
}

/// What a write says afterwards.
pub(super) fn metadata(name: &SecretName, notes: &Notes, added: Listed, expires_at: Option<SystemTime>) -> Metadata {
    let mut metadata = Metadata::new(name.clone(), SCHEME);
    metadata.version = Some(Version::from(added.number));
    metadata.created = added.created;
    metadata.description.clone_from(&notes.description);
    metadata.tags.clone_from(&notes.tags);
    metadata.expires_at = expires_at;
    metadata
}

/// A part of a write is done, another failed.
pub(super) fn partly(failed: Failed, name: &SecretName) -> Error {
    if failed.is_not_found() {
        return not_found(name).with_hint("somebody deleted it at the same time");
    }
    let below = failed.about(name);
    let message = match below.kind() {
        ErrorKind::Timeout => "of a write to value and metadata only a part may have happened",
        _ => "of a write to value and metadata only a part was done",
    };
    let error = Error::new(below.kind(), message);
    let error = with_facts_of(error, &below);
    let error = match below.retry_after() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    };
    let hint = match (below.kind(), below.hint()) {
        // Written again it would fail again, or perhaps be there twice.
        (ErrorKind::PermissionDenied | ErrorKind::Timeout, Some(hint)) => hint.to_owned(),
        _ => "write it again".to_owned(),
    };
    error.with_source(below).with_hint(hint)
}
