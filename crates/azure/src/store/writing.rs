//! `put`.
//!
//! A new version and a change of metadata are one request each, after one that reads what is there: who wrote it, and what
//! the new version carries over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyfob_core::{Change, Error, Metadata, PutRequest, Result, SecretName, SecretValue};

use super::finding::{Found, Place, in_the_way};
use super::{Inner, limits};
use crate::client::{Changed, Record, Tags, Told, Written, never};
use crate::error::{Failed, deleted, managed, not_found, reserved};
use crate::names::AzureName;

impl Inner {
    pub(super) async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        let Place { name: place, found } = self.look(name).await.map_err(|failed| failed.about(name))?;
        let before = match found {
            Found::It(before) => Some(before),
            Found::Another(told) => return Err(in_the_way(name, &told)),
            Found::Nothing => None,
        };
        if before.as_ref().is_some_and(|before| before.is_managed) {
            return Err(managed(name));
        }
        match (request.value.clone(), before) {
            (Some(value), before) => self.write(name, &place, value, request, before).await,
            (None, Some(before)) => self.change(name, &place, request, before).await,
            (None, None) => Err(match self.missing(name).await {
                error if error.hint().is_some() => reserved(name),
                error => error,
            }),
        }
    }

    /// Makes a new version, and with it the secret if there is none.
    async fn write(
        &self,
        name: &SecretName,
        place: &AzureName,
        value: SecretValue,
        request: PutRequest,
        before: Option<Told>,
    ) -> Result<Metadata> {
        if before.is_none() {
            self.check_free(name).await?;
        }
        let present = before.as_ref().and_then(|before| before.expires_at);
        let expires_at = request.expires_at.clone().apply(present).map(whole_seconds);
        let tags = self.tags(name, &request, before.as_ref())?;
        let written = Written {
            value,
            tags,
            content_type: before.as_ref().and_then(|before| before.content_type.clone()),
            expires_at,
        };
        let told = self.set(place, written).await;
        Ok(told.map_err(|failed| written_on_deleted(failed, name))?.metadata(name))
    }

    /// Writes. What this store has just purged itself has to be gone first, which Azure can't be asked: the name is free
    /// when a write is no longer refused.
    async fn set(&self, place: &AzureName, written: Written) -> Result<Told, Failed> {
        let mut pauses = self.purged.until_free(place, self.recovery_timeout);
        loop {
            match (self.vault.set(place, written.clone()).await, pauses.as_mut()) {
                (Err(failed), Some(pauses)) if failed.is_being_deleted() => {
                    if !pauses.pause().await {
                        return Err(failed);
                    }
                }
                (Ok(told), _) => {
                    self.purged.forget(place);
                    return Ok(told);
                }
                (Err(failed), _) => return Err(failed),
            }
        }
    }

    /// Changes the metadata of the current version.
    async fn change(&self, name: &SecretName, place: &AzureName, request: PutRequest, before: Told) -> Result<Metadata> {
        let Some(version) = &before.version else {
            return Err(not_found(name));
        };
        let tags = self.tags(name, &request, Some(&before))?;
        let expires_at = match request.expires_at {
            Change::Keep => None,
            Change::Set(at) => Some(whole_seconds(at)),
            // Azure can't take an expiry away.
            Change::Clear => before.expires_at.map(|_| never()),
        };
        let changed = Changed { tags, expires_at };
        let told = self.vault.update(place, version, changed).await;
        Ok(told.map_err(|failed| written_on_deleted(failed, name))?.metadata(name))
    }

    /// All tags after the write: those of the caller or those that are there, and the record.
    fn tags(&self, name: &SecretName, request: &PutRequest, before: Option<&Told>) -> Result<Tags> {
        let present = before.map(|before| before.tags.clone());
        let tags = request.tags.clone().apply(present).unwrap_or_default();
        let description = before.and_then(|before| before.record.description.clone());
        let last = before.and_then(|before| before.record.written);
        let record = Record {
            name: Some(self.names.full(name)),
            written: match &request.value {
                Some(_) => Some(now().max(last.map_or(0, |last| last.saturating_add(1)))),
                None => last,
            },
            description: request.description.clone().apply(description),
        };
        let tags = record.join(tags);
        limits::check_all(name, &tags)?;
        Ok(tags)
    }

    /// Refuses to make a secret anew while the same one, made by another tool, is deleted and can be restored: there
    /// would be two of that name. Where it would stand in the same place, the vault itself refuses.
    async fn check_free(&self, name: &SecretName) -> Result<()> {
        let Some(foreign) = self.places(name)?.foreign else {
            return Ok(());
        };
        match self.vault.deleted(&foreign).await {
            Ok(told) if self.is_it(name, &foreign, &told) => Err(reserved(name)),
            // Who may not look there writes all the same.
            _ => Ok(()),
        }
    }
}

/// Between the look and the write somebody deleted it.
fn written_on_deleted(failed: Failed, name: &SecretName) -> Error {
    match failed.is_not_found() {
        true => deleted(name),
        false => failed.about(name),
    }
}

/// Never later than asked for.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
