//! The manifest as JSON. `FORMAT.md` describes it.

use std::collections::BTreeSet;
use std::time::SystemTime;

use data_encoding::BASE64;
use jiff::Timestamp;
use keyfob_core::{Error, ErrorKind, Result, SecretName, Version};
use keyfob_envelope::{KekId, KeySlot};
use serde::{Deserialize, Serialize};

use crate::error::corrupt;
use crate::id::{Digest, SnapshotId};
use crate::manifest::{Base, Keeps, Manifest, SecretEntry, Summary};

/// The most bytes of a manifest's JSON: enough for a million secrets, and what an unauthenticated file may make us take.
pub(crate) const MAX_BYTES: usize = 256 << 20;

/// # Errors
/// `InvalidInput` for a time that RFC 3339 can't write.
pub(crate) fn to_json(manifest: &Manifest) -> Result<Vec<u8>> {
    let summary = &manifest.summary;
    let bases = summary
        .bases
        .iter()
        .zip(&manifest.base_slots)
        .map(|(base, slot)| BaseDocument {
            id: base.id,
            digest: base.digest,
            slot: slot.into(),
        });
    let document = Document {
        id: summary.id,
        begun: written(summary.begun)?,
        finished: written(summary.finished)?,
        store: summary.store.clone(),
        location: summary.location.clone(),
        prefix: summary.prefix.clone(),
        keeps: kept(summary.keeps),
        whole: summary.whole,
        note: summary.note.clone(),
        slots: manifest.slots.iter().map(Into::into).collect(),
        bases: bases.collect(),
        blocks: manifest.blocks.clone(),
        secrets: manifest.secrets.iter().map(SecretDocument::new).collect::<Result<_>>()?,
    };
    serde_json::to_vec(&document)
        .map_err(|source| Error::new(ErrorKind::Other, "can't write the manifest of the snapshot").with_source(source))
}

/// `bytes` is the length of the file.
///
/// # Errors
/// `Corrupt` for what [`to_json`] would not write.
pub(crate) fn from_json(json: &[u8], bytes: u64) -> Result<Manifest> {
    let document: Document = serde_json::from_slice(json)
        .map_err(|source| corrupt("the manifest of the snapshot can't be read").with_source(source))?;
    let mut bases = Vec::with_capacity(document.bases.len());
    let mut base_slots = Vec::with_capacity(document.bases.len());
    for base in document.bases {
        bases.push(Base {
            id: base.id,
            digest: base.digest,
        });
        base_slots.push(base.slot.read()?);
    }
    let ids: BTreeSet<SnapshotId> = bases.iter().map(|base| base.id).chain([document.id]).collect();
    if ids.len() != bases.len() + 1 {
        return Err(corrupt("the snapshot builds twice on the same snapshot, or on itself"));
    }
    let mut secrets: Vec<SecretEntry> = Vec::with_capacity(document.secrets.len());
    for secret in document.secrets {
        let secret = secret.read(bases.len())?;
        if secrets.last().is_some_and(|last| last.name >= secret.name) {
            return Err(corrupt("the names in the manifest of the snapshot are not in order"));
        }
        secrets.push(secret);
    }
    Ok(Manifest {
        summary: Summary {
            id: document.id,
            begun: read(document.begun),
            finished: read(document.finished),
            store: document.store,
            location: document.location,
            prefix: document.prefix,
            keeps: Keeps {
                description: document.keeps.contains(&Kept::Description),
                tags: document.keeps.contains(&Kept::Tags),
                expiry: document.keeps.contains(&Kept::Expiry),
            },
            whole: document.whole,
            note: document.note,
            bases,
            secrets: secrets.len(),
            own: secrets.iter().filter(|secret| secret.base.is_none()).count(),
            bytes,
        },
        slots: document.slots.into_iter().map(Slot::read).collect::<Result<_>>()?,
        base_slots,
        blocks: document.blocks,
        secrets,
    })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    id: SnapshotId,
    begun: Time,
    finished: Time,
    store: String,
    location: String,
    prefix: String,
    keeps: Vec<Kept>,
    whole: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    slots: Vec<Slot>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bases: Vec<BaseDocument>,
    blocks: Vec<u64>,
    secrets: Vec<SecretDocument>,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Description,
    Tags,
    Expiry,
}

