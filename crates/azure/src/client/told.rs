//! What the vault tells of a secret, apart from its value.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models::{
    DeletedSecret, DeletedSecretProperties, DeletionRecoveryLevel, Secret, SecretAttributes, SecretProperties,
};
use keyfob_core::{Metadata, SecretName, Version};
use url::Url;

use crate::names::{AzureName, VersionId};
use crate::store::SCHEME;

pub(crate) type Tags = BTreeMap<String, String>;

/// An expiry from here on means none: Azure can move an expiry and can't take one away. 9999-01-01.
pub(crate) fn never() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_370_764_800)
}

/// Tags of this kind are keyfob's own and not shown.
const OWN: &str = "keyfob-";
const NAME: &str = "keyfob-name";
const WRITTEN: &str = "keyfob-written";
const DESCRIPTION: &str = "keyfob-description";

/// What keyfob keeps in tags of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The exact name that it was written under, with the prefix.
    pub(crate) name: Option<String>,
    /// When, in microseconds since 1970; later for every version of a secret. Azure tells whole seconds.
    pub(crate) written: Option<u64>,
    pub(crate) description: Option<String>,
}

/// What is said about a secret or a version of it.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) name: AzureName,
    /// `None` where a listing of secrets or a deleted one doesn't say it.
    pub(crate) version: Option<VersionId>,
    pub(crate) record: Record,
    /// Without those of the record.
    pub(crate) tags: Tags,
    pub(crate) content_type: Option<String>,
    pub(crate) created: Option<SystemTime>,
    pub(crate) updated: Option<SystemTime>,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) deleted_at: Option<SystemTime>,
    /// It belongs to a certificate.
    pub(crate) is_managed: bool,
    /// Whether what is deleted can be taken away for good; `None` when the vault doesn't say.
    pub(crate) is_purgeable: Option<bool>,
}

impl Record {
    /// Takes the record out of all tags.
    fn split(tags: Option<&HashMap<String, String>>) -> (Self, Tags) {
        let mut record = Self::default();
        let mut others = Tags::new();
        for (key, value) in tags.into_iter().flatten() {
            match key.as_str() {
                NAME => record.name = Some(value.clone()),
                WRITTEN => record.written = value.parse().ok(),
                DESCRIPTION => record.description = Some(value.clone()),
                key if is_own(key) => {}
                _ => {
                    others.insert(key.clone(), value.clone());
                }
            }
        }
        (record, others)
    }

    /// All tags: these and those of the record.
    pub(crate) fn join(self, mut tags: Tags) -> Tags {
        let own = [
            (NAME, self.name),
            (WRITTEN, self.written.map(|written| written.to_string())),
            (DESCRIPTION, self.description),
        ];
        tags.extend(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        tags
    }
}

/// Whether a tag is one that only keyfob sets.
pub(crate) fn is_own(key: &str) -> bool {
    // `get` because the first bytes may end within a character.
    key.get(..OWN.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(OWN))
}

impl Told {
    pub(crate) fn of_secret(secret: &Secret) -> Option<Self> {
        Self::of(
            secret.id.as_deref(),
            secret.attributes.as_ref(),
            secret.tags.as_ref(),
            secret.managed,
        )
        .map(|told| told.typed(secret.content_type.clone()))
    }

    pub(crate) fn of_item(item: &SecretProperties) -> Option<Self> {
        Self::of(item.id.as_deref(), item.attributes.as_ref(), item.tags.as_ref(), item.managed)
            .map(|told| told.typed(item.content_type.clone()))
    }

    pub(crate) fn of_deleted(deleted: &DeletedSecret) -> Option<Self> {
        Self::of(
            deleted.id.as_deref(),
            deleted.attributes.as_ref(),
            deleted.tags.as_ref(),
            deleted.managed,
        )
        .map(|told| told.deleted(deleted.deleted_date))
    }

    pub(crate) fn of_deleted_item(deleted: &DeletedSecretProperties) -> Option<Self> {
        Self::of(
            deleted.id.as_deref(),
            deleted.attributes.as_ref(),
            deleted.tags.as_ref(),
            deleted.managed,
        )
        .map(|told| told.deleted(deleted.deleted_date))
    }

    fn of(
        id: Option<&str>,
        attributes: Option<&SecretAttributes>,
        tags: Option<&HashMap<String, String>>,
        is_managed: Option<bool>,
    ) -> Option<Self> {
        let (name, version) = identified(id?)?;
        let (record, tags) = Record::split(tags);
        let time = |time: Option<OffsetDateTime>| time.map(SystemTime::from);
        Some(Self {
            name,
            version,
            record,
            tags,
            content_type: None,
            created: time(attributes.and_then(|attributes| attributes.created)),
            updated: time(attributes.and_then(|attributes| attributes.updated)),
            expires_at: time(attributes.and_then(|attributes| attributes.expires)).filter(|at| *at < never()),
            deleted_at: None,
            is_managed: is_managed.unwrap_or_default(),
            is_purgeable: attributes
                .and_then(|attributes| attributes.recovery_level.as_ref())
                .map(is_purgeable),
        })
    }

