//! How a setting is written.

use std::path::PathBuf;
use std::time::Duration;

use crate::audit::AuditStore;

/// What a setting is, and what it is set to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Time(Duration),
    Count(u64),
    Share(f64),
    Number(f64),
    Switch(bool),
    Path(PathBuf),
    Url(String),
    Word(String),
    Line(String),
    Store(AuditStore),
    References(Vec<String>),
}

/// What kind of [`Value`] a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Time,
    Count,
    Share,
    /// Not negative, with a fraction or without.
    Number,
    Switch,
    Path,
    /// Not of a store.
    Url,
    Word,
    /// What it may be is known to whoever reads it.
    Line,
    Store,
    /// Of secrets. Which stores they may mean is known when the manager is made.
    References,
}

impl Unit {
    /// What is expected in `keyfob.toml`.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Time => "a number and its unit, `ms`, `s`, `m`, `h` or `d`, for example \"5m\"",
            Self::Count => "a whole number",
            Self::Share => "a number from 0 to 1",
            Self::Number => "a number that is not negative",
            Self::Switch => "true or false",
            Self::Path => "a path",
            Self::Url => "a URL without a password, which goes into `SECRET_CACHE_REDIS_PASSWORD`",
            Self::Store => "`sqlite:FILE` or `postgres://USER@HOST/DATABASE`, without a password",
            Self::References => "an array of references, for example [\"db/password\", \"vault:db/password\"]",
            Self::Line => "one line of text",
            Self::Word => "a word of letters, digits, `.`, `_`, `:` and `-`",
        }
    }

    /// What is expected in a variable.
    pub(crate) const fn expected_of_variable(self) -> &'static str {
        match self {
            Self::Time => "a whole number of milliseconds",
            Self::References => "references with commas between them, for example `db/password,vault:db/password`",
            other => other.expected(),
        }
    }

    /// What a variable says. A time is a number of milliseconds.
    pub(crate) fn parse(self, text: &str) -> Option<Value> {
        let text = text.trim();
        match self {
            Self::Time => text.parse().ok().map(Duration::from_millis).map(Value::Time),
            Self::Count => text.parse().ok().map(Value::Count),
            Self::Share => share(text.parse().ok()?),
            Self::Number => text
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite() && *number >= 0.0)
                .map(Value::Number),
            Self::Switch => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(Value::Switch(true)),
                "false" | "0" | "no" | "off" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Path => (!text.is_empty()).then(|| Value::Path(text.into())),
            Self::Url => is_url_without_password(text).then(|| Value::Url(text.to_owned())),
            Self::Store => AuditStore::parse(text).map(Value::Store),
            Self::References => {
                let references: Vec<&str> = text.split(',').map(str::trim).collect();
                let is_whole = references.iter().all(|reference| !reference.is_empty());
                is_whole.then(|| Value::References(references.into_iter().map(str::to_owned).collect()))
            }
            Self::Line => is_line(text).then(|| Value::Line(text.to_owned())),
            Self::Word => is_word(text).then(|| Value::Word(text.to_owned())),
        }
    }
}

/// Settings are shown, so a URL among them holds no secret.
fn is_url_without_password(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    // In the URL of a socket, it is a parameter.
    let has_password = user.contains(':') || rest.contains("pass=");
    !scheme.is_empty() && !has_password && !text.chars().any(char::is_whitespace)
}

fn is_line(text: &str) -> bool {
    const MOST: usize = 2100;
    (1..=MOST).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_word(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_part)
}

/// A share, if it is one.
pub(crate) fn share(number: f64) -> Option<Value> {
    (0.0..=1.0).contains(&number).then_some(Value::Share(number))
}

/// A number and its unit, such as `5m`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(milliseconds).map(Duration::from_millis)
}
