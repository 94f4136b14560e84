//! `get`, and the requests that every read is made of.

use std::time::SystemTime;

use aws_sdk_secretsmanager::primitives::{Blob, DateTime};
use futures_util::future::join;
use keyfob_core::{
    Error, ErrorKind, Expired, GetOptions, Metadata, Result, Secret, SecretName, SecretValue, Version, VersionSelector,
};

use super::metadata::{Described, time};
use super::{Inner, SCHEME};
use crate::error::{Failed, confirm, deleted, failed, incomprehensible, not_found};
use crate::stages;

impl Inner {
    /// Value and metadata stand in two answers; both are asked for at once.
    pub(super) async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        // A write that hangs must not keep a read from its own time limit.
        let _whole = tokio::time::timeout(self.timeout, self.locks.of(name).read_owned()).await;
        let (value, described) = join(self.value(name, &options.version), self.describe(name)).await;
        let mut secret = match (value, &described) {
            (Err(error), Ok(described)) if error.kind() == ErrorKind::NotFound => {
                return Err(explain_missing(error, described, name));
            }
            (value, _) => value?,
        };
        match described {
            Ok(described) => described.add_to(secret.metadata_mut()),
            // Who may only read values gets values. The expiry has come with it.
            Err(failed) if failed.is_denied() => {
                tracing::debug!(target: "keyfob", name = name.as_str(), "description and tags are left out: DescribeSecret is not allowed");
            }
            // Deleted in between.
            Err(failed) if failed.is_not_found() => {}
            Err(failed) => return Err(failed.about(name)),
        }
        unexpired(secret, options)
    }

    /// The value, with what comes in the same answer: version, time of creation, expiry.
    pub(super) async fn value(&self, name: &SecretName, version: &VersionSelector) -> Result<Secret> {
        let id = self.names.id(name);
        let request = self.client.get_secret_value().secret_id(&id);
        let request = match version {
            VersionSelector::Current => request.version_stage(stages::CURRENT),
            VersionSelector::Previous => request.version_stage(stages::PREVIOUS),
            VersionSelector::Exact(version) if is_version_id(version) => request.version_id(version.as_str()),
            VersionSelector::Exact(label) => request.version_stage(label.as_str()),
        };
        let answer = request.send().await.map_err(|error| {
            let failed = failed(error);
            match version {
                VersionSelector::Current => failed.about(name),
                _ if failed.is_not_found() => no_such_version(name, version),
                // A version that can't be one is none.
                _ if failed.code() == "InvalidParameterException" || failed.code() == "ValidationException" => {
                    no_such_version(name, version)
                }
                _ => failed.about(name),
            }
        })?;
        if answer.name() != Some(&id) && answer.arn() != Some(&id) {
            return Err(Error::new(ErrorKind::Corrupt, "the answer is about another secret")
                .with("name", name.as_str())
                .with("store", SCHEME));
        }
        let told = Told {
            version: answer.version_id.as_deref(),
            created: answer.created_date.as_ref(),
            labels: answer.version_stages.as_deref().unwrap_or_default(),
        };
        let metadata = told.metadata(name)?;
        Ok(Secret::new(
            value(name, answer.secret_string, answer.secret_binary)?,
            metadata,
        ))
    }

    pub(super) async fn describe(&self, name: &SecretName) -> Result<Described, Failed> {
        let id = self.names.id(name);
        let answer = self.client.describe_secret().secret_id(&id).send().await.map_err(failed)?;
        confirm(&id, answer.name(), answer.arn())?;
        Ok(Described::of(&answer))
    }
}

/// What an answer with a value tells about it.
pub(super) struct Told<'a> {
    pub(super) version: Option<&'a str>,
    pub(super) created: Option<&'a DateTime>,
    pub(super) labels: &'a [String],
}

impl Told<'_> {
    pub(super) fn metadata(&self, name: &SecretName) -> Result<Metadata> {
        let version = self
            .version
            .ok_or_else(|| incomprehensible().with("name", name.as_str()).with("store", SCHEME))?;
        let mut metadata = Metadata::new(name.clone(), SCHEME);
        metadata.version = Some(Version::new(version)?);
        metadata.created = self.created.and_then(time);
        metadata.expires_at = stages::expiry_of(self.labels);
        Ok(metadata)
    }
}

/// The value from an answer, without a further copy of its bytes.
pub(super) fn value(name: &SecretName, text: Option<String>, bytes: Option<Blob>) -> Result<SecretValue> {
    match (text, bytes) {
        (Some(text), _) => Ok(SecretValue::from(text)),
        (None, Some(bytes)) => Ok(SecretValue::new(bytes.into_inner())),
        (None, None) => Err(incomprehensible().with("name", name.as_str()).with("store", SCHEME)),
    }
}

/// Refuses what has expired, unless the caller wants it all the same.
pub(super) fn unexpired(secret: Secret, options: &GetOptions) -> Result<Secret> {
    if options.expired == Expired::Refuse && secret.metadata.is_expired(SystemTime::now()) {
        return Err(Error::new(ErrorKind::Expired, "the secret has expired")
            .with("name", secret.metadata.name.as_str())
            .with("store", SCHEME));
    }
    Ok(secret)
}

/// Whether a version is meant by its id, and not by a staging label: ids are the tokens under which versions were written, 32
/// to 64 letters, digits and `-`.
#[must_use]
pub fn is_version_id(version: &Version) -> bool {
    let text = version.as_str();
    (32..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn no_such_version(name: &SecretName, version: &VersionSelector) -> Error {
    Error::new(ErrorKind::NotFound, "no such version")
        .with("name", name.as_str())
        .with("version", version.to_string())
        .with("store", SCHEME)
}

/// A missing secret, a deleted one and one without a value have the same code.
fn explain_missing(error: Error, described: &Described, name: &SecretName) -> Error {
    if described.deleted_at.is_some() {
        deleted(name)
    } else if described.current().is_none() {
        not_found(name).with_hint("there is a secret of that name, and it has no value yet")
    } else {
        error
    }
}
