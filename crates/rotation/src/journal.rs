//! What is written down about the rotations of one secret. Never a value.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use keyfob_core::{Error, ErrorKind, Result, SecretName, SecretValue, Version};
use serde::{Deserialize, Serialize};

use crate::phase::Phase;

const FORMAT: u32 = 1;

/// The whole document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    keyfob_rotation: u32,
    /// Whose journal this is, so that a copy under another name is noticed.
    secret: String,
    /// How often a lease was taken. Never falls.
    pub(crate) fence: u64,
    /// How often this was written. Makes every writing another text.
    pub(crate) revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Lease>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) under_way: Option<UnderWay>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last: Option<Last>,
}

/// Who alone may go on, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    #[serde(with = "time")]
    pub(crate) until: SystemTime,
}

/// A rotation that has begun and is not over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnderWay {
    pub(crate) id: String,
    pub(crate) rotator: String,
    pub(crate) phase: Phase,
    #[serde(with = "time")]
    pub(crate) started: SystemTime,
    /// Whether the value to come is the one from before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) reverse: bool,
    /// For `reverse`: the version that comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The version that was current when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) old_version: Option<String>,
    /// The version that has become current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) new_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::option")]
    pub(crate) grace_until: Option<SystemTime>,
    /// How many runs have failed in this phase.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// The kind of the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "kind::option")]
    pub(crate) failed: Option<ErrorKind>,
    /// The rotator's own notes.
    #[serde(default)]
    pub(crate) data: BTreeMap<String, String>,
}

/// The last rotation that is over.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Last {
    pub(crate) id: String,
    pub(crate) rotator: String,
    pub(crate) ended: Ended,
    #[serde(with = "time")]
    pub(crate) at: SystemTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) old_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) new_version: Option<String>,
    /// Why it was rolled back, if an error was the reason.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "kind::option")]
    pub(crate) failed: Option<ErrorKind>,
}

/// How a rotation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ended {
    /// The new value is current and the old one revoked.
    Completed,
    /// The new value never became current and is withdrawn.
    RolledBack,
    /// Somebody made the value current that was to be revoked, so nothing was revoked.
    Superseded,
}

impl Ended {
    /// The stable token, for example `rolled_back`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
        }
    }
}

impl Journal {
    pub(crate) fn new(secret: &SecretName) -> Self {
        Self {
            keyfob_rotation: FORMAT,
            secret: secret.as_str().to_owned(),
            fence: 0,
            revision: 0,
            lease: None,
            under_way: None,
            last: None,
        }
    }

    /// # Errors
    /// `Corrupt` for anything but a journal of this secret, `Unsupported` for one of a newer keyfob.
    pub(crate) fn parse(value: &SecretValue, secret: &SecretName, place: &SecretName) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            keyfob_rotation: u32,
        }
        // The parser's own message could repeat what somebody put there.
        let corrupt = |message: &'static str| {
            Error::new(ErrorKind::Corrupt, message)
                .with("name", place.as_str())
                .with_hint("see what is there; without a journal the next rotation begins anew")
        };
        let bytes = value.expose_secret();
        let format: Format = serde_json::from_slice(bytes).map_err(|_| corrupt("this is no journal of a rotation"))?;
        if format.keyfob_rotation > FORMAT {
            return Err(
                Error::new(ErrorKind::Unsupported, "the journal was written by a newer keyfob").with("name", place.as_str()),
            );
        }
        let journal: Self = serde_json::from_slice(bytes).map_err(|_| corrupt("the journal of the rotation is damaged"))?;
        if journal.secret != secret.as_str() {
            return Err(corrupt("the journal belongs to another secret").with("secret", journal.secret));
        }
        Ok(journal)
    }

    /// # Errors
    /// `InvalidInput` for a time that can't be written, far from the present.
    pub(crate) fn text(&self) -> Result<SecretValue> {
        serde_json::to_string(self)
            .map(SecretValue::from)
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "a time is too far away to be written down"))
    }
}

