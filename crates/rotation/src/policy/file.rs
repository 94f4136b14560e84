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
mod tests {
    use super::*;

    fn one(body: &str) -> Result<Policy> {
        let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
        parse(&format!("policies:\n  - name: a\n{body}"), None).map(|mut policies| policies.remove(0))
    }

    #[test]
    fn everything_that_can_be_said_is_understood() {
        let policy = one(r#"secrets: [db/a, "web/*"]
tags: { rotate: monthly }
every: 30d
jitter: 2h
window: { days: [sat, sun], from: "22:00", to: "05:00" }
grace: 12h
expires_after: 90d
step_limit: 10m
retry_after: 30m
attempts: 5
validate: { run: [./can-log-in], limit: 5s }
stages:
  - { copies: [web/canary], wait: 10m, check: { run: [./is-well] } }
  - { copies: [web/eu, web/us], wait: 1h, every: 5m }
notify: { run: [./tell-chat] }
make: { text: { length: 24, alphabet: symbols, require: [upper, digit, symbol] } }"#)
        .unwrap();
        let hours = |count: u64| Duration::from_secs(count * 3600);
        assert_eq!(policy.options.grace, hours(12));
        assert_eq!(policy.options.expires_after, Some(hours(90 * 24)));
        assert_eq!(
            (policy.options.step_limit, policy.options.attempts),
            (Duration::from_secs(600 + 600 + 3600), 5)
        );
        let schedule = policy.schedule.unwrap();
        assert_eq!(schedule.frequency, Frequency::Every(hours(30 * 24)));
        assert_eq!((schedule.jitter, schedule.retry_after), (hours(2), Duration::from_secs(1800)));
        assert_eq!(schedule.window.unwrap().days, [Weekday::Saturday, Weekday::Sunday]);
        assert!(policy.selector.has_tags());
        assert_eq!(policy.programs, ["./can-log-in", "./is-well", "./tell-chat"]);
        assert!(matches!(policy.made, Made::Ready(rotator) if rotator.kind() == "random"));
    }

    #[test]
    fn ways_to_make_values_are_written_in_one_word_or_with_what_they_need() {
        for (make, kind) in [
            ("uuid", "random"),
            ("{ hex: { bytes: 16 } }", "random"),
            ("{ base64: { bytes: 16 } }", "random"),
            ("{ base64_url: { bytes: 16 } }", "random"),
            ("{ key_pair: { kind: rsa2048 } }", "key-pair"),
            ("{ jwks: { algorithm: eddsa } }", "jwks"),
            ("{ tls: { kind: p256, names: [www.example] } }", "tls-key"),
            ("{ command: { run: [./program] } }", "exec"),
        ] {
            let policy = one(&format!("secrets: [a]\nmake: {make}")).unwrap();
            assert!(
                matches!(&policy.made, Made::Ready(rotator) if rotator.kind() == kind),
                "{policy:?}"
            );
            assert!(policy.schedule.is_none());
        }
        let endpoint =
            r#"{ endpoint: { url: "https://a.example", headers: { authorization: "Bearer ${vault:token}" }, limit: 5s } }"#;
        assert!(matches!(Made::parse(endpoint), Ok(Made::Endpoint(plan)) if plan.limit == Some(Duration::from_secs(5))));
        for (drain, make) in [
            ("{ command: { run: [./in-use] } }", "uuid"),
            ("{ endpoint: { url: \"https://a.example\" } }", "uuid"),
            (
                "sessions",
                "{ postgres: { server: \"postgres://admin@a.example/app\", roles: [a, b] } }",
            ),
        ] {
            assert!(
                one(&format!("secrets: [a]\nmake: {make}\ndrain: {drain}"))
                    .unwrap()
                    .drain
                    .is_some()
            );
        }
        for (make, days) in [
            ("{ keyring: { algorithm: a256gcm } }", 0),
            (
                "{ keyring: { algorithm: c20p, keep: 2, reencrypt: { command: { run: [./reencrypt], limit: 5m } } } }",
                1,
            ),
            (
                "{ keyring: { algorithm: a128gcm, reencrypt: { endpoint: { url: \"https://a.example\" } } } }",
                1,
            ),
        ] {
            let policy = one(&format!("secrets: [a]\nmake: {make}")).unwrap();
            assert!(matches!(&policy.made, Made::Keyring(_)), "{policy:?}");
            assert_eq!(policy.options.step_limit.as_secs() / 86_400, days, "{policy:?}");
        }
        let request = |json: &str| format!(r#"{{ method: POST, url: "https://a.example/{{rotation}}", {json} }}"#);
        let key = |create: &str| {
            let other = request("headers: { a: \"{key}\" }");
            format!("{{ api_key: {{ create: {create}, test: {other}, revoke: {other}, key_at: /secret }} }}")
        };
        assert!(matches!(Made::parse(&key(&request("json: { a: [1] }"))), Ok(Made::ApiKey(_))));
        let error = Made::parse(&key(&request("json: { a: 1 }, form: { a: b }"))).unwrap_err();
        assert!(error.to_string().contains("not both"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (body, word) in [
            ("secrets: [a]\nmake: uuid\nevry: 3d", "evry"),
            ("secrets: [a]\nmake: uuid\nevery: 3", "length of time"),
            ("secrets: [a]\nmake: uuid\nevery: 0s", "can't be nothing"),
            ("secrets: [a]\nmake: uuid\nevery: 3d\ncron: \"0 0 * * *\"", "exclude"),
            ("secrets: [a]\nmake: uuid\ncron: \"0 0 * *\"", "no cron line"),
            ("secrets: [a]\nmake: uuid\njitter: 3h", "without a schedule"),
            ("secrets: [a]\nmake: { hex: { bytes: 0 } }", "bytes"),
            ("secrets: [a]\nmake: { hex: { bits: 3 } }", "bits"),
            ("secrets: [a]\nmake: { magic: {} }", "magic"),
            ("secrets: [a]", "make"),
            (
                "secrets: [a]\nmake: uuid\nstages: [{ copies: [], wait: 1m }]",
                "reaches nobody",
            ),
            ("secrets: [a]\nmake: uuid\nstages: [{ copies: [x] }]", "wait"),
            ("secrets: [a]\nmake: uuid\nvalidate: { run: x }", "expected"),
            ("secrets: [a]\nmake: { command: { run: [] } }", "no program"),
            ("secrets: [a]\nmake: { command: { run: [x], limit: 0s } }", "can't be nothing"),
            ("secrets: [a]\nmake: { command: { run: [x], shell: true } }", "shell"),
            (
                "secrets: [a]\nmake: { keyring: { algorithm: a256gcm, keep: 1 } }",
                "says nothing without",
            ),
            (
                "secrets: [a]\nmake: { keyring: { algorithm: a256gcm, keep: 0, reencrypt: { command: { run: [x] } } } }",
                "line",
            ),
            (
                "secrets: [a]\nmake: { keyring: { algorithm: a256gcm } }\nstages: [{ copies: [x], wait: 1m }]",
                "no `stages`",
            ),
            ("secrets: [a]\nmake: { postgres: { server: x, roles: [] } }", "one, or two"),
            ("secrets: [a]\nmake: uuid\ndrain: sessions", "take turns"),
            (
                "secrets: [a]\nmake: { postgres: { server: \"postgres://a@b.example/c\", roles: [a] } }\ndrain: sessions",
                "take turns",
            ),
            (
                "secrets: [a]\nmake: { postgres: { server: \"postgres://a@b.example/c\", roles: [a, a] } }",
                "must be two",
            ),
            (
                "secrets: [a]\nmake: { postgres: { server: \"postgres://a:kfcanary-admin123@b.example/c\", roles: [b] } }",
                "password",
            ),
            (
                "secrets: [a]\nmake: { postgres: { server: \"mysql://a@b.example/c\", roles: [b] } }",
                "no URL of a PostgreSQL",
            ),
            (
                "secrets: [a]\nmake: uuid\nstages: [{ copies: [a], wait: 1m }]",
                "rotates by itself",
            ),
            (
                "secrets: [a]\ntags: { x: y }\nmake: uuid\nstages: [{ copies: [a], wait: 1m }]",
                "rotates by itself",
            ),
            (
                "secrets: [\"web/*\"]\nmake: uuid\nstages: [{ copies: [web/canary], wait: 1m }]",
                "rotates by itself",
            ),
            ("secrets: [a]\nmake: uuid\ndrain: { run: [x] }", "run"),
            ("make: uuid", "neither"),
            ("secrets: [a]\nmake: uuid\nattempts: 0", "at least 1"),
            ("secrets: [a]\nmake: uuid\nexpires_after: 1h", "longer than"),
            (
                "secrets: [a]\nmake: uuid\nevery: 1d\nwindow: { from: \"2:00\", to: \"05:00\" }",
                "time of day",
            ),
            (
                "secrets: [a]\nmake: uuid\nevery: 1d\nwindow: { from: \"25:00\", to: \"05:00\" }",
                "time of day",
            ),
            (
                "secrets: [a]\nmake: { text: { length: 8, alphabet: url, characters: ab } }",
                "the same thing",
            ),
        ] {
            let error = one(body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{body}: {error}");
            assert!(error.to_string().contains(word), "{body}: {error}");
            assert!(
                error.context().any(|(key, _)| key == "policy" || key == "line"),
                "{body}: nothing says where: {error:?}"
            );
        }
    }

    #[cfg(feature = "http")]
    #[test]
    fn requests_are_checked_when_they_are_read() {
        let request = |url: &str, rest: &str| format!(r#"{{ method: POST, url: "{url}", {rest} }}"#);
        let key = |create: &str, test: &str| {
            let revoke = request("https://a.example/{key}", "");
            format!("{{ api_key: {{ create: {create}, test: {test}, revoke: {revoke}, key_at: /secret }} }}")
        };
        let create = request("https://a.example/{rotation}", "");
        let test = request("https://a.example/{key}", "");
        for (make, word) in [
            (r#"{ endpoint: { url: "http://a.example" } }"#.to_owned(), "`https` URLs only"),
            (
                r#"{ endpoint: { url: "https://a.example", headers: { "a b": x } } }"#.to_owned(),
                "name of a header",
            ),
            (
                r#"{ endpoint: { url: "https://a.example", limit: 0s } }"#.to_owned(),
                "can't be nothing",
            ),
            (
                r#"{ keyring: { algorithm: a256gcm, reencrypt: { endpoint: { url: "http://a.example" } } } }"#.to_owned(),
                "`https` URLs only",
            ),
            (key(&request("http://a.example/{rotation}", ""), &test), "`https` URLs only"),
            (key(&request("https://a.example", ""), &test), "no `{rotation}`"),
            (key(&create, &create), "no `{key}`"),
            (key(&request("https://{key}.example/{rotation}", ""), &test), "host"),
            (key(&request("https://a.example/{rotation}/{key_id}", ""), &test), "`ids_at`"),
            (
                key(
                    &request("https://a.example/{rotation}", r#"headers: { a: "{credential}" }"#),
                    &test,
                ),
                "stands for",
            ),
            (key(&create, &test).replace("/secret", "secret"), "JSON Pointer"),
        ] {
            let error = one(&format!("secrets: [a]\nmake: {make}")).unwrap_err();
            assert!(error.to_string().contains(word), "{make}: {error}");
            assert!(error.context().any(|(key, _)| key == "policy"), "{make}: {error:?}");
        }
        let drain = one("secrets: [a]\nmake: uuid\ndrain: { endpoint: { url: \"http://a.example\" } }");
        assert!(drain.unwrap_err().to_string().contains("`https` URLs only"));
        assert!(one("secrets: [a]\nmake: { endpoint: { url: \"http://127.0.0.1:1/\" } }").is_ok());
    }

    #[test]
    fn a_copy_is_rotated_by_no_other_policy() {
        let staged = "  - { name: a, secrets: [x], make: uuid, stages: [{ copies: [web/y], wait: 1m }] }\n";
        let other = |selector: &str| {
            parse(
                &format!("policies:\n{staged}  - {{ name: b, {selector}, make: uuid }}\n"),
                None,
            )
        };
        let error = other("secrets: [\"web/*\"]").unwrap_err();
        assert!(error.to_string().contains("`web/y`"), "{error}");
        assert!(other("secrets: [\"web/*\"], tags: { a: b }").is_ok());
        assert!(other("secrets: [z]").is_ok());
    }

    #[test]
    fn files_have_known_zones_and_names_that_differ() {
        let error = parse("zone: Europe/Atlantis\npolicies: []", None).unwrap_err();
        assert!(error.to_string().contains("Atlantis"), "{error}");
        let twice = "  - { name: a, secrets: [x], make: uuid }\n";
        let error = parse(&format!("policies:\n{twice}{twice}"), None).unwrap_err();
        assert!(error.to_string().contains("same name"), "{error}");
        assert!(["", "[]", "policies: 3"].iter().all(|text| parse(text, None).is_err()));
        assert!(parse("policies: []", None).unwrap().is_empty());
    }
}
