//! Times as cron writes them.
//!
//! Our own, since the crates that read such lines bring another date library with them.

use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use keyfob_core::{Error, ErrorKind, Result};

/// Five fields as in crontab(5): minute, hour, day of the month, month, day of the week; or `@hourly`, `@daily`,
/// `@weekly`, `@monthly`, `@yearly`.
///
/// As in POSIX, when both days are limited, either is enough. A time that a change of the clocks leaves out comes as much
/// later as the clock jumps; one that comes twice is taken once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// Which numbers are meant: the bits of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Written as `*`, or as steps of it: says nothing about which day it must be.
    is_any: bool,
}

/// What a field may be.
struct Bounds {
    what: &'static str,
    first: u8,
    last: u8,
    /// Of `first` and those after it.
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds {
    what: "minute",
    first: 0,
    last: 59,
    names: &[],
};
const HOURS: Bounds = Bounds {
    what: "hour",
    first: 0,
    last: 23,
    names: &[],
};
const DAYS: Bounds = Bounds {
    what: "day of the month",
    first: 1,
    last: 31,
    names: &[],
};
const MONTHS: Bounds = Bounds {
    what: "month",
    first: 1,
    last: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
/// Sunday is 0 and 7.
const WEEKDAYS: Bounds = Bounds {
    what: "day of the week",
    first: 0,
    last: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// The longest pause between two 29ths of February is eight years, around a century that is no leap year.
const HORIZON_DAYS: u32 = 366 * 8 + 1;

impl Cron {
    /// The first time after `after`, by the clocks of `zone`; `None` at the end of all time.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = zone.to_datetime(after);
        let mut date = start.date();
        for _ in 0..HORIZON_DAYS {
            if self.has_day(date) {
                for (hour, minute) in self.times() {
                    let at = zone.to_timestamp(date.at(hour, minute, 0, 0)).ok()?;
                    if at > after {
                        return Some(at);
                    }
                }
            }
            date = date.checked_add(Span::new().days(1)).ok()?;
        }
        None
    }

    fn times(&self) -> impl Iterator<Item = (i8, i8)> + '_ {
        (0..24_i8).filter(|hour| self.hours.has(*hour)).flat_map(|hour| {
            (0..60_i8)
                .filter(|minute| self.minutes.has(*minute))
                .map(move |minute| (hour, minute))
        })
    }

    fn has_day(&self, date: Date) -> bool {
        let of_month = self.days.has(date.day());
        let of_week = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        let is_day = match self.days.is_any || self.weekdays.is_any {
            true => of_month && of_week,
            false => of_month || of_week,
        };
        self.months.has(date.month()) && is_day
    }
}

impl Field {
    fn has(self, number: i8) -> bool {
        u8::try_from(number).is_ok_and(|number| self.bits & (1 << number) != 0)
    }

    fn parse(text: &str, bounds: &Bounds) -> Result<Self> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(bounds.step(step, text)?)),
                None => (part, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (bounds.first, bounds.last),
                Some((first, last)) => (bounds.number(first, text)?, bounds.number(last, text)?),
                None => {
                    let first = bounds.number(range, text)?;
                    // `5/10` is `5-59/10` wherever it is understood.
                    (first, if step.is_some() { bounds.last } else { first })
                }
            };
            if first > last {
                return Err(bounds.wrong(text).with_hint("a range begins with the smaller number"));
            }
            for number in (first..=last).step_by(step.unwrap_or(1).into()) {
                bits |= 1_u64 << number;
            }
        }
        if bounds.last == WEEKDAYS.last && bits & (1 << 7) != 0 {
            bits |= 1;
        }
        Ok(Self {
            bits,
            is_any: text.starts_with('*'),
        })
    }
}

impl Bounds {
    fn number(&self, text: &str, field: &str) -> Result<u8> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let number = match named.and_then(|index| u8::try_from(index).ok()) {
            Some(index) => Some(self.first + index),
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        number
            .filter(|number| (self.first..=self.last).contains(number))
            .ok_or_else(|| self.wrong(field))
    }

    fn step(&self, text: &str, field: &str) -> Result<u8> {
        let step = text.parse().ok().filter(|step| (1..=self.last).contains(step));
        step.ok_or_else(|| self.wrong(field))
    }

    fn wrong(&self, field: &str) -> Error {
        let message = format!(
            "`{}` is no {} of a cron line: from {} to {}, `*`, ranges, lists and steps",
            field.escape_debug(),
            self.what,
            self.first,
            self.last
        );
        Error::new(ErrorKind::InvalidConfig, message)
    }
}

impl FromStr for Cron {
    type Err = Error;

