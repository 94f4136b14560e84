//! The rows of a store, whatever database keeps them, and the bytes that stand for them in digests.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyfob_core::{Error, ErrorKind, Metadata, Result, SecretName, Version};
use keyfob_envelope::{KekId, StoreId};

use crate::error::corrupt;

/// A SHA-256 digest or an HMAC-SHA-256.
pub(crate) type Digest = [u8; 32];

/// A moment in microseconds since the Unix epoch: what every SQL database can keep in 64 bits, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) i64);

impl Time {
    pub(crate) fn now() -> Self {
        Self::floor(SystemTime::now()).unwrap_or(Self(i64::MAX))
    }

    /// Takes a moment that a caller gave.
    pub(crate) fn from_caller(time: SystemTime, what: &str) -> Result<Self> {
        Self::floor(time).ok_or_else(|| Error::new(ErrorKind::InvalidInput, format!("{what} is too far away to be kept")))
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    pub(crate) fn to_system(self) -> SystemTime {
        let distance = Duration::from_micros(self.0.unsigned_abs());
        let moment = if self.0 < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        moment.unwrap_or(UNIX_EPOCH)
    }

    fn floor(time: SystemTime) -> Option<Self> {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).ok().map(Self),
            Err(before) => {
                let nanos = before.duration().as_nanos();
                i64::try_from(nanos.div_ceil(1000)).ok().map(|micros| Self(-micros))
            }
        }
    }
}

/// The one row that says what the store is and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) format: i64,
    pub(crate) store: StoreId,
    /// The key-encryption key that new values are sealed under and that the root is authenticated with.
    pub(crate) kek: KekId,
    /// Rises by at least one with every change of content.
    pub(crate) generation: u64,
    /// The earliest moment at which a deleted secret is to be purged.
    pub(crate) next_purge: Option<Time>,
    /// Authenticates everything above, the key slots and the digest of every bucket.
    pub(crate) mac: Digest,
}

impl Head {
    /// The only format there is.
    pub(crate) const FORMAT: i64 = 1;
}

/// A secret, apart from its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretRow {
    pub(crate) name: String,
    /// The number of the newest version ever made; never falls, so that no version token is given twice.
    pub(crate) last: u64,
    pub(crate) deleted_at: Option<Time>,
    /// When it goes for good. Set together with `deleted_at`.
    pub(crate) purge_at: Option<Time>,
    pub(crate) history: History,
}

impl SecretRow {
    /// A secret without versions.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            last: 0,
            deleted_at: None,
            purge_at: None,
            history: History::default(),
        }
    }

    pub(crate) fn is_due(&self, now: Time) -> bool {
        self.purge_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn columns<'a>(&'a self, history: &'a [u8], digest: Digest) -> SecretColumns<'a> {
        SecretColumns {
            name: &self.name,
            last: self.last,
            deleted_at: self.deleted_at,
            purge_at: self.purge_at,
            digest,
            history,
        }
    }
}

/// A [`SecretRow`] as it stands in the table.
pub(crate) struct SecretColumns<'a> {
    pub(crate) name: &'a str,
    pub(crate) last: u64,
    pub(crate) deleted_at: Option<Time>,
    pub(crate) purge_at: Option<Time>,
    pub(crate) digest: Digest,
    pub(crate) history: &'a [u8],
}

impl SecretColumns<'_> {
    pub(crate) fn to_row(&self) -> Result<SecretRow> {
        let history = History::decode(self.history)
            .filter(|history| history.current().is_some_and(|current| current.number <= self.last))
            .ok_or_else(|| corrupt("the secret's history makes no sense").with("name", self.name))?;
        Ok(SecretRow {
            name: self.name.to_owned(),
            last: self.last,
            deleted_at: self.deleted_at,
            purge_at: self.purge_at,
            history,
        })
    }
}

/// The versions that a secret has, oldest first, each with the digest of its row. The last one is current.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History(Vec<Entry>);

/// One version in a [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) digest: Digest,
}

impl History {
    const ENTRY_BYTES: usize = 8 + 32;

    pub(crate) fn current(&self) -> Option<&Entry> {
        self.0.last()
    }

    pub(crate) fn previous(&self) -> Option<&Entry> {
        self.0.iter().rev().nth(1)
    }

    /// The version with this token: its number in decimal, in no other spelling.
    pub(crate) fn exact(&self, token: &str) -> Option<&Entry> {
        let number: u64 = token.parse().ok()?;
        self.0
            .iter()
            .find(|entry| entry.number == number && number.to_string() == token)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    pub(crate) fn replace_current(&mut self, digest: Digest) {
        if let Some(current) = self.0.last_mut() {
            current.digest = digest;
        }
    }

    /// Drops the oldest versions beyond `keep` and returns their numbers.
    pub(crate) fn prune(&mut self, keep: usize) -> Vec<u64> {
        let surplus = self.0.len().saturating_sub(keep);
        self.0.drain(..surplus).map(|entry| entry.number).collect()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * Self::ENTRY_BYTES);
        for entry in &self.0 {
            bytes.extend_from_slice(&entry.number.to_be_bytes());
            bytes.extend_from_slice(&entry.digest);
        }
        bytes
    }

    /// `None` for anything that `encode` doesn't make.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (chunks, rest) = bytes.as_chunks::<{ Self::ENTRY_BYTES }>();
        let mut entries: Vec<Entry> = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let number = u64::from_be_bytes(*chunk.first_chunk()?);
            if number == 0 || entries.last().is_some_and(|before| before.number >= number) {
                return None;
            }
            entries.push(Entry {
                number,
                digest: *chunk.last_chunk()?,
            });
        }
        rest.is_empty().then_some(Self(entries))
    }
}

