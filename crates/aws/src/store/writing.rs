//! `put`.
//!
//! AWS makes a secret with all that belongs to it in one request. A later write is one request for the value and its
//! expiry, one for the description and up to two for the tags, in this order: what is cut off in the middle loses
//! metadata and no value.

use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::types::Tag;
use keyfob_core::{Change, Error, ErrorKind, Metadata, PutMode, PutRequest, Result, SecretName, SecretValue, Version};

use super::metadata::Described;
use super::{Inner, SCHEME};
use crate::error::{Failed, failed, not_found, reserved};
use crate::names::is_given_by_aws;
use crate::stages;

/// After so many rounds of "it is there" and "it isn't" somebody else makes and deletes the secret all the time.
const ROUNDS: usize = 3;

impl Inner {
    pub(super) async fn put(&self, name: &SecretName, request: PutRequest) -> Result<Metadata> {
        if request.mode == PutMode::Create {
            return self.create(name, &request).await;
        }
        for _ in 0..ROUNDS {
            let described = match self.describe(name).await {
                Ok(described) => described,
                Err(failed) if failed.is_not_found() && request.mode == PutMode::Upsert && request.value.is_some() => {
                    match self.create(name, &request).await {
                        // Somebody was faster.
                        Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                        created => return created,
                    }
                }
                Err(failed) => return Err(failed.about(name)),
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
                Some(value) => self.update(name, value, &request, described).await,
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

    async fn create(&self, name: &SecretName, request: &PutRequest) -> Result<Metadata> {
        let version = new_version()?;
        let (text, bytes) = request.value.as_ref().map(sent).unwrap_or_default();
        let tags = set(&request.tags).unwrap_or_default();
        let description = set(&request.description);
        self.client
            .create_secret()
            .name(self.names.id(name))
            .client_request_token(&version)
            .set_secret_string(text)
            .set_secret_binary(bytes)
            .set_description(description.clone())
            .set_tags(Some(tags.iter().map(tag).collect()).filter(|tags: &Vec<Tag>| !tags.is_empty()))
            .send()
            .await
            .map_err(|error| written_on_deleted(failed(error), name))?;
        let mut metadata = Metadata::new(name.clone(), SCHEME);
        metadata.version = Some(Version::new(&version)?);
        metadata.description = description.filter(|text| !text.is_empty());
        metadata.tags = tags;
        if let Some(expires_at) = set(&request.expires_at) {
            let label = stages::expiry_label(expires_at, &version);
            let labelled = self.add_label(name, &label, &version).await;
            labelled.map_err(|failed| partly(failed, name, "the value was written, but not its expiry"))?;
            metadata.expires_at = Some(stages::kept_expiry(expires_at));
        }
        Ok(metadata)
    }

    /// Writes a new version of what is there.
    async fn update(&self, name: &SecretName, value: &SecretValue, request: &PutRequest, before: Described) -> Result<Metadata> {
        let version = new_version()?;
        let expected = match &request.mode {
            PutMode::Match(expected) => Some(expected.as_str()),
            PutMode::Upsert | PutMode::Create => None,
        };
        let present = before.current().and_then(|(_, labels)| stages::expiry_of(labels));
        let expires_at = request.expires_at.clone().apply(present).map(stages::kept_expiry);
        let expiry = expires_at.map(|expires_at| stages::expiry_label(expires_at, &version));
        if expiry.is_some() {
            self.make_room(name, &before).await;
        }
        let first = if expected.is_some() {
            stages::PENDING
        } else {
            stages::CURRENT
        };
        let labels: Vec<String> = std::iter::once(first.to_owned()).chain(expiry.clone()).collect();
        let (text, bytes) = sent(value);
        self.client
            .put_secret_value()
            .secret_id(self.names.id(name))
            .client_request_token(&version)
            .set_secret_string(text)
            .set_secret_binary(bytes)
            .set_version_stages(Some(labels.clone()))
            .send()
            .await
            .map_err(|error| written_on_deleted(failed(error), name))?;
        if let Some(expected) = expected {
            self.make_current(name, &version, expected, &labels).await?;
        }
        let mut metadata = before.metadata(name);
        metadata.version = Some(Version::new(&version)?);
        metadata.expires_at = expires_at;
        metadata.updated = None;
        self.change_metadata(name, request, &before, &mut metadata)
            .await
            .map_err(|failed| partly(failed, name, "the value was written, but not all of its description and tags"))?;
        Ok(metadata)
    }

    /// Moves AWSCURRENT, if it is still where it is expected. AWS checks that, so of many writers one wins.
    async fn make_current(&self, name: &SecretName, version: &str, expected: &str, labels: &[String]) -> Result<()> {
        let moved = self
            .client
            .update_secret_version_stage()
            .secret_id(self.names.id(name))
            .version_stage(stages::CURRENT)
            .move_to_version_id(version)
            .remove_from_version_id(expected)
            .send()
            .await
            .map_err(failed);
        // A lost write gives all its labels back; AWS removes versions without labels by itself.
        let surplus = if moved.is_ok() { &labels[..1] } else { labels };
        for label in surplus {
            if let Err(failed) = self.remove_label(name, label, version).await
                && failed.code() != "InvalidParameterException"
            {
                tracing::warn!(target: "keyfob", name = name.as_str(), label, code = failed.code(), "a staging label is left behind");
            }
        }
        match moved {
            Ok(_) => Ok(()),
            Err(failed) if matches!(failed.code(), "InvalidParameterException" | "ResourceNotFoundException") => {
                Err(another_is_current(name))
            }
            Err(failed) => Err(written_on_deleted(failed, name)),
        }
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
            self.client
                .update_secret()
                .secret_id(&id)
                .description(text)
                .send()
                .await
                .map_err(failed)?;
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
            self.client
                .tag_resource()
                .secret_id(&id)
                .set_tags(Some(added))
                .send()
                .await
                .map_err(failed)?;
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
            request.send().await.map_err(failed)?;
        }
        Ok(())
    }

    async fn add_label(&self, name: &SecretName, label: &str, version: &str) -> Result<(), Failed> {
        let request = self.client.update_secret_version_stage().secret_id(self.names.id(name));
        let request = request.version_stage(label).move_to_version_id(version);
        request.send().await.map(|_| ()).map_err(failed)
    }

    async fn remove_label(&self, name: &SecretName, label: &str, version: &str) -> Result<(), Failed> {
        let request = self.client.update_secret_version_stage().secret_id(self.names.id(name));
        let request = request.version_stage(label).remove_from_version_id(version);
        request.send().await.map(|_| ()).map_err(failed)
    }

    /// Takes the oldest expiry away from versions that are neither current nor previous when a secret has nearly as many
    /// labels as it can have. Their values are history that AWS itself may remove at any time.
    async fn make_room(&self, name: &SecretName, before: &Described) {
        let labels: usize = before.stages.values().map(Vec::len).sum();
        // The write itself adds two: the expiry, and the pending label or one that moves.
        let surplus = (labels + 2).saturating_sub(stages::MAX_LABELS);
        if surplus == 0 {
            return;
        }
        let is_past = |labels: &[String]| {
            !labels
                .iter()
                .any(|label| label == stages::CURRENT || label == stages::PREVIOUS)
        };
        let mut old: Vec<(u64, &str, &str)> = before
            .stages
            .iter()
            .filter(|(_, labels)| is_past(labels))
            .flat_map(|(version, labels)| labels.iter().map(move |label| (version.as_str(), label.as_str())))
            .filter_map(|(version, label)| Some((stages::written(label)?, version, label)))
            .collect();
        old.sort_unstable();
        for (_, version, label) in old.into_iter().take(surplus) {
            // Where this fails, the write will say that there are too many labels.
            if let Err(failed) = self.remove_label(name, label, version).await {
                tracing::warn!(target: "keyfob", name = name.as_str(), label, code = failed.code(), "a staging label can't be removed");
            }
        }
    }
}

/// Checks what the capabilities don't say, before any I/O: nothing may fail when the value is already written.
pub(super) fn check(name: &SecretName, request: &PutRequest) -> Result<()> {
    check_own(name)?;
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidInput, message).with("name", name.as_str()));
    if let Change::Set(text) = &request.description
        && text.chars().count() > MAX_DESCRIPTION
    {
        return invalid(format!(
            "the description has {} characters, AWS takes {MAX_DESCRIPTION}",
            text.chars().count()
        ));
    }
    let Change::Set(tags) = &request.tags else { return Ok(()) };
    for (key, value) in tags {
        let shown = key.escape_debug();
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return invalid(format!(
                "the tag `{shown:.40}` is too long or has no name: AWS takes 128 characters, and 256 in its value"
            ));
        }
        if key.starts_with("aws:") {
            return invalid(format!("the tag `{shown}` begins with `aws:`, which belongs to AWS"));
        }
        if !key.chars().chain(value.chars()).all(is_tag_char) {
            return invalid(format!(
                "the tag `{shown}` has a character that AWS doesn't take: letters, digits, spaces and `_.:/=+-@`"
            ));
        }
    }
    Ok(())
}

