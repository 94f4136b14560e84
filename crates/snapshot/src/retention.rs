//! Which snapshots to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use keyfob_core::{Error, ErrorKind, Result};

use crate::id::SnapshotId;
use crate::manifest::Summary;

/// Which snapshots to keep: each rule keeps some, and what no rule keeps may go.
///
/// An hour, day, week, month or year counts only if there is a snapshot of it, and the newest one of it is kept; so that a machine that was
/// off for a month doesn't lose its history. Days are those of UTC, weeks begin on Monday.
///
/// The rules hold for each store and prefix by itself, and for snapshots of chosen names apart from whole ones. What was made
/// before a migration, and is needed to take it back, is kept whatever they say, and counts for none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Keeps so many of the newest.
    pub last: usize,
    /// Keeps the newest of so many hours.
    pub hourly: usize,
    /// Keeps the newest of so many days.
    pub daily: usize,
    /// Keeps the newest of so many weeks.
    pub weekly: usize,
    /// Keeps the newest of so many months.
    pub monthly: usize,
    /// Keeps the newest of so many years.
    pub yearly: usize,
}

/// What the note of a snapshot begins with that was made before a migration.
pub const BEFORE_MIGRATION: &str = "before a migration";

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Which one.
    pub id: SnapshotId,
    /// Why it is kept; nothing: it may be deleted.
    pub keep: BTreeSet<Keep>,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    /// It is one of the newest.
    Last,
    /// It is the newest of its hour.
    Hourly,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is the newest of its year.
    Yearly,
    /// One that is kept builds on it.
    Needed,
    /// A migration can be taken back with it alone.
    Backup,
}

impl Keep {
    /// The stable token of this reason, for example `daily`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::Needed => "needed",
            Self::Backup => "backup",
        }
    }
}

impl Retention {
    /// Decides, newest first. The answer depends on nothing but the snapshots and their own dates.
    ///
    /// # Errors
    /// `InvalidInput` for rules that keep nothing, and for a date that has no day.
    pub fn decide(&self, snapshots: &[Summary]) -> Result<Vec<Decision>> {
        if *self == Self::default() {
            return Err(
                Error::new(ErrorKind::InvalidInput, "rules that keep no snapshot would delete them all")
                    .with_hint("say how many to keep: of the last, or of hours, days, weeks, months or years"),
            );
        }
        let mut newest_first: Vec<&Summary> = snapshots.iter().collect();
        newest_first.sort_by_key(|summary| std::cmp::Reverse((summary.begun, summary.id)));
        let mut kept: BTreeMap<SnapshotId, BTreeSet<Keep>> = BTreeMap::new();
        let mut groups: BTreeMap<(&str, &str, &str, bool), Vec<&Summary>> = BTreeMap::new();
        for summary in &newest_first {
            if summary.note.as_ref().is_some_and(|note| note.starts_with(BEFORE_MIGRATION)) {
                kept.entry(summary.id).or_default().insert(Keep::Backup);
                continue;
            }
            let group = (&*summary.store, &*summary.location, &*summary.prefix, summary.whole);
            groups.entry(group).or_default().push(summary);
        }
        for group in groups.values() {
            for summary in group.iter().take(self.last) {
                kept.entry(summary.id).or_default().insert(Keep::Last);
            }
            let rules: [(usize, Keep, Period); 5] = [
                (self.hourly, Keep::Hourly, hour),
                (self.daily, Keep::Daily, day),
                (self.weekly, Keep::Weekly, week),
                (self.monthly, Keep::Monthly, month),
                (self.yearly, Keep::Yearly, year),
            ];
            for (count, keep, period) in rules {
                let mut seen = BTreeSet::new();
                for summary in group {
                    if seen.len() < count && seen.insert(period(date_of(summary.begun)?)) {
                        kept.entry(summary.id).or_default().insert(keep);
                    }
                }
            }
        }
        // A snapshot that is kept must be readable itself: also what its bases build on is needed.
        let by_id: BTreeMap<SnapshotId, &Summary> = snapshots.iter().map(|summary| (summary.id, summary)).collect();
        let mut to_follow: Vec<SnapshotId> = kept.keys().copied().collect();
        while let Some(id) = to_follow.pop() {
            // One that is not there is missed by whoever opens the other.
            let bases = by_id.get(&id).map_or(&[] as &[_], |summary| &summary.bases);
            for base in bases {
                if kept.entry(base.id).or_default().insert(Keep::Needed) {
                    to_follow.push(base.id);
                }
            }
        }
        let decide = |summary: &&Summary| Decision {
            id: summary.id,
            keep: kept.get(&summary.id).cloned().unwrap_or_default(),
        };
        Ok(newest_first.iter().map(decide).collect())
    }
}

