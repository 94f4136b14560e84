//! `keyfob audit tail`

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use clap::Parser;
use keyfob::{AuditRecord, Error, ErrorKind, Freshness};
use keyfob_audit::{AuditReader, Logged};

use super::filter::FilterArgs;
use super::log::LogArgs;
use crate::context::Context;
use crate::exit::{Exit, Outcome, OutputError};
use crate::printer::{BAD, FAINT, Printer, STRONG};
use crate::text::{escape_json, escape_untrusted};
use crate::time::rfc3339;

/// Show the last accesses, and with `--follow` those that come
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  keyfob audit tail
  keyfob audit tail -n 100 --where prefix=db/
  keyfob audit tail --follow --where outcome=failed

JSON: one access a line, as the log has it.

Exit status: 3 when there is no log.")]
pub(crate) struct Args {
    #[command(flatten)]
    log: LogArgs,

    #[command(flatten)]
    filter: FilterArgs,

    /// How many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: usize,

    /// Go on with those that come, until it is interrupted
    #[arg(long, short)]
    follow: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How often the log is looked at.
const PAUSE: Duration = Duration::from_millis(200);

impl Args {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let printer = context.printer();
        let filter = self.filter.filter(context)?;
        let mut reader = self.log.log(context)?.reader(filter, context)?;
        let mut last = VecDeque::new();
        while let Some(logged) = next(&mut reader, printer)? {
            if last.len() == self.lines {
                last.pop_front();
            }
            if self.lines > 0 {
                last.push_back(logged);
            }
        }
        for logged in last {
            self.show(printer, &logged)?;
        }
        if !self.follow {
            return Ok(Exit::Success);
        }
        loop {
            match next(&mut reader, printer)? {
                Some(logged) => self.show(printer, &logged)?,
                None => thread::sleep(PAUSE),
            }
        }
    }

    fn show(&self, printer: &Printer, logged: &Logged) -> Result<(), OutputError> {
        if self.json {
            return printer.line(escape_json(&logged.line));
        }
        let record = &logged.record;
        let outcome = match record.error {
            None => record.outcome.as_str().to_owned(),
            Some(kind) => format!("{BAD}{}{BAD:#} ({kind})", record.outcome.as_str()),
        };
        printer.line(format_args!(
            "{FAINT}{}{FAINT:#} {}@{} {} {STRONG}{}{STRONG:#} {outcome}{FAINT}{}{FAINT:#}",
            rfc3339(record.time),
            escape_untrusted(&record.actor.user),
            escape_untrusted(&record.actor.host),
            record.verb.as_str(),
            escape_untrusted(&subject(record)),
            escape_untrusted(&circumstances(record)),
        ))
    }
}

/// A damaged line is told and passed over: the others are worth seeing.
fn next(reader: &mut AuditReader, printer: &Printer) -> Result<Option<Logged>, Error> {
    loop {
        match reader.next() {
            Err(error) if error.kind() == ErrorKind::Corrupt => printer.error(&error),
            other => return other,
        }
    }
}

/// What was accessed.
fn subject(record: &AuditRecord) -> String {
    let name = record.name.as_deref().unwrap_or_default();
    let version = record
        .version
        .as_ref()
        .map(|version| format!("@{version}"))
        .unwrap_or_default();
    format!("{}:{name}{version}", record.store.name)
}

fn circumstances(record: &AuditRecord) -> String {
    let mut text = format!(" {}[{}] {:.1?}", record.actor.process, record.actor.pid, record.latency);
    match record.freshness {
        Some(Freshness::Cache) => text.push_str(" from the cache"),
        Some(Freshness::Stale) => text.push_str(" stale"),
        _ => {}
    }
    if let Some(workload) = &record.actor.workload {
        text.push_str(&format!(" as {workload}"));
    }
    if let Some(reason) = &record.reason {
        text.push_str(&format!(": {reason}"));
    }
    text
}
