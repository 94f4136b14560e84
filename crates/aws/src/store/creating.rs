//! `put` of a secret that is not there.
//!
//! AWS makes a secret with value, description and tags in one request. An expiry is a label, which that request can't
//! set: such a secret is made without a value, and the value comes with its expiry in a second request. So no value ever
//! stands there without its expiry. What is broken off between the two is a secret that has no value, which the next
//! write completes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_secretsmanager::types::Tag;
use keyfob_core::{Error, ErrorKind, Metadata, PutRequest, Result, SecretName, SecretValue, Version};

use super::metadata::Described;
use super::writing::{confirm_version, new_version, sent, set, tag, written_on_deleted};
use super::{Inner, SCHEME};
use crate::error::{confirm, failed_write};
use crate::stages;

/// A secret that has had no value for so long is what a broken-off write left behind; its second request would have come
/// by now.
const ABANDONED: Duration = Duration::from_secs(60);

impl Inner {
    pub(super) async fn create(&self, name: &SecretName, value: &SecretValue, request: &PutRequest) -> Result<Metadata> {
        let version = new_version()?;
        let expires_at = set(&request.expires_at);
        let tags = set(&request.tags).unwrap_or_default();
        let description = set(&request.description);
        let id = self.names.id(name);
        let mut create = self
            .client
            .create_secret()
            .name(&id)
            .set_description(description.clone())
            .set_tags(Some(tags.iter().map(tag).collect()).filter(|tags: &Vec<Tag>| !tags.is_empty()));
        if expires_at.is_none() {
            let (text, bytes) = sent(value);
            create = create
                .client_request_token(&version)
                .set_secret_string(text)
                .set_secret_binary(bytes);
        }
        let answer = match create.send().await.map_err(failed_write) {
            Ok(answer) => answer,
            Err(failed) if failed.code() == "ResourceExistsException" => {
                return match self.take_over(name, value, request).await? {
                    Some(metadata) => Ok(metadata),
                    None => Err(written_on_deleted(failed, name)),
                };
            }
            Err(failed) => return Err(written_on_deleted(failed, name)),
        };
        if let Some(expires_at) = expires_at {
            confirm(&id, answer.name(), answer.arn()).map_err(|failed| failed.about(name))?;
            let labels = vec![stages::CURRENT.to_owned(), stages::expiry_label(expires_at, &version)];
            self.put_value(name, &version, value, labels).await?;
        } else {
            confirm_version(&version, answer.version_id()).map_err(|failed| failed.about(name))?;
        }
        let mut metadata = Metadata::new(name.clone(), SCHEME);
        metadata.version = Some(Version::new(&version)?);
        metadata.description = description.filter(|text| !text.is_empty());
        metadata.tags = tags;
        metadata.expires_at = expires_at.map(stages::kept_expiry);
        Ok(metadata)
    }

    /// Completes a secret that a broken-off write left without a value; `None` when it is not such a one.
    async fn take_over(&self, name: &SecretName, value: &SecretValue, request: &PutRequest) -> Result<Option<Metadata>> {
        let Ok(described) = self.describe(name).await else {
            return Ok(None);
        };
        let Some(version) = version_of_the_abandoned(&described, SystemTime::now()) else {
            if described.current().is_none() && described.deleted_at.is_none() {
                let begun = Error::new(ErrorKind::AlreadyExists, "another write has begun to make the secret");
                return Err(begun
                    .with("name", name.as_str())
                    .with("store", SCHEME)
                    .with_hint("if that write was broken off, the secret can be completed in a minute: try again then"));
            }
            return Ok(None);
        };
        self.update(name, version, value, request, described).await.map(Some)
    }
}

/// The version that completes an abandoned secret: the same for all who try, so that AWS lets one of them win.
fn version_of_the_abandoned(described: &Described, now: SystemTime) -> Option<String> {
    let created = described.created?;
    let is_abandoned = described.current().is_none()
        && described.deleted_at.is_none()
        && now.duration_since(created).is_ok_and(|age| age > ABANDONED);
    let moment = created.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    is_abandoned.then(|| format!("keyfob-completes-{moment:020}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_had_no_value_for_long_is_abandoned() {
        let created = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let empty = Described {
            created: Some(created),
            ..Described::default()
        };
        let version = version_of_the_abandoned(&empty, created + ABANDONED * 2).unwrap();
        assert!((32..=64).contains(&version.len()), "{version}");
        assert_eq!(version_of_the_abandoned(&empty, created + ABANDONED * 3), Some(version));
        assert_eq!(version_of_the_abandoned(&empty, created + ABANDONED / 2), None);
        let mut with_value = empty.clone();
        with_value.stages.insert("v".to_owned(), vec![stages::CURRENT.to_owned()]);
        assert_eq!(version_of_the_abandoned(&with_value, created + ABANDONED * 2), None);
        let mut deleted = empty;
        deleted.deleted_at = Some(created);
        assert_eq!(version_of_the_abandoned(&deleted, created + ABANDONED * 2), None);
    }
}
