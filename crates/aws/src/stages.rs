//! Staging labels: AWS's own, and those in which keyfob keeps what AWS has no field for.
//!
//! The expiry of a version stands in a label of that version, because labels come with every value that is read, one by
//! one or in a batch, and are set in the same request as the value. Tags would take a second request for each secret.

use std::time::{Duration, SystemTime};

/// The label of the current version.
pub(crate) const CURRENT: &str = "AWSCURRENT";
/// The label of the version that was current before.
pub(crate) const PREVIOUS: &str = "AWSPREVIOUS";
/// What labels begin with under which a value waits until it may become current. Each write has one of its own: a label
/// that two share would leave the one's version for the other's, and AWS removes versions without labels.
const PENDING: &str = "keyfob-pending-";

/// A value that has waited for so long, in milliseconds, is what a killed process left behind.
const ABANDONED: u64 = 10 * 60 * 1000;

/// How many labels all versions of a secret can have together.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
pub(crate) const MAX_LABELS: usize = 20;

const EXPIRES: &str = "keyfob-expires-";

/// The label under which the version `version` waits: `keyfob-pending-WRITTEN-NONCE`.
pub(crate) fn pending_label(version: &str) -> String {
    format!("{PENDING}{}-{}", since_epoch(SystemTime::now()).as_millis(), nonce(version))
}

/// Whether a value waits, or waited, under this label until it becomes current.
pub(crate) fn is_pending(label: &str) -> bool {
    waits_since(label).is_some()
}

/// Whether a value has waited under this label for so long that nobody will make it current.
pub(crate) fn is_abandoned(label: &str, now: SystemTime) -> bool {
    waits_since(label).is_some_and(|written| u128::from(written) + u128::from(ABANDONED) < since_epoch(now).as_millis())
}

/// In milliseconds since 1970.
fn waits_since(label: &str) -> Option<u64> {
    let (written, _) = label.strip_prefix(PENDING)?.split_once('-')?;
    written.parse().ok()
}

fn nonce(version: &str) -> String {
    version.chars().take(8).collect()
}

/// The label that says when the version `version` expires: `keyfob-expires-EXPIRY-WRITTEN-NONCE`, in seconds and
/// milliseconds since 1970. Of several on one version the one written last counts. The nonce, the first characters of the
/// version, makes it another label than that of a version that expires at the same time: a label moves, it isn't copied.
pub(crate) fn expiry_label(expires_at: SystemTime, version: &str) -> String {
    let written = since_epoch(SystemTime::now()).as_millis();
    format!("{EXPIRES}{}-{written}-{}", since_epoch(expires_at).as_secs(), nonce(version))
}

/// The expiry as it is kept: in whole seconds, never later than asked for, not before 1970.
pub(crate) fn kept_expiry(expires_at: SystemTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(since_epoch(expires_at).as_secs())
}

/// When a version with these labels expires.
pub(crate) fn expiry_of<S: AsRef<str>>(labels: &[S]) -> Option<SystemTime> {
    let newest = labels
        .iter()
        .filter_map(|label| Expiry::parse(label.as_ref()))
        .max_by_key(|expiry| expiry.written);
    newest.map(|expiry| SystemTime::UNIX_EPOCH + Duration::from_secs(expiry.seconds))
}

/// When an expiry label was written, in milliseconds since 1970; `None` for any other label.
pub(crate) fn written(label: &str) -> Option<u64> {
    Expiry::parse(label).map(|expiry| expiry.written)
}

pub(crate) fn is_expiry(label: &str) -> bool {
    Expiry::parse(label).is_some()
}

struct Expiry {
    seconds: u64,
    written: u64,
}

impl Expiry {
    fn parse(label: &str) -> Option<Self> {
        let mut parts = label.strip_prefix(EXPIRES)?.splitn(3, '-');
        let seconds: u64 = parts.next()?.parse().ok()?;
        let written = parts.next()?.parse().ok()?;
        // Beyond the year 9999 a time can't be shown, nor added up on every system.
        (seconds <= 253_402_300_799).then_some(Self { seconds, written })
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    seconds.min(Duration::from_secs(253_402_300_799))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_expiry_comes_back_in_whole_seconds() {
        let time = at(4_102_444_800) + Duration::from_millis(999);
        let label = expiry_label(time, "0f3e6c1a-2222-4444-8888-000000000000");
        assert!(
            label.starts_with("keyfob-expires-4102444800-") && label.ends_with("-0f3e6c1a"),
            "{label}"
        );
        assert_eq!(expiry_of(&[CURRENT, &label]), Some(at(4_102_444_800)));
        assert_eq!(kept_expiry(time), at(4_102_444_800));
        assert!(label.len() <= 256);
    }

    #[test]
    fn the_label_written_last_counts() {
        let labels = ["keyfob-expires-300-7-a", "keyfob-expires-100-9-a", "keyfob-expires-200-8-a"];
        assert_eq!(expiry_of(&labels), Some(at(100)));
    }

    #[test]
    fn only_a_value_that_has_waited_long_is_abandoned() {
        let label = pending_label("0f3e6c1a-2222");
        let now = SystemTime::now();
        assert!(!is_abandoned(&label, now + Duration::from_secs(500)));
        assert!(is_abandoned(&label, now + Duration::from_secs(700)));
        for other in [CURRENT, "keyfob-pending", "keyfob-pending-x-y", "own-keyfob-pending-1-a"] {
            assert!(!is_abandoned(other, now), "{other}");
        }
    }

    #[test]
    fn what_is_no_expiry_is_none() {
        for label in [
            "AWSCURRENT",
            "keyfob-pending",
            "keyfob-expires-",
            "keyfob-expires-x-1-a",
            "keyfob-expires-1",
            "keyfob-expires-99999999999999999-1-a",
        ] {
            assert_eq!(expiry_of(&[label]), None, "{label}");
            assert!(!is_expiry(label));
        }
    }

    #[test]
    fn times_out_of_range_are_the_nearest_that_can_be_kept() {
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(kept_expiry(before), SystemTime::UNIX_EPOCH);
        assert_eq!(expiry_of(&[expiry_label(before, "v")]), Some(SystemTime::UNIX_EPOCH));
    }
}
