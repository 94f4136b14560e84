//! Description, tags and expiry in custom metadata.
//!
//! The engine keeps custom metadata for a secret, not for a version, and writes it apart from the value. So that a
//! reader never sees a value with another version's metadata, keyfob writes a *record* for the version to come before
//! the value: keys `keyfob-VERSION-ID-PART-PARTS`, whose values joined are a JSON document. A version has the newest
//! record that is not newer than itself; later versions inherit it.
//!
//! A record written for a version that then never came about (the writer died, or lost a race) must not fall to a
//! version that somebody else makes later: until its value is there it says when it was made, and it counts only for a
//! version that the server made at about that time.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keyfob_core::{Error, ErrorKind, Result};

use super::entry::{Custom, Entry, PREFIX, Record, place};

/// What a change of custom metadata sends: `None` takes a key away.
pub(crate) type Patch = BTreeMap<String, Option<String>>;

/// The most keys of one secret.
const MAX_KEYS: usize = 64;

/// All that a secret's custom metadata says.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Ascending by version.
    entries: Vec<Entry>,
    /// What is there without keyfob.
    foreign: Custom,
    /// All keys that are there.
    keys: Vec<String>,
}

impl Records {
    /// # Errors
    /// `Corrupt` when a part is missing or not what keyfob writes: an expiry could be lost.
    pub(crate) fn parse(custom: Option<&Custom>) -> Result<Self> {
        let mut records = Self::default();
        let mut parts: BTreeMap<(u64, &str, usize), BTreeMap<usize, &str>> = BTreeMap::new();
        for (key, value) in custom.into_iter().flatten() {
            records.keys.push(key.clone());
            match key.strip_prefix(PREFIX).map(place) {
                Some(Some((version, id, part, of))) => {
                    parts.entry((version, id, of)).or_default().insert(part, value);
                }
                Some(None) => return Err(damaged()),
                None => {
                    records.foreign.insert(key.clone(), value.clone());
                }
            }
        }
        for ((version, id, of), parts) in parts {
            if parts.len() != of || parts.keys().copied().ne(1..=of) {
                return Err(damaged());
            }
            let json: String = parts.into_values().collect();
            records.entries.push(Entry::decode(version, id, &json).ok_or_else(damaged)?);
        }
        Ok(records)
    }

    /// What a version has.
    ///
    /// Custom metadata that others wrote counts as tags for as long as keyfob has written none. Two records for one
    /// version are left by writers that raced each other when one of them died: then the earlier expiry holds.
    pub(crate) fn of(&self, version: u64, created: Option<Timestamp>) -> Record {
        let mut newest: Option<(u64, Record)> = None;
        for entry in self.entries.iter().filter(|entry| entry.version <= version) {
            if entry.version == version && !entry.fits(created) {
                continue;
            }
            newest = match newest {
                Some((number, mut record)) if number == entry.version => {
                    record.expires = match (record.expires, entry.record.expires) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                    Some((number, record))
                }
                _ => Some((entry.version, entry.record.clone())),
            };
        }
        match newest {
            Some((_, record)) => record,
            None => Record {
                tags: self.foreign.clone(),
                ..Record::default()
            },
        }
    }

    /// Leaves out what `patch` takes away, without giving its room free.
    pub(crate) fn forget(&mut self, patch: &Patch) {
        let gone = |entry: &Entry| {
            let begin = entry.begin();
            patch.iter().any(|(key, value)| value.is_none() && key.starts_with(&begin))
        };
        self.entries.retain(|entry| !gone(entry));
    }

    /// Whether a new version inherits exactly this from the `current` one, whatever writers that are on their way do:
    /// the record of one that loses is taken away again.
    pub(crate) fn surely_inherits(&self, record: &Record, current: u64) -> bool {
        let now = Timestamp::now();
        let newest = self.entries.iter().map(|entry| entry.version).max();
        newest.is_none_or(|newest| newest <= current && self.at(newest).all(|entry| entry.is_left_over(now)))
            && self.of(current + 1, None) == *record
    }

