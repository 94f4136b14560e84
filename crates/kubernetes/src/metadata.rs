//! What keyfob keeps about a secret in annotations.
//!
//! Of an object per secret: `keyfob.dev/name`, `description`, `tags`, `expires-at`. Of the keys of one object:
//! `secret.keyfob.dev/KEY` with all of it, and `revision.keyfob.dev/KEY`, a random number that is new with every value.

use std::collections::BTreeMap;
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use keyfob_core::{Change, Error, ErrorKind, Metadata, PutRequest, Result, SecretName, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::object::{MAX_ANNOTATION_BYTES, Meta, time};
use crate::store::SCHEME;

pub(crate) const NAME: &str = "keyfob.dev/name";
const DESCRIPTION: &str = "keyfob.dev/description";
const TAGS: &str = "keyfob.dev/tags";
const EXPIRES_AT: &str = "keyfob.dev/expires-at";
/// The label by which objects that keyfob made are found; Kubernetes' own recommendation.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "keyfob");

/// Changes of annotations; `None` takes one away.
pub(crate) type Changes = BTreeMap<String, Option<String>>;

/// What is kept about one secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) description: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) expires_at: Option<SystemTime>,
    /// There is an expiry, and it is no time.
    pub(crate) is_damaged: bool,
}

impl Kept {
    /// What the annotations of an object say.
    pub(crate) fn of_object(meta: &Meta) -> Self {
        let get = |name: &str| meta.annotations.get(name).map(String::as_str);
        let expires_at = get(EXPIRES_AT).map(time);
        Self {
            description: get(DESCRIPTION).map(str::to_owned),
            tags: get(TAGS).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
            is_damaged: expires_at == Some(None),
            expires_at: expires_at.flatten(),
        }
    }

    /// What the annotation of a key says.
    pub(crate) fn of_key(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::default() };
        let Ok(written) = serde_json::from_str::<OfKey>(text) else {
            return Self {
                is_damaged: true,
                ..Self::default()
            };
        };
        let expires_at = written.expires_at.as_deref().map(time);
        Self {
            description: written.description,
            tags: written.tags,
            is_damaged: expires_at == Some(None),
            expires_at: expires_at.flatten(),
        }
    }

    /// The annotation of a key; `None` when there is nothing to say.
    pub(crate) fn to_key(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_string(&OfKey {
            description: self.description.clone(),
            tags: self.tags.clone(),
            expires_at: self.expires_at.and_then(text_of),
        })
        .ok()
    }

    /// What is kept after a write.
    pub(crate) fn after(self, request: &PutRequest) -> Self {
        Self {
            description: request.description.clone().apply(self.description),
            tags: request.tags.clone().apply(Some(self.tags)).unwrap_or_default(),
            expires_at: request.expires_at.clone().apply(self.expires_at),
            is_damaged: self.is_damaged && request.expires_at.is_keep(),
        }
    }

    /// Refuses to hand out what has expired.
    pub(crate) fn check(&self, name: &SecretName, expired: keyfob_core::Expired) -> Result<()> {
        if expired == keyfob_core::Expired::Allow {
            return Ok(());
        }
        if self.is_damaged {
            return Err(
                Error::new(ErrorKind::Corrupt, "the annotation with the secret's expiry is no time")
                    .with("name", name.as_str())
                    .with("store", SCHEME)
                    .with_hint("set a new expiry, or take the annotation away"),
            );
        }
        match self.expires_at.is_some_and(|expires_at| expires_at <= SystemTime::now()) {
            true => Err(Error::new(ErrorKind::Expired, "the secret has expired")
                .with("name", name.as_str())
                .with("store", SCHEME)),
            false => Ok(()),
        }
    }

    pub(crate) fn metadata(self, name: &SecretName) -> Metadata {
        let mut metadata = Metadata::new(name.clone(), SCHEME);
        metadata.description = self.description;
        metadata.tags = self.tags;
        metadata.expires_at = self.expires_at;
        metadata
    }
}

/// The annotations of an object that a write changes.
pub(crate) fn object_changes(name: &SecretName, request: &PutRequest) -> Result<Changes> {
    let mut changes = Changes::new();
    changes.insert(NAME.to_owned(), Some(name.as_str().to_owned()));
    change(&mut changes, DESCRIPTION, &request.description, |text| Ok(Some(text.clone())))?;
    change(&mut changes, TAGS, &request.tags, |tags| {
        Ok(serde_json::to_string(tags).ok().filter(|_| !tags.is_empty()))
    })?;
    change(&mut changes, EXPIRES_AT, &request.expires_at, |time| {
        checked_text(*time).map(Some)
    })?;
    Ok(changes)
}