    fn typed(self, content_type: Option<String>) -> Self {
        Self { content_type, ..self }
    }

    fn deleted(self, at: Option<OffsetDateTime>) -> Self {
        Self {
            deleted_at: at.map(SystemTime::from).or(self.updated).or(Some(UNIX_EPOCH)),
            ..self
        }
    }

    /// Whether it is about this secret, and about this version if one is named.
    pub(crate) fn is(&self, name: &AzureName, version: Option<&VersionId>) -> bool {
        self.name.is(name) && version.is_none_or(|version| self.version.as_ref() == Some(version))
    }

    /// How the versions of a secret are ordered: as they were made, in seconds, and then as keyfob wrote them.
    pub(crate) fn age(&self) -> (Option<SystemTime>, Option<u64>) {
        (self.created, self.record.written)
    }

    pub(crate) fn token(&self) -> Option<Version> {
        self.version.as_ref().and_then(|version| Version::new(version.as_str()).ok())
    }

    pub(crate) fn metadata(&self, name: &SecretName) -> Metadata {
        let mut metadata = Metadata::new(name.clone(), SCHEME);
        metadata.version = self.token();
        metadata.created = self.version.as_ref().and(self.created);
        metadata.updated = self.updated;
        metadata.expires_at = self.expires_at;
        metadata.deleted_at = self.deleted_at;
        metadata.description.clone_from(&self.record.description);
        metadata.tags.clone_from(&self.tags);
        metadata
    }
}

/// Name and version in an id such as `https://VAULT/secrets/NAME/VERSION`.
fn identified(id: &str) -> Option<(AzureName, Option<VersionId>)> {
    let url = Url::parse(id).ok()?;
    let mut parts = url.path_segments()?;
    if !matches!(parts.next()?, "secrets" | "deletedsecrets") {
        return None;
    }
    let name = AzureName::parse(parts.next()?)?;
    let version = match parts.next().filter(|version| !version.is_empty()) {
        Some(version) => Some(VersionId::parse(version)?),
        None => None,
    };
    parts.next().is_none().then_some((name, version))
}

fn is_purgeable(level: &DeletionRecoveryLevel) -> bool {
    match level {
        DeletionRecoveryLevel::CustomizedRecoverable
        | DeletionRecoveryLevel::CustomizedRecoverableProtectedSubscription
        | DeletionRecoveryLevel::Recoverable
        | DeletionRecoveryLevel::RecoverableProtectedSubscription => false,
        // Of a level that is not known the vault says by itself what it doesn't allow.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_none_is_not_understood() {
        let (name, version) = identified("https://kv.vault.azure.net/secrets/Db/0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!((name.as_str(), version.is_some()), ("Db", true));
        assert!(identified("https://kv.vault.azure.net:443/secrets/Db").unwrap().1.is_none());
        for id in [
            "secrets/a",
            "https://kv/keys/a",
            "https://kv/secrets/",
            "https://kv/secrets/a%20b",
            "https://kv/secrets/a/current",
            "https://kv/secrets/a/0123456789abcdef0123456789abcdef/x",
        ] {
            assert!(identified(id).is_none(), "{id}");
        }
    }

    #[test]
    fn the_record_is_kept_apart_from_other_tags() {
        let record = Record {
            name: Some("app/db".to_owned()),
            written: Some(17),
            description: None,
        };
        let tags = record.clone().join(Tags::from([("team".to_owned(), "db".to_owned())]));
        assert_eq!(tags.len(), 3);
        let all: HashMap<String, String> = tags.into_iter().collect();
        let (read, others) = Record::split(Some(&all));
        assert_eq!(read, record);
        assert_eq!(others.keys().collect::<Vec<_>>(), ["team"]);
        assert!(is_own("Keyfob-x") && !is_own("keyfob") && !is_own("keyfobé-"));
    }

    #[test]
    fn an_expiry_that_means_none_is_none() {
        let attributes = |at: SystemTime| SecretAttributes {
            expires: Some(at.into()),
            ..SecretAttributes::default()
        };
        let told = |at| {
            Told::of(Some("https://kv/secrets/a"), Some(&attributes(at)), None, None)
                .unwrap()
                .expires_at
        };
        assert_eq!(told(never()), None);
        let before = never() - Duration::from_secs(1);
        assert_eq!(told(before), Some(before));
    }
}
