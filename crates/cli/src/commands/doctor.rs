//! `keyfob doctor`

mod check;
mod checks;

use clap::Parser;
use keyfob::{Error, Reason, with_reason};
use serde::Serialize;

use self::check::{Check, Status};
use crate::context::Context;
use crate::exit::{Exit, Outcome, OutputError};
use crate::printer::{BAD, FAINT, GOOD, HINT, ODD, Printer};
use crate::text::escape_untrusted;

#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob doctor
  keyfob doctor --json | jq '.checks[] | select(.status != \"ok\")'

JSON: {ok, checks}; each check has {check, subject, status, message, hint, milliseconds, details}
with `status` one of `ok`, `warning`, `failed`, and `check` one of `configuration`, `project`,
`selection`, `detection`, `audit`, `file`, `key`, `store`, `content`.")]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    ok: bool,
    checks: &'a [Check],
}

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        // To look whether all is well is no access, and needs no other reason.
        let reason = Reason::new("keyfob doctor")?;
        let checks = context.block_on(async { Ok::<_, Error>(with_reason(reason, checks::all(context)).await) })?;
        let ok = checks.iter().all(|check| check.status != Status::Failed);
        if self.json {
            printer.json(&ReportJson { ok, checks: &checks })?;
        } else {
            for check in &checks {
                show(printer, check)?;
            }
        }
        Ok(if ok { Exit::Success } else { Exit::Failure })
    }
}

fn show(printer: &Printer, check: &Check) -> Result<(), OutputError> {
    let (style, word) = match check.status {
        Status::Ok => (GOOD, "ok     "),
        Status::Warning => (ODD, "warning"),
        Status::Failed => (BAD, "failed "),
    };
    let time = check
        .milliseconds
        .map(|time| format!(" {FAINT}({time} ms){FAINT:#}"))
        .unwrap_or_default();
    let subject = if check.subject.is_empty() {
        String::new()
    } else {
        format!(" `{}`", escape_untrusted(&check.subject))
    };
    printer.line(format_args!(
        "{style}{word}{style:#} {}{subject}: {}{time}",
        check.check,
        escape_untrusted(&check.message)
    ))?;
    for (name, value) in &check.details {
        printer.line(format_args!(
            "          {FAINT}{}: {}{FAINT:#}",
            escape_untrusted(name),
            escape_untrusted(value)
        ))?;
    }
    if let Some(hint) = &check.hint {
        printer.line(format_args!("          {HINT}hint{HINT:#}: {}", escape_untrusted(hint)))?;
    }
    Ok(())
}
