//! `put`.
//!
//! A write to what is there is one request for the value and its expiry, one for the description and up to two for the
//! tags, in this order: what is cut off in the middle loses metadata and no value.

use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::Tag;
use keyfob_core::{Change, Error, ErrorKind, Metadata, PutMode, PutRequest, Result, SecretName, SecretValue, Version};

use super::metadata::Described;
use super::{Inner, SCHEME};
use crate::error::{Failed, confirm, failed_write, not_found, reserved, with_facts_of};
use crate::http::EmptyAnswer;
use crate::stages;

/// After so many rounds of "it is there" and "it isn't" somebody else makes and deletes the secret all the time.
const ROUNDS: usize = 3;

impl Inner {
    pub(super) async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if let (PutMode::Create, Some(value)) = (&request.mode, &request.value) {
            return self.create(name, value, &request).await;
        }
        for _ in 0..ROUNDS {
            let described = match (self.describe(name).await, &request.value) {
                (Ok(described), _) => described,
                (Err(failed), Some(value)) if failed.is_not_found() && request.mode == PutMode::Upsert => {
                    match self.create(name, value, &request).await {
                        // Somebody was faster.
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                        created => return created,
                    }
                }
                (Err(failed), _) => return Err(failed.about(name)),
            };
            if described.deleted_at.is_some() {
                return Err(reserved(name));
            }
            if let PutMode::Match(expected) = &request.mode {
                match described.current() {
                    None => return Err(not_found(name).with_hint("there is a secret of that name, and it has no value yet")),
                    Some((current, _)) if current != expected.as_str() => return Err(another_is_current(name)),
                    Some(_) => {}
                }
            }
            return match &request.value {
                Some(value) => self.update(name, new_version()?, value, &request, described).await,
                None => self.change(name, &request, described).await,
            };
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the secret is made and deleted by somebody else at the same time",
        )
        .with("name", name.as_str())
        .with("store", SCHEME))
    }

    /// Writes a new version of what is there.
    pub(super) async fn update(
        &self,
        name: &SecretName,
        version: String,
        value: &SecretValue,
        request: &PutRequest,
        before: Described,
    ) -> Result<Metadata> {
        let expected = match &request.mode {
            PutMode::Match(expected) => Some(expected.as_str()),
            PutMode::Upsert | PutMode::Create => None,
        };
        let present = before.current().and_then(|(_, labels)| stages::expiry_of(labels));
        let expires_at = request.expires_at.clone().apply(present).map(stages::kept_expiry);
        let expiry = expires_at.map(|expires_at| stages::expiry_label(expires_at, &version));
        if expiry.is_some() || expected.is_some() {
            self.make_room(name, &before).await;
        }
        let first = match expected {
            Some(_) => stages::pending_label(&version),
            None => stages::CURRENT.to_owned(),
        };
        let labels: Vec<String> = std::iter::once(first).chain(expiry).collect();
        self.put_value(name, &version, value, labels.clone()).await?;
        if let Some(expected) = expected {
            self.make_current(name, &version, expected, &labels).await?;
        }
        self.end_waiting(name, &before).await;
        let mut metadata = before.metadata(name);
        metadata.version = Some(Version::new(&version)?);
        metadata.expires_at = expires_at;
        metadata.updated = None;
        self.change_metadata(name, request, &before, &mut metadata)
            .await
            .map_err(|failed| partly(failed, name, "the value was written, but not all of its description and tags"))?;
        Ok(metadata)
    }

    /// Writes a value under these labels, in one request.
    pub(super) async fn put_value(
        &self,
        name: &SecretName,
        version: &str,
        value: &SecretValue,
        labels: Vec<String>,
    ) -> Result<()> {
        let (text, bytes) = sent(value);
        let answer = self
            .client
            .put_secret_value()
            .secret_id(self.names.id(name))
            .client_request_token(version)
            .set_secret_string(text)
            .set_secret_binary(bytes)
            .set_version_stages(Some(labels))
            .send()
            .await
            .map_err(|error| written_on_deleted(failed_write(error), name))?;
        confirm_version(version, answer.version_id()).map_err(|failed| failed.about(name))
    }

    /// Changes the metadata of the current version.
    async fn change(&self, name: &SecretName, request: &PutRequest, before: Described) -> Result<Metadata> {
        let Some((version, labels)) = before.current() else {
            return Err(not_found(name).with_hint("there is a secret of that name, and it has no value yet"));
        };
        let mut metadata = before.metadata(name);
        metadata.updated = None;
        let about = |failed: Failed| written_on_deleted(failed, name);
        if !request.expires_at.is_keep() {
            let new = set(&request.expires_at);
            if let Some(expires_at) = new {
                self.make_room(name, &before).await;
                let label = stages::expiry_label(expires_at, version);
                self.add_label(name, &label, version).await.map_err(about)?;
            }
            // The new one counts already, as it was written last.
            for label in labels.iter().filter(|label| stages::is_expiry(label)) {
                self.remove_label(name, label, version).await.map_err(about)?;
            }
            metadata.expires_at = new.map(stages::kept_expiry);
        }
        self.change_metadata(name, request, &before, &mut metadata)
            .await
            .map_err(about)?;
        Ok(metadata)
    }

    /// Description and tags.
    async fn change_metadata(
        &self,
        name: &SecretName,
        request: &PutRequest,
        before: &Described,
        metadata: &mut Metadata,
    ) -> Result<(), Failed> {
        let id = self.names.id(name);
        let description = request
            .description
            .clone()
            .apply(before.description.clone())
            .filter(|text| !text.is_empty());
        if description != before.description {
            let text = description.clone().unwrap_or_default();
            let request = self.client.update_secret().secret_id(&id).description(text);
            let answer = request.send().await.map_err(failed_write)?;
            confirm(&id, answer.name(), answer.arn())?;
        }
        metadata.description = description;
        let tags = request.tags.clone().apply(Some(before.tags.clone())).unwrap_or_default();
        let added: Vec<Tag> = tags
            .iter()
            .filter(|(key, value)| before.tags.get(*key) != Some(value))
            .map(tag)
            .collect();
        let removed: Vec<String> = before.tags.keys().filter(|key| !tags.contains_key(*key)).cloned().collect();
        // Both sets together may be more than AWS takes.
        let removes_first = before.tags.len() + added.len() > self.capabilities.max_tags;
        if removes_first {
            self.remove_tags(&id, &removed).await?;
        }
        if !added.is_empty() {
            let request = self.client.tag_resource().secret_id(&id).set_tags(Some(added));
            request
                .customize()
                .interceptor(EmptyAnswer)
                .send()
                .await
                .map_err(failed_write)?;
        }
        if !removes_first {
            self.remove_tags(&id, &removed).await?;
        }
        metadata.tags = tags;
        Ok(())
    }

    async fn remove_tags(&self, id: &str, keys: &[String]) -> Result<(), Failed> {
        if !keys.is_empty() {
            let request = self.client.untag_resource().secret_id(id).set_tag_keys(Some(keys.to_vec()));
            request
                .customize()
                .interceptor(EmptyAnswer)
                .send()
                .await
                .map_err(failed_write)?;
        }
        Ok(())
    }
}