/// The token as the journal keeps it.
pub(crate) fn token(version: Option<&Version>) -> Option<String> {
    version.map(|version| version.as_str().to_owned())
}

/// In UTC, as RFC 3339 has it.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "another age".to_owned(), |time| format!("{time:.0}"))
}

mod time {
    use super::{Deserialize, SystemTime, Timestamp};
    use serde::{Deserializer, Serializer, de, ser};

    pub(super) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let time = Timestamp::try_from(*time).map_err(ser::Error::custom)?;
        serializer.collect_str(&time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let time: Timestamp = text.parse().map_err(de::Error::custom)?;
        SystemTime::try_from(time).map_err(de::Error::custom)
    }

    pub(super) mod option {
        use super::{Deserialize, Deserializer, Serializer, SystemTime};

        pub(crate) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
            #[derive(Deserialize)]
            struct Time(#[serde(with = "super")] SystemTime);
            Ok(Option::<Time>::deserialize(deserializer)?.map(|Time(time)| time))
        }
    }
}

mod kind {
    pub(super) mod option {
        use keyfob_core::ErrorKind;
        use serde::{Deserialize, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(kind: &Option<ErrorKind>, serializer: S) -> Result<S::Ok, S::Error> {
            match kind {
                Some(kind) => serializer.serialize_str(kind.as_str()),
                None => serializer.serialize_none(),
            }
        }

        /// A kind that this version doesn't know is *other*.
        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ErrorKind>, D::Error> {
            let token = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            Ok(token.map(|token| {
                ErrorKind::ALL
                    .into_iter()
                    .find(|kind| kind.as_str() == token)
                    .unwrap_or(ErrorKind::Other)
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut journal = Journal::new(&name("a"));
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_250);
        journal.lease = Some(Lease {
            holder: "me".to_owned(),
            until: time,
        });
        journal.under_way = Some(UnderWay {
            id: "1-ab".to_owned(),
            rotator: "random".to_owned(),
            phase: Phase::Grace,
            started: time,
            reverse: true,
            source: None,
            old_version: Some("1".to_owned()),
            new_version: None,
            grace_until: Some(time),
            attempts: 2,
            failed: Some(ErrorKind::RateLimited),
            data: BTreeMap::from([("done".to_owned(), "17".to_owned())]),
        });
        let text = journal.text().unwrap();
        assert!(text.expose_str().unwrap().contains(r#""until":"2027-01-15T08:00:00.25Z""#));
        let read = Journal::parse(&text, &name("a"), &name("a.j")).unwrap();
        assert_eq!(read.text().unwrap().expose_str().unwrap(), text.expose_str().unwrap());
        assert_eq!(read.lease, journal.lease);
        assert_eq!(read.under_way.unwrap().failed, Some(ErrorKind::RateLimited));
    }

    #[test]
    fn what_is_no_journal_of_this_secret_is_refused_without_being_repeated() {
        let kind = |text: &str| {
            let error = Journal::parse(&SecretValue::from(text), &name("a"), &name("a.j")).unwrap_err();
            assert!(!format!("{error:?}").contains("kfcanary-"), "{error:?}");
            error.kind()
        };
        assert_eq!(kind("kfcanary-journal0001"), ErrorKind::Corrupt);
        assert_eq!(kind(r#"{"keyfob_rotation":2}"#), ErrorKind::Unsupported);
        assert_eq!(
            kind(r#"{"keyfob_rotation":1,"secret":"a","fence":1,"revision":1,"kfcanary-key000001":1}"#),
            ErrorKind::Corrupt
        );
        assert_eq!(
            kind(r#"{"keyfob_rotation":1,"secret":"b","fence":1,"revision":1}"#),
            ErrorKind::Corrupt
        );
        assert!(
            Journal::parse(
                &SecretValue::from(r#"{"keyfob_rotation":1,"secret":"a","fence":1,"revision":1}"#),
                &name("a"),
                &name("a.j")
            )
            .is_ok()
        );
    }
}
