//! `rotation.yaml`, as it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use keyfob_core::{Error, ErrorKind, Result, SecretName};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::around::StagePlan;
use super::made::{Written, WrittenDrain};
use super::program::Program;
use super::schedule::{Frequency, Schedule};
use super::selector::Selector;
use super::window::Window;
use super::{Made, Policy, time};
use crate::options::RotationOptions;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    zone: Option<String>,
    policies: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default, with = "time::option")]
    every: Option<Duration>,
    cron: Option<String>,
    #[serde(default, with = "time::option")]
    max_age: Option<Duration>,
    #[serde(default, with = "time::option")]
    jitter: Option<Duration>,
    window: Option<WindowEntry>,
    #[serde(default, with = "time::option")]
    grace: Option<Duration>,
    #[serde(default, with = "time::option")]
    expires_after: Option<Duration>,
    #[serde(default, with = "time::option")]
    step_limit: Option<Duration>,
    #[serde(default, with = "time::option")]
    retry_after: Option<Duration>,
    attempts: Option<u32>,
    make: Written,
    validate: Option<Program>,
    #[serde(default)]
    stages: Vec<StageEntry>,
    drain: Option<WrittenDrain>,
    notify: Option<Program>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StageEntry {
    copies: Vec<String>,
    #[serde(with = "time")]
    wait: Duration,
    #[serde(default, with = "time::option")]
    every: Option<Duration>,
    check: Option<Program>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowEntry {
    #[serde(default)]
    days: Vec<Day>,
    from: String,
    to: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// How often the check of a stage is asked.
const EVERY: Duration = Duration::from_secs(30);

/// A rotation that fails is not tried again before.
const RETRY_AFTER: Duration = Duration::from_secs(3600);

pub(super) fn parse(yaml: &str, directory: Option<&Path>) -> Result<Vec<Policy>> {
    let file: File = read(yaml)?;
    let zone = match &file.zone {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name).map_err(|_| {
            wrong(format!("there is no time zone `{}`", name.escape_debug())).with_hint(
                "a name of the IANA database, such as `Europe/Berlin`, which the machine must have (`/usr/share/zoneinfo`)",
            )
        })?,
    };
    let mut names = BTreeSet::new();
    let mut policies = Vec::new();
    for entry in file.policies {
        let name = entry.name.clone();
        let of = |error: Error| error.with("policy", &*name);
        if name.trim().is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            return Err(wrong(
                "a policy's name has 1 to 100 bytes and no control characters".to_owned(),
            ));
        }
        if !names.insert(name.clone()) {
            return Err(of(wrong("two policies have the same name".to_owned())));
        }
        policies.push(entry.understand(&zone, directory).map_err(of)?);
    }
    for policy in &policies {
        rotates_no_copy(policy, &policies).map_err(|error| error.with("policy", &*policy.name))?;
    }
    Ok(policies)
}

/// What is rotated by itself, or is the secret itself, can't be where a stage puts the new value of another one.
fn rotates_no_copy(policy: &Policy, all: &[Policy]) -> Result<()> {
    for copy in policy.copies() {
        if copy.is_reserved() {
            return Err(wrong(format!("the copy `{copy}` has a name that keyfob uses itself")));
        }
        let is_itself = policy.selector.names().any(|name| name == copy);
        if is_itself || all.iter().any(|other| other.selector.takes(copy)) {
            return Err(copy_is_rotated(copy));
        }
    }
    Ok(())
}

/// Reads YAML; what is wrong is told with its line.
pub(super) fn read<T: DeserializeOwned>(yaml: &str) -> Result<T> {
    serde_saphyr::from_str(yaml).map_err(|error| {
        let message: String = error.without_snippet().to_string().chars().take(400).collect();
        match error.location() {
            Some(location) => wrong(message).with("line", location.line().to_string()),
            None => wrong(message),
        }
    })
}

