//! What keyfob notes about a secret: annotations, and one label.
//!
//! | annotation | what |
//! |---|---|
//! | `keyfob.description` | the description, as it is |
//! | `keyfob.tags` | all tags, as a JSON object |
//! | `keyfob.expires` | `VERSION=SECONDS`, separated by spaces: when a version expires, in seconds since 1970, or `-` for never |
//! | `keyfob.deleted` | `SECONDS VERSIONS`: when the secret was deleted, and which versions were enabled (`1-3,5`) |
//! | `keyfob.begun` | when a write last noted something for a version that was yet to come, in milliseconds since 1970 |
//!
//! Annotations are read one secret at a time. So that a batch of values can be checked with one request, a secret with an
//! expiry or a deletion also has the label `keyfob` with the value `check`: a listing can be asked for those that have it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ranges::Ranges;

pub(crate) const DESCRIPTION: &str = "keyfob.description";
pub(crate) const TAGS: &str = "keyfob.tags";
pub(crate) const EXPIRES: &str = "keyfob.expires";
pub(crate) const DELETED: &str = "keyfob.deleted";
pub(crate) const BEGUN: &str = "keyfob.begun";
/// Marks secrets whose annotations every read must obey.
pub(crate) const LABEL: &str = "keyfob";
pub(crate) const LABEL_VALUE: &str = "check";

/// Expiries are kept for so many versions, the newest.
const MOST_EXPIRIES: usize = 200;

/// Annotations and labels of a secret: ours understood, others as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) description: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) expiries: Expiries,
    pub(crate) deletion: Option<Deletion>,
    pub(crate) begun: Option<SystemTime>,
    /// What is not keyfob's. It is kept.
    others: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

/// A deletion that can be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deletion {
    pub(crate) at: SystemTime,
    /// The versions that were enabled.
    pub(crate) enabled: Ranges,
}

impl Notes {
    pub(crate) fn read(annotations: &HashMap<String, String>, labels: &HashMap<String, String>) -> Self {
        let text = |key: &str| annotations.get(key).map(String::as_str);
        let ours = [DESCRIPTION, TAGS, EXPIRES, DELETED, BEGUN];
        Self {
            description: text(DESCRIPTION).filter(|text| !text.is_empty()).map(str::to_owned),
            // Somebody else may have written there.
            tags: text(TAGS)
                .and_then(|json| serde_json::from_str(json).ok())
                .unwrap_or_default(),
            expiries: text(EXPIRES).map(Expiries::read).unwrap_or_default(),
            deletion: text(DELETED).map(Deletion::read),
            begun: text(BEGUN)
                .and_then(|text| text.parse().ok())
                .map(|milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds)),
            others: kept(annotations, &ours),
            labels: kept(labels, &[LABEL]),
        }
    }

    /// All annotations, those of others too.
    pub(crate) fn annotations(&self) -> BTreeMap<String, String> {
        let mut all = self.others.clone();
        let mut set = |key: &str, text: Option<String>| text.map(|text| all.insert(key.to_owned(), text));
        set(DESCRIPTION, self.description.clone());
        let tags = (!self.tags.is_empty()).then(|| serde_json::to_string(&self.tags).unwrap_or_default());
        set(TAGS, tags);
        set(EXPIRES, self.expiries.written());
        set(DELETED, self.deletion.as_ref().map(Deletion::written));
        set(BEGUN, self.begun.map(|at| since_1970(at).as_millis().to_string()));
        all
    }

    /// All labels, those of others too.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let mut all = self.labels.clone();
        if self.deletion.is_some() || !self.expiries.0.is_empty() {
            all.insert(LABEL.to_owned(), LABEL_VALUE.to_owned());
        }
        all
    }

    /// How many bytes of annotations that is.
    pub(crate) fn size(&self) -> usize {
        self.annotations().iter().map(|(key, text)| key.len() + text.len()).sum()
    }
}

fn kept(all: &HashMap<String, String>, without: &[&str]) -> BTreeMap<String, String> {
    let others = all.iter().filter(|(key, _)| !without.contains(&key.as_str()));
    others.map(|(key, text)| (key.clone(), text.clone())).collect()
}

/// When versions expire. A version that isn't named has no expiry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expiries(BTreeMap<u64, Option<u64>>);

impl Expiries {
    fn read(text: &str) -> Self {
        let entries = text.split_whitespace().filter_map(|entry| {
            let (version, expiry) = entry.split_once('=')?;
            let expiry = match expiry {
                "-" => None,
                seconds => Some(seconds.parse().ok()?),
            };
            Some((version.parse().ok()?, expiry))
        });
        Self(entries.collect())
    }

    fn written(&self) -> Option<String> {
        let entries: Vec<String> = self
            .0
            .iter()
            .map(|(version, expiry)| expiry.map_or_else(|| format!("{version}=-"), |seconds| format!("{version}={seconds}")))
            .collect();
        (!entries.is_empty()).then(|| entries.join(" "))
    }

    /// When this version expires.
    pub(crate) fn of(&self, version: u64) -> Option<SystemTime> {
        self.0.get(&version).copied().flatten().and_then(time)
    }

    /// When the newest version expires of which anything is noted.
    pub(crate) fn newest(&self) -> Option<SystemTime> {
        self.0.last_key_value().and_then(|(_, expiry)| *expiry).and_then(time)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The newest version of which anything is noted, or zero.
    pub(crate) fn last_version(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(version, _)| *version)
    }