pub(super) fn set<T: Clone>(change: &Change<T>) -> Option<T> {
    match change {
        Change::Set(new) => Some(new.clone()),
        Change::Keep | Change::Clear => None,
    }
}

/// A value as AWS takes it: text as text, so that the console and other tools can show it, everything else as bytes.
pub(super) fn sent(value: &SecretValue) -> (Option<String>, Option<Blob>) {
    match value.expose_str() {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(Blob::new(value.expose_secret()))),
    }
}

pub(super) fn tag((key, value): (&String, &String)) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// A random UUID. It is the idempotency token of the write and becomes the version's id.
pub(super) fn new_version() -> Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| Error::new(ErrorKind::Other, "the system has no random numbers"))?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

pub(super) fn another_is_current(name: &SecretName) -> Error {
    Error::new(ErrorKind::Conflict, "another version is current")
        .with("name", name.as_str())
        .with("store", SCHEME)
}

pub(super) fn written_on_deleted(failed: Failed, name: &SecretName) -> Error {
    if failed.is_deleted {
        reserved(name)
    } else {
        failed.about(name)
    }
}

/// The version that was asked for is the one that was made.
pub(super) fn confirm_version(asked: &str, made: Option<&str>) -> Result<(), Failed> {
    confirm(asked, made, None)
}

/// The first part of a write is done, a later one failed.
fn partly(failed: Failed, name: &SecretName, what: &'static str) -> Error {
    let error = failed.about(name);
    with_facts_of(Error::new(error.kind(), what), &error)
        .with_source(error)
        .with_hint("write it again")
}
