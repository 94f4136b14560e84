//! A record: what keyfob keeps of a version, and the keys and values of custom metadata that hold it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use keyfob_core::{Error, ErrorKind, PutRequest, Result};
use serde::{Deserialize, Serialize};

use super::history::system;

/// Custom metadata as the server keeps it.
pub(crate) type Custom = BTreeMap<String, String>;

/// What all keys of keyfob begin with.
pub(super) const PREFIX: &str = "keyfob-";
/// The most bytes of one of their values.
pub(super) const MAX_PART: usize = 512;
/// The most parts of one record: while it replaces another there must be room for both.
const MAX_PARTS: usize = 24;
/// How far the clocks of writer and server may be apart.
const SKEW: Duration = Duration::from_secs(300);
/// After so long a record without its version is left over from a writer that died.
const LEFT_OVER: Duration = Duration::from_secs(60);
/// The id of the record that makes what follows a deleted secret begin without its metadata.
const AFTER_DELETE: &str = "deleted";

/// What keyfob keeps of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339")]
    pub(crate) expires: Option<Timestamp>,
}

/// A time as text, as the server writes its own.
mod rfc3339 {
    use jiff::Timestamp;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(|_| Error::custom("no time")))
            .transpose()
    }
}

impl Record {
    /// What it is after a put.
    pub(crate) fn changed(self, request: &PutRequest) -> Result<Self> {
        let expires = request.expires_at.clone().apply(self.expires.and_then(system));
        let too_far = |_| Error::new(ErrorKind::InvalidInput, "the expiry is too far away to be written down");
        Ok(Self {
            description: request.description.clone().apply(self.description),
            tags: request.tags.clone().apply(Some(self.tags)).unwrap_or_default(),
            expires: expires.map(|time| Timestamp::try_from(time).map_err(too_far)).transpose()?,
        })
    }
}

/// A record with its place.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    pub(crate) id: String,
    /// When it was made; `None` once it is known that its version is there.
    pub(super) made: Option<Timestamp>,
    pub(crate) record: Record,
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    record: Record,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<i64>,
}

impl Entry {
    /// A record for a version that is about to be written.
    pub(crate) fn pending(version: u64, record: Record) -> Self {
        Self {
            made: Some(Timestamp::now()),
            ..Self::settled(version, record)
        }
    }

    /// A record for a version that is there.
    pub(crate) fn settled(version: u64, record: Record) -> Self {
        let number = RandomState::new().build_hasher().finish() as u32;
        Self {
            version,
            id: format!("{number:08x}"),
            made: None,
            record,
        }
    }

    /// The record with which what follows the deleted `version` begins.
    pub(crate) fn after_delete(version: u64) -> Self {
        Self {
            id: AFTER_DELETE.to_owned(),
            ..Self::settled(version + 1, Record::default())
        }
    }

    /// The same once its version is there.
    pub(crate) fn settle(mut self) -> Self {
        self.made = None;
        self
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.made.is_some()
    }

    /// Whether it was made for the version that the server made at `created`.
    pub(crate) fn fits(&self, created: Option<Timestamp>) -> bool {
        match (self.made, created) {
            (Some(made), Some(created)) => created.duration_since(made).unsigned_abs() <= SKEW,
            _ => true,
        }
    }

    /// What its keys begin with.
    pub(super) fn begin(&self) -> String {
        format!("{PREFIX}{}-{}-", self.version, self.id)
    }

    /// Whether no writer is on its way with it any more.
    pub(super) fn is_left_over(&self, now: Timestamp) -> bool {
        self.id == AFTER_DELETE
            || self
                .made
                .is_none_or(|made| now.duration_since(made).unsigned_abs() > LEFT_OVER)
    }

    /// What [`encode`](Self::encode) wrote, its parts joined; `None` when it is something else.
    pub(super) fn decode(version: u64, id: &str, json: &str) -> Option<Self> {
        let Document { record, made } = serde_json::from_str(json).ok()?;
        Some(Self {
            version,
            id: id.to_owned(),
            made: made.map(Timestamp::from_second).transpose().ok()?,
            record,
        })
    }

    /// The keys and values that hold it.
    pub(crate) fn encode(&self) -> Result<Custom> {
        let document = Document {
            record: self.record.clone(),
            made: self.made.map(Timestamp::as_second),
        };
        let json = serde_json::to_string(&document)
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the metadata can't be written as JSON"))?;
        let ascii = to_ascii(&json);
        let parts: Vec<&[u8]> = ascii.as_bytes().chunks(MAX_PART).collect();
        if parts.len() > MAX_PARTS {
            let message = format!(
                "description and tags have {} bytes as JSON, Vault has room for {}",
                ascii.len(),
                MAX_PART * MAX_PARTS
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let parts = parts.iter().enumerate().map(|(index, part)| {
            let key = format!("{}{}-{}", self.begin(), index + 1, parts.len());
            (key, String::from_utf8_lossy(part).into_owned())
        });
        Ok(parts.collect())
    }
}

/// `VERSION-ID-PART-PARTS`.
pub(super) fn place(key: &str) -> Option<(u64, &str, usize, usize)> {
    let mut fields = key.split('-');
    let place = (
        fields.next()?.parse().ok()?,
        fields.next()?,
        fields.next()?.parse().ok()?,
        fields.next()?.parse().ok()?,
    );
    fields.next().is_none().then_some(place)
}

/// Escapes what the server would not count as printable.
fn to_ascii(json: &str) -> String {
    use std::fmt::Write as _;
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}
