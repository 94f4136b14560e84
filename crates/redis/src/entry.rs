//! One answer as Redis keeps it: sealed, bound to what it answers, with the moment at which the store was asked.
//!
//! `ASKED:SEALED`. `ASKED` is Redis's time in milliseconds, in decimal, for the script that keeps the newer of two; it is not
//! believed. Sealed are the length of a header (4 bytes, big endian), the header (JSON), and the value.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use keyfob_core::{
    ErrorKind, Metadata, PassedOver, Secret, SecretName, SecretValue, SharedRead, SharedSecret, Version, VersionSelector,
};
use keyfob_envelope::{Context, KeyEncryptionKey, Sealed, StoreId};
use serde::{Deserialize, Serialize};

/// When the store was asked, by the two clocks that a reader can compare it with, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// By the clock of Redis, which all machines share.
    pub(crate) redis_ms: u64,
    /// By the clock of the machine that asked, which Redis can't set.
    pub(crate) machine_ms: u64,
}

/// Whoever seems to have asked so much later than now has a clock that says nothing.
const MOST_AHEAD_MS: u64 = 60_000;

impl Asked {
    /// How long ago that was at `now`, at least; `None` when the clocks can't be right.
    ///
    /// While Redis's clock runs on, the first difference is exact, whatever the machines' clocks say. Whoever has Redis in
    /// his hands can make it small, but not the second, which is wrong by as much as the clocks of two machines differ.
    pub(crate) fn age(self, now: Self) -> Option<Duration> {
        let by_redis = now.redis_ms.checked_sub(self.redis_ms)?;
        if self.machine_ms > now.machine_ms.saturating_add(MOST_AHEAD_MS) {
            return None;
        }
        let by_machine = now.machine_ms.saturating_sub(self.machine_ms);
        // Both ends are rounded down.
        Some(Duration::from_millis(by_redis.max(by_machine).saturating_add(1)))
    }
}

/// What an entry is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) store: StoreId,
    pub(crate) read: SharedRead<'a>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    asked: Asked,
    lifetime_ms: u64,
    store: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<Passed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Passed {
    store: String,
    member: String,
    kind: String,
    asked: bool,
}

/// Seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Moment(i64, u32);

/// The bytes for Redis, without `ASKED:`, which the script adds. `None` for what is too long, or has no place in an entry.
pub(crate) fn seal(
    key: &KeyEncryptionKey,
    place: Place<'_>,
    secret: &Secret,
    asked: Asked,
    lifetime_ms: u64,
    max_bytes: usize,
) -> Option<Vec<u8>> {
    if secret.value.len() > max_bytes {
        return None;
    }
    let header = serde_json::to_vec(&Header::of(&secret.metadata, asked, lifetime_ms)?).ok()?;
    if header.len() > MOST_HEADER {
        return None;
    }
    let value = secret.value.expose_secret();
    // Exactly as long as it gets: a vector that grew would leave a copy behind.
    let mut plain = Vec::with_capacity(4 + header.len() + value.len());
    plain.extend_from_slice(&u32::try_from(header.len()).ok()?.to_be_bytes());
    plain.extend_from_slice(&header);
    plain.extend_from_slice(value);
    let bound = selector(place.read.version);
    let sealed = place.key(key).seal(&place.context(&bound), &SecretValue::new(plain)).ok()?;
    Some(sealed.to_bytes())
}

/// Reads an entry. `Ok(None)` when it is genuine but too old; `Err` when it is not what [`seal`] made for this place.
pub(crate) fn open(
    key: &KeyEncryptionKey,
    place: Place<'_>,
    entry: &[u8],
    now: Asked,
    max_bytes: usize,
) -> Result<Option<SharedSecret>, Refused> {
    let digits = entry.iter().take(20).position(|byte| *byte == b':').ok_or(Refused)?;
    let bytes = &entry[digits + 1..];
    if bytes.len() > max_bytes + MOST_HEADER + OVERHEAD {
        return Err(Refused);
    }
    let sealed = Sealed::parse(bytes).map_err(|_| Refused)?;
    let bound = selector(place.read.version);
    let plain = place
        .key(key)
        .open(&place.context(&bound), &sealed.wrapped_key, &sealed.ciphertext)
        .map_err(|_| Refused)?;
    let (length, rest) = plain.expose_secret().split_first_chunk::<4>().ok_or(Refused)?;
    let (header, value) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(Refused)?;
    let header: Header = serde_json::from_slice(header).map_err(|_| Refused)?;
    let Some(age) = header.asked.age(now) else {
        return Ok(None);
    };
    if age >= Duration::from_millis(header.lifetime_ms) {
        return Ok(None);
    }
    let metadata = header.metadata(place.read.name).ok_or(Refused)?;
    let secret = Secret::new(SecretValue::new(value.to_vec()), metadata);
    Ok(Some(SharedSecret { secret, age }))
}

/// An entry that was changed, is damaged, or belongs elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// What is known about a secret besides its value, in bytes.
const MOST_HEADER: usize = 64 << 10;
/// More than sealing adds.
const OVERHEAD: usize = 256;

