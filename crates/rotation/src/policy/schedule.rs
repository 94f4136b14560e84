//! When a secret is due.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use keyfob_core::SecretName;
use sha2::{Digest, Sha256};

use super::cron::Cron;
use super::window::Window;

/// How often.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frequency {
    /// So long after the last rotation, however often somebody wrote the secret since.
    Every(Duration),
    /// At these times.
    Cron(Cron),
    /// When the value is so old, whoever wrote it.
    MaxAge(Duration),
}

/// How often, and at which times of the week.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub(super) frequency: Frequency,
    pub(super) jitter: Duration,
    pub(super) window: Option<Window>,
    pub(super) zone: TimeZone,
    pub(super) retry_after: Duration,
}

/// What is known of a secret, for its schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// When its last rotation was completed.
    pub rotated: Option<SystemTime>,
    /// When its value was written, by whomever.
    pub written: Option<SystemTime>,
    /// When a rotation of it was last rolled back.
    pub rolled_back: Option<SystemTime>,
}

impl Schedule {
    /// From when on the secret is to be rotated; `None` for never (beyond the year 9999).
    ///
    /// What nothing is known of is due at once. Jitter depends on the name alone, so that it is the same whoever asks, and whenever.
    #[must_use]
    pub fn due(&self, name: &SecretName, history: &History, now: SystemTime) -> Option<SystemTime> {
        let now = Timestamp::try_from(now).ok()?;
        let known = |time: Option<SystemTime>| time.and_then(|time| Timestamp::try_from(time).ok());
        let (rotated, written) = (known(history.rotated), known(history.written));
        let since = match self.frequency {
            Frequency::MaxAge(_) => rotated.max(written),
            _ => rotated.or(written),
        };
        let mut due = match since {
            None => now,
            Some(since) => {
                let due = match &self.frequency {
                    Frequency::Every(time) | Frequency::MaxAge(time) => since.checked_add(*time).ok()?,
                    Frequency::Cron(cron) => cron.next(since, &self.zone)?,
                };
                due.checked_add(share(self.jitter, name)).ok()?
            }
        };
        if let Some(failed) = known(history.rolled_back).filter(|failed| Some(*failed) > rotated) {
            due = due.max(failed.checked_add(self.retry_after).ok()?);
        }
        // What is overdue waits for the window, too.
        let due = match &self.window {
            Some(window) if due <= now => match window.next(now, &self.zone)? {
                open if open == now => due,
                later => later,
            },
            Some(window) => window.next(due, &self.zone)?,
            None => due,
        };
        SystemTime::try_from(due).ok()
    }
}

/// A part of `jitter` that belongs to `name`: evenly spread, and the same in every version of keyfob.
fn share(jitter: Duration, name: &SecretName) -> Duration {
    let digest = Sha256::digest(name.as_str());
    let part = f64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])) / f64::from(u32::MAX);
    Duration::from_secs(jitter.mul_f64(part).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn name(text: &str) -> SecretName {
        SecretName::new(text).unwrap()
    }

    fn at(text: &str) -> SystemTime {
        SystemTime::try_from(text.parse::<Timestamp>().unwrap()).unwrap()
    }

    fn schedule(frequency: Frequency) -> Schedule {
        Schedule {
            frequency,
            jitter: Duration::ZERO,
            window: None,
            zone: TimeZone::UTC,
            retry_after: Duration::from_secs(3600),
        }
    }

    #[test]
    fn what_counts_depends_on_how_it_is_said() {
        let history = History {
            rotated: Some(at("2026-11-01T00:00:00Z")),
            written: Some(at("2026-11-20T00:00:00Z")),
            rolled_back: None,
        };
        let now = at("2026-11-30T00:00:00Z");
        let due = |frequency| schedule(frequency).due(&name("a"), &history, now).unwrap();
        assert_eq!(due(Frequency::Every(10 * DAY)), at("2026-11-11T00:00:00Z"));
        assert_eq!(due(Frequency::MaxAge(10 * DAY)), at("2026-11-30T00:00:00Z"));
        assert_eq!(
            due(Frequency::Cron("0 3 * * sun".parse().unwrap())),
            at("2026-11-01T03:00:00Z")
        );
    }

    #[test]
    fn what_was_never_rotated_counts_from_when_it_was_written_or_is_due_at_once() {
        let now = at("2026-11-30T00:00:00Z");
        let every = schedule(Frequency::Every(10 * DAY));
        let written = History {
            written: Some(at("2026-11-25T00:00:00Z")),
            ..History::default()
        };
        assert_eq!(every.due(&name("a"), &written, now), Some(at("2026-12-05T00:00:00Z")));
        assert_eq!(every.due(&name("a"), &History::default(), now), Some(now));
    }

    #[test]
    fn a_rotation_that_was_rolled_back_is_tried_again_after_a_pause() {
        let now = at("2026-11-30T00:00:00Z");
        let every = schedule(Frequency::Every(DAY));
        let mut history = History {
            rotated: Some(at("2026-11-01T00:00:00Z")),
            written: None,
            rolled_back: Some(at("2026-11-29T23:50:00Z")),
        };
        assert_eq!(every.due(&name("a"), &history, now), Some(at("2026-11-30T00:50:00Z")));
        // One before the last that went well says nothing.
        history.rolled_back = Some(at("2026-10-01T00:00:00Z"));
        assert_eq!(every.due(&name("a"), &history, now), Some(at("2026-11-02T00:00:00Z")));
    }

    #[test]
    fn what_is_overdue_waits_for_the_window_and_is_overdue_in_it() {
        let mut weekly = schedule(Frequency::Every(DAY));
        weekly.window = Some(Window {
            days: vec![jiff::civil::Weekday::Saturday],
            from: jiff::civil::time(2, 0, 0, 0),
            to: jiff::civil::time(5, 0, 0, 0),
        });
        let history = History {
            rotated: Some(at("2026-11-01T00:00:00Z")),
            ..History::default()
        };
        let due = |now| weekly.due(&name("a"), &history, at(now)).unwrap();
        assert_eq!(due("2026-11-30T00:00:00Z"), at("2026-12-05T02:00:00Z"));
        assert_eq!(due("2026-12-05T03:00:00Z"), at("2026-11-02T00:00:00Z"));
        // One that is still to come goes into the first window after it.
        weekly.frequency = Frequency::Every(40 * DAY);
        assert_eq!(
            weekly.due(&name("a"), &history, at("2026-11-30T00:00:00Z")),
            Some(at("2026-12-12T02:00:00Z"))
        );
    }

    #[test]
    fn jitter_spreads_names_and_stays_the_same() {
        let mut every = schedule(Frequency::Every(DAY));
        every.jitter = Duration::from_secs(1000);
        let history = History {
            rotated: Some(at("2026-11-01T00:00:00Z")),
            ..History::default()
        };
        let now = at("2026-11-30T00:00:00Z");
        let offsets: Vec<u64> = (0..200)
            .map(|index| {
                let name = name(&format!("app/{index}"));
                let due = every.due(&name, &history, now).unwrap();
                assert_eq!(every.due(&name, &history, now + DAY), Some(due), "it moves");
                due.duration_since(at("2026-11-02T00:00:00Z")).unwrap().as_secs()
            })
            .collect();
        assert!(offsets.iter().all(|offset| *offset <= 1000));
        for tenth in 0..10 {
            let range: std::ops::Range<u64> = tenth * 100..(tenth + 1) * 100;
            let count = offsets.iter().filter(|offset| range.contains(*offset)).count();
            assert!((5..=45).contains(&count), "{count} of 200 in {range:?}");
        }
    }
}