    /// The records of exactly this version.
    pub(crate) fn at(&self, version: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.version == version)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What takes `entries` away.
    pub(crate) fn without<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>) -> Patch {
        let mut patch = Patch::new();
        for entry in entries {
            let begin = entry.begin();
            patch.extend(
                self.keys
                    .iter()
                    .filter(|key| key.starts_with(&begin))
                    .map(|key| (key.clone(), None)),
            );
        }
        patch
    }

    /// What takes away the records that no version has any more: those left over for the version after `current`, and
    /// those that a newer one hides from the `oldest` version that is kept.
    pub(crate) fn without_outdated(&self, oldest: u64, current: u64) -> Patch {
        let now = Timestamp::now();
        let governing = self
            .entries
            .iter()
            .map(|entry| entry.version)
            .filter(|version| *version <= oldest)
            .max();
        self.without(self.entries.iter().filter(|entry| match entry.version > current {
            true => entry.is_left_over(now),
            false => governing.is_some_and(|governing| entry.version < governing),
        }))
    }

    /// Checks that there is room after `patch`.
    pub(crate) fn check_room(&self, patch: &Patch) -> Result<()> {
        let kept = self.keys.iter().filter(|key| !patch.contains_key(*key)).count();
        let added = patch.values().flatten().count();
        if kept + added <= MAX_KEYS {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "the secret's custom metadata is full: Vault takes 64 keys",
        )
        .with_hint("fewer tags, or fewer versions with an expiry of their own (`vault kv metadata put -max-versions`)"))
    }
}

/// What adds a record.
pub(crate) fn with(parts: &Custom) -> Patch {
    parts.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
}

fn damaged() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the custom metadata that begins with `keyfob-` is not as keyfob writes it",
    )
    .with_hint(
        "somebody changed it; `vault kv metadata get` shows it, writing the secret anew after deleting it for good mends it",
    )
}

#[cfg(test)]
mod tests {
    use super::super::entry::MAX_PART;
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn described(text: &str) -> Record {
        Record {
            description: Some(text.to_owned()),
            ..Record::default()
        }
    }

    fn parse(entries: &[Entry]) -> Records {
        let custom = entries.iter().flat_map(|entry| entry.encode().unwrap()).collect();
        Records::parse(Some(&custom)).unwrap()
    }