/// A version of a secret: what is known about it, and its value under lock.
#[derive(Debug, Clone)]
pub(crate) struct VersionRow<'a> {
    pub(crate) number: u64,
    pub(crate) facts: Facts<'a>,
    /// Lets a listing check the row without reading the value.
    pub(crate) ciphertext_digest: Digest,
    pub(crate) wrapped_key: &'a [u8],
    pub(crate) ciphertext: &'a [u8],
}

/// The metadata of a version, as it stands in the table.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) created: Time,
    pub(crate) updated: Time,
    pub(crate) expires_at: Option<Time>,
    pub(crate) description: Option<Cow<'a, str>>,
    /// A JSON object of texts, sorted.
    pub(crate) tags: Cow<'a, str>,
}

impl Facts<'_> {
    pub(crate) fn into_owned(self) -> Facts<'static> {
        Facts {
            created: self.created,
            updated: self.updated,
            expires_at: self.expires_at,
            description: self.description.map(|text| Cow::Owned(text.into_owned())),
            tags: Cow::Owned(self.tags.into_owned()),
        }
    }

    /// The bytes that the value is bound to and that the digest of the row covers: the columns as they stand there,
    /// so that a change that parses to the same tags is a change.
    pub(crate) fn canonical(&self) -> Vec<u8> {
        let description = self.description.as_deref();
        let mut bytes = Vec::with_capacity(34 + self.tags.len() + description.map_or(0, str::len));
        bytes.extend_from_slice(&self.created.0.to_be_bytes());
        bytes.extend_from_slice(&self.updated.0.to_be_bytes());
        bytes.extend_from_slice(&optional_time(self.expires_at));
        match description {
            None => bytes.push(0),
            Some(text) => {
                bytes.push(1);
                bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        bytes.extend_from_slice(self.tags.as_bytes());
        bytes
    }

    pub(crate) fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|expires| expires <= now)
    }

    pub(crate) fn tag_map(&self) -> Result<BTreeMap<String, String>> {
        if self.tags == NO_TAGS {
            return Ok(BTreeMap::new());
        }
        serde_json::from_str(&self.tags).map_err(|_| corrupt("the secret's tags make no sense"))
    }

    pub(crate) fn metadata(&self, name: &SecretName, number: u64, store: &std::sync::Arc<str>) -> Result<Metadata> {
        let mut metadata = Metadata::new(name.clone(), std::sync::Arc::clone(store));
        metadata.version = Some(Version::from(number));
        metadata.created = Some(self.created.to_system());
        metadata.updated = Some(self.updated.to_system());
        metadata.expires_at = self.expires_at.map(Time::to_system);
        metadata.description = self.description.as_deref().map(str::to_owned);
        metadata.tags = self.tag_map().map_err(|error| error.with("name", name.as_str()))?;
        Ok(metadata)
    }
}

const NO_TAGS: &str = "{}";

/// The text of the `tags` column.
pub(crate) fn tags_column(tags: &BTreeMap<String, String>) -> Result<String> {
    if tags.is_empty() {
        return Ok(NO_TAGS.to_owned());
    }
    serde_json::to_string(tags).map_err(|_| Error::new(ErrorKind::InvalidInput, "the tags can't be written as JSON"))
}

/// Nine bytes, whether there is a time or not.
pub(crate) fn optional_time(time: Option<Time>) -> [u8; 9] {
    let mut bytes = [0; 9];
    if let Some(time) = time {
        bytes[0] = 1;
        bytes[1..].copy_from_slice(&time.0.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(description: Option<&str>, tags: &str) -> Vec<u8> {
        let facts = Facts {
            created: Time(1),
            updated: Time(2),
            expires_at: None,
            description: description.map(|text| Cow::Owned(text.to_owned())),
            tags: Cow::Owned(tags.to_owned()),
        };
        facts.canonical()
    }

    #[test]
    fn times_round_down_on_both_sides_of_the_epoch() {
        let nanos = Duration::from_nanos(1_500);
        assert_eq!(Time::floor(UNIX_EPOCH + nanos), Some(Time(1)));
        assert_eq!(Time::floor(UNIX_EPOCH - nanos), Some(Time(-2)));
        assert_eq!(Time(-2).to_system(), UNIX_EPOCH - Duration::from_micros(2));
    }

    #[test]
    fn different_metadata_never_gives_the_same_bytes() {
        assert_ne!(facts(None, "{}"), facts(Some(""), "{}"));
        assert_ne!(facts(Some("a"), "b{}"), facts(Some("ab"), "{}"));
        assert_ne!(facts(Some("a"), "{}"), facts(Some("b"), "{}"));
    }

    #[test]
    fn a_version_has_one_spelling() {
        let mut history = History::default();
        history.push(Entry {
            number: 7,
            digest: [0; 32],
        });
        assert!(history.exact("7").is_some());
        for token in ["07", "+7", "8", "", "7 "] {
            assert!(history.exact(token).is_none(), "{token}");
        }
    }

    proptest! {
        #[test]
        fn a_history_reads_back_what_it_wrote(numbers in proptest::collection::btree_set(1u64.., 0..20), keep in 1usize..30) {
            let mut history = History(numbers.iter().map(|number| Entry { number: *number, digest: [*number as u8; 32] }).collect());
            prop_assert_eq!(History::decode(&history.encode()), Some(history.clone()));
            let dropped = history.prune(keep);
            prop_assert_eq!(dropped.len() + history.entries().len(), numbers.len());
            prop_assert!(history.entries().len() <= keep);
        }

        #[test]
        fn any_bytes_are_a_history_or_none(bytes in any::<Vec<u8>>()) {
            if let Some(history) = History::decode(&bytes) {
                prop_assert_eq!(history.encode(), bytes);
            }
        }
    }
}