fn kept(keeps: Keeps) -> Vec<Kept> {
    let all = [
        (keeps.description, Kept::Description),
        (keeps.tags, Kept::Tags),
        (keeps.expiry, Kept::Expiry),
    ];
    all.into_iter()
        .filter_map(|(is_kept, kept)| is_kept.then_some(kept))
        .collect()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseDocument {
    id: SnapshotId,
    digest: Digest,
    slot: Slot,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Slot {
    key: String,
    source: String,
    wrapped: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretDocument {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<usize>,
}

/// RFC 3339 in UTC, with up to nine digits after the second.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Time {
    written: Timestamp,
    meant: SystemTime,
}

impl TryFrom<String> for Time {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        let written: Timestamp = text.parse()?;
        let meant = written.try_into()?;
        Ok(Self { written, meant })
    }
}

impl From<Time> for String {
    fn from(time: Time) -> Self {
        time.written.to_string()
    }
}

fn written(meant: SystemTime) -> Result<Time> {
    let time = Timestamp::try_from(meant).map(|written| Time { written, meant });
    time.map_err(|source| Error::new(ErrorKind::InvalidInput, "a date is too far away to be written down").with_source(source))
}

fn read(time: Time) -> SystemTime {
    time.meant
}

impl SecretDocument {
    fn new(secret: &SecretEntry) -> Result<Self> {
        let time = |time: Option<SystemTime>| {
            let time = time.map(written).transpose();
            time.map_err(|error| error.with("name", secret.name.as_str()))
        };
        Ok(Self {
            name: secret.name.as_str().to_owned(),
            version: secret.version.as_ref().map(|version| version.as_str().to_owned()),
            created: time(secret.created)?,
            updated: time(secret.updated)?,
            expires: time(secret.expires_at)?,
            base: secret.base,
        })
    }

    fn read(self, bases: usize) -> Result<SecretEntry> {
        if self.base.is_some_and(|base| base >= bases) {
            return Err(corrupt("the snapshot does not name all that it builds on"));
        }
        let wrong = |source| corrupt("the manifest of the snapshot has a wrong name or version").with_source(source);
        Ok(SecretEntry {
            name: SecretName::new(self.name).map_err(wrong)?,
            version: self.version.map(Version::new).transpose().map_err(wrong)?,
            created: self.created.map(read),
            updated: self.updated.map(read),
            expires_at: self.expires.map(read),
            base: self.base,
        })
    }
}

impl From<&KeySlot> for Slot {
    fn from(slot: &KeySlot) -> Self {
        Self {
            key: slot.kek.to_string(),
            source: slot.source.clone(),
            wrapped: BASE64.encode(&slot.wrapped),
        }
    }
}

impl Slot {
    fn read(self) -> Result<KeySlot> {
        let wrong = || corrupt("the manifest of the snapshot has a wrong key slot");
        Ok(KeySlot {
            kek: self.key.parse::<KekId>().map_err(|_| wrong())?,
            source: self.source,
            wrapped: BASE64.decode(self.wrapped.as_bytes()).map_err(|_| wrong())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"id":"000102030405060708090a0b0c0d0e0f","begun":"2026-01-01T00:00:00Z","finished":"2026-01-01T00:00:01Z",
        "store":"memory","location":"here","prefix":"","keeps":["tags"],"whole":true,"slots":[],"blocks":[4202],
        "secrets":[{"name":"a","version":"1"},{"name":"b","expires":"2030-01-01T00:00:00.000000001Z"}]}"#;

    fn refused(json: &str) -> bool {
        from_json(json.as_bytes(), 1).is_err_and(|error| error.kind() == ErrorKind::Corrupt)
    }

    #[test]
    fn a_manifest_is_written_as_it_was_read() {
        let manifest = from_json(GOOD.as_bytes(), 1).unwrap();
        assert_eq!(from_json(&to_json(&manifest).unwrap(), 1).unwrap(), manifest);
        assert_eq!((manifest.summary.secrets, manifest.summary.own), (2, 2));
    }

    #[test]
    fn what_is_not_exactly_a_manifest_is_refused() {
        for (right, wrong) in [
            ("\"b\"", "\"a\""),
            ("\"b\"", "\"A\""),
            ("\"b\"", "\"../b\""),
            ("\"1\"", "\"\""),
            ("\"version\"", "\"versions\""),
            ("\"version\":\"1\"", "\"base\":0"),
            ("2030-01-01T", "2030-13-01T"),
            ("000102", "00010"),
            ("[4202]", "[-1]"),
            ("\"whole\":true,", ""),
            ("[\"tags\"]", "[\"colours\"]"),
            (
                "\"slots\":[]",
                "\"slots\":[{\"key\":\"00\",\"source\":\"key:\",\"wrapped\":\"\"}]",
            ),
        ] {
            assert!(GOOD.contains(right) && !refused(GOOD));
            assert!(refused(&GOOD.replacen(right, wrong, 1)), "{right} -> {wrong}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, place in 0..GOOD.len(), byte: u8) {
            let _ = from_json(&bytes, 1);
            let mut changed = GOOD.as_bytes().to_vec();
            changed[place] = byte;
            let _ = from_json(&changed, 1);
        }
    }
}