fn change<T>(
    changes: &mut Changes,
    annotation: &str,
    change: &Change<T>,
    text: impl Fn(&T) -> Result<Option<String>>,
) -> Result<()> {
    let value = match change {
        Change::Keep => return Ok(()),
        Change::Clear => None,
        Change::Set(new) => text(new)?,
    };
    changes.insert(annotation.to_owned(), value);
    Ok(())
}

/// Refuses what the API server would: all annotations of an object together have a limit.
pub(crate) fn check_size(name: &SecretName, present: Option<&Meta>, changes: &Changes) -> Result<()> {
    let mut bytes = present.map_or(0, Meta::annotation_bytes);
    for (annotation, value) in changes {
        let before = present.and_then(|meta| meta.annotations.get(annotation));
        bytes -= before.map_or(0, |before| annotation.len() + before.len());
        bytes += value.as_ref().map_or(0, |value| annotation.len() + value.len());
    }
    match bytes > MAX_ANNOTATION_BYTES {
        true => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the annotations of the Secret would have {bytes} bytes, Kubernetes takes {MAX_ANNOTATION_BYTES}"),
        )
        .with("name", name.as_str())
        .with("store", SCHEME)
        .with_hint("description and tags are kept there: make them shorter")),
        false => Ok(()),
    }
}

/// Refuses an expiry that can't be written.
pub(crate) fn checked_expiry(request: &PutRequest) -> Result<()> {
    match &request.expires_at {
        Change::Set(time) => checked_text(*time).map(|_| ()),
        Change::Keep | Change::Clear => Ok(()),
    }
}

fn checked_text(time: SystemTime) -> Result<String> {
    text_of(time).ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the expiry is out of the range of dates"))
}

fn text_of(time: SystemTime) -> Option<String> {
    Some(jiff::Timestamp::try_from(time).ok()?.to_string())
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfKey {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// The names of the annotations of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfKeyNames {
    pub(crate) metadata: String,
    pub(crate) revision: String,
}

impl OfKeyNames {
    /// The part of an annotation's name behind the `/` has at most 63 characters, a letter or digit at both ends. For other
    /// keys a digest stands there, in a place of its own, so that no key can be named like another's digest.
    pub(crate) fn new(key: &str) -> Self {
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        if key.len() <= 63 && is_end(key.as_bytes().first()) && is_end(key.as_bytes().last()) {
            return Self {
                metadata: format!("secret.keyfob.dev/{key}"),
                revision: format!("revision.keyfob.dev/{key}"),
            };
        }
        let digest = HEXLOWER.encode(&Sha256::digest(key)[..30]);
        Self {
            metadata: format!("secret-digest.keyfob.dev/{digest}"),
            revision: format!("revision-digest.keyfob.dev/{digest}"),
        }
    }
}

/// A random number for a value that is written now.
pub(crate) fn new_revision() -> Result<String> {
    let mut bytes = [0; REVISION_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Unavailable, "the system gives no random numbers").with_source(error))?;
    Ok(HEXLOWER.encode(&bytes))
}

const REVISION_BYTES: usize = 12;

