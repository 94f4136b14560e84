//! Which records are meant.

use std::time::SystemTime;

use clap::Args;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use keyfob::AuditFilter;
use keyfob_audit::NameKey;

use super::log::settings;
use crate::context::Context;
use crate::exit::Failure;

// The records that are meant. No documentation: the parser would take it for that of the command.
#[derive(Debug, Clone, Args)]
pub(super) struct FilterArgs {
    /// Only accesses from then on: a time ago (`7d`, `1h`), an instant, or a day (from midnight UTC)
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<SystemTime>,

    /// Only accesses before that
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    until: Option<SystemTime>,

    /// Only accesses of which this holds; can be given several times
    ///
    /// `KEY` is `verb`, `name`, `prefix` (the beginning of a name), `store` (its name in `keyfob.toml`, else its scheme), `scheme`,
    /// `location`, `outcome` (`ok`, `failed`, `cancelled`, `unknown`), `error` (a kind of error), `user` or `host`
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
}

impl FilterArgs {
    /// The filter; a name is masked as the names in the log are.
    pub(super) fn filter(&self, context: &Context) -> Result<AuditFilter, Failure> {
        let mut filter = AuditFilter::default();
        filter.since = self.since;
        filter.until = self.until;
        for condition in &self.conditions {
            filter.require(condition).map_err(Failure::Usage)?;
        }
        if filter.prefix.is_some() && settings(context)?.name_key_file.is_some() {
            return Err(Failure::usage(
                "names are masked here, so that nothing is known of how they begin",
                "ask for whole names: `--where name=NAME`",
            ));
        }
        if let Some(name) = filter.name.take_if(|name| !name.starts_with("hmac:")) {
            filter.name = Some(match settings(context)?.name_key_file {
                Some(file) => NameKey::from_file(file)?.mask(&name),
                None => name,
            });
        }
        Ok(filter)
    }
}

/// A moment that has been: an instant, a day, or a time ago.
fn parse_moment(text: &str) -> Result<SystemTime, String> {
    moment_at(text, Timestamp::now()).and_then(|moment| SystemTime::try_from(moment).map_err(|_| TOO_FAR.to_owned()))
}

fn moment_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    // A date and a time without an offset must not pass for a date.
    if text.len() == 10
        && let Ok(day) = text.parse::<Date>()
        && let Ok(midnight) = day.to_zoned_datetime(TimeZone::UTC)
    {
        return Ok(midnight.timestamp());
    }
    let help = "give a time ago (`7d`, `12h`), an instant (`2030-01-31T12:00:00Z`), or a day (`2030-01-31`, from midnight UTC)";
    let span: Span = text.parse().map_err(|_| help.to_owned())?;
    if span.is_negative() {
        return Err("a time ago can't be negative".to_owned());
    }
    let moment = now.to_zoned_datetime(TimeZone::UTC).checked_sub(span);
    moment.map(|moment| moment.timestamp()).map_err(|_| TOO_FAR.to_owned())
}

const TOO_FAR: &str = "this is too far away";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_ago_an_instant_or_a_day() {
        let now: Timestamp = "2030-01-08T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("7d", "2030-01-01T00:00:00Z"),
            ("1h30m", "2030-01-07T22:30:00Z"),
            ("2030-02-03", "2030-02-03T00:00:00Z"),
            ("2030-02-03T04:05:06+01:00", "2030-02-03T03:05:06Z"),
        ] {
            assert_eq!(
                moment_at(text, now).map(|moment| moment.to_string()),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
        for text in [
            "",
            "yesterday",
            "7",
            "-1d",
            "2030-13-01",
            "2030-02-03T04:05:06",
            "999999999999y",
        ] {
            assert!(moment_at(text, now).is_err(), "{text}");
        }
    }
}