/// Refuses to write what AWS has named.
pub(super) fn check_own(name: &SecretName) -> Result<()> {
    if is_given_by_aws(name) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "an ARN, and a name that AWS gives itself, can be read and not written",
        )
        .with("name", name.as_str()));
    }
    Ok(())
}

const MAX_DESCRIPTION: usize = 2048;

/// <https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html>
fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c)
}

fn set<T: Clone>(change: &Change<T>) -> Option<T> {
    match change {
        Change::Set(new) => Some(new.clone()),
        Change::Keep | Change::Clear => None,
    }
}

/// A value as AWS takes it: text as text, so that the console and other tools can show it, everything else as bytes.
fn sent(value: &SecretValue) -> (Option<String>, Option<Blob>) {
    match value.expose_str() {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(Blob::new(value.expose_secret()))),
    }
}

fn tag((key, value): (&String, &String)) -> Tag {
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

fn another_is_current(name: &SecretName) -> Error {
    Error::new(ErrorKind::Conflict, "another version is current")
        .with("name", name.as_str())
        .with("store", SCHEME)
}

fn written_on_deleted(failed: Failed, name: &SecretName) -> Error {
    if failed.is_deleted {
        reserved(name)
    } else {
        failed.about(name)
    }
}

/// The first part of a write is done, a later one failed.
fn partly(failed: Failed, name: &SecretName, what: &'static str) -> Error {
    let error = failed.about(name);
    Error::new(error.kind(), what)
        .with("name", name.as_str())
        .with("store", SCHEME)
        .with_source(error)
        .with_hint("write it again")
}