    #[test]
    fn a_record_comes_back_whatever_its_text() {
        let record = Record {
            description: Some("two\nlines é 🔑 \"x\" \u{7f} ".repeat(100)),
            tags: BTreeMap::from([("a".to_owned(), " b ".to_owned())]),
            expires: Some(second(4_102_444_800)),
        };
        let parts = Entry::settled(3, record.clone()).encode().unwrap();
        assert!(parts.len() > 1);
        for (key, value) in &parts {
            assert!(key.len() <= 128 && !value.is_empty() && value.len() <= MAX_PART);
            assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        assert_eq!(Records::parse(Some(&parts)).unwrap().of(3, None), record);
    }

    #[test]
    fn versions_inherit_and_never_from_a_newer_one() {
        let records = parse(&[Entry::settled(2, described("two")), Entry::settled(5, described("five"))]);
        for (version, expected) in [
            (1, None),
            (2, Some("two")),
            (4, Some("two")),
            (5, Some("five")),
            (9, Some("five")),
        ] {
            assert_eq!(records.of(version, None).description.as_deref(), expected, "{version}");
        }
    }

    #[test]
    fn a_record_left_over_does_not_fall_to_a_later_write() {
        let mut left_over = Entry::pending(2, described("left over"));
        left_over.made = Some(second(1_000_000));
        let records = parse(&[Entry::settled(1, described("one")), left_over]);
        let at = |time| records.of(2, Some(second(time))).description;
        assert_eq!(at(1_000_010).as_deref(), Some("left over"));
        assert_eq!(at(1_000_301).as_deref(), Some("one"));
        assert_eq!(at(999_000).as_deref(), Some("one"));
    }

    #[test]
    fn of_two_records_the_earlier_expiry_holds() {
        let expires = |time| Record {
            expires: Some(second(time)),
            ..Record::default()
        };
        let records = parse(&[
            Entry::settled(1, expires(2_000)),
            Entry::settled(1, expires(1_000)),
            Entry::settled(1, Record::default()),
        ]);
        assert_eq!(records.of(1, None).expires, Some(second(1_000)));
    }

    #[test]
    fn others_metadata_are_tags_until_there_is_a_record() {
        let mut custom = Custom::from([("owner".to_owned(), "web".to_owned())]);
        assert_eq!(Records::parse(Some(&custom)).unwrap().of(1, None).tags, custom);
        custom.extend(Entry::settled(1, described("x")).encode().unwrap());
        assert!(Records::parse(Some(&custom)).unwrap().of(1, None).tags.is_empty());
    }

    #[test]
    fn a_part_that_is_missing_or_changed_is_damage() {
        let whole = Entry::settled(1, described(&"x".repeat(2_000))).encode().unwrap();
        assert!(Records::parse(Some(&whole)).is_ok());
        for key in whole.keys() {
            let mut without = whole.clone();
            without.remove(key);
            assert_eq!(Records::parse(Some(&without)).unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let first = Custom::from_iter(whole.keys().map(|key| (key.clone(), "{".to_owned())));
        assert_eq!(Records::parse(Some(&first)).unwrap_err().kind(), ErrorKind::Corrupt);
        let other = Custom::from([("keyfob-x".to_owned(), "y".to_owned())]);
        assert!(Records::parse(Some(&other)).is_err());
    }

    #[test]
    fn only_what_no_version_has_is_taken_away() {
        let mut left_over = Entry::pending(7, described("left over"));
        left_over.made = Some(second(0));
        let entries = [
            Entry::settled(1, described("1")),
            Entry::settled(3, described("3")),
            Entry::settled(5, described("5")),
            Entry::pending(7, described("another's, on its way")),
            left_over,
            Entry::after_delete(6),
        ];
        let gone = parse(&entries).without_outdated(4, 6);
        let gone: Vec<bool> = entries
            .iter()
            .map(|entry| entry.encode().unwrap().keys().all(|key| gone.contains_key(key)))
            .collect();
        assert_eq!(gone, [true, false, false, false, true, true]);
    }

    #[test]
    fn nothing_is_inherited_from_a_writer_that_is_on_its_way() {
        let old = |version, text| Entry {
            made: Some(second(0)),
            ..Entry::settled(version, described(text))
        };
        let surely = |entries: &[Entry]| parse(entries).surely_inherits(&described("x"), 2);
        assert!(surely(&[old(1, "x")]));
        assert!(surely(&[Entry::settled(2, described("x"))]));
        assert!(!surely(&[old(1, "y")]));
        assert!(!surely(&[Entry::pending(2, described("x"))]));
        assert!(!surely(&[old(1, "x"), Entry::pending(3, described("x"))]));
        assert!(!surely(&[old(1, "x"), Entry::after_delete(2)]));
        assert!(Records::default().surely_inherits(&Record::default(), 2));
    }

    #[test]
    fn what_is_forgotten_is_not_inherited_but_still_takes_room() {
        let (kept, lost) = (Entry::settled(1, described("kept")), Entry::pending(2, described("lost")));
        let mut records = parse(&[kept, lost.clone()]);
        let patch = records.without([&lost]);
        records.forget(&patch);
        assert_eq!(records.of(2, None).description.as_deref(), Some("kept"));
        assert_eq!(records.keys.len(), 2);
    }

    #[test]
    fn what_has_no_room_is_refused() {
        assert_eq!(
            Entry::settled(1, described(&"x".repeat(20_000))).encode().unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        let full: Custom = (0..64).map(|index| (format!("key-{index}"), "x".to_owned())).collect();
        let records = Records::parse(Some(&full)).unwrap();
        let patch = with(&Entry::settled(1, described("x")).encode().unwrap());
        assert_eq!(records.check_room(&patch).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(records.check_room(&Patch::new()).is_ok());
    }
}
