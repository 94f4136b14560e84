//! What AWS says about a secret → our metadata.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::primitives::DateTime;
use aws_sdk_secretsmanager::types::Tag;
use keyfob_core::{Metadata, SecretName, Version};

use super::SCHEME;
use crate::stages;

/// What DescribeSecret says.
#[derive(Debug, Clone, Default)]
pub(super) struct Described {
    pub(super) description: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: Option<SystemTime>,
    pub(super) updated: Option<SystemTime>,
    pub(super) deleted_at: Option<SystemTime>,
    /// The labels of each version that has any.
    pub(super) stages: HashMap<String, Vec<String>>,
}

impl Described {
    pub(super) fn of(output: &DescribeSecretOutput) -> Self {
        Self {
            description: description(output.description()),
            tags: tags(output.tags()),
            created: output.created_date().and_then(time),
            updated: output.last_changed_date().and_then(time),
            deleted_at: output.deleted_date().and_then(time),
            stages: output.version_ids_to_stages().cloned().unwrap_or_default(),
        }
    }

    /// The version that is current, and its labels.
    pub(super) fn current(&self) -> Option<(&str, &[String])> {
        current(&self.stages)
    }

    /// Metadata of the current version.
    pub(super) fn metadata(&self, name: &SecretName) -> Metadata {
        let mut metadata = Metadata::new(name.clone(), SCHEME);
        if let Some((version, labels)) = self.current() {
            metadata.version = Version::new(version).ok();
            metadata.expires_at = stages::expiry_of(labels);
        }
        metadata.deleted_at = self.deleted_at;
        self.add_to(&mut metadata);
        metadata
    }

    /// Adds what is said about the secret as a whole.
    pub(super) fn add_to(&self, metadata: &mut Metadata) {
        metadata.description.clone_from(&self.description);
        metadata.tags.clone_from(&self.tags);
        // The service rounds the one and not the other.
        metadata.updated = self.updated.max(metadata.created);
    }
}

pub(super) fn current(stages: &HashMap<String, Vec<String>>) -> Option<(&str, &[String])> {
    stages
        .iter()
        .find(|(_, labels)| labels.iter().any(|label| label == stages::CURRENT))
        .map(|(version, labels)| (version.as_str(), labels.as_slice()))
}

/// AWS has no difference between an empty description and none.
pub(super) fn description(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The tags that people write: `aws:…` belongs to AWS and can't be changed.
pub(super) fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    let pairs = tags
        .iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())));
    pairs.filter(|(key, _)| !key.starts_with("aws:")).collect()
}

pub(super) fn time(time: &DateTime) -> Option<SystemTime> {
    SystemTime::try_from(*time).ok()
}