impl<'a> Place<'a> {
    /// A key for each name, so that no key seals too many values, however long a fleet keeps its key.
    fn key(self, root: &KeyEncryptionKey) -> KeyEncryptionKey {
        root.child(&format!("cache 1 {}", self.read.name), self.store)
    }

    fn context<'b>(self, selector: &'b [u8]) -> Context<'b>
    where
        'a: 'b,
    {
        Context {
            store: self.store,
            name: self.read.name.as_str(),
            version: FORMAT,
            metadata: selector,
        }
    }
}

/// Of the header.
const FORMAT: u64 = 1;

/// Which version was asked for, so that no two give the same bytes.
pub(crate) fn selector(version: &VersionSelector) -> Vec<u8> {
    match version {
        VersionSelector::Current => b"current".to_vec(),
        VersionSelector::Previous => b"previous".to_vec(),
        VersionSelector::Exact(version) => [b"exact ", version.as_str().as_bytes()].concat(),
    }
}

impl Header {
    /// `None` when there is more to say than a header can.
    fn of(metadata: &Metadata, asked: Asked, lifetime_ms: u64) -> Option<Self> {
        let moment = |time: Option<SystemTime>| match time {
            None => Some(None),
            Some(time) => Moment::of(time).map(Some),
        };
        let passed = |passed: &PassedOver| Passed {
            store: passed.store.to_string(),
            member: passed.member.to_string(),
            kind: passed.kind.as_str().to_owned(),
            asked: passed.asked,
        };
        Some(Self {
            asked,
            lifetime_ms,
            store: metadata.origin.store.to_string(),
            member: metadata.origin.member.as_ref().map(ToString::to_string),
            passed_over: metadata.origin.passed_over.iter().map(passed).collect(),
            version: metadata.version.as_ref().map(ToString::to_string),
            created: moment(metadata.created)?,
            updated: moment(metadata.updated)?,
            expires_at: moment(metadata.expires_at)?,
            description: metadata.description.clone(),
            tags: metadata.tags.clone(),
        })
    }

    fn metadata(self, name: &SecretName) -> Option<Metadata> {
        let moment = |moment: Option<Moment>| match moment {
            None => Some(None),
            Some(moment) => moment.time().map(Some),
        };
        let mut metadata = Metadata::new(name.clone(), self.store);
        metadata.version = self.version.map(Version::new).transpose().ok()?;
        metadata.created = moment(self.created)?;
        metadata.updated = moment(self.updated)?;
        metadata.expires_at = moment(self.expires_at)?;
        metadata.description = self.description;
        metadata.tags = self.tags;
        metadata.origin.member = self.member.map(Into::into);
        for passed in self.passed_over {
            let kind = ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == passed.kind)?;
            let mut passed_over = PassedOver::new(passed.store, kind);
            passed_over.member = passed.member.into();
            passed_over.asked = passed.asked;
            metadata.origin.passed_over.push(passed_over);
        }
        Some(metadata)
    }
}

impl Moment {
    fn of(time: SystemTime) -> Option<Self> {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Some(Self(i64::try_from(after.as_secs()).ok()?, after.subsec_nanos())),
            Err(before) => {
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).ok()?;
                match before.subsec_nanos() {
                    0 => Some(Self(-seconds, 0)),
                    nanos => Some(Self(-seconds - 1, 1_000_000_000 - nanos)),
                }
            }
        }
    }

    fn time(self) -> Option<SystemTime> {
        let Self(seconds, nanos) = self;
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let day = if seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)?
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)?
        };
        day.checked_add(Duration::from_nanos(nanos.into()))
    }
}

#[cfg(test)]
mod tests {
    use keyfob_envelope::RawKey;

    use super::*;

    const NOW: Asked = Asked {
        redis_ms: 1_000_000,
        machine_ms: 5_000_000,
    };
    const STORE: StoreId = StoreId([3; 16]);
    const VALUE: &str = "kfcanary-entryvalue1";

    fn key() -> KeyEncryptionKey {
        RawKey::new(&[9; 32]).shared_key()
    }

    fn name() -> SecretName {
        SecretName::new("team/db").unwrap()
    }

