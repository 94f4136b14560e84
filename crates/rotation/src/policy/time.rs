//! Lengths of time as policies write them.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A number and its unit, or several: `30d`, `1h 30m`. A day has 24 hours.
pub(super) fn parse(text: &str) -> Option<Duration> {
    // `m` is minutes; months and years have no length.
    let span: Span = text.parse().ok()?;
    let relative = SpanRelativeTo::days_are_24_hours();
    span.to_duration(relative).ok()?.try_into().ok()
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        let text = text.chars().take(40).collect::<String>();
        D::Error::custom(format!(
            "`{}` is no length of time: a number and `s`, `m`, `h`, `d` or `w`, for example `12h`",
            text.escape_debug()
        ))
    })
}

pub(super) mod option {
    use std::time::Duration;

    use serde::Deserializer;

    pub(in crate::policy) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_lengths() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h 30m", 5400),
            ("30d", 2_592_000),
            ("2w", 1_209_600),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "5", "-1h", "1h ago", "1mo", "1y", "1 parsec", "99999999999999w"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