    /// Notes the expiry of a version: whole seconds, never later than asked for.
    pub(crate) fn set(&mut self, version: u64, expires_at: Option<SystemTime>) {
        self.0.insert(version, expires_at.map(|time| since_1970(time).as_secs()));
        while self.0.len() > MOST_EXPIRIES {
            self.0.pop_first();
        }
        self.tidy();
    }

    /// Forgets what is noted of versions after this one: a write that was broken off left it, and never made the version.
    pub(crate) fn forget_after(&mut self, version: u64) {
        self.0.retain(|noted, _| *noted <= version);
        self.tidy();
    }

    /// Where nothing expires, nothing has to be noted.
    fn tidy(&mut self) {
        if self.0.values().all(Option::is_none) {
            self.0.clear();
        }
    }
}

impl Deletion {
    /// A note that can't be read is one all the same: what was deleted is not handed out for that.
    fn read(text: &str) -> Self {
        let (seconds, versions) = text.split_once(' ').unwrap_or((text, ""));
        Self {
            at: seconds.parse().ok().and_then(time).unwrap_or(UNIX_EPOCH),
            enabled: Ranges::read(versions),
        }
    }

    fn written(&self) -> String {
        format!("{} {}", since_1970(self.at).as_secs(), self.enabled)
    }
}

/// The expiry as it is kept.
pub(crate) fn kept_expiry(time: SystemTime) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(since_1970(time).as_secs())
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn maps(notes: &Notes) -> (HashMap<String, String>, HashMap<String, String>) {
        (
            notes.annotations().into_iter().collect(),
            notes.labels().into_iter().collect(),
        )
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_others_wrote_stays() {
        let annotations = HashMap::from([("team".to_owned(), "x".to_owned()), (EXPIRES.to_owned(), "1=5".to_owned())]);
        let labels = HashMap::from([
            ("env".to_owned(), "prod".to_owned()),
            (LABEL.to_owned(), LABEL_VALUE.to_owned()),
        ]);
        let mut notes = Notes::read(&annotations, &labels);
        assert_eq!(maps(&notes), (annotations, labels));
        notes.expiries.set(1, None);
        let (annotations, labels) = maps(&notes);
        assert_eq!(annotations.get("team").map(String::as_str), Some("x"));
        assert_eq!(labels, HashMap::from([("env".to_owned(), "prod".to_owned())]));
        assert_eq!(annotations.len(), 1);
    }

    #[test]
    fn expiries_belong_to_versions() {
        let mut expiries = Expiries::default();
        expiries.set(1, Some(at(10) + Duration::from_millis(900)));
        expiries.set(2, None);
        assert_eq!((expiries.of(1), expiries.of(2), expiries.of(3)), (Some(at(10)), None, None));
        assert_eq!(expiries.newest(), None);
        assert_eq!(Expiries::read(&expiries.written().unwrap()), expiries);
        expiries.set(3, Some(at(20)));
        assert_eq!(expiries.newest(), Some(at(20)));
        expiries.forget_after(2);
        assert_eq!((expiries.of(3), expiries.newest()), (None, None));
    }

    #[test]
    fn nothing_is_noted_where_nothing_expires() {
        let mut expiries = Expiries::default();
        expiries.set(7, None);
        assert!(expiries.is_empty());
    }

    #[test]
    fn the_oldest_expiries_are_forgotten_before_there_is_no_room() {
        let mut expiries = Expiries::default();
        for version in 1..=1_000 {
            expiries.set(version, Some(at(4_102_444_800 + version)));
        }
        assert_eq!((expiries.of(800), expiries.of(801)), (None, Some(at(4_102_444_800 + 801))));
        assert!(expiries.written().unwrap().len() < 4096);
    }

    #[test]
    fn nonsense_is_read_without_harm_and_a_deletion_stays_one() {
        let annotations = HashMap::from([
            (
                EXPIRES.to_owned(),
                "x 1=y 2=5 =3 9999999999999999999999=1 4=18446744073709551615".to_owned(),
            ),
            (TAGS.to_owned(), "[1]".to_owned()),
            (DELETED.to_owned(), "nonsense".to_owned()),
        ]);
        let notes = Notes::read(&annotations, &HashMap::new());
        assert_eq!((notes.expiries.of(2), notes.expiries.of(4)), (Some(at(5)), None));
        assert!(notes.tags.is_empty() && notes.deletion.is_some());
    }

    proptest! {
        #[test]
        fn notes_come_back_as_written(
            description in proptest::option::of(".{1,40}"),
            tags in proptest::collection::btree_map(".{0,20}", ".{0,20}", 0..5),
            expiries in proptest::collection::btree_map(1u64..50, proptest::option::of(0u64..9_999_999_999), 0..5),
            versions in proptest::collection::btree_set(1u64..50, 0..20),
        ) {
            let mut expiries = Expiries(expiries);
            expiries.tidy();
            let notes = Notes {
                description,
                tags,
                expiries,
                deletion: Some(Deletion { at: at(5), enabled: versions.into_iter().collect() }),
                begun: Some(at(6)),
                ..Notes::default()
            };
            let (annotations, labels) = maps(&notes);
            prop_assert_eq!(Notes::read(&annotations, &labels), notes);
        }
    }
}
