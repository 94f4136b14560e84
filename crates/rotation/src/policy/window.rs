//! When rotations may happen.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// Hours of the day, of some days of the week.
///
/// One that ends before it begins goes on after midnight, and belongs to the day on which it begins; one that ends when it
/// begins takes the whole day.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    pub(super) days: Vec<Weekday>,
    pub(super) from: Time,
    pub(super) to: Time,
}

impl Window {
    /// The first moment in the window that is not before `at`; `None` at the end of all time.
    pub(super) fn next(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // One of yesterday may not be over.
        let mut date = zone.to_datetime(at).date().checked_sub(Span::new().days(1)).ok()?;
        // The same day a week later is the last that can be it, however short a clock's change makes the one of this week.
        for _ in 0..=15 {
            if self.days.contains(&date.weekday()) {
                let (begin, end) = self.on(date, zone)?;
                if at < end && begin < end {
                    return Some(begin.max(at));
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn on(&self, date: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let last = match self.to <= self.from {
            true => date.tomorrow().ok()?,
            false => date,
        };
        let begin = zone.to_timestamp(date.to_datetime(self.from)).ok()?;
        let end = zone.to_timestamp(last.to_datetime(self.to)).ok()?;
        Some((begin, end))
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;

    use super::*;

    fn next(window: &Window, at: &str) -> String {
        window.next(at.parse().unwrap(), &TimeZone::UTC).unwrap().to_string()
    }

    #[test]
    fn the_moment_is_moved_to_the_next_opening() {
        let window = Window {
            days: vec![Weekday::Saturday, Weekday::Sunday],
            from: time(2, 0, 0, 0),
            to: time(5, 0, 0, 0),
        };
        // 2026-11-30 is a Monday.
        assert_eq!(next(&window, "2026-11-30T12:00:00Z"), "2026-12-05T02:00:00Z");
        assert_eq!(next(&window, "2026-12-05T01:59:59Z"), "2026-12-05T02:00:00Z");
        assert_eq!(next(&window, "2026-12-05T04:59:59Z"), "2026-12-05T04:59:59Z");
        assert_eq!(next(&window, "2026-12-05T05:00:00Z"), "2026-12-06T02:00:00Z");
        assert_eq!(next(&window, "2026-12-06T05:00:00Z"), "2026-12-12T02:00:00Z");
    }

    #[test]
    fn one_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let window = Window {
            days: vec![Weekday::Friday],
            from: time(22, 0, 0, 0),
            to: time(4, 0, 0, 0),
        };
        assert_eq!(next(&window, "2026-12-05T03:00:00Z"), "2026-12-05T03:00:00Z");
        assert_eq!(next(&window, "2026-12-04T03:00:00Z"), "2026-12-04T22:00:00Z");
        assert_eq!(next(&window, "2026-12-05T04:00:00Z"), "2026-12-11T22:00:00Z");
    }

    #[test]
    fn one_that_a_change_of_the_clocks_swallows_is_left_out() {
        // Between 02:00 and 03:00 there is nothing on 2026-03-29.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let window = Window {
            days: vec![Weekday::Sunday],
            from: time(2, 10, 0, 0),
            to: time(3, 10, 0, 0),
        };
        let at = window.next("2026-03-28T00:00:00Z".parse().unwrap(), &zone).unwrap();
        assert_eq!(at.to_string(), "2026-04-05T00:10:00Z");
    }
}
