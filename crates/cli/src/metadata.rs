//! What is known about a secret, as the command line shows it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use keyfob::{Freshness, Metadata, Origin, PassedOver, Replica, VersionInfo};
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
    #[serde(flatten)]
    origin: OriginJson<'a>,
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
            origin: OriginJson::new(&metadata.origin),
        }
    }
}

/// The JSON of who answered, and of who else was to.
#[derive(Debug, Serialize)]
pub(crate) struct OriginJson<'a> {
    store: &'a str,
    freshness: &'static str,
    /// The label in a failover list.
    member: Option<&'a str>,
    passed_over: Vec<PassedOverJson<'a>>,
    replicas: Vec<ReplicaJson<'a>>,
}

#[derive(Debug, Serialize)]
struct PassedOverJson<'a> {
    store: &'a str,
    member: &'a str,
    kind: &'static str,
    asked: bool,
}

#[derive(Debug, Serialize)]
struct ReplicaJson<'a> {
    store: &'a str,
    member: &'a str,
    version: Option<&'a str>,
    /// The kind of the error for which it does not have the write.
    error: Option<&'static str>,
}

impl<'a> OriginJson<'a> {
    pub(crate) fn new(origin: &'a Origin) -> Self {
        Self {
            store: &origin.store,
            freshness: match origin.freshness {
                Freshness::Cache => "cache",
                Freshness::Stale => "stale",
                _ => "store",
            },
            member: origin.member.as_deref(),
            passed_over: origin.passed_over.iter().map(PassedOverJson::new).collect(),
            replicas: origin.replicas.iter().map(ReplicaJson::new).collect(),
        }
    }
}

impl<'a> PassedOverJson<'a> {
    fn new(passed: &'a PassedOver) -> Self {
        Self {
            store: &passed.store,
            member: &passed.member,
            kind: passed.kind.as_str(),
            asked: passed.asked,
        }
    }
}

impl<'a> ReplicaJson<'a> {
    fn new(replica: &'a Replica) -> Self {
        let written = replica.outcome.as_ref();
        Self {
            store: &replica.store,
            member: &replica.member,
            version: written
                .ok()
                .and_then(|version| version.as_ref())
                .map(|version| version.as_str()),
            error: written.err().map(|kind| kind.as_str()),
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