/// Tells the hour, day, week, month or year of a moment from every other.
type Period = fn(DateTime) -> (i16, i16, i8);

fn date_of(time: SystemTime) -> Result<DateTime> {
    let time = Timestamp::try_from(time)
        .map_err(|source| Error::new(ErrorKind::InvalidInput, "the date of a snapshot has no day").with_source(source))?;
    Ok(TimeZone::UTC.to_datetime(time))
}

fn hour(at: DateTime) -> (i16, i16, i8) {
    (at.year(), at.date().day_of_year(), at.hour())
}

fn day(at: DateTime) -> (i16, i16, i8) {
    (at.year(), at.date().day_of_year(), 0)
}

fn week(at: DateTime) -> (i16, i16, i8) {
    let week = at.date().iso_week_date();
    (week.year(), week.week().into(), 0)
}

fn month(at: DateTime) -> (i16, i16, i8) {
    (at.year(), at.month().into(), 0)
}

fn year(at: DateTime) -> (i16, i16, i8) {
    (at.year(), 0, 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyfob_envelope::StoreId;

    use super::*;
    use crate::id::Digest;
    use crate::manifest::{Base, Keeps};

    fn id(number: u8) -> SnapshotId {
        SnapshotId(StoreId([number; 16]))
    }

    fn snapshot(number: u8, at: &str, bases: &[u8]) -> Summary {
        let begun = SystemTime::try_from(at.parse::<Timestamp>().unwrap()).unwrap();
        let base = |number: &u8| Base {
            id: id(*number),
            digest: Digest([0; 32]),
        };
        Summary {
            id: id(number),
            begun,
            finished: begun + Duration::from_secs(1),
            store: "memory".to_owned(),
            location: "here".to_owned(),
            prefix: String::new(),
            keeps: Keeps::of(&keyfob_core::Capabilities::FULL),
            whole: true,
            note: None,
            bases: bases.iter().map(base).collect(),
            secrets: 0,
            own: 0,
            bytes: 0,
        }
    }

    /// Which are kept, newest first, and why.
    fn kept(retention: Retention, snapshots: &[Summary]) -> Vec<(SnapshotId, Vec<&'static str>)> {
        let decisions = retention.decide(snapshots).unwrap();
        assert_eq!(decisions.len(), snapshots.len());
        let kept = decisions.into_iter().filter(|decision| !decision.keep.is_empty());
        kept.map(|decision| (decision.id, decision.keep.into_iter().map(Keep::as_str).collect()))
            .collect()
    }

    #[test]
    fn rules_that_keep_nothing_are_refused() {
        let refused = Retention::default().decide(&[snapshot(1, "2026-01-01T00:00:00Z", &[])]);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn the_newest_are_kept_whatever_their_order() {
        let mut snapshots = [
            snapshot(1, "2026-01-01T00:00:00Z", &[]),
            snapshot(3, "2026-01-03T00:00:00Z", &[]),
            snapshot(2, "2026-01-02T00:00:00Z", &[]),
        ];
        let retention = Retention {
            last: 2,
            ..Retention::default()
        };
        for _ in 0..snapshots.len() {
            snapshots.rotate_left(1);
            assert_eq!(kept(retention, &snapshots), [(id(3), vec!["last"]), (id(2), vec!["last"])]);
        }
    }

    #[test]
    fn of_a_day_the_newest_is_kept_and_days_without_any_do_not_count() {
        let snapshots = [
            snapshot(1, "2026-01-01T23:59:59Z", &[]),
            snapshot(2, "2026-01-20T00:00:00Z", &[]),
            snapshot(3, "2026-01-20T23:59:59Z", &[]),
            snapshot(4, "2026-01-21T00:00:00Z", &[]),
        ];
        let retention = Retention {
            daily: 3,
            ..Retention::default()
        };
        let expected = [4, 3, 1].map(|number| (id(number), vec!["daily"]));
        assert_eq!(kept(retention, &snapshots), expected);
    }

    #[test]
    fn weeks_begin_on_monday_and_do_not_end_with_the_year() {
        let snapshots = [
            snapshot(1, "2025-12-28T12:00:00Z", &[]), // Sunday of week 52
            snapshot(2, "2025-12-29T12:00:00Z", &[]), // Monday of week 1 of 2026
            snapshot(3, "2026-01-04T12:00:00Z", &[]), // Sunday of the same
            snapshot(4, "2026-01-05T12:00:00Z", &[]),
        ];
        let retention = Retention {
            weekly: 9,
            ..Retention::default()
        };
        let expected = [4, 3, 1].map(|number| (id(number), vec!["weekly"]));
        assert_eq!(kept(retention, &snapshots), expected);
    }

    #[test]
    fn rules_add_up_and_a_month_of_another_year_is_another() {
        let snapshots = [
            snapshot(1, "2025-01-31T00:00:00Z", &[]),
            snapshot(2, "2026-01-30T00:00:00Z", &[]),
            snapshot(3, "2026-01-31T00:00:00Z", &[]),
        ];
        let retention = Retention {
            last: 1,
            daily: 1,
            monthly: 2,
            ..Retention::default()
        };
        assert_eq!(
            kept(retention, &snapshots),
            [(id(3), vec!["last", "daily", "monthly"]), (id(1), vec!["monthly"])]
        );
    }

    #[test]
    fn hours_are_told_apart_between_days_and_years_from_each_other() {
        let snapshots = [
            snapshot(1, "2024-06-01T07:00:00Z", &[]),
            snapshot(2, "2025-12-31T07:59:59Z", &[]),
            snapshot(3, "2026-01-01T07:00:00Z", &[]),
            snapshot(4, "2026-01-01T07:59:59Z", &[]),
        ];
        let hourly = Retention {
            hourly: 2,
            ..Retention::default()
        };
        assert_eq!(kept(hourly, &snapshots), [(id(4), vec!["hourly"]), (id(2), vec!["hourly"])]);
        let yearly = Retention {
            yearly: 2,
            ..Retention::default()
        };
        assert_eq!(kept(yearly, &snapshots), [(id(4), vec!["yearly"]), (id(2), vec!["yearly"])]);
    }

    #[test]
    fn what_a_kept_one_builds_on_is_kept_and_what_a_lost_one_builds_on_is_not() {
        let snapshots = [
            snapshot(1, "2026-01-01T00:00:00Z", &[]),
            snapshot(2, "2026-01-02T00:00:00Z", &[]),
            snapshot(3, "2026-01-03T00:00:00Z", &[2]),
            snapshot(4, "2026-01-04T00:00:00Z", &[1]),
        ];
        let retention = Retention {
            last: 1,
            ..Retention::default()
        };
        assert_eq!(kept(retention, &snapshots), [(id(4), vec!["last"]), (id(1), vec!["needed"])]);
    }

    #[test]
    fn what_a_needed_one_builds_on_is_needed_too() {
        let snapshots = [
            snapshot(1, "2026-01-01T00:00:00Z", &[]),
            snapshot(2, "2026-01-02T00:00:00Z", &[1]),
            snapshot(3, "2026-01-03T00:00:00Z", &[2, 9]),
        ];
        let retention = Retention {
            last: 1,
            ..Retention::default()
        };
        let needed = |number| (id(number), vec!["needed"]);
        assert_eq!(kept(retention, &snapshots), [(id(3), vec!["last"]), needed(2), needed(1)]);
    }

    #[test]
    fn what_takes_a_migration_back_is_kept_and_does_not_count() {
        let mut backup = snapshot(2, "2026-01-02T00:00:00Z", &[]);
        backup.note = Some(format!("{BEFORE_MIGRATION} from dotenv"));
        let snapshots = [
            snapshot(1, "2026-01-01T00:00:00Z", &[]),
            backup,
            snapshot(0, "2025-01-01T00:00:00Z", &[]),
        ];
        let retention = Retention {
            last: 1,
            ..Retention::default()
        };
        assert_eq!(kept(retention, &snapshots), [(id(2), vec!["backup"]), (id(1), vec!["last"])]);
    }

    #[test]
    fn another_store_prefix_or_choice_has_its_own_count() {
        let mut other_store = snapshot(1, "2026-01-01T00:00:00Z", &[]);
        other_store.location = "there".to_owned();
        let mut other_prefix = snapshot(2, "2026-01-02T00:00:00Z", &[]);
        other_prefix.prefix = "db/".to_owned();
        let mut chosen = snapshot(3, "2026-01-03T00:00:00Z", &[]);
        chosen.whole = false;
        let snapshots = [other_store, other_prefix, chosen, snapshot(4, "2026-01-04T00:00:00Z", &[])];
        let retention = Retention {
            last: 1,
            ..Retention::default()
        };
        assert_eq!(kept(retention, &snapshots).len(), 4);
    }
}
