//! Times, as people write and read them.

use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use keyfob::Change;

/// A time as RFC 3339 in UTC, to the second.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        // Cut, not rounded: an expiry must not look later than it is.
        Ok(time) => Timestamp::from_second(time.as_second()).unwrap_or(time).to_string(),
        Err(_) => "out of range".to_owned(),
    }
}

/// The same; empty for none.
pub(crate) fn rfc3339_or_empty(time: Option<SystemTime>) -> String {
    time.map(rfc3339).unwrap_or_default()
}

/// What `--expires` says: `never`, an instant, a day, or a time from now.
pub(crate) fn parse_expiry(text: &str) -> Result<Change<SystemTime>, String> {
    expiry_at(text, Timestamp::now())
}

/// A length of time with its unit, such as `10s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let length = text.parse::<SignedDuration>().ok();
    let length = length.and_then(|length| Duration::try_from(length).ok());
    length.ok_or_else(|| "give a number and its unit, for example `500ms`, `10s` or `1m`".to_owned())
}

fn expiry_at(text: &str, now: Timestamp) -> Result<Change<SystemTime>, String> {
    if text == "never" {
        return Ok(Change::Clear);
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return at(instant);
    }
    // A date and a time without an offset must not pass for a date.
    if text.len() == 10
        && let Ok(day) = text.parse::<Date>()
        && let Ok(midnight) = day.to_zoned_datetime(TimeZone::UTC)
    {
        return at(midnight.timestamp());
    }
    let help = "give a time from now (`90d`, `12h`, `1y`), an instant (`2030-01-31T12:00:00Z`), a day (`2030-01-31`, from midnight UTC), or `never`";
    let span: Span = text.parse().map_err(|_| help.to_owned())?;
    if span.is_negative() {
        return Err("a time from now can't be negative".to_owned());
    }
    match now.to_zoned_datetime(TimeZone::UTC).checked_add(span) {
        Ok(expiry) => at(expiry.timestamp()),
        Err(_) => Err(TOO_FAR.to_owned()),
    }
}

const TOO_FAR: &str = "this is too far away";

fn at(instant: Timestamp) -> Result<Change<SystemTime>, String> {
    SystemTime::try_from(instant).map(Change::Set).map_err(|_| TOO_FAR.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit_and_no_sign() {
        for (text, milliseconds) in [("500ms", 500), ("10s", 10_000), ("1m", 60_000), ("1m30s", 90_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "10", "-1s", "soon", "1y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_expiry_is_a_duration_an_instant_a_day_or_never() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("90d", "2030-04-01T00:00:00Z"),
            ("1h30m", "2030-01-01T01:30:00Z"),
            ("2w", "2030-01-15T00:00:00Z"),
            ("1y", "2031-01-01T00:00:00Z"),
            ("P1D", "2030-01-02T00:00:00Z"),
            ("2030-02-03", "2030-02-03T00:00:00Z"),
            ("2030-02-03T04:05:06+01:00", "2030-02-03T03:05:06Z"),
        ] {
            match expiry_at(text, now) {
                Ok(Change::Set(time)) => assert_eq!(rfc3339(time), expected, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(expiry_at("never", now), Ok(Change::Clear));
        for text in ["", "soon", "90", "-1d", "2030-13-01", "2030-02-03T04:05:06", "999999999999y"] {
            assert!(expiry_at(text, now).is_err(), "{text}");
        }
    }
}
