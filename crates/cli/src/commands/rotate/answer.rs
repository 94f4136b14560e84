//! What became of rotations.

use keyfob::rotation::{Outcome, Passed};
use keyfob::{Error, ErrorKind, SecretName};
use serde::Serialize;

use crate::context::with_causes;
use crate::exit::OutputError;
use crate::printer::Printer;
use crate::time::rfc3339;

#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    outcome: &'static str,
    version: Option<&'a str>,
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorJson<'a>>,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    kind: &'static str,
    why: String,
    hint: Option<&'a str>,
}

impl<'a> Json<'a> {
    fn new(name: &'a SecretName, policy: Option<&'a str>, outcome: Result<&'a Outcome, &'a Error>) -> Self {
        let (version, until) = match outcome {
            Ok(Outcome::Grace { version, until }) => (version.as_ref(), Some(rfc3339(*until))),
            Ok(Outcome::Completed { version }) => (version.as_ref(), None),
            _ => (None, None),
        };
        Self {
            name: name.as_str(),
            policy,
            outcome: outcome.map_or_else(|error| if is_held(error) { "held" } else { "failed" }, Outcome::as_str),
            version: version.map(keyfob::Version::as_str),
            until,
            error: outcome.err().map(|error| ErrorJson {
                kind: error.kind().as_str(),
                why: with_causes(error),
                hint: error.hint(),
            }),
        }
    }
}

pub(super) fn tell_one(printer: &Printer, name: &SecretName, outcome: &Outcome, json: bool) -> Result<(), OutputError> {
    printer.note(sentence(name, outcome));
    tell_rest(printer, name, outcome, "the old value", json)
}

/// The same of a rotation that was taken back.
pub(crate) fn tell_rollback(printer: &Printer, name: &SecretName, outcome: &Outcome, json: bool) -> Result<(), OutputError> {
    match outcome {
        Outcome::Grace { version, until } => printer.note(format_args!(
            "`{name}` has the value of before again{}; the newer one is valid until {}",
            of(version.as_ref()),
            rfc3339(*until)
        )),
        Outcome::Completed { version } => printer.note(format_args!(
            "`{name}` has the value of before again{}; the newer one is revoked",
            of(version.as_ref())
        )),
        _ => printer.note(sentence(name, outcome)),
    }
    tell_rest(printer, name, outcome, "the newer value", json)
}

fn tell_rest(printer: &Printer, name: &SecretName, outcome: &Outcome, other: &str, json: bool) -> Result<(), OutputError> {
    if matches!(outcome, Outcome::Grace { .. }) {
        printer.hint(&format!(
            "`keyfob rotate {name} --resume` or `keyfob rotate --due` revokes {other} when that time is over"
        ));
    }
    match json {
        true => printer.json(&Json::new(name, None, Ok(outcome))),
        false => Ok(()),
    }
}

pub(super) fn tell_many(printer: &Printer, mut passed: Vec<Passed>, json: bool) -> Result<(), OutputError> {
    passed.sort_by(|one, other| one.name.cmp(&other.name));
    for passed in &mut passed {
        if let Err(error) = &passed.outcome {
            passed.outcome = Err(with_flags(error.clone()));
        }
    }
    for Passed { name, outcome, .. } in &passed {
        match outcome {
            Ok(outcome) => printer.note(sentence(name, outcome)),
            Err(error) if is_held(error) => {
                printer.note(format_args!("`{name}` is left to who rotates it: {}", with_causes(error)));
            }
            Err(error) => {
                printer.warning(&format!("`{name}` is not rotated: {}", with_causes(error)));
                error.hint().into_iter().for_each(|hint| printer.hint(hint));
            }
        }
    }
    if !json {
        return Ok(());
    }
    let all: Vec<Json<'_>> = passed
        .iter()
        .map(|passed| Json::new(&passed.name, Some(&passed.policy.name), passed.outcome.as_ref()))
        .collect();
    printer.json(&all)
}

/// The error, with the options that help where the library only knows what they do.
pub(crate) fn with_flags(error: Error) -> Error {
    let has = |wanted: &str| error.context().any(|(key, _)| key == wanted);
    let hint = match error.kind() {
        ErrorKind::Conflict if has("under_way") && has("asked") => {
            "bring it to its end, or roll it back, with what it was begun with (`--make`); where that is gone, \
             `keyfob rotation forget NAME --abandon` ends it where it is"
        }
        ErrorKind::Conflict if has("phase") && error.to_string().starts_with("a rotation of the secret is under way") => {
            "bring it to its end (`keyfob rotate NAME --resume`), roll it back (`keyfob rotation rollback NAME`), or end it where it is \
             with `--abandon`"
        }
        ErrorKind::Conflict if has("until") && !has("holder") => "wait until then, or add `--end-grace`",
        ErrorKind::Unsupported if error.to_string().contains("compare and set") => {
            "keep the journals in another store (`journals` and `journals_prefix` under `[rotation]` of `keyfob.toml`), or promise with \
             `sole_runner` that nobody else rotates"
        }
        _ => return error,
    };
    error.with_hint(hint)
}

/// Whether somebody else has the lease, and goes on.
pub(super) fn is_held(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && error.context().any(|(key, _)| key == "holder")
}

fn of(version: Option<&keyfob::Version>) -> String {
    version.map(|version| format!(", version {version}")).unwrap_or_default()
}

fn sentence(name: &SecretName, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Nothing => format!("there was nothing to do for `{name}`"),
        Outcome::Grace { version, until } => {
            format!(
                "rotated `{name}`{}; the old value is valid until {}",
                of(version.as_ref()),
                rfc3339(*until)
            )
        }
        Outcome::Completed { version } => format!("rotated `{name}`{}; the old value is revoked", of(version.as_ref())),
        Outcome::RolledBack => format!("the rotation of `{name}` is rolled back; its value is as it was"),
        Outcome::Superseded => format!("somebody made the old value of `{name}` current again, so it is not revoked"),
        _ => format!("`{name}` is done"),
    }
}
