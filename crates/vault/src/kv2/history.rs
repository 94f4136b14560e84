//! What the engine knows about a secret and its versions, without values.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use keyfob_core::{Error, ErrorKind, Metadata, Result, SecretName, Version, VersionInfo};
use serde::Deserialize;

use super::entry::{Custom, Record};
use super::records::{Patch, Records};
use crate::client::Answer;
use crate::kv::SCHEME;

/// The versions that one request deletes have times that are a few microseconds apart.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(1);

/// The answer of `metadata/NAME`.
#[derive(Deserialize)]
struct Body {
    current_version: u64,
    #[serde(default)]
    oldest_version: u64,
    #[serde(default)]
    updated_time: String,
    versions: Option<BTreeMap<u64, VersionBody>>,
    custom_metadata: Option<Custom>,
}

#[derive(Deserialize)]
struct VersionBody {
    created_time: String,
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

/// A secret that is there, deleted, or gone but for its number.
#[derive(Debug)]
pub(crate) struct History {
    /// The number of the newest version ever made; zero when there was none.
    pub(crate) current: u64,
    /// The oldest version that is kept.
    pub(crate) oldest: u64,
    updated: Option<Timestamp>,
    versions: BTreeMap<u64, Kept>,
    /// Kept as an error, so that what is damaged can be deleted.
    records: Result<Records>,
}

#[derive(Debug)]
struct Kept {
    created: Option<Timestamp>,
    state: State,
}

/// What became of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its value can be read.
    Live,
    /// Its value can be brought back.
    Deleted(Timestamp),
    /// Its value is gone for good, or there never was one.
    Gone,
}

impl History {
    pub(crate) fn parse(answer: &Answer) -> Result<Self> {
        let body: Body = answer.data()?;
        let now = Timestamp::now();
        let mut versions = BTreeMap::new();
        for (number, version) in body.versions.into_iter().flatten() {
            let kept = Kept {
                created: time(&version.created_time),
                state: state(&version.deletion_time, version.destroyed, now),
            };
            versions.insert(number, kept);
        }
        Ok(Self {
            current: body.current_version,
            oldest: body.oldest_version.max(1),
            updated: time(&body.updated_time),
            versions,
            records: Records::parse(body.custom_metadata.as_ref()),
        })
    }

    /// What became of the current version, and so of the secret.
    pub(crate) fn state(&self) -> State {
        self.versions.get(&self.current).map_or(State::Gone, |current| current.state)
    }

    /// The versions that can be read, newest first.
    pub(crate) fn live(&self) -> impl Iterator<Item = u64> {
        let live = self.versions.iter().rev().filter(|(_, kept)| kept.state == State::Live);
        live.map(|(number, _)| *number)
    }

    /// The version that was current before, of those that can be read.
    pub(crate) fn previous(&self) -> Option<u64> {
        self.live().find(|number| *number < self.current)
    }

    /// The versions that were deleted together with the current one.
    pub(crate) fn deleted_with_current(&self) -> Vec<u64> {
        let State::Deleted(current) = self.state() else {
            return Vec::new();
        };
        let together = |kept: &Kept| match kept.state {
            State::Deleted(time) => current.duration_since(time).abs() <= AT_ONCE,
            State::Live | State::Gone => false,
        };
        self.versions
            .iter()
            .filter(|(_, kept)| together(kept))
            .map(|(number, _)| *number)
            .collect()
    }

    /// What the custom metadata says.
    pub(crate) fn records(&self) -> Result<&Records> {
        self.records.as_ref().map_err(Error::clone)
    }

    /// Leaves out records that are about to be taken away.
    pub(crate) fn forget(&mut self, patch: &Patch) {
        if let Ok(records) = &mut self.records {
            records.forget(patch);
        }
    }

    /// What keyfob keeps of a version.
    pub(crate) fn record(&self, version: u64) -> Result<Record> {
        Ok(self
            .records()?
            .of(version, self.versions.get(&version).and_then(|kept| kept.created)))
    }

    /// The metadata of the current version.
    pub(crate) fn metadata(&self, name: &SecretName) -> Result<Metadata> {
        let created = self.versions.get(&self.current).and_then(|kept| kept.created);
        let mut metadata = metadata(name, self.current, created, self.record(self.current)?);
        metadata.updated = self.updated.and_then(system);
        if let State::Deleted(time) = self.state() {
            metadata.deleted_at = system(time);
        }
        Ok(metadata)
    }

    pub(crate) fn version_info(&self, version: u64) -> Result<VersionInfo> {
        let mut info = VersionInfo::new(Version::from(version), version == self.current);
        info.created = self.versions.get(&version).and_then(|kept| kept.created).and_then(system);
        info.expires_at = self.record(version)?.expires.and_then(system);
        Ok(info)
    }
}

/// The metadata of a version.
pub(crate) fn metadata(name: &SecretName, version: u64, created: Option<Timestamp>, record: Record) -> Metadata {
    let mut metadata = Metadata::new(name.clone(), SCHEME);
    metadata.version = Some(Version::from(version));
    metadata.created = created.and_then(system);
    metadata.description = record.description;
    metadata.tags = record.tags;
    metadata.expires_at = record.expires.and_then(system);
    metadata
}

/// The number of a version, written as the server writes it: it reads `0` and `-1` as the current one.
pub(crate) fn number(version: &Version) -> Option<u64> {
    let number: u64 = version.as_str().parse().ok()?;
    (number > 0 && number.to_string() == version.as_str()).then_some(number)
}

pub(crate) fn no_such_version(name: &SecretName, version: &str) -> Error {
    Error::new(ErrorKind::NotFound, "no such version")
        .with("name", name.as_str())
        .with("version", version)
}

/// A time to come is when the engine will delete the version by itself (`delete_version_after`).
pub(crate) fn state(deletion_time: &str, destroyed: bool, now: Timestamp) -> State {
    match time(deletion_time) {
        _ if destroyed => State::Gone,
        Some(time) if time <= now => State::Deleted(time),
        _ => State::Live,
    }
}

/// The same time; `None` for one that this machine can't express.
pub(super) fn system(time: Timestamp) -> Option<SystemTime> {
    time.try_into().ok()
}

/// A time as the server writes it; empty is none.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_number_and_nothing_else() {
        for (text, expected) in [
            ("1", Some(1)),
            ("0", None),
            ("-1", None),
            ("+1", None),
            ("01", None),
            ("current", None),
        ] {
            assert_eq!(number(&Version::new(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_deleted_later_is_still_there() {
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(state("", false, now), State::Live);
        assert_eq!(state("1970-01-01T00:16:41Z", false, now), State::Live);
        assert_eq!(state("1970-01-01T00:16:40Z", false, now), State::Deleted(now));
        assert_eq!(state("1970-01-01T00:16:40Z", true, now), State::Gone);
    }
}