    fn secret() -> Secret {
        let mut metadata = Metadata::new(name(), "failover");
        let at = |seconds: u64| Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, 7));
        metadata.version = Some(Version::new("v-7").unwrap());
        metadata.created = SystemTime::UNIX_EPOCH.checked_sub(Duration::new(5, 3));
        metadata.updated = at(10);
        metadata.expires_at = at(1 << 33);
        metadata.description = Some("what it is for".into());
        metadata.tags = [("team".to_owned(), "db".to_owned())].into();
        metadata.origin.member = Some("aws-eu".into());
        let mut passed = PassedOver::new("vault", ErrorKind::Unavailable);
        passed.asked = false;
        passed.member = "vault-1".into();
        metadata.origin.passed_over = vec![passed];
        Secret::new(SecretValue::from(VALUE), metadata)
    }

    fn sealed(place: Place<'_>) -> Vec<u8> {
        let sealed = seal(&key(), place, &secret(), NOW, 60_000, 1 << 10).unwrap();
        [b"1000000:", sealed.as_slice()].concat()
    }

    fn later(redis_ms: u64, machine_ms: u64) -> Asked {
        Asked {
            redis_ms: NOW.redis_ms + redis_ms,
            machine_ms: NOW.machine_ms + machine_ms,
        }
    }

    #[test]
    fn an_answer_reads_back_as_it_was() {
        let (name, version) = (name(), VersionSelector::Current);
        let place = Place {
            store: STORE,
            read: SharedRead::new(&name, &version),
        };
        let found = open(&key(), place, &sealed(place), later(20, 10), 1 << 10).unwrap().unwrap();
        assert_eq!(found.age, Duration::from_millis(21));
        assert_eq!(*found.secret.metadata, *secret().metadata);
        assert!(found.secret.value.expose_secret() == VALUE.as_bytes());
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_refused() {
        let (name, version) = (name(), VersionSelector::Current);
        let place = Place {
            store: STORE,
            read: SharedRead::new(&name, &version),
        };
        let whole = sealed(place);
        for byte in 8..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[byte] ^= 1 << bit;
                assert_eq!(
                    open(&key(), place, &changed, later(1, 1), 1 << 10).unwrap_err(),
                    Refused,
                    "{byte}.{bit}"
                );
            }
            assert_eq!(
                open(&key(), place, &whole[..byte], later(1, 1), 1 << 10).unwrap_err(),
                Refused
            );
        }
        // The number before the seal is not believed, whatever it says.
        let found = open(&key(), place, &[b"9:", &whole[8..]].concat(), later(1, 1), 1 << 10).unwrap();
        assert_eq!(found.unwrap().age, Duration::from_millis(2));
        assert_eq!(open(&key(), place, b"", later(1, 1), 1 << 10).unwrap_err(), Refused);
        assert_eq!(open(&key(), place, b"1:", later(1, 1), 1 << 10).unwrap_err(), Refused);
    }

    #[test]
    fn an_entry_answers_only_to_its_store_name_version_and_key() {
        let (here, other) = (name(), SecretName::new("team/dc").unwrap());
        let current = VersionSelector::Current;
        let exact = VersionSelector::Exact(Version::new("current").unwrap());
        let place = |store, name, version| Place {
            store,
            read: SharedRead::new(name, version),
        };
        let home = place(STORE, &here, &current);
        let entry = sealed(home);
        assert!(open(&key(), home, &entry, later(1, 1), 1 << 10).unwrap().is_some());
        for elsewhere in [
            place(StoreId([4; 16]), &here, &current),
            place(STORE, &other, &current),
            place(STORE, &here, &VersionSelector::Previous),
            place(STORE, &here, &exact),
        ] {
            assert_eq!(open(&key(), elsewhere, &entry, later(1, 1), 1 << 10).unwrap_err(), Refused);
        }
        let another = RawKey::new(&[8; 32]).shared_key();
        assert_eq!(open(&another, home, &entry, later(1, 1), 1 << 10).unwrap_err(), Refused);
    }

    #[test]
    fn the_age_is_the_larger_of_two_and_ends_with_the_lifetime() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(NOW.age(later(5, 3)), ms(6));
        assert_eq!(NOW.age(later(3, 5)), ms(6));
        // Redis's clock went back, or is another one.
        let mut back = later(0, 5);
        back.redis_ms -= 1;
        assert_eq!(NOW.age(back), None);
        // The machine that asked is ahead by a little, and by too much.
        let ahead = |ms| Asked {
            redis_ms: NOW.redis_ms + 7,
            machine_ms: NOW.machine_ms - ms,
        };
        assert_eq!(NOW.age(ahead(MOST_AHEAD_MS)), ms(8));
        assert_eq!(NOW.age(ahead(MOST_AHEAD_MS + 1)), None);

        let (name, version) = (name(), VersionSelector::Current);
        let place = Place {
            store: STORE,
            read: SharedRead::new(&name, &version),
        };
        let entry = sealed(place);
        let is_there = |now| open(&key(), place, &entry, now, 1 << 10).unwrap().is_some();
        assert!(is_there(later(59_998, 0)));
        assert!(!is_there(later(59_999, 0)));
        assert!(!is_there(later(0, 59_999)));
    }

    #[test]
    fn what_is_too_large_is_not_sealed() {
        let (name, version) = (name(), VersionSelector::Current);
        let place = Place {
            store: STORE,
            read: SharedRead::new(&name, &version),
        };
        assert!(seal(&key(), place, &secret(), NOW, 1, VALUE.len()).is_some());
        assert!(seal(&key(), place, &secret(), NOW, 1, VALUE.len() - 1).is_none());
        let mut wordy = secret();
        wordy.metadata_mut().description = Some("x".repeat(MOST_HEADER));
        assert!(seal(&key(), place, &wordy, NOW, 1, 1 << 10).is_none());
    }
}