pub(super) fn copy_is_rotated(copy: &SecretName) -> Error {
    wrong(format!(
        "the copy `{copy}` of a stage is a secret that a policy rotates by itself"
    ))
    .with_hint("give the copy a name that no policy is about")
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

impl Entry {
    /// The programs in it, each once.
    fn programs(&self) -> Vec<String> {
        let around = [self.make.program(), self.validate.as_ref(), self.notify.as_ref()];
        let drain = self.drain.as_ref().and_then(WrittenDrain::program);
        let checks = self.stages.iter().filter_map(|stage| stage.check.as_ref());
        let all = around.into_iter().flatten().chain(drain).chain(checks);
        let names: BTreeSet<&str> = all.filter_map(Program::name).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn understand(self, zone: &TimeZone, directory: Option<&Path>) -> Result<Policy> {
        let schedule = self.schedule(zone)?;
        let programs = self.programs();
        let usual = RotationOptions::default();
        if self.attempts == Some(0) {
            return Err(wrong("`attempts` is at least 1".to_owned()));
        }
        if self.step_limit == Some(Duration::ZERO) {
            return Err(wrong("`step_limit` can't be nothing".to_owned()));
        }
        let made = self.make.understand(directory)?;
        let options = RotationOptions {
            grace: self.grace.unwrap_or(usual.grace),
            expires_after: self.expires_after,
            step_limit: self.step_limit.or(made.step_limit()).unwrap_or(usual.step_limit),
            attempts: self.attempts.unwrap_or(usual.attempts),
            ..usual
        };
        if options.expires_after.is_some_and(|time| time <= options.grace) {
            return Err(wrong("`expires_after` must be longer than `grace`".to_owned()));
        }
        let stages = self.stages.iter().map(|stage| stage.understand(directory));
        let stages: Vec<StagePlan> = stages.collect::<Result<_>>()?;
        if matches!(made, Made::Keyring(_)) && !stages.is_empty() {
            return Err(wrong("a keyring has no `stages`".to_owned())
                .with_hint("whoever reads a copy would encrypt with a key that is lost when the rotation is taken back"));
        }
        let mut options = options;
        // All stages are one step.
        options.step_limit += stages.iter().map(|stage| stage.wait).sum::<Duration>();
        let program = |program: &Option<Program>| program.as_ref().map(|program| program.command(directory)).transpose();
        Ok(Policy {
            validate: program(&self.validate)?,
            notify: program(&self.notify)?,
            programs,
            stages,
            drain: self.drain.map(|drain| drain.understand(&made, directory)).transpose()?,
            made,
            selector: Selector::new(&self.secrets, self.tags)?,
            name: self.name,
            schedule,
            options,
        })
    }

    fn schedule(&self, zone: &TimeZone) -> Result<Option<Schedule>> {
        let mut frequencies = Vec::new();
        let positive = |time: Duration, what: &str| match time.is_zero() {
            true => Err(wrong(format!("`{what}` can't be nothing"))),
            false => Ok(time),
        };
        if let Some(time) = self.every {
            frequencies.push(Frequency::Every(positive(time, "every")?));
        }
        if let Some(line) = &self.cron {
            frequencies.push(Frequency::Cron(line.parse()?));
        }
        if let Some(time) = self.max_age {
            frequencies.push(Frequency::MaxAge(positive(time, "max_age")?));
        }
        let Some(frequency) = frequencies.pop() else {
            return match self.jitter.is_some() || self.window.is_some() || self.retry_after.is_some() {
                true => Err(
                    wrong("`jitter`, `window` and `retry_after` say nothing without a schedule".to_owned())
                        .with_hint("`every`, `cron` or `max_age`"),
                ),
                false => Ok(None),
            };
        };
        if !frequencies.is_empty() {
            return Err(wrong("`every`, `cron` and `max_age` exclude each other".to_owned()));
        }
        Ok(Some(Schedule {
            frequency,
            jitter: self.jitter.unwrap_or_default(),
            window: self.window.as_ref().map(WindowEntry::understand).transpose()?,
            zone: zone.clone(),
            retry_after: self.retry_after.unwrap_or(RETRY_AFTER),
        }))
    }
}

impl StageEntry {
    fn understand(&self, directory: Option<&Path>) -> Result<StagePlan> {
        if self.copies.is_empty() {
            return Err(wrong("a stage without `copies` reaches nobody".to_owned()));
        }
        let names = self
            .copies
            .iter()
            .map(|text| SecretName::new(text).map_err(|error| wrong(format!("`{}`: {error}", text.escape_debug()))));
        Ok(StagePlan {
            copies: names.collect::<Result<_>>()?,
            wait: self.wait,
            every: self.every.unwrap_or(EVERY),
            check: self.check.as_ref().map(|program| program.command(directory)).transpose()?,
        })
    }
}

impl WindowEntry {
    fn understand(&self) -> Result<Window> {
        let of_day = |text: &str| {
            let time = match text.len() {
                5 => format!("{text}:00").parse::<Time>().ok(),
                _ => None,
            };
            time.ok_or_else(|| {
                let text: String = text.chars().take(20).collect();
                wrong(format!("`{}` is no time of day, such as \"02:30\"", text.escape_debug()))
            })
        };
        let all = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
        let days = match self.days.as_slice() {
            [] => all.as_slice(),
            days => days,
        };
        Ok(Window {
            days: days.iter().map(|day| (*day).into()).collect(),
            from: of_day(&self.from)?,
            to: of_day(&self.to)?,
        })
    }
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Self::Monday,
            Day::Tue => Self::Tuesday,
            Day::Wed => Self::Wednesday,
            Day::Thu => Self::Thursday,
            Day::Fri => Self::Friday,
            Day::Sat => Self::Saturday,
            Day::Sun => Self::Sunday,
        }
    }
}

#[cfg(test)]
mod tests;
