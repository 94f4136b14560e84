//! `get`, and how each kind of version is found.

use std::time::SystemTime;

use futures_util::future::join;
use keyfob_core::{Error, ErrorKind, Expired, GetOptions, Metadata, Result, Secret, SecretName, Version, VersionSelector};

use super::requests::{Accessed, Described};
use super::{Inner, SCHEME};
use crate::error::{Failed, about, deleted, not_found, with_facts_of, without_value};
use crate::notes::Notes;

/// The alias that Google itself knows. It is the newest version, whether it is enabled or not.
const LATEST: &str = "latest";

impl Inner {
    /// Value and annotations stand in two answers; both are asked for at once.
    pub(super) async fn get(&self, name: &SecretName, options: &GetOptions) -> Result<Secret> {
        let lock = self.locks.of(name);
        // A write that hangs must not keep a read from its own time limit.
        let _whole = tokio::time::timeout(self.timeout, lock.read()).await;
        let (value, described) = join(self.value(name, &options.version), self.describe_if_allowed(name)).await;
        let described = described.map_err(|failed| failed.about(name))?;
        let (number, mut secret) = match (value, &described) {
            (Err(error), Some(described)) if error.kind() == ErrorKind::NotFound => {
                return Err(explain_missing(error, described, name, &options.version));
            }
            (value, _) => value?,
        };
        if let Some(described) = described {
            described.notes.add_to(secret.metadata_mut(), number);
            obey(&described.notes, name)?;
        }
        unexpired(secret, options)
    }

    /// Who may only read values gets values.
    pub(super) async fn describe_if_allowed(&self, name: &SecretName) -> Result<Option<Described>, Failed> {
        if self.denied.is_annotations_of(name) {
            return Ok(None);
        }
        match self.describe(name).await {
            Ok(described) => Ok(Some(described)),
            Err(failed) if failed.is_denied() => {
                self.denied.annotations_of(name);
                Ok(None)
            }
            Err(failed) => Err(failed),
        }
    }

    /// The value, with its number.
    pub(super) async fn value(&self, name: &SecretName, version: &VersionSelector) -> Result<(u64, Secret)> {
        let accessed = match version {
            VersionSelector::Current => self.current(name).await?,
            VersionSelector::Previous => self.previous(name).await?,
            VersionSelector::Exact(exact) => self.exact(name, exact).await?,
        };
        let mut metadata = Metadata::new(name.clone(), SCHEME);
        metadata.version = Some(Version::from(accessed.number));
        Ok((accessed.number, Secret::new(accessed.value, metadata)))
    }

    /// The newest version that is enabled: one request when it is the newest of all.
    async fn current(&self, name: &SecretName) -> Result<Accessed> {
        match self.access(name, LATEST).await {
            Err(failed) if failed.is_precondition() => {
                let enabled = self.enabled_unless_deleted(name).await?;
                let newest = enabled.first().ok_or_else(|| without_value(name))?;
                self.enabled(name, *newest).await
            }
            answer => answer.map_err(|failed| failed.about(name)),
        }
    }

    async fn previous(&self, name: &SecretName) -> Result<Accessed> {
        let enabled = self.enabled_unless_deleted(name).await?;
        match enabled.get(1) {
            Some(number) => self.enabled(name, *number).await,
            None => Err(no_such_version(name, "previous")),
        }
    }

    async fn exact(&self, name: &SecretName, version: &Version) -> Result<Accessed> {
        let token = version.as_str();
        if !is_number(token) && !is_alias(token) {
            return Err(no_such_version(name, token));
        }
        self.access(name, token).await.map_err(|failed| {
            let missing = || failed.as_fact_of(no_such_version(name, token));
            if failed.is_precondition() {
                missing().with_hint("the version is disabled or destroyed: `gcloud secrets versions list` shows it")
            } else if failed.is_not_found() || failed.is_invalid_argument() {
                missing()
            } else {
                failed.about(name)
            }
        })
    }

    /// A version that was found enabled a moment ago.
    async fn enabled(&self, name: &SecretName, number: u64) -> Result<Accessed> {
        self.access(name, &number.to_string()).await.map_err(|failed| {
            if failed.is_precondition() {
                failed.as_fact_of(no_such_version(name, &number.to_string()))
            } else {
                failed.about(name)
            }
        })
    }

    /// The numbers of the versions that are enabled, newest first. While a secret is deleted its newest versions are
    /// disabled before the others: an old one must not be taken for the current one then.
    async fn enabled_unless_deleted(&self, name: &SecretName) -> Result<Vec<u64>> {
        let (described, enabled) = join(self.describe(name), self.all_versions(name, true)).await;
        let why = |failed: Failed| {
            let is_denied = failed.is_denied();
            let error = failed.about(name);
            match is_denied {
                true => error.with_hint(
                    "to find the newest enabled version `secretmanager.versions.list` and `secretmanager.secrets.get` are needed",
                ),
                false => error,
            }
        };
        obey(&described.map_err(why)?.notes, name)?;
        Ok(enabled.map_err(why)?.iter().map(|version| version.number).collect())
    }
}

impl Notes {
    /// Adds what is noted about a version.
    pub(super) fn add_to(&self, metadata: &mut Metadata, number: u64) {
        metadata.description.clone_from(&self.description);
        metadata.tags.clone_from(&self.tags);
        metadata.expires_at = self.expiries.of(number);
    }
}

/// Refuses what is deleted.
pub(super) fn obey(notes: &Notes, name: &SecretName) -> Result<()> {
    match &notes.deletion {
        Some(_) => Err(deleted(name)),
        None => Ok(()),
    }
}

/// Refuses what has expired, unless the caller wants it all the same.
pub(super) fn unexpired(secret: Secret, options: &GetOptions) -> Result<Secret> {
    if options.expired == Expired::Refuse && secret.metadata.is_expired(SystemTime::now()) {
        return Err(about(
            Error::new(ErrorKind::Expired, "the secret has expired"),
            &secret.metadata.name,
        ));
    }
    Ok(secret)
}

/// Numbers are written in one way only.
fn is_number(text: &str) -> bool {
    text.parse().is_ok_and(|number: i64| number > 0 && number.to_string() == text)
}

/// A letter, then up to 62 letters, digits, `-` and `_`.
fn is_alias(text: &str) -> bool {
    let inner = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    inner && text.len() <= 63 && text.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn no_such_version(name: &SecretName, version: &str) -> Error {
    about(
        Error::new(ErrorKind::NotFound, "no such version").with("version", version),
        name,
    )
}

/// A missing version and a missing secret have the same code.
fn explain_missing(error: Error, described: &Described, name: &SecretName, version: &VersionSelector) -> Error {
    if described.notes.deletion.is_some() {
        with_facts_of(deleted(name), &error)
    } else if *version == VersionSelector::Current {
        with_facts_of(without_value(name), &error)
    } else {
        error
    }
}

/// The answer to a read where the value is there and the secret isn't: it was deleted in between.
pub(super) fn gone(name: &SecretName) -> Error {
    not_found(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_google_could_know_is_asked_for() {
        for number in ["1", "42", "9223372036854775807"] {
            assert!(is_number(number), "{number}");
        }
        for none in ["0", "01", "+1", "-1", "1.0", "9223372036854775808", "x", ""] {
            assert!(!is_number(none), "{none}");
        }
        for alias in ["latest", "prod", "A-b_1", &"x".repeat(63)] {
            assert!(is_alias(alias), "{alias}");
        }
        for none in ["", "1a", "-a", "a/b", "a:access", "é", "a%2F", &"x".repeat(64)] {
            assert!(!is_alias(none), "{none}");
        }
    }
}