    /// # Errors
    /// `InvalidConfig` when it can't be understood, or is a date that never comes.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let line = match text {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            line => line,
        };
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[minutes, hours, days, months, weekdays] = fields.as_slice() else {
            let message = format!(
                "`{}` is no cron line: it has {} fields, not 5",
                text.escape_debug(),
                fields.len()
            );
            return Err(Error::new(ErrorKind::InvalidConfig, message)
                .with_hint("minute, hour, day of the month, month, day of the week, for example `0 3 * * sun`"));
        };
        let cron = Self {
            minutes: Field::parse(minutes, &MINUTES)?,
            hours: Field::parse(hours, &HOURS)?,
            days: Field::parse(days, &DAYS)?,
            months: Field::parse(months, &MONTHS)?,
            weekdays: Field::parse(weekdays, &WEEKDAYS)?,
        };
        // From a leap day on all dates come within the horizon, or never.
        match cron.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC) {
            Some(_) => Ok(cron),
            None => {
                let message = format!("`{}` is a date that never comes", text.escape_debug());
                Err(Error::new(ErrorKind::InvalidConfig, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cron(text: &str) -> Cron {
        text.parse().unwrap()
    }

    fn after(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let zone = match zone {
            "" => TimeZone::UTC,
            zone => TimeZone::posix(zone).unwrap(),
        };
        let cron = cron(text);
        let mut at: Timestamp = from.parse().unwrap();
        let next = std::iter::from_fn(|| {
            at = cron.next(at, &zone)?;
            Some(zone.to_datetime(at).strftime("%a %Y-%m-%d %H:%M").to_string())
        });
        next.take(count).collect()
    }

    #[test]
    fn lines_mean_what_crontab_says() {
        let from = "2026-11-30T12:00:00Z";
        for (line, expected) in [
            (
                "*/20 * * * *",
                ["Mon 2026-11-30 12:20", "Mon 2026-11-30 12:40", "Mon 2026-11-30 13:00"],
            ),
            (
                "0 3 * * sun",
                ["Sun 2026-12-06 03:00", "Sun 2026-12-13 03:00", "Sun 2026-12-20 03:00"],
            ),
            (
                "0 3 * * 7",
                ["Sun 2026-12-06 03:00", "Sun 2026-12-13 03:00", "Sun 2026-12-20 03:00"],
            ),
            (
                "5/25 0 1 JAN-mar *",
                ["Fri 2027-01-01 00:05", "Fri 2027-01-01 00:30", "Fri 2027-01-01 00:55"],
            ),
            // Either day is enough when both are limited, and both are needed when one is not.
            (
                "0 0 1 * mon",
                ["Tue 2026-12-01 00:00", "Mon 2026-12-07 00:00", "Mon 2026-12-14 00:00"],
            ),
            (
                "0 0 */2 * mon",
                ["Mon 2026-12-07 00:00", "Mon 2026-12-21 00:00", "Mon 2027-01-11 00:00"],
            ),
            (
                "0 0 31 * *",
                ["Thu 2026-12-31 00:00", "Sun 2027-01-31 00:00", "Wed 2027-03-31 00:00"],
            ),
            (
                "0 0 29 2 *",
                ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00", "Fri 2036-02-29 00:00"],
            ),
            (
                "@monthly",
                ["Tue 2026-12-01 00:00", "Fri 2027-01-01 00:00", "Mon 2027-02-01 00:00"],
            ),
            (
                "0 0 * * 5-7",
                ["Fri 2026-12-04 00:00", "Sat 2026-12-05 00:00", "Sun 2026-12-06 00:00"],
            ),
        ] {
            assert_eq!(after(line, "", from, 3), expected, "{line}");
        }
    }

    #[test]
    fn a_leap_day_is_found_over_a_century_without_one() {
        assert_eq!(after("0 0 29 2 *", "", "2096-03-01T00:00:00Z", 1), ["Fri 2104-02-29 00:00"]);
    }

    #[test]
    fn clocks_that_jump_leave_nothing_out_and_do_nothing_twice() {
        // 2026-03-29 has no 02:30, 2026-10-25 has two.
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        let daily = after("30 2 * * *", berlin, "2026-03-28T00:00:00Z", 3);
        assert_eq!(
            daily,
            ["Sat 2026-03-28 02:30", "Sun 2026-03-29 03:30", "Mon 2026-03-30 02:30"]
        );
        let daily = after("30 2 * * *", berlin, "2026-10-24T12:00:00Z", 2);
        assert_eq!(daily, ["Sun 2026-10-25 02:30", "Mon 2026-10-26 02:30"]);
    }

    #[test]
    fn what_is_no_line_is_refused_by_its_field() {
        for (line, word) in [
            ("", "0 fields"),
            ("* * * *", "4 fields"),
            ("* * * * * *", "6 fields"),
            ("60 * * * *", "`60` is no minute"),
            ("* 24 * * *", "no hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * 13 *", "no month"),
            ("* * * foo *", "no month"),
            ("* * * * 8", "day of the week"),
            ("*/0 * * * *", "no minute"),
            ("*/99 * * * *", "no minute"),
            ("5-3 * * * *", "no minute"),
            ("1, * * * *", "no minute"),
            ("-1 * * * *", "no minute"),
            ("+1 * * * *", "no minute"),
            ("0 0 31 2 *", "never comes"),
            ("0 0 31 4,6,9,11 *", "never comes"),
            ("@reboot", "1 fields"),
        ] {
            let error = line.parse::<Cron>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }
}