/// The version token of a key.
///
/// With a revision: a digest over it, the value and what is kept about it, so that it changes with any of them, whoever
/// changes it, and tells nothing to who has not the revision, which stands only where the value stands too. Without one (another
/// tool made the key) nothing secret could be mixed in, so it is made from the object's version: it also changes when
/// another key does, never the other way round.
pub(crate) fn key_version(meta: &Meta, key: &str, value: &[u8], names: &OfKeyNames) -> Result<Version> {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    let is_revision = |text: &&String| {
        HEXLOWER
            .decode(text.as_bytes())
            .is_ok_and(|bytes| bytes.len() == REVISION_BYTES)
    };
    match meta.annotations.get(&names.revision).filter(is_revision) {
        Some(revision) => {
            add(b"keyfob kubernetes value 1");
            add(revision.as_bytes());
            add(meta.uid.as_bytes());
            add(meta.annotations.get(&names.metadata).map_or(&b""[..], |text| text.as_bytes()));
            add(value);
        }
        None => {
            add(b"keyfob kubernetes object 1");
            add(meta.uid.as_bytes());
            add(meta.resource_version.as_bytes());
            add(key.as_bytes());
        }
    }
    Version::new(HEXLOWER.encode(&digest.finalize()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn meta(annotations: &[(&str, &str)]) -> Meta {
        let annotations: BTreeMap<&str, &str> = annotations.iter().copied().collect();
        let text = serde_json::json!({
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1", "annotations": annotations,
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn what_is_kept_of_a_key_comes_back() {
        let kept = Kept {
            description: Some("two\nlines".to_owned()),
            tags: [("owner".to_owned(), "jo@x.org".to_owned())].into(),
            expires_at: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(4_102_444_800_123_456_789)),
            is_damaged: false,
        };
        assert_eq!(Kept::of_key(kept.to_key().as_deref()), kept);
        assert_eq!(Kept::default().to_key(), None);
        assert!(Kept::of_key(Some("not json")).is_damaged);
        assert!(Kept::of_key(Some(r#"{"expiresAt":"soon"}"#)).is_damaged);
    }

    #[test]
    fn an_expiry_that_is_no_time_is_not_taken_for_none() {
        let kept = Kept::of_object(&meta(&[(EXPIRES_AT, "tomorrow")]));
        let name = SecretName::new("a").unwrap();
        let error = kept.check(&name, keyfob_core::Expired::Refuse).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(kept.check(&name, keyfob_core::Expired::Allow).is_ok());
        let renewed = kept.after(&PutRequest {
            expires_at: Change::Clear,
            ..PutRequest::default()
        });
        assert!(renewed.check(&name, keyfob_core::Expired::Refuse).is_ok());
    }

    #[test]
    fn every_key_has_annotations_of_its_own_that_the_api_server_takes() {
        let keys = [
            "a",
            "A.b_c-d",
            ".a",
            "a.",
            "_",
            &"x".repeat(63),
            &"x".repeat(64),
            &"x".repeat(253),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for key in keys {
            let names = OfKeyNames::new(key);
            for annotation in [names.metadata, names.revision] {
                let (prefix, name) = annotation.split_once('/').unwrap();
                assert!(crate::names::is_object_name(prefix) && (1..=63).contains(&name.len()));
                assert!(name.starts_with(|c: char| c.is_ascii_alphanumeric()));
                assert!(name.ends_with(|c: char| c.is_ascii_alphanumeric()));
                assert!(seen.insert(annotation), "{key}");
            }
        }
    }

    #[test]
    fn a_version_changes_with_the_value_its_revision_and_what_is_kept() {
        let names = OfKeyNames::new("k");
        let version = |annotations: &[(&str, &str)], value: &[u8]| key_version(&meta(annotations), "k", value, &names).unwrap();
        let revision = ("revision.keyfob.dev/k", "0123456789abcdef01234567");
        let first = version(&[revision], b"kfcanary-1");
        assert_eq!(version(&[revision, ("other", "x")], b"kfcanary-1"), first);
        assert_ne!(version(&[revision], b"kfcanary-2"), first);
        assert_ne!(
            version(&[("revision.keyfob.dev/k", "1123456789abcdef01234567")], b"kfcanary-1"),
            first
        );
        assert_ne!(version(&[revision, ("secret.keyfob.dev/k", "{}")], b"kfcanary-1"), first);
        // A number that somebody made up could be guessed, and with it the value from the version.
        let made_up = version(&[("revision.keyfob.dev/k", "1")], b"kfcanary-1");
        assert_eq!(
            made_up,
            version(&[], b"kfcanary-2"),
            "without a revision the value is not in it"
        );
    }

    #[test]
    fn too_much_to_keep_is_refused() {
        let name = SecretName::new("a").unwrap();
        let changes = |bytes: usize| Changes::from([("k".to_owned(), Some("x".repeat(bytes)))]);
        assert!(check_size(&name, None, &changes(MAX_ANNOTATION_BYTES - 1)).is_ok());
        let error = check_size(&name, None, &changes(MAX_ANNOTATION_BYTES)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let present = meta(&[("k", "1234"), ("other", "12345")]);
        let rest = MAX_ANNOTATION_BYTES - "other12345".len() - 1;
        assert!(check_size(&name, Some(&present), &changes(rest)).is_ok());
        assert!(check_size(&name, Some(&present), &changes(rest + 1)).is_err());
    }
}
