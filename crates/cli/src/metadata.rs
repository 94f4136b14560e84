//! What is known about a secret, as the command line shows it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use keyfob::{Freshness, Metadata, VersionInfo};
use serde::Serialize;

use crate::time::rfc3339;

/// The JSON of a secret's metadata, the same in every command. Fields are added, never renamed or taken away.
#[derive(Debug, Serialize)]
pub(crate) struct SecretJson<'a> {
    name: &'a str,
    version: Option<&'a str>,
    created: Option<String>,
    updated: Option<String>,
    expires: Option<String>,
    expired: bool,
    deleted: Option<String>,
    description: Option<&'a str>,
    tags: &'a BTreeMap<String, String>,
    store: &'a str,
    freshness: &'static str,
}

impl<'a> SecretJson<'a> {
    pub(crate) fn new(metadata: &'a Metadata) -> Self {
        Self {
            name: metadata.name.as_str(),
            version: metadata.version.as_ref().map(|version| version.as_str()),
            created: metadata.created.map(rfc3339),
            updated: metadata.updated.map(rfc3339),
            expires: metadata.expires_at.map(rfc3339),
            expired: metadata.is_expired(SystemTime::now()),
            deleted: metadata.deleted_at.map(rfc3339),
            description: metadata.description.as_deref(),
            tags: &metadata.tags,
            store: &metadata.origin.store,
            freshness: match metadata.origin.freshness {
                Freshness::Cache => "cache",
                Freshness::Stale => "stale",
                _ => "store",
            },
        }
    }
}

/// The JSON of one version of a secret.
#[derive(Debug, Serialize)]
pub(crate) struct VersionJson<'a> {
    version: &'a str,
    current: bool,
    created: Option<String>,
    expires: Option<String>,
    labels: &'a [String],
}

impl<'a> VersionJson<'a> {
    pub(crate) fn new(version: &'a VersionInfo) -> Self {
        Self {
            version: version.version.as_str(),
            current: version.current,
            created: version.created.map(rfc3339),
            expires: version.expires_at.map(rfc3339),
            labels: &version.labels,
        }
    }
}

/// `key=value` of every tag.
pub(crate) fn tags_line(tags: &BTreeMap<String, String>) -> String {
    let tags: Vec<String> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    tags.join(", ")
}
